import Base

/// What stands behind the last record that can be read: nothing, a torn tail, or proof of damage.
///
/// The rule is at the top of LogFormat.swift.
struct LogTail {
  /// Bytes that are not zero: from the first through the last one, in one segment.
  struct Remains {
    var index: Int
    var range: Range<UInt64>
  }

  /// At most one a segment, in order.
  var remains: [Remains] = []
  /// A record that was written only after the missing one had been durable.
  var proof: (mark: Mark, place: LogPlace)?

  /// Looks through everything from `place` on, where record `expected` should be and is not.
  ///
  /// A record's header alone is proof, so the payload of what is found is not read: its cost does
  /// not depend on what the bytes say.
  init<FS: FileSystem & ~Copyable>(
    of segments: [SegmentFile], from place: LogPlace, expected: Mark, identity: UInt64,
    in fileSystem: inout FS
  ) throws(DiskFault) {
    let seed = LogFormat.seed(identity: identity)
    for index in segments.indices.dropFirst(place.index) {
      let start = UInt64(LogFormat.sectorByteCount)
      try scan(
        segments[index], index: index, from: index == place.index ? place.offset : start,
        expected: expected, seed: seed, in: &fileSystem)
    }
  }

  /// How many bytes at a time are looked through.
  private static let blockByteCount = 1 << 20

  private mutating func scan<FS: FileSystem & ~Copyable>(
    _ segment: SegmentFile, index: Int, from first: UInt64, expected: Mark, seed: UInt32,
    in fileSystem: inout FS
  ) throws(DiskFault) {
    var window = FileWindow(
      file: segment.file, byteCount: segment.byteCount,
      readByteCount: Self.blockByteCount + LogFormat.recordHeaderByteCount)
    var offset = first
    while offset < segment.byteCount {
      let block = try window.bytes(
        at: offset, count: Self.blockByteCount + LogFormat.recordHeaderByteCount, in: &fileSystem)
      guard let base = block.baseAddress, block.count > 0 else { return }
      let own = min(block.count, Self.blockByteCount)
      var at = 0
      while at < own {
        defer { at += 8 }
        guard isDirty(base + at, count: min(8, own - at)) else { continue }
        note(index: index, from: offset + UInt64(at), count: min(8, own - at))
        guard at + LogFormat.recordHeaderByteCount <= block.count, proof == nil,
          let header = header(at: base + at, seed: seed), header.mark > expected,
          let firstOfGroup = header.firstOfGroup, firstOfGroup > expected
        else { continue }
        proof = (header.mark, LogPlace(index: index, offset: offset + UInt64(at)))
      }
      offset += UInt64(own)
    }
  }

  @inline(__always)
  private func isDirty(_ place: UnsafeRawPointer, count: Int) -> Bool {
    if count == 8 { return place.loadUnaligned(as: UInt64.self) != 0 }
    return UnsafeRawBufferPointer(start: place, count: count).contains { $0 != 0 }
  }

  /// Nearly all bytes are refused by the kind and the zeroes behind it, before a checksum is made.
  @inline(__always)
  private func header(at place: UnsafeRawPointer, seed: UInt32) -> RecordHeader? {
    let kind = UInt32(littleEndian: place.loadUnaligned(fromByteOffset: 28, as: UInt32.self))
    guard kind == 1 || kind == 2 else { return nil }
    return RecordHeader(at: place, seed: seed)
  }

  private mutating func note(index: Int, from offset: UInt64, count: Int) {
    let end = offset + UInt64(count)
    if let last = remains.indices.last, remains[last].index == index {
      remains[last].range = remains[last].range.lowerBound..<end
    } else {
      remains.append(Remains(index: index, range: offset..<end))
    }
  }
}
