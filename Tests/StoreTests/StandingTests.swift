import Base
import Testing

@testable import Store

/// What members know of operation ids, and how they come to refuse the same ones.
@Suite struct StandingTests {
  private static let start = OutcomeTests.start

  private func standing(_ world: borrowing TestDatabase, _ id: OperationID, wall: Int64?) -> String
  {
    switch world.database.standing(of: id, wallMillis: wall) {
    case .new: "new"
    case .recorded(let status, let reply): "\(status) \(String(bytes: reply))"
    case .expired(let mark): "expired \(mark.map { "\($0.number)" } ?? "durably")"
    case .aged(let horizon): "aged \(horizon)"
    case .future: "future"
    }
  }

  @Test func `asking changes nothing, within a transaction neither`() {
    var world = TestDatabase(wallMillis: Self.start)
    let age = world.database.limits.outcomesAgeMillis
    OutcomeTests.put(&world, OutcomeTests.id(Self.start), "a")
    let mark = world.appended
    world.database.begin(multi: true)
    #expect(standing(world, OutcomeTests.id(Self.start), wall: nil) == "committed +OK\r\n")
    #expect(standing(world, OutcomeTests.id(Self.start + 1), wall: Self.start) == "new")
    let early = OutcomeTests.id(Self.start - age)
    #expect(standing(world, early, wall: Self.start) == "aged \(Self.start - age)")
    let late = OutcomeTests.id(Self.start + 60_001)
    #expect(standing(world, late, wall: Self.start) == "future")
    // A vote does not rest on a clock.
    #expect(standing(world, early, wall: nil) == "new")
    #expect(standing(world, late, wall: nil) == "new")
    world.database.rollback()
    #expect(world.appended == mark)
    #expect(world.database.horizonMillis == 0)
  }

  @Test func `a horizon that was raised refuses what lies below, after a restart too`() throws {
    var world = TestDatabase(wallMillis: Self.start)
    OutcomeTests.put(&world, OutcomeTests.id(Self.start), "a")
    OutcomeTests.put(&world, OutcomeTests.id(Self.start + 9), "a")
    let raised = world.database.raiseHorizon(to: Self.start + 5)
    #expect(raised == Mark(3))
    let again = [
      world.database.raiseHorizon(to: Self.start + 5), world.database.raiseHorizon(to: 1),
    ]
    #expect(again == [raised, raised])
    #expect(world.appended == raised)
    #expect(standing(world, OutcomeTests.id(Self.start), wall: nil) == "expired 3")
    #expect(standing(world, OutcomeTests.id(Self.start + 5), wall: nil) == "expired 3")
    #expect(
      standing(world, OutcomeTests.id(Self.start + 9), wall: nil).hasPrefix("committed"))
    while world.database.step(budget: 10) {}
    #expect(world.database.outcomeCount == 1)
    var copy = TestDatabase(wallMillis: Self.start)
    for record in world.takeRecords() { try copy.apply(record) }
    copy.database.finishRecovery()
    #expect(standing(copy, OutcomeTests.id(Self.start + 5), wall: nil) == "expired durably")
    #expect(copy.dump() == world.dump())
  }

  @Test func `a staged outcome below a raised horizon is settled but refused for ever`() throws {
    var world = TestDatabase(wallMillis: Self.start)
    let id = OutcomeTests.id(Self.start)
    world.database.begin(multi: true)
    _ = world.execute(.put("a", "1"))
    _ = world.addOutcome(id, reply: "+OK")
    try world.stage("t", world.takeChanges())
    world.database.raiseHorizon(to: Self.start)
    world.settle("t", committed: true)
    #expect(world.get("a") == "1")
    #expect(world.database.outcomeCount == 0)
    #expect(standing(world, id, wall: nil).hasPrefix("expired"))
  }

  @Test func `settled outcomes keep their bound, by a horizon in the same record`() throws {
    var limits = DatabaseLimits()
    limits.outcomeByteCountMax = 20_000
    var world = TestDatabase(limits: limits, wallMillis: Self.start)
    var copy = TestDatabase(limits: limits, wallMillis: Self.start)
    for number in 0..<600 {
      world.database.begin(multi: true)
      _ = world.addOutcome(
        OutcomeTests.id(Self.start + Int64(number), UInt64(number)), reply: "+OK")
      try world.stage("t", world.takeChanges())
      world.settle("t", committed: true)
      #expect(world.database.outcomeByteCount <= 20_000)
      let records = world.takeRecords()
      #expect(records.count == 2)
      for record in records { try copy.apply(record) }
      #expect(copy.dump() == world.dump())
    }
    let horizon = world.database.horizonMillis
    #expect(horizon > Self.start)
    #expect(copy.database.horizonMillis == horizon)
    let last = Mark(1_200)
    #expect(standing(world, OutcomeTests.id(horizon), wall: nil) == "expired \(last.number)")
    #expect(standing(world, OutcomeTests.id(Self.start + 599, 599), wall: nil) == "committed +OK")
  }

  @Test func `a sealed id is aborted at every member once that is settled`() throws {
    var home = TestDatabase(wallMillis: Self.start)
    var away = TestDatabase(seed: 2, wallMillis: Self.start)
    let id = OutcomeTests.id(Self.start)
    home.database.begin(multi: true)
    _ = home.addOutcome(id, reply: "", failed: true)
    let changes = home.takeChanges()
    try home.stage("t", changes)
    home.settle("t", committed: true)
    try away.stage("t", changes)
    away.settle("t", committed: true)
    #expect(standing(home, id, wall: nil) == "aborted ")
    #expect(standing(away, id, wall: nil) == "aborted ")
  }
}

/// Records that nobody waits for.
@Suite struct LazyRecordTests {
  @Test func `a commit is urgent and takes the lazy ones before it along`() {
    var world = TestDatabase()
    world.note("t", "n")
    #expect(world.isUrgent == false)
    #expect(world.firstPending == Mark(1))
    world.run(.put("a", "b"))
    world.note("t", "m")
    #expect(world.isUrgent == true)
    #expect(world.firstPending == Mark(1))
    #expect(world.database.log.urgent == Mark(2))
    _ = world.takeRecords()
    #expect(world.isUrgent == false)
    #expect(world.firstPending == nil)
    world.note("t", "n")
    #expect(world.isUrgent == false)
    #expect(world.firstPending == Mark(4))
    world.database.log.hurry()
    #expect(world.isUrgent == true)
    _ = world.takeRecords()
    world.database.log.hurry()
    #expect(world.isUrgent == false)
  }

  @Test func `a record that is rolled back is not pending`() {
    var world = TestDatabase()
    world.database.begin(multi: true)
    _ = world.execute(.put("a", "b"))
    world.database.rollback()
    #expect(world.firstPending == nil)
    #expect(world.isUrgent == false)
  }
}
