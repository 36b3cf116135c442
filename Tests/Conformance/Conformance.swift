import Base
import NetKit

/// The contract of `Transport` for peer links, as tests that any transport must pass. Each function
/// takes a fresh world and throws what was broken.
public enum Conformance {
  public typealias World = ConformanceWorld & ~Copyable

  /// A link opens once on each side and carries messages both ways.
  public static func opensAndCarriesBothWays(_ world: inout some World) throws {
    let (link, answer) = try open(&world)
    try queued(world.send([1, 2], 0, on: link))
    try queued(world.send([3], 1, on: answer))
    let arrived = world.run(5_000) { messages($0[1]).count == 1 && messages($0[0]).count == 1 }
    try expect(arrived, "a message each way arrives")
    try expect(messages(world.told[1]) == [[1, 2]], "node 1 got what was sent")
    try expect(messages(world.told[0]) == [[3]], "node 0 got what was sent")
    for node in 0..<2 {
      try expect(openings(world.told[node]) == 1, "the link opens once at node \(node)")
    }
  }

  /// Messages of every size up to the limit arrive whole; one byte more is refused without effect.
  public static func sizesUpToTheLimit(_ world: inout some World) throws {
    let (link, _) = try open(&world)
    let limit = world.messageByteCountMax
    let sizes = [0, 1, 1_151, 1_152, 1_153, 16_336, 16_337, 65_536, limit - 1, limit]
    for size in sizes {
      let before = messages(world.told[1]).count
      guard case .tooLarge = world.send(pattern(limit + 1), 0, on: link) else {
        throw ConformanceFailure(description: "limit + 1 is too large")
      }
      try queued(world.send(pattern(size), 0, on: link))
      let arrived = world.run(60_000) { messages($0[1]).count > before }
      try expect(arrived, "a message of \(size) bytes arrives")
      try expect(messages(world.told[1]).last == pattern(size), "\(size) bytes arrive whole")
    }
    _ = world.run(1_000) { _ in false }
    try expect(world.pendingByteCount(0, link) == 0, "nothing is pending")
  }

  /// What arrives was sent, whole; nothing is lost or repeated unless the transport says it may be.
  public static func orderLossAndRepetition(_ world: inout some World, seed: UInt64) throws {
    var chance = Random(seed: seed)
    let (link, answer) = try open(&world)
    var sent: [[[UInt8]]] = [[], []]
    for number in 0..<60 {
      let side = chance.below(2)
      let size = 2 + chance.below(chance.chance(1, in: 5) ? 20_000 : 400)
      let bytes = [UInt8(number), UInt8(side)] + pattern(size)
      sent[side].append(bytes)
      try queued(world.send(bytes, side, on: side == 0 ? link : answer))
      if chance.chance(1, in: 2) { _ = world.run(UInt64(chance.below(10))) { _ in false } }
    }
    let isLossless = !world.traits.contains(.loses)
    let arrived = world.run(isLossless ? 60_000 : 5_000) { told in
      (0..<2).allSatisfy { messages(told[1 - $0]).count >= sent[$0].count }
    }
    try expect(arrived || !isLossless, "everything arrives")
    for side in 0..<2 {
      let got = messages(world.told[1 - side])
      try expect(got.allSatisfy { sent[side].contains($0) }, "nothing is cut or damaged")
      if world.traits.contains(.ordered) { try expect(got == sent[side], "the order is kept") }
      if !world.traits.contains(.repeats) {
        try expect(Set(got.map { $0[0] }).count == got.count, "nothing arrives twice")
      }
    }
  }

  /// A receiver that does nothing lets output pile up at the sender, who sees it; when it goes on,
  /// everything arrives and the sender is told that it has left.
  public static func backPressure(_ world: inout some World) throws {
    let (link, _) = try open(&world)
    world.stop(1, true)
    let message = pattern(200_000)
    var count = 0
    while world.pendingByteCount(0, link) < 4_000_000 {
      try expect(count < 400, "output piles up")
      try queued(world.send(message, 0, on: link))
      count += 1
      _ = world.run(1) { _ in false }
    }
    world.stop(1, false)
    let arrived = world.run(60_000) { told in
      messages(told[1]).count >= count && told[0].contains(.drained(link))
    }
    try expect(arrived, "\(count) messages arrive and `drained` is told")
    try expect(messages(world.told[1]).allSatisfy { $0 == message }, "nothing is damaged")
    _ = world.run(1_000) { _ in false }
    try expect(world.pendingByteCount(0, link) == 0, "nothing is pending")
  }

  /// Who closes is told so, and so is the other side; the link means nothing any more.
  public static func closingEndsBothSides(_ world: inout some World) throws {
    let (link, answer) = try open(&world)
    world.close(0, link)
    let ended = world.run(10_000) { ends($0[0]).count == 1 && ends($0[1]).count == 1 }
    try expect(ended, "both sides are told")
    try expect(world.told[0].contains(.closed(link, .closed)), "node 0 closed it")
    try gone(world.send([1], 0, on: link))
    try gone(world.send([1], 1, on: answer))
    let (next, _) = try open(&world)
    try expect(next != link, "no link is named twice")
    try gone(world.send([1], 0, on: link))
  }

  /// A peer that restarts is noticed: the old link ends, and a new one can be opened at once.
  public static func peerRestart(_ world: inout some World) throws {
    let (link, _) = try open(&world)
    world.restart(1)
    // A node that only listens may notice late; one that speaks notices soon.
    _ = world.send([1], 0, on: link)
    let ended = world.run(10_000) { ends($0[0]).count == 1 }
    try expect(ended, "the old link ends")
    try gone(world.send([2], 0, on: link))
    let (next, _) = try open(&world)
    try queued(world.send([3], 0, on: next))
    let arrived = world.run(5_000) { messages($0[1]).last == [3] }
    try expect(arrived, "the new link carries")
    try expect(!messages(world.told[1]).contains([1]), "nothing of the old link is delivered")
  }

  /// A peer that fell silent without a word is given up by both sides within the time allowed.
  public static func halfOpen(_ world: inout some World) throws {
    guard world.traits.contains(.cuts) else { return }
    let (link, answer) = try open(&world)
    _ = world.run(20_000) { !ends($0[0]).isEmpty }
    try expect(ends(world.told[0]).isEmpty, "an idle link stays open")
    world.cut(true)
    _ = world.send([1], 0, on: link)
    let ended = world.run(20_000) { !ends($0[0]).isEmpty && !ends($0[1]).isEmpty }
    try expect(ended, "both sides give up")
    try gone(world.send([1], 0, on: link))
    try gone(world.send([1], 1, on: answer))
  }

  /// A link to nobody ends by itself, by the transport's own deadline.
  public static func connectingToNobody(_ world: inout some World) throws {
    world.stopListening(1)
    let link = world.connect(0)
    let ended = world.run(20_000) { !ends($0[0]).isEmpty }
    try expect(ended, "the attempt ends")
    try expect(openings(world.told[0]) == 0, "it was never open")
    try gone(world.send([1], 0, on: link))
  }

  /// After `stopListening` open links go on.
  public static func drainingKeepsOpenLinks(_ world: inout some World) throws {
    let (link, answer) = try open(&world)
    world.stopListening(1)
    try queued(world.send([1], 0, on: link))
    try queued(world.send([2], 1, on: answer))
    let arrived = world.run(5_000) { messages($0[1]) == [[1]] && messages($0[0]) == [[2]] }
    try expect(arrived, "messages still arrive both ways")
  }

  // MARK: Parts

  /// Opens a link from node 0 and returns its name on both sides.
  private static func open(_ world: inout some World) throws -> (LinkID, LinkID) {
    let before = openings(world.told[1])
    let link = world.connect(0)
    let opened = world.run(10_000) { $0[0].contains(.opened(link)) }
    try expect(opened, "a link opens at the caller")
    // The other side may know only by the first message that this is a peer.
    try queued(world.send(greeting, 0, on: link))
    let greeted = world.run(10_000) { $0[1].last.map { $0.isMessage(greeting) } ?? false }
    try expect(greeted && openings(world.told[1]) == before + 1, "the link opens at both sides")
    for event in world.told[1].reversed() {
      if case .opened(let answer) = event { return (link, answer) }
    }
    throw ConformanceFailure(description: "node 1 knows no link")
  }

  private static var greeting: [UInt8] { Array("greetings".utf8) }

  /// The messages received, greetings aside.
  private static func messages(_ told: [PeerTold]) -> [[UInt8]] {
    told.compactMap {
      if case .received(_, let bytes) = $0, bytes != greeting { bytes } else { nil }
    }
  }

  private static func openings(_ told: [PeerTold]) -> Int {
    told.count { if case .opened = $0 { true } else { false } }
  }

  private static func ends(_ told: [PeerTold]) -> [LinkEnd] {
    told.compactMap { if case .closed(_, let end) = $0 { end } else { nil } }
  }

  private static func pattern(_ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
  }

  private static func queued(_ outcome: SendOutcome) throws {
    guard case .queued = outcome else {
      throw ConformanceFailure(description: "a message is taken, not \(outcome)")
    }
  }

  private static func gone(_ outcome: SendOutcome) throws {
    guard case .gone = outcome else {
      throw ConformanceFailure(description: "a link that ended is gone, not \(outcome)")
    }
  }

  private static func expect(_ condition: Bool, _ promise: String) throws {
    guard condition else { throw ConformanceFailure(description: "not so: \(promise)") }
  }
}

extension PeerTold {
  /// A message of these bytes.
  fileprivate func isMessage(_ wanted: [UInt8]) -> Bool {
    if case .received(_, let bytes) = self { bytes == wanted } else { false }
  }
}
