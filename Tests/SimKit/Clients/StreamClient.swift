import Base
import NetKit

/// What a client asked in one go and the replies to it so far.
final class Probe {
  enum Purpose {
    case call(OpenCall)
    case flush(Flush)
    case ledgerSet(Ledger, Int)
    case ledgerGet(Ledger, floor: Int)
    case outcome(OpenCall, seals: Bool)
    case copy(ExactlyOnce.Record)
    case audit(ExactlyOnce.Record)
    case memory
    case litter
    /// Whatever it asks must be refused.
    case refused
    case password
    /// The key must not be there.
    case absent
  }

  let purpose: Purpose
  let bytes: [UInt8]
  let replyCount: Int
  var replies: [Reply] = []

  init(_ purpose: Purpose, _ bytes: [UInt8], replyCount: Int = 1) {
    self.purpose = purpose
    self.bytes = bytes
    self.replyCount = replyCount
  }

  /// The same, to be sent once more.
  var again: Probe { Probe(purpose, bytes, replyCount: replyCount) }

  convenience init(_ purpose: Purpose, words: [[UInt8]]) {
    var bytes: [UInt8] = []
    Request.append(words, to: &bytes)
    self.init(purpose, bytes)
  }

  convenience init(_ purpose: Purpose, _ words: String...) {
    self.init(purpose, words: words.map { Array($0.utf8) })
  }
}

/// A client over streams: sends batches, gives up what is not answered, connects anew, and sends what
/// carries an id again until it knows.
final class StreamClient: StreamUser {
  let index: Int
  private unowned let world: World
  private var chance: Random
  private let endpoint: Endpoint

  private var stream: ClientStream?
  private var streamNumber = 0
  private var isOpen = false
  private var reader = ReplyReader()
  /// The last reply said that a member is away.
  private var isPutOff = false
  private var batch: [Probe] = []
  /// Raised with each batch and stream, so that a late alarm is recognised.
  private var epoch: UInt64 = 0
  /// Calls under an id that were sent and not answered.
  private var retrying: [OpenCall] = []
  private var ledger: Ledger?
  /// Watches of this stream, all answered, whose transaction comes next.
  private var watches: [OpenCall] = []
  /// Ledgers of streams that broke, to be read.
  private var oldLedgers: [Ledger] = []
  /// What the last phase asks for.
  var audits: [Probe] = []

  init(world: World, index: Int, seed: UInt64) {
    self.world = world
    self.index = index
    chance = Random(seed: seed)
    endpoint = Endpoint(
      ipv4: world.swarm.network.prefix | UInt32(2 + index), port: UInt16(20_000 + index))
  }

  var isDone: Bool { batch.isEmpty && retrying.isEmpty && audits.isEmpty && oldLedgers.isEmpty }

  func start() { think() }

  private func think() {
    // Nobody asks a member without end that has just said that another one is away.
    let microsMax = max(world.thinkMicrosMax, isPutOff ? 20_000 : 0)
    let pause = Interval.micros(UInt64(chance.below(microsMax)))
    let epoch = epoch
    world.at(world.now + pause) { [self] in if epoch == self.epoch { act() } }
  }

  private func setAlarm(_ interval: Interval) {
    let epoch = epoch
    world.at(world.now + interval) { [self] in if epoch == self.epoch { giveUp() } }
  }

  private func act() {
    guard isOpen else { return connect() }
    send(nextBatch())
  }

  private func send(_ probes: [Probe]) {
    batch = probes
    epoch += 1
    guard !batch.isEmpty else { return think() }
    setAlarm(world.patience(&chance))
    var bytes: [UInt8] = []
    for probe in batch { bytes += probe.bytes }
    world.trace.note("client sends", at: world.now, UInt64(index), UInt64(bytes.count))
    stream?.send(bytes)
  }

  private func connect() {
    epoch += 1
    stream?.close()
    reader = ReplyReader()
    setAlarm(.seconds(2))
    streamNumber = world.makeStreamNumber()
    stream = world.connect(self, to: world.drawNode(&chance), from: endpoint)
  }

  /// Asks for every id and every ledger, at the very end.
  func audit(_ records: [ExactlyOnce.Record], _ ledgers: [Ledger]) {
    audits = records.map { Probe(.audit($0), "OUTCOME", "\($0.id)") }
    if world.swarm.requiresPassword { audits.append(Probe(.absent, "GET", Self.forbiddenKey)) }
    oldLedgers = ledgers
    ledger = nil
  }

  // MARK: Passwords

  private static let forbiddenKey = "forbidden"

  /// What is sent first: the password, and now and then before it what must be refused.
  private func introduction() -> [Probe] {
    var probes: [Probe] = []
    if chance.chance(1, in: 2) {
      probes.append(Probe(.refused, "SET", Self.forbiddenKey, "x"))
      probes.append(Probe(.refused, "GET", Self.forbiddenKey))
    }
    if chance.chance(1, in: 4) {
      probes.append(Probe(.refused, "AUTH", "wrong"))
      probes.append(Probe(.refused, "APPEND", Self.forbiddenKey, "y"))
    }
    return probes + [Probe(.password, words: [Array("AUTH".utf8), SimPasswords.right])]
  }

  // MARK: What to send

  private func nextBatch() -> [Probe] {
    if !watches.isEmpty { return [endingWatches()] }
    while let call = retrying.first {
      retrying.removeFirst()
      // What the node has forgotten it would do again.
      if call.lossCount == world.losses.count { return [again(call)] }
      world.workload.finish(call, .unknown)
    }
    if let ledger = oldLedgers.popLast() { return [reading(ledger)] }
    if !audits.isEmpty {
      let some = Array(audits.suffix(20))
      audits.removeLast(some.count)
      return some
    }
    if !world.isEnding, chance.chance(world.swarm.watchesInThousand, in: 1_000) {
      let calls = world.workload.watch(client: index)
      if !calls.isEmpty { return calls.map(sending) }
    }
    let count = chance.within(1...world.swarm.pipelineCountMax)
    return (0..<count).compactMap { _ in nextProbe() }
  }

  private func nextProbe() -> Probe? {
    switch world.isEnding ? 99 : chance.below(100) {
    case 0...9:
      let ledger = ledger ?? world.ledgers.open(client: index)
      self.ledger = ledger
      if chance.chance(1, in: 4) { return reading(ledger) }
      let number = ledger.send(at: world.now)
      return Probe(.ledgerSet(ledger, number), words: ledger.setting(number))
    case 10...12:
      guard let record = world.once.oldRecord(&chance) else { return nil }
      return Probe(.copy(record), words: Self.once(record.id) + record.words)
    case 13:
      guard let words = world.workload.takeLitter() else { return nil }
      return Probe(.litter, words: words)
    case 14:
      return Probe(.memory, "INFO", "memory")
    default:
      if !world.isEnding, chance.chance(world.swarm.flushInThousand, in: 1_000),
        world.workload.mayFlush
      {
        let flush = world.workload.openFlush(client: index, stream: streamNumber)
        return Probe(.flush(flush), "FLUSHALL")
      }
      return world.workload.next(client: index, overDatagrams: false).map(sending)
    }
  }

  /// The transaction under the watches, or UNWATCH: no other EXEC may meet them.
  private func endingWatches() -> Probe {
    defer { watches.removeAll() }
    let call = world.workload.transaction(client: index, under: watches)
    return call.map(sending) ?? Probe(.litter, "UNWATCH")
  }

  private static func once(_ id: OperationID) -> [[UInt8]] {
    [Array("ONCE".utf8), Array("\(id)".utf8)]
  }

  private func sending(_ call: OpenCall) -> Probe {
    if call.attempts == 0 { call.lossCount = world.losses.count }
    call.attempts += 1
    call.stream = streamNumber
    return Probe(.call(call), call.body(names: true), replyCount: call.replyCount)
  }

  /// Sends a call under an id again, or asks what became of it.
  private func again(_ call: OpenCall) -> Probe {
    guard chance.chance(1, in: 3) else { return sending(call) }
    if chance.chance(1, in: 2) {
      return Probe(.outcome(call, seals: false), "OUTCOME", "\(call.id!)")
    }
    return Probe(.outcome(call, seals: true), "OUTCOME", "\(call.id!)", "SEAL")
  }

  private func reading(_ ledger: Ledger) -> Probe {
    Probe(.ledgerGet(ledger, floor: ledger.acknowledged), words: ledger.reading)
  }

  // MARK: The stream

  func streamOpened() {
    epoch += 1
    guard world.swarm.requiresPassword else {
      isOpen = true
      return act()
    }
    send(introduction())
  }

  func streamReceived(_ bytes: [UInt8]) {
    reader.append(bytes)
    while true {
      switch reader.next() {
      case .incomplete: return
      case .malformed: return world.fail("protocol", "client \(index) got bytes that are no RESP")
      case .reply(let reply): take(reply)
      }
    }
  }

  func streamEnded(_ end: LinkEnd) {
    world.trace.note("client lost", at: world.now, UInt64(index), UInt64(end.rawValue))
    stream = nil
    abandon()
  }

  private func giveUp() {
    world.trace.note("client gives up", at: world.now, UInt64(index))
    stream?.close()
    stream = nil
    abandon()
  }

  /// The stream is gone: what was not answered may have been done or not.
  private func abandon() {
    isOpen = false
    epoch += 1
    let lost = batch
    batch.removeAll()
    watches.removeAll()
    for probe in lost { drop(probe) }
    if let ledger { oldLedgers.append(ledger) }
    ledger = nil
    think()
  }

  private func take(_ reply: Reply) {
    guard let probe = batch.first else {
      return world.fail("protocol", "client \(index) got a reply to nothing: \(reply.text)")
    }
    probe.replies.append(reply)
    isPutOff = reply.errorCode == "UNAVAILABLE"
    guard probe.replies.count == probe.replyCount else { return }
    batch.removeFirst()
    finish(probe)
    if batch.isEmpty {
      epoch += 1
      if !world.isEnding, chance.chance(1, in: 200) { giveUp() } else { think() }
    }
  }

  // MARK: Ends of probes

  private func drop(_ probe: Probe) {
    switch probe.purpose {
    case .call(let call):
      if call.id != nil, !forgets() { return retrying.append(call) }
      world.workload.finish(call, .unknown)
    case .flush(let flush): world.workload.finish(flush, .unknown)
    case .outcome(let call, _): retrying.append(call)
    case .ledgerGet(let ledger, _):
      if ledger !== self.ledger { oldLedgers.append(ledger) }
    case .audit, .absent: audits.append(probe.again)
    case .ledgerSet, .copy, .memory, .litter, .refused, .password: break
    }
  }

  private func forgets() -> Bool { chance.chance(world.swarm.forgetfulInThousand, in: 1_000) }

  private func finish(_ probe: Probe) {
    switch probe.purpose {
    case .call(let call): finish(call, probe.replies)
    case .flush(let flush):
      let outcome = Meaning.outcome(of: probe.replies, isTransaction: false, isFirstAttempt: true)
      world.workload.finish(flush, outcome)
    case .ledgerSet(let ledger, let number):
      if probe.replies[0] == .status("OK") { ledger.acknowledge(number, at: world.now) }
    case .ledgerGet(let ledger, let floor):
      if probe.replies[0].isError {
        if ledger !== self.ledger { oldLedgers.append(ledger) }
      } else {
        world.ledgers.check(ledger, probe.replies[0], floor: floor)
      }
    case .outcome(let call, let seals):
      if !world.workload.finish(call, told: probe.replies[0], seals: seals) {
        retrying.append(call)
      }
    case .copy(let record): world.once.checkCopy(record, probe.replies[0])
    case .audit(let record): finishAudit(record, probe)
    case .memory: world.bounds.check(probe.replies[0])
    case .refused:
      if !probe.replies[0].isError {
        world.fail("password", "done without one: \(probe.replies[0].text)")
      }
    case .password: isOpen = probe.replies[0] == .status("OK")
    case .absent:
      if probe.replies[0].isError { return audits.append(probe.again) }
      if probe.replies[0] != .null {
        world.fail("password", "\(Self.forbiddenKey) holds \(probe.replies[0].text)")
      }
    case .litter: break
    }
  }

  private func finish(_ call: OpenCall, _ replies: [Reply]) {
    world.trace.note("replied", at: world.now, UInt64(index), 0, replies[replies.count - 1].text)
    let outcome = Meaning.outcome(
      of: replies, isTransaction: call.isTransaction, isFirstAttempt: call.attempts == 1)
    if call.needsRetry(after: outcome) || call.id != nil && Meaning.isUndecided(replies) {
      return retrying.append(call)
    }
    if case .watch = call.commands[0].verb, case .replied = outcome { watches.append(call) }
    world.workload.finish(call, outcome)
  }

  private func finishAudit(_ record: ExactlyOnce.Record, _ probe: Probe) {
    guard let word = OutcomeWord(probe.replies[0]) else {
      return audits.append(probe.again)
    }
    world.once.checkOutcome(record, word)
  }
}
