import Base

/// A key that one client alone writes, over one stream, with rising numbers.
final class Ledger {
  let key: [UInt8]
  var sent: Int64 = 0
  var acknowledged: Int64 = 0

  init(name: String) {
    key = Array(name.utf8)
  }
}

/// No acknowledged write is lost: a ledger never shows less than was acknowledged when it was asked
/// for, nor more than was sent.
///
/// Linearizability says the same of every key; this says it at once, with the number that is missing.
final class Durability {
  private unowned let world: World
  private(set) var ledgers: [Ledger] = []
  /// FLUSHALL removes ledgers.
  private let isOn: Bool
  private(set) var checkedCount = 0

  init(world: World, swarm: Swarm) {
    self.world = world
    isOn = swarm.flushInThousand == 0
  }

  func open(client: Int) -> Ledger {
    let ledger = Ledger(name: "ledger\(client).\(ledgers.count)")
    ledgers.append(ledger)
    return ledger
  }

  /// `floor` is what had been acknowledged when the reading was sent.
  func check(_ ledger: Ledger, _ reply: Reply, floor: Int64) {
    guard isOn else { return }
    let value: Int64
    switch reply {
    case .null: value = 0
    case .bulk(let bytes): value = Int64(String(decoding: bytes, as: UTF8.self)) ?? -1
    default: return
    }
    checkedCount += 1
    if value < floor || value > ledger.sent {
      world.fail(
        "durability",
        "\(String(decoding: ledger.key, as: UTF8.self)) holds \(value); "
          + "acknowledged \(floor), sent \(ledger.sent)")
    }
  }
}
