import Base
import Testing

@testable import Store

/// Replaying what `StagedHistory` logged, from the beginning and from fuzzy checkpoints.
@Suite struct LedgerRecoveryTests {
  private func recovered(
    seed: UInt64, checkpoint: [UInt8] = [], _ records: ArraySlice<[UInt8]>, times: Int = 1
  ) throws -> [String: String] {
    var copy = TestDatabase(seed: seed &+ 1)
    try copy.apply(checkpoint)
    for _ in 0..<times { for record in records { try copy.apply(record) } }
    copy.database.finishRecovery()
    return copy.dump()
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func `each prefix of the log gives the state that there was`(_ seed: UInt64) throws {
    var history = StagedHistory(seed: seed)
    var states: [(count: Int, dump: [String: String])] = []
    for _ in 0..<250 {
      try history.step()
      states.append((Int(history.world.appended.number), history.world.dump()))
    }
    let records = history.world.takeRecords()
    var copy = TestDatabase(seed: seed &+ 1)
    var applied = 0
    for (count, dump) in states {
      while applied < count {
        try copy.apply(records[applied])
        applied += 1
      }
      #expect(copy.dump() == dump, "seed \(seed) record \(count)")
    }
    #expect(applied > 90)
    #expect(copy.database.lastStamp <= history.world.database.lastStamp)
    #expect(copy.database.nextExpiry == history.world.database.nextExpiry)
    #expect(copy.database.expiringCount == history.world.database.expiringCount)
    #expect(copy.database.horizonMillis == history.world.database.horizonMillis)
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func `replaying the log twice changes nothing`(_ seed: UInt64) throws {
    var history = StagedHistory(seed: seed &+ 50)
    for _ in 0..<150 { try history.step() }
    let records = history.world.takeRecords()[...]
    let dump = history.world.dump()
    #expect(try recovered(seed: seed, records, times: 2) == dump, "seed \(seed)")
  }

  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `a checkpoint begun anywhere and the log after it give the state`(_ seed: UInt64) throws {
    let stepCount = 45
    for begin in 0..<stepCount - 5 {
      var history = StagedHistory(seed: seed &+ 100)
      for _ in 0..<begin { try history.step() }
      let through = Int(history.world.appended.number)
      var cursor = CheckpointCursor()
      var checkpoint: [UInt8] = []
      var more = true
      var after: [(count: Int, dump: [String: String])] = []
      for _ in begin..<stepCount {
        if more {
          var buffer = ByteBuffer()
          more = history.world.database.checkpointSlice(
            &cursor, into: &buffer, byteCountMax: 30 + Int(seed) * 30)
          checkpoint += Array(buffer.bytes)
        }
        try history.step()
        if !more { after.append((Int(history.world.appended.number), history.world.dump())) }
      }
      guard let last = after.last else { continue }
      let records = history.world.takeRecords()
      for (count, dump) in [after[0], last] {
        let found = try recovered(
          seed: seed, checkpoint: checkpoint, records[through..<max(count, through)])
        #expect(found == dump, "seed \(seed) begin \(begin) end \(count)")
      }
    }
  }

  @Test func `a settle without the staged changes does not touch the entries`() throws {
    var world = TestDatabase()
    try world.stage("t", world.changes([.put("a", "1")]))
    let through = world.takeRecords()
    world.settle("t", committed: true, note: "done")
    world.run(.put("a", "2"))
    let checkpoint = world.checkpoint(byteCountMax: 10)
    let after = world.takeRecords()
    #expect(through.count == 1 && after.count == 2)
    #expect(try recovered(seed: 4, checkpoint: checkpoint, after[...]) == world.dump())
  }

  @Test func `a settle of one staging leaves a later one alone`() throws {
    var world = TestDatabase()
    try world.stage("t", world.changes([.put("a", "1")]))
    _ = world.takeRecords()
    // The checkpoint begins here, but comes to the ledger only after the second staging.
    world.settle("t", committed: true)
    try world.stage("t", world.changes([.put("b", "2")]))
    let checkpoint = world.checkpoint(byteCountMax: 10)
    world.settle("t", committed: false)
    let after = world.takeRecords()
    #expect(try recovered(seed: 4, checkpoint: checkpoint, after[...]) == world.dump())
    #expect(world.visible().keys.sorted() == ["a"])
  }

  @Test func `stamps of staged changes are not drawn again after a restart`() throws {
    var ahead = TestDatabase(seed: 2, wallMillis: 5_000_000)
    let changes = ahead.changes([.put("a", "1")])
    var world = TestDatabase()
    try world.stage("t", changes)
    for checkpoint in [[], world.checkpoint(byteCountMax: 10)] {
      var copy = TestDatabase()
      try copy.apply(checkpoint)
      if checkpoint.isEmpty { for record in world.takeRecords() { try copy.apply(record) } }
      copy.database.finishRecovery()
      #expect(copy.database.lastStamp == ahead.database.lastStamp)
      copy.settle("t", committed: true)
      #expect(copy.get("a") == "1")
      #expect(copy.database.lastRemoval == .zero)
    }
  }
}
