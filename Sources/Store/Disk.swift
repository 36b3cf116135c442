import Base

/// How strongly an acknowledged write is kept.
public enum Durability: String, Sendable {
  case always
  case everySecond = "every-second"
  case never
}

/// A slice of a checkpoint, in the order begin, entries..., finish; or abandon.
public enum CheckpointStep: Sendable {
  case none
  /// Starts a checkpoint: replaying the log from after `through` over it gives the present state.
  case begin(through: Mark)
  /// `checkpointBytes` holds whole `Change`s.
  case entries
  /// The last slice (may hold entries too): write the footer, force, rename, drop older segments.
  case finish(stamp: Stamp, horizonMillis: Int64)
  /// Remove the temporary file.
  case abandon
}

/// What the loop gives the disk thread at once: one group.
///
/// Buffers travel with it and come back with the answer, so nothing is allocated in a turn.
public struct DiskGroup: ~Copyable, Sendable {
  /// Whole log records in order, as `LogWriter` made them; may be empty.
  public var log = ByteBuffer()
  /// The mark of the last record in `log`; unchanged from the group before when `log` is empty.
  public var last: Mark = .zero
  /// The checksum of the record `last`, which the disk needs to close the log.
  public var lastChecksum: UInt32 = 0
  /// Force after writing. Groups with false are made durable by the next one with true.
  public var force = true
  /// The slice of a checkpoint that goes with this group.
  public var checkpoint: CheckpointStep = .none
  /// Whole changes for `.entries` and `.finish`.
  public var checkpointBytes = ByteBuffer()

  public init() {}

  /// At most 64 KiB of the log to be forced, and nothing of a checkpoint.
  public var isSmall: Bool {
    guard case .none = checkpoint else { return false }
    return force && log.count <= 64 << 10
  }
}

/// What the disk thread tells with each finished group.
public struct DiskReport: Sendable {
  /// Everything through this mark is written; forced if the group asked for it.
  public var through: Mark
  /// Everything through this mark is forced.
  public var durable: Mark
  /// Bytes of the log since the last finished checkpoint, and bytes of that checkpoint.
  public var logByteCount: UInt64
  /// Bytes of the last finished checkpoint.
  public var checkpointByteCount: UInt64
  /// The group's records could not be written for lack of space; they are still to be written: the
  /// disk keeps them, tries again, and reports again. Nothing of this group is acknowledged.
  public var groupBlockedByNoSpace: Bool
  /// The disk could not prepare room ahead: new growing writes should be refused.
  public var noSpace: Bool
  /// A checkpoint was finished by this group, or failed for lack of space and was removed.
  public var checkpointFinished: Bool
  /// A checkpoint failed for lack of space and was removed.
  public var checkpointFailed: Bool

  /// Joins the parts; the failures default to none.
  public init(
    through: Mark, durable: Mark, logByteCount: UInt64, checkpointByteCount: UInt64,
    groupBlockedByNoSpace: Bool = false, noSpace: Bool = false,
    checkpointFinished: Bool = false, checkpointFailed: Bool = false
  ) {
    self.through = through
    self.durable = durable
    self.logByteCount = logByteCount
    self.checkpointByteCount = checkpointByteCount
    self.groupBlockedByNoSpace = groupBlockedByNoSpace
    self.noSpace = noSpace
    self.checkpointFinished = checkpointFinished
    self.checkpointFailed = checkpointFailed
  }
}

/// What `Disk.poll` answers.
public enum DiskEvent: ~Copyable {
  /// Progress of recovery: bytes read of bytes to read.
  case recovering(done: UInt64, of: UInt64)
  /// Recovery is complete; the node may serve.
  case recovered(Database)
  /// Recovery stopped: damage (file, offset, mark in the text), a newer format, or a machine fault.
  case unrecoverable(RecoveryError)
  /// A group is finished; its emptied buffers come back for reuse.
  ///
  /// With `groupBlockedByNoSpace` it is not: the group comes without buffers, the disk keeps the
  /// real one in flight (`isIdle` stays false), tries again by itself, and this event comes again.
  case finished(DiskGroup, DiskReport)
  /// While no group is in flight, the disk ran out of room ahead or has it again; see
  /// `DiskReport.noSpace`, which says the same with each group.
  case room(noSpace: Bool)
  /// A force or write failed for good: no further write may be acknowledged, the process ends.
  case failed(DiskFault)
}

/// The disk as the loop sees it: one request in flight, waited for only in `performNow`.
///
/// The real one is a thread around `DiskWorker<PosixFileSystem>`; the simulated one runs the same
/// `DiskWorker` over a simulated file system in virtual time.
public protocol Disk: ~Copyable {
  /// True when no group is in flight and recovery is over.
  var isIdle: Bool { get }
  /// What recovery found; known once `recovered` was polled.
  var recoverySummary: RecoverySummary { get }
  /// Begins recovery; `recovering` events and one of `recovered`, `unrecoverable` follow.
  mutating func recover()
  /// Hands a group over. Only when `isIdle`.
  mutating func start(_ group: consuming DiskGroup)
  /// As `start`, for a loop that has nobody to serve until the group is finished: the disk may do
  /// it in the caller's thread, which saves two changes of thread. True: it is done, and what
  /// `poll` answers next wakes nobody.
  mutating func performNow(_ group: consuming DiskGroup) -> Bool
  /// False: `poll` has nothing now. Asked each turn: an answer that says so costs more, as an event
  /// may be large.
  var hasNews: Bool { get }
  /// The next event, or nil. The loop is woken when there is one.
  mutating func poll() -> DiskEvent?
  /// Waits for the group in flight, closes the log cleanly (so that damage to any of it is told
  /// from a torn tail) and ends the disk thread. Last call, on the way out only.
  mutating func shutDown(clean: Bool) -> DiskFault?
}

extension Disk where Self: ~Copyable {
  /// Nothing, for a disk that does not say.
  public var recoverySummary: RecoverySummary { RecoverySummary() }
  /// Maybe, for a disk that costs nothing to ask.
  public var hasNews: Bool { true }
  /// Starts it, for a disk that has a time of its own.
  public mutating func performNow(_ group: consuming DiskGroup) -> Bool {
    start(group)
    return false
  }
}
