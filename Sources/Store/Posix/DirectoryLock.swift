import Base
import Glibc

/// Keeps other processes out of a data directory, through `flock` on the file `lock` in it.
///
/// Held until the value goes away or the process ends, however it ends. The file itself stays.
struct DirectoryLock: ~Copyable {
  /// nil: a directory without a lock file, which is only read.
  private let file: Descriptor?

  /// Locks the open directory; throws `inUse` if another process has it. A shared lock keeps a
  /// server out and is only taken on a file that is there, so that it writes nothing.
  init(_ directory: Int32, isShared: Bool) throws(RecoveryError) {
    let flags = isShared ? O_RDONLY : O_RDWR | O_CREAT
    let descriptor = openat(directory, "lock", flags | O_CLOEXEC, 0o600)
    let number = errno
    guard descriptor >= 0 else {
      guard isShared, number == ENOENT else {
        throw .fault(DiskFault(call: .lock, file: "lock", errno: number))
      }
      file = nil
      return
    }
    let opened = Descriptor(raw: descriptor)
    try Self.lock(opened.raw, isShared: isShared)
    file = consume opened
  }

  private static func lock(_ descriptor: Int32, isShared: Bool) throws(RecoveryError) {
    while flock(descriptor, (isShared ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0 {
      switch errno {
      case EINTR: continue
      case EWOULDBLOCK: throw .inUse
      default: throw .fault(DiskFault(call: .lock, file: "lock", errno: errno))
      }
    }
  }
}
