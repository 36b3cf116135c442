import Base

/// The names of the calls that a data directory needs, for errors and fault injection.
public enum DiskCall: UInt8, Sendable, CaseIterable {
  case open, create, read, write, force, rename, remove, forceDirectory, list, size, truncate, lock
}

/// A failure of the machine: the call, the file and the C error number.
public struct DiskFault: Error, Equatable, Sendable {
  /// What was being done.
  public var call: DiskCall
  /// The file's name within the directory, or the directory's path.
  public var file: String
  /// The C error number.
  public var errno: Int32

  /// Joins the parts.
  public init(call: DiskCall, file: String, errno: Int32) {
    self.call = call
    self.file = file
    self.errno = errno
  }

  /// True for ENOSPC and EDQUOT: the disk is full, which heals; all else does not.
  public var isNoSpace: Bool { errno == 28 || errno == 122 }
}

/// Names an open file within one `FileSystem`.
public struct FileHandle: Hashable, Sendable {
  /// The descriptor's number.
  public var raw: Int32
  /// Wraps a descriptor's number.
  public init(raw: Int32) { self.raw = raw }
}

/// One flat data directory, synchronous; used by the disk thread only (and before it starts).
///
/// After a crash each 512-byte sector of a write that no later completed `force` covers holds its
/// old bytes, its new bytes or neither, and each name created, renamed or removed since the last
/// `forceDirectory` is there or not. A failed `force` is final: it is never retried in the same
/// run, as the system takes for written what is not: a later `force` says nothing of it, and reads
/// show it until `dropCache`.
public protocol FileSystem: ~Copyable {
  /// All names in the directory, sorted.
  mutating func list() throws(DiskFault) -> [String]
  /// Opens an existing file for reading and writing (`create == false`), or makes a new one that
  /// must not exist.
  mutating func open(_ name: String, create: Bool) throws(DiskFault) -> FileHandle
  mutating func close(_ file: FileHandle)
  mutating func size(of file: FileHandle) throws(DiskFault) -> UInt64
  /// Fills `buffer` from `offset`; returns how many bytes there were before the end of the file.
  mutating func read(
    _ file: FileHandle, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) -> Int
  /// Writes all of `bytes` at `offset`, extending the file if needed.
  mutating func write(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault)
  /// Writes all of `bytes` at `offset`, a multiple of `LogFormat.sectorByteCount`, and may write
  /// zeroes behind them up to the next one. Past the system's cache where that is possible: for
  /// bytes in bulk that are not read again soon. Cheapest from memory that begins at a multiple.
  mutating func writeSectors(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault)
  /// Makes the file's bytes and size durable. The corresponding C function is `fdatasync`.
  mutating func force(_ file: FileHandle) throws(DiskFault)
  /// Makes reads show what the medium holds; to be called after a `force`. Returns how many bytes
  /// are in memory all the same, as the system may not comply.
  mutating func dropCache(of file: FileHandle) throws(DiskFault) -> UInt64
  mutating func truncate(_ file: FileHandle, to size: UInt64) throws(DiskFault)
  mutating func rename(_ from: String, to: String) throws(DiskFault)
  mutating func remove(_ name: String) throws(DiskFault)
  /// Makes names created, renamed and removed durable.
  mutating func forceDirectory() throws(DiskFault)
}
