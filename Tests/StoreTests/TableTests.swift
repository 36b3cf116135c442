import Base
import Testing

@testable import Store

@Suite struct TableTests {
  static let key = SipKey(k0: 3, k1: 4)

  static func entry(_ number: Int, hash: UInt64? = nil) -> Entry {
    withUnsafeBytes(of: number.littleEndian) { key in
      let entry = Entry.allocate(
        hash: hash ?? SipHash.hash13(key, key: Self.key), key: key, valueByteCount: 0, capacity: 0)
      entry.set(version: .zero, expiry: Change.noExpiry)
      return entry
    }
  }

  static func find(_ table: Table, _ entry: Entry) -> Entry? {
    table.find(entry.key, hash: entry.hash)
  }

  @Test func `entries are found, and found no more once removed, at every size`() {
    var keyspace = Keyspace()
    let entries = (0..<5_000).map { Self.entry($0) }
    for (index, entry) in entries.enumerated() {
      keyspace.table.insert(entry)
      if index % 997 == 0 {
        #expect(entries[...index].allSatisfy { Self.find(keyspace.table, $0) != nil })
      }
    }
    #expect(keyspace.table.count == 5_000)
    for (index, entry) in entries.enumerated() {
      keyspace.table.remove(keyspace.table.place(of: entry))
      #expect(Self.find(keyspace.table, entry) == nil)
      if index % 997 == 0 {
        #expect(entries[(index + 1)...].allSatisfy { Self.find(keyspace.table, $0) != nil })
      }
    }
    keyspace.table.move(bucketCountMax: .max)
    #expect(keyspace.table.main.bucketCount <= 16)
    for entry in entries { entry.free() }
    keyspace.free()
  }

  @Test func `entries of one bucket form a chain that shrinks again`() {
    var keyspace = Keyspace()
    let before = keyspace.table.byteCount
    // The same low bits at any size: all go to one bucket; tags differ and repeat.
    let entries = (0..<60).map { Self.entry($0, hash: UInt64($0 % 9) << 56 | 5) }
    var chance = Random(seed: 2)
    for _ in 0..<20 {
      for entry in entries { keyspace.table.insert(entry) }
      keyspace.table.move(bucketCountMax: .max)
      #expect(entries.allSatisfy { Self.find(keyspace.table, $0)?.block == $0.block })
      for entry in entries.shuffled(using: &chance) {
        keyspace.table.remove(keyspace.table.place(of: entry))
        #expect(Self.find(keyspace.table, entry) == nil)
      }
      keyspace.table.move(bucketCountMax: .max)
      #expect(keyspace.table.count == 0)
    }
    // One chunk is there now; no further bucket and no second array is.
    let chunk = Memory.byteCount(ofBlock: keyspace.table.main.chunkByteCount)
    #expect(keyspace.table.byteCount <= before + chunk + 64)
    for entry in entries { entry.free() }
    keyspace.free()
  }

  /// The promise of SCAN: whatever is there from beginning to end is seen.
  @Test(arguments: 1...24 as ClosedRange<UInt64>)
  func `a scan sees all that stays, however the table is resized meanwhile`(_ seed: UInt64) {
    var chance = Random(seed: seed)
    var keyspace = Keyspace()
    let staying = (0..<700).map { Self.entry($0) }
    var passing: [Entry] = []
    for entry in staying { keyspace.table.insert(entry) }
    var next = 1_000
    if seed % 2 == 0 {
      for _ in 0..<20_000 {
        passing.append(Self.entry(next))
        next += 1
        keyspace.table.insert(passing[passing.count - 1])
      }
    }
    var seen: Set<UnsafeMutableRawPointer> = []
    var position: UInt64 = 0
    var grows = seed % 2 == 1
    repeat {
      position =
        chance.chance(1, in: 3)
        ? keyspace.table.visit(position, byteCountMax: chance.below(40) + 1) {
          seen.insert($0.block)
        }
        : keyspace.table.visit(position) { seen.insert($0.block) }
      if passing.count > 20_000 { grows = false }
      if passing.isEmpty { grows = true }
      for _ in 0..<chance.below(60) {
        if grows {
          passing.append(Self.entry(next))
          next += 1
          keyspace.table.insert(passing[passing.count - 1])
        } else if let entry = passing.popLast() {
          keyspace.table.remove(keyspace.table.place(of: entry))
          entry.free()
        }
      }
      if chance.chance(1, in: 10) { keyspace.table.move(bucketCountMax: chance.below(200)) }
    } while position != 0
    #expect(staying.allSatisfy { seen.contains($0.block) }, "seed \(seed)")
    keyspace.free()
  }

  @Test func `a whole visit of a table at rest or under way gives each entry once`() {
    var keyspace = Keyspace()
    for number in 0..<3_000 {
      keyspace.table.insert(Self.entry(number))
      guard number % 173 == 0 else { continue }
      var count = 0
      var position: UInt64 = 0
      repeat { position = keyspace.table.visit(position) { _ in count += 1 } } while position != 0
      #expect(count == number + 1)
      count = 0
      repeat {
        position = keyspace.table.visit(position, byteCountMax: 9) { _ in count += 1 }
      } while position != 0
      #expect(count == number + 1)
    }
    keyspace.free()
  }

  @Test func `random entries come from everywhere`() {
    var keyspace = Keyspace()
    var chance = Random(seed: 1)
    #expect(keyspace.table.random(&chance) == nil)
    for number in 0..<200 { keyspace.table.insert(Self.entry(number)) }
    var seen: Set<UnsafeMutableRawPointer> = []
    for _ in 0..<6_000 { seen.insert(keyspace.table.random(&chance)!.block) }
    #expect(seen.count == 200)
    keyspace.free()
  }

  @Test func `a matching tag is found in every slot, and no other`() {
    for tag in [1, 2, 0x7F, 0x80, 0xFF] as [UInt64] {
      for slot in 0..<7 {
        for other in [0, 1, tag ^ 1, tag ^ 0x80, 0xFF] as [UInt64] where other != tag {
          let rest = other &* 0x0101_0101_0101_0101 & ~(0xFF << UInt64(8 * slot))
          let tags = rest | tag << UInt64(8 * slot)
          #expect(Bucket.match(tags, tag) == 0x80 << UInt64(8 * slot))
        }
      }
    }
  }
}
