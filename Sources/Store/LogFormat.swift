import Base

// The log: files `log-<sequence number, 16 decimal digits>`, called segments, in the order of their
// numbers. All integers are little-endian.
//
// A segment is written full of zeroes and forced under a temporary name, then renamed, before its
// first record is written, so a force of records changes no file's size and no directory. A file
// that carries a segment's name therefore has a valid header and its full size; anything else is
// damage.
//
// Segment header, 64 bytes at offset 0:
//    0  magic "TUPLOG\r\n"
//    8  u32 format version
//   12  u32 CRC-32C of the other 60 bytes
//   16  u64 identity of the directory: drawn at its first start, equal in all its files
//   24  u64 sequence number, as in the name
//   32  u64 size of the file
//   40  zeroes
// Version and checksum stay at their places in every later format, so that a newer format is told
// from a damaged header.
//
// Records follow from offset 512. One record is one transaction, and never spans segments:
//    0  u32 CRC-32C of the identity, bytes 8..<32, payload and padding
//    4  u32 CRC-32C of the identity and bytes 8..<32: the length can be trusted before the payload
//           is read, and bytes that a client chose cannot pass for a header, as it does not know
//           the identity
//    8  u32 payload byte count
//   12  u32 group offset: how many records after the first one of its group this one is
//   16  u64 log sequence number
//   24  u32 checksum (bytes 0..<4) of the record before it; 0 for record 1
//   28  u8  kind: 1 changes, 2 close (the log ends in order here; no payload)
//   29  zeroes
//   32  payload: whole `Change`s, then zeroes up to a multiple of 8
//
// A group is what was handed to the disk at once. Each begins at a multiple of 512 bytes, so that
// writing it touches no sector that holds what was acknowledged before; the gap is zeroes. A group
// that does not fit goes on in the next segment, record by record.
//
// A group is written only after the one before it was forced (groups that were not to be forced
// count as one with the next that is). So a valid record proves that everything before the first
// record of its group had been durable. That is how a torn tail is told from damage: where a record
// should be and is not, recovery looks for valid records behind. If one of a later group is found,
// the missing one had been durable: damage, and recovery stops. Otherwise the missing one and what
// is behind it were never acknowledged: the tail is cut, which means written over with zeroes and
// forced before anything is appended. After the last record everything is zero.

/// Numbers of the log format; see the top of this file.
public enum LogFormat {
  /// The format version that this code writes, and the greatest that it reads.
  public static let version: UInt32 = 1
  /// Where the first record of a segment begins; also the alignment of groups.
  @inlinable public static var sectorByteCount: Int { 512 }
  /// The size of a record without its payload and padding.
  @inlinable public static var recordHeaderByteCount: Int { 32 }
  /// The size of a segment's header.
  public static let segmentHeaderByteCount = 64
  /// A group offset that says nothing: the group has more records than can be counted.
  @inlinable public static var groupOffsetUnknown: UInt32 { .max }

  /// The size of a record whose payload has `payloadByteCount` bytes.
  @inlinable public static func recordByteCount(payload payloadByteCount: Int) -> Int {
    (recordHeaderByteCount + payloadByteCount + 7) & ~7
  }

  /// The first multiple of the sector size at or after `offset`.
  @inlinable public static func alignedToSector(_ offset: UInt64) -> UInt64 {
    (offset + UInt64(sectorByteCount) - 1) & ~UInt64(sectorByteCount - 1)
  }

  /// What the checksums of a directory's records begin with.
  static func seed(identity: UInt64) -> UInt32 {
    var word = identity.littleEndian
    return withUnsafeBytes(of: &word) { CRC32C.update(0, $0) }
  }
}

/// What a record is.
public enum RecordKind: UInt8, Sendable {
  /// One transaction: its payload is whole `Change`s, applied all or none.
  case changes = 1
  /// The end of a log that was closed in order.
  case close = 2
}

/// The header of a record, without its checksum of itself.
struct RecordHeader: Equatable {
  var checksum: UInt32
  var payloadByteCount: Int
  var groupOffset: UInt32
  var mark: Mark
  var previousChecksum: UInt32
  var kind: RecordKind

  /// The record with its header and padding.
  var byteCount: Int { LogFormat.recordByteCount(payload: payloadByteCount) }

  /// The first record of its group, or nil when the group offset says nothing.
  var firstOfGroup: Mark? {
    groupOffset == LogFormat.groupOffsetUnknown ? nil : Mark(mark.number - UInt64(groupOffset))
  }
}

extension RecordHeader {
  /// Completes the record at `place`, whose payload and padding are in place already, and returns
  /// its checksum. The value of `checksum` is ignored.
  @inline(__always)
  func seal(at place: UnsafeMutableRawPointer, seed: UInt32) -> UInt32 {
    // In words of eight bytes, as the checksum reads them: a load of what two stores wrote waits
    // until both have reached memory.
    let first = UInt64(UInt32(payloadByteCount)) | UInt64(groupOffset) << 32
    let last = UInt64(previousChecksum) | UInt64(kind.rawValue) << 32
    place.storeBytes(of: first.littleEndian, toByteOffset: 8, as: UInt64.self)
    place.storeBytes(of: mark.number.littleEndian, toByteOffset: 16, as: UInt64.self)
    place.storeBytes(of: last.littleEndian, toByteOffset: 24, as: UInt64.self)
    let own = CRC32C.update(seed, UnsafeRawBufferPointer(start: place + 8, count: 24))
    let checksum = CRC32C.update(
      own, UnsafeRawBufferPointer(start: place + 32, count: byteCount - 32))
    place.storeBytes(of: checksum.littleEndian, as: UInt32.self)
    place.storeBytes(of: own.littleEndian, toByteOffset: 4, as: UInt32.self)
    return checksum
  }

  /// Reads the 32 bytes at `place`; nil unless they are a whole header of this directory.
  @inline(__always)
  init?(at place: UnsafeRawPointer, seed: UInt32) {
    let own = CRC32C.update(seed, UnsafeRawBufferPointer(start: place + 8, count: 24))
    guard own == UInt32(littleEndian: place.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    else { return nil }
    let kindWord = UInt32(
      littleEndian: place.loadUnaligned(fromByteOffset: 28, as: UInt32.self))
    guard kindWord <= 255, let kind = RecordKind(rawValue: UInt8(kindWord)) else { return nil }
    checksum = UInt32(littleEndian: place.loadUnaligned(as: UInt32.self))
    payloadByteCount = Int(
      UInt32(littleEndian: place.loadUnaligned(fromByteOffset: 8, as: UInt32.self)))
    groupOffset = UInt32(littleEndian: place.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    mark = Mark(
      UInt64(littleEndian: place.loadUnaligned(fromByteOffset: 16, as: UInt64.self)))
    previousChecksum = UInt32(
      littleEndian: place.loadUnaligned(fromByteOffset: 24, as: UInt32.self))
    self.kind = kind
    guard mark > .zero, UInt64(groupOffset) < mark.number || firstOfGroup == nil else { return nil }
  }

  /// True when the payload and padding behind the header at `place` are what was written.
  @inline(__always)
  func matches(_ place: UnsafeRawPointer) -> Bool {
    #if MUTANTS
      if Mutant.active == .serveTornRecord { return true }
    #endif
    let own = UInt32(littleEndian: place.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    return checksum
      == CRC32C.update(own, UnsafeRawBufferPointer(start: place + 32, count: byteCount - 32))
  }
}

/// The header of a segment; see the top of this file.
struct SegmentHeader: Equatable {
  static let magic: StaticString = "TUPLOG\r\n"

  var identity: UInt64
  var sequence: UInt64
  var byteCount: UInt64

  /// Appends the header's bytes.
  func encode(into buffer: inout ByteBuffer) {
    buffer.append(Self.magic)
    buffer.append(little: LogFormat.version)
    buffer.append(little: UInt32(0))
    buffer.append(little: identity)
    buffer.append(little: sequence)
    buffer.append(little: byteCount)
    buffer.append(zeroes: LogFormat.segmentHeaderByteCount - 40)
    FileHeader.seal(&buffer, byteCount: LogFormat.segmentHeaderByteCount)
  }

  /// Reads a header whose frame was found right.
  init(_ bytes: UnsafeRawBufferPointer) {
    identity = bytes.little(UInt64.self, at: 16)
    sequence = bytes.little(UInt64.self, at: 24)
    byteCount = bytes.little(UInt64.self, at: 32)
  }

  init(identity: UInt64, sequence: UInt64, byteCount: UInt64) {
    self.identity = identity
    self.sequence = sequence
    self.byteCount = byteCount
  }

  /// Why this is not the header of a segment of that directory, number and size; nil if it is.
  func breach(identity: UInt64, sequence: UInt64, byteCount: UInt64) -> String? {
    if self.identity != identity { return "it belongs to another directory" }
    if self.sequence != sequence { return "it is segment \(self.sequence)" }
    if self.byteCount != byteCount {
      return "the file has \(byteCount) bytes, not \(self.byteCount)"
    }
    return nil
  }
}
