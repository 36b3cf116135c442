import Base

/// What all clients do together: groups of keys, the calls on them, and their histories.
final class Workload {
  private let swarm: Swarm
  private unowned let world: World
  private var chance: Random
  private(set) var groups: [Group] = []
  /// Names of closed groups whose keys are still to be removed.
  private var litter: [Group] = []
  private var flushes: [Flush] = []
  private var groupSerial = 0
  private var callSerial = 0
  private var valueSerial = 0
  private var ticketSerial = 0
  private(set) var checkedCount = 0
  private(set) var undecidedCount = 0
  private(set) var callCount = 0
  private(set) var unknownCount = 0
  private(set) var refusedCount = 0

  init(world: World, swarm: Swarm, seed: UInt64) {
    self.world = world
    self.swarm = swarm
    chance = Random(seed: seed)
    for _ in 0..<swarm.groupCount { addGroup() }
  }

  private func addGroup() {
    var kinds = GroupKind.allCases
    if !swarm.usesExpiry { kinds.removeAll { $0 == .fleeting } }
    groupSerial += 1
    let kind = kinds[chance.below(kinds.count)]
    let group = Group(name: "\(kind)\(groupSerial)", kind: kind)
    groups.append(group)
    flushes.removeAll { $0.effectUntil.map { $0 < world.now } ?? false }
    for flush in flushes {
      let call = openFlush(flush, on: group)
      if flush.effectUntil != nil { finish(call, .unknown) }
    }
  }

  // MARK: Planning

  /// The next call of a client; nil when every group is closing.
  func next(client: Int, overDatagrams: Bool) -> OpenCall? {
    if let call = finalCall(client) { return call }
    let active = groups.filter { $0.stage == .active }
    guard !active.isEmpty else { return nil }
    let group = active[chance.below(active.count)]
    let commands = commands(for: group)
    let isTransaction = commands.count > 1 || chance.chance(1, in: 20)
    let changes = commands.contains(where: \.changes)
    // Over UDP every change carries an id.
    let isCounted = group.kind == .counter || group.kind == .journal
    let named = changes && (overDatagrams || isCounted || chance.chance(1, in: 4))
    let call = open(
      group, client, commands, isTransaction, id: named ? world.makeID(client: client) : nil)
    if group.history.calls.count >= swarm.callsPerGroupMax { retire(group) }
    return call
  }

  /// A read that goes with a call in one message: of the call's group, or of another one.
  func read(client: Int, beside call: OpenCall, _ chance: inout Random) -> OpenCall {
    var group = call.group
    let active = groups.filter { $0.stage == .active }
    if !active.isEmpty, chance.chance(1, in: 3) { group = active[chance.below(active.count)] }
    let command = SimCommand(slot: chance.below(group.history.keyCount), verb: .get)
    return open(group, client, [command], false, id: nil)
  }

  /// Opens a call and notes its beginning.
  private func open(
    _ group: Group, _ client: Int, _ commands: [SimCommand], _ isTransaction: Bool,
    id: OperationID?, tickets: [Int] = []
  ) -> OpenCall {
    callSerial += 1
    callCount += 1
    var call = Call(
      serial: callSerial, client: client, commands: commands, isTransaction: isTransaction,
      tickets: tickets, id: id, invoked: world.now)
    call.isAmongMembers = world.mesh != nil
    group.openCount += 1
    return OpenCall(
      group: group, index: group.history.begin(call), id: id, isTransaction: isTransaction,
      commands: commands)
  }

  /// Another FLUSHALL may begin: each that may yet have its effect is a call of unknown outcome on
  /// every group to come, and of those a group has few (`unknownCountMax`).
  var mayFlush: Bool {
    flushes.count { $0.effectUntil.map { $0 >= world.now } ?? true } < Self.flushCountMax
  }

  private static let flushCountMax = 3

  /// A call of FLUSHALL is one on every group that is not yet judged.
  func openFlush(client: Int, stream: Int) -> Flush {
    let flush = Flush(client: client, stream: stream)
    for group in groups { _ = openFlush(flush, on: group) }
    flushes.append(flush)
    return flush
  }

  private func openFlush(_ flush: Flush, on group: Group) -> OpenCall {
    let command = SimCommand(slot: 0, verb: .flush)
    let call = open(group, flush.client, [command], false, id: nil)
    call.attempts = 1
    call.stream = flush.stream
    flush.calls.append(call)
    return call
  }

  func finish(_ flush: Flush, _ outcome: CallOutcome) {
    flush.effectUntil = outcome == .unknown ? world.effectEnd : world.now
    for call in flush.calls { finish(call, outcome) }
    flush.calls.removeAll()
  }

  private func commands(for group: Group) -> [SimCommand] {
    switch group.kind {
    case .register: return [command(slot: 0, group)]
    case .counter:
      if chance.chance(1, in: 3) { return [SimCommand(slot: 0, verb: .get)] }
      return [SimCommand(slot: 0, verb: .increment(Int64(chance.within(1...5))))]
    case .journal:
      if chance.chance(1, in: 3) { return [SimCommand(slot: 0, verb: .get)] }
      return [SimCommand(slot: 0, verb: .append(token()))]
    case .bundle:
      // Versions are read and compared alone: all writes of one transaction share theirs.
      if chance.chance(1, in: 4) { return [command(slot: chance.below(3), group)] }
      if chance.chance(1, in: 3) { return crossing(chance.below(3)) }
      return (0..<chance.within(2...5)).map { _ in plainCommand(slot: chance.below(3)) }
    case .fleeting: return [fleetingCommand(group)]
    case .watched: return [watchedCommand()]
    }
  }

  /// Reads one key and changes another: of two that cross one must see what the other has done.
  private func crossing(_ slot: Int) -> [SimCommand] {
    let other = (slot + 1 + chance.below(2)) % 3
    return [SimCommand(slot: slot, verb: .get), SimCommand(slot: other, verb: .append(token()))]
  }

  private func command(slot: Int, _ group: Group) -> SimCommand {
    guard chance.chance(1, in: 6) else { return plainCommand(slot: slot) }
    guard let version = group.versions[slot], chance.chance(1, in: 2) else {
      return SimCommand(slot: slot, verb: .getVersion)
    }
    return SimCommand(slot: slot, verb: .compareAndSet(version: version, Payload(value())))
  }

  private func plainCommand(slot: Int) -> SimCommand {
    let verb: SimCommand.Verb
    switch chance.below(14) {
    case 0...3: verb = .get
    case 4...6: verb = .set(Payload(value()), expiryMillis: nil)
    case 7: verb = .set(Payload(Array("\(chance.below(100))".utf8)), expiryMillis: nil)
    case 8: verb = .setIfAbsent(Payload(value()))
    case 9: verb = .update(Payload(value()))
    case 10: verb = chance.chance(1, in: 2) ? .delete : .getDelete
    case 11: verb = .append(token())
    default: verb = .increment(Int64(chance.within(-3...9)))
    }
    return SimCommand(slot: slot, verb: verb)
  }

  private func fleetingCommand(_ group: Group) -> SimCommand {
    let verb: SimCommand.Verb
    switch chance.below(8) {
    case 0...2: verb = .get
    case 3...4: verb = .set(Payload(value()), expiryMillis: Int64(chance.within(1...2_000)))
    case 5: verb = .expire(millis: Int64(chance.within(1...2_000)))
    case 6: verb = .persist
    default: verb = .append(token())
    }
    return SimCommand(slot: 0, verb: verb)
  }

  private func watchedCommand() -> SimCommand {
    let expires = swarm.usesExpiry && chance.chance(1, in: 2)
    let verb: SimCommand.Verb
    switch chance.below(8) {
    case 0...2: verb = .get
    case 3...4:
      verb = .set(Payload(value()), expiryMillis: expires ? Int64(chance.within(1...200)) : nil)
    case 5: verb = expires ? .expire(millis: Int64(chance.within(1...200))) : .delete
    case 6: verb = .delete
    default: verb = .append(token())
    }
    return SimCommand(slot: chance.below(2), verb: verb)
  }

  /// Calls that watch a key or both of one group; empty when there is none for it.
  func watch(client: Int) -> [OpenCall] {
    let fitting = groups.filter { $0.stage == .active && $0.kind == .watched }
    guard !fitting.isEmpty else { return [] }
    let group = fitting[chance.below(fitting.count)]
    let slots = chance.chance(1, in: 2) ? [0, 1] : [chance.below(2)]
    return slots.map { slot in
      ticketSerial += 1
      let command = SimCommand(slot: slot, verb: .watch(ticket: ticketSerial))
      return open(group, client, [command], false, id: nil)
    }
  }

  /// The transaction under watches that were all answered; nil when the group is closing.
  func transaction(client: Int, under watches: [OpenCall]) -> OpenCall? {
    let group = watches[0].group
    guard group.stage == .active else { return nil }
    let tickets = watches.compactMap { call -> Int? in
      if case .watch(let ticket) = call.commands[0].verb { return ticket }
      return nil
    }
    let commands = (0..<chance.within(1...3)).map { _ in watchedCommand() }
    return open(group, client, commands, true, id: nil, tickets: tickets)
  }

  /// A text that occurs nowhere else.
  private func token() -> [UInt8] {
    valueSerial += 1
    return Array("<\(valueSerial)>".utf8)
  }

  private func value() -> [UInt8] {
    var value = token()
    guard swarm.largeValueByteCountMax > 0, chance.chance(1, in: 8) else { return value }
    let count = chance.below(swarm.largeValueByteCountMax)
    value.reserveCapacity(value.count + count)
    for index in 0..<count { value.append(UInt8(97 + (index &+ valueSerial) % 26)) }
    return value
  }

  // MARK: Ends

  /// Notes what became of a call. An unknown one may have its effect for a while yet.
  func finish(_ call: OpenCall, _ outcome: CallOutcome) {
    let end = outcome == .unknown ? world.effectEnd : world.now
    if outcome == .unknown { unknownCount += 1 }
    if case .notApplied = outcome { refusedCount += 1 }
    call.group.history.finish(
      call.index, outcome, at: end, stream: call.attempts == 1 ? call.stream : 0)
    call.group.openCount -= 1
    if outcome == .unknown { noteUnknown(call.group) }
    call.group.quietAfter = max(call.group.quietAfter, end)
    world.trace.note(
      "ended", at: world.now, UInt64(call.index), 0,
      call.group.name + " "
        + call.group.history.calls[call.index].text)
    noteVersion(call, outcome)
    world.once.note(call, outcome)
    if call.isFinal { conclude(call, outcome) }
  }

  /// In a cluster a call of unknown outcome may have its effect until long after: a group with many of
  /// them is retired, as each doubles what the checker has to look at.
  private func noteUnknown(_ group: Group) {
    group.unknownCount += 1
    if world.mesh != nil, group.unknownCount >= Self.unknownCountMax { retire(group) }
  }

  private static let unknownCountMax = 5

  /// Ends a call by what `OUTCOME` says of it; false when that leaves it open.
  func finish(_ call: OpenCall, told reply: Reply, seals: Bool) -> Bool {
    switch OutcomeWord(reply) {
    case .committed: finish(call, .executed)
    case .expired: finish(call, .unknown)
    case .aborted:
      finish(call, .notApplied("told aborted"))
      world.once.noteAborted(call.id!)
    case .neverSeen:
      if seals { world.fail("exactly-once", "OUTCOME SEAL of \(call.id!) left it never-seen") }
      return false
    case nil:
      // An id from the future can be neither executed nor sealed until its time comes.
      guard reply.errorCode == "IDFUTURE" else { return false }
      finish(call, .unknown)
    }
    return true
  }

  private func noteVersion(_ call: OpenCall, _ outcome: CallOutcome) {
    guard case .replied(let replies) = outcome else { return }
    for (command, reply) in zip(call.commands, replies) {
      guard command.verb == .getVersion, case .array(let items) = reply, items.count == 2 else {
        continue
      }
      call.group.versions[command.slot] = Model.text(items[1])
    }
  }

  /// Stops a group's use; its last reading follows.
  private func retire(_ group: Group) {
    guard group.stage == .active else { return }
    group.stage = .draining
    if !world.isEnding { addGroup() }
  }

  /// Stops the use of all groups: the liveness phase.
  func retireAll() {
    for group in groups { retire(group) }
  }

  private func finalCall(_ client: Int) -> OpenCall? {
    guard
      let group = groups.first(where: {
        $0.stage == .draining && !$0.isBeingRead && $0.openCount == 0 && $0.quietAfter < world.now
      })
    else { return nil }
    group.isBeingRead = true
    let commands = (0..<group.history.keyCount).map { SimCommand(slot: $0, verb: .get) }
    let call = open(group, client, commands, commands.count > 1, id: nil)
    call.isFinal = true
    return call
  }

  private func conclude(_ call: OpenCall, _ outcome: CallOutcome) {
    let group = call.group
    group.isBeingRead = false
    guard case .replied(let replies) = outcome else { return }
    group.stage = .closed
    world.once.check(group, final: replies)
    judge(group)
    litter.append(group)
    groups.removeAll { $0 === group }
  }

  private func judge(_ group: Group) {
    checkedCount += 1
    let now = world.now
    group.history.setClocks { world.clockBounds(from: $0, to: min($1, now)) }
    switch Linearizability().check(group.history, losses: losses(within: group.history)) {
    case .passed: break
    case .undecided: undecidedCount += 1
    case .failed(let text): world.fail("linearizability", text)
    }
  }

  private func losses(within history: History) -> [Loss] {
    guard let first = history.calls.first?.invoked else { return [] }
    return world.losses.filter { $0.instant >= first }
  }

  /// The keys of a judged group, to be removed; they are not looked at again.
  func takeLitter() -> [[UInt8]]? {
    guard let group = litter.popLast() else { return nil }
    return [Array("DEL".utf8)]
      + (0..<group.history.keyCount).map { Array("\(group.name):\($0)".utf8) }
  }

  /// Judges what is left when no client could take a last reading.
  func judgeRest() {
    for group in groups where group.openCount == 0 { judge(group) }
  }

  var isDone: Bool { groups.isEmpty }
}
