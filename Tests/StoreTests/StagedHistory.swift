import Base

@testable import Store

/// A database in the life of a member: it stages, settles and notes, commits changes of its own,
/// expires and evicts, and touches no key of a staged transaction meanwhile.
struct StagedHistory: ~Copyable {
  var world: TestDatabase
  private var chance: Random
  /// What each slot has staged; the keys and ids of a slot are locked while it has.
  private var staged = [Bool](repeating: false, count: StagedHistory.slotCount)
  /// A staged flush locks everything.
  private var isFlushing = false
  private var attempt = 0

  private static var slotCount: Int { 4 }

  init(seed: UInt64) {
    chance = Random(seed: seed)
    var limits = DatabaseLimits()
    limits.outcomeByteCountMax = 2_500
    world = TestDatabase(seed: seed, limits: limits)
  }

  /// A random step; most append one record.
  mutating func step() throws {
    world.observe(world.database.clockMillis + Int64(chance.below(4)))
    let slot = chance.below(Self.slotCount)
    switch chance.below(12) {
    case 0, 1, 2:
      if staged[slot], chance.chance(3, in: 4) { settle(slot) } else { try stage(slot) }
    case 3, 4: if staged[slot] { settle(slot) }
    case 5: world.note(Self.id(slot), "noted \(chance.below(100))")
    case 6: world.note("alone \(slot)", chance.chance(1, in: 3) ? nil : "note \(chance.below(100))")
    case 7: if !staged[slot] { world.note(Self.id(slot), nil) }
    case 8: expire()
    default: commit(slot)
    }
    _ = world.database.step(budget: chance.below(4))
  }

  /// Settles whatever is staged.
  mutating func settleAll() {
    for slot in 0..<Self.slotCount where staged[slot] { settle(slot) }
  }

  private static func id(_ slot: Int) -> String { "transaction \(slot)" }

  private mutating func stage(_ slot: Int) throws {
    guard !isFlushing else { return }
    let flushes = chance.chance(1, in: 12) && !staged.contains(true)
    world.database.begin(multi: true)
    if flushes { isFlushing = true }
    let savepoint = world.database.savepoint()
    for attempt in 0..<chance.within(1...2) {
      if attempt > 0 { world.database.rollback(to: savepoint) }
      for _ in 0..<chance.within(1...6) { _ = world.execute(operation(on: slot)) }
    }
    if flushes { _ = world.execute(.flush) }
    if flushes, chance.chance(1, in: 2) { _ = world.execute(operation(on: slot)) }
    if chance.chance(1, in: 2) {
      _ = world.addOutcome(
        operationID(), reply: "reply", failed: chance.chance(1, in: 5))
    }
    attempt += 1
    try world.stage(Self.id(slot), note: "attempt \(attempt)", world.takeChanges())
    staged[slot] = true
  }

  private mutating func settle(_ slot: Int) {
    world.settle(
      Self.id(slot), committed: chance.chance(2, in: 3),
      note: chance.chance(1, in: 2) ? "settled" : nil)
    staged[slot] = false
    isFlushing = false
  }

  private mutating func expire() {
    let (staged, isFlushing) = (staged, isFlushing)
    _ = world.database.expireDue(limit: chance.within(1...9)) { key in
      isFlushing
        || (0..<Self.slotCount).contains { staged[$0] && String(bytes: key).hasPrefix("\($0) ") }
    }
  }

  private mutating func commit(_ slot: Int) {
    guard !isFlushing else { return }
    world.database.begin(multi: false)
    _ = world.execute(operation(on: staged[slot] ? 9 : slot))
    if chance.chance(1, in: 3) {
      let id = operationID()
      _ = Array("own".utf8).withUnsafeBytes { world.database.commit(as: id, reply: $0) }
    } else {
      _ = world.database.commit()
    }
  }

  private mutating func operation(on slot: Int) -> TestOperation {
    let operation = chance.operation(
      keyCount: 5, clock: world.database.clockMillis, prefix: "\(slot) ")
    if case .flush = operation { return .put("\(slot) last", "flushed") }
    return operation
  }

  private mutating func operationID() -> OperationID {
    OperationID(
      unixMillis: world.database.clockMillis - Int64(chance.below(3)), random: chance.next(),
      chance.next())
  }
}
