import Base
import NetKit
import Node
import TPC

/// Who is a member of a cluster whose list changes, as nobody in it can know, and the rules about
/// it: nobody ends for good but who was asked to go or may be refused; in the end the members are
/// just the processes that are in play, and all have one list.
final class Roster {
  private unowned let world: World
  private var chance: Random
  private var changes: Operator!
  /// Ids whose removal was asked for.
  private(set) var askedToGo: Set<MemberID> = []
  private var leftCount = 0
  private var refusedCount = 0
  private(set) var forcedCount = 0

  init(world: World, seed: UInt64) {
    self.world = world
    chance = Random(seed: seed)
    changes = Operator(world: world, roster: self, seed: chance.next())
  }

  func start() {
    changes.plan()
    planTending()
  }

  // MARK: Who is there

  /// The newest list that a member has. Who was removed by agreement, and has not heard of it, may
  /// have removed others by force since.
  var list: Membership? {
    let inPlay = world.nodes.filter(\.part.isInPlay)
    let lists = inPlay.compactMap(\.membership).filter(\.isInside).map(\.membership)
    return lists.max { ($0.epoch.agreed, $0.epoch.forced) < ($1.epoch.agreed, $1.epoch.forced) }
  }

  /// The process that is the member of that id, as far as it knows.
  func node(of id: MemberID) -> SimNode? {
    world.nodes.first { $0.part.isInPlay && $0.isInside && $0.membership?.ownID == id }
  }

  /// Places for processes that join.
  var places: [Int] {
    world.nodes.filter { node in
      switch node.part {
      case .spare, .out: true
      case .lost: node.membership.map { list?.list.entry(of: $0.ownID) == nil } ?? true
      case .first, .joiner: false
      }
    }.map(\.index)
  }

  // MARK: What happens

  func noteRemoval(of id: MemberID) { askedToGo.insert(id) }

  func noteForced() { forcedCount += 1 }

  /// A node has ended by itself for good: it must have been asked to go, or refused for a reason
  /// that its operator can do something about.
  func noteEnd(of node: SimNode, _ kind: StopKind, _ reason: String) {
    world.trace.note("ends for good", at: world.now, UInt64(node.index), 0, reason)
    let wasAsked = node.membership.map { askedToGo.contains($0.ownID) } ?? false
    if wasAsked, kind == .requested || reason.contains("was removed from its cluster") {
      leftCount += 1
      return
    }
    let isTaken =
      reason.contains("its --id is that of a member") || reason.contains("has its address")
    guard isTaken || reason.contains("needs more than --max-memory") else {
      return world.fail("members", "node \(node.index + 1) has ended for no reason: \(reason)")
    }
    refusedCount += 1
    guard isTaken else { return }
    let (index, seed) = (node.index, chance.next())
    world.at(world.now + .millis(UInt64(100 + chance.below(400)))) { [self] in
      if !world.nodes[index].part.isInPlay { world.install(at: index, as: nil, seed: seed) }
    }
  }

  /// Who was removed asks the members that it knows of, and is told so unless another one has its
  /// id.
  private func learns(_ node: SimNode, of list: Membership) -> Bool {
    guard let view = node.membership, list.list.entry(of: view.ownID) == nil else { return false }
    return !Set(view.membership.list.entries).isDisjoint(with: list.list.entries)
  }

  // MARK: The end

  private func planTending() {
    world.at(world.now + .millis(500)) { [self] in
      if world.isEnding { tend() }
      planTending()
    }
  }

  /// What only an operator can do who knows who has gone. Who was removed and can call nobody who
  /// could tell it so is stopped. Who asks to be taken in by one that has gone is started again to
  /// ask another one.
  private func tend() {
    guard let list else { return }
    let members = Set(list.list.entries.map(\.text))
    for node in world.nodes where node.waitsInVain { node.kill() }
    for node in world.nodes where node.part.isInPlay && node.isInside {
      guard !members.contains("\(node.endpoint)"), !learns(node, of: list) else { continue }
      node.loseForGood()
      leftCount += 1
    }
  }

  /// What is not yet as it must be in the end; nil: who is in play is a member, all have one list,
  /// and they are at rest.
  var unrest: String? {
    if !changes.isIdle { return "a change of members is still asked for" }
    guard let list else { return "nobody is a member" }
    let members = world.nodes.filter(\.part.isInPlay)
    for node in members {
      guard let view = node.membership, !view.isJoining, view.isInside, node.isUp else {
        return "node \(node.index + 1) is no member (up: \(node.isUp)) of \(list)"
      }
      guard view.membership.epoch == list.epoch, view.membership.list == list.list else {
        return "node \(node.index + 1) has \(view.membership), another one \(list)"
      }
      if let alarm = view.alarm { return "node \(node.index + 1): \(alarm)" }
    }
    let ids = members.compactMap { $0.membership?.ownID }
    if MemberSet(ids) != list.members || ids.count != list.list.entries.count {
      return "members are \(ids), the list is \(list)"
    }
    return EqualMembers.unrest(members.map(\.memberView))
  }

  func count(into statistics: inout SimulationStatistics) {
    let members = world.nodes.filter { $0.part.isInPlay && $0.isInside }
    statistics.joins += members.count { if case .joiner = $0.part { true } else { false } }
    statistics.removals += leftCount
    statistics.forcedRemovals += forcedCount
    statistics.refusedJoins += refusedCount
  }
}

extension Random {
  /// Any of them; nil when there is none.
  mutating func pick<T>(_ items: [T]) -> T? {
    items.isEmpty ? nil : items[below(items.count)]
  }
}
