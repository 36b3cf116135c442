import Base

/// Two keys that one client alone writes, over one stream: rising numbers, odd ones into the second
/// key and even ones into the first.
final class Ledger {
  let keys: [[UInt8]]
  /// When each number was sent, from 1, and when it was acknowledged; nil: it was not.
  private(set) var entries: [(sent: Instant, acknowledged: Instant?)] = []
  /// The last one that was acknowledged.
  private(set) var acknowledged = 0

  init(name: String) {
    keys = ["a", "b"].map { Array("\(name).\($0)".utf8) }
  }

  var sent: Int { entries.count }

  /// The next number.
  func send(at now: Instant) -> Int {
    entries.append((now, nil))
    return entries.count
  }

  func acknowledge(_ number: Int, at now: Instant) {
    entries[number - 1].acknowledged = now
    acknowledged = number
  }

  func setting(_ number: Int) -> [[UInt8]] {
    [Array("SET".utf8), keys[number % 2], Array("\(number)".utf8)]
  }

  var reading: [[UInt8]] { [Array("MGET".utf8)] + keys }
}

/// No acknowledged write is lost, and none is kept without those before it: a ledger never shows
/// less than was acknowledged when it was asked for, nor more than was sent, and if it shows a number
/// it has all acknowledged ones below.
///
/// Linearizability says the same of every key; this says it at once, with the number that is missing,
/// and across keys. With weak durability, what a death may have taken is not asked for, but what is
/// left must be a beginning all the same.
final class Ledgers {
  private unowned let world: World
  private(set) var all: [Ledger] = []
  /// FLUSHALL removes ledgers.
  private let isOn: Bool
  private(set) var checkedCount = 0

  init(world: World, swarm: Swarm) {
    self.world = world
    isOn = swarm.flushInThousand == 0
  }

  func open(client: Int) -> Ledger {
    let ledger = Ledger(name: "ledger\(client).\(all.count)")
    all.append(ledger)
    return ledger
  }

  /// `floor` is the last number that had been acknowledged when the reading was sent.
  func check(_ ledger: Ledger, _ reply: Reply, floor: Int) {
    guard isOn, case .array(let items) = reply else { return }
    let values = items.map(Self.number)
    checkedCount += 1
    let greatest = values.max()!
    for number in stride(from: ledger.sent, through: 1, by: -1) {
      guard let acknowledged = ledger.entries[number - 1].acknowledged else { continue }
      let sent = ledger.entries[number - 1].sent
      let mustStand = number < greatest || number <= floor && isKept(sent, acknowledged)
      if mustStand, values[number % 2] < number {
        return fail(ledger, values, "acknowledged \(number)")
      }
    }
    if greatest > ledger.sent || values.contains(-1) {
      fail(ledger, values, "sent \(ledger.sent)")
    }
  }

  /// No death came between the two that takes back what was acknowledged so late.
  private func isKept(_ sent: Instant, _ acknowledged: Instant) -> Bool {
    !world.losses.contains { sent <= $0.instant && acknowledged > $0.floor }
  }

  private static func number(_ reply: Reply) -> Int {
    switch reply {
    case .null: 0
    case .bulk(let bytes): Int(String(decoding: bytes, as: UTF8.self)) ?? -1
    default: -1
    }
  }

  private func fail(_ ledger: Ledger, _ values: [Int], _ what: String) {
    let name = String(decoding: ledger.keys[0], as: UTF8.self)
    world.fail("durability", "\(name) and its pair hold \(values); \(what)")
  }
}
