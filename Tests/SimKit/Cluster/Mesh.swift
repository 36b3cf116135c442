import Base
import NetKit

/// How the links between members treat messages; a seed draws one.
struct MeshFaults {
  /// Messages go over links with handshake, pings and runs of members that are told apart;
  /// otherwise each goes to the negotiator, whenever it was sent.
  var isLinked = false
  /// Links keep order and lose nothing while they last, as TCP's; otherwise as UDP's.
  var isOrdered = false
  var latencyMicrosMax = 200
  var lateInThousand = 0
  var lossInThousand = 0
  var repeatInThousand = 0
  /// How often a message is accompanied by one of long ago.
  var oldInThousand = 0
  /// How many messages of before are given again when a member starts.
  var oldAtStartMax = 0
  /// The mean pause between two cuts of one way or of all ways of a member; 0: there are none.
  var millisBetweenCuts = 0
  var cutMillisMax = 0
  /// How often a member that starts is cut off at first, with what it has in doubt.
  var cutAtStartInThousand = 0
}

/// Carries the negotiators' messages from member to member: late, twice, in any order, not at all,
/// and again long after.
///
/// It keeps messages, delivered ones and lost ones, so that it can give them again after a restart
/// of their sender or receiver: a message older than a crash finds mistakes that no other fault
/// does.
final class Mesh {
  private unowned let world: World
  private var chance: Random
  var faults: MeshFaults
  let count: Int
  let isLinked: Bool
  let isOrdered: Bool
  /// By way as `cutUntil`: how its last message began and how it was delivered.
  private var ways: [Way?]
  /// Until when each way is cut, by `from * count + to`.
  private var cutUntil: [Instant]
  /// Until when messages of a kind that a member sends are lost, by `from * kindCount + kind`.
  private var muteUntil: [Instant]
  private var swallowed: (from: Int, kind: Int)?
  /// How many processes with empty directories have taken places at each node.
  private var installCounts: [Int]
  /// In the order in which they were sent, with ever more gaps.
  private var kept: [Message] = []

  /// Streams between members that were opened.
  private var streamCount = 0
  private(set) var sentCount = 0
  private(set) var lostCount = 0
  private(set) var repeatedCount = 0
  private(set) var oldCount = 0
  private(set) var cutCount = 0

  private struct Message {
    var from: Int
    var to: Int
    var bytes: [UInt8]
    /// How many processes have taken the place of others when it was sent.
    var installCount: Int
  }

  private struct Way {
    var header: [UInt8]
    var deliver: ([UInt8]) -> Void
  }

  private static let keptCountMax = 512
  private static let recentCount = 32

  init(world: World, count: Int, seed: UInt64, faults: MeshFaults) {
    self.world = world
    self.count = count
    self.faults = faults
    isLinked = faults.isLinked
    isOrdered = faults.isOrdered
    ways = Array(repeating: nil, count: count * count)
    installCounts = Array(repeating: 0, count: count)
    chance = Random(seed: seed)
    cutUntil = Array(repeating: .zero, count: count * count)
    muteUntil = Array(repeating: .zero, count: count * LastWord.kindCount)
  }

  // MARK: Messages

  /// Members are counted from 0.
  func send(_ bytes: [UInt8], from: Int, to: Int) {
    sentCount += 1
    world.trace.note("member sends", at: world.now, UInt64(from), UInt64(to))
    bytes.withUnsafeBytes { world.trace.fold($0) }
    let message = message(bytes, from: from, to: to)
    keep(message)
    if world.nodes[from].endsSaying(bytes[...]), holdsUp(message) { return }
    if isLost(bytes[...], from: from, to: to) {
      lostCount += 1
    } else {
      deliver(message, after: latency())
    }
    if chance.chance(faults.repeatInThousand, in: 1_000) {
      repeatedCount += 1
      deliver(message, after: latency())
    }
    if chance.chance(faults.oldInThousand, in: 1_000) { giveOld { _ in true } }
  }

  private func isLost(_ message: ArraySlice<UInt8>, from: Int, to: Int) -> Bool {
    if cutUntil[from * count + to] > world.now { return true }
    if muteUntil[from * LastWord.kindCount + LastWord.kind(of: message)] > world.now { return true }
    return chance.chance(faults.lossInThousand, in: 1_000)
  }

  private func latency() -> Interval {
    let micros = 5 + chance.below(faults.latencyMicrosMax)
    return .micros(UInt64(chance.chance(faults.lateInThousand, in: 1_000) ? micros * 50 : micros))
  }

  private func deliver(_ message: Message, after interval: Interval) {
    world.at(world.now + interval) { [self] in
      world.nodes[message.to].take(message.bytes, from: message.from)
    }
  }

  // MARK: Old messages

  private func message(_ bytes: [UInt8], from: Int, to: Int) -> Message {
    Message(
      from: from, to: to, bytes: bytes, installCount: installCounts[from] + installCounts[to])
  }

  /// A process that knows nothing takes the place of another one at a node: what that one said and was
  /// told is not given again, for the two are linked by nothing but an address and perhaps an id.
  func installed(at node: Int) {
    installCounts[node] += 1
    if swallowed?.from == node { swallowed = nil }
    kept.removeAll { $0.from == node || $0.to == node }
  }

  private func keep(_ message: Message) {
    guard faults.oldAtStartMax > 0 || faults.oldInThousand > 0 else { return }
    if kept.count == Self.keptCountMax { kept.remove(at: chance.below(Self.keptCountMax / 2)) }
    kept.append(message)
  }

  /// A member has begun a new life: some of what it or the others heard before comes again.
  func started(_ member: Int) {
    guard !world.isEnding else { return }
    if chance.chance(faults.cutAtStartInThousand, in: 1_000) {
      cutOff(member, until: world.now + .millis(UInt64(1 + chance.below(1_500))))
    }
    guard faults.oldAtStartMax > 0 else { return }
    for _ in 0..<chance.below(faults.oldAtStartMax + 1) {
      giveOld { $0.from == member || $0.to == member }
    }
  }

  private func giveOld(_ fits: (Message) -> Bool) {
    let fitting = kept.filter(fits)
    guard !fitting.isEmpty else { return }
    // What was said last is about what is in doubt.
    let from = chance.chance(1, in: 2) ? max(0, fitting.count - Self.recentCount) : 0
    let message = fitting[from + chance.below(fitting.count - from)]
    giveLate(message, chance.chance(1, in: 2) ? 20_000 : 2_000_000)
  }

  /// What a member said with its last breath often comes long after, when it may be up again.
  private func holdsUp(_ message: Message) -> Bool {
    guard chance.chance(3, in: 4) else { return false }
    giveLate(message, 2_000_000)
    return true
  }

  private func giveLate(_ message: Message, _ microsMax: Int) {
    oldCount += 1
    let pause = Interval.micros(UInt64(chance.below(microsMax)))
    if isLinked { forge(message, after: pause) } else { deliver(message, after: pause) }
  }

  /// Puts an old message into the session that the two members have now, which would not take it
  /// otherwise: sessions protect from such messages, but the negotiator must not need that.
  private func forge(_ message: Message, after pause: Interval) {
    world.at(world.now + pause) { [self] in
      guard let way = ways[message.from * count + message.to],
        message.installCount == installCounts[message.from] + installCounts[message.to]
      else { return }
      way.deliver([message.bytes[0]] + way.header + message.bytes[Self.headerByteCount...])
    }
  }

  // MARK: Links

  /// Bytes before the rest of a message of a link, the kind included.
  private static let headerByteCount = 12
  private static let payloadKind: UInt8 = 4
  private static let sessionKinds: ClosedRange<UInt8> = 4...6

  /// Makes the links of a new life of a member go through here.
  func attach(_ port: SimPort, of member: Int) {
    guard isLinked else { return }
    port.resolve = { [unowned self] endpoint in
      guard let other = world.nodes.first(where: { $0.endpoint == endpoint }),
        !isCut(member, other.index)
      else { return nil }
      return other.port
    }
    // A stream comes from a port of its own; datagrams come from where their sender listens.
    if isOrdered {
      port.source = { [unowned self, host = port.endpoint] in
        streamCount += 1
        var endpoint = host
        endpoint.port = UInt16(32_768 + streamCount % 28_000)
        return endpoint
      }
    }
    port.carryMessage = { [unowned self] link, message, last, deliver in
      carry(message, from: member, to: Int(link.listener.port) - 9_099, after: last, deliver)
    }
  }

  private func isCut(_ from: Int, _ to: Int) -> Bool {
    cutUntil[from * count + to] > world.now || cutUntil[to * count + from] > world.now
  }

  private func carry(
    _ bytes: [UInt8], from: Int, to: Int, after last: Instant,
    _ deliver: @escaping ([UInt8]) -> Void
  ) -> Instant {
    sentCount += 1
    let way = from * count + to
    if Self.sessionKinds.contains(bytes[0]) {
      ways[way] = Way(header: Array(bytes[1..<Self.headerByteCount]), deliver: deliver)
    }
    if bytes[0] == Self.payloadKind {
      let message = message(bytes, from: from, to: to)
      keep(message)
      let isLast = world.nodes[from].endsSaying(bytes[Self.headerByteCount...])
      if isLast, holdsUp(message) { return last }
    }
    if let swallowed, swallowed.from == from,
      swallowed.kind == LastWord.kind(of: bytes.dropFirst(Self.headerByteCount))
    {
      lostCount += 1
      return last
    }
    let arrive = { deliver(bytes) }
    if chance.chance(faults.oldInThousand, in: 1_000) { giveOld { _ in true } }
    if isOrdered {
      let arrival = max(world.now + latency(), last + Interval(nanos: 1), cutUntil[way])
      world.at(arrival, arrive)
      return arrival
    }
    // Only the end of the link comes behind all else, as one datagram does behind another: else
    // nobody would ever hear why he is refused.
    var arrival = world.now
    if isLost(bytes.dropFirst(Self.headerByteCount), from: from, to: to) {
      lostCount += 1
    } else {
      arrival = world.now + latency()
      world.at(arrival, arrive)
    }
    if chance.chance(faults.repeatInThousand, in: 1_000) {
      repeatedCount += 1
      world.at(world.now + latency(), arrive)
    }
    return max(last, arrival)
  }

  // MARK: Cuts

  /// Cuts one way, a pair, a member from all others, or what a member says of one kind, now and then.
  func planCut() {
    guard faults.millisBetweenCuts > 0 else { return }
    let pause = 1 + chance.below(2 * faults.millisBetweenCuts)
    world.at(world.now + .millis(UInt64(pause))) { [self] in
      guard !world.isEnding else { return }
      cut()
      planCut()
    }
  }

  private func cut() {
    cutCount += 1
    let until = world.now + .millis(UInt64(1 + chance.below(faults.cutMillisMax)))
    let from = chance.below(count)
    let to = (from + 1 + chance.below(count - 1)) % count
    let kind = chance.below(4)
    world.trace.note("cut", at: world.now, UInt64(from * count + to), UInt64(kind))
    if kind == 3 {
      // Without votes a round ends undecided where all are prepared.
      let isVote = chance.chance(1, in: 2)
      let muted = isVote ? LastWord.voteKind : chance.within(1...LastWord.kindCount - 1)
      return mute(from, muted, until: until)
    }
    cutUntil[from * count + to] = until
    if kind > 0 { cutUntil[to * count + from] = until }
    if kind == 2 { cutOff(from, until: until) }
  }

  /// What a member that is soon stopped for good says of a kind is lost with it.
  func swallow(_ kind: Int, of member: Int) { swallowed = (member, kind) }

  /// That member goes on after all.
  func swallowNothing() { swallowed = nil }

  /// What a member says of a kind is lost for a while.
  func mute(_ member: Int, _ kind: Int, until: Instant) {
    muteUntil[member * LastWord.kindCount + kind] = until
  }

  /// A member hears nobody and is heard by nobody for a while.
  func cutOff(_ member: Int, until: Instant) {
    world.trace.note("cut off", at: world.now, UInt64(member), until.nanos)
    for other in 0..<count where other != member {
      cutUntil[member * count + other] = until
      cutUntil[other * count + member] = until
    }
  }

  /// Every message arrives once, soon, from now on; those under way included.
  func stopFaults() {
    faults = MeshFaults()
    for way in cutUntil.indices { cutUntil[way] = .zero }
    for way in muteUntil.indices { muteUntil[way] = .zero }
  }

  func count(into statistics: inout SimulationStatistics) {
    statistics.clusters += 1
    statistics.messages += sentCount
    statistics.networkFaults += lostCount + repeatedCount + oldCount + cutCount
  }
}
