import Base
import NetKit
import Store
import TPC

/// One run: a node or the members of a cluster, each with a disk and a clock, their clients and a
/// network, all decided by one seed.
///
/// First a phase of faults, in which whatever was acknowledged must hold; then the faults stop, and
/// within a bound every call must end and every last reading fit.
final class World: Scheduler {
  let swarm: Swarm
  let trace: Trace
  private(set) var now = Instant.zero
  private var heap = EventHeap()
  private var chance: Random
  private(set) var network: SimNetwork!
  /// One node, or the members of a cluster and who may join it.
  private(set) var nodes: [SimNode] = []
  /// Nodes in whose places others have come.
  private var formerNodes: [SimNode] = []
  /// Carries the members' messages; nil: there is one node.
  private(set) var mesh: Mesh?
  /// Who is a member; nil: the list stays as it is.
  private var roster: Roster?
  private(set) var workload: Workload!
  private(set) var once: ExactlyOnce!
  private(set) var ledgers: Ledgers!
  private(set) var bounds: Bounds!
  private var streamClients: [StreamClient] = []
  private var datagramClients: [DatagramClient] = []
  private var clientSkewMillis: [Int64] = []
  /// Builds one life of the node.
  let makeProcess: (ProcessParts) -> any SimProcess

  /// The faults have stopped.
  private(set) var isEnding = false
  /// What went wrong first.
  private(set) var failure: String?

  /// Within what time of the faults' end everything must be done.
  private let livenessBound = Interval.seconds(120)

  /// Where nothing is slow the faults stop after so many steps.
  private let safetyStepCountMax: UInt64 = 1_000_000
  /// More than any run needs after that: a node that works without end is found too.
  private let stepCountMax: UInt64 = 1_500_000

  init(
    swarm: Swarm, prints: Bool = false, makeProcess: @escaping (ProcessParts) -> any SimProcess
  ) {
    self.swarm = swarm
    self.makeProcess = makeProcess
    trace = Trace(prints: prints)
    chance = Random(seed: swarm.seed)
    network = SimNetwork(scheduler: self, seed: chance.next(), faults: swarm.network)
    once = ExactlyOnce(world: self, swarm: swarm)
    ledgers = Ledgers(world: self, swarm: swarm)
    bounds = Bounds(world: self, swarm: swarm)
    makeNodes()
    workload = Workload(world: self, swarm: swarm, seed: chance.next())
    makeClients()
  }

  private func makeNodes() {
    let count = swarm.memberCount + swarm.membership.spareCount
    for index in 0..<count {
      let part = index < swarm.memberCount ? NodePart.first : .spare
      nodes.append(
        SimNode(world: self, swarm: swarm, index: index, part: part, seed: chance.next()))
    }
    guard swarm.memberCount > 1 else { return }
    mesh = Mesh(world: self, count: count, seed: chance.next(), faults: swarm.mesh)
    if swarm.membership.areOn { roster = Roster(world: self, seed: chance.next()) }
  }

  /// Puts a process that joins, with an empty directory, in the place of a node that is not in play.
  func install(at index: Int, as id: MemberID?, seed: UInt64) {
    invariant(!nodes[index].part.isInPlay, "a machine has one process")
    nodes[index].replacedAt = now
    formerNodes.append(nodes[index])
    mesh?.installed(at: index)
    nodes[index] = SimNode(
      world: self, swarm: swarm, index: index, part: .joiner(id), seed: seed)
    nodes[index].start()
  }

  /// A node has ended by itself for good.
  func noteEnd(of node: SimNode, _ kind: StopKind, _ reason: String) {
    guard let roster else { return fail("recovery", "a node has stopped by itself: \(reason)") }
    roster.noteEnd(of: node, kind, reason)
  }

  private func makeClients() {
    for index in 0..<swarm.streamClientCount {
      streamClients.append(StreamClient(world: self, index: index, seed: chance.next()))
    }
    for index in 0..<swarm.datagramClientCount {
      datagramClients.append(
        DatagramClient(world: self, index: swarm.streamClientCount + index, seed: chance.next()))
    }
    for _ in 0..<swarm.streamClientCount + swarm.datagramClientCount {
      let skew = swarm.clientSkewMillisMax
      clientSkewMillis.append(Int64(chance.within(-skew...skew)))
    }
  }

  // MARK: Running

  func at(_ instant: Instant, _ body: @escaping () -> Void) { heap.add(instant, body) }

  func run() {
    for node in nodes where node.part.isInPlay { node.start() }
    roster?.start()
    for client in streamClients { client.start() }
    for client in datagramClients { client.start() }
    planClockStep()
    planFullDisk()
    mesh?.planCut()
    at(ending) { [self] in if !isEnding { stopFaults() } }
    let bound = ending + livenessBound
    while failure == nil, let (instant, body) = heap.pop() {
      now = instant
      if now > bound || trace.step > stepCountMax { return failLiveness() }
      body()
      if !isEnding, trace.step > safetyStepCountMax { stopFaults() }
      if isEnding, isDone { break }
    }
    if failure == nil, !isDone { failLiveness() }
  }

  private func stopFaults() {
    trace.note("faults stop", at: now)
    isEnding = true
    network.faults.lossInThousand = 0
    network.faults.repeatInThousand = 0
    network.faults.damageInThousand = 0
    network.faults.resetInThousand = 0
    network.faults.lateInThousand = 0
    network.faults.windowByteCount = 1 << 20
    mesh?.stopFaults()
    for node in nodes { node.stopFaults() }
    workload.retireAll()
    planAudit()
  }

  /// Once the groups are judged, every id is asked for and every ledger read.
  private func planAudit() {
    at(now + .millis(100)) { [self] in
      guard workload.isDone else { return planAudit() }
      isAudited = true
      streamClients[0].audit(once.records, ledgers.all)
      if mesh == nil { isAtRest = true } else { planRest() }
    }
  }

  private var isAudited = false

  private var isDone: Bool {
    isAudited && workload.isDone && streamClients.allSatisfy(\.isDone)
      && datagramClients.allSatisfy(\.isDone) && isAtRest
  }

  // MARK: Members

  /// What the members have still open, as it was looked at last.
  private var unrest: String?
  private var isAtRest = false

  /// Once all clients are done the members come to rest, and then hold the same.
  private func planRest() {
    at(now + .millis(100)) { [self] in
      let members = nodes.filter(\.part.isInPlay)
      let views = members.map(\.memberView)
      unrest = roster?.unrest ?? EqualMembers.unrest(views)
      if unrest != nil { return planRest() }
      isAtRest = true
      for node in members { node.concludeMembership() }
      if let text = EqualMembers.difference(views) { fail("equal members", text) }
    }
  }

  /// Until when a call that its client gave up now can still have an effect: in a cluster, while a
  /// member is away or cut off.
  var effectEnd: Instant {
    mesh == nil ? now + .seconds(4) : max(now, ending) + .seconds(15)
  }

  /// The bounds between which the nodes' hybrid clocks have judged: members take over each other's.
  func clockBounds(from start: Instant, to end: Instant) -> ClosedRange<Int64> {
    let all = nodes + formerNodes
    let present = all.filter { $0.replacedAt >= start }
    let least = present.map { $0.clock.bounds(from: start, to: end).lowerBound }.min()
    let greatest = all.map { $0.clock.bounds(from: start, to: end).upperBound }.max()
    guard let least, let greatest else { invariantFailed("a world has nodes") }
    return least...greatest
  }

  private var ending: Instant { .zero + .seconds(UInt64(swarm.safetySeconds)) }

  private func failLiveness() {
    unrest = mesh.flatMap { _ in
      roster?.unrest ?? EqualMembers.unrest(nodes.filter(\.part.isInPlay).map(\.memberView))
    }
    let open = workload.groups.map { "\($0.name): \($0.stage), \($0.openCount) open" }
    fail(
      "liveness",
      "not done after \(trace.step) steps of at most \(stepCountMax), at \(now), with "
        + "\(livenessBound.millis / 1_000) s after the faults; up: \(nodes.map(\.isUp)); "
        + "\(open.joined(separator: "; "))\(unrest.map { "; \($0)" } ?? "")")
  }

  /// What this run came to, for `Simulation`.
  var result: SimulationResult {
    var statistics = SimulationStatistics()
    statistics.millis = now.nanos / 1_000_000
    statistics.steps = trace.step
    for node in nodes + formerNodes { node.count(into: &statistics) }
    mesh?.count(into: &statistics)
    roster?.count(into: &statistics)
    statistics.calls = workload.callCount
    statistics.refusedCalls = workload.refusedCount
    statistics.unknownCalls = workload.unknownCount
    statistics.resentCalls = once.resentCount
    statistics.networkFaults +=
      network.lostCount + network.repeatedCount + network.damagedCount + network.resetCount
    statistics.clockSteps = clockStepCount
    statistics.losses = losses.count
    statistics.histories = workload.checkedCount
    statistics.undecidedHistories = workload.undecidedCount
    return SimulationResult(
      seed: swarm.seed, hash: trace.hash, failure: failure, statistics: statistics)
  }

  func fail(_ oracle: String, _ text: String) {
    if failure == nil {
      failure = "\(oracle), step \(trace.step), \(Trace.text(now)) s: \(text)"
      trace.note("failure", at: now, 0, 0, text)
    }
  }

  // MARK: Losses

  /// Deaths of the node that may have taken back what was acknowledged; none with `always`.
  private(set) var losses: [Loss] = []

  func noteLoss(since floor: Instant) {
    if swarm.isWeak { losses.append(Loss(instant: now, floor: floor)) }
  }

  // MARK: Troubles of the machine

  private func planClockStep() {
    guard swarm.secondsBetweenSteps > 0 else { return }
    let pause = 1 + chance.below(2_000 * swarm.secondsBetweenSteps)
    at(now + .millis(UInt64(pause))) { [self] in
      guard !isEnding else { return }
      let most = swarm.stepSecondsMax * 1_000
      let step = Int64(chance.within(-most...most)) * 1_000_000
      nodes[chance.below(nodes.count)].clock.step(by: step, at: now)
      clockStepCount += 1
      trace.note("clock steps", at: now, UInt64(bitPattern: step))
      planClockStep()
    }
  }

  private(set) var clockStepCount = 0

  private func planFullDisk() {
    guard swarm.fullDiskEverySeconds > 0 else { return }
    let pause = 1 + chance.below(2_000 * swarm.fullDiskEverySeconds)
    at(now + .millis(UInt64(pause))) { [self] in
      guard !isEnding else { return }
      let free = chance.below(1 << 20)
      let node = nodes[chance.below(nodes.count)]
      // Who has no data yet cannot begin on a full disk.
      guard roster == nil || node.isInside else { return planFullDisk() }
      node.directory.capacity = node.directory.usedByteCount + free
      trace.note("disk has left", at: now, UInt64(free))
      at(now + .millis(UInt64(1 + chance.below(2_000)))) { [self] in
        node.directory.capacity = .max
        trace.note("disk has room", at: now)
        planFullDisk()
      }
    }
  }

  // MARK: For clients

  func makeID(client: Int) -> OperationID {
    let millis = nodes[0].clock.trueMillis(at: now) + clientSkewMillis[client]
    return OperationID(unixMillis: millis, random: chance.next(), chance.next())
  }

  /// The longest pause between two requests of a client.
  var thinkMicrosMax: Int { isEnding ? 2_000 : swarm.thinkMicrosMax }

  /// How long a client waits before it gives a stream or a request up.
  func patience(_ chance: inout Random) -> Interval {
    isEnding ? .seconds(10) : .millis(UInt64(50 + chance.below(swarm.clientPatienceMillisMax)))
  }

  /// A number for a new stream, from 1.
  func makeStreamNumber() -> Int {
    streamCount += 1
    return streamCount
  }

  private var streamCount = 0

  /// The node that a client talks to next: any member, often the one that has started last, which
  /// is the likeliest to be wrong.
  func drawNode(_ chance: inout Random) -> Int {
    guard nodes.count > 1 else { return 0 }
    let node = chance.chance(1, in: 3) ? newest : chance.below(nodes.count)
    if nodes[node].part.isInPlay { return node }
    return chance.pick(nodes.filter(\.part.isInPlay))?.index ?? node
  }

  /// The member that has started last.
  private var newest = 0

  func noteStart(of node: Int) {
    newest = node
    mesh?.started(node)
  }

  /// Opens a stream to a node; to nothing when it is down.
  func connect(
    _ user: any StreamUser, to node: Int, from endpoint: Endpoint
  ) -> ClientStream {
    ClientStream(network: network, to: nodes[node].port, from: endpoint, user: user)
  }

  /// Sends a datagram to a node; `receive` is given what comes back.
  func send(
    _ datagram: [UInt8], to node: Int, from endpoint: Endpoint,
    receive: @escaping ([UInt8]) -> Void
  ) {
    trace.note("datagram", at: now, UInt64(endpoint.port), UInt64(datagram.count))
    network.carry(datagram) { [self] bytes in
      guard let port = nodes[node].port else { return }
      port.arrive(datagram: bytes, from: endpoint)
    }
    receivers[endpoint] = receive
  }

  private var receivers: [Endpoint: ([UInt8]) -> Void] = [:]

  /// Carries a datagram of the node's.
  func reply(_ datagram: [UInt8], to endpoint: Endpoint) {
    guard let receive = receivers[endpoint] else { return }
    network.carry(datagram) { receive($0) }
  }
}
