internal import CLinux
internal import Glibc

/// Ends the wait of a loop from another thread: an eventfd in its epoll set.
///
/// `wake` may be called from any thread, at any time, also after the loop is gone.
public final class Waker: Sendable {
  /// The eventfd. It is watched for edges, so nobody has to read its counter.
  let descriptor: Int32

  /// The corresponding C function is `eventfd`.
  init() throws(SystemError) {
    descriptor = eventfd(0, Int32(EFD_NONBLOCK | EFD_CLOEXEC))
    if descriptor < 0 { throw .last("eventfd") }
  }

  deinit { Syscalls.close(descriptor) }

  /// Makes the present or the next wait return at once. Costs one system call.
  public func wake() {
    var one: UInt64 = 1
    // Fails only when the counter is full, and then the loop has been woken already.
    _ = write(descriptor, &one, 8)
  }
}
