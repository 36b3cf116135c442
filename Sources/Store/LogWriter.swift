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

  /// The last record that wants to be forced now; those after it ride along with any later group.
  public private(set) var urgent: Mark
  /// The last record that was handed to the disk.
  @usableFromInline private(set) var taken: Mark
  /// Where in `body` the record begun starts, or -1 between records.
  private var recordStart = -1
  /// The record `appended` while it lacks its header. That is made when the next one begins or the
  /// group is taken: a checksum made at once would wait for all the stores that copied the payload.
  private var unsealed: Unsealed?
  /// The first record that the next forced group will make durable.
  ///
  /// Invariant: groupFirst <= appended + 1, and every record before it is forced before any record
  /// made from now on is written.
  private var groupFirst: Mark
  /// The checksum of the last record that has its header.
  private var checksum: UInt32
  /// The checksum of the record `taken`.
  private var takenChecksum: UInt32
  private let seed: UInt32
  /// A name of the directory, for ever, that may be told to anybody: it says nothing of the
  /// identity that it is made from, which keeps the bytes of clients from passing for records.
  public let directoryName: UInt64

  /// Goes on after record `after`, whose checksum is `chain` (0 before record 1), in the log of the
  /// directory `identity`.
  public init(after: Mark, chain: UInt32, identity: UInt64) {
    appended = after
    urgent = after
    taken = after
    body = ByteBuffer()
    groupFirst = after.next
    checksum = chain
    takenChecksum = chain
    seed = LogFormat.seed(identity: identity)
    var label = "name of the directory"
    directoryName = label.withUTF8 {
      SipHash.hash24(UnsafeRawBufferPointer($0), key: SipKey(k0: identity, k1: ~identity))
    }
  }

  // MARK: Records

  /// Begins a record; the one before it was finished or cancelled.
  public mutating func begin() {
    invariant(recordStart < 0, "a record is begun only when the one before it is finished")
    seal()
    recordStart = body.count
    _ = body.extend(LogFormat.recordHeaderByteCount)
  }

  /// Finishes the record begun and returns its mark; it wants to be forced now.
  public mutating func finish() -> Mark {
    let mark = finish(kind: .changes)
    urgent = mark
    return mark
  }

  /// Finishes the record begun and returns its mark; `lazily`: nobody waits for it.
  public mutating func finish(lazily: Bool) -> Mark {
    lazily ? finish(kind: .changes) : finish()
  }

  /// Makes every record so far want to be forced now.
  public mutating func hurry() { urgent = appended }

  /// Drops the record begun, with all that was appended to it.
  public mutating func cancel() {
    invariant(recordStart >= 0, "a record is cancelled only between begin and finish")
    body.truncate(to: recordStart)
    recordStart = -1
  }

  /// Drops the end of the record begun; `byteCount` bytes of `Change`s stay.
  mutating func truncate(recordByteCount byteCount: Int) {
    invariant(recordStart >= 0, "a record is shortened only between begin and finish")
    body.truncate(to: recordStart + LogFormat.recordHeaderByteCount + byteCount)
  }

  /// The `Change`s in the record begun.
  var recordBytes: UnsafeRawBufferPointer {
    guard recordStart >= 0 else { return UnsafeRawBufferPointer(start: nil, count: 0) }
    return UnsafeRawBufferPointer(
      rebasing: body.bytes[(recordStart + LogFormat.recordHeaderByteCount)...])
  }

  /// The bytes of `Change`s in the record begun.
  public var recordByteCount: Int {
    recordStart < 0 ? 0 : body.count - recordStart - LogFormat.recordHeaderByteCount
  }

  // MARK: Groups

  /// The bytes of finished records, and of the one begun, that were not taken yet.
  public var pendingByteCount: Int { body.count }

  /// True when a record that was not taken yet wants to be forced now.
  @inlinable public var isUrgent: Bool { urgent > taken }

  /// The first finished record that was not taken yet; nil when all were. When nothing is urgent,
  /// the time since this one changed says how long the oldest lazy record has waited.
  public var firstPending: Mark? { taken < appended ? taken.next : nil }

  /// Moves all finished records into `group`, whose log buffer is empty, and sets its `last` and
  /// `lastChecksum`. Set `group.force` before: it decides where the next group begins. The group
  /// must be handed to the disk, and before any later one.
  public mutating func take(into group: inout DiskGroup) {
    invariant(recordStart < 0, "records are taken only between records")
    invariant(group.log.isEmpty, "records are taken into an empty group")
    seal()
    swap(&body, &group.log)
    taken = appended
    takenChecksum = checksum
    group.last = appended
    group.lastChecksum = checksum
    if group.force { groupFirst = appended.next }
  }

  /// Does the same for a group that goes without the records that are pending. If it is forced,
  /// those are of a later one, and the finished ones get new headers: O(pending bytes), but only
  /// when something taken was not forced yet.
  public mutating func takeNothing(into group: inout DiskGroup) {
    invariant(recordStart < 0, "records are held back only between records")
    invariant(group.log.isEmpty, "a group without records is empty")
    group.last = taken
    group.lastChecksum = takenChecksum
    guard group.force, groupFirst <= taken else { return }
    groupFirst = taken.next
    checksum = takenChecksum
    var offset = 0
    let end = unsealed?.start ?? body.count
    while offset < end {
      let place = body.mutableBytes.baseAddress.unsafelyUnwrapped + offset
      guard var header = RecordHeader(at: place, seed: seed) else {
        invariantFailed("what is pending is whole records")
      }
      header.groupOffset = groupOffset(of: header.mark)
      header.previousChecksum = checksum
      checksum = header.seal(at: place, seed: seed)
      offset += header.byteCount
    }
  }

  // MARK: Parts

  private struct Unsealed {
    var start: Int
    var payloadByteCount: Int
    var kind: RecordKind
  }

  /// Appends a record without payload that says that the log ends in order.
  mutating func close() -> Mark {
    begin()
    return finish(kind: .close)
  }

  private mutating func finish(kind: RecordKind) -> Mark {
    invariant(recordStart >= 0, "a record is finished only after it was begun")
    let payload = body.count - recordStart - LogFormat.recordHeaderByteCount
    invariant(payload <= UInt32.max, "a record's payload is below 4 GiB")
    pad(payload)
    appended = appended.next
    unsealed = Unsealed(start: recordStart, payloadByteCount: payload, kind: kind)
    recordStart = -1
    return appended
  }

  /// Appends zeroes up to a multiple of 8.
  private mutating func pad(_ payloadByteCount: Int) {
    let count = body.count + (-payloadByteCount & 7)
    body.extend(8).storeBytes(of: 0, as: UInt64.self)
    body.truncate(to: count)
  }

  /// Gives the record `appended` its header, if it lacks it.
  private mutating func seal() {
    guard let record = unsealed else { return }
    let place = body.mutableBytes.baseAddress.unsafelyUnwrapped + record.start
    let header = RecordHeader(
      checksum: 0, payloadByteCount: record.payloadByteCount,
      groupOffset: groupOffset(of: appended), mark: appended,
      previousChecksum: checksum, kind: record.kind)
    checksum = header.seal(at: place, seed: seed)
    unsealed = nil
  }

  private func groupOffset(of mark: Mark) -> UInt32 {
    let offset = mark.number - groupFirst.number
    return offset < UInt64(LogFormat.groupOffsetUnknown)
      ? UInt32(offset) : LogFormat.groupOffsetUnknown
  }
}
