import Base
import NetKit
import Node
import Store
import TPC

/// One node over all its lives: starts it, gives it turns, ends it, and starts it again.
final class SimNode {
  /// How a death leaves the machine.
  enum Death {
    /// The process is killed; the page cache stays.
    case kill
    case powerLoss(Survival)
  }

  private unowned let world: World
  private let swarm: Swarm
  /// Its place among the nodes of the world.
  let index: Int
  private(set) var part: NodePart
  private var chance: Random
  let directory: SimDirectory
  /// What must be on its disk.
  let logPrefix = LogPrefix()
  let endpoint: Endpoint
  /// The wall clock of its machine.
  var clock: SimClock

  /// When another node took its place.
  var replacedAt = Instant.never

  private(set) var port: SimPort?
  private(set) var process: (any SimProcess)?
  private var timing: SimDiskTiming?
  private let secret: UInt64

  /// Raised with each life, so that what was planned for an earlier one is recognised.
  private(set) var life: UInt64 = 0
  private var plannedTurn = Instant.never
  private var lastWord: LastWord?
  private var busyUntil = Instant.zero
  private var wanted = Instant.never
  private var died: Death = .kill
  private(set) var deathCount = 0
  private(set) var powerLossCount = 0
  private(set) var cleanStopCount = 0
  private(set) var faultStopCount = 0
  private(set) var turnCount: UInt64 = 0
  private(set) var flippedBitCount = 0
  private var roundCount: UInt64 = 0
  private var retryCount: UInt64 = 0
  private var abortCount: UInt64 = 0
  private var inquiryCount: UInt64 = 0
  /// It was asked to stop in this life.
  private var isAskedToStop = false
  private var lastMembership: MembershipView?
  /// Whom it asks to be taken in.
  private weak var donor: SimNode?

  init(world: World, swarm: Swarm, index: Int, part: NodePart, seed: UInt64) {
    self.world = world
    self.swarm = swarm
    self.index = index
    self.part = part
    chance = Random(seed: seed)
    clock = SimClock(partsPerMillion: index % 2 == 0 ? swarm.driftPartsPerMillion : 0)
    directory = SimDirectory(seed: chance.next())
    secret = chance.next()
    endpoint = Endpoint(ipv4: swarm.network.prefix | 1, port: UInt16(9_099 + index))
    directory.observer = { [unowned world] call, name, amount in
      world.trace.note("disk", at: world.now, UInt64(call.rawValue), amount, "\(call) \(name)")
    }
  }

  var isUp: Bool { process != nil }

  // MARK: A life

  func start() {
    invariant(process == nil, "a node is started when it is down")
    if swarm.flipsBits { flipBits() }
    life += 1
    isAskedToStop = false
    world.trace.note("node starts", at: world.now, life, UInt64(index))
    let life = life
    let port = SimPort(network: world.network, endpoint: endpoint) { [unowned self] deadline in
      wanted = deadline
      return moment
    }
    port.observer = { [unowned world] kind, link, bytes in
      world.trace.note(kind, at: world.now, link, UInt64(bytes.count))
      world.trace.fold(bytes)
    }
    let timing = SimDiskTiming(scheduler: world, seed: chance.next(), swarm: swarm)
    port.wake = { [unowned self] in if life == self.life { planTurn(world.now) } }
    timing.wake = port.wake
    timing.breach = { [unowned world] in world.fail("prefix", $0) }
    port.sendDatagram = { [unowned world] in world.reply($0, to: $1) }
    world.mesh?.attach(port, of: index)
    self.port = port
    self.timing = timing
    wanted = .never
    plannedTurn = .never
    busyUntil = world.now
    if !world.isEnding { planFaults() }
    process = world.makeProcess(
      ProcessParts(
        port: port, directory: directory, logPrefix: logPrefix, diskTiming: timing, swarm: swarm,
        seed: chance.next(), secret: secret, member: memberParts,
        log: { [unowned self] in world.trace.note("says", at: world.now, UInt64(index), 0, $0) }))
    planTurn(world.now)
    world.noteStart(of: index)
  }

  private func flipBits() {
    let (count, breach) = FlippedBits(directory: directory, logPrefix: logPrefix).run(&chance)
    flippedBitCount += count
    if let breach { world.fail("flipped bit", breach) }
  }

  private var memberParts: MemberParts? {
    world.mesh.map {
      MemberParts(
        index: index, count: swarm.memberCount, mesh: $0,
        endpoints: world.nodes.prefix(swarm.memberCount).map(\.endpoint), joining: drawTarget())
    }
  }

  /// Whom a joiner asks: at each start another one, perhaps.
  private func drawTarget() -> JoinTarget? {
    guard case .joiner(let id) = part else { return nil }
    let others = world.nodes.filter { $0 !== self }
    let asked = others.filter { $0.part.isInPlay && $0.isInside }
    guard let donor = chance.pick(asked) ?? chance.pick(others),
      let name = (try? MemberList("1=\(donor.endpoint)"))?.entries[0]
    else { return nil }
    self.donor = donor
    return JoinTarget(
      host: name.host, port: name.port, endpoints: [donor.endpoint], id: id,
      address: "\(endpoint)")
  }

  /// A message of another member arrives, if somebody is there.
  func take(_ message: [UInt8], from sender: Int) {
    guard let process else { return }
    process.take(message, from: sender)
    planTurn(world.now)
  }

  /// Sends a negotiator's message; true when the machine ends with it.
  func endsSaying(_ message: ArraySlice<UInt8>) -> Bool {
    guard lastWord?.isSaid(by: message) == true, !world.isEnding, !directory.isDead else {
      return false
    }
    died = drawDeath()
    directory.die()
    return true
  }

  /// What it holds and waits for; nil while it is down.
  var memberView: MemberView? { process?.memberView }

  /// What it knows of the list of members, or knew when it was up last.
  var membership: MembershipView? { process?.membershipView ?? lastMembership }

  /// It is a member as far as it knows.
  var isInside: Bool { membership?.isInside ?? false }

  private func planTurn(_ instant: Instant) {
    let instant = max(instant, busyUntil)
    guard instant < plannedTurn else { return }
    plannedTurn = instant
    let life = life
    world.at(instant) { [self] in
      guard life == self.life, plannedTurn == instant else { return }
      plannedTurn = .never
      turn()
    }
  }

  private func turn() {
    guard let process, let port, let timing else { return }
    turnCount += 1
    let before = port.activity &+ timing.activity
    wanted = .never
    let state = process.turn(at: moment)
    let wasActive = port.activity &+ timing.activity != before
    world.trace.note("turn", at: world.now, life, wasActive ? 1 : 0)
    if directory.isDead { return die() }
    if case .stopped(let kind, let reason) = state { return stopped(kind, reason) }
    // After a turn that did something the node is asked again what it waits for.
    busyUntil = world.now + .micros(UInt64(5 + chance.below(40)))
    if !world.isEnding, chance.chance(swarm.stallsInThousand, in: 1_000) {
      busyUntil = world.now + .millis(UInt64(chance.below(1_500)))
    }
    if wasActive || port.hasItems {
      planTurn(busyUntil)
    } else if wanted != .never {
      planTurn(max(wanted, busyUntil))
    }
  }

  private var moment: Moment {
    Moment(instant: world.now, wallNanos: clock.nanos(at: world.now))
  }

  // MARK: Ends

  /// Draws when this life ends, and whether a call fails within it.
  private func planFaults() {
    let inRecovery = chance.chance(swarm.diesInRecoveryInThousand, in: 1_000)
    let endsSpeaking = chance.chance(swarm.lastWordsInThousand, in: 1_000)
    lastWord = endsSpeaking ? LastWord(&chance) : nil
    if inRecovery {
      died = drawDeath()
      directory.effectsUntilDeath = 1 + chance.below(20)
    } else if swarm.deathsAtEffects, chance.chance(1, in: 2) {
      died = drawDeath()
      directory.effectsUntilDeath = 1 + chance.below(chance.chance(1, in: 3) ? 100 : 2_000)
    }
    if swarm.callsBetweenFailures > 0 {
      directory.failsForcesOnly = swarm.failsForcesOnly
      let calls =
        swarm.failsForcesOnly ? swarm.callsBetweenFailures / 8 : swarm.callsBetweenFailures
      directory.callsUntilFailure = 1 + chance.below(calls)
    }
    let life = life
    let mean = swarm.secondsBetweenDeaths * 1_000
    world.at(world.now + .millis(UInt64(1 + chance.below(2 * mean)))) { [self] in
      if life == self.life, process != nil, !world.isEnding { endLife() }
    }
  }

  private func drawDeath() -> Death {
    if swarm.killsProcess, !swarm.losesPower || chance.chance(1, in: 2) { return .kill }
    return .powerLoss(Survival.allCases[chance.below(Survival.allCases.count)])
  }

  /// The world ends this life now, between two effects.
  private func endLife() {
    if swarm.stopsCleanly, chance.chance(1, in: 3) {
      world.trace.note("asked to stop", at: world.now, life)
      isAskedToStop = true
      process!.requestStop()
      return planTurn(world.now)
    }
    died = drawDeath()
    directory.die()
    die()
  }

  /// It joins at a member that is none any more, so that it has to be started again with another one.
  var waitsInVain: Bool {
    guard case .joiner = part, isUp, !isInside else { return false }
    return donor.map { !$0.part.isInPlay || !$0.isInside } ?? true
  }

  /// The process is killed, to be started again.
  func kill() {
    died = .kill
    directory.die()
    die()
  }

  /// The machine ends and stays away.
  func loseForGood() {
    world.trace.note("lost for good", at: world.now, UInt64(index))
    part = .lost
    guard process != nil else { return }
    died = drawDeath()
    directory.die()
    die()
  }

  /// The machine or the process is gone.
  private func die() {
    deathCount += 1
    directory.die()
    var tellsOthers = true
    if case .powerLoss = died { tellsOthers = chance.chance(1, in: 4) }
    takeDown(tellsOthers: tellsOthers)
    switch died {
    case .kill:
      directory.restart()
      world.noteLoss(since: logPrefix.loseProcess())
    case .powerLoss(let survival):
      powerLossCount += 1
      directory.losePower(survival)
      checkAge()
      world.noteLoss(since: logPrefix.losePower())
    }
    world.trace.note("node dies", at: world.now, life, 0, "\(died)")
    planStart()
  }

  /// `every-second` keeps its word: nothing has waited longer than a second and what the disk and the
  /// loop may take.
  private func checkAge() {
    guard swarm.durability == .everySecond, swarm.fullDiskEverySeconds == 0 else { return }
    let disk = swarm.slowDiskInThousand > 0 ? 2_000_000 : swarm.diskMicrosMax
    let stall = swarm.stallsInThousand > 0 ? 1_500_000 : 0
    let bound = Interval.micros(UInt64(1_000_000 + 2 * (disk + stall) + 100_000))
    let age = logPrefix.age(at: world.now)
    if age > bound {
      world.fail("every-second", "a record was not forced for \(age.nanos / 1_000) us")
    }
  }

  /// The process ended by itself.
  private func stopped(_ kind: StopKind, _ reason: String) {
    world.trace.note("node stops", at: world.now, life, 0, reason)
    takeDown(tellsOthers: true)
    directory.restart()
    switch kind {
    case .requested:
      cleanStopCount += 1
      logPrefix.close()
      if !isAskedToStop { part = .out }
    case .refused:
      world.noteLoss(since: logPrefix.loseProcess())
      part = .out
    case .diskFailed:
      world.noteLoss(since: logPrefix.loseProcess())
      faultStopCount += 1
      // On a full disk a new directory cannot be begun.
      let isBegun = directory.fullCount == 0 || !logPrefix.isEmpty
      if directory.failureCount == 0, isBegun {
        world.fail("recovery", "stopped with no fault: \(reason)")
      }
    case .damaged, .other: return world.fail("recovery", "cannot go on: \(reason)")
    }
    if !part.isInPlay { world.noteEnd(of: self, kind, reason) }
    planStart()
  }

  /// Asks what the member has done and heard in this life, which ends now.
  func concludeMembership() {
    lastMembership = membership
    guard let view = memberView else { return }
    roundCount += view.counters.begun
    retryCount += view.counters.retried
    abortCount += view.counters.aborted
    inquiryCount += view.counters.inquiries
    if let text = Contradictions.text(view, of: index) { world.fail("contradictions", text) }
  }

  private func takeDown(tellsOthers: Bool) {
    concludeMembership()
    port?.die(tellsOthers: tellsOthers)
    // Nothing that the process does while it is taken apart may reach the medium.
    directory.die()
    process = nil
    port = nil
    timing = nil
    life += 1
  }

  private func planStart() {
    let pause = world.isEnding ? 50 : chance.below(swarm.downMillisMax + 1)
    world.at(world.now + .millis(UInt64(pause))) { [self] in
      if process == nil, part.isInPlay { start() }
    }
  }

  /// No more faults: this life goes on to the end.
  func stopFaults() {
    directory.effectsUntilDeath = nil
    directory.callsUntilFailure = nil
    directory.capacity = .max
    timing?.slowInThousand = 0
  }

  func count(into statistics: inout SimulationStatistics) {
    statistics.turns += turnCount
    statistics.deaths += deathCount
    statistics.powerLosses += powerLossCount
    statistics.cleanStops += cleanStopCount
    statistics.faultStops += faultStopCount
    statistics.diskFaults += directory.failureCount + directory.fullCount
    statistics.diskEffects += directory.effectCount
    statistics.flippedBits += flippedBitCount
    statistics.rounds += roundCount
    statistics.retries += retryCount
    statistics.aborts += abortCount
    statistics.inquiries += inquiryCount
  }
}
