import Base
import Testing

@testable import TPC

/// The lock table against a plain list of (transaction, name, mode).
@Suite struct LockTableTests {
  struct Held {
    var id: TransactionID
    var names: [(name: UInt8, mode: LockMode)]
    var handle: Int32
    var isWaiting: Bool
  }

  static func work(_ names: [(name: UInt8, mode: LockMode)]) -> Work {
    var builder = WorkBuilder()
    for (name, mode) in names { withUnsafeBytes(of: name) { builder.add(key: $0, mode) } }
    return builder.finish()!
  }

  static func obstacle(
    _ id: TransactionID, _ names: [(name: UInt8, mode: LockMode)], _ held: [Held]
  ) -> LockTable.Obstacle {
    var worst = LockTable.Obstacle.none
    for other in held where other.id != id {
      let meets = names.contains { mine in
        other.names.contains { theirs in
          theirs.name == mine.name && (theirs.mode == .write || mine.mode == .write)
        }
      }
      guard meets else { continue }
      if other.id < id { return .older }
      if !other.isWaiting { worst = .younger }
    }
    return worst
  }

  @Test(arguments: 0..<40) func `Rule 5: locks are those of a plain list`(seed: UInt64) {
    var chance = Random(seed: seed)
    var table = LockTable(key: SipKey(k0: seed, k1: 1))
    var held: [Held] = []
    for step in 0..<400 {
      if chance.chance(2, in: 3) || held.isEmpty {
        let id = TransactionID(
          age: Stamp(nanos: UInt64(chance.below(1_000))), node: MemberID(1),
          counter: UInt64(step))
        var names: [UInt8: LockMode] = [:]
        for _ in 0...chance.below(6) {
          names[UInt8(chance.below(200))] = chance.chance(1, in: 2) ? .read : .write
        }
        let list = names.sorted { $0.key < $1.key }.map { (name: $0.key, mode: $0.value) }
        let work = Self.work(list)
        let obstacle = table.obstacle(to: id, work)
        #expect(obstacle == Self.obstacle(id, list, held))
        guard obstacle != .older else { continue }
        let handle = table.lock(id, work, obstacle == .younger ? .waits : .holds)
        held.append(
          Held(id: id, names: list, handle: handle, isWaiting: obstacle == .younger))
      } else {
        let gone = held.remove(at: chance.below(held.count))
        var awakened: [TransactionID] = []
        table.unlock(gone.handle, awakened: &awakened)
        let expected = held.filter { waiting in
          waiting.isWaiting && !gone.isWaiting
            && waiting.names.contains { mine in
              gone.names.contains {
                $0.name == mine.name && ($0.mode == .write || mine.mode == .write)
              }
            }
        }
        #expect(Set(awakened) == Set(expected.map(\.id)))
      }
      let locked = held.filter { !$0.isWaiting }
      #expect(table.lockCount == locked.reduce(0) { $0 + $1.names.count })
      let name = UInt8(chance.below(200))
      let modes = locked.flatMap { $0.names.filter { $0.name == name }.map(\.mode) }
      let found = withUnsafeBytes(of: name) { table.holder($0, isOperation: false)?.mode }
      #expect(found == (modes.contains(.write) ? .write : modes.first))
    }
  }
}
