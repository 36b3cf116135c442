import Base
import Testing

@testable import Store

/// Sizes at which every border is near.
let smallOptions: DiskOptions = {
  var options = DiskOptions()
  options.segmentByteCountMin = 4096
  options.segmentByteCountMax = 16384
  options.sliceByteCount = 1024
  options.unforcedByteCountMax = 2048
  return options
}()

/// The same, as for durability that rarely forces.
let lazyOptions: DiskOptions = {
  var options = smallOptions
  options.fillsAhead = false
  options.bypassesCache = true
  return options
}()

/// A database and its disk worker over a `MemoryMedium`: what the loop and the disk thread are
/// together, one step at a time.
struct DiskRig: ~Copyable {
  typealias State = [String: [UInt8]]

  let medium: MemoryMedium
  var worker: DiskWorker<MemoryFileSystem>
  var database: Database
  var group = DiskGroup()
  /// The state after each record; what recovery ends at must be one of them.
  var states: [UInt64: State] = [:]
  private var wallNanos: UInt64 = 1_700_000_000_000_000_000
  private var checkpoint: CheckpointCursor?

  /// Recovers what is on the medium.
  init(
    _ medium: MemoryMedium, options: DiskOptions = smallOptions, identity: UInt64 = 0x1DE7
  ) throws(RecoveryError) {
    self.medium = medium
    var limits = DatabaseLimits()
    limits.outcomeByteCountMax = 1 << 20
    var worker = DiskWorker(
      fileSystem: MemoryFileSystem(medium), options: options, databaseLimits: limits,
      hashKey: SipKey(k0: 1, k1: 2), freshIdentity: identity)
    database = try worker.recover { _, _ in }
    self.worker = worker
    note()
  }

  var appended: Mark { database.log.appended }

  /// What the database holds now, the ledger included.
  var state: State {
    var state = State()
    database.visit { state[String(decoding: $0.key, as: UTF8.self)] = Array($0.value) }
    database.visitLedger {
      state["ledger " + String(decoding: $0.id, as: UTF8.self)] =
        [$0.isStaged ? 1 : 0] + Array($0.note) + [0] + Array($0.changes)
    }
    return state
  }

  // MARK: Changes

  /// One transaction that puts and removes; returns its mark.
  @discardableResult
  mutating func commit(put: State = [:], remove: [String] = []) -> Mark {
    wallNanos += 1000
    database.observe(wallNanos: wallNanos)
    database.begin(multi: false)
    for (key, value) in put.sorted(by: { $0.key < $1.key }) {
      Array(key.utf8).withUnsafeBytes { key in
        value.withUnsafeBytes { value in
          _ = database.execute(.put(key: key, value: value, .plain))
        }
      }
    }
    for key in remove {
      Array(key.utf8).withUnsafeBytes { _ = database.execute(.delete(key: $0)) }
    }
    let mark = database.commit() ?? appended
    note()
    return mark
  }

  /// A transaction drawn from `chance`, always of the same two keys at least, which must stay
  /// equal.
  mutating func commit(drawnFrom chance: inout Random, valueByteCountMax: Int = 300) {
    let number = Array("\(appended.number)".utf8)
    var put: State = ["left": number, "right": number]
    var remove: [String] = []
    for _ in 0..<chance.below(3) {
      let key = "key \(chance.below(20))"
      if chance.chance(1, in: 4) {
        remove.append(key)
      } else {
        let count = chance.below(valueByteCountMax + 1)
        put[key] = (0..<count).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
      }
    }
    for key in remove { put[key] = nil }
    commit(put: put, remove: remove)
  }

  /// Stages, settles or notes under one of three ids; each has a key of its own.
  mutating func agree(drawnFrom chance: inout Random) {
    wallNanos += 1000
    database.observe(wallNanos: wallNanos)
    let id = Array("transaction \(chance.below(3))".utf8)
    let value = Array("\(appended.number)".utf8)
    var changes = ByteBuffer()
    database.begin(multi: true)
    id.withUnsafeBytes { id in
      value.withUnsafeBytes { _ = database.execute(.put(key: id, value: $0, .plain)) }
      _ = database.takeChanges(into: &changes)
      let isStaged = database.ledgerRecord(of: id)?.isStaged ?? false
      value.withUnsafeBytes { value in
        if isStaged, chance.chance(2, in: 3) {
          let note = chance.chance(1, in: 2) ? value : nil
          _ = database.settle(id, committed: chance.chance(2, in: 3), note: note)
        } else if chance.chance(3, in: 4) {
          _ = try? database.stage(id, note: value, changes: changes.bytes)
        } else {
          _ = database.note(id, value)
        }
      }
    }
    note()
  }

  private mutating func note() { states[appended.number] = state }

  // MARK: The disk

  /// Hands over what is pending, with the next step of a checkpoint under way. `holding`: nothing,
  /// only what went before is forced.
  @discardableResult
  mutating func flush(force: Bool = true, holding: Bool = false) throws(DiskFault) -> DiskReport {
    group.force = force
    if holding {
      database.log.takeNothing(into: &group)
    } else if database.log.pendingByteCount > 0 {
      database.log.take(into: &group)
    }
    group.checkpoint = .none
    if checkpoint != nil {
      let more = database.checkpointSlice(
        &checkpoint!, into: &group.checkpointBytes, byteCountMax: 700)
      group.checkpoint =
        more
        ? .entries
        : .finish(stamp: database.lastStamp, horizonMillis: database.horizonMillis)
      if !more { checkpoint = nil }
    }
    return try perform()
  }

  /// Performs the group at hand, again if it was blocked.
  mutating func perform() throws(DiskFault) -> DiskReport {
    let report = try worker.perform(&group)
    if report.checkpointFailed { checkpoint = nil }
    return report
  }

  /// Starts a checkpoint with the records that are pending.
  @discardableResult
  mutating func beginCheckpoint() throws(DiskFault) -> DiskReport {
    group.force = true
    if database.log.pendingByteCount > 0 { database.log.take(into: &group) }
    group.checkpoint = .begin(through: appended)
    checkpoint = CheckpointCursor()
    return try perform()
  }

  /// A whole checkpoint, with nothing in between.
  mutating func writeCheckpoint() throws(DiskFault) {
    try beginCheckpoint()
    while checkpoint != nil { try flush() }
  }

  /// What the worker says; a copy, as `#expect` takes only what can be copied.
  var hasNoSpace: Bool { worker.hasNoSpace }

  var isWritingCheckpoint: Bool { checkpoint != nil }

  /// Does all there is to do ahead.
  mutating func settle() throws(DiskFault) {
    while try worker.idle() {}
  }
}

/// Why a copy of `medium` cannot be recovered; nil if it can.
func refusal(_ medium: MemoryMedium) -> RecoveryError? {
  do {
    _ = try recovered(medium)
    return nil
  } catch {
    return error
  }
}

/// Recovers a copy of `medium` and returns the state and the last mark; the medium stays as it is.
func recovered(_ medium: MemoryMedium) throws(RecoveryError) -> (DiskRig.State, Mark) {
  let rig = try DiskRig(medium.copy())
  return (rig.state, rig.appended)
}
