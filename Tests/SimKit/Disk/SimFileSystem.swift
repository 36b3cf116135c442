import Base
import Store

/// The `FileSystem` that a simulated node's disk worker writes through: a view of a `SimDirectory`
/// for one life of the node.
struct SimFileSystem: FileSystem, ~Copyable, @unchecked Sendable {
  let directory: SimDirectory

  mutating func list() throws(DiskFault) -> [String] { try directory.list() }

  mutating func open(_ name: String, create: Bool) throws(DiskFault) -> FileHandle {
    try directory.open(name, create: create)
  }

  mutating func close(_ file: FileHandle) { directory.close(file) }

  mutating func size(of file: FileHandle) throws(DiskFault) -> UInt64 {
    try directory.size(of: file)
  }

  mutating func read(
    _ file: FileHandle, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) -> Int {
    try directory.read(file, into: buffer, at: offset)
  }

  mutating func write(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    try directory.write(file, bytes, at: offset)
  }

  /// With the zeroes that the real one may write behind the bytes.
  mutating func writeSectors(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    var padded = ByteBuffer(capacity: bytes.count + LogFormat.sectorByteCount)
    padded.append(bytes)
    padded.append(zeroes: -bytes.count & (LogFormat.sectorByteCount - 1))
    try directory.write(file, padded.bytes, at: offset)
  }

  mutating func force(_ file: FileHandle) throws(DiskFault) { try directory.force(file) }

  mutating func dropCache(of file: FileHandle) throws(DiskFault) -> UInt64 {
    try directory.dropCache(of: file)
  }

  mutating func truncate(_ file: FileHandle, to size: UInt64) throws(DiskFault) {
    try directory.truncate(file, to: size)
  }

  mutating func rename(_ from: String, to: String) throws(DiskFault) {
    try directory.rename(from, to: to)
  }

  mutating func remove(_ name: String) throws(DiskFault) { try directory.remove(name) }

  mutating func forceDirectory() throws(DiskFault) { try directory.forceDirectory() }
}
