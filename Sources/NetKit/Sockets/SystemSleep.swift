public import Base
internal import CLinux
internal import Glibc

/// Blocks the thread until the monotonic clock has reached `instant`.
///
/// For clients between two attempts; the loop waits in its transport. The corresponding C function
/// is `clock_nanosleep`.
public func systemSleep(until instant: Instant) {
  var time = timespec()
  time.tv_sec = Int(clamping: instant.nanos / 1_000_000_000)
  time.tv_nsec = Int(instant.nanos % 1_000_000_000)
  while clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, nil) == EINTR {}
}
