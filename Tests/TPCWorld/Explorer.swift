import Base
import TPC

/// Short random runs: everything that can go wrong does, then nothing does, then all must be right.
public struct Explorer {
  var chance: Random
  public let world: World
  let plan: Plan
  /// Messages that were delivered or lost before; they may come again, after crashes too.
  var history: [World.Message] = []
  var begunCount = 0

  /// What a run is about.
  struct Plan {
    var stepCount: Int
    var transactionCount: Int
    var keyCount: Int
    var crashes: Int
    var usesOperations: Bool
    var usesOnePhase: Bool
    var removes: Bool
    var loss: Int
    /// Only some messages are redelivered from before.
    var repeats: Int
  }

  public init(seed: UInt64, keepsJournal: Bool = false) {
    chance = Random(seed: seed)
    plan = Plan(
      stepCount: chance.within(30...400), transactionCount: chance.within(1...6),
      keyCount: chance.within(1...3), crashes: chance.below(12),
      usesOperations: chance.chance(1, in: 3), usesOnePhase: chance.chance(1, in: 6),
      removes: chance.chance(1, in: 4), loss: chance.below(30), repeats: chance.below(40))
    let nodeCount = chance.chance(1, in: 5) ? 2 : chance.chance(1, in: 4) ? 4 : 3
    world = World(nodeCount: nodeCount, keepsJournal: keepsJournal)
  }

  /// Runs; returns what was wrong.
  public mutating func run() -> [String] {
    for _ in 0..<plan.stepCount {
      step()
      if !world.violations.isEmpty { return world.violations }
    }
    world.effectsBeforeCrash = nil
    world.comeToRest()
    return world.violations
  }

  private mutating func step() {
    let node = world.live[chance.below(world.live.count)]
    switch chance.below(100) {
    case 0..<10: begin(at: node)
    case 10..<58: deliver()
    case 58..<64: if chance.below(40) < plan.repeats { repeatOld() }
    case 64..<82: world.force(node, through: chance.chance(2, in: 3) ? nil : somewhere(node))
    case 82..<92: world.wake(node)
    case 92..<95: if chance.below(12) < plan.crashes { crash(node) }
    case 95..<99: world.start(node)
    default: if plan.removes { remove() }
    }
  }

  private mutating func somewhere(_ node: WorldNode) -> Int {
    chance.within(node.resource.forcedCount...node.resource.log.count)
  }

  private mutating func begin(at node: WorldNode) {
    guard begunCount < plan.transactionCount else { return }
    var request = WorldNode.Request()
    if plan.usesOnePhase, chance.chance(1, in: 2) {
      let others = world.live.filter { $0 !== node && node.members.contains($0.member) }
      guard !others.isEmpty else { return }
      let other = others[chance.below(others.count)].member
      request.participants = MemberSet([other])
      request.writes = [UInt8(100 + other.number)]
    } else {
      for key in 0..<plan.keyCount {
        switch chance.below(3) {
        case 0: request.writes.append(UInt8(key))
        case 1: request.reads.append(UInt8(key))
        default: break
        }
      }
      if request.writes.isEmpty, request.reads.isEmpty { request.writes = [0] }
    }
    if plan.usesOperations, request.participants == nil, chance.chance(2, in: 3) {
      request.operation = OperationID(high: 1, low: 1)
      request.writes = [UInt8(chance.below(plan.keyCount))]
      request.reads = []
    }
    if chance.chance(1, in: 12) {
      request.refusedBy = MemberSet([node.members.randomMember(&chance)])
    }
    if chance.chance(1, in: 3) { request.patience = .millis(UInt64(chance.within(1...2_000))) }
    if case .started = world.begin(request, at: node) { begunCount += 1 }
  }

  private mutating func deliver() {
    guard !world.network.isEmpty else { return }
    let index = chance.below(world.network.count)
    let message = world.network[index]
    if !chance.chance(1, in: 8) { world.network.swapAt(index, world.network.count - 1) }
    if world.network.last == message { world.network.removeLast() }
    history.append(message)
    guard chance.below(100) >= plan.loss else { return }
    maybeCrashWithin()
    world.deliver(message)
    world.effectsBeforeCrash = nil
  }

  private mutating func repeatOld() {
    guard !history.isEmpty else { return }
    let message = history[chance.below(history.count)]
    world.deliver(message)
  }

  /// The next turn may end in the middle of its effects.
  private mutating func maybeCrashWithin() {
    guard plan.crashes > 0, chance.chance(1, in: 60) else { return }
    world.effectsBeforeCrash = chance.below(4)
  }

  private mutating func crash(_ node: WorldNode) {
    world.crash(node, keeping: somewhere(node))
    if chance.chance(1, in: 2) { world.start(node) }
  }

  /// One member is stopped for good; the survivors hear of it one after the other.
  private mutating func remove() {
    guard world.nodes.count > 2 else { return }
    if world.removed.isEmpty {
      let gone = world.nodes[chance.below(world.nodes.count)]
      world.crash(gone, keeping: somewhere(gone))
      world.remove(gone.member, at: world.nodes.first { $0 !== gone }!)
    }
    for gone in world.removed {
      for node in world.live where chance.chance(1, in: 2) { world.remove(gone, at: node) }
    }
  }
}

extension MemberSet {
  func randomMember(_ chance: inout Random) -> MemberID {
    let members = Array(self)
    return members[chance.below(members.count)]
  }
}
