import Base

extension DiskWorker where FS: ~Copyable {
  /// Builds the database: the newest checkpoint, then the records after it. Cuts a torn tail and
  /// makes the directory ready for writing; all that it returns is durable when it returns.
  ///
  /// Writes nothing before the whole log is judged, so nothing is changed when it throws `damaged`
  /// or `newerFormat`. To be called once, before anything else. `progress` is given the bytes read
  /// and the bytes to read, about once a MiB.
  public mutating func recover(
    progress: (_ done: UInt64, _ of: UInt64) -> Void
  ) throws(RecoveryError) -> Database {
    var database = Database(
      hashKey: hashKey, limits: databaseLimits,
      log: LogWriter(after: .zero, chain: 0, identity: 0))
    let listing = DirectoryListing(try calling { fs throws(DiskFault) in try fs.list() })
    var meter = RecoveryMeter()
    let base = try readCheckpoint(listing.checkpoints.last, into: &database, &meter, progress)
    let files = try openSegments(listing.segments, base: base)
    if files.isEmpty {
      do { try beginDirectory(listing) } catch { throw .fault(error) }
    } else {
      let tail = try replay(files, base: base, into: &database, &meter, progress)
      do {
        // First, as they may hold the last room of a full disk.
        for name in listing.temporaries { try fileSystem.remove(name) }
        try cut(tail)
        try settle(listing, base: base)
      } catch {
        throw .fault(error)
      }
    }
    summary.byteCount = meter.done
    database.finishRecovery()
    database.log = LogWriter(after: written, chain: writtenChecksum, identity: identity)
    return database
  }
}

/// Bytes read of bytes to read.
private struct RecoveryMeter {
  private(set) var done: UInt64 = 0
  private var total: UInt64 = 0
  private var reported: UInt64 = 0

  mutating func expect(_ byteCount: UInt64) { total += byteCount }

  mutating func count(_ byteCount: Int, _ progress: (UInt64, UInt64) -> Void) {
    done += UInt64(byteCount)
    guard done - reported >= 1 << 20 else { return }
    reported = done
    progress(done, max(done, total))
  }
}

/// What the newest checkpoint says; without one, the empty state before the first record.
private struct RecoveryBase {
  var number: UInt64 = 0
  var byteCount: UInt64 = 0
  var identity: UInt64?
  var through = Mark.zero
  var firstSegment: UInt64 = 1
  var logLast = Mark.zero
}

// MARK: The checkpoint

extension DiskWorker where FS: ~Copyable {
  private mutating func readCheckpoint(
    _ number: UInt64?, into database: inout Database, _ meter: inout RecoveryMeter,
    _ progress: (UInt64, UInt64) -> Void
  ) throws(RecoveryError) -> RecoveryBase {
    guard let number else { return RecoveryBase() }
    let name = DirectoryName.checkpoint(named: number)
    let (file, byteCount) = try open(name)
    defer { fileSystem.close(file) }
    meter.expect(byteCount)
    let bytes = try readHeader(
      of: file, name: name, magic: CheckpointHeader.magic, byteCount: CheckpointHeader.byteCount)
    let header = CheckpointHeader(bytes.bytes)
    guard header.number == number else {
      throw .damaged(
        file: name, offset: 0, mark: header.through, reason: "it is checkpoint \(header.number)")
    }
    var reader = CheckpointReader(file: file, byteCount: byteCount, header: header)
    while true {
      switch try calling({ fs throws(DiskFault) in try reader.next(in: &fs) }) {
      case .entries(let changes, let offset):
        try apply(changes, to: &database, from: name, offset: offset, mark: header.through)
        meter.count(changes.count, progress)
      case .invalid(let offset, let reason, _):
        throw .damaged(file: name, offset: offset, mark: header.through, reason: reason)
      case .end(let footer):
        database.restore(stamp: footer.stamp, horizonMillis: footer.horizonMillis)
        return RecoveryBase(
          number: number, byteCount: byteCount, identity: header.identity,
          through: header.through, firstSegment: footer.firstSegment, logLast: footer.logLast)
      }
    }
  }

  private func apply(
    _ changes: UnsafeRawBufferPointer, to database: inout Database,
    from file: @autoclosure () -> String, offset: UInt64, mark: Mark
  ) throws(RecoveryError) {
    var reader = ChangeReader(changes)
    do {
      while let change = try reader.next() { database.apply(change) }
    } catch {
      throw .damaged(
        file: file(), offset: offset, mark: mark, reason: "no change: \(error.reason)")
    }
  }
}

// MARK: The log

extension DiskWorker where FS: ~Copyable {
  /// Opens all segments that are needed, which must be there without gaps.
  private mutating func openSegments(
    _ numbers: [UInt64], base: RecoveryBase
  ) throws(RecoveryError) -> [SegmentFile] {
    let needed = numbers.filter { $0 >= base.firstSegment }
    guard base.number > 0 || !needed.isEmpty else { return [] }
    var files: [SegmentFile] = []
    for number in base.firstSegment...max(base.firstSegment, needed.last ?? 0) {
      guard needed.contains(number) else {
        throw .damaged(
          file: DirectoryName.segment(named: number), offset: 0, mark: base.through.next,
          reason: "the file is missing")
      }
      files.append(try openSegment(number, base: base))
    }
    return files
  }

  private mutating func openSegment(
    _ number: UInt64, base: RecoveryBase
  ) throws(RecoveryError) -> SegmentFile {
    let name = DirectoryName.segment(named: number)
    let (file, byteCount) = try open(name)
    let bytes = try readHeader(
      of: file, name: name, magic: SegmentHeader.magic,
      byteCount: LogFormat.segmentHeaderByteCount)
    let header = SegmentHeader(bytes.bytes)
    if number == base.firstSegment { identity = base.identity ?? header.identity }
    if let reason = header.breach(identity: identity, sequence: number, byteCount: byteCount) {
      throw .damaged(file: name, offset: 0, mark: base.through.next, reason: reason)
    }
    return SegmentFile(sequence: number, file: file, byteCount: byteCount)
  }

  /// Applies the records after the checkpoint, judges what stands behind the last one, and takes
  /// the log over for writing.
  private mutating func replay(
    _ files: [SegmentFile], base: RecoveryBase, into database: inout Database,
    _ meter: inout RecoveryMeter, _ progress: (UInt64, UInt64) -> Void
  ) throws(RecoveryError) -> LogTail {
    for file in files { meter.expect(file.byteCount) }
    var reader = LogReader(
      files, identity: identity, after: base.firstSegment == 1 ? .zero : nil)
    var firstNew: LogPlace?
    while true {
      switch try calling({ fs throws(DiskFault) in try reader.next(in: &fs) }) {
      case .record(let header, let payload, let place):
        if header.mark > base.through {
          guard firstNew != nil || header.mark == base.through.next else {
            throw .damaged(
              file: files[place.index].name, offset: place.offset, mark: base.through.next,
              reason: "the first record has log sequence number \(header.mark.number)")
          }
          if firstNew == nil { firstNew = place }
          try apply(
            payload, to: &database, from: files[place.index].name, offset: place.offset,
            mark: header.mark)
          summary.recordCount += 1
        }
        summary.wasClosed = header.kind == .close
        meter.count(header.byteCount, progress)
      case .end(let broken):
        let tail = try judge(&reader, broken: broken, base: base)
        takeOver(reader.segments, at: reader.place, firstNew: firstNew)
        written = reader.last ?? .zero
        writtenChecksum = reader.checksum
        durable = written
        return tail
      }
    }
  }

  /// Decides between the end of the log, a torn tail, and damage; the rule is in LogFormat.swift.
  private mutating func judge(
    _ reader: inout LogReader, broken: LogFlaw?, base: RecoveryBase
  ) throws(RecoveryError) -> LogTail {
    let last = reader.last ?? .zero
    let expected = reader.last?.next ?? base.through.next
    let place = broken?.place ?? reader.place
    let file = reader.segments[place.index].name
    let what = broken?.reason ?? "the record is missing"
    let from = reader.place
    let files = reader.segments
    let identity = identity
    if broken?.place.index == from.index,
      let resumed = try calling({ fs throws(DiskFault) in try reader.resumes(in: &fs) })
    {
      throw .damaged(
        file: file, offset: place.offset, mark: expected,
        reason: "\(what), and the log goes on in \(files[resumed.index].name)")
    }
    let tail = try calling { fs throws(DiskFault) in
      try LogTail(of: files, from: from, expected: expected, identity: identity, in: &fs)
    }
    #if MUTANTS
      if Mutant.active == .cutDurable { return tail }
    #endif
    if let proof = tail.proof {
      throw .damaged(
        file: file, offset: place.offset, mark: expected,
        reason: "\(what), and had been durable before record \(proof.mark.number) was written")
    }
    guard last >= base.logLast else {
      throw .damaged(
        file: file, offset: place.offset, mark: expected,
        reason: "\(what), and had been durable before checkpoint \(base.number) was finished")
    }
    return tail
  }

  /// Makes the segment with the last record the one to write; empty ones behind it are spares.
  private mutating func takeOver(
    _ files: [SegmentFile], at place: LogPlace, firstNew: LogPlace?
  ) {
    for file in files[..<place.index] { fileSystem.close(file.file) }
    segments = Array(files[...place.index])
    spares = Array(files[(place.index + 1)...])
    position = place.offset
    let first = firstNew ?? place
    logByteCount = files[first.index..<place.index].reduce(0) { $0 + $1.byteCount }
    logByteCount += place.offset
    logByteCount -= min(first.offset, logByteCount)
  }
}

// MARK: Making the directory ready

extension DiskWorker where FS: ~Copyable {
  /// Makes the first segment of a new directory.
  private mutating func beginDirectory(_ listing: DirectoryListing) throws(DiskFault) {
    for name in listing.temporaries { try fileSystem.remove(name) }
    while spares.isEmpty {
      guard try prepareSlice(atLeast: 0) else {
        throw DiskFault(call: .write, file: DirectoryName.segment(named: 1), errno: 28)
      }
    }
    segments = [spares.removeFirst()]
  }

  /// Writes zeroes over what is left of records that were never acknowledged, in all segments.
  private mutating func cut(_ tail: LogTail) throws(DiskFault) {
    for remains in tail.remains {
      // The last segment and the spares are where the tail was looked for.
      let ahead = remains.index - (segments.count - 1)
      let segment = ahead == 0 ? segments[remains.index] : spares[ahead - 1]
      if summary.cutByteCount == 0 {
        summary.cutFile = segment.name
        summary.cutOffset = remains.range.lowerBound
      }
      var offset = remains.range.lowerBound
      while offset < remains.range.upperBound {
        let count = min(options.sliceByteCount, Int(remains.range.upperBound - offset))
        var zeroes = ByteBuffer(capacity: count)
        zeroes.append(zeroes: count)
        try fileSystem.write(segment.file, zeroes.bytes, at: offset)
        offset += UInt64(count)
      }
      try fileSystem.force(segment.file)
      summary.cutByteCount += remains.range.upperBound - remains.range.lowerBound
    }
  }

  /// Makes durable what was found, as it may be known to the disk's own cache only, and notes for
  /// removal what is not needed any more.
  private mutating func settle(
    _ listing: DirectoryListing, base: RecoveryBase
  ) throws(DiskFault) {
    try fileSystem.force(segments[segments.count - 1].file)
    try fileSystem.forceDirectory()
    checkpointNumber = base.number
    checkpointByteCount = base.byteCount
    stale = listing.checkpoints.dropLast().map { DirectoryName.checkpoint(named: $0) }
    stale += listing.segments.filter { $0 < base.firstSegment }
      .map { DirectoryName.segment(named: $0) }
  }

  // MARK: Calls

  /// Opens a file so that what is read is what the medium holds: what an earlier run wrote and
  /// could not force may stand in the system's cache as if it were there.
  private mutating func open(
    _ name: String
  ) throws(RecoveryError) -> (file: FileHandle, byteCount: UInt64) {
    do {
      let file = try fileSystem.open(name, create: false)
      try fileSystem.force(file)
      #if MUTANTS
        if Mutant.active == .believeTheCache { return (file, try fileSystem.size(of: file)) }
      #endif
      summary.cachedByteCount += try fileSystem.dropCache(of: file)
      return (file, try fileSystem.size(of: file))
    } catch {
      throw .fault(error)
    }
  }

  private mutating func readHeader(
    of file: FileHandle, name: String, magic: StaticString, byteCount: Int
  ) throws(RecoveryError) -> ByteBuffer {
    var bytes = ByteBuffer()
    let verdict = try calling { fs throws(DiskFault) in
      try FileHeader.read(file, magic: magic, byteCount: byteCount, into: &bytes, in: &fs)
    }
    switch verdict {
    case .right: return bytes
    case .newer(let version): throw .newerFormat(file: name, version: version)
    case .wrong(let reason): throw .damaged(file: name, offset: 0, mark: .zero, reason: reason)
    }
  }

  private mutating func calling<Result: ~Copyable>(
    _ body: (inout FS) throws(DiskFault) -> Result
  ) throws(RecoveryError) -> Result {
    do { return try body(&fileSystem) } catch { throw .fault(error) }
  }
}
