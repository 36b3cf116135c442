import Base

/// Prints the newest checkpoint and all segments as lines of JSON, without writing to the
/// directory.
///
/// Each line is an object with `file` and `offset` (where the record or chunk begins), and then
/// - for a change: `record` (its log sequence number; absent in a checkpoint), `change` (`put`,
///   `delete`, `splice`, `expire`, `flush`, `outcome`, `horizon`, `stage`, `settle`, `note`,
///   `unnote`) and the fields of that change. Times are named by their unit; an entry without
///   expiry has no `expiryMillis`. Bytes that are not UTF-8 are in base64 in a field whose name
///   ends in `Base64` (`keyBase64` instead of `key`). The id of a transaction is in hexadecimal
///   digits. After a `stage` come the changes that it stages, a line each, which have its id in
///   `staged`;
/// - for the end of a log that was closed in order: `record` and `close` true;
/// - for a checkpoint's header and footer: `checkpoint` (its number) and what they hold;
/// - for what cannot be read: `error`, the reason. The dump goes on with what can be.
///
/// `emit` is given a whole line at a time, with its newline; the bytes are valid for the call.
public func dumpDirectory<FS: FileSystem & ~Copyable>(
  _ fileSystem: inout FS, emit: (UnsafeRawBufferPointer) -> Void
) throws(DiskFault) {
  var dump = DirectoryDump()
  let listing = DirectoryListing(try fileSystem.list())
  if let number = listing.checkpoints.last {
    try dump.checkpoint(number, in: &fileSystem, emit)
  }
  for number in listing.segments { try dump.segment(number, in: &fileSystem, emit) }
}

/// The state of one dump.
struct DirectoryDump: ~Copyable {
  typealias Sink = (UnsafeRawBufferPointer) -> Void

  private var line = JSONLine()

  // MARK: Files

  mutating func checkpoint<FS: FileSystem & ~Copyable>(
    _ number: UInt64, in fileSystem: inout FS, _ emit: Sink
  ) throws(DiskFault) {
    let name = DirectoryName.checkpoint(named: number)
    let file = try fileSystem.open(name, create: false)
    defer { fileSystem.close(file) }
    var bytes = ByteBuffer()
    let verdict = try FileHeader.read(
      file, magic: CheckpointHeader.magic, byteCount: CheckpointHeader.byteCount, into: &bytes,
      in: &fileSystem)
    guard case .right = verdict else { return refuse(verdict, name, emit) }
    let header = CheckpointHeader(bytes.bytes)
    place(name, 0)
    line.field("checkpoint", header.number)
    line.field("through", header.through.number)
    line.finish(emit)
    var reader = CheckpointReader(
      file: file, byteCount: try fileSystem.size(of: file), header: header)
    while true {
      switch try reader.next(in: &fileSystem) {
      case .entries(let changes, let offset): self.changes(changes, name, offset, nil, emit)
      case .invalid(let offset, let reason, let next):
        error(reason, name, offset, emit)
        if next == nil { return }
      case .end(let footer): return self.footer(footer, header, name, emit)
      }
    }
  }

  mutating func segment<FS: FileSystem & ~Copyable>(
    _ number: UInt64, in fileSystem: inout FS, _ emit: Sink
  ) throws(DiskFault) {
    let name = DirectoryName.segment(named: number)
    let file = try fileSystem.open(name, create: false)
    defer { fileSystem.close(file) }
    var bytes = ByteBuffer()
    let verdict = try FileHeader.read(
      file, magic: SegmentHeader.magic, byteCount: LogFormat.segmentHeaderByteCount,
      into: &bytes, in: &fileSystem)
    guard case .right = verdict else { return refuse(verdict, name, emit) }
    let header = SegmentHeader(bytes.bytes)
    var reader = SegmentReader(
      SegmentFile(sequence: number, file: file, byteCount: try fileSystem.size(of: file)),
      seed: LogFormat.seed(identity: header.identity))
    var offset = UInt64(LogFormat.sectorByteCount)
    while true {
      switch try reader.read(at: offset, in: &fileSystem) {
      case .record(let header, let payload, let at):
        record(header, payload, name, at, emit)
        offset = at + UInt64(header.byteCount)
      case .nothing:
        let rest = offset..<max(offset, reader.segment.byteCount)
        guard try reader.firstDirty(in: rest, &fileSystem) != nil,
          let next = try reader.nextRecord(after: offset, &fileSystem)
        else { return }
        offset = next
      case .invalid(let at, let reason):
        error(reason, name, at, emit)
        guard let next = try reader.nextRecord(after: at, &fileSystem) else { return }
        offset = next
      }
    }
  }

  // MARK: Lines

  private mutating func place(_ file: String, _ offset: UInt64) {
    line.field("file", file)
    line.field("offset", offset)
  }

  private mutating func error(
    _ reason: String, _ file: String, _ offset: UInt64, _ emit: Sink
  ) {
    place(file, offset)
    line.field("error", reason)
    line.finish(emit)
  }

  private mutating func refuse(_ verdict: FileHeader.Verdict, _ file: String, _ emit: Sink) {
    switch verdict {
    case .right: break
    case .newer(let version): error("the file has format version \(version)", file, 0, emit)
    case .wrong(let reason): error(reason, file, 0, emit)
    }
  }

  private mutating func footer(
    _ footer: CheckpointFooter, _ header: CheckpointHeader, _ file: String, _ emit: Sink
  ) {
    line.field("file", file)
    line.field("checkpoint", header.number)
    line.field("chunkCount", footer.chunkCount)
    line.field("stampNanos", footer.stamp.nanos)
    line.field("horizonMillis", footer.horizonMillis)
    line.field("firstSegment", footer.firstSegment)
    line.field("logLast", footer.logLast.number)
    line.finish(emit)
  }

  private mutating func record(
    _ header: RecordHeader, _ payload: UnsafeRawBufferPointer, _ file: String,
    _ offset: UInt64, _ emit: Sink
  ) {
    switch header.kind {
    case .changes: changes(payload, file, offset, header.mark, emit)
    case .close:
      place(file, offset)
      line.field("record", header.mark.number)
      line.flag("close")
      line.finish(emit)
    }
  }

  private mutating func changes(
    _ payload: UnsafeRawBufferPointer, _ file: String, _ offset: UInt64, _ mark: Mark?,
    _ emit: Sink
  ) {
    do {
      try run(payload, file, offset, mark, staged: nil, emit)
    } catch let flaw {
      error("no change: \(flaw.reason)", file, offset, emit)
    }
  }

  private mutating func run(
    _ changes: UnsafeRawBufferPointer, _ file: String, _ offset: UInt64, _ mark: Mark?,
    staged: UnsafeRawBufferPointer?, _ emit: Sink
  ) throws(ChangeError) {
    var reader = ChangeReader(changes)
    while let change = try reader.next() {
      place(file, offset)
      if let mark { line.field("record", mark.number) }
      if let staged { line.field("staged", hex: staged) }
      describe(change)
      line.finish(emit)
      if case .stage(let id, _, _, let inner) = change {
        try run(inner, file, offset, mark, staged: id, emit)
      }
    }
  }

  private mutating func describe(_ change: Change) {
    switch change {
    case .put(let key, let value, let version, let expiry):
      line.field("change", "put")
      line.field("key", bytes: key)
      line.field("value", bytes: value)
      times(version, expiry)
    case .delete(let key, let version):
      line.field("change", "delete")
      line.field("key", bytes: key)
      times(version, Change.noExpiry)
    case .splice(let key, let offset, let bytes, let version, let expiry):
      line.field("change", "splice")
      line.field("key", bytes: key)
      line.field("at", UInt64(offset))
      line.field("bytes", bytes: bytes)
      times(version, expiry)
    case .expire(let key, let version, let expiry):
      line.field("change", "expire")
      line.field("key", bytes: key)
      times(version, expiry)
    case .flush(let version):
      line.field("change", "flush")
      times(version, Change.noExpiry)
    case .outcome(let id, let status, let reply):
      line.field("change", "outcome")
      line.field("id", id.description)
      line.field("status", "\(status)")
      line.field("reply", bytes: reply)
    case .horizon(let millis):
      line.field("change", "horizon")
      line.field("millis", millis)
    case .stage(let id, let mark, let note, _):
      line.field("change", "stage")
      line.field("id", hex: id)
      line.field("stagedBy", mark.number)
      line.field("note", bytes: note)
    case .settle(let id, let mark, let committed, let note):
      line.field("change", "settle")
      line.field("id", hex: id)
      line.field("stagedBy", mark.number)
      line.field("decision", committed ? "commit" : "abort")
      if let note { line.field("note", bytes: note) }
    case .note(let id, let note):
      line.field("change", "note")
      line.field("id", hex: id)
      line.field("note", bytes: note)
    case .unnote(let id):
      line.field("change", "unnote")
      line.field("id", hex: id)
    }
  }

  private mutating func times(_ version: Stamp, _ expiry: Int64) {
    line.field("versionNanos", version.nanos)
    if expiry != Change.noExpiry { line.field("expiryMillis", expiry) }
  }
}
