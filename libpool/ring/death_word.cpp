/// Arming a death word. Runs in a worker, before its first task.
#include <libpool/ring/death_word.hpp>

namespace libpool::ring {

void DeathWord::arm() noexcept {
  pthread_mutexattr_t robust;
  ::pthread_mutexattr_init(&robust);
  ::pthread_mutexattr_setpshared(&robust, PTHREAD_PROCESS_SHARED);
  ::pthread_mutexattr_setrobust(&robust, PTHREAD_MUTEX_ROBUST);
  ::pthread_mutex_init(&mutex_, &robust);
  ::pthread_mutexattr_destroy(&robust);
  ::pthread_mutex_lock(&mutex_);
  // The kernel wakes nobody unless somebody says that he waits.
  __atomic_fetch_or(&mutex_.__data.__lock, static_cast<int>(FUTEX_WAITERS), __ATOMIC_RELAXED);
}

}  // namespace libpool::ring
