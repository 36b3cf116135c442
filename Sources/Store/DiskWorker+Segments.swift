import Base

/// A segment that is being written full of zeroes under a temporary name.
struct Preparation {
  var segment: SegmentFile
  /// How much of it is written, and how much since the last force.
  var writtenByteCount: UInt64 = 0
  var unforcedByteCount = 0

  var temporaryName: String { DirectoryName.temporary(segment.name) }
}

extension DiskWorker where FS: ~Copyable {
  /// Writes one slice of the segment to come, beginning one if needed, of at least `byteCount`
  /// bytes; the last slice forces it and gives it its name. False when there is no room: what was
  /// written stays, and the next call goes on there.
  mutating func prepareSlice(atLeast byteCount: UInt64) throws(DiskFault) -> Bool {
    if let begun = preparation, begun.segment.byteCount < byteCount { try discardPreparation() }
    do {
      if preparation == nil { try beginPreparation(atLeast: byteCount) }
      try fill()
      if let begun = preparation, begun.writtenByteCount == begun.segment.byteCount {
        try finishPreparation(begun)
      }
    } catch {
      guard error.isOnlyNoSpace else { throw error }
      return false
    }
    return true
  }

  /// Removes the temporary file of the segment to come.
  mutating func discardPreparation() throws(DiskFault) {
    guard let begun = preparation else { return }
    preparation = nil
    fileSystem.close(begun.segment.file)
    try fileSystem.remove(begun.temporaryName)
  }

  private mutating func beginPreparation(atLeast byteCount: UInt64) throws(DiskFault) {
    let newest = spares.last ?? segments.last
    let sequence = (newest?.sequence ?? 0) + 1
    let doubled = newest.map { min($0.byteCount, UInt64(options.segmentByteCountMax)) * 2 } ?? 0
    let usual = min(
      max(doubled, UInt64(options.segmentByteCountMin)), UInt64(options.segmentByteCountMax))
    let size = LogFormat.alignedToSector(max(usual, byteCount))
    let name = DirectoryName.temporary(DirectoryName.segment(named: sequence))
    let file = try fileSystem.open(name, create: true)
    preparation = Preparation(
      segment: SegmentFile(sequence: sequence, file: file, byteCount: size))
  }

  /// Writes the next slice; the first one begins with the header.
  private mutating func fill() throws(DiskFault) {
    guard var begun = preparation else { return }
    let count = min(
      options.sliceByteCount, Int(begun.segment.byteCount - begun.writtenByteCount))
    guard count > 0 else { return }
    var slice = ByteBuffer(capacity: count)
    if begun.writtenByteCount == 0 {
      SegmentHeader(
        identity: identity, sequence: begun.segment.sequence, byteCount: begun.segment.byteCount
      ).encode(into: &slice)
    }
    if options.fillsAhead {
      slice.append(zeroes: count - slice.count)
    } else {
      try fileSystem.truncate(begun.segment.file, to: begun.segment.byteCount)
      begun.writtenByteCount = begun.segment.byteCount - UInt64(slice.count)
    }
    let offset = options.fillsAhead ? begun.writtenByteCount : 0
    try fileSystem.write(begun.segment.file, slice.bytes, at: offset)
    begun.writtenByteCount += UInt64(slice.count)
    begun.unforcedByteCount += slice.count
    if begun.unforcedByteCount >= options.unforcedByteCountMax {
      try fileSystem.force(begun.segment.file)
      begun.unforcedByteCount = 0
    }
    preparation = begun
  }

  /// The segment exists under its name only when all of it is durable, and is used only when its
  /// name is.
  private mutating func finishPreparation(_ begun: Preparation) throws(DiskFault) {
    if begun.unforcedByteCount > 0 {
      try fileSystem.force(begun.segment.file)
      preparation?.unforcedByteCount = 0
    }
    try fileSystem.rename(begun.temporaryName, to: begun.segment.name)
    try fileSystem.forceDirectory()
    preparation = nil
    spares.append(begun.segment)
  }
}

extension DiskFault {
  /// The disk is full, and the call changed nothing that a later one cannot do again. A force that
  /// says so is as final as any other.
  var isOnlyNoSpace: Bool {
    isNoSpace && (call == .write || call == .create || call == .rename || call == .truncate)
  }
}
