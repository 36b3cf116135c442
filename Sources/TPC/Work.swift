import Base

/// How a key is locked: many may read, one may write.
public enum LockMode: UInt8, Sendable {
  /// Shared with others that read.
  case read = 0
  /// Alone.
  case write = 1
}

/// What a prepare carries: the names to lock, and a body that only the resource understands.
///
/// Layout, little-endian: u32 count of names, u32 bytes of names, u32 bytes of the body; then the
/// names, sorted by (kind, bytes) and unique, each u8 (bit 0 mode, bit 1 kind: 0 key, 1 operation
/// id), u16 length, bytes; then the body. An operation id is a name of 16 bytes, big-endian halves.
/// A value of this type was checked: it can be walked without further checks.
public struct Work: Sendable, Equatable {
  /// The layout above.
  let bytes: [UInt8]

  static let headerByteCount = 12
  /// Most bytes of one work: the store's limit for a transaction and its keys.
  public static let byteCountMax = 96 << 20
  /// Most names in one work.
  public static let nameCountMax = 400_000

  init(checked bytes: [UInt8]) { self.bytes = bytes }

  /// How many names are locked.
  public var nameCount: Int { word(0) }
  var namesByteCount: Int { word(4) }
  var bodyByteCount: Int { word(8) }

  private func word(_ offset: Int) -> Int {
    bytes.withUnsafeBytes {
      Int(UInt32(littleEndian: $0.loadUnaligned(fromByteOffset: offset, as: UInt32.self)))
    }
  }

  /// Lends the body.
  public func withBody<T>(_ use: (UnsafeRawBufferPointer) throws -> T) rethrows -> T {
    try bytes.withUnsafeBytes {
      try use(UnsafeRawBufferPointer(rebasing: $0[(Self.headerByteCount + namesByteCount)...]))
    }
  }

  /// Lends header and names, which are a work without a body but for its length.
  var names: ArraySlice<UInt8> { bytes[..<(Self.headerByteCount + namesByteCount)] }
}
