import Base

/// One open segment of the log.
struct SegmentFile {
  var sequence: UInt64
  var file: FileHandle
  /// The size of the file, header included.
  var byteCount: UInt64
  /// The first record in it; nil while there is none.
  var first: Mark?

  var name: String { DirectoryName.segment(named: sequence) }
}

/// A place in the log: a segment, by its index in a list of them, and an offset in its file.
struct LogPlace: Equatable {
  var index: Int
  var offset: UInt64
}

/// What stands at a place where a record may begin.
enum RecordFound {
  /// A whole record that begins at `at`, which is behind a gap if a group ended before it.
  case record(RecordHeader, payload: UnsafeRawBufferPointer, at: UInt64)
  /// Zeroes, or less room than a record needs.
  case nothing
  case invalid(at: UInt64, String)
}

/// Reads the records of one segment; knows nothing of their order.
struct SegmentReader: ~Copyable {
  let segment: SegmentFile
  private let seed: UInt32
  private var window: FileWindow

  /// `seed` is that of the directory's identity.
  init(_ segment: SegmentFile, seed: UInt32) {
    self.segment = segment
    self.seed = seed
    window = FileWindow(file: segment.file, byteCount: segment.byteCount)
  }

  /// Reads what stands at `offset`, a multiple of 8. The payload is valid until the next call.
  mutating func read<FS: FileSystem & ~Copyable>(
    at offset: UInt64, in fileSystem: inout FS
  ) throws(DiskFault) -> RecordFound {
    let aligned = LogFormat.alignedToSector(offset)
    if aligned > offset, aligned < segment.byteCount {
      let gap = try window.bytes(at: offset, count: Int(aligned - offset), in: &fileSystem)
      // A header that only begins in the gap is not all zero there: its checksums are not.
      if gap.allSatisfy({ $0 == 0 }) { return try readExactly(at: aligned, in: &fileSystem) }
      let found = try readExactly(at: offset, in: &fileSystem)
      guard case .nothing = found else { return found }
      return .invalid(at: offset, "neither a record nor zeroes")
    }
    return try readExactly(at: offset, in: &fileSystem)
  }

  private mutating func readExactly<FS: FileSystem & ~Copyable>(
    at offset: UInt64, in fileSystem: inout FS
  ) throws(DiskFault) -> RecordFound {
    let head = try window.bytes(
      at: offset, count: LogFormat.recordHeaderByteCount, in: &fileSystem)
    guard head.count == LogFormat.recordHeaderByteCount, let place = head.baseAddress else {
      return .nothing
    }
    if isZero(place) { return .nothing }
    guard let header = RecordHeader(at: place, seed: seed) else {
      return .invalid(at: offset, "the record's header does not match its checksum")
    }
    let whole = try window.bytes(at: offset, count: header.byteCount, in: &fileSystem)
    guard whole.count == header.byteCount, let place = whole.baseAddress else {
      return .invalid(at: offset, "the record is longer than what is left of its segment")
    }
    guard header.matches(place) else {
      return .invalid(at: offset, "the record does not match its checksum")
    }
    let payload = UnsafeRawBufferPointer(
      start: place + LogFormat.recordHeaderByteCount, count: header.payloadByteCount)
    return .record(header, payload: payload, at: offset)
  }

  // MARK: Looking around

  /// The first byte of `range` that is not zero.
  mutating func firstDirty<FS: FileSystem & ~Copyable>(
    in range: Range<UInt64>, _ fileSystem: inout FS
  ) throws(DiskFault) -> UInt64? {
    var offset = range.lowerBound
    while offset < range.upperBound {
      let bytes = try window.bytes(
        at: offset, count: Int(min(range.upperBound - offset, 1 << 16)), in: &fileSystem)
      if bytes.count == 0 { return nil }
      if let index = bytes.firstIndex(where: { $0 != 0 }) { return offset + UInt64(index) }
      offset += UInt64(bytes.count)
    }
    return nil
  }

  /// Where the first whole record behind `offset`, a multiple of 8, begins.
  mutating func nextRecord<FS: FileSystem & ~Copyable>(
    after offset: UInt64, _ fileSystem: inout FS
  ) throws(DiskFault) -> UInt64? {
    var offset = offset + 8
    while offset < segment.byteCount {
      if case .record = try readExactly(at: offset, in: &fileSystem) { return offset }
      offset += 8
    }
    return nil
  }

  /// The byte whose change explains why what stands at `offset` is no record.
  mutating func changedByte<FS: FileSystem & ~Copyable>(
    at offset: UInt64, _ fileSystem: inout FS
  ) throws(DiskFault) -> UInt64? {
    var bytes = try window.bytes(
      at: offset, count: LogFormat.recordHeaderByteCount, in: &fileSystem)
    guard bytes.count == LogFormat.recordHeaderByteCount, let place = bytes.baseAddress else {
      return nil
    }
    let header = RecordHeader(at: place, seed: seed)
    if let header {
      bytes = try window.bytes(at: offset, count: header.byteCount, in: &fileSystem)
      guard bytes.count == header.byteCount else { return nil }
    }
    return ChangedByte(
      framedAt: bytes, headerByteCount: LogFormat.recordHeaderByteCount,
      isHeaderRight: header != nil, seed: seed
    ).map { offset + UInt64($0.index) }
  }

  private func isZero(_ place: UnsafeRawPointer) -> Bool {
    var bits: UInt64 = 0
    for index in 0..<4 {
      bits |= place.loadUnaligned(fromByteOffset: index * 8, as: UInt64.self)
    }
    return bits == 0
  }
}

/// What comes next in the log.
enum LogStep {
  case record(RecordHeader, payload: UnsafeRawBufferPointer, at: LogPlace)
  /// No record that follows the last one. `broken` tells where something else stands instead, and
  /// why it is not the next record; nil when there is nothing.
  case end(broken: LogFlaw?)
}

/// Bytes of the log that are not what should be there.
struct LogFlaw {
  var place: LogPlace
  var reason: String
}

/// Reads the records of a whole log in order, each of which must follow the one before it.
struct LogReader: ~Copyable {
  private(set) var segments: [SegmentFile]
  /// Where the next record would begin, if its segment has room for it.
  private(set) var place: LogPlace
  /// The record that was read last; nil while it is not known which one is first.
  private(set) var last: Mark?
  /// The checksum of the record that was read last.
  private(set) var checksum: UInt32 = 0
  private let seed: UInt32
  private var reader: SegmentReader

  /// `after`: the record before the first one in the log, or nil if it is not known. There is at
  /// least one segment, and their sequence numbers follow one another.
  init(_ segments: [SegmentFile], identity: UInt64, after: Mark?) {
    self.segments = segments
    seed = LogFormat.seed(identity: identity)
    last = after
    place = LogPlace(index: 0, offset: UInt64(LogFormat.sectorByteCount))
    reader = SegmentReader(segments[0], seed: seed)
  }

  /// Reads the next record. The payload is valid until the next call.
  mutating func next<FS: FileSystem & ~Copyable>(
    in fileSystem: inout FS
  ) throws(DiskFault) -> LogStep {
    switch try reader.read(at: place.offset, in: &fileSystem) {
    case .record(let header, let payload, let offset):
      let found = LogPlace(index: place.index, offset: offset)
      if let reason = breach(header) {
        return .end(broken: LogFlaw(place: found, reason: reason))
      }
      return accept(header, payload, found)
    case .nothing:
      return try nextSegment(in: &fileSystem)
    case .invalid(let offset, let reason):
      let found = LogPlace(index: place.index, offset: offset)
      return .end(broken: LogFlaw(place: found, reason: reason))
    }
  }

  /// Why a record does not follow the last one; nil when it does.
  func breach(_ header: RecordHeader) -> String? {
    guard let last else { return nil }
    guard header.mark == last.next else {
      return "the record has log sequence number \(header.mark.number)"
    }
    guard header.previousChecksum == checksum else {
      return "the record does not follow the one before it"
    }
    return nil
  }

  /// Where the log goes on in a later segment although something else stands at `place`; nil if it
  /// does not. No crash leaves that: a segment is complete and forced before the next one is used.
  mutating func resumes<FS: FileSystem & ~Copyable>(
    in fileSystem: inout FS
  ) throws(DiskFault) -> LogPlace? {
    let start = UInt64(LogFormat.sectorByteCount)
    for index in segments.indices.dropFirst(place.index + 1) {
      var later = SegmentReader(segments[index], seed: seed)
      switch try later.read(at: start, in: &fileSystem) {
      case .nothing: continue
      case .invalid: return nil
      case .record(let header, _, _):
        return breach(header) == nil ? LogPlace(index: index, offset: start) : nil
      }
    }
    return nil
  }

  /// Goes on at the start of a later segment; empty ones are passed over.
  private mutating func nextSegment<FS: FileSystem & ~Copyable>(
    in fileSystem: inout FS
  ) throws(DiskFault) -> LogStep {
    let start = UInt64(LogFormat.sectorByteCount)
    for index in segments.indices.dropFirst(place.index + 1) {
      var later = SegmentReader(segments[index], seed: seed)
      let found = LogPlace(index: index, offset: start)
      switch try later.read(at: start, in: &fileSystem) {
      case .nothing:
        continue
      case .invalid(_, let reason):
        return .end(broken: LogFlaw(place: found, reason: reason))
      case .record(let header, let payload, _):
        if let reason = breach(header) {
          return .end(broken: LogFlaw(place: found, reason: reason))
        }
        reader = later
        return accept(header, payload, found)
      }
    }
    return .end(broken: nil)
  }

  private mutating func accept(
    _ header: RecordHeader, _ payload: UnsafeRawBufferPointer, _ found: LogPlace
  ) -> LogStep {
    if segments[found.index].first == nil { segments[found.index].first = header.mark }
    place = LogPlace(index: found.index, offset: found.offset + UInt64(header.byteCount))
    last = header.mark
    checksum = header.checksum
    return .record(header, payload: payload, at: found)
  }
}
