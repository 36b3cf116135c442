import Base

/// What the headers of segments and checkpoints have in common, now and in later formats: a magic
/// of 8 bytes, the version (u32 at 8), and at 12 the CRC-32C of all other bytes of the header.
enum FileHeader {
  /// What the first bytes of a file are.
  enum Verdict: Equatable {
    case right
    /// Whole, but of a later version.
    case newer(version: UInt32)
    case wrong(String)
  }

  /// Opens nothing; reads the header of `file` into `bytes`, which is empty, and judges it.
  static func read<FS: FileSystem & ~Copyable>(
    _ file: FileHandle, magic: StaticString, byteCount: Int, into bytes: inout ByteBuffer,
    in fileSystem: inout FS
  ) throws(DiskFault) -> Verdict {
    let place = UnsafeMutableRawBufferPointer(start: bytes.extend(byteCount), count: byteCount)
    bytes.truncate(to: try fileSystem.read(file, into: place, at: 0))
    return judge(bytes.bytes, magic: magic, byteCount: byteCount)
  }

  /// Judges `bytes`, a whole header or less if the file is shorter.
  static func judge(
    _ bytes: UnsafeRawBufferPointer, magic: StaticString, byteCount: Int
  ) -> Verdict {
    guard bytes.count >= byteCount else { return .wrong("the file ends within its header") }
    for index in 0..<8 where bytes[index] != magic.utf8Start[index] {
      return .wrong("the header does not begin with the magic of its kind of file")
    }
    guard bytes.little(UInt32.self, at: 12) == checksum(bytes, byteCount: byteCount) else {
      return .wrong("the header does not match its checksum")
    }
    let version = bytes.little(UInt32.self, at: 8)
    return version == LogFormat.version ? .right : .newer(version: version)
  }

  /// Stores the checksum in the header of `byteCount` bytes that ends `buffer`.
  static func seal(_ buffer: inout ByteBuffer, byteCount: Int) {
    let start = buffer.count - byteCount
    let header = UnsafeRawBufferPointer(rebasing: buffer.bytes[start...])
    buffer.store(little: checksum(header, byteCount: byteCount), at: start + 12)
  }

  private static func checksum(_ bytes: UnsafeRawBufferPointer, byteCount: Int) -> UInt32 {
    let front = CRC32C.update(0, UnsafeRawBufferPointer(rebasing: bytes[0..<12]))
    return CRC32C.update(front, UnsafeRawBufferPointer(rebasing: bytes[16..<byteCount]))
  }
}

extension UnsafeRawBufferPointer {
  /// The little-endian integer at `offset`.
  @inline(__always)
  func little<T: FixedWidthInteger>(_: T.Type, at offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}
