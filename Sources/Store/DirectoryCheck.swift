import Base

/// One thing in a data directory that is not as it was written.
public struct Finding: Sendable, Equatable {
  /// What it means for a start of the server.
  public enum Kind: Sendable {
    /// It stops recovery: bytes are wrong, or a file is missing, that had been durable.
    case damage
    /// Nothing proves that these bytes were ever durable: recovery cuts them. A crash leaves this,
    /// and a change of the last group that was written looks the same.
    case tornTail
    /// It stops recovery: a later version wrote it.
    case newerFormat
    /// A file that is not needed: the next start removes it.
    case leftover
  }

  /// What it means.
  public var kind: Kind
  /// The file's name in the directory.
  public var file: String
  /// Where the record, chunk or header with the wrong bytes begins, or the first byte that should
  /// be zero and is not.
  public var offset: UInt64
  /// The log sequence number that belongs there: of the record, or of the last one that a
  /// checkpoint includes; zero where none does.
  public var mark: Mark
  /// What is wrong.
  public var reason: String
}

/// Verifies a directory offline, without writing: every byte of the newest checkpoint and of the
/// segments that belong to it is covered. What it returns is in the order of the files; nothing
/// means that a start finds everything as it was written.
public func checkDirectory<FS: FileSystem & ~Copyable>(
  _ fileSystem: inout FS
) throws(DiskFault) -> [Finding] {
  var check = DirectoryCheck()
  try check.run(&fileSystem)
  return check.findings
}

/// The state of one check.
struct DirectoryCheck {
  private(set) var findings: [Finding] = []
  private var identity: UInt64?
  private var through = Mark.zero
  private var firstSegment: UInt64 = 1
  private var logLast = Mark.zero
  /// False when the newest checkpoint does not say what belongs to it.
  private var knowsFirst = true

  // Along the log.
  private var last: Mark?
  private var lastChecksum: UInt32 = 0
  /// The greatest first record of a group: everything before it had been durable.
  private var proof = Mark.zero
  /// Findings in the log whose kind depends on `proof`.
  private var undecided: [Int] = []

  mutating func run<FS: FileSystem & ~Copyable>(_ fileSystem: inout FS) throws(DiskFault) {
    let listing = DirectoryListing(try fileSystem.list())
    for name in listing.temporaries { leave(name, "the file was not finished") }
    for number in listing.checkpoints.dropLast() {
      leave(DirectoryName.checkpoint(named: number), "there is a newer checkpoint")
    }
    if let number = listing.checkpoints.last { try checkCheckpoint(number, in: &fileSystem) }
    try checkLog(listing.segments, in: &fileSystem)
    for index in undecided {
      let durable = findings[index].mark < proof || findings[index].mark <= logLast
      findings[index].kind = durable ? .damage : .tornTail
    }
    if (last ?? .zero) < logLast, undecided.isEmpty {
      add(
        .damage, DirectoryName.segment(named: firstSegment), 0, (last ?? .zero).next,
        "the log ends before record \(logLast.number), which the checkpoint needs")
    }
  }

  private mutating func add(
    _ kind: Finding.Kind, _ file: String, _ offset: UInt64, _ mark: Mark, _ reason: String
  ) {
    findings.append(
      Finding(kind: kind, file: file, offset: offset, mark: mark, reason: reason))
  }

  private mutating func leave(_ file: String, _ reason: String) {
    add(.leftover, file, 0, .zero, reason)
  }
}

// MARK: The checkpoint

extension DirectoryCheck {
  private mutating func checkCheckpoint<FS: FileSystem & ~Copyable>(
    _ number: UInt64, in fileSystem: inout FS
  ) throws(DiskFault) {
    let name = DirectoryName.checkpoint(named: number)
    let file = try fileSystem.open(name, create: false)
    defer { fileSystem.close(file) }
    knowsFirst = false
    var bytes = ByteBuffer()
    let verdict = try FileHeader.read(
      file, magic: CheckpointHeader.magic, byteCount: CheckpointHeader.byteCount, into: &bytes,
      in: &fileSystem)
    guard accept(verdict, name) else { return }
    let header = CheckpointHeader(bytes.bytes)
    identity = header.identity
    through = header.through
    if header.number != number { add(.damage, name, 0, through, "it is another checkpoint") }
    var reader = CheckpointReader(
      file: file, byteCount: try fileSystem.size(of: file), header: header)
    while true {
      switch try reader.next(in: &fileSystem) {
      case .entries(let changes, let offset):
        check(changes, name, offset, through)
      case .invalid(let offset, let reason, let next):
        let byte = try reader.changedByte(at: offset, in: &fileSystem)
        add(.damage, name, offset, through, explain(reason, byte))
        if next == nil { return }
      case .end(let footer):
        firstSegment = footer.firstSegment
        logLast = footer.logLast
        knowsFirst = true
        return
      }
    }
  }

  private func explain(_ reason: String, _ byte: UInt64?) -> String {
    byte.map { "\(reason); one changed byte at offset \($0) would explain it" } ?? reason
  }

  /// True if the header can be read.
  private mutating func accept(_ verdict: FileHeader.Verdict, _ name: String) -> Bool {
    switch verdict {
    case .right: return true
    case .newer(let version):
      add(.newerFormat, name, 0, .zero, "the file has format version \(version)")
    case .wrong(let reason): add(.damage, name, 0, .zero, reason)
    }
    return false
  }

  private mutating func check(
    _ changes: UnsafeRawBufferPointer, _ file: String, _ offset: UInt64, _ mark: Mark
  ) {
    var reader = ChangeReader(changes)
    do {
      while try reader.next() != nil {}
    } catch {
      add(.damage, file, offset, mark, "no change: \(error.reason)")
    }
  }
}

// MARK: The log

extension DirectoryCheck {
  private mutating func checkLog<FS: FileSystem & ~Copyable>(
    _ numbers: [UInt64], in fileSystem: inout FS
  ) throws(DiskFault) {
    if !knowsFirst { firstSegment = numbers.first ?? 1 }
    for number in numbers where number < firstSegment {
      leave(DirectoryName.segment(named: number), "the checkpoint replaces it")
    }
    let needed = numbers.filter { $0 >= firstSegment }
    guard let newest = needed.last else {
      if logLast > .zero || !knowsFirst { missing(firstSegment) }
      return
    }
    if firstSegment == 1 { last = .zero }
    for number in firstSegment...newest {
      if needed.contains(number) {
        try checkSegment(number, in: &fileSystem)
      } else {
        missing(number)
      }
    }
  }

  private mutating func missing(_ number: UInt64) {
    add(.damage, DirectoryName.segment(named: number), 0, expected, "the file is missing")
    last = nil
  }

  private mutating func checkSegment<FS: FileSystem & ~Copyable>(
    _ number: UInt64, in fileSystem: inout FS
  ) throws(DiskFault) {
    let name = DirectoryName.segment(named: number)
    let file = try fileSystem.open(name, create: false)
    defer { fileSystem.close(file) }
    let byteCount = try fileSystem.size(of: file)
    var bytes = ByteBuffer()
    let verdict = try FileHeader.read(
      file, magic: SegmentHeader.magic, byteCount: LogFormat.segmentHeaderByteCount,
      into: &bytes, in: &fileSystem)
    if case .newer = verdict {
      _ = accept(verdict, name)
      return
    }
    if accept(verdict, name) {
      let header = SegmentHeader(bytes.bytes)
      if identity == nil { identity = header.identity }
      let reason = header.breach(
        identity: identity ?? header.identity, sequence: number, byteCount: byteCount)
      if let reason { add(.damage, name, 0, expected, reason) }
    }
    // Without an identity nothing can be verified; the header is reported.
    guard let identity = identity ?? guess(bytes.bytes) else { return }
    var reader = SegmentReader(
      SegmentFile(sequence: number, file: file, byteCount: byteCount),
      seed: LogFormat.seed(identity: identity))
    try checkRecords(&reader, name, in: &fileSystem)
  }

  /// What a damaged header says: its identity may be right all the same.
  private func guess(_ header: UnsafeRawBufferPointer) -> UInt64? {
    header.count == LogFormat.segmentHeaderByteCount ? header.little(UInt64.self, at: 16) : nil
  }

  private mutating func checkRecords<FS: FileSystem & ~Copyable>(
    _ reader: inout SegmentReader, _ name: String, in fileSystem: inout FS
  ) throws(DiskFault) {
    let headerEnd = UInt64(LogFormat.segmentHeaderByteCount)
    let start = UInt64(LogFormat.sectorByteCount)
    if let dirty = try reader.firstDirty(in: headerEnd..<start, &fileSystem) {
      add(.damage, name, dirty, .zero, "a byte behind the header is not zero")
    }
    var offset = start
    while true {
      switch try reader.read(at: offset, in: &fileSystem) {
      case .record(let header, let payload, let at):
        checkLink(header, name, at)
        check(payload, name, at, header.mark)
        offset = at + UInt64(header.byteCount)
      case .nothing:
        let rest = offset..<max(offset, reader.segment.byteCount)
        guard let dirty = try reader.firstDirty(in: rest, &fileSystem) else { return }
        guard let next = try reader.nextRecord(after: offset, &fileSystem) else {
          return flaw(name, dirty, "a byte behind the last record is not zero")
        }
        flaw(name, offset, "there are zeroes where a record should be")
        offset = next
      case .invalid(let at, let reason):
        flaw(name, at, explain(reason, try reader.changedByte(at: at, &fileSystem)))
        guard let next = try reader.nextRecord(after: at, &fileSystem) else { return }
        offset = next
      }
    }
  }

  /// The number of the record that should come next.
  private var expected: Mark { last?.next ?? through.next }

  private mutating func flaw(_ file: String, _ offset: UInt64, _ reason: String) {
    undecided.append(findings.count)
    add(.tornTail, file, offset, expected, reason)
    last = nil
  }

  private mutating func checkLink(_ header: RecordHeader, _ file: String, _ offset: UInt64) {
    if let last, header.mark != last.next {
      flaw(file, offset, "the record has log sequence number \(header.mark.number)")
    } else if last != nil, header.previousChecksum != lastChecksum {
      flaw(file, offset, "the record does not follow the one before it")
    } else if last == nil, undecided.isEmpty, header.mark > through.next, knowsFirst {
      flaw(file, offset, "the first record has log sequence number \(header.mark.number)")
    }
    last = header.mark
    lastChecksum = header.checksum
    if let first = header.firstOfGroup { proof = max(proof, first) }
  }
}
