import Base
import TPC

/// All orders of delivery, force, crash and timer of a very small world, breadth first, over the
/// real code: no state is visited twice, and from each one the quiet end must be right.
public struct SmallWorld {
  /// Which world.
  public enum Kind: Sendable {
    /// Three members, one transaction, a conflict made up at any moment, so two attempts.
    case oneTransaction
    /// Two members, each coordinating a transaction on the same key.
    case twoTransactions
  }

  /// What was found.
  public struct Report {
    public var stateCount = 0
    /// All states that can be reached with this many steps were visited.
    public var depth = 0
    /// True when there was nothing more to visit.
    public var isComplete = false
    public var violations: [String] = []
    /// The steps that lead to the violation.
    public var path: [String] = []
  }

  private struct State {
    var world: World
    var crashesLeft: Int
    var conflictsLeft: Int
    var parent: Int
  }

  private enum Step {
    case deliver(World.Message)
    case force(Int)
    case wake(Int)
    case crash(Int, keeping: Int)
    case conflict(Int)
  }

  /// Visits at most about `stateCountMax` states.
  public static func explore(_ kind: Kind, crashes: Int = 1, stateCountMax: Int) -> Report {
    var search = SmallWorld()
    return search.run(kind, crashes: crashes, stateCountMax: stateCountMax)
  }

  private var seen: Set<SipKey> = []
  private var steps: [(parent: Int, name: String)] = []

  private mutating func run(_ kind: Kind, crashes: Int, stateCountMax: Int) -> Report {
    var report = Report()
    let first = Self.first(kind)
    seen.insert(Self.digest(first, crashes, 1))
    steps.append((-1, "start"))
    var frontier = [
      State(
        world: first, crashesLeft: crashes, conflictsLeft: kind == .oneTransaction ? 1 : 0,
        parent: 0)
    ]
    while !frontier.isEmpty {
      var next: [State] = []
      for state in frontier {
        for step in Self.steps(of: state) {
          if steps.count >= stateCountMax {
            report.stateCount = steps.count
            return report
          }
          guard let reached = take(step, from: state) else { continue }
          let violations = Self.violations(of: reached.world)
          if !violations.isEmpty {
            report.violations = violations
            report.path = path(to: reached.parent)
            report.stateCount = steps.count
            return report
          }
          next.append(reached)
        }
      }
      frontier = next
      report.depth += 1
    }
    report.stateCount = steps.count
    report.isComplete = true
    return report
  }

  private func path(to index: Int) -> [String] {
    var names: [String] = []
    var at = index
    while at >= 0 {
      names.append(steps[at].name)
      at = steps[at].parent
    }
    return names.reversed()
  }

  // MARK: Steps

  private static func first(_ kind: Kind) -> World {
    let world = World(nodeCount: kind == .oneTransaction ? 3 : 2)
    var request = WorldNode.Request()
    request.writes = [0]
    request.patience = .millis(100)
    world.begin(request, at: world.node(1))
    if kind == .twoTransactions { world.begin(request, at: world.node(2)) }
    normalize(world)
    return world
  }

  private static func steps(of state: State) -> [Step] {
    var steps = state.world.network.map(Step.deliver)
    for (index, node) in state.world.nodes.enumerated() {
      if node.resource.forcedCount < node.resource.log.count { steps.append(.force(index)) }
      if node.negotiator.deadline < .never { steps.append(.wake(index)) }
      if state.crashesLeft > 0 {
        for count in node.resource.forcedCount...node.resource.log.count {
          steps.append(.crash(index, keeping: count))
        }
      }
      if state.conflictsLeft > 0 { steps.append(.conflict(index)) }
    }
    return steps
  }

  /// The state after a step; nil when it was seen before.
  private mutating func take(_ step: Step, from state: State) -> State? {
    var state = state
    state.world = World(copying: state.world)
    let world = state.world
    let name: String
    switch step {
    case .deliver(let message):
      name = "deliver \(message.from)-\(message.to)"
      world.deliver(message)
    case .force(let index):
      name = "force \(index + 1)"
      world.force(world.nodes[index])
    case .wake(let index):
      name = "wake \(index + 1)"
      world.wake(world.nodes[index])
    case .crash(let index, let count):
      name = "crash \(index + 1) keep \(count - world.nodes[index].resource.forcedCount)"
      world.crash(world.nodes[index], keeping: count)
      world.start(world.nodes[index])
      state.crashesLeft -= 1
    case .conflict(let index):
      name = "conflict at \(index + 1)"
      world.nodes[index].resource.hasConflict = true
      state.conflictsLeft -= 1
    }
    Self.normalize(world)
    guard seen.insert(Self.digest(world, state.crashesLeft, state.conflictsLeft)).inserted else {
      return nil
    }
    steps.append((state.parent, name))
    state.parent = steps.count - 1
    return state
  }

  /// The network is a set that is never emptied: any delay, loss, order and repetition.
  private static func normalize(_ world: World) {
    var seen: Set<World.Message> = []
    world.network = world.network.filter { seen.insert($0).inserted }
  }

  private static func violations(of world: World) -> [String] {
    guard world.violations.isEmpty else { return world.violations }
    let copy = World(copying: world)
    for node in copy.nodes { node.resource.hasConflict = false }
    copy.comeToRest()
    return copy.violations
  }

  private static func digest(_ world: World, _ crashes: Int, _ conflicts: Int) -> SipKey {
    var bytes = ByteBuffer()
    bytes.append(UInt8(crashes))
    bytes.append(UInt8(conflicts))
    world.digest(into: &bytes)
    return SipKey(
      k0: SipHash.hash24(bytes.bytes, key: SipKey(k0: 1, k1: 2)),
      k1: SipHash.hash24(bytes.bytes, key: SipKey(k0: 3, k1: 4)))
  }
}
