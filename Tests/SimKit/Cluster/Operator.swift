import Base
import NetKit
import Node
import TPC

/// Changes the list of members while clients work and all else goes wrong: asks members to let
/// another one go, stops one for good and has it removed by force, installs processes that join.
///
/// It waits for the end of a removal, not for that of a join.
final class Operator: StreamUser {
  /// A removal that is asked for, again and again.
  private struct Order {
    var id: MemberID
    var isForced: Bool
    var triesLeft: Int
    /// Of who was stopped for good.
    var address: String?
  }

  private unowned let world: World
  private unowned let roster: Roster
  private var chance: Random
  private let endpoint: Endpoint
  private var order: Order?
  private var stream: ClientStream?
  private var reader = ReplyReader()
  private var repliesLeft = 0
  /// Raised with each try, so that a late alarm is recognised.
  private var tryCount: UInt64 = 0
  private var hasForced = false

  init(world: World, roster: Roster, seed: UInt64) {
    self.world = world
    self.roster = roster
    chance = Random(seed: seed)
    endpoint = Endpoint(ipv4: world.swarm.network.prefix | 200, port: 40_000)
  }

  /// Nothing is asked for.
  var isIdle: Bool { order == nil }

  // MARK: Changes

  func plan() {
    let pause = 1 + chance.below(2 * world.swarm.membership.millisBetweenChanges)
    world.at(world.now + .millis(UInt64(pause))) { [self] in
      guard !world.isEnding else { return }
      change()
      if order == nil { plan() }
    }
  }

  private func change() {
    let forces = world.swarm.membership.removesByForce && !hasForced
    switch chance.below(forces ? 8 : 5) {
    case 0, 1: install()
    case 2...4: removeByAgreement()
    default: removeByForce()
    }
  }

  private func install() {
    guard let place = chance.pick(roster.places) else { return }
    let id = chance.chance(1, in: 3) ? MemberID(UInt16(chance.within(1...6))) : nil
    world.trace.note("joiner comes", at: world.now, UInt64(place), UInt64(id?.number ?? 0))
    world.install(at: place, as: id, seed: chance.next())
  }

  private func removeByAgreement() {
    guard let ids = roster.list?.list.entries.map(\.id), ids.count > 1, let id = chance.pick(ids)
    else { return }
    order = Order(id: id, isForced: false, triesLeft: chance.within(1...4))
    ask()
  }

  /// A member is stopped for good, which the operator knows; some of what it said last is lost.
  private func removeByForce() {
    guard let ids = roster.list?.list.entries.map(\.id), ids.count > 1, let id = chance.pick(ids),
      let node = roster.node(of: id), node.isUp
    else { return }
    hasForced = true
    order = Order(id: id, isForced: true, triesLeft: .max, address: "\(node.endpoint)")
    let pause = Interval.millis(UInt64(chance.below(300)))
    silence(node, until: world.now + pause)
    world.at(world.now + pause) { [self] in
      // It may have gone by agreement meanwhile, and another one come in its place.
      guard roster.node(of: id) === node, isOutlived(node) else {
        world.mesh?.swallowNothing()
        order = nil
        return plan()
      }
      node.loseForGood()
      again(after: 1_500 + chance.below(1_000))
    }
  }

  /// Another one knows that it is a member. Where only a newcomer is left that waits for the word of
  /// who took it in, nobody can say what became of that.
  private func isOutlived(_ node: SimNode) -> Bool {
    world.nodes.contains { $0 !== node && $0.part.isInPlay && $0.isUp && $0.isInside }
  }

  private func silence(_ node: SimNode, until end: Instant) {
    switch chance.below(6) {
    case 0: world.mesh?.cutOff(node.index, until: end)
    case 1...3: world.mesh?.swallow(LastWord.decisionKind, of: node.index)
    case 4: world.mesh?.swallow(LastWord.voteKind, of: node.index)
    default: break
    }
  }

  // MARK: Asking

  private func ask() {
    guard let order else { return }
    if let lost = order.address, let owner = roster.list?.list.entry(of: order.id),
      owner.text != lost
    {
      // It was removed, though the reply was lost, and another process has its id.
      roster.noteForced()
      self.order = nil
      return plan()
    }
    roster.noteRemoval(of: order.id)
    tryCount += 1
    reader = ReplyReader()
    let nodes = world.nodes.filter { $0.part.isInPlay && $0.isInside }
    let node = (chance.pick(nodes.filter(\.isUp)) ?? chance.pick(nodes))?.index ?? 0
    stream = world.connect(self, to: node, from: endpoint)
    let (tryCount, patience) = (tryCount, 500 + chance.below(5_000))
    world.at(world.now + .millis(UInt64(patience))) { [self] in
      if tryCount == self.tryCount { ended() }
    }
  }

  func streamOpened() {
    guard let order else { return }
    var bytes: [UInt8] = []
    if world.swarm.requiresPassword {
      Request.append([Array("AUTH".utf8), SimPasswords.right], to: &bytes)
    }
    let words = ["MEMBERS", "REMOVE", "\(order.id)"] + (order.isForced ? ["FORCE"] : [])
    world.trace.note(
      "removal asked", at: world.now, UInt64(order.id.number), order.isForced ? 1 : 0)
    Request.append(words.map { Array($0.utf8) }, to: &bytes)
    repliesLeft = world.swarm.requiresPassword ? 2 : 1
    stream?.send(bytes)
  }

  func streamReceived(_ bytes: [UInt8]) {
    reader.append(bytes)
    while case .reply(let reply) = reader.next() {
      repliesLeft -= 1
      guard repliesLeft == 0 else { continue }
      world.trace.note("removal answered", at: world.now, 0, 0, reply.text)
      conclude(reply)
    }
  }

  func streamEnded(_ end: LinkEnd) {
    stream = nil
    ended()
  }

  private func conclude(_ reply: Reply) {
    let isDone: Bool
    switch reply {
    case .bulk: isDone = true
    // It was done by an earlier try.
    case .error(let text): isDone = text.contains("is no member")
    default: return world.fail("members", "MEMBERS REMOVE is answered \(reply.text)")
    }
    // Who did it may have been none of the members any more.
    let entries = roster.list?.list.entries ?? []
    let isLeft = order?.address.map { lost in entries.contains { $0.text == lost } } ?? false
    guard isDone, !isLeft else { return ended() }
    if order?.isForced == true { roster.noteForced() }
    close()
    order = nil
    plan()
  }

  private func close() {
    tryCount += 1
    stream?.close()
    stream = nil
  }

  /// A try has come to nothing, or nobody knows to what.
  private func ended() {
    close()
    guard var order else { return }
    order.triesLeft -= order.isForced ? 0 : 1
    if order.triesLeft > 0, order.isForced || !world.isEnding {
      self.order = order
      again(after: 50 + chance.below(400))
    } else {
      self.order = nil
      plan()
    }
  }

  private func again(after millis: Int) {
    world.at(world.now + .millis(UInt64(millis))) { [self] in ask() }
  }
}
