import Base

/// Sizes that the disk thread works with; small ones make every border near in tests.
public struct DiskOptions: Sendable {
  /// The size of the first segment; each next one is twice as large.
  public var segmentByteCountMin = 1 << 20
  /// The size at which segments stop growing. A record that is larger gets a segment of its own.
  public var segmentByteCountMax = 16 << 20
  /// How many zeroes are written to a segment to come at a time.
  public var sliceByteCount = 256 << 10
  /// How many bytes of a segment to come or a checkpoint are written between forces, so that no
  /// force of them holds up the log for long.
  public var unforcedByteCountMax = 2 << 20
  /// Segments are written full of zeroes ahead of use, which halves the time of a force. False for
  /// durability that rarely forces: a segment is then a hole that fills as records come.
  public var fillsAhead = true
  /// The log and checkpoints go past the system's cache, in large writes. For durability that
  /// rarely forces: its groups are large, and then copying them costs more than waiting for the
  /// disk, which the loop does not do.
  public var bypassesCache = false
  /// Memory that an emptied buffer of a group keeps for the next one; there are four, and one of
  /// checkpoints.
  public var bufferByteCountMax = 16 << 20

  public init() {}
}

/// What recovery found, for the log.
public struct RecoverySummary: Sendable {
  /// Records after the checkpoint.
  public var recordCount: UInt64 = 0
  /// Bytes of the checkpoint and the log.
  public var byteCount: UInt64 = 0
  /// Bytes of a torn tail that were cut; 0 if there was none.
  public var cutByteCount: UInt64 = 0
  /// The file in which the tail began.
  public var cutFile = ""
  /// Where in that file.
  public var cutOffset: UInt64 = 0
  /// The log had been closed in order.
  public var wasClosed = false
  /// Bytes that were read from the system's cache, not from the medium: it did not let them go.
  public var cachedByteCount: UInt64 = 0

  /// Nothing found.
  public init() {}
}

/// The body of the disk thread: writes and forces the log, prepares segments ahead, writes
/// checkpoints, and recovers the database from them.
///
/// Synchronous and without state outside itself and its `FileSystem`, so the simulator runs it too
/// and ends the machine at any call. Use: `recover` once; then `perform` for each group, `idle`
/// between groups until it returns false, `close` at the end. After any of them has thrown, nothing
/// more may be called: what was not reported durable is decided by the next recovery. Called by one
/// thread at a time.
public struct DiskWorker<FS: FileSystem & ~Copyable>: ~Copyable {
  /// The directory.
  public internal(set) var fileSystem: FS
  /// What the last `recover` found.
  public internal(set) var summary = RecoverySummary()

  let options: DiskOptions
  let databaseLimits: DatabaseLimits
  let hashKey: SipKey

  // MARK: The log

  /// The identity of the directory; before recovery, that of a new one.
  var identity: UInt64
  /// The segments that recovery would need, ascending; the last one is being written. Only its
  /// handle is open.
  ///
  /// Invariant after recovery: there is at least one.
  var segments: [SegmentFile] = []
  /// Where in the last segment the next record goes.
  var position = UInt64(LogFormat.sectorByteCount)
  /// Prepared segments behind the last one, ascending, open. Usually one.
  var spares: [SegmentFile] = []
  /// The segment being prepared.
  var preparation: Preparation?
  /// True when the last segment has records that were not forced. Earlier ones never have.
  var isDirty = false
  /// The last record written, its checksum, and the last one forced. Invariant: durable <= written.
  var written = Mark.zero
  var writtenChecksum: UInt32 = 0
  var durable = Mark.zero
  /// How many bytes of the group's log are written; not zero only while it is blocked.
  var groupWrittenByteCount = 0
  /// No room for the next segment.
  var noSpace = false

  // MARK: Checkpoints

  /// The checkpoint under way.
  var checkpoint: CheckpointWriter?
  /// What is still to be written of it.
  var checkpointBuffer = ByteBuffer()
  /// The last finished one; 0 is none.
  var checkpointNumber: UInt64 = 0
  var checkpointByteCount: UInt64 = 0
  /// Bytes of the log since the last finished one began, with gaps and unused ends of segments.
  var logByteCount: UInt64 = 0
  /// Files that are not needed any more, to be removed one at a time.
  var stale: [String] = []

  /// Does no I/O. `freshIdentity` becomes the identity of the directory if it is a new one; it must
  /// be random, and not known to clients.
  public init(
    fileSystem: consuming FS, options: DiskOptions = DiskOptions(),
    databaseLimits: DatabaseLimits, hashKey: SipKey, freshIdentity: UInt64
  ) {
    let sector = LogFormat.sectorByteCount
    invariant(
      options.segmentByteCountMin >= 4 * sector && options.segmentByteCountMin % sector == 0,
      "a segment is whole sectors, at least four")
    invariant(
      options.segmentByteCountMax >= options.segmentByteCountMin
        && options.segmentByteCountMax % sector == 0,
      "the largest segment is whole sectors, at least the smallest segment")
    invariant(
      options.sliceByteCount > 0 && options.sliceByteCount % sector == 0,
      "a slice is whole sectors, at least one")
    self.fileSystem = fileSystem
    self.options = options
    self.databaseLimits = databaseLimits
    self.hashKey = hashKey
    identity = freshIdentity
  }

  // MARK: Work

  /// Writes, and if asked forces, one group, and does its step of a checkpoint.
  ///
  /// If the report says `groupBlockedByNoSpace`, nothing of the group may be acknowledged: call
  /// again with the same group, unchanged, a while later, and with no other one before. Otherwise
  /// the group's buffers are empty.
  public mutating func perform(_ group: inout DiskGroup) throws(DiskFault) -> DiskReport {
    guard try writeLog(of: group) else {
      var report = makeReport()
      report.groupBlockedByNoSpace = true
      report.checkpointFailed = try abandonCheckpoint()
      return report
    }
    if group.force { try forceLog() }
    let outcome = try checkpointStep(group.checkpoint, group.checkpointBytes.bytes)
    try removeStale()
    group.log.removeAll(keep: options.bufferByteCountMax)
    group.checkpointBytes.removeAll(keep: options.bufferByteCountMax)
    group.checkpoint = .none
    var report = makeReport()
    report.checkpointFinished = outcome == .finished
    report.checkpointFailed = outcome == .failed
    return report
  }

  /// Does one slice of what can be done ahead: removes a file that is not needed any more, or
  /// prepares the next segment. Returns whether there is more to do now; false also when the disk
  /// is full, then it is worth another call a while later (see `hasNoSpace`).
  public mutating func idle() throws(DiskFault) -> Bool {
    guard hasIdleWork else { return false }
    if !stale.isEmpty {
      try removeStale()
      return true
    }
    let hasRoom = try prepareSlice(atLeast: 0)
    if !hasRoom || !spares.isEmpty { noSpace = !hasRoom }
    return hasRoom && spares.isEmpty
  }

  /// `idle` has something to do. On a full disk a checkpoint, which makes room, goes first.
  public var hasIdleWork: Bool {
    !stale.isEmpty || spares.isEmpty && !(noSpace && checkpoint != nil)
  }

  /// True while there is no room for the next segment; what `DiskReport.noSpace` says.
  public var hasNoSpace: Bool { noSpace }

  /// Forces what is written and closes all files; with `clean`, ends the log with a close record,
  /// so that the next recovery tells damage to any record from a torn tail. A blocked group is
  /// dropped.
  public mutating func close(clean: Bool) throws(DiskFault) {
    _ = try abandonCheckpoint()
    try discardPreparation()
    if clean, groupWrittenByteCount == 0, !segments.isEmpty {
      try forceLog()
      try writeCloseRecord()
    }
    try forceLog()
    if let last = segments.last { fileSystem.close(last.file) }
    for spare in spares { fileSystem.close(spare.file) }
    segments = []
    spares = []
  }

  /// What is true now.
  func makeReport() -> DiskReport {
    DiskReport(
      through: written, durable: durable, logByteCount: logByteCount,
      checkpointByteCount: checkpointByteCount, noSpace: noSpace)
  }

  /// Removes one file that is not needed any more. That the name may come back after a crash does
  /// no harm: recovery finds it stale again.
  private mutating func removeStale() throws(DiskFault) {
    guard let name = stale.first else { return }
    try fileSystem.remove(name)
    stale.removeFirst()
  }

  private mutating func writeCloseRecord() throws(DiskFault) {
    var writer = LogWriter(after: written, chain: writtenChecksum, identity: identity)
    _ = writer.close()
    var group = DiskGroup()
    writer.take(into: &group)
    // Without room the log ends without one, like after a crash.
    _ = try writeLog(of: group)
    groupWrittenByteCount = 0
  }
}
