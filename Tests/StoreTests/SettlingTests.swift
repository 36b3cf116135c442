import Base
import Testing

@testable import Store

/// The same transactions executed at one database, and taken, staged and settled at two others.
@Suite struct SettlingTests {
  private static let slotCount = 4

  /// A transaction that is staged but not settled everywhere.
  private struct Open {
    var id: String
    var changes: [UInt8]
    var isStagedAway = false
  }

  private struct Worlds: ~Copyable {
    /// Executes and commits.
    var plain: TestDatabase
    /// Executes, takes the changes, settles.
    var home: TestDatabase
    /// Only settles.
    var away: TestDatabase

    mutating func observe(_ millis: Int64) {
      plain.observe(millis)
      home.observe(millis)
      away.observe(millis)
    }
  }

  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func `settled changes do what the transaction did`(_ seed: UInt64) throws {
    var chance = Random(seed: seed &+ 400)
    var limits = DatabaseLimits()
    if seed % 3 == 0 { limits.outcomeByteCountMax = 4_000 }
    var worlds = Worlds(
      plain: TestDatabase(seed: seed, limits: limits),
      home: TestDatabase(seed: seed &+ 1000, limits: limits),
      away: TestDatabase(seed: seed &+ 2000, limits: limits))
    var open = [Open?](repeating: nil, count: Self.slotCount)
    var number = 0
    for round in 0..<300 {
      worlds.observe(worlds.plain.database.clockMillis + Int64(chance.within(1...20)))
      let slot = chance.below(Self.slotCount)
      if let transaction = open[slot] {
        worlds.home.settle(transaction.id, committed: true)
        // Elsewhere they are settled in another order.
        if !transaction.isStagedAway { try worlds.away.stage(transaction.id, transaction.changes) }
        worlds.away.settle(transaction.id, committed: true, note: "n")
        worlds.away.note(transaction.id, nil)
        open[slot] = nil
      } else {
        number += 1
        var transaction = Open(id: "t\(number)", changes: [])
        let keepsQuiet = open.allSatisfy { $0 == nil }
        let prefix = keepsQuiet && chance.chance(1, in: 15) ? nil : "\(slot) "
        guard
          let changes = execute(&worlds, &chance, prefix, isKept: chance.chance(3, in: 4))
        else { continue }
        transaction.changes = changes
        try worlds.home.stage(transaction.id, note: "note \(number)", changes)
        if chance.chance(1, in: 2) {
          try worlds.away.stage(transaction.id, changes)
          transaction.isStagedAway = true
        }
        open[slot] = transaction
        if prefix == nil { try settleAll(&worlds, &open) }
      }
      if round % 10 == 9 {
        try settleAll(&worlds, &open)
        _ = worlds.plain.database.expireDue(limit: .max)
        _ = worlds.home.database.expireDue(limit: .max / 8) { _ in false }
        _ = worlds.away.database.expireDue(limit: .max / 8) { _ in false }
        check(&worlds, "seed \(seed) round \(round)")
      }
      _ = worlds.plain.database.step(budget: chance.below(4))
      _ = worlds.home.database.step(budget: chance.below(4))
      _ = worlds.away.database.step(budget: chance.below(4))
    }
  }

  /// Executes the same at `plain` and at `home`; nil when it was to be given up. Without a prefix
  /// it may do anything, a flush included.
  private func execute(
    _ worlds: inout Worlds, _ chance: inout Random, _ prefix: String?, isKept: Bool
  ) -> [UInt8]? {
    let clock = worlds.plain.database.clockMillis
    worlds.plain.database.begin(multi: true)
    worlds.home.database.begin(multi: true)
    for _ in 0..<chance.within(1...8) {
      var operation = chance.operation(keyCount: 12, clock: clock, prefix: prefix ?? "any ")
      if case .flush = operation, prefix != nil { operation = .put("\(prefix!)0", "instead") }
      if prefix == nil, chance.chance(1, in: 4) { operation = .flush }
      let (result, expected) = (
        worlds.home.execute(operation).text, worlds.plain.execute(operation).text
      )
      #expect(result == expected)
    }
    let id = OperationID(unixMillis: clock, random: chance.next(), chance.next())
    let hasID = chance.chance(1, in: 2)
    guard isKept else {
      worlds.plain.database.rollback()
      if hasID { _ = worlds.home.addOutcome(id, reply: "lost") }
      _ = worlds.home.takeChanges()
      return nil
    }
    if hasID {
      let reply = String(repeating: "r", count: chance.below(30))
      _ = Array(reply.utf8).withUnsafeBytes { worlds.plain.database.commit(as: id, reply: $0) }
      _ = worlds.home.addOutcome(id, reply: reply)
    } else {
      _ = worlds.plain.database.commit()
    }
    return worlds.home.takeChanges()
  }

  private func settleAll(_ worlds: inout Worlds, _ open: inout [Open?]) throws {
    for slot in open.indices.reversed() {
      guard let transaction = open[slot] else { continue }
      worlds.home.settle(transaction.id, committed: true)
      if !transaction.isStagedAway { try worlds.away.stage(transaction.id, transaction.changes) }
      worlds.away.settle(transaction.id, committed: true)
      open[slot] = nil
    }
  }

  private func check(_ worlds: inout Worlds, _ place: String) {
    let expected = worlds.plain.dump()
    for dump in [worlds.home.dump(), worlds.away.dump()] {
      // Members evict outcomes each on their own; above both horizons they know the same.
      #expect(
        dump.filter { !$0.key.hasPrefix("id ") } == expected.filter { !$0.key.hasPrefix("id ") },
        "\(place)")
      for (key, outcome) in dump where key.hasPrefix("id ") {
        #expect(expected[key] == outcome || expected[key] == nil, "\(place)")
      }
    }
    if worlds.plain.database.horizonMillis == 0 {
      #expect(worlds.home.dump() == expected && worlds.away.dump() == expected, "\(place)")
    }
    let counts = [
      worlds.plain.database.expiringCount, worlds.home.database.expiringCount,
      worlds.away.database.expiringCount,
    ]
    #expect(Set(counts).count == 1, "\(place)")
    let next = [
      worlds.plain.database.nextExpiry, worlds.home.database.nextExpiry,
      worlds.away.database.nextExpiry,
    ]
    #expect(Set(next).count == 1, "\(place)")
    #expect(worlds.away.database.lastStamp <= worlds.home.database.lastStamp)
  }
}

/// Expiry that passes over locked keys.
@Suite struct LockedExpiryTests {
  @Test(arguments: 1...12 as ClosedRange<UInt64>)
  func `all that is due and not locked goes, and the next expiry is told`(_ seed: UInt64) {
    var chance = Random(seed: seed)
    var world = TestDatabase(wallMillis: 1_000)
    var expiries: [String: Int64] = [:]
    for index in 0..<chance.within(1...3_000) {
      let (key, expiry) = ("k\(index)", Int64(chance.within(2_000...4_000)))
      world.run(.put(key, "v", PutOptions(expiry: .at(expiry))))
      expiries[key] = expiry
    }
    let locked = Set(expiries.keys.sorted().filter { _ in chance.chance(1, in: 5) })
    let limit = [7, 40, 5_000][Int(seed % 3)]
    for clock in stride(from: Int64(1_990), through: 4_010, by: 101) {
      world.observe(clock)
      var passes = 0
      while true {
        let pass = world.database.expireDue(limit: limit) { locked.contains(String(bytes: $0)) }
        let removed = expiries.filter { $0.value <= clock && !locked.contains($0.key) }
        passes += 1
        #expect(pass.removedCount <= limit)
        if pass.isCut, pass.removedCount > 0 {
          #expect(pass.nextExpiry <= clock)
          continue
        }
        if !pass.isCut {
          for key in removed.keys { expiries[key] = nil }
          #expect(pass.nextExpiry == expiries.values.filter { $0 > clock }.min() ?? .max)
          #expect(world.database.count == expiries.count)
        } else {
          // So many locked ones that a pass of this limit does not get past them.
          #expect(expiries.filter { $0.value <= clock && locked.contains($0.key) }.count >= limit)
        }
        break
      }
      #expect(passes <= 3_000)
    }
    world.observe(9_000)
    _ = world.database.expireDue(limit: .max)
    #expect(world.database.count == 0)
  }

  @Test func `a locked key that has expired stays, and is absent`() {
    var world = TestDatabase(wallMillis: 1_000)
    world.run(.put("a", "1", PutOptions(expiry: .at(2_000))))
    world.observe(2_000)
    let mark = world.appended
    let key = Array("a".utf8)
    let isGone = [true, false].map { isLocked in
      key.withUnsafeBytes { world.database.expireIfDue($0) { _ in isLocked } }
    }
    #expect(isGone == [false, true])
    #expect(world.appended == mark.next)
  }
}
