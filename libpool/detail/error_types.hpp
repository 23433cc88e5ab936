/// The classes that the library throws; `errors.hpp` is their public header.
///
/// Objects live in the process that throws them. Exceptions of tasks cross from a worker to the
/// parent by `codec/exception_codec.hpp`; a worker's death becomes a `WorkerCrashed` made in the
/// parent.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <exception>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include <libpool/detail/export.hpp>

namespace libpool {

/// Base of all that the library raises.
class LIBPOOL_EXPORT PoolError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// Where an exception of a task was thrown. A second base of rethrown exceptions and no exception
/// itself: `catch (const libpool::RemoteOrigin&)` and `catch (const std::exception&)` both match.
class LIBPOOL_EXPORT RemoteOrigin {
 public:
  RemoteOrigin() = default;
  RemoteOrigin(pid_t pid, std::string type_name, std::size_t index)
      : pid_(pid), type_name_(std::move(type_name)), index_(index) {}
  RemoteOrigin(const RemoteOrigin&) = default;
  RemoteOrigin& operator=(const RemoteOrigin&) = default;
  virtual ~RemoteOrigin() = default;

  /// The worker in which it was thrown.
  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// The demangled name of the type that was thrown.
  [[nodiscard]] const std::string& type_name() const noexcept { return type_name_; }
  /// The item's place in its batch.
  [[nodiscard]] std::size_t index() const noexcept { return index_; }

 private:
  pid_t pid_ = 0;
  std::string type_name_;
  std::size_t index_ = 0;
};

/// A task threw something that is neither a standard nor a registered exception; `what()` is its
/// text.
class LIBPOOL_EXPORT TaskError : public PoolError {
 public:
  using PoolError::PoolError;
};

/// The worker died while it decoded, ran or encoded this item.
class LIBPOOL_EXPORT WorkerCrashed : public PoolError {
 public:
  WorkerCrashed(const std::string& what, pid_t pid, std::optional<int> signal,
                std::optional<int> exit_status, std::size_t index)
      : PoolError(what), pid_(pid), signal_(signal), exit_status_(exit_status), index_(index) {}

  [[nodiscard]] pid_t pid() const noexcept { return pid_; }
  /// The signal that ended it; set exactly if `exit_status` is not.
  [[nodiscard]] std::optional<int> signal() const noexcept { return signal_; }
  /// What it passed to `exit`, `_exit` or the like.
  [[nodiscard]] std::optional<int> exit_status() const noexcept { return exit_status_; }
  /// The item's place in its batch; zero for `apply`.
  [[nodiscard]] std::size_t index() const noexcept { return index_; }

 private:
  pid_t pid_;
  std::optional<int> signal_;
  std::optional<int> exit_status_;
  std::size_t index_;
};

/// The item passed its `timeout`.
class LIBPOOL_EXPORT TaskTimeout : public PoolError {
 public:
  TaskTimeout(const std::string& what, std::size_t index) : PoolError(what), index_(index) {}
  [[nodiscard]] std::size_t index() const noexcept { return index_; }

 private:
  std::size_t index_;
};

/// The job was cancelled.
class LIBPOOL_EXPORT TaskCancelled : public PoolError {
 public:
  TaskCancelled() : PoolError("the task was cancelled") {}
  using PoolError::PoolError;
};

/// Work was submitted to a pool that had been closed or terminated.
class LIBPOOL_EXPORT PoolClosed : public PoolError {
 public:
  PoolClosed() : PoolError("the pool is closed") {}
  using PoolError::PoolError;
};

/// The pool was terminated before the job was done.
class LIBPOOL_EXPORT PoolTerminated : public PoolError {
 public:
  PoolTerminated() : PoolError("the pool was terminated") {}
  using PoolError::PoolError;
};

/// Workers cannot be started; nothing will run in this pool any more.
class LIBPOOL_EXPORT PoolBroken : public PoolError {
 public:
  PoolBroken(const std::string& what, std::exception_ptr cause)
      : PoolError(what), cause_(std::move(cause)) {}
  /// What the last worker failed of: an initializer's exception, a `std::system_error`, a
  /// `WorkerCrashed`.
  [[nodiscard]] std::exception_ptr cause() const noexcept { return cause_; }

 private:
  std::exception_ptr cause_;
};

/// A value cannot be encoded or decoded.
class LIBPOOL_EXPORT SerializationError : public PoolError {
 public:
  SerializationError(const std::string& what, std::string type_name)
      : PoolError(what), type_name_(std::move(type_name)) {}
  /// The demangled name of the value's type.
  [[nodiscard]] const std::string& type_name() const noexcept { return type_name_; }

 private:
  std::string type_name_;
};

/// A wait of the caller's elapsed. Nothing is lost: waiting again may succeed.
class LIBPOOL_EXPORT TimeoutError : public PoolError {
 public:
  TimeoutError() : PoolError("the wait timed out") {}
  using PoolError::PoolError;
};

}  // namespace libpool
