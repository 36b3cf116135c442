import Base
import NetKit

/// A client over UDP: one request at a time through the real `ClientExchange`, which sends again
/// until its own deadline; after that this client asks anew under the same id, or gives up.
final class DatagramClient {
  let index: Int
  private unowned let world: World
  private var chance: Random
  /// Draws what goes with a call.
  private var companyChance: Random
  private let endpoint: Endpoint
  private let options = DatagramOptions()

  private var exchange: Exchange?
  private var probe: Probe?
  private var retrying: [OpenCall] = []
  private var roundTrip: RoundTrip?
  private var cookie: UInt64 = 0
  private var node = 0
  private var epoch: UInt64 = 0

  init(world: World, index: Int, seed: UInt64) {
    self.world = world
    self.index = index
    chance = Random(seed: seed)
    companyChance = Random(seed: seed ^ 0x434F_4D50)
    endpoint = Endpoint(
      ipv4: world.swarm.network.prefix | UInt32(2 + index), port: UInt16(30_000 + index))
  }

  var isDone: Bool { probe == nil && retrying.isEmpty }

  func start() { think() }

  private func think() {
    epoch += 1
    let epoch = epoch
    let pause = Interval.micros(UInt64(chance.below(world.thinkMicrosMax)))
    world.at(world.now + pause) { [self] in if epoch == self.epoch { act() } }
  }

  private func act() {
    guard let probe = nextProbe() else { return think() }
    // Several large values; the real client says so before it sends anything.
    if probe.bytes.count > options.messageByteCountMax, case .call(let call) = probe.purpose {
      call.company?.drop(world, because: "too large")
      world.workload.finish(call, .notApplied("too large"))
      return think()
    }
    self.probe = probe
    let (id, changes) = identity(of: probe)
    node = world.drawNode(&chance)
    probe.bytes.withUnsafeBytes { bytes in
      exchange = Exchange(
        ClientExchange(
          request: bytes, id: id, change: changes, to: world.nodes[node].endpoint, options: options,
          seed: chance.next(), roundTrip: roundTrip, cookie: cookie, at: world.now,
          expiry: world.now + world.patience(&chance)))
    }
    world.trace.note(
      "client asks", at: world.now, UInt64(index), UInt64(probe.bytes.count), "\(id)")
    pump()
  }

  private func identity(of probe: Probe) -> (OperationID, Bool) {
    switch probe.purpose {
    case .call(let call): if let id = call.id { return (id, true) }
    case .copy(let record): return (record.id, true)
    default: break
    }
    return (world.makeID(client: index), false)
  }

  private func nextProbe() -> Probe? {
    if let call = retrying.first {
      retrying.removeFirst()
      return again(call)
    }
    if !world.isEnding, chance.chance(3, in: 100), let record = world.once.oldRecord(&chance),
      !record.hasCompany || record.client != index
    {
      return Probe(.copy(record), words: record.words)
    }
    return world.workload.next(client: index, overDatagrams: true).map(sending)
  }

  private func sending(_ call: OpenCall) -> Probe {
    let company = world.swarm.companyInThousand
    if call.attempts == 0, !call.isFinal, companyChance.chance(company, in: 1_000) {
      call.company = Company(of: call, client: index, world, &companyChance)
    }
    call.attempts += 1
    let bytes = call.company?.bytes ?? call.body(names: false)
    return Probe(.call(call), bytes, replyCount: call.replyCount)
  }

  private func again(_ call: OpenCall) -> Probe {
    guard chance.chance(1, in: 3) else { return sending(call) }
    if chance.chance(1, in: 2) {
      return Probe(.outcome(call, seals: false), "OUTCOME", "\(call.id!)")
    }
    return Probe(.outcome(call, seals: true), "OUTCOME", "\(call.id!)", "SEAL")
  }

  // MARK: The wire

  /// Sends what the exchange wants sent, and looks whether it is over or when it wants to be woken.
  private func pump() {
    guard exchange != nil else { return }
    for index in 0..<exchange!.core.outgoing.count {
      let datagram = Array(exchange!.core.outgoing.bytes(at: index))
      world.send(datagram, to: node, from: endpoint) { [self] in receive($0) }
    }
    exchange!.core.outgoing.removeAll()
    switch exchange!.core.state {
    case .waiting: plan()
    case .answered: answered()
    case .expired: expired()
    }
  }

  private func plan() {
    epoch += 1
    let epoch = epoch
    world.at(max(world.now, exchange!.core.deadline)) { [self] in
      guard epoch == self.epoch, exchange != nil else { return }
      exchange!.core.wake(at: world.now)
      pump()
    }
  }

  /// A datagram came from the node.
  func receive(_ datagram: [UInt8]) {
    guard exchange != nil else { return }
    datagram.withUnsafeBytes { exchange!.core.handle($0, at: world.now) }
    pump()
  }

  private func end() -> Probe {
    roundTrip = exchange!.core.roundTrip
    cookie = exchange!.core.cookie
    exchange = nil
    let ended = probe!
    probe = nil
    return ended
  }

  private func answered() {
    // Another copy of the request may have been executed before the one that this answers.
    let hasCopies =
      exchange!.core.retransmittedCount > 0 || world.swarm.network.repeatInThousand > 0
    var reader = ReplyReader()
    reader.append(Array(exchange!.core.reply))
    let probe = end()
    while case .reply(let reply) = reader.next() { probe.replies.append(reply) }
    guard reader.isEmpty, !probe.replies.isEmpty else {
      return world.fail("protocol", "UDP client \(index) got a reply that is no RESP")
    }
    if case .call(let call) = probe.purpose {
      if hasCopies { call.attempts += 1 }
      if let company = call.company {
        probe.replies = company.take(probe.replies, of: call, wasCopied: hasCopies, world)
      }
    }
    finish(probe)
    think()
  }

  private func expired() {
    world.trace.note("client gives up", at: world.now, UInt64(index))
    let wasTaken = exchange!.core.mayHaveBeenTaken
    let probe = end()
    switch probe.purpose {
    case .call(let call):
      call.company?.drop(world, because: "not answered")
      if !wasTaken, call.attempts == 1 {
        world.workload.finish(call, .notApplied("never sent whole"))
      } else if call.id != nil, !chance.chance(world.swarm.forgetfulInThousand, in: 1_000) {
        retrying.append(call)
      } else {
        world.workload.finish(call, .unknown)
      }
    case .outcome(let call, _): retrying.append(call)
    default: break
    }
    think()
  }

  private func finish(_ probe: Probe) {
    switch probe.purpose {
    case .call(let call): finish(call, probe.replies)
    case .copy(let record): world.once.checkCopy(record, probe.replies[0])
    case .outcome(let call, let seals):
      if !world.workload.finish(call, told: probe.replies[0], seals: seals) {
        retrying.append(call)
      }
    default: break
    }
  }

  private func finish(_ call: OpenCall, _ replies: [Reply]) {
    world.trace.note("replied", at: world.now, UInt64(index), 0, replies[replies.count - 1].text)
    let outcome = Meaning.outcome(
      of: replies, isTransaction: call.isTransaction, isFirstAttempt: call.attempts == 1)
    if call.needsRetry(after: outcome) || call.id != nil && Meaning.isUndecided(replies) {
      return retrying.append(call)
    }
    world.workload.finish(call, outcome)
  }
}

/// A place for the exchange under way, which cannot be copied.
private final class Exchange {
  var core: ClientExchange

  init(_ core: consuming ClientExchange) {
    self.core = core
  }
}
