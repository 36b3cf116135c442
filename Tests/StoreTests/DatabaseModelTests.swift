import Base
import Testing

@testable import Store

/// Random histories against a dictionary.
@Suite struct DatabaseModelTests {
  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `single operations do what their definition says`(_ seed: UInt64) {
    var chance = Random(seed: seed)
    var world = TestDatabase(seed: seed)
    var model = Model(clock: 1_000_000)
    let keyCount = [5, 60, 2_000][Int(seed % 3)]
    for step in 0..<4_000 {
      if chance.chance(1, in: 30) { advance(&world, &model, by: chance.below(40)) }
      let operation = chance.operation(keyCount: keyCount, clock: model.clock)
      let expected = model.execute(operation)
      let actual = world.run(operation).text
      #expect(actual == expected, "seed \(seed) step \(step) \(operation)")
      if chance.chance(1, in: 50) { expire(&world, &model, &chance) }
      if step % 500 == 499 { #expect(world.visible() == model.visible) }
      _ = world.database.step(budget: chance.below(5))
      model.clock = world.database.clockMillis
    }
    #expect(world.visible() == model.visible)
    #expect(world.database.count == model.items.count)
  }

  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `a rolled back transaction has never been`(_ seed: UInt64) {
    var chance = Random(seed: seed &+ 100)
    var world = TestDatabase(seed: seed)
    var model = Model(clock: 1_000_000)
    let keyCount = [3, 40, 400][Int(seed % 3)]
    for round in 0..<400 {
      if chance.chance(1, in: 5) { advance(&world, &model, by: chance.below(30)) }
      let (before, dump) = (model, round % 10 == 0 ? world.dump() : [:])
      let (stamp, mark) = (world.database.lastStamp, world.database.log.appended)
      world.database.begin(multi: true)
      model.clock = world.database.clockMillis
      for _ in 0..<chance.within(1...25) {
        let operation = chance.operation(keyCount: keyCount, clock: model.clock)
        let expected = model.execute(operation)
        let actual = world.execute(operation).text
        #expect(actual == expected, "seed \(seed) round \(round) \(operation)")
      }
      if chance.chance(1, in: 2) {
        _ = world.database.commit()
      } else {
        world.database.rollback()
        model.items = before.items
        #expect(world.database.lastStamp == stamp)
        #expect(world.database.log.appended == mark)
        if round % 10 == 0 { #expect(world.dump() == dump) }
      }
      #expect(world.visible() == model.visible, "seed \(seed) round \(round)")
      #expect(world.database.count == model.items.count)
      let expiring = model.items.values.filter { $0.expiry != .max }.count
      #expect(world.database.expiringCount == expiring)
    }
  }

  @Test(arguments: 1...10 as ClosedRange<UInt64>)
  func `replaying the log gives the same database`(_ seed: UInt64) throws {
    var chance = Random(seed: seed &+ 200)
    var world = TestDatabase(seed: seed)
    randomHistory(&world, &chance, rounds: 600)
    var copy = TestDatabase(seed: seed &+ 1)
    for record in world.takeRecords() { try copy.apply(record) }
    copy.database.finishRecovery()
    #expect(copy.dump() == world.dump())
    #expect(copy.database.lastStamp <= world.database.lastStamp)
    #expect(copy.database.expiringCount == world.database.expiringCount)
    #expect(copy.database.horizonMillis == world.database.horizonMillis)
  }

  @Test(arguments: 1...16 as ClosedRange<UInt64>)
  func `a checkpoint taken during changes and the log after its beginning give the same database`(
    _ seed: UInt64
  ) throws {
    var chance = Random(seed: seed &+ 300)
    var world = TestDatabase(seed: seed)
    randomHistory(&world, &chance, rounds: 300)
    _ = world.takeRecords()
    let checkpoint = world.checkpoint(byteCountMax: [40, 400, 4_000][Int(seed % 3)]) { world in
      self.randomHistory(&world, &chance, rounds: 4)
    }
    randomHistory(&world, &chance, rounds: 20)
    var copy = TestDatabase(seed: seed &+ 1)
    try copy.apply(checkpoint)
    for record in world.takeRecords() { try copy.apply(record) }
    copy.database.finishRecovery()
    #expect(copy.dump() == world.dump(), "seed \(seed)")
  }

  @Test func `a slice of a checkpoint passes its bound by one entry at most`() throws {
    var world = TestDatabase()
    for index in 0..<40 {
      world.run(.put("key:\(index)", String(repeating: "v", count: 10_000 + index)))
    }
    var cursor = CheckpointCursor()
    var copy = TestDatabase(seed: 2)
    var slices = 0
    var more = true
    while more {
      var buffer = ByteBuffer()
      more = world.database.checkpointSlice(&cursor, into: &buffer, byteCountMax: 15_000)
      #expect(buffer.count <= 15_000 + 10_100)
      try copy.apply(Array(buffer.bytes))
      slices += 1
    }
    #expect(slices >= 20)
    #expect(copy.dump() == world.dump())
  }

  @Test func `memory is accounted for and goes back to where it was`() {
    var world = TestDatabase()
    let empty = world.database.usedByteCount
    var chance = Random(seed: 9)
    for _ in 0..<5 {
      for index in 0..<3_000 {
        world.run(.put("key:\(index)", String(repeating: "v", count: chance.below(200))))
        world.run(.expire("key:\(index)", 2_000_000_000))
      }
      #expect(world.database.usedByteCount > 3_000 * 150)
      if chance.chance(1, in: 2) {
        world.run(.flush)
      } else {
        for index in 0..<3_000 { world.run(.delete("key:\(index)")) }
      }
      while world.database.step(budget: 100) {}
    }
    #expect(world.database.usedByteCount < empty + 300_000)
    world.run(.flush)
    world.run(.put("a", "b"))
    world.run(.flush)
    while world.database.step(budget: 100) {}
    #expect(world.database.usedByteCount <= empty + Memory.byteCount(ofBlock: 256))
  }

  // MARK: Parts

  private func advance(_ world: inout TestDatabase, _ model: inout Model, by millis: Int) {
    world.observe(world.database.clockMillis + Int64(millis))
    model.clock = world.database.clockMillis
  }

  private func expire(_ world: inout TestDatabase, _ model: inout Model, _ chance: inout Random) {
    let due = model.items.filter { $0.value.expiry <= model.clock }.sorted {
      ($0.value.expiry, $0.key) < ($1.value.expiry, $1.key)
    }
    #expect(world.database.nextExpiry == model.items.values.map(\.expiry).min() ?? .max)
    #expect(world.database.expireDue(limit: .max) == due.count)
    for (key, _) in due { model.items[key] = nil }
  }

  /// Transactions of all kinds: single and multi, kept and rolled back, with ids and without.
  private func randomHistory(
    _ world: inout TestDatabase, _ chance: inout Random, rounds: Int
  ) {
    for _ in 0..<rounds {
      world.observe(world.database.clockMillis + Int64(chance.below(3)))
      let clock = world.database.clockMillis
      if chance.chance(1, in: 20) { _ = world.database.expireDue(limit: chance.below(20)) }
      if chance.chance(1, in: 40) {
        _ = world.database.seal(
          OperationID(unixMillis: clock, random: chance.next(), chance.next()))
      }
      let multi = chance.chance(1, in: 3)
      world.database.begin(multi: multi)
      for _ in 0..<(multi ? chance.within(1...8) : 1) {
        _ = world.execute(chance.operation(keyCount: 150, clock: clock))
      }
      if multi, chance.chance(1, in: 4) {
        world.database.rollback()
      } else if chance.chance(1, in: 3) {
        let id = OperationID(unixMillis: clock, random: chance.next(), chance.next())
        let reply = [UInt8](repeating: 0x2B, count: chance.below(40))
        _ = reply.withUnsafeBytes { world.database.commit(as: id, reply: $0) }
      } else {
        _ = world.database.commit()
      }
      _ = world.database.step(budget: chance.below(4))
    }
  }
}
