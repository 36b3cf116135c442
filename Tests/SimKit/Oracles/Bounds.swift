import Base

/// The node's accounted memory stays within its bounds, but for what one turn can add.
///
/// Outcomes have a bound of their own: what is refused for lack of memory is recorded all the same.
/// So has a member's ledger: its records are kept until all members are done with a transaction, and
/// thousands that came after one that is in doubt.
final class Bounds {
  private unowned let world: World
  /// One turn's commands are checked before they run, so each may pass the bound by what it adds.
  private let slackByteCount: Int
  private let outcomeByteCountMax: Int

  private(set) var usedMax = 0

  init(world: World, swarm: Swarm) {
    self.world = world
    outcomeByteCountMax = swarm.outcomeByteCountMax
    slackByteCount = 512 << 10 + 4 * swarm.largeValueByteCountMax
  }

  /// Reads what `INFO memory` says.
  func check(_ reply: Reply) {
    guard case .bulk(let bytes) = reply else { return }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let used = Self.field("used_memory", text), let bound = Self.field("maxmemory", text),
      let outcomes = Self.field("used_memory_outcomes", text),
      let ledger = Self.field("used_memory_ledger", text)
    else {
      return world.fail("bounds", "INFO memory does not tell what is used: \(text)")
    }
    usedMax = max(usedMax, used)
    let data = used - outcomes - ledger
    if data < 0 || data > bound + slackByteCount {
      world.fail("bounds", "memory of \(data) bytes for data; the bound is \(bound)")
    }
    if outcomes < 0 || outcomes > outcomeByteCountMax + slackByteCount {
      world.fail("bounds", "outcomes of \(outcomes) bytes; the bound is \(outcomeByteCountMax)")
    }
  }

  private static func field(_ name: String, _ text: String) -> Int? {
    for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix(name + ":") {
      return Int(line.dropFirst(name.count + 1))
    }
    return nil
  }
}
