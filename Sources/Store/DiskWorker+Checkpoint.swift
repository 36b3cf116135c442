import Base

/// A checkpoint that is being written under a temporary name.
struct CheckpointWriter {
  var header: CheckpointHeader
  var file: FileHandle
  var byteCount: UInt64 = 0
  var unforcedByteCount = 0
  var chunkCount: UInt64 = 0
  var payloadByteCount: UInt64 = 0
  /// Bytes of the log that had been written when it began.
  var logByteCountAtBegin: UInt64

  var name: String { DirectoryName.checkpoint(named: header.number) }
  var temporaryName: String { DirectoryName.temporary(name) }
}

/// What became of a checkpoint by one step.
enum CheckpointOutcome {
  case underWay
  case finished
  case failed
}

extension DiskWorker where FS: ~Copyable {
  /// Does one step; `bytes` are whole `Change`s. A checkpoint for which there is no room is
  /// abandoned, and its later steps do nothing.
  mutating func checkpointStep(
    _ step: CheckpointStep, _ bytes: UnsafeRawBufferPointer
  ) throws(DiskFault) -> CheckpointOutcome {
    do {
      switch step {
      case .none:
        return .underWay
      case .begin(let through):
        try beginCheckpoint(through: through)
        try append(bytes)
        return .underWay
      case .entries:
        guard checkpoint != nil else { return .failed }
        try append(bytes)
        return .underWay
      case .finish(let stamp, let horizonMillis):
        guard checkpoint != nil else { return .failed }
        try append(bytes)
        try finishCheckpoint(stamp: stamp, horizonMillis: horizonMillis)
        return .finished
      case .abandon:
        return try abandonCheckpoint() ? .failed : .underWay
      }
    } catch {
      guard error.isOnlyNoSpace else { throw error }
      _ = try abandonCheckpoint()
      return .failed
    }
  }

  /// Removes the temporary file; false if there is no checkpoint under way.
  mutating func abandonCheckpoint() throws(DiskFault) -> Bool {
    guard let begun = checkpoint else { return false }
    checkpoint = nil
    checkpointBuffer.removeAll(keep: options.bufferByteCountMax)
    fileSystem.close(begun.file)
    try fileSystem.remove(begun.temporaryName)
    return true
  }

  private mutating func beginCheckpoint(through: Mark) throws(DiskFault) {
    invariant(checkpoint == nil, "one checkpoint is written at a time")
    invariant(through <= written, "a checkpoint begins at a record that is written")
    // On a full disk what was reserved for the next segment is better used here.
    if noSpace { try discardPreparation() }
    let header = CheckpointHeader(
      identity: identity, number: checkpointNumber + 1, through: through)
    let name = DirectoryName.temporary(DirectoryName.checkpoint(named: header.number))
    let file = try fileSystem.open(name, create: true)
    checkpoint = CheckpointWriter(
      header: header, file: file, logByteCountAtBegin: logByteCount)
    header.encode(into: &checkpointBuffer)
    try write(all: false)
  }

  private mutating func append(_ entries: UnsafeRawBufferPointer) throws(DiskFault) {
    guard entries.count > 0, let begun = checkpoint else { return }
    ChunkHeader.encode(
      .entries, index: begun.chunkCount, payload: entries, seed: begun.header.seed,
      into: &checkpointBuffer)
    try write(all: false)
    checkpoint?.chunkCount += 1
    checkpoint?.payloadByteCount += UInt64(entries.count)
  }

  /// Writes the whole sectors of what is to be written, or all of it, at the end of the temporary
  /// file; forces it now and then, so that the last force is short.
  private mutating func write(all: Bool) throws(DiskFault) {
    guard var begun = checkpoint else { return }
    let whole = checkpointBuffer.count & ~(LogFormat.sectorByteCount - 1)
    try writeSectors(whole, of: begun)
    begun.byteCount += UInt64(whole)
    begun.unforcedByteCount += whole
    checkpointBuffer.consume(whole)
    if all {
      let rest = checkpointBuffer.count
      try put(checkpointBuffer.bytes, into: begun, inSectors: false)
      begun.byteCount += UInt64(rest)
      begun.unforcedByteCount += rest
      checkpointBuffer.removeAll(keep: options.bufferByteCountMax)
    }
    if begun.unforcedByteCount >= options.unforcedByteCountMax {
      try fileSystem.force(begun.file)
      begun.unforcedByteCount = 0
    }
    checkpoint = begun
  }

  private mutating func writeSectors(
    _ count: Int, of begun: CheckpointWriter
  ) throws(DiskFault) {
    guard count > 0 else { return }
    let sectors = UnsafeRawBufferPointer(rebasing: checkpointBuffer.bytes[..<count])
    try put(sectors, into: begun, inSectors: options.bypassesCache)
  }

  /// Writes at the end of the temporary file. Where there is no room, the half-made next segment
  /// gives up its own: a checkpoint makes more.
  private mutating func put(
    _ bytes: UnsafeRawBufferPointer, into begun: CheckpointWriter, inSectors: Bool
  ) throws(DiskFault) {
    while true {
      do {
        if inSectors {
          try fileSystem.writeSectors(begun.file, bytes, at: begun.byteCount)
        } else {
          try fileSystem.write(begun.file, bytes, at: begun.byteCount)
        }
        return
      } catch {
        guard error.isOnlyNoSpace, preparation != nil else { throw error }
        try discardPreparation()
        noSpace = true
      }
    }
  }

  private mutating func finishCheckpoint(
    stamp: Stamp, horizonMillis: Int64
  ) throws(DiskFault) {
    guard let begun = checkpoint else { return }
    // The entries may show any record written so far, so all of them must outlive a crash.
    try forceLog()
    let needed = firstNeededSegment(through: begun.header.through)
    try writeFooter(
      CheckpointFooter(
        chunkCount: begun.chunkCount, payloadByteCount: begun.payloadByteCount, stamp: stamp,
        horizonMillis: horizonMillis, firstSegment: segments[needed].sequence, logLast: written))
    try fileSystem.force(begun.file)
    let byteCount = checkpoint?.byteCount ?? 0
    try fileSystem.rename(begun.temporaryName, to: begun.name)
    checkpoint = nil
    fileSystem.close(begun.file)
    try fileSystem.forceDirectory()
    dropSegments(before: needed)
    checkpointNumber = begun.header.number
    checkpointByteCount = byteCount
    logByteCount -= begun.logByteCountAtBegin
  }

  private mutating func writeFooter(_ footer: CheckpointFooter) throws(DiskFault) {
    guard let begun = checkpoint else { return }
    var payload = ByteBuffer()
    footer.encode(into: &payload)
    ChunkHeader.encode(
      .footer, index: begun.chunkCount, payload: payload.bytes, seed: begun.header.seed,
      into: &checkpointBuffer)
    try write(all: true)
  }

  /// The index of the segment that holds the record after `through`, or will hold it.
  private func firstNeededSegment(through: Mark) -> Int {
    segments.lastIndex { segment in segment.first.map { $0 <= through.next } ?? false } ?? 0
  }

  /// Notes the segments before `index` and the checkpoint before this one for removal, one at a
  /// time, oldest first.
  private mutating func dropSegments(before index: Int) {
    if checkpointNumber > 0 {
      stale.append(DirectoryName.checkpoint(named: checkpointNumber))
    }
    for segment in segments[..<index] { stale.append(segment.name) }
    segments.removeFirst(index)
  }
}
