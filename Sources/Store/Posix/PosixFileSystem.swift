import Base
import Glibc

/// A data directory of the machine: mode 0700, its files 0600, locked against a second process.
///
/// Each call wraps the system call of the same meaning: repeats it when it is interrupted or does
/// less than asked, and throws a `DiskFault` with the error number otherwise. Called by one thread.
public struct PosixFileSystem: FileSystem, ~Copyable {
  private let descriptor: Descriptor
  private let lock: DirectoryLock
  private let isReadOnly: Bool
  /// The names of open files, for faults.
  private var names: [Int32: String] = [:]
  /// Open files that are written past the cache, or were to be and cannot be.
  private var direct = DirectWriting()

  /// Opens the directory for serving: makes it if it is not there (its parent must be), and locks
  /// it.
  public init(serving path: String) throws(RecoveryError) {
    let isNew = try Self.make(path)
    let descriptor = try Self.openDirectory(path)
    // A new directory is durable only when its name in its parent is.
    if isNew { try Self.forceParent(of: descriptor.raw) }
    let lock = try DirectoryLock(descriptor.raw, isShared: false)
    self.init(descriptor: descriptor, lock: lock, isReadOnly: false)
  }

  /// Opens an existing directory for reading: writes nothing, and refuses one that is being served.
  public init(inspecting path: String) throws(RecoveryError) {
    let descriptor = try Self.openDirectory(path)
    let lock = try DirectoryLock(descriptor.raw, isShared: true)
    self.init(descriptor: descriptor, lock: lock, isReadOnly: true)
  }

  private init(
    descriptor: consuming Descriptor, lock: consuming DirectoryLock, isReadOnly: Bool
  ) {
    self.descriptor = descriptor
    self.lock = lock
    self.isReadOnly = isReadOnly
  }

  /// The directory's mode if anyone but its owner has a right to it; nil as it should be.
  public var looseMode: UInt32? {
    var status = stat()
    guard fstat(directory, &status) == 0, status.st_mode & 0o077 != 0 else { return nil }
    return status.st_mode & 0o7777
  }

  // MARK: Names

  /// All names but `.` and `..`, sorted. The corresponding C function is `readdir`.
  public mutating func list() throws(DiskFault) -> [String] {
    // A descriptor of its own, as reading moves its position.
    let descriptor = Self.retry { openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0, let stream = fdopendir(descriptor) else {
      throw DiskFault(call: .list, file: "", errno: errno)
    }
    defer { closedir(stream) }
    var found: [String] = []
    while true {
      errno = 0
      guard let entry = readdir(stream) else { break }
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name != ".", name != ".." { found.append(name) }
    }
    guard errno == 0 else { throw DiskFault(call: .list, file: "", errno: errno) }
    return found.sorted()
  }

  /// Renames, replacing `to` if it is there. The corresponding C function is `renameat`.
  public mutating func rename(_ from: String, to: String) throws(DiskFault) {
    let result = Self.retry { renameat(directory, from, directory, to) }
    guard result == 0 else { throw DiskFault(call: .rename, file: to, errno: errno) }
  }

  /// Removes a name. The corresponding C function is `unlinkat`.
  public mutating func remove(_ name: String) throws(DiskFault) {
    let result = Self.retry { unlinkat(directory, name, 0) }
    guard result == 0 else { throw DiskFault(call: .remove, file: name, errno: errno) }
  }

  /// Makes names durable. The corresponding C function is `fsync` of the directory.
  public mutating func forceDirectory() throws(DiskFault) {
    let result = Self.retry { fsync(directory) }
    guard result == 0 else { throw DiskFault(call: .forceDirectory, file: "", errno: errno) }
  }

  // MARK: Files

  /// Opens or makes a file. The corresponding C function is `openat`.
  public mutating func open(_ name: String, create: Bool) throws(DiskFault) -> FileHandle {
    let access = isReadOnly ? O_RDONLY : O_RDWR
    let flags = access | O_CLOEXEC | (create ? O_CREAT | O_EXCL : 0)
    let descriptor = Self.retry { openat(directory, name, flags, 0o600) }
    guard descriptor >= 0 else {
      throw DiskFault(call: create ? .create : .open, file: name, errno: errno)
    }
    names[descriptor] = name
    return FileHandle(raw: descriptor)
  }

  /// Closes a file; not to be used after that. The corresponding C function is `close`.
  public mutating func close(_ file: FileHandle) {
    names[file.raw] = nil
    direct.forget(file.raw)
    _ = Glibc.close(file.raw)
  }

  /// The size in bytes. The corresponding C function is `fstat`.
  public mutating func size(of file: FileHandle) throws(DiskFault) -> UInt64 {
    var status = stat()
    guard fstat(file.raw, &status) == 0 else { throw fault(.size, file) }
    return UInt64(status.st_size)
  }

  /// Reads until the buffer is full or the file ends. The corresponding C function is `pread`.
  public mutating func read(
    _ file: FileHandle, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) -> Int {
    direct.end(file.raw)
    var done = 0
    while done < buffer.count {
      let count = pread(
        file.raw, buffer.baseAddress! + done, buffer.count - done, off_t(offset) + done)
      if count == 0 { break }
      if count > 0 {
        done += count
      } else if errno != EINTR {
        throw fault(.read, file)
      }
    }
    return done
  }

  /// Writes all bytes. The corresponding C function is `pwrite`.
  public mutating func write(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    direct.end(file.raw)
    var done = 0
    while done < bytes.count {
      let count = pwrite(
        file.raw, bytes.baseAddress! + done, bytes.count - done, off_t(offset) + done)
      if count > 0 {
        done += count
      } else if count == 0 {
        throw DiskFault(call: .write, file: name(of: file), errno: EIO)
      } else if errno != EINTR {
        throw fault(.write, file)
      }
    }
  }

  /// Writes all bytes past the cache, or through it where the file system has no other way. The
  /// corresponding C function is `pwritev` on a file with `O_DIRECT`.
  public mutating func writeSectors(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    switch direct.write(file.raw, bytes, at: offset) {
    case .done: break
    case .refused: try write(file, bytes, at: offset)
    case .failed(let number):
      throw DiskFault(call: .write, file: name(of: file), errno: number)
    }
  }

  /// Makes bytes and size durable. The corresponding C function is `fdatasync`.
  public mutating func force(_ file: FileHandle) throws(DiskFault) {
    let result = Self.retry { fdatasync(file.raw) }
    guard result == 0 else { throw fault(.force, file) }
  }

  /// Makes reads show what the medium holds; `PageCache` says how far that goes.
  public mutating func dropCache(of file: FileHandle) throws(DiskFault) -> UInt64 {
    PageCache.drop(file.raw)
    return PageCache.cachedByteCount(of: file.raw, byteCount: try size(of: file))
  }

  /// Sets the size. The corresponding C function is `ftruncate`.
  public mutating func truncate(_ file: FileHandle, to size: UInt64) throws(DiskFault) {
    let result = Self.retry { ftruncate(file.raw, off_t(size)) }
    guard result == 0 else { throw fault(.truncate, file) }
  }

  // MARK: Parts

  private var directory: Int32 { descriptor.raw }

  /// Reads the error number first: nothing may come between it and the call.
  private func fault(_ call: DiskCall, _ file: FileHandle) -> DiskFault {
    let number = errno
    return DiskFault(call: call, file: name(of: file), errno: number)
  }

  private func name(of file: FileHandle) -> String { names[file.raw] ?? "" }

  private static func retry(_ call: () -> Int32) -> Int32 {
    while true {
      let result = call()
      if result >= 0 || errno != EINTR { return result }
    }
  }

  /// True if the directory was made now.
  private static func make(_ path: String) throws(RecoveryError) -> Bool {
    if mkdir(path, 0o700) == 0 { return true }
    guard errno == EEXIST else { throw lastFault(.create, path) }
    return false
  }

  private static func openDirectory(_ path: String) throws(RecoveryError) -> Descriptor {
    let descriptor = retry { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw lastFault(.open, path) }
    return Descriptor(raw: descriptor)
  }

  private static func forceParent(of directory: Int32) throws(RecoveryError) {
    let descriptor = retry { openat(directory, "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
    guard descriptor >= 0 else { throw lastFault(.open, "..") }
    let parent = Descriptor(raw: descriptor)
    guard retry({ fsync(parent.raw) }) == 0 else { throw lastFault(.forceDirectory, "..") }
  }

  private static func lastFault(_ call: DiskCall, _ file: String) -> RecoveryError {
    let number = errno
    return .fault(DiskFault(call: call, file: file, errno: number))
  }
}

/// An open descriptor that closes itself.
struct Descriptor: ~Copyable {
  let raw: Int32
  deinit { _ = Glibc.close(raw) }
}
