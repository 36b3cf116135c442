/// A view of one file through a buffer that moves along it, for reading from front to back.
///
/// Reads at least `readByteCount` bytes at a time; grows only for a piece that is longer than that.
struct FileWindow: ~Copyable {
  let file: FileHandle
  /// The size of the file when it was opened.
  let byteCount: UInt64
  private let readByteCount: Int
  private var buffer: UnsafeMutableRawBufferPointer
  private var start: UInt64 = 0
  private var count = 0

  init(file: FileHandle, byteCount: UInt64, readByteCount: Int = 1 << 20) {
    self.file = file
    self.byteCount = byteCount
    self.readByteCount = readByteCount
    buffer = UnsafeMutableRawBufferPointer(start: nil, count: 0)
  }

  deinit { buffer.deallocate() }

  /// The `count` bytes at `offset`, or fewer where the file ends; valid until the next call.
  mutating func bytes<FS: FileSystem & ~Copyable>(
    at offset: UInt64, count wanted: Int, in fileSystem: inout FS
  ) throws(DiskFault) -> UnsafeRawBufferPointer {
    guard offset < byteCount else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    let wanted = Int(min(UInt64(wanted), byteCount - offset))
    if offset < start || offset + UInt64(wanted) > start + UInt64(count) {
      try load(at: offset, count: wanted, in: &fileSystem)
    }
    let first = Int(offset - start)
    let there = max(0, min(wanted, count - first))
    return UnsafeRawBufferPointer(rebasing: buffer[first..<first + there])
  }

  private mutating func load<FS: FileSystem & ~Copyable>(
    at offset: UInt64, count wanted: Int, in fileSystem: inout FS
  ) throws(DiskFault) {
    if buffer.count < max(wanted, readByteCount) {
      buffer.deallocate()
      buffer = .allocate(byteCount: max(wanted, readByteCount), alignment: 16)
    }
    start = offset
    count = 0
    count = try fileSystem.read(file, into: buffer, at: offset)
  }
}
