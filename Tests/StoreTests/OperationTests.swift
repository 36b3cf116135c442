import Base
import Testing

@testable import Store

@Suite struct OperationTests {
  @Test func `a put inserts and replaces`() {
    var world = TestDatabase()
    #expect(world.get("a") == nil)
    #expect(world.run(.put("a", "1")).text == "done")
    #expect(world.get("a") == "1")
    world.run(.put("a", String(repeating: "x", count: 1_000)))
    #expect(world.get("a")?.count == 1_000)
    world.run(.put("a", ""))
    #expect(world.get("a") == "")
    #expect(world.database.count == 1)
  }

  @Test func `conditions decide whether a put is done`() {
    var world = TestDatabase()
    #expect(world.run(.put("a", "1", PutOptions(condition: .ifPresent))).text == "unchanged")
    #expect(world.run(.put("a", "1", PutOptions(condition: .ifAbsent))).text == "done")
    #expect(world.run(.put("a", "2", PutOptions(condition: .ifAbsent))).text == "unchanged")
    #expect(world.run(.put("a", "3", PutOptions(condition: .ifPresent))).text == "done")
    #expect(world.get("a") == "3")
  }

  @Test func `a put clears, keeps or sets the expiry`() {
    var world = TestDatabase(wallMillis: 1_000)
    world.run(.put("a", "1", PutOptions(expiry: .at(5_000))))
    #expect(world.expiry("a") == 5_000)
    world.run(.put("a", "2", PutOptions(expiry: .keep)))
    #expect(world.expiry("a") == 5_000)
    world.run(.put("a", "2"))
    #expect(world.expiry("a") == Change.noExpiry)
    #expect(world.database.expiringCount == 0)
  }

  @Test func `what changes nothing leaves no record and uses no stamp`() {
    var world = TestDatabase()
    world.run(.put("a", "x"))
    let (stamp, mark) = (world.database.lastStamp, world.database.log.appended)
    for operation: TestOperation in [
      .delete("b"), .persist("a"), .expire("b", 1), .increment("a", 1), .incrementFloat("a", 1),
      .append("a", ""), .setRange("a", 5, ""), .check("a", nil), .check("b", .zero),
      .put("a", "y", PutOptions(condition: .ifAbsent)),
    ] {
      world.database.begin(multi: false)
      _ = world.execute(operation)
      #expect(world.database.commit() == nil)
    }
    #expect(world.database.lastStamp == stamp)
    #expect(world.database.log.appended == mark)
  }

  @Test func `increments are decimal, keep the expiry and stop at the ends`() {
    var world = TestDatabase(wallMillis: 1_000)
    #expect(world.run(.increment("n", 5)).text == "integer(5)")
    world.run(.expire("n", 9_000))
    #expect(world.run(.increment("n", -15)).text == "integer(-10)")
    #expect(world.get("n") == "-10")
    #expect(world.expiry("n") == 9_000)
    world.run(.put("n", "9223372036854775807"))
    #expect(world.run(.increment("n", 1)).text == "failed(Store.OperationFailure.overflow)")
    world.run(.put("n", "-9223372036854775807"))
    #expect(world.run(.increment("n", -1)).text == "integer(-9223372036854775808)")
    #expect(world.get("n") == "-9223372036854775808")
    #expect(world.run(.increment("n", -1)).text == "failed(Store.OperationFailure.overflow)")
    for text in [" 1", "1 ", "01", "", "+1", "1.0", "-", "9223372036854775808"] {
      world.run(.put("n", text))
      #expect(world.run(.increment("n", 1)).text == "failed(Store.OperationFailure.notInteger)")
    }
  }

  @Test func `increments by decimals print as Redis does`() {
    var world = TestDatabase()
    #expect(world.run(.incrementFloat("f", 10.5)).text == "done")
    #expect(world.get("f") == "10.5")
    world.run(.put("f", "3.0e3"))
    world.run(.incrementFloat("f", 200))
    #expect(world.get("f") == "3200")
    world.run(.put("f", "word"))
    #expect(world.run(.incrementFloat("f", 1)).text == "failed(Store.OperationFailure.notFloat)")
    world.run(.put("f", "1"))
    #expect(
      world.run(.incrementFloat("f", .infinity)).text
        == "failed(Store.OperationFailure.nanOrInfinity)")
    #expect(world.get("f") == "1")
  }

  @Test func `appending and writing at an offset`() {
    var world = TestDatabase()
    #expect(world.run(.append("a", "")).text == "integer(0)")
    #expect(world.get("a") == "")
    #expect(world.run(.append("a", "Hello")).text == "integer(5)")
    #expect(world.run(.setRange("a", 7, "W")).text == "integer(8)")
    #expect(world.get("a") == "Hello\0\0W")
    #expect(world.run(.setRange("a", 0, "J")).text == "integer(8)")
    #expect(world.get("a") == "Jello\0\0W")
    #expect(world.run(.setRange("b", 2, "x")).text == "integer(3)")
    #expect(world.get("b") == "\0\0x")
    #expect(world.run(.setRange("c", 2, "")).text == "integer(0)")
    #expect(world.get("c") == nil)
  }

  @Test func `an append logs the bytes added and not the whole value`() {
    var world = TestDatabase()
    world.run(.put("a", String(repeating: "x", count: 100_000)))
    _ = world.takeRecords()
    world.run(.append("a", "yz"))
    #expect(world.takeRecords().map(\.count) == [27 + 1 + 2])
  }

  @Test func `values, transactions and their operations are bounded`() {
    var limits = DatabaseLimits()
    limits.valueByteCountMax = 10
    limits.transactionByteCountMax = 100
    limits.transactionOperationCountMax = 4
    var world = TestDatabase(limits: limits)
    let tooLarge = "failed(Store.OperationFailure.tooLarge)"
    #expect(world.run(.put("a", "0123456789")).text == "done")
    #expect(world.run(.put("a", "0123456789a")).text == tooLarge)
    #expect(world.run(.append("a", "x")).text == tooLarge)
    #expect(world.run(.setRange("a", 10, "x")).text == tooLarge)
    #expect(world.run(.setRange("a", Int.max, "x")).text == tooLarge)
    #expect(world.run(.setRange("a", -1, "x")).text == tooLarge)
    #expect(world.run(.setRange("a", 9, "x")).text == "integer(10)")
    let full = "failed(Store.OperationFailure.transactionTooLarge)"
    world.database.begin(multi: true)
    for index in 0..<2 {
      #expect(world.execute(.put("k\(index)", "0123456789")).text == "done")
    }
    #expect(world.execute(.put("k2", "0123456789")).text == full)
    #expect(world.execute(.delete("k1")).text == "done")
    #expect(world.execute(.delete("x")).text == full)
    world.database.rollback()
    #expect(world.database.count == 1)
  }

  @Test func `a check compares versions`() {
    var world = TestDatabase()
    #expect(world.run(.check("a", nil)).text == "done")
    world.run(.put("a", "1"))
    let version = world.version("a")
    #expect(world.run(.check("a", version)).text == "done")
    world.run(.put("a", "1"))
    let failed = "failed(Store.OperationFailure.versionMismatch)"
    #expect(world.run(.check("a", version)).text == failed)
    #expect(world.run(.check("a", nil)).text == failed)
  }

  @Test func `stamps rise by one at least, whatever the clock does`() {
    var world = TestDatabase(wallMillis: 1_000)
    world.run(.put("a", "1"))
    #expect(world.version("a")?.nanos == 1_000_000_000)
    world.run(.put("a", "2"))
    #expect(world.version("a")?.nanos == 1_000_000_001)
    world.observe(5)
    #expect(world.database.clockMillis == 1_000)
    world.run(.put("a", "3"))
    #expect(world.version("a")?.nanos == 1_000_000_002)
    world.observe(2_000)
    world.run(.put("b", "3"))
    #expect(world.version("b")?.nanos == 2_000_000_000)
  }

  @Test func `an entry's own value may be what is put`() {
    var world = TestDatabase()
    world.run(.put("a", String(repeating: "v", count: 300)))
    for key in ["a", "b"] {
      world.database.begin(multi: key == "a")
      let (from, to) = (Array("a".utf8), Array(key.utf8))
      from.withUnsafeBytes { from in
        to.withUnsafeBytes { to in
          let value = world.database.find(from)!.value
          _ = world.database.execute(.put(key: to, value: value, .plain))
        }
      }
      _ = world.database.commit()
      #expect(world.get(key)?.count == 300)
    }
  }
}
