/* A model of the shared-memory protocol: claim, progress, publish, park, wake, death, burial and
 * respawn. Spin checks it over all interleavings, with a SIGKILL possible between any two steps of
 * a worker.
 *
 * A transition makes at most one access to shared memory; where it makes more, a comment says why
 * nobody could tell. Memory is sequentially consistent here: weaker orders are not this model's
 * business. Nor are stops, retries, retirement, fragments, full rings and a broken pool.
 *
 * Macros: WORKERS (1 or 2), CHUNKS, ITEMS (of each chunk), CRASHES (at most), RUNS (results travel in
 * runs: the progress word publishes); each BUG_... seeds a mistake that must be found.
 */
#ifndef WORKERS
#define WORKERS 2
#endif
#ifndef CHUNKS
#define CHUNKS 2
#endif
#ifndef ITEMS
#define ITEMS 1
#endif
#ifndef CRASHES
#define CRASHES 1
#endif

/* Items are numbered through all chunks, at most 8; sets of them are bits. */
#define ALL (CHUNKS * ITEMS)
#define IN(items, item) (((items) >> (item)) & 1)
#define PUT(items, item) items = items | (1 << (item))

/* ---- shared memory ---- */

/* Claim words: state and owner are one value, as they are one word. */
#define FREE 0
#define READY 1
#define CLAIMED_BY(worker) (2 + worker)
byte claim[CHUNKS];

/* Lanes. */
#define NO_ITEM 0
#define BEGUN(item) (1 + item)
byte progress[WORKERS];
byte bytes[WORKERS];  /* records whose bytes are all there */
byte tail[WORKERS];   /* records published and not yet drained */
/* The park word is one of these, or neither; nobody tells running from notified. */
bool idle[WORKERS];
bool looking[WORKERS];

bool waiting;         /* the waiting word; `rung` stands for the number of the sleep */
bool rung[WORKERS];   /* private to the worker: has rung in this sleep */
bool doorbell;        /* a byte is in the pipe */

/* ---- what the fork server and the kernel know ---- */

bool dead[WORKERS];
#define ALIVE 0       /* for all that the parent knows */
#define ABSENT 1      /* buried; its replacement will be forked, now or later */
#define FORKED 2      /* runs; the report that it was spawned is not read yet */
#define NEVER 3       /* buried; no fork for it will ever succeed */
byte life[WORKERS];

/* Deaths to come. How many is chosen at the start, not on the way: if one more were always
 * possible, its notice could end any sleep, and no deadlock would be seen. */
byte crashes;

/* ---- the parent's books, and the oracle ---- */

byte fed;             /* chunks enqueued */
byte next[CHUNKS];    /* first item of the chunk that is not settled */
byte settled;         /* items */
byte spent;           /* items that were called or have an outcome: never to be called again */

/* ---- a worker ---- */

/* SIGKILL in place of the next step. Private variables are reset at once, and wherever else they
 * are dead: states that differ by nothing else are then one. */
#define DIES atomic { crashes > 0 -> crashes--; chunk = 0; item = 0; dead[me] = true; goto died }
#define STEP(access) if :: d_step { access } :: DIES fi

/* TaskRunner::begin_run: the user's function. */
inline call() {
  STEP(assert(!IN(spent, item)); PUT(spent, item))
}

/* Doorbell::ring: a load, then a write. */
inline ring() {
  if
  :: d_step { waiting && !rung[me] -> rung[me] = true }; STEP(doorbell = true)
  :: !waiting || rung[me]
  :: DIES
  fi
}

/* ResultWriter::publish; with RUNS close_run, which passes all items of the run at once. */
inline publish() {
#ifdef RUNS
#ifndef BUG_RESULT_LATE
  STEP(PUT(bytes[me], item));
#endif
  if
  :: (item + 1) % ITEMS == 0 -> STEP(PUT(bytes[me], item); tail[me] = tail[me] | bytes[me]); ring()
  :: else
  fi
}
#else
#ifdef BUG_TAIL_FIRST
  STEP(PUT(tail[me], item));
  STEP(PUT(bytes[me], item));
#else
  STEP(PUT(bytes[me], item));
#ifdef BUG_PROGRESS_FIRST
  STEP(progress[me] = NO_ITEM);
#endif
  STEP(PUT(tail[me], item));
#endif
  ring()
}
#endif

proctype worker(byte me) {
  byte chunk, item;

scan:  /* TaskClaimer::claim. Chunks are alike, so the hint, where to begin, is left out. */
  do
  /* ClaimWord::claim. `next` stands for the descriptor's begin_item: it stays until we publish. */
#ifdef BUG_OWNER_STORE
  :: d_step { chunk < CHUNKS && claim[chunk] == READY -> claim[chunk] = CLAIMED_BY(WORKERS) };
     STEP(claim[chunk] = CLAIMED_BY(me); item = chunk * ITEMS + next[chunk]);
     break
#else
  :: atomic {
       chunk < CHUNKS && claim[chunk] == READY ->
       claim[chunk] = CLAIMED_BY(me);
       item = chunk * ITEMS + next[chunk];
       break
     }
#endif
  :: d_step { chunk < CHUNKS && claim[chunk] != READY -> chunk++ }
  /* WorkerLoop::idle: ParkWord::look, then many looks, then ParkWord::announce */
  :: d_step { chunk == CHUNKS && !looking[me] -> chunk = 0; looking[me] = true }
  :: atomic {
       chunk == CHUNKS && looking[me] ->
       chunk = 0;
       looking[me] = false;
       idle[me] = true;
       goto park
     }
  :: DIES
  od;

  if
  :: looking[me] -> STEP(looking[me] = false)  /* ParkWord::stay */
  :: else
  fi;

begin:
#ifdef BUG_LATE_PROGRESS
  call();
  STEP(progress[me] = BEGUN(item));
#else
  STEP(progress[me] = BEGUN(item));  /* TaskRunner::name_item */
  call();
#endif
  publish();
  if  /* TaskRunner::publish, its last line */
  :: atomic {
#ifdef RUNS
       if
       :: (item + 1) % ITEMS == 0 -> progress[me] = NO_ITEM
       :: else  /* the next item's name takes its place */
       fi;
#else
       progress[me] = NO_ITEM;
#endif
       item++;
       if
       :: item < (chunk + 1) * ITEMS -> goto begin
       :: else -> chunk = 0; item = 0; goto scan
       fi
     }
  :: DIES
  fi;

park:  /* WorkerLoop::idle, after the announcement */
#ifdef BUG_NO_SECOND_LOOK
  chunk = CHUNKS;
#endif
end_asleep:
  do
  /* TaskClaimer::anything_ready, ParkWord::stay */
  :: d_step { chunk < CHUNKS && claim[chunk] == READY -> chunk = 0 };
     STEP(idle[me] = false);
     goto scan
  :: d_step { chunk < CHUNKS && claim[chunk] != READY -> chunk++ }
  :: atomic { chunk == CHUNKS && !idle[me] -> chunk = 0; goto scan }  /* ParkWord::sleep */
  :: DIES
  od;

died:  /* A replacement runs in the same Promela process: new ones would only add states. */
end_dead:
  atomic { life[me] == ABSENT -> life[me] = FORKED; dead[me] = false; goto scan }
}

/* ---- the parent ---- */

#define reported(w) (life[w] == FORKED || (life[w] == ALIVE && dead[w]))
#if WORKERS == 1
#define news reported(0)
#define another(w) false
#else
#define news (reported(0) || reported(1))
#define another(w) (life[1 - w] != NEVER)
#endif

#ifdef BUG_REPORTED_ONLY
#define wakeable(w) (idle[w] && life[w] == ALIVE)
#else
#define wakeable(w) (idle[w] && (life[w] == ALIVE || life[w] == FORKED))
#endif
#define queued(c) (c < fed && claim[c] == FREE && next[c] < ITEMS)

hidden byte i;  /* counts within single steps only, so it is no part of the state */

/* Collector::drain. One step: `tail` is read once; claims that become free are as unready as they
 * were; all else is private. */
inline drain(w) {
  d_step {
    i = 0;
    do
    :: i < ALL && IN(tail[w], i) ->
      assert(IN(bytes[w], i) && IN(spent, i));
      /* Collector::accept, accept_run */
      assert(claim[i / ITEMS] == CLAIMED_BY(w));
      if
      :: next[i / ITEMS] > i % ITEMS  /* taken out of the open run */
      :: else ->
        assert(next[i / ITEMS] == i % ITEMS);
        next[i / ITEMS]++;
        settled++
      fi;
      found = true;
      if
      :: next[i / ITEMS] == ITEMS -> claim[i / ITEMS] = FREE
      :: else
      fi;
      i++
    :: i < ALL && !IN(tail[w], i) -> i++
    :: i == ALL -> break
    od;
    bytes[w] = bytes[w] & (255 - tail[w]);
    tail[w] = 0
  }
}

/* ResultReader::look_open and what Collector::drain does with it. One step: the code makes sure that
 * nothing was published while it read the progress word. */
#ifdef RUNS
inline drain_open(w) {
  d_step {
    i = 0;
    do
    :: i < ALL && progress[w] > BEGUN(i) && i / ITEMS == (progress[w] - 1) / ITEMS &&
       claim[i / ITEMS] == CLAIMED_BY(w) && next[i / ITEMS] == i % ITEMS ->
      assert(IN(bytes[w], i) && IN(spent, i));
      next[i / ITEMS]++;
      settled++;
      found = true;
      i++
    :: i == ALL -> break
    :: else -> i++
    od
  }
}
#else
#define drain_open(w) skip
#endif

/* Supervisor::settle_claims. One step: nobody else touches the lane and the claims of the dead. */
inline settle_claims(w) {
  d_step {
    i = 0;
    do
    :: i < CHUNKS && claim[i] == CLAIMED_BY(w) ->
      if
      :: progress[w] == BEGUN(i * ITEMS + next[i]) ->  /* blamed */
        PUT(spent, i * ITEMS + next[i]);
        next[i]++;
        settled++
      :: else
      fi;
      claim[i] = FREE;
      i++
    :: i < CHUNKS && claim[i] != CLAIMED_BY(w) -> i++
    :: i == CHUNKS -> break
    od
  }
}

/* Supervisor::bury, called in one step for the same reason. The next fork may be delayed; forks may
 * fail for ever as long as there is another worker, or will be. */
inline bury(w) {
#ifdef BUG_SWEEP_FIRST
  settle_claims(w);
  drain(w);
#else
  drain(w);
#ifndef BUG_OPEN_RUN_LOST
  drain_open(w);
#endif
  settle_claims(w);
#endif
  progress[w] = NO_ITEM;  /* ResultReader::reset */
  bytes[w] = 0;
  idle[w] = false;
  looking[w] = false;
  rung[w] = false;
#ifndef BUG_NO_REWAKE
  buried = true;
#endif
  if
  :: life[w] = ABSENT
  :: another(w) -> life[w] = NEVER
  fi
}

/* The decision in Engine::publish_and_wake. One look at all words is as good as a look at each:
 * until the parent goes on, they can only cease to be ready. */
inline count_wakes() {
  d_step {
    i = 0;
    do
    :: i < CHUNKS && buried && claim[i] == READY -> wakes = WORKERS; i++
    :: i < CHUNKS && !(buried && claim[i] == READY) -> i++
    :: i == CHUNKS -> break
    od;
    /* Supervisor::enough_look: as many as there are chunks, claimed or not, will take them all. */
    lookers = 0;
    i = 0;
    do
    :: i < WORKERS && looking[i] && (life[i] == ALIVE || life[i] == FORKED) -> lookers++; i++
    :: i < WORKERS && !(looking[i] && (life[i] == ALIVE || life[i] == FORKED)) -> i++
    :: i == WORKERS -> break
    od;
    i = 0;
    do
    :: i < CHUNKS && claim[i] != FREE && lookers > 0 -> lookers--; i++
    :: i < CHUNKS && claim[i] != FREE && lookers == 0 -> too_few = true; i++
    :: i < CHUNKS && claim[i] == FREE -> i++
    :: i == CHUNKS -> break
    od;
    if
    :: !too_few && !buried -> wakes = 0
    :: else
    fi;
    too_few = false;
    lookers = 0;
    buried = false
  }
}

proctype parent() {
  byte w, c;
  byte wakes;
  bool first;   /* the worker that is looked at first, in place of next_to_wake_ */
  bool found;   /* a drain found something */
  bool buried;
  byte lookers;
  bool too_few; /* more chunks than lookers */

round:  /* Engine::round */
  if
  :: d_step { fed < CHUNKS -> fed++ }; goto refill  /* a feeding thread: Engine::take_in */
  :: true
  fi;
  do  /* Supervisor::take_reports; a round need not ask for them */
  :: d_step { w < WORKERS && life[w] == FORKED -> life[w] = ALIVE; w++ }
  :: atomic { w < WORKERS && life[w] == ALIVE && dead[w] -> bury(w); w++ }
  :: d_step { w < WORKERS && !(life[w] == ALIVE && dead[w]) -> w++ }
  :: atomic { w == WORKERS -> w = 0; break }
  od;
  do  /* Supervisor::drain_all */
  :: atomic { w < WORKERS && life[w] == ALIVE -> drain(w); w++ }
  :: d_step { w < WORKERS && life[w] != ALIVE -> w++ }
  :: atomic { w == WORKERS -> w = 0; found = false; break }
  od;

refill:  /* Engine::publish_and_wake: Dispatcher::refill with ClaimWord::publish */
  do
  :: d_step { c < CHUNKS && queued(c) -> claim[c] = READY; wakes++; c++ }
  :: d_step { c < CHUNKS && !queued(c) -> c++ }
  :: atomic { c == CHUNKS -> c = 0; count_wakes(); break }
  od;
  if
  :: true
  :: 0 < wakes && wakes < WORKERS -> first = true
  fi;
  do  /* Supervisor::wake_idle, ParkWord::wake */
  :: d_step {
       w < WORKERS && wakes > 0 && wakeable((w + first) % WORKERS) ->
       idle[(w + first) % WORKERS] = false;
       wakes--;
       w++
     }
  :: d_step { w < WORKERS && wakes > 0 && !wakeable((w + first) % WORKERS) -> w++ }
  :: atomic { w == WORKERS || wakes == 0 -> w = 0; wakes = 0; first = false; break }
  od;
  if
  :: waiting -> goto poll  /* the feeding thread was at work; the driver still sleeps */
  :: !waiting && settled == ALL -> goto finish
  :: !waiting && settled != ALL -> goto round
  :: d_step { !waiting && settled != ALL -> waiting = true }  /* WaitingWord::announce */
  fi;
#ifndef BUG_NO_LAST_LOOK
  do  /* Engine::sleep: the last look */
  :: atomic { w < WORKERS && life[w] == ALIVE -> drain(w); drain_open(w); w++ }
  :: d_step { w < WORKERS && life[w] != ALIVE -> w++ }
  :: atomic { w == WORKERS -> w = 0; break }
  od;
#endif
  if
  :: found -> goto awake
  :: !found
  fi;

poll:
  if
  /* What rings between the return and the emptying of the pipe might as well ring before. */
  :: d_step { doorbell || news -> doorbell = false }
  :: d_step { fed < CHUNKS -> fed++ }; goto refill
  fi;

awake:  /* WaitingWord::clear. `rung` is of no use until the next announcement. */
  atomic {
    waiting = false;
    found = false;
    i = 0;
    do
    :: i < WORKERS -> rung[i] = false; i++
    :: else -> break
    od
  };
  goto round;

finish:
  atomic {
    crashes = 0;  /* deaths after the end are of no interest */
    i = 0;
    do
    :: i < CHUNKS -> assert(claim[i] == FREE && next[i] == ITEMS); i++
    :: else -> break
    od
  }
}

init {
  atomic {
    do
    :: crashes < CRASHES -> crashes++
    :: break
    od;
    run parent();
#if WORKERS > 1
    run worker(1);
#endif
    run worker(0)
  }
}
