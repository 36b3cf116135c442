import Base

/// The node's accounted memory stays within its bound, but for what one turn can add.
final class Bounds {
  private unowned let world: World
  /// One turn's commands are checked before they run, so each may pass the bound by what it adds.
  private let slackByteCount: Int

  private(set) var usedMax = 0

  init(world: World, swarm: Swarm) {
    self.world = world
    slackByteCount = 512 << 10 + 4 * swarm.largeValueByteCountMax
  }

  /// Reads what `INFO memory` says.
  func check(_ reply: Reply) {
    guard case .bulk(let bytes) = reply else { return }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let used = Self.field("used_memory", text), let bound = Self.field("maxmemory", text)
    else {
      return world.fail("bounds", "INFO memory does not tell used_memory and maxmemory: \(text)")
    }
    usedMax = max(usedMax, used)
    if used < 0 || used > bound + slackByteCount {
      world.fail("bounds", "memory of \(used) bytes; the bound is \(bound)")
    }
  }

  private static func field(_ name: String, _ text: String) -> Int? {
    for line in text.split(whereSeparator: \.isNewline) where line.hasPrefix(name + ":") {
      return Int(line.dropFirst(name.count + 1))
    }
    return nil
  }
}
