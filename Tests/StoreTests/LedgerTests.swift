import Base
import Testing

@testable import Store

/// Staged changes and notes, in memory.
@Suite struct LedgerTests {
  @Test func `staged changes do nothing until they are settled`() throws {
    var world = TestDatabase()
    world.run(.put("a", "1"))
    let version = world.version("a")
    let changes = world.changes([.put("a", "2"), .put("b", "3")])
    try world.stage("t", note: "prepared", changes)
    #expect(world.get("a") == "1")
    #expect(world.version("a") == version)
    #expect(world.database.ledgerCount == 1)
    world.settle("t", committed: true, note: "done")
    #expect(world.get("a") == "2")
    #expect(world.get("b") == "3")
    #expect(world.dump()["ledger t"] == "0 done []")
    world.note("t", nil)
    #expect(world.database.ledgerCount == 0)
  }

  @Test func `dropped changes leave no trace`() throws {
    var world = TestDatabase()
    world.run(.put("a", "1"))
    let dump = world.dump()
    try world.stage("t", world.changes([.delete("a"), .flush, .put("c", "d")]))
    world.settle("t", committed: false)
    #expect(world.dump() == dump)
  }

  @Test func `staging again under an id drops what was staged before`() throws {
    var world = TestDatabase()
    try world.stage("t", note: "first", world.changes([.put("a", "1")]))
    try world.stage("t", note: "second", world.changes([.put("b", "2")]))
    world.settle("t", committed: true)
    #expect(world.visible().keys.sorted() == ["b"])
  }

  @Test func `notes beside staged changes come and go with the records of those`() throws {
    var world = TestDatabase()
    let (one, two) = (Array("one".utf8), Array("two".utf8))
    try world.stage("t", note: "prepared", [], with: [LedgerNote(one, Array("pending".utf8))])
    #expect(world.dump()["ledger one"] == "0 pending []")
    world.settle(
      "t", committed: true, note: "done",
      with: [LedgerNote(one, nil), LedgerNote(two, Array("list".utf8))])
    #expect(world.dump()["ledger one"] == nil && world.dump()["ledger two"] == "0 list []")
    let records = world.takeRecords()
    #expect(records.count == 2)
    for count in 0...2 {
      var copy = TestDatabase(seed: 2)
      for record in records.prefix(count) { try copy.apply(record) }
      #expect((copy.dump()["ledger one"] != nil) == (count == 1))
      #expect((copy.dump()["ledger two"] != nil) == (count == 2))
    }
  }

  @Test func `a note on staged changes leaves them`() throws {
    var world = TestDatabase()
    try world.stage("t", note: "first", world.changes([.put("a", "1")]))
    world.note("t", "a longer note")
    world.note("u", "alone")
    var seen: [String] = []
    world.database.visitLedger { seen.append("\(String(bytes: $0.id)) \($0.isStaged)") }
    #expect(seen.sorted() == ["t true", "u false"])
    world.settle("t", committed: true, note: "settled")
    #expect(world.get("a") == "1")
    #expect(world.dump()["ledger t"] == "0 settled []")
  }

  @Test func `settling or forgetting what is not there changes the note only`() {
    var world = TestDatabase()
    let mark = world.appended
    let nothing = [world.note("t", nil), world.settle("t", committed: true)]
    #expect(nothing == [mark, mark])
    let noted = world.settle("t", committed: true, note: "n")
    #expect(noted > mark)
    #expect(world.dump()["ledger t"] == "0 n []")
    let removed = world.settle("t", committed: true)
    #expect(removed > noted)
    #expect(world.dump().isEmpty)
  }

  @Test func `each call is one record, and a lazy one`() throws {
    var world = TestDatabase()
    let changes = world.changes([.put("a", "1")])
    try world.stage("t", changes)
    world.note("u", "n")
    world.settle("t", committed: true, note: "c")
    world.note("t", nil)
    #expect(world.isUrgent == false)
    #expect(world.firstPending == Mark(1))
    let records = world.takeRecords()
    #expect(records.count == 4)
    #expect(world.firstPending == nil)
  }

  @Test func `changes that may not be staged are refused and nothing happens`() throws {
    var limits = DatabaseLimits()
    limits.transactionByteCountMax = 100
    var world = TestDatabase(limits: limits)
    var other = TestDatabase()
    let large = other.changes([.put("a", String(repeating: "v", count: 100))])
    for changes in [[7], [7, 1, 2, 3, 4, 5, 6, 7, 8], [11, 1, 1], large] as [[UInt8]] {
      var error: ChangeError?
      do {
        try world.stage("t", changes)
      } catch let flaw as ChangeError {
        error = flaw
      }
      #expect(error != nil)
    }
    #expect(world.appended == .zero)
    #expect(world.database.ledgerCount == 0)
  }

  @Test func `a reader of a settled removal waits for the record that staged it`() throws {
    var world = TestDatabase()
    world.run(.put("a", "1"))
    let staged = try world.stage("t", world.changes([.delete("a")]))
    world.note("u", "n")
    world.settle("t", committed: true)
    #expect(world.database.lastRemoval == staged)
    let flush = try world.stage("v", world.changes([.put("b", "c"), .flush]))
    world.settle("v", committed: true)
    #expect(world.database.lastRemoval == flush)
  }

  @Test func `a settled flush is freed little by little`() throws {
    var world = TestDatabase()
    for index in 0..<5_000 {
      world.run(.put("key:\(index)", "v", PutOptions(expiry: .at(9_000_000))))
    }
    try world.stage("t", world.changes([.flush, .put("a", "b")]))
    world.settle("t", committed: true)
    #expect(world.visible().keys.sorted() == ["a"])
    #expect(world.database.expiringCount == 0)
    #expect(world.database.remains.count == 1)
    while world.database.step(budget: 100) {}
    #expect(world.database.remains.isEmpty)
  }

  @Test func `stamps of others are passed by what follows`() throws {
    var world = TestDatabase()
    var ahead = TestDatabase(seed: 2, wallMillis: 5_000_000)
    ahead.run(.put("k", "v", PutOptions(expiry: .at(4_000_000))))
    let changes = ahead.changes([.put("a", "1")])
    try world.stage("t", changes)
    #expect(world.database.lastStamp == ahead.database.lastStamp)
    world.settle("t", committed: true)
    world.run(.put("a", "2"))
    #expect(world.version("a")! > ahead.database.lastStamp)
    let isTaken = [Stamp(nanos: .max), .greatest].map { world.database.observe(stamp: $0) }
    #expect(isTaken == [false, true])
    world.run(.put("a", "3"))
    #expect(world.version("a")! > .greatest)
  }

  @Test func `a version is judged by the hybrid clock`() {
    var world = TestDatabase()
    world.run(.put("a", "1", PutOptions(expiry: .at(1_000_500))))
    #expect(world.versionOf("a") != nil)
    world.database.observe(stamp: Stamp(nanos: 1_000_500 * 1_000_000))
    #expect(world.versionOf("a") == nil)
    #expect(world.versionOf("b") == nil)
  }

  @Test func `the ledger's memory is counted and goes back to where it was`() throws {
    var world = TestDatabase()
    let changes = world.changes([.put("a", String(repeating: "v", count: 10_000))])
    func cycle(_ world: inout TestDatabase) throws {
      for index in 0..<2_000 {
        try world.stage("t\(index)", note: "note \(index)", changes)
        world.note("n\(index)", String(repeating: "n", count: index % 50))
      }
      for index in 0..<2_000 {
        world.settle("t\(index)", committed: index % 2 == 0, note: index % 3 == 0 ? "n" : nil)
        world.note("t\(index)", nil)
        world.note("n\(index)", nil)
      }
      world.run(.delete("a"))
      while world.database.step(budget: 100) {}
    }
    let empty = world.database.usedByteCount
    try world.stage("t", note: "n", changes)
    #expect(world.database.usedByteCount > empty + 10_000)
    world.settle("t", committed: false)
    try cycle(&world)
    let after = world.database.usedByteCount
    #expect(world.database.ledger.keyspace.entriesByteCount == 0)
    #expect(after < empty + 300_000)
    try cycle(&world)
    #expect(world.database.usedByteCount == after)
  }
}
