import Base
import Testing

@testable import Store

/// Savepoints, and changes that are taken instead of committed.
@Suite struct SpeculationTests {
  /// Runs the same operations on both; some groups only on the first, where they are taken back.
  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func `what is taken back to a savepoint has never been`(_ seed: UInt64) {
    var chance = Random(seed: seed &+ 900)
    var world = TestDatabase(seed: seed)
    var plain = TestDatabase(seed: seed)
    let keyCount = [2, 9, 120][Int(seed % 3)]
    for round in 0..<120 {
      let clock = world.database.clockMillis + Int64(chance.within(1...30))
      world.observe(clock)
      plain.observe(clock)
      world.database.begin(multi: true)
      plain.database.begin(multi: true)
      for _ in 0..<chance.within(1...6) {
        if chance.chance(1, in: 2) {
          detour(&world, &chance, keyCount: keyCount, clock: clock, depth: 0)
        }
        run(on: &world, and: &plain, &chance, keyCount, clock)
      }
      switch chance.below(4) {
      case 0:
        world.database.rollback()
        plain.database.rollback()
      case 1:
        let (changes, expected) = (world.takeChanges(), plain.takeChanges())
        #expect(changes == expected, "seed \(seed) round \(round)")
      default:
        let (mark, expected) = (world.database.commit(), plain.database.commit())
        #expect(mark == expected)
      }
      #expect(world.dump() == plain.dump(), "seed \(seed) round \(round)")
      #expect(world.database.nextExpiry == plain.database.nextExpiry)
      #expect(world.database.expiringCount == plain.database.expiringCount)
      #expect(world.database.lastStamp == plain.database.lastStamp)
      #expect(world.database.lastRemoval == plain.database.lastRemoval)
      #expect(world.database.transaction.keptByteCount == 0)
    }
    let (records, expected) = (world.takeRecords(), plain.takeRecords())
    #expect(records == expected)
  }

  private func run(
    on world: inout TestDatabase, and plain: inout TestDatabase, _ chance: inout Random,
    _ keyCount: Int, _ clock: Int64
  ) {
    for _ in 0..<chance.within(0...4) {
      let operation = chance.operation(keyCount: keyCount, clock: clock)
      let (result, expected) = (world.execute(operation).text, plain.execute(operation).text)
      #expect(result == expected)
    }
  }

  /// Operations, and savepoints within, that are taken back in the end.
  private func detour(
    _ world: inout TestDatabase, _ chance: inout Random, keyCount: Int, clock: Int64, depth: Int
  ) {
    let savepoint = world.database.savepoint()
    for _ in 0..<chance.within(1...2) {
      for _ in 0..<chance.below(6) {
        _ = world.execute(chance.operation(keyCount: keyCount, clock: clock))
      }
      if depth < 2, chance.chance(1, in: 2) {
        detour(&world, &chance, keyCount: keyCount, clock: clock, depth: depth + 1)
      }
      if chance.chance(1, in: 3) {
        let id = OperationID(unixMillis: clock, random: chance.next(), chance.next())
        _ = world.addOutcome(id, reply: "+OK")
      }
      if chance.chance(1, in: 3) { _ = world.database.savepoint() }
      // A savepoint can be used again.
      world.database.rollback(to: savepoint)
    }
  }

  @Test func `a block made before a savepoint is not changed in place after it`() {
    var world = TestDatabase()
    world.database.begin(multi: true)
    _ = world.execute(.put("a", "first"))
    let savepoint = world.database.savepoint()
    _ = world.execute(.put("a", "other"))
    _ = world.execute(.setRange("a", 1, "--"))
    _ = world.execute(.expire("a", 9_000_000))
    world.database.rollback(to: savepoint)
    #expect(world.get("a") == "first")
    #expect(world.expiry("a") == Change.noExpiry)
    _ = world.database.commit()
    #expect(world.get("a") == "first")
  }

  @Test func `operations taken back do not count towards the bound`() {
    var limits = DatabaseLimits()
    limits.transactionOperationCountMax = 3
    limits.transactionByteCountMax = 200
    var world = TestDatabase(limits: limits)
    world.database.begin(multi: true)
    let savepoint = world.database.savepoint()
    for _ in 0..<5 {
      for _ in 0..<3 {
        let result = world.execute(.put("a", String(repeating: "v", count: 40))).text
        #expect(result == "done")
      }
      let result = world.execute(.put("a", "b")).text
      #expect(result.contains("transactionTooLarge"))
      world.database.rollback(to: savepoint)
    }
    let changes = world.takeChanges()
    #expect(changes.isEmpty)
  }

  @Test func `taking the changes uses up their stamp and leaves nothing behind`() {
    var world = TestDatabase()
    world.run(.put("a", "1"))
    let (dump, used) = (world.dump(), world.database.usedByteCount)
    let stamp = world.database.lastStamp
    world.database.begin(multi: true)
    _ = world.execute(.put("a", "2"))
    _ = world.execute(.put("b", "3"))
    let mark = world.appended
    let changes = world.takeChanges()
    #expect(!changes.isEmpty)
    #expect(world.dump() == dump)
    #expect(world.database.usedByteCount == used)
    #expect(world.database.lastStamp > stamp)
    #expect(world.appended == mark)
    let (one, next) = (world.changes([.put("a", "2")]), world.changes([.put("a", "2")]))
    #expect(one != next)
  }

  @Test func `an added outcome is recorded by nobody before it is settled`() throws {
    var world = TestDatabase(wallMillis: OutcomeTests.start)
    let id = OutcomeTests.id(OutcomeTests.start)
    world.database.begin(multi: true)
    let isAdded = world.addOutcome(id, reply: "+OK")
    #expect(isAdded)
    let changes = world.takeChanges()
    var answers = [OutcomeTests.admit(&world, id, OutcomeTests.start)]
    try world.stage("t", changes)
    answers.append(OutcomeTests.admit(&world, id, OutcomeTests.start))
    world.settle("t", committed: true)
    answers.append(OutcomeTests.admit(&world, id, OutcomeTests.start))
    #expect(answers == ["new", "new", "committed +OK"])
  }

  @Test func `an outcome that does not fit is not added`() {
    var limits = DatabaseLimits()
    limits.transactionByteCountMax = 60
    var world = TestDatabase(limits: limits)
    world.database.begin(multi: true)
    _ = world.execute(.put("a", "b"))
    let isAdded = world.addOutcome(
      OutcomeTests.id(5), reply: String(repeating: "r", count: 30))
    #expect(!isAdded)
    _ = world.database.commit()
    #expect(world.get("a") == "b")
  }

  @Test func `a large reply is added as checksum and length`() throws {
    var world = TestDatabase(wallMillis: OutcomeTests.start)
    let reply = String(repeating: "r", count: world.database.limits.largeReplyByteCount + 1)
    let id = OutcomeTests.id(OutcomeTests.start)
    world.database.begin(multi: true)
    _ = world.addOutcome(id, reply: reply)
    try world.stage("t", world.takeChanges())
    world.settle("t", committed: true)
    #expect(OutcomeTests.lookup(&world, id, OutcomeTests.start).hasPrefix("large"))
  }
}
