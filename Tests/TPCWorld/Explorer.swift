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
    var nodeCount: Int
    var stepCount: Int
    var transactionCount: Int
    var keyCount: Int
    /// Of 12: how many of the drawn crashes happen.
    var crashes: Int
    /// Of 60: how many turns end in the middle of their effects.
    var cuts: Int
    var usesOperations = false
    var usesOnePhase = false
    /// Of 100 steps: how many are about a forced removal.
    var removals = 0
    /// Of 100 steps: how many are about an agreed change of members.
    var changes = 0
    /// Of 100.
    var loss: Int
    /// Of 40: how many of the drawn old messages come again.
    var repeats: Int
    var patienceMillisMax: Int
    /// Commits wait for something to ride with.
    var holdsCommits: Bool
    /// A turn may take several messages.
    var sharesTurns: Bool

    /// Four kinds of run by turns: removals, deadlines, few conflicting transactions, all together;
    /// and every fifth one is about changes of members besides.
    init(seed: UInt64, _ chance: inout Random) {
      nodeCount = chance.chance(1, in: 5) ? 2 : chance.chance(1, in: 4) ? 4 : 3
      stepCount = chance.within(30...300)
      transactionCount = chance.within(1...2)
      keyCount = 1
      crashes = chance.below(12)
      cuts = chance.below(12)
      loss = chance.below(30)
      repeats = chance.within(10...40)
      patienceMillisMax = 2_000
      holdsCommits = seed % 3 == 1
      sharesTurns = seed % 7 == 2
      switch seed % 4 {
      case 0:
        nodeCount = max(nodeCount, 3)
        removals = 4
      case 1: patienceMillisMax = 60
      case 2: transactionCount = chance.within(1...3)
      default:
        transactionCount = chance.within(1...6)
        keyCount = chance.within(1...3)
        usesOperations = chance.chance(1, in: 2)
        usesOnePhase = chance.chance(1, in: 4)
        removals = chance.chance(1, in: 4) ? 1 : 0
      }
      guard seed % 5 == 4 else { return }
      nodeCount = chance.within(1...3)
      usesOnePhase = false
      changes = chance.within(2...6)
      removals = chance.below(4)
    }
  }

  public init(seed: UInt64, keepsJournal: Bool = false) {
    chance = Random(seed: seed)
    plan = Plan(seed: seed, &chance)
    let decisionDelay: Interval = plan.holdsCommits ? .micros(250) : .zero
    world = World(
      nodeCount: plan.nodeCount, guestCount: plan.changes > 0 ? 1 : 0, keepsJournal: keepsJournal
    ) { $0.decisionDelay = decisionDelay }
  }

  /// Runs; returns what was wrong.
  public mutating func run() -> [String] {
    for _ in 0..<plan.stepCount {
      step()
      if !world.violations.isEmpty { return world.violations }
    }
    world.effectsBeforeCrash = nil
    for node in world.nodes { world.endTurn(node) }
    world.comeToRest()
    return world.violations
  }

  private mutating func step() {
    let actors = world.actors
    let node = actors[chance.below(actors.count)]
    if plan.changes > 0, chance.below(100) < plan.changes { return change(at: node) }
    if chance.below(100) < plan.removals { return remove() }
    switch chance.below(100) {
    case 0..<10: begin(at: node)
    case 10..<54: deliver()
    case 54..<64: if chance.below(40) < plan.repeats { repeatOld() }
    case 64..<82: force(node)
    case 82..<92: cutting { $0.wake(node) }
    case 92..<96: if chance.below(12) < plan.crashes { crash(node) }
    default: world.start(node)
    }
  }

  /// Often all, sometimes a part.
  private mutating func force(_ node: WorldNode) {
    let count = chance.chance(2, in: 3) ? node.resource.log.count : somewhere(node)
    cutting { $0.force(node, through: count) }
  }

  private mutating func somewhere(_ node: WorldNode) -> Int {
    chance.within(node.resource.forcedCount...node.resource.log.count)
  }

  /// Takes a step whose turn may end in a crash in the middle of its effects.
  private mutating func cutting(_ step: (World) -> Void) {
    if chance.below(60) < plan.cuts { world.effectsBeforeCrash = chance.below(5) }
    step(world)
    world.effectsBeforeCrash = nil
  }

  private mutating func begin(at node: WorldNode) {
    guard begunCount < plan.transactionCount, !node.resource.isOutside else { return }
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
    if plan.patienceMillisMax < 1_000 || chance.chance(1, in: 3) {
      request.patience = .millis(UInt64(chance.within(1...plan.patienceMillisMax)))
    }
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
    world.leavesTurnOpen = plan.sharesTurns && chance.chance(1, in: 2)
    cutting { $0.deliver(message) }
    world.leavesTurnOpen = false
  }

  private mutating func repeatOld() {
    guard !history.isEmpty else { return }
    let message = history[chance.below(history.count)]
    world.deliver(message)
  }

  private mutating func crash(_ node: WorldNode) {
    let count = chance.chance(1, in: 2) ? node.resource.forcedCount : somewhere(node)
    world.crash(node, keeping: count)
    if chance.chance(1, in: 2) { world.start(node) }
  }

  /// One member is stopped for good; the survivors hear of it one after the other.
  private mutating func remove() {
    if world.removed.isEmpty {
      guard world.live.count > (plan.changes > 0 ? 1 : 2) else { return }
      let live = world.live
      let gone = live[chance.below(live.count)]
      guard let asked = live.first(where: { $0 !== gone && $0.isUp }),
        asked.members.contains(gone.member)
      else { return }
      world.crash(gone, keeping: somewhere(gone))
      world.remove(gone.member, at: asked)
    }
    for node in world.actors where chance.chance(1, in: 2) { world.learnOfRemovals(node) }
  }

  /// Somebody joins at the node, or it asks another one to go.
  private mutating func change(at node: WorldNode) {
    guard !node.resource.isOutside else { return }
    let patience = Interval.millis(UInt64(chance.within(1...plan.patienceMillisMax)))
    let outside = world.nodes.filter { !world.removed.contains($0.member) && $0.resource.isOutside }
    if let newcomer = outside.first ?? world.nodes.last, chance.chance(2, in: 3) {
      let hadGone = world.departed.contains(newcomer.member)
      world.join(newcomer, at: node, patience: patience)
      if hadGone, !world.departed.contains(newcomer.member) {
        history.removeAll { $0.isOf(newcomer.member) }
      }
    } else {
      let others = node.members.subtracting(MemberSet([node.member]))
      guard !others.isEmpty, node.isUp else { return }
      var request = WorldNode.Request()
      request.dismisses = others.randomMember(&chance)
      request.patience = patience
      world.begin(request, at: node)
    }
  }
}

extension MemberSet {
  func randomMember(_ chance: inout Random) -> MemberID {
    let members = Array(self)
    return members[chance.below(members.count)]
  }
}
