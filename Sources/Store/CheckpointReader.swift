import Base

/// What comes next in a checkpoint.
enum CheckpointRead {
  /// Whole `Change`s, valid until the next call; `at` is where their chunk begins.
  case entries(UnsafeRawBufferPointer, at: UInt64)
  /// The checkpoint is complete.
  case end(CheckpointFooter)
  /// The chunk that begins at `at` is not what was written. `next` is where the one behind it
  /// should begin, if its header can be trusted.
  case invalid(at: UInt64, String, next: UInt64?)
}

/// Reads one checkpoint from front to back.
struct CheckpointReader: ~Copyable {
  let header: CheckpointHeader
  private var window: FileWindow
  private var offset = UInt64(CheckpointHeader.byteCount)
  private var chunkCount: UInt64 = 0
  private var payloadByteCount: UInt64 = 0
  private let seed: UInt32

  /// `header` was found right.
  init(file: FileHandle, byteCount: UInt64, header: CheckpointHeader) {
    self.header = header
    window = FileWindow(file: file, byteCount: byteCount)
    seed = header.seed
  }

  /// Reads the next chunk; not to be called after `end`.
  mutating func next<FS: FileSystem & ~Copyable>(
    in fileSystem: inout FS
  ) throws(DiskFault) -> CheckpointRead {
    let at = offset
    let head = try window.bytes(at: at, count: ChunkHeader.byteCount, in: &fileSystem)
    guard head.count == ChunkHeader.byteCount, let place = head.baseAddress else {
      return .invalid(at: at, "the file ends before its footer", next: nil)
    }
    guard let chunk = ChunkHeader(at: place, seed: seed) else {
      return .invalid(at: at, "the chunk's header does not match its checksum", next: nil)
    }
    let whole = try window.bytes(at: at, count: chunk.byteCount, in: &fileSystem)
    guard whole.count == chunk.byteCount, let place = whole.baseAddress else {
      return .invalid(at: at, "the file ends within a chunk", next: nil)
    }
    offset = at + UInt64(chunk.byteCount)
    guard chunk.matches(place) else {
      skip(chunk)
      return .invalid(at: at, "the chunk does not match its checksum", next: offset)
    }
    guard chunk.index == chunkCount else {
      return .invalid(at: at, "the chunk has index \(chunk.index), not \(chunkCount)", next: nil)
    }
    let payload = UnsafeRawBufferPointer(
      start: place + ChunkHeader.byteCount, count: chunk.payloadByteCount)
    if chunk.kind == .footer { return end(payload, at: at) }
    skip(chunk)
    return .entries(payload, at: at)
  }

  /// The byte whose change explains why what stands at `offset` is no chunk.
  mutating func changedByte<FS: FileSystem & ~Copyable>(
    at offset: UInt64, in fileSystem: inout FS
  ) throws(DiskFault) -> UInt64? {
    var bytes = try window.bytes(at: offset, count: ChunkHeader.byteCount, in: &fileSystem)
    guard bytes.count == ChunkHeader.byteCount, let place = bytes.baseAddress else { return nil }
    let header = ChunkHeader(at: place, seed: seed)
    if let header {
      bytes = try window.bytes(at: offset, count: header.byteCount, in: &fileSystem)
      guard bytes.count == header.byteCount else { return nil }
    }
    return ChangedByte(
      framedAt: bytes, headerByteCount: ChunkHeader.byteCount, isHeaderRight: header != nil,
      seed: seed
    ).map { offset + UInt64($0.index) }
  }

  private mutating func skip(_ chunk: ChunkHeader) {
    chunkCount += 1
    payloadByteCount += UInt64(chunk.payloadByteCount)
  }

  private func end(_ payload: UnsafeRawBufferPointer, at: UInt64) -> CheckpointRead {
    guard let footer = CheckpointFooter(payload) else {
      return .invalid(at: at, "the footer has the wrong size", next: nil)
    }
    guard footer.chunkCount == chunkCount, footer.payloadByteCount == payloadByteCount else {
      return .invalid(at: at, "the footer counts other chunks than there are", next: nil)
    }
    guard offset == window.byteCount else {
      return .invalid(at: offset, "the file goes on after its footer", next: nil)
    }
    return .end(footer)
  }
}
