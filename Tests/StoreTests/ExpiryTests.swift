import Base
import Testing

@testable import Store

@Suite struct ExpiryTests {
  @Test func `an expired entry is absent to every reader and operation`() {
    var world = TestDatabase(wallMillis: 1_000)
    for key in ["a", "b", "c", "d", "e", "f"] {
      world.run(.put(key, "10", PutOptions(expiry: .at(2_000))))
    }
    world.observe(1_999)
    #expect(world.get("a") == "10")
    world.observe(2_000)
    #expect(world.get("a") == nil)
    #expect(world.run(.delete("a")).text == "unchanged")
    #expect(world.run(.persist("a")).text == "unchanged")
    #expect(world.run(.expire("a", 9_000)).text == "unchanged")
    #expect(world.run(.check("a", nil)).text == "done")
    #expect(world.run(.increment("b", 1)).text == "integer(1)")
    #expect(world.run(.append("c", "x")).text == "integer(1)")
    #expect(world.run(.setRange("d", 1, "x")).text == "integer(2)")
    #expect(world.get("d") == "\0x")
    #expect(
      world.run(.put("e", "1", PutOptions(condition: .ifAbsent, expiry: .keep))).text == "done")
    #expect(world.expiry("e") == Change.noExpiry)
    #expect(world.run(.put("f", "1", PutOptions(condition: .ifPresent))).text == "unchanged")
  }

  @Test func `an expired entry is removed by a logged delete when it is asked for`() {
    var world = TestDatabase(wallMillis: 1_000)
    world.run(.put("a", "1", PutOptions(expiry: .at(2_000))))
    let key = Array("a".utf8)
    #expect(key.withUnsafeBytes { world.database.expireIfDue($0) } == false)
    world.observe(2_500)
    let before = world.database.log.appended
    #expect(key.withUnsafeBytes { world.database.expireIfDue($0) } == true)
    #expect(world.database.lastRemoval == before.next)
    #expect(world.database.count == 0)
    #expect(key.withUnsafeBytes { world.database.expireIfDue($0) } == false)
  }

  @Test func `due entries go earliest first and in bounded numbers`() {
    var world = TestDatabase(wallMillis: 1_000)
    for index in 0..<100 {
      world.run(.put("k\(index)", "1", PutOptions(expiry: .at(Int64(2_000 + index * 7 % 100)))))
    }
    #expect(world.database.nextExpiry == 2_000)
    world.observe(2_049)
    #expect(world.database.expireDue(limit: 20) == 20)
    #expect(world.database.nextExpiry == 2_020)
    #expect(world.database.expireDue(limit: 1_000) == 30)
    #expect(world.database.expireDue(limit: 1_000) == 0)
    #expect(world.database.count == 50)
    #expect(world.database.expiringCount == 50)
  }

  @Test func `the conditions of an expire are Redis's`() {
    var world = TestDatabase(wallMillis: 1_000)
    world.run(.put("a", "1"))
    #expect(world.run(.expire("a", 5_000, .xx)).text == "unchanged")
    #expect(world.run(.expire("a", 5_000, .gt)).text == "unchanged")
    #expect(world.run(.expire("a", 5_000, .lt)).text == "done")
    #expect(world.run(.expire("a", 6_000, .nx)).text == "unchanged")
    #expect(world.run(.expire("a", 6_000, .lt)).text == "unchanged")
    #expect(world.run(.expire("a", 4_000, .gt)).text == "unchanged")
    #expect(world.run(.expire("a", 6_000, .gt)).text == "done")
    #expect(world.run(.expire("a", 7_000, .xx)).text == "done")
    #expect(world.run(.persist("a")).text == "done")
    #expect(world.run(.expire("a", 7_000, .nx)).text == "done")
    #expect(world.expiry("a") == 7_000)
  }

  @Test func `an expiry in the past deletes`() {
    var world = TestDatabase(wallMillis: 1_000)
    world.run(.put("a", "1"))
    #expect(world.run(.expire("a", 1_000)).text == "done")
    #expect(world.database.count == 0)
    #expect(world.database.lastRemoval == world.database.log.appended)
  }

  @Test func `the heap keeps its order under insertions, changes and removals`() {
    var chance = Random(seed: 11)
    var heap = ExpiryHeap()
    var entries: [Entry] = []
    for _ in 0..<60_000 {
      switch chance.below(entries.count < 9_000 ? 4 : 6) {
      case 0, 1, 2:
        let entry = Entry.allocate(
          hash: 0, key: UnsafeRawBufferPointer(start: nil, count: 0), valueByteCount: 0,
          capacity: 0)
        entry.set(version: .zero, expiry: Int64(chance.below(1_000)))
        heap.insert(entry)
        entries.append(entry)
      case 3:
        guard !entries.isEmpty else { continue }
        let entry = entries[chance.below(entries.count)]
        entry.set(version: .zero, expiry: Int64(chance.below(1_000)))
        heap.update(entry)
      default:
        entries.swapAt(chance.below(entries.count), entries.count - 1)
        let entry = entries.removeLast()
        heap.remove(entry)
        entry.free()
      }
    }
    var last: Int64 = 0
    var removed = 0
    while let entry = heap.earliest {
      #expect(entry.expiry >= last)
      last = entry.expiry
      heap.remove(entry)
      entry.free()
      removed += 1
    }
    #expect(removed == entries.count)
    while heap.freeChunk() {}
  }
}
