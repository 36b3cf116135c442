import Base

/// What one run came to.
public struct SimulationResult: Sendable {
  /// The seed that decided everything.
  public var seed: UInt64
  /// The hash of all that happened: equal for equal seeds and equal code.
  public var hash: UInt64
  /// Which oracle objected, at which step, to what; nil: none did.
  public var failure: String?
  /// What was simulated.
  public var statistics: SimulationStatistics
}

/// What one run, or many together, simulated.
public struct SimulationStatistics: Sendable, Equatable {
  /// Virtual time.
  public var millis: UInt64 = 0
  /// Traced happenings and turns of the node.
  public var steps: UInt64 = 0
  /// Turns of the node's loop.
  public var turns: UInt64 = 0
  /// Calls of clients, and of those the ones refused and the ones whose outcome stayed unknown.
  public var calls = 0
  /// Calls that were refused without effect.
  public var refusedCalls = 0
  /// Calls whose outcome stayed unknown.
  public var unknownCalls = 0
  /// Copies of calls long ended.
  public var resentCalls = 0
  /// Ends of the node: by power loss or kill, of those by power loss, as asked, by a disk fault.
  public var deaths = 0
  /// Ends of the node by loss of power.
  public var powerLosses = 0
  /// Ends of the node as asked.
  public var cleanStops = 0
  /// Ends of the node by a failed disk.
  public var faultStops = 0
  /// Ends of a node of weak durability, which may have taken back what was acknowledged.
  public var losses = 0
  /// Failed calls and writes to a full disk.
  public var diskFaults = 0
  /// Effects on the disk.
  public var diskEffects: UInt64 = 0
  /// Datagrams lost, repeated and damaged, and streams reset.
  public var networkFaults = 0
  /// Steps of the node's clock.
  public var clockSteps = 0
  /// Histories that the linearizability checker judged, and those that it gave up.
  public var histories = 0
  /// Histories that the checker gave up.
  public var undecidedHistories = 0
  /// Bits flipped to see whether damage is found.
  public var flippedBits = 0
  /// Runs of a cluster, and messages between members.
  public var clusters = 0
  /// Messages between members.
  public var messages = 0
  /// Transactions of members, further attempts of them, those aborted, and inquiries about them.
  public var rounds: UInt64 = 0
  /// Attempts after the first.
  public var retries: UInt64 = 0
  /// Transactions that were aborted.
  public var aborts: UInt64 = 0
  /// Inquiries about transactions in doubt.
  public var inquiries: UInt64 = 0
  /// Processes that have joined, members that were removed by agreement and by force, and processes
  /// that were refused.
  public var joins = 0
  /// Members removed by agreement.
  public var removals = 0
  /// Members removed by force.
  public var forcedRemovals = 0
  /// Processes that were not taken in.
  public var refusedJoins = 0
  /// Short runs of the negotiator alone.
  public var shortRuns = 0

  /// The checker gave up more histories than one, and more than one in a thousand: then passing says
  /// too little, and the run fails.
  public var givesUpTooOften: Bool { undecidedHistories > 1 + histories / 1_000 }

  /// Nothing yet.
  public init() {}

  /// Adds another run's.
  public static func += (a: inout SimulationStatistics, b: SimulationStatistics) {
    a.millis += b.millis
    a.steps += b.steps
    a.turns += b.turns
    a.calls += b.calls
    a.refusedCalls += b.refusedCalls
    a.unknownCalls += b.unknownCalls
    a.resentCalls += b.resentCalls
    a.deaths += b.deaths
    a.powerLosses += b.powerLosses
    a.cleanStops += b.cleanStops
    a.faultStops += b.faultStops
    a.losses += b.losses
    a.diskFaults += b.diskFaults
    a.diskEffects += b.diskEffects
    a.networkFaults += b.networkFaults
    a.clockSteps += b.clockSteps
    a.histories += b.histories
    a.undecidedHistories += b.undecidedHistories
    a.flippedBits += b.flippedBits
    a.clusters += b.clusters
    a.messages += b.messages
    a.rounds += b.rounds
    a.retries += b.retries
    a.aborts += b.aborts
    a.inquiries += b.inquiries
    a.joins += b.joins
    a.removals += b.removals
    a.forcedRemovals += b.forcedRemovals
    a.refusedJoins += b.refusedJoins
    a.shortRuns += b.shortRuns
  }

  /// All troubles that were drawn and happened.
  public var faults: Int {
    deaths + faultStops + diskFaults + networkFaults + clockSteps + flippedBits
  }

  /// Simulated time in hours, with two digits behind the point.
  public var hours: String {
    let hundredths = millis / 36_000
    let rest = hundredths % 100
    return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
  }

  /// A few lines for people.
  public var text: String {
    """
    figure: simulated \(hours) h with \(faults) faults
    \(steps) steps, \(turns) turns
    calls \(calls): \(refusedCalls) refused, \(unknownCalls) unknown, \(resentCalls) sent again later
    ends of the node: \(deaths) deaths (\(powerLosses) of power), \(cleanStops) as asked, \
    \(faultStops) by a disk fault; \(losses) of weak durability
    faults: \(diskFaults) of the disk in \(diskEffects) effects, \(networkFaults) of the network, \
    \(clockSteps) steps of the clock, \(flippedBits) flipped bits
    clusters: \(clusters), \(messages) messages between members; \(rounds) transactions, \
    \(retries) attempts after the first, \(aborts) aborted, \(inquiries) inquiries
    members: \(joins) have joined, \(refusedJoins) were refused; \(removals) left by agreement, \
    \(forcedRemovals) by force
    short runs of the negotiator alone: \(shortRuns)
    histories judged: \(histories), of those given up: \(undecidedHistories)
    """
  }
}

/// Runs seeds.
public enum Simulation {
  /// Runs one seed to its end; with `prints`, every step is a line on standard output.
  ///
  /// - Parameter members: how many there are, 1 for a node alone; nil: the seed draws it.
  public static func run(seed: UInt64, members: Int? = nil, prints: Bool = false)
    -> SimulationResult
  {
    let swarm = Swarm(seed: seed, memberCount: members)
    let world = World(swarm: swarm, prints: prints) { HostProcess($0) }
    world.run()
    return world.result
  }
}
