import Base
import Store
import TPC

/// The database as what the negotiator commits.
///
/// The body of a transaction's work, little-endian: u64 stamp of the attempt, which is the version
/// of all that it writes; u8 flags (bit 0: it grows the data; bit 1: it changes the members); u32
/// count of keys, each u16 length, u64 version that the coordinator saw (0: absent), bytes; u32
/// count of operation ids, each u64 high, u64 low; then the changes as they stand in the log, or
/// the `ProposedChange`.
struct StoreResource: Resource, ~Copyable {
  let database: UnsafeMutablePointer<Database>
  /// The list of members, which is changed together with the database.
  let members: MembershipState
  /// Memory or disk has no room for what grows the data.
  let isFull: Bool

  mutating func prepare(
    _ id: TransactionID, _ attempt: Attempt, body: UnsafeRawBufferPointer,
    record: UnsafeRawBufferPointer
  ) -> Verdict {
    guard var reader = WorkReader(body) else { return .no(.invalid) }
    database.pointee.observe(stamp: reader.stamp)
    if reader.changesMembers { return prepareChange(id, attempt, &reader, record) }
    if reader.grows, isFull { return .no(.noSpace) }
    while let (key, version) = reader.nextKey() {
      let present = database.pointee.version(of: key)?.nanos ?? 0
      guard present == version else { return .no(.conflict) }
    }
    while let operation = reader.nextOperation() {
      // By what is recorded here alone, never by the clock.
      switch database.pointee.standing(of: operation, wallMillis: nil) {
      case .new, .aged, .future: break
      case .recorded: return .no(.duplicate)
      case .expired: return .no(.expired, Self.detail(horizon: database.pointee.horizonMillis))
      }
    }
    guard let changes = reader.changes else { return .no(.invalid) }
    var isStaged = false
    withKey(id) {
      isStaged = (try? database.pointee.stage($0, note: record, changes: changes)) != nil
    }
    #if MUTANTS
      if isStaged {
        FailPoint.reach(.beforeVote, database.pointee.log.appended)
        FailPoint.reach(.afterPrepared, database.pointee.log.appended)
      }
    #endif
    return isStaged ? .yes([]) : .no(.invalid)
  }

  /// Stages a change of the members: the change itself stands beside the record, in a note that the
  /// same log record writes, and another one removes with the decision.
  private mutating func prepareChange(
    _ id: TransactionID, _ attempt: Attempt, _ reader: inout WorkReader,
    _ record: UnsafeRawBufferPointer
  ) -> Verdict {
    guard reader.nextKey() == nil, reader.nextOperation() == nil, let bytes = reader.changes,
      let proposed = ProposedChange(bytes)
    else { return .no(.invalid) }
    if let objection = members.objection(to: proposed, id, attempt) { return objection }
    let change = PendingChange(id: id, proposed: proposed)
    let note = LedgerNote(MembershipNote.changeKey, Array(change.bytes.bytes))
    let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
    var isStaged = false
    withKey(id) {
      isStaged =
        (try? database.pointee.stage($0, note: record, changes: nothing, with: [note])) != nil
    }
    guard isStaged else { return .no(.invalid) }
    members.prepared(change)
    #if MUTANTS
      FailPoint.reach(.beforeVote, database.pointee.log.appended)
      FailPoint.reach(.afterPrepared, database.pointee.log.appended)
    #endif
    return .yes([])
  }

  mutating func commit(_ id: TransactionID, record: UnsafeRawBufferPointer) {
    settle(id, committed: true, record, members.noteAfterCommit(of: id))
  }

  mutating func abort(_ id: TransactionID, record: UnsafeRawBufferPointer?) {
    settle(id, committed: false, record, nil)
  }

  /// The list changes with the record that commits the change of it, in one.
  private mutating func settle(
    _ id: TransactionID, committed: Bool, _ record: UnsafeRawBufferPointer?,
    _ changed: MembershipNote?
  ) {
    var others: [LedgerNote] = []
    if members.pending?.id == id { others.append(LedgerNote(MembershipNote.changeKey, nil)) }
    if let changed { others.append(LedgerNote(MembershipNote.key, Array(changed.bytes.bytes))) }
    #if MUTANTS
      FailPoint.reach(.beforeDecision)
    #endif
    withKey(id) {
      _ = database.pointee.settle($0, committed: committed, note: record, with: others)
    }
    members.settled(id, committed: changed)
    #if MUTANTS
      FailPoint.reach(.afterDecision, database.pointee.log.appended)
    #endif
  }

  mutating func takeMembers() -> (members: MemberSet, epoch: Epoch)? { members.takeMembers() }

  mutating func note(_ key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer?) {
    if let record {
      _ = database.pointee.note(key, record)
    } else {
      _ = database.pointee.unnote(key)
    }
  }

  /// What goes with the no `expired`: i64 the voter's horizon in Unix milliseconds.
  private static func detail(horizon millis: Int64) -> [UInt8] {
    withUnsafeBytes(of: millis.littleEndian) { Array($0) }
  }

  /// The voter's horizon in the bytes of a no `expired`; nil when they are none.
  static func horizonMillis(in detail: UnsafeRawBufferPointer) -> Int64? {
    guard detail.count == MemoryLayout<Int64>.size else { return nil }
    return Int64(littleEndian: detail.loadUnaligned(as: Int64.self))
  }

  private func withKey(_ id: TransactionID, _ body: (UnsafeRawBufferPointer) -> Void) {
    var key = ByteBuffer(capacity: TransactionID.byteCount)
    id.encode(into: &key)
    body(key.bytes)
  }
}

/// Walks a body that came from another member; what does not fit ends it.
struct WorkReader {
  let stamp: Stamp
  let grows: Bool
  let changesMembers: Bool
  private var rest: UnsafeRawBufferPointer
  private var keysLeft: UInt32
  private var operationsLeft: UInt32?
  private var isBad = false

  /// Nil when the head is cut.
  init?(_ body: UnsafeRawBufferPointer) {
    guard body.count >= 13 else { return nil }
    stamp = Stamp(nanos: UInt64(littleEndian: body.loadUnaligned(as: UInt64.self)))
    grows = body[8] & 1 != 0
    changesMembers = body[8] & 2 != 0
    keysLeft = UInt32(littleEndian: body.loadUnaligned(fromByteOffset: 9, as: UInt32.self))
    rest = UnsafeRawBufferPointer(rebasing: body[13...])
  }

  /// The next key with its version.
  mutating func nextKey() -> (UnsafeRawBufferPointer, UInt64)? {
    guard keysLeft > 0, !isBad else { return nil }
    guard let length: UInt16 = take(), let version: UInt64 = take(), rest.count >= Int(length)
    else {
      isBad = true
      return nil
    }
    keysLeft -= 1
    defer { rest = UnsafeRawBufferPointer(rebasing: rest[Int(length)...]) }
    return (UnsafeRawBufferPointer(rebasing: rest[..<Int(length)]), version)
  }

  /// The next operation id, after all keys.
  mutating func nextOperation() -> OperationID? {
    guard keysLeft == 0, !isBad else { return nil }
    if operationsLeft == nil {
      operationsLeft = take()
      isBad = operationsLeft == nil
    }
    guard let left = operationsLeft, left > 0 else { return nil }
    guard let high: UInt64 = take(), let low: UInt64 = take() else {
      isBad = true
      return nil
    }
    operationsLeft = left - 1
    return OperationID(high: high, low: low)
  }

  /// The changes, after all keys and ids; nil when the body is cut or they are not whole changes.
  var changes: UnsafeRawBufferPointer? {
    guard !isBad, keysLeft == 0, operationsLeft == 0 else { return nil }
    return rest
  }

  private mutating func take<T: FixedWidthInteger>() -> T? {
    guard rest.count >= MemoryLayout<T>.size else { return nil }
    defer { rest = UnsafeRawBufferPointer(rebasing: rest[MemoryLayout<T>.size...]) }
    return T(littleEndian: rest.loadUnaligned(as: T.self))
  }
}

extension ByteBuffer {
  /// Begins a body.
  mutating func appendWorkHead(
    stamp: Stamp, grows: Bool, changesMembers: Bool = false, keyCount: Int
  ) {
    append(little: stamp.nanos)
    append(UInt8((grows ? 1 : 0) | (changesMembers ? 2 : 0)))
    append(little: UInt32(keyCount))
  }

  /// Appends a key with the version that it has here; nil: it is absent.
  mutating func appendWorkKey(_ key: UnsafeRawBufferPointer, version: Stamp?) {
    append(little: UInt16(key.count))
    append(little: version?.nanos ?? 0)
    append(key)
  }

  /// Appends the ids of operations, after all keys.
  mutating func append(workOperations ids: [OperationID]) {
    append(little: UInt32(ids.count))
    for id in ids {
      append(little: id.high)
      append(little: id.low)
    }
  }
}
