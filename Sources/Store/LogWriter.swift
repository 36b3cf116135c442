import Base

/// Makes log records in memory: the loop appends `Change`s, the disk thread gets whole groups.
///
/// Use: `begin`, append `Change`s to `body`, then `finish` or `cancel`; between records `take`
/// hands all that is pending to the disk. The format is specified in LogFormat.swift. Called by the
/// loop only; pure.
public struct LogWriter: ~Copyable {
  /// The mark of the last finished record.
  public private(set) var appended: Mark
  /// Finished records that were not taken yet, and behind them the record begun. Only append to it,
  /// and only between `begin` and `finish`.
  public var body: ByteBuffer

  /// Where in `body` the record begun starts, or -1 between records.
  private var recordStart = -1
  /// The first record that the next forced group will make durable.
  ///
  /// Invariant: groupFirst <= appended + 1, and every record before it is forced before any record
  /// made from now on is written.
  private var groupFirst: Mark
  /// The checksum of the record `appended`.
  private var checksum: UInt32
  private let seed: UInt32

  /// Goes on after record `after`, whose checksum is `chain` (0 before record 1), in the log of the
  /// directory `identity`.
  public init(after: Mark, chain: UInt32, identity: UInt64) {
    appended = after
    body = ByteBuffer()
    groupFirst = after.next
    checksum = chain
    seed = LogFormat.seed(identity: identity)
  }

  // MARK: Records

  /// Begins a record; the one before it was finished or cancelled.
  public mutating func begin() {
    invariant(recordStart < 0, "a record is begun only when the one before it is finished")
    recordStart = body.count
    _ = body.extend(LogFormat.recordHeaderByteCount)
  }

  /// Finishes the record begun and returns its mark.
  public mutating func finish() -> Mark { finish(kind: .changes) }

  /// Drops the record begun, with all that was appended to it.
  public mutating func cancel() {
    invariant(recordStart >= 0, "a record is cancelled only between begin and finish")
    body.truncate(to: recordStart)
    recordStart = -1
  }

  /// The bytes of `Change`s in the record begun.
  public var recordByteCount: Int {
    recordStart < 0 ? 0 : body.count - recordStart - LogFormat.recordHeaderByteCount
  }

  // MARK: Groups

  /// The bytes of finished records, and of the one begun, that were not taken yet.
  public var pendingByteCount: Int { body.count }

  /// Moves all finished records into `group`, whose log buffer is empty, and sets its `last` and
  /// `lastChecksum`. Set `group.force` before: it decides where the next group begins. The group
  /// must be handed to the disk, and before any later one.
  public mutating func take(into group: inout DiskGroup) {
    invariant(recordStart < 0, "records are taken only between records")
    invariant(group.log.isEmpty, "records are taken into an empty group")
    swap(&body, &group.log)
    group.last = appended
    group.lastChecksum = checksum
    if group.force { groupFirst = appended.next }
  }

  // MARK: Parts

  /// Appends a record without payload that says that the log ends in order.
  mutating func close() -> Mark {
    begin()
    return finish(kind: .close)
  }

  private mutating func finish(kind: RecordKind) -> Mark {
    invariant(recordStart >= 0, "a record is finished only after it was begun")
    let payload = body.count - recordStart - LogFormat.recordHeaderByteCount
    invariant(payload <= UInt32.max, "a record's payload is below 4 GiB")
    body.append(zeroes: -payload & 7)
    appended = appended.next
    let offset = appended.number - groupFirst.number
    let header = RecordHeader(
      checksum: 0, payloadByteCount: payload,
      groupOffset: offset < UInt64(LogFormat.groupOffsetUnknown)
        ? UInt32(offset) : LogFormat.groupOffsetUnknown,
      mark: appended, previousChecksum: checksum, kind: kind)
    let place = body.mutableBytes.baseAddress.unsafelyUnwrapped + recordStart
    checksum = header.seal(at: place, seed: seed)
    recordStart = -1
    return appended
  }
}
