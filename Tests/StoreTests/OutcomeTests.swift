import Base
import Testing

@testable import Store

@Suite struct OutcomeTests {
  static let start: Int64 = 1_700_000_000_000

  static func id(_ millis: Int64, _ number: UInt64 = 0) -> OperationID {
    OperationID(unixMillis: millis, random: number, number)
  }

  /// A put of `key` under an id; its reply is `reply`.
  static func put(
    _ world: inout TestDatabase, _ id: OperationID, _ key: String, reply: String = "+OK\r\n"
  ) {
    world.database.begin(multi: false)
    _ = world.execute(.put(key, "v"))
    _ = Array(reply.utf8).withUnsafeBytes { world.database.commit(as: id, reply: $0) }
  }

  static func admit(_ world: inout TestDatabase, _ id: OperationID, _ wall: Int64) -> String {
    switch world.database.admit(id, wallMillis: wall) {
    case .new: "new"
    case .duplicate(let status, let reply): "\(status) \(String(bytes: reply))"
    case .expired: "expired"
    case .future: "future"
    }
  }

  static func lookup(_ world: inout TestDatabase, _ id: OperationID, _ wall: Int64) -> String {
    switch world.database.lookup(id, wallMillis: wall) {
    case .committed(let reply): "committed \(String(bytes: reply))"
    case .committedLarge(let crc, let count): "large \(crc) \(count)"
    case .aborted: "aborted"
    case .expired: "expired"
    case .neverSeen: "never seen"
    }
  }

  @Test func `an id is new once and then answers what it answered`() {
    var world = TestDatabase(wallMillis: Self.start)
    let id = Self.id(Self.start)
    #expect(Self.lookup(&world, id, Self.start) == "never seen")
    #expect(Self.admit(&world, id, Self.start) == "new")
    Self.put(&world, id, "a")
    #expect(Self.admit(&world, id, Self.start) == "committed +OK\r\n")
    #expect(Self.lookup(&world, id, Self.start) == "committed +OK\r\n")
    #expect(Self.admit(&world, Self.id(Self.start, 5 << 20), Self.start) == "new")
  }

  @Test func `outcome and change are in one record`() {
    var world = TestDatabase(wallMillis: Self.start)
    Self.put(&world, Self.id(Self.start), "a")
    #expect(world.takeRecords().count == 1)
  }

  @Test func `what changes nothing is recorded too, lest a late copy change something`() {
    var world = TestDatabase(wallMillis: Self.start)
    let id = Self.id(Self.start)
    world.database.begin(multi: false)
    _ = world.execute(.delete("a"))
    #expect(Array(":0".utf8).withUnsafeBytes { world.database.commit(as: id, reply: $0) } != nil)
    #expect(Self.lookup(&world, id, Self.start) == "committed :0")
  }

  @Test func `what failed is aborted with its error`() {
    var world = TestDatabase(wallMillis: Self.start)
    let id = Self.id(Self.start)
    world.database.begin(multi: false)
    _ = Array("-ERR".utf8).withUnsafeBytes {
      world.database.commit(as: id, reply: $0, failed: true)
    }
    #expect(Self.lookup(&world, id, Self.start) == "aborted")
    #expect(world.takeRecords().count == 1)
  }

  @Test func `a large reply is kept as checksum and length`() {
    var world = TestDatabase(wallMillis: Self.start)
    let reply = String(repeating: "r", count: world.database.limits.largeReplyByteCount + 1)
    let crc = Array(reply.utf8).withUnsafeBytes { CRC32C.checksum($0) }
    Self.put(&world, Self.id(Self.start), "a", reply: reply)
    #expect(Self.lookup(&world, Self.id(Self.start), Self.start) == "large \(crc) \(reply.count)")
    Self.put(&world, Self.id(Self.start, 9 << 20), "a", reply: String(reply.dropLast()))
    #expect(Self.lookup(&world, Self.id(Self.start, 9 << 20), Self.start).hasPrefix("committed r"))
  }

  @Test func `an id too far ahead is refused, and what is recorded is still answered then`() {
    var world = TestDatabase(wallMillis: Self.start)
    #expect(Self.admit(&world, Self.id(Self.start + 60_000), Self.start) == "new")
    #expect(Self.admit(&world, Self.id(Self.start + 60_001), Self.start) == "future")
    Self.put(&world, Self.id(Self.start), "a")
    #expect(Self.admit(&world, Self.id(Self.start), Self.start - 100_000) == "committed +OK\r\n")
  }

  @Test func `an id past its age is refused by a horizon that is logged and stays`() throws {
    var world = TestDatabase(wallMillis: Self.start)
    let age = world.database.limits.outcomesAgeMillis
    let old = Self.id(Self.start - age)
    let before = world.database.log.appended
    guard case .expired(let mark) = world.database.admit(old, wallMillis: Self.start) else {
      Issue.record("not expired")
      return
    }
    #expect(mark == before.next)
    #expect(world.database.horizonMillis == Self.start - age)
    // A clock that steps back does not bring it back, and a second refusal logs nothing.
    #expect(Self.admit(&world, old, Self.start - age) == "expired")
    #expect(Self.lookup(&world, old, Self.start - age) == "expired")
    #expect(world.database.log.appended == before.next)
    var copy = TestDatabase()
    for record in world.takeRecords() { try copy.apply(record) }
    #expect(copy.database.horizonMillis == Self.start - age)
    #expect(Self.admit(&copy, old, Self.start - age) == "expired")
  }

  @Test func `an outcome dropped for lack of room raises the horizon in the same record`() throws {
    var limits = DatabaseLimits()
    limits.outcomeByteCountMax = 40_000
    var world = TestDatabase(limits: limits, wallMillis: Self.start)
    for number in 0..<2_000 {
      Self.put(&world, Self.id(Self.start + Int64(number) * 10, UInt64(number)), "a")
    }
    #expect(world.database.log.appended == Mark(2_000))
    #expect(world.database.outcomeByteCount <= 40_000)
    let horizon = world.database.horizonMillis
    #expect(horizon > Self.start)
    var copy = TestDatabase(limits: limits, wallMillis: Self.start)
    for record in world.takeRecords() {
      try copy.apply(record)
      #expect(copy.database.outcomeByteCount <= 41_000)
    }
    copy.database.finishRecovery()
    #expect(copy.dump() == world.dump())
    #expect(copy.database.horizonMillis == horizon)
    for number in 0..<2_000 {
      let millis = Self.start + Int64(number) * 10
      let expected = millis <= horizon ? "expired" : "committed +OK\r\n"
      #expect(Self.admit(&world, Self.id(millis, UInt64(number)), Self.start) == expected)
      #expect(Self.admit(&copy, Self.id(millis, UInt64(number)), Self.start) == expected)
    }
  }

  @Test func `ids past their age go in housekeeping, a bounded number at a time`() {
    var world = TestDatabase(wallMillis: Self.start)
    for number in 0..<100 { Self.put(&world, Self.id(Self.start + Int64(number)), "a") }
    let late = Self.start + world.database.limits.outcomesAgeMillis
    world.observe(late + 50_000)
    while world.database.step(budget: 10) {}
    #expect(world.database.outcomeCount == 100)
    world.observe(late + 60_000)
    let before = world.database.log.appended
    #expect(world.database.step(budget: 10) == true)
    #expect(world.database.outcomeCount == 90)
    while world.database.step(budget: 10) {}
    #expect(world.database.outcomeCount == 0)
    #expect(world.database.log.appended == before.next)
    #expect(world.database.horizonMillis == Self.start + 60_000)
  }

  @Test func `a lowered bound of memory is kept by dropping the oldest`() {
    var world = TestDatabase(wallMillis: Self.start)
    for number in 0..<1_000 { Self.put(&world, Self.id(Self.start + Int64(number)), "a") }
    world.database.limits.outcomeByteCountMax = 30_000
    while world.database.step(budget: 10) {}
    #expect(world.database.outcomeByteCount <= 30_000)
    #expect(world.database.outcomeCount > 100)
    #expect(world.database.horizonMillis == Self.start + 999 - Int64(world.database.outcomeCount))
  }

  @Test func `a sealed id is aborted for good, one that is known or refused is not sealed`() throws
  {
    var world = TestDatabase(wallMillis: Self.start)
    let id = Self.id(Self.start)
    #expect(world.database.seal(id) == Mark(1))
    #expect(world.database.seal(id) == nil)
    #expect(Self.lookup(&world, id, Self.start) == "aborted")
    #expect(Self.admit(&world, id, Self.start) == "aborted ")
    #expect(world.database.seal(Self.id(Self.start + 100_000)) == nil)
    #expect(world.database.seal(Self.id(0)) == nil)
    var copy = TestDatabase(wallMillis: Self.start)
    for record in world.takeRecords() { try copy.apply(record) }
    #expect(Self.admit(&copy, id, Self.start) == "aborted ")
  }
}
