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
  static let nameHeaderByteCount = 3
  /// Most bytes of one work: the store's limit for a transaction and its keys.
  public static let byteCountMax = 96 << 20
  /// Most names in one work.
  public static let nameCountMax = 400_000

  init(checked bytes: [UInt8]) { self.bytes = bytes }

  /// How many names are locked.
  public var nameCount: Int { word(0) }
  private var namesByteCount: Int { word(4) }

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

  /// The names without the body: what locks and records keep.
  var withoutBody: Work {
    let end = Self.headerByteCount + namesByteCount
    guard end < bytes.count else { return self }
    var names = Array(bytes[..<end])
    names.store(little: UInt32(0), at: 8)
    return Work(checked: names)
  }
}

/// A checked work that still lies in a message.
struct WorkView {
  let bytes: UnsafeRawBufferPointer
  private let namesEnd: Int

  /// Checks foreign bytes; nil when they are not the layout of `Work`.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = ByteReader(bytes)
    guard let count = reader.integer(UInt32.self), let namesByteCount = reader.integer(UInt32.self),
      let bodyByteCount = reader.integer(UInt32.self), count <= Work.nameCountMax,
      bytes.count <= Work.byteCountMax,
      reader.count == Int(namesByteCount) + Int(bodyByteCount)
    else { return nil }
    namesEnd = Work.headerByteCount + Int(namesByteCount)
    self.bytes = bytes
    guard Self.areSorted(bytes, end: namesEnd, count: Int(count)) else { return nil }
  }

  var body: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: bytes[namesEnd...]) }
  /// A copy with the body.
  var copy: Work { Work(checked: Array(bytes)) }
  /// A copy of the names.
  var names: Work {
    var names = Array(bytes[..<namesEnd])
    names.store(little: UInt32(0), at: 8)
    return Work(checked: names)
  }

  private static func areSorted(_ bytes: UnsafeRawBufferPointer, end: Int, count: Int) -> Bool {
    var at = Work.headerByteCount
    var seen = 0
    var previous = Name(offset: 0, length: 0, flags: 0)
    while at < end {
      guard end - at > Work.nameHeaderByteCount else { return false }
      let name = Name(bytes, at: at)
      guard name.flags <= 3, name.length > 0, name.end <= end else { return false }
      guard !name.isOperation || name.length == 16 else { return false }
      if seen > 0, !previous.precedes(name, in: bytes) { return false }
      previous = name
      seen += 1
      at = name.end
    }
    return seen == count
  }
}

/// Where a name lies in the bytes of a work.
struct Name {
  let offset: Int
  let length: Int
  let flags: UInt8

  init(offset: Int, length: Int, flags: UInt8) {
    self.offset = offset
    self.length = length
    self.flags = flags
  }

  /// Reads the three bytes before a name at `at`.
  @inline(__always) init(_ bytes: UnsafeRawBufferPointer, at: Int) {
    flags = bytes[at]
    length = Int(
      UInt16(littleEndian: bytes.loadUnaligned(fromByteOffset: at + 1, as: UInt16.self)))
    offset = at + Work.nameHeaderByteCount
  }

  var end: Int { offset + length }
  var mode: LockMode { flags & 1 == 0 ? .read : .write }
  var isOperation: Bool { flags & 2 != 0 }

  @inline(__always) func bytes(in all: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: all.baseAddress.unsafelyUnwrapped + offset, count: length)
  }

  func precedes(_ other: Name, in all: UnsafeRawBufferPointer) -> Bool {
    if isOperation != other.isOperation { return other.isOperation }
    return namePrecedes(bytes(in: all), other.bytes(in: all))
  }
}

/// Whether `a` sorts before `b`, byte by byte, eight bytes a step.
func namePrecedes(_ a: UnsafeRawBufferPointer, _ b: UnsafeRawBufferPointer) -> Bool {
  let shorter = min(a.count, b.count)
  var at = 0
  while at + 8 <= shorter {
    let x = UInt64(bigEndian: a.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    let y = UInt64(bigEndian: b.loadUnaligned(fromByteOffset: at, as: UInt64.self))
    if x != y { return x < y }
    at += 8
  }
  while at < shorter {
    if a[at] != b[at] { return a[at] < b[at] }
    at += 1
  }
  return a.count < b.count
}
