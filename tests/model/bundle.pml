/* A model of bundles: items that a worker takes out of the remainder word of its lane, while the
 * parent takes back what is left, and workers die. Spin checks it over all interleavings, with a
 * SIGKILL possible between any two steps of a worker.
 *
 * One bundle, in slot 0; what is taken back is published by itself, item i in slot 1 + i. The parent
 * looks at any time: parking and waking are the business of pool.pml, and its rules hold here, too.
 *
 * Macros: ITEMS, CRASHES (at most); each BUG_... seeds a mistake that must be found.
 */
#ifndef ITEMS
#define ITEMS 3
#endif
#ifndef CRASHES
#define CRASHES 1
#endif
#define WORKERS 2
#define SLOTS (1 + ITEMS)
#define IN(items, item) (((items) >> (item)) & 1)
#define PUT(items, item) items = items | (1 << (item))

/* ---- shared memory ---- */

#define FREE 0
#define READY 1
#define CLAIMED_BY(worker) (2 + worker)
byte claim[SLOTS];
byte begin_item;      /* of the bundle's descriptor */
byte end_item;
byte ticket;          /* of the bundle, anew each time that it is published */

/* Lanes. */
#define NO_ITEM 0
#define BEGUN(item) (1 + item)
byte progress[WORKERS];
byte bytes[WORKERS];  /* results whose bytes are all there */
byte tail[WORKERS];   /* of these, published and not yet drained */
byte left_ticket[WORKERS];  /* the remainder word */
byte left_next[WORKERS];
byte left_end[WORKERS];

/* ---- what the kernel knows ---- */

bool dead[WORKERS];
byte crashes;

/* ---- the parent's books, and the oracle ---- */

byte next;            /* of the bundle: first item that is not settled */
byte end = ITEMS;     /* its items end here; later ones have been taken back */
byte settled;         /* items that have their outcome */
byte spent;           /* items that were called or have an outcome: never to be called again */

/* ---- a worker ---- */

#define DIES atomic { crashes > 0 -> crashes--; slot = 0; item = 0; last = 0; has = false; \
                      dead[me] = true; goto died }
#define STEP(access) if :: d_step { access } :: DIES fi

proctype worker(byte me) {
  byte slot, item, last;
  bool has;

scan:
end_scan:
  do
  :: atomic {
       claim[0] == READY ->
       claim[0] = CLAIMED_BY(me);
       item = begin_item;
       last = end_item;
       break
     }
  :: atomic { slot < SLOTS - 1 && claim[1 + slot] == READY ->
       claim[1 + slot] = CLAIMED_BY(me);
       item = slot;
       last = slot + 1;
       slot++;
       goto begin
     }
  :: d_step { slot < SLOTS - 1 && claim[1 + slot] != READY -> slot++ }
  :: d_step { slot == SLOTS - 1 -> slot = 0 }
  :: DIES
  od;
  slot = 0;
  /* TaskRunner::TaskRunner; nobody writes the ticket while the bundle is claimed */
#ifdef BUG_FIRST_LEFT
  STEP(left_ticket[me] = ticket; left_next[me] = item; left_end[me] = last);
#else
  STEP(left_ticket[me] = ticket; left_next[me] = item + 1; left_end[me] = last);
#endif
  /* TaskRunner::run: reads the descriptor and the payload, which go with the slot */
  STEP(assert(claim[0] == CLAIMED_BY(me)));
#ifndef BUG_FIRST_LEFT
  goto begin;
#endif

take:  /* RemainderWord::take */
#ifdef BUG_TWO_STEPS
  STEP(has = left_next[me] < left_end[me]);
  STEP(left_next[me] = left_next[me] + 1);
#else
  STEP(has = left_next[me] < left_end[me]; left_next[me] = left_next[me] + 1);
#endif
  if
  :: has -> has = false
  :: else -> goto close
  fi;

begin:
  STEP(progress[me] = BEGUN(item));  /* publishes the item before it in the run */
  STEP(assert(!IN(spent, item)); PUT(spent, item));
  STEP(PUT(bytes[me], item));
  atomic {
    item++;
    if
    :: item < last -> goto take
    :: else
    fi
  };

close:  /* TaskRunner::close_run, next_run */
  STEP(tail[me] = tail[me] | bytes[me]);
  STEP(progress[me] = NO_ITEM);
  atomic { slot = 0; item = 0; last = 0; goto scan }

died:
end_dead:
  atomic { !dead[me] -> goto scan }
}

/* ---- the parent ---- */

hidden byte i;

/* An item has its outcome. In a bundle they come in order. */
#define outcome(w, item) \
  assert(!IN(settled, item)); \
  PUT(settled, item); \
  if \
  :: claim[0] == CLAIMED_BY(w) && next == item && item < end -> \
    next++; \
    if \
    :: next == end -> claim[0] = FREE \
    :: else \
    fi \
  :: else -> \
    assert(claim[1 + item] == CLAIMED_BY(w)); \
    claim[1 + item] = FREE \
  fi

inline drain(w) {
  d_step {
    i = 0;
    do
    :: i < ITEMS && IN(tail[w], i) && !IN(settled, i) ->
      assert(IN(spent, i));
      outcome(w, i);
      i++
    :: i < ITEMS && !(IN(tail[w], i) && !IN(settled, i)) -> i++
    :: i == ITEMS -> break
    od;
    bytes[w] = bytes[w] & (255 - tail[w]);
    tail[w] = 0
  }
}

/* ResultReader::look_open: results before the item that the progress word names. */
inline drain_open(w) {
  d_step {
    i = 0;
    do
    :: i < ITEMS && progress[w] > BEGUN(i) && IN(bytes[w], i) && !IN(tail[w], i) &&
       !IN(settled, i) ->
      outcome(w, i);
      i++
    :: i == ITEMS -> break
    :: else -> i++
    od;
    i = 0
  }
}

/* Dispatcher::take_back: one compare-and-swap on the remainder word; the rest is private or free. */
inline take_back(w) {
  d_step {
    claim[0] == CLAIMED_BY(w) && left_end[w] == end &&
#ifndef BUG_STALE_WORD
    left_ticket[w] == ticket &&
#endif
    left_next[w] < left_end[w] && left_next[w] >= next ->
    i = left_next[w];
    left_end[w] = i;
    do
    :: end > i -> end--; claim[1 + end] = READY
    :: end == i -> break
    od;
#ifdef BUG_OLD_END
    end = ITEMS;
#endif
    if
    :: next == end -> claim[0] = FREE
    :: next != end
    fi
  }
}

/* Supervisor::settle_claims, and what is left is published again. */
inline settle_claims(w) {
  d_step {
    if
    :: claim[0] == CLAIMED_BY(w) ->
      if
      :: progress[w] == BEGUN(next) ->
        PUT(spent, next);
        PUT(settled, next);
        next++
      :: else
      fi;
      if
      :: next == end -> claim[0] = FREE
      :: else -> ticket++; begin_item = next; end_item = end; claim[0] = READY
      fi
    :: else
    fi;
    i = 0;
    do
    :: i < ITEMS && claim[1 + i] == CLAIMED_BY(w) && progress[w] == BEGUN(i) ->
      PUT(spent, i);
      PUT(settled, i);
      claim[1 + i] = FREE;
      i++
    :: i < ITEMS && claim[1 + i] == CLAIMED_BY(w) && progress[w] != BEGUN(i) ->
      claim[1 + i] = READY;
      i++
    :: i < ITEMS && claim[1 + i] != CLAIMED_BY(w) -> i++
    :: i == ITEMS -> break
    od;
    i = 0
  }
}

inline bury(w) {
  drain(w);
  drain_open(w);
  settle_claims(w);
  progress[w] = NO_ITEM;  /* ResultReader::reset */
  bytes[w] = 0;
#ifndef BUG_STALE_WORD
  left_ticket[w] = 0;
  left_next[w] = 0;
  left_end[w] = 0;
#endif
  dead[w] = false
}

active proctype parent() {
  atomic {
    do
    :: crashes < CRASHES -> crashes++
    :: break
    od;
    ticket = 1;
    end_item = ITEMS;
    claim[0] = READY;
    run worker(0);
    run worker(1)
  };
  do
  :: atomic { dead[0] -> bury(0) }
  :: atomic { dead[1] -> bury(1) }
  :: tail[0] != 0 -> drain(0)
  :: tail[1] != 0 -> drain(1)
  :: d_step { bytes[0] != 0 -> skip }; drain_open(0)
  :: d_step { bytes[1] != 0 -> skip }; drain_open(1)
  :: take_back(0)
  :: take_back(1)
  :: settled == (1 << ITEMS) - 1 -> break
  od;
  atomic {
    crashes = 0;
    i = 0;
    do
    :: i < SLOTS -> assert(claim[i] == FREE); i++
    :: else -> break
    od
  }
}
