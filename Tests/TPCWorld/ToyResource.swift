import Base
import TPC

/// A small resource with a log: a map from keys to numbers, whose state is what its log says.
///
/// A crash keeps any prefix of the log that holds the forced part. It notes what must never happen.
public struct ToyResource: Resource {
  public enum LogRecord: Equatable {
    case stage(TransactionID, Attempt, body: [UInt8], note: [UInt8])
    case commit(TransactionID, note: [UInt8])
    case abort(TransactionID, note: [UInt8]?)
    case note([UInt8], [UInt8]?)
    /// A member is removed by force.
    case remove(MemberID)
    /// All that another member holds, to begin with.
    case install(Copy)
  }

  /// What a joiner is given.
  public struct Copy: Equatable {
    var table: [UInt8: Value]
    var applied: [TransactionID]
    var outcomes: [OperationID: TransactionID]
  }

  public struct Value: Equatable {
    public var number: UInt64 = 0
    public var version: UInt64 = 0
  }

  public let member: MemberID
  public private(set) var log: [LogRecord] = []
  /// How many records are on disk.
  public private(set) var forcedCount = 0
  public private(set) var table: [UInt8: Value] = [:]
  public private(set) var staged: [TransactionID: [UInt8]] = [:]
  public private(set) var notes: [[UInt8]: [UInt8]] = [:]
  public private(set) var outcomes: [OperationID: TransactionID] = [:]
  /// What was applied, in order.
  public private(set) var applied: [TransactionID] = []
  /// The member list, as the log says.
  public private(set) var members: MemberSet
  public private(set) var epoch = Epoch(1)
  /// Who was removed by force since the last agreed change.
  private var removedSince = MemberSet()
  private let founders: MemberSet
  private let firstEpoch: Epoch
  private var takesMembers = false
  /// Set for a joiner: the attempt of which it has all that the others have. Not in the log.
  public var completeFor: (id: TransactionID, attempt: Attempt)?
  /// The next prepare meets a conflict that is made up.
  public var hasConflict = false
  /// What must never happen and did.
  public var violations: [String] = []

  public init(member: MemberID, members: MemberSet, epoch: Epoch = Epoch(1)) {
    self.member = member
    self.members = members
    self.epoch = epoch
    founders = members
    firstEpoch = epoch
  }

  // MARK: Disk

  /// Makes the log durable through `count` records.
  public mutating func force(through count: Int) { forcedCount = max(forcedCount, count) }

  /// Loses the log after `count` records, and what it said.
  public mutating func crash(keeping count: Int) {
    let kept = Array(log.prefix(max(count, forcedCount)))
    let found = violations
    self = ToyResource(member: member, members: founders, epoch: firstEpoch)
    for record in kept { replay(record) }
    takesMembers = false
    violations = found
    forcedCount = kept.count
  }

  private mutating func replay(_ record: LogRecord) {
    log.append(record)
    switch record {
    case .stage(let id, _, let body, let note):
      staged[id] = body
      notes[Self.key(id)] = note
    case .commit(let id, let note):
      apply(id)
      notes[Self.key(id)] = note
    case .abort(let id, let note):
      staged[id] = nil
      notes[Self.key(id)] = note
    case .note(let key, let note): notes[key] = note
    case .remove(let gone):
      members.remove(gone)
      removedSince.insert(gone)
      epoch = Epoch(agreed: epoch.agreed, forced: epoch.forced + 1)
    case .install(let copy): (table, applied, outcomes) = (copy.table, copy.applied, copy.outcomes)
    }
  }

  private mutating func change(by body: ToyBody) {
    if epoch.agreed != body.base.agreed { violations.append("a change of an old list is applied") }
    members = members.union(body.admits.subtracting(removedSince))
    // The last survivor of removals by force stays.
    if members.count > 1 { members = members.subtracting(body.dismisses) }
    epoch = Epoch(agreed: epoch.agreed + 1, forced: epoch.forced)
    removedSince = MemberSet()
    takesMembers = true
  }

  // MARK: Members

  /// It is not in its list: it has yet to join, or has gone.
  public var isOutside: Bool { !members.contains(member) }

  /// The guest of the change that is in doubt here, unless it was removed by force since.
  public var guest: MemberID? {
    staged.values.lazy.flatMap { ToyBody($0).admits }
      .first { !members.contains($0) && !removedSince.contains($0) }
  }

  public mutating func remove(_ gone: MemberID) { replay(.remove(gone)) }

  public var copy: Copy { Copy(table: table, applied: applied, outcomes: outcomes) }

  public mutating func install(_ copy: Copy) { replay(.install(copy)) }

  public mutating func takeMembers() -> (members: MemberSet, epoch: Epoch)? {
    defer { takesMembers = false }
    return takesMembers ? (members, epoch) : nil
  }

  private mutating func apply(_ id: TransactionID) {
    guard let bytes = staged.removeValue(forKey: id) else {
      violations.append("member \(member) commits \(id), which is not staged")
      return
    }
    if applied.contains(id) { violations.append("member \(member) applies \(id) twice") }
    applied.append(id)
    let body = ToyBody(bytes)
    for change in body.changes {
      let now = table[change.key, default: Value()]
      if now.version != change.expected {
        violations.append("member \(member) applies \(id) over a change it has not seen")
      }
      if change.isWrite { table[change.key] = Value(number: change.value, version: change.version) }
    }
    if body.isChange { change(by: body) }
    guard body.operation != .none else { return }
    if let other = outcomes[body.operation], other != id {
      violations.append("operation \(body.operation.low) done by \(other) and by \(id)")
    }
    outcomes[body.operation] = id
  }

  // MARK: Resource

  public mutating func prepare(
    _ id: TransactionID, _ attempt: Attempt, body: UnsafeRawBufferPointer,
    record: UnsafeRawBufferPointer
  ) -> Verdict {
    let bytes = Array(body)
    let work = ToyBody(bytes)
    if isOutside, completeFor?.id != id || completeFor?.attempt != attempt { return .later }
    if work.isChange, work.base != epoch { return .no(.epoch) }
    if hasConflict {
      hasConflict = false
      return .no(.conflict)
    }
    if work.refusedBy.contains(member) { return .no(.invalid, [UInt8(member.number)]) }
    if work.operation != .none, outcomes[work.operation] != nil { return .no(.duplicate) }
    for change in work.changes
    where table[change.key, default: Value()].version != change.expected {
      return .no(.conflict)
    }
    replay(.stage(id, attempt, body: bytes, note: Array(record)))
    return .yes([])
  }

  public mutating func commit(_ id: TransactionID, record: UnsafeRawBufferPointer) {
    replay(.commit(id, note: Array(record)))
  }

  public mutating func abort(_ id: TransactionID, record: UnsafeRawBufferPointer?) {
    replay(.abort(id, note: record.map { Array($0) }))
  }

  public mutating func note(_ key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer?) {
    replay(.note(Array(key), record.map { Array($0) }))
  }

  static func key(_ id: TransactionID) -> [UInt8] {
    var buffer = ByteBuffer()
    id.encode(into: &buffer)
    return Array(buffer.bytes)
  }
}
