import Base

extension DiskWorker where FS: ~Copyable {
  /// Writes what is left of the group's records; false when there is no room for all of them.
  ///
  /// One write where the group fits into its segment; otherwise one for each segment, and a force
  /// before the next one is used.
  mutating func writeLog(of group: borrowing DiskGroup) throws(DiskFault) -> Bool {
    guard !group.log.isEmpty else { return true }
    if groupWrittenByteCount == 0 { move(to: LogFormat.alignedToSector(position)) }
    while groupWrittenByteCount < group.log.count {
      let rest = UnsafeRawBufferPointer(rebasing: group.log.bytes[groupWrittenByteCount...])
      let room = Int(clamping: segments[segments.count - 1].byteCount) - Int(position)
      let run = rest.count <= room ? rest.count : wholeRecords(rest, within: room)
      if run == 0 {
        guard try advance(toFit: recordByteCount(rest)) else { return false }
        continue
      }
      guard try write(UnsafeRawBufferPointer(rebasing: rest[0..<run])) else { return false }
    }
    groupWrittenByteCount = 0
    written = group.last
    writtenChecksum = group.lastChecksum
    return true
  }

  /// Makes everything written durable.
  mutating func forceLog() throws(DiskFault) {
    #if MUTANTS
      if Mutant.active == .claimForce { isDirty = false }
    #endif
    if isDirty {
      try fileSystem.force(segments[segments.count - 1].file)
      isDirty = false
    }
    durable = written
  }

  /// Writes whole records at `position`; false when there is no room, which a file system can say
  /// even of a file that was written full before.
  private mutating func write(_ records: UnsafeRawBufferPointer) throws(DiskFault) -> Bool {
    let last = segments.count - 1
    isDirty = true
    do {
      if options.bypassesCache {
        try fileSystem.writeSectors(segments[last].file, records, at: position)
      } else {
        try fileSystem.write(segments[last].file, records, at: position)
      }
    } catch {
      guard error.isNoSpace else { throw error }
      return false
    }
    if segments[last].first == nil { segments[last].first = firstMark(records) }
    move(to: position + UInt64(records.count))
    groupWrittenByteCount += records.count
    return true
  }

  private mutating func move(to offset: UInt64) {
    logByteCount += offset - position
    position = offset
  }

  /// Makes the next segment with room for a record of `byteCount` bytes the last one; false when
  /// there is no room on the disk. Prepared segments that are too small stay empty.
  private mutating func advance(toFit byteCount: Int) throws(DiskFault) -> Bool {
    let wanted = UInt64(LogFormat.sectorByteCount + byteCount)
    while !spares.contains(where: { $0.byteCount >= wanted }) {
      guard try prepareSlice(atLeast: wanted) else {
        noSpace = true
        return false
      }
    }
    noSpace = false
    try forceLastSegment()
    let left = segments[segments.count - 1].byteCount - position
    repeat {
      fileSystem.close(segments[segments.count - 1].file)
      segments.append(spares.removeFirst())
    } while segments[segments.count - 1].byteCount < wanted
    logByteCount += left + UInt64(LogFormat.sectorByteCount)
    position = UInt64(LogFormat.sectorByteCount)
    return true
  }

  /// Forces the segment that is left behind, whether the group asks for it or not: recovery relies
  /// on all but the last segment being forced.
  private mutating func forceLastSegment() throws(DiskFault) {
    guard isDirty else { return }
    try fileSystem.force(segments[segments.count - 1].file)
    isDirty = false
  }

  // MARK: Records

  /// The bytes of as many whole records at the front of `bytes` as fit into `room`.
  private func wholeRecords(_ bytes: UnsafeRawBufferPointer, within room: Int) -> Int {
    var count = 0
    while count < bytes.count {
      let next = recordByteCount(UnsafeRawBufferPointer(rebasing: bytes[count...]))
      if count + next > room { break }
      count += next
    }
    return count
  }

  private func recordByteCount(_ bytes: UnsafeRawBufferPointer) -> Int {
    LogFormat.recordByteCount(payload: Int(bytes.little(UInt32.self, at: 8)))
  }

  private func firstMark(_ records: UnsafeRawBufferPointer) -> Mark {
    Mark(records.little(UInt64.self, at: 16))
  }
}
