import Base

// A checkpoint: the file `checkpoint-<number, 16 decimal digits>`, numbers ascending from 1; the
// greatest is the one that counts. Written under a temporary name, forced, renamed. All integers
// are little-endian.
//
// Header, 64 bytes at offset 0:
//    0  magic "TUPCKP\r\n"
//    8  u32 format version
//   12  u32 CRC-32C of the other 60 bytes
//   16  u64 identity of the directory, as in the log
//   24  u64 number, as in the name
//   32  u64 log sequence number M: replaying the records after M over the checkpoint gives the
//   state
//   40  zeroes
//
// Chunks follow at once, without gaps, to the end of the file:
//    0  u32 CRC-32C of the identity, the number, bytes 8..<24, payload and padding
//    4  u32 CRC-32C of the identity, the number and bytes 8..<24
//    8  u32 payload byte count
//   12  u32 kind: 1 entries (the payload is whole `Change`s), 2 footer
//   16  u64 index of the chunk, from 0
//   24  payload, then zeroes up to a multiple of 8
//
// The last chunk, and only it, is the footer. Its payload, 48 bytes:
//    0  u64 number of chunks of entries
//    8  u64 bytes of their payloads together
//   16  u64 greatest stamp ever used, in nanoseconds
//   24  i64 horizon, in Unix milliseconds
//   32  u64 sequence number of the segment that holds the first record after M, or will hold it;
//           segments before that one are not needed any more
//   40  u64 log sequence number L of the last record that the entries may reflect
//
// The entries are collected while writes go on, so some are newer than M. The log through L is
// forced before the checkpoint gets its name, and recovery refuses a log that ends before L:
// entries would show a part of a transaction whose record is gone.

/// The header of a checkpoint; see the top of this file.
struct CheckpointHeader: Equatable {
  static let magic: StaticString = "TUPCKP\r\n"
  static let byteCount = 64

  var identity: UInt64
  var number: UInt64
  var through: Mark

  /// Appends the header's bytes.
  func encode(into buffer: inout ByteBuffer) {
    buffer.append(Self.magic)
    buffer.append(little: LogFormat.version)
    buffer.append(little: UInt32(0))
    buffer.append(little: identity)
    buffer.append(little: number)
    buffer.append(little: through.number)
    buffer.append(zeroes: Self.byteCount - 40)
    FileHeader.seal(&buffer, byteCount: Self.byteCount)
  }

  /// What the checksums of this checkpoint's chunks begin with.
  var seed: UInt32 {
    var word = number.littleEndian
    return withUnsafeBytes(of: &word) { CRC32C.update(LogFormat.seed(identity: identity), $0) }
  }
}

extension CheckpointHeader {
  /// Reads a header whose frame was found right.
  init(_ bytes: UnsafeRawBufferPointer) {
    identity = bytes.little(UInt64.self, at: 16)
    number = bytes.little(UInt64.self, at: 24)
    through = Mark(bytes.little(UInt64.self, at: 32))
  }
}

/// What a chunk holds.
enum ChunkKind: UInt32 {
  case entries = 1
  case footer = 2
}

/// The header of a chunk, without its checksum of itself.
struct ChunkHeader: Equatable {
  static let byteCount = 24

  var checksum: UInt32
  var payloadByteCount: Int
  var kind: ChunkKind
  var index: UInt64

  /// The chunk with its header and padding.
  var byteCount: Int { (Self.byteCount + payloadByteCount + 7) & ~7 }

  /// Reads the 24 bytes at `place`; nil unless they are a whole header of this checkpoint.
  init?(at place: UnsafeRawPointer, seed: UInt32) {
    let bytes = UnsafeRawBufferPointer(start: place, count: Self.byteCount)
    let own = CRC32C.update(seed, UnsafeRawBufferPointer(rebasing: bytes[8...]))
    guard own == bytes.little(UInt32.self, at: 4),
      let kind = ChunkKind(rawValue: bytes.little(UInt32.self, at: 12))
    else { return nil }
    checksum = bytes.little(UInt32.self, at: 0)
    payloadByteCount = Int(bytes.little(UInt32.self, at: 8))
    self.kind = kind
    index = bytes.little(UInt64.self, at: 16)
  }

  /// True when the payload and padding behind the header at `place` are what was written.
  func matches(_ place: UnsafeRawPointer) -> Bool {
    let own = UInt32(littleEndian: place.loadUnaligned(fromByteOffset: 4, as: UInt32.self))
    let rest = UnsafeRawBufferPointer(
      start: place + Self.byteCount, count: byteCount - Self.byteCount)
    return checksum == CRC32C.update(own, rest)
  }

  /// Appends a whole chunk to `buffer`.
  static func encode(
    _ kind: ChunkKind, index: UInt64, payload: UnsafeRawBufferPointer, seed: UInt32,
    into buffer: inout ByteBuffer
  ) {
    invariant(payload.count <= UInt32.max, "a chunk's payload is below 4 GiB")
    let start = buffer.count
    buffer.append(little: UInt64(0))
    buffer.append(little: UInt32(payload.count))
    buffer.append(little: kind.rawValue)
    buffer.append(little: index)
    buffer.append(payload)
    buffer.append(zeroes: -payload.count & 7)
    let chunk = UnsafeRawBufferPointer(rebasing: buffer.bytes[start...])
    let own = CRC32C.update(seed, UnsafeRawBufferPointer(rebasing: chunk[8..<byteCount]))
    let all = CRC32C.update(own, UnsafeRawBufferPointer(rebasing: chunk[byteCount...]))
    buffer.store(little: all, at: start)
    buffer.store(little: own, at: start + 4)
  }
}

/// The payload of the footer; see the top of this file.
struct CheckpointFooter: Equatable {
  static let byteCount = 48

  var chunkCount: UInt64
  var payloadByteCount: UInt64
  var stamp: Stamp
  var horizonMillis: Int64
  var firstSegment: UInt64
  var logLast: Mark

  /// Appends the payload's bytes.
  func encode(into buffer: inout ByteBuffer) {
    buffer.append(little: chunkCount)
    buffer.append(little: payloadByteCount)
    buffer.append(little: stamp.nanos)
    buffer.append(little: horizonMillis)
    buffer.append(little: firstSegment)
    buffer.append(little: logLast.number)
  }
}

extension CheckpointFooter {
  /// Reads a payload; nil if it has another size.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == Self.byteCount else { return nil }
    chunkCount = bytes.little(UInt64.self, at: 0)
    payloadByteCount = bytes.little(UInt64.self, at: 8)
    stamp = Stamp(nanos: bytes.little(UInt64.self, at: 16))
    horizonMillis = bytes.little(Int64.self, at: 24)
    firstSegment = bytes.little(UInt64.self, at: 32)
    logLast = Mark(bytes.little(UInt64.self, at: 40))
  }
}
