public import Base
public import NetKit
public import TPC

/// What a process is told that is to join a cluster.
public struct JoinTarget: Sendable {
  /// The member that is asked, as the operator wrote it.
  public var host: String
  public var port: UInt16
  /// What that meant at the start, one after the other.
  public var endpoints: [Endpoint]
  /// The id that it is to have; nil: the lowest free one.
  public var id: MemberID?
  /// Where the others will reach it.
  public var address: String

  /// Joins the parts; there is one endpoint at least.
  public init(
    host: String, port: UInt16, endpoints: [Endpoint], id: MemberID?, address: String
  ) {
    invariant(!endpoints.isEmpty, "a member has an address")
    self.host = host
    self.port = port
    self.endpoints = endpoints
    self.id = id
    self.address = address
  }

  /// `host:port`.
  public var donor: String { host.utf8.contains(58) ? "[\(host)]:\(port)" : "\(host):\(port)" }
}

/// What a member says to who asks to join.
public struct JoinWelcome: Hashable, Sendable {
  /// The id of the one that joins.
  public var id: MemberID
  /// The member that was asked, and the address at which it answered.
  public var donor: MemberID
  public var endpoint: Endpoint
  /// The cluster.
  public var clusterID: UInt64
  /// The donor's hybrid time.
  public var stamp: Stamp
}

/// The first contact of a joiner: hello, answer, proof and welcome with a member, again and again
/// until one takes it as its guest. After that the two are linked as members are.
///
/// Pure, like `Peers`, whose messages, proof and effects it uses. The one that joins calls.
struct JoinCall {
  /// How far the call is. Every phase can end in `waiting`.
  private enum Phase {
    /// Calls at this time. Can transition to: resolving, connecting.
    case waiting(until: Instant)
    /// Asks what the member's name means now. Can transition to: connecting.
    case resolving
    /// Can transition to: greeting.
    case connecting(LinkID)
    /// Said hello. Can transition to: proving.
    case greeting(LinkID)
    /// Sent the proof. Can transition to: done.
    case proving(LinkID, PeerHello)
    /// Was welcomed, or refused for good.
    case done
  }

  /// What became of the call.
  enum Answer: Equatable {
    case none
    case welcomed(JoinWelcome)
    /// For a reason that only a person can end.
    case refused(String)
  }

  let target: JoinTarget
  private let options: ClusterOptions
  /// The id that it asks for; none: any.
  private let wanted: MemberID
  /// A join has begun before.
  private let isUnfinished: Bool
  /// How often its id or address was called a member's.
  private var takenCount = 0
  private var phase: Phase
  private var hello: PeerHello
  private var helloBytes: [UInt8] = []
  private var answerBytes: [UInt8] = []
  /// What the member's name means, and which of it is called next.
  private var endpoints: [Endpoint]
  private var endpointIndex = 0
  /// All of it has been called: the name is asked for anew, as the member may have moved.
  private var isStale: Bool
  private var nonceCount: UInt64 = 0
  private var failureCount = 0
  private var callEnd = Instant.never
  private var repeatAt = Instant.never
  private var saidAt: Instant?
  private var chance: Random

  private static var sayInterval: Interval { .seconds(10) }
  private static var backoffMax: Interval { .seconds(2) }
  /// How often the id of an unfinished join is asked for before any other one is.
  private static var ownIDCount: Int { 4 }
  /// How often, in about a minute, such a join is refused its id or address before it gives up.
  private static var takenCountMax: Int { 40 }

  /// Calls at once. `clusterID`: of the cluster that an unfinished join was to; zero otherwise.
  /// `id`: the one that it was under. The members may wait for its word about the change that was
  /// to take it in, so it asks for it again, and for another one only when that has been given
  /// away. `isFirst`: in this run, so the target's endpoints are of just now.
  init(
    _ target: JoinTarget, _ options: ClusterOptions, clusterID: UInt64, id: MemberID?,
    isFirst: Bool = true, at now: Instant
  ) {
    self.target = target
    wanted = target.id ?? id ?? MemberID(0)
    isUnfinished = id != nil
    endpoints = target.endpoints
    isStale = !isFirst
    self.options = options
    phase = .waiting(until: now)
    chance = Random(seed: Self.word(0, options.nonceKey))
    hello = PeerHello(
      versions: options.versions, hasSecret: options.authenticator != nil,
      sender: wanted, receiver: MemberID(0), clusterID: clusterID,
      epoch: Epoch(0), incarnation: 0, stamp: .zero, nonce: PeerNonce(), answered: PeerNonce())
    hello.joinerAddress = target.address
  }

  /// True for the link of the call.
  func holds(_ link: LinkID) -> Bool {
    switch phase {
    case .waiting, .resolving, .done: false
    case .connecting(let own), .greeting(let own), .proving(let own, _): own == link
    }
  }

  // MARK: Links

  /// Answers the effect `resolveDonor`: what the name means; none: it is not known now.
  mutating func resolved(
    _ found: [Endpoint], problem: String, at now: Instant, into effects: inout PeerEffects
  ) {
    guard case .resolving = phase else { return }
    guard !found.isEmpty else { return later(problem, at: now, &effects) }
    guard options.authenticator != nil || found.allSatisfy(\.isLoopback) else {
      return later("\(PeerRefusal.notLoopback)", at: now, &effects)
    }
    endpoints = found
    endpointIndex = 0
    isStale = false
    knock(&effects)
  }

  /// Answers the effect `knock`: the link that was opened, `.none` when there is none to be had.
  mutating func called(as link: LinkID, at now: Instant, into effects: inout PeerEffects) {
    guard link != .none else { return later("no link can be opened", at: now, &effects) }
    phase = .connecting(link)
    callEnd = now + options.timings.handshakeTimeout
  }

  /// The link is open: says hello.
  mutating func opened(_ link: LinkID, at now: Instant, into effects: inout PeerEffects) {
    guard case .connecting(link) = phase else { return }
    nonceCount += 2
    hello.nonce = PeerNonce(
      first: Self.word(nonceCount, options.nonceKey),
      last: Self.word(nonceCount + 1, options.nonceKey))
    var buffer = ByteBuffer()
    hello.append(to: &buffer)
    helloBytes = Array(buffer.bytes)
    phase = .greeting(link)
    sayHello(link, at: now, &effects)
  }

  /// The link is gone.
  mutating func closed(_ link: LinkID, at now: Instant, into effects: inout PeerEffects) {
    guard holds(link) else { return }
    later("it cannot be reached, or is no member of a cluster", at: now, &effects)
  }

  // MARK: Messages

  /// Takes a message of the link.
  mutating func receive(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Instant,
    into effects: inout PeerEffects
  ) -> Answer {
    guard holds(link), let message = PeerMessage(bytes) else { return .none }
    switch (message, phase) {
    case (.refusal(_, let reason), _): return refused(reason, link, at: now, &effects)
    case (.hello(let answer), .greeting):
      return take(answer, bytes, link, at: now, &effects)
    case (.hello, .proving(_, let answer)) where bytes.elementsEqual(answerBytes):
      sayProof(link, answer, at: now, &effects)
    case (.welcome(let header, let code), .proving(_, let answer))
    where header.session == session(answer) && header.sender == answer.sender:
      return take(
        UnsafeRawBufferPointer(rebasing: bytes[code]), of: answer, link, at: now, &effects)
    default: break
    }
    return .none
  }

  private mutating func take(
    _ answer: PeerHello, _ bytes: UnsafeRawBufferPointer, _ link: LinkID, at now: Instant,
    _ effects: inout PeerEffects
  ) -> Answer {
    guard answer.answered == hello.nonce, answer.receiver.isValid, answer.sender.isValid else {
      return .none
    }
    if let reason = objection(to: answer) {
      effects.list.append(.close(link, afterFlush: false))
      phase = .done
      return .refused("this process does not join at \(target.donor): \(reason)")
    }
    answerBytes = Array(bytes)
    phase = .proving(link, answer)
    sayProof(link, answer, at: now, &effects)
    return .none
  }

  private func objection(to answer: PeerHello) -> String? {
    if answer.hasSecret != hello.hasSecret {
      return answer.hasSecret
        ? "the cluster has a secret, give its --secret-file" : "the cluster there has no secret"
    }
    if hello.clusterID != 0, hello.clusterID != answer.clusterID {
      return "the data directory was to join another cluster; give an empty one"
    }
    return nil
  }

  private mutating func take(
    _ code: UnsafeRawBufferPointer, of answer: PeerHello, _ link: LinkID, at now: Instant,
    _ effects: inout PeerEffects
  ) -> Answer {
    effects.list.append(.close(link, afterFlush: false))
    phase = .done
    guard equalInConstantTime(code, self.code(by: .answerer)) else {
      return .refused("\(target.donor) has another cluster secret")
    }
    return .welcomed(
      JoinWelcome(
        id: answer.receiver, donor: answer.sender, endpoint: endpoint,
        clusterID: answer.clusterID, stamp: answer.stamp))
  }

  private mutating func refused(
    _ reason: PeerRefusal, _ link: LinkID, at now: Instant, _ effects: inout PeerEffects
  ) -> Answer {
    effects.list.append(.close(link, afterFlush: false))
    // Another one became a member under the id that was to be this one's.
    let wasOvertaken = reason == .idTaken && !hello.sender.isValid
    // One that was taken in before has its id and address of its own: who calls them a member's
    // may have yet to hear that this member is gone.
    let mayHaveGone = isUnfinished && (reason == .idTaken || reason == .addressTaken)
    if mayHaveGone { takenCount += 1 }
    let asksForAny = reason == .idTaken && target.id == nil && takenCount % Self.ownIDCount == 0
    hello.sender = mayHaveGone && asksForAny ? MemberID(0) : wanted
    let mayPass = reason.mayPass || wasOvertaken
    guard mayPass || mayHaveGone && takenCount < Self.takenCountMax else {
      phase = .done
      return .refused("\(target.donor) refuses to let this process join: \(reason)")
    }
    later("\(reason)", at: now, &effects)
    return .none
  }

  // MARK: Time

  /// Does what is due. To be called when `deadline` has come.
  mutating func wake(at now: Instant, into effects: inout PeerEffects) {
    switch phase {
    case .waiting(let until):
      guard until <= now else { return }
      guard isStale, options.resolver != nil, Endpoint(address: target.host, port: 1) == nil else {
        return knock(&effects)
      }
      phase = .resolving
      effects.list.append(.resolveDonor(host: target.host, port: target.port))
    case .connecting(let link), .greeting(let link), .proving(let link, _):
      guard callEnd > now else {
        effects.list.append(.close(link, afterFlush: false))
        return later("it does not answer", at: now, &effects)
      }
      guard repeatAt <= now else { return }
      if case .greeting = phase { sayHello(link, at: now, &effects) }
      if case .proving(_, let answer) = phase { sayProof(link, answer, at: now, &effects) }
    case .resolving, .done: return
    }
  }

  private mutating func knock(_ effects: inout PeerEffects) {
    phase = .waiting(until: .never)
    effects.list.append(.knock(endpoint))
  }

  /// When `wake` must be called next.
  var deadline: Instant {
    switch phase {
    case .waiting(let until): until
    case .connecting: callEnd
    case .greeting, .proving: min(callEnd, repeatAt)
    case .resolving, .done: .never
    }
  }

  private mutating func later(_ reason: String, at now: Instant, _ effects: inout PeerEffects) {
    let doubled = options.timings.backoffMin.nanos << UInt64(min(failureCount, 16))
    failureCount += 1
    let wait = min(doubled, Self.backoffMax.nanos)
    let jitter = UInt64(chance.below(Int(wait / 2) + 1))
    phase = .waiting(until: now + Interval(nanos: wait - jitter))
    endpointIndex += 1
    if endpointIndex >= endpoints.count { isStale = true }
    if let last = saidAt, now - last < Self.sayInterval { return }
    saidAt = now
    effects.lines.append((.info, "cannot join at \(target.donor) yet: \(reason); asking again"))
  }

  // MARK: Parts

  private var endpoint: Endpoint { endpoints[endpointIndex % endpoints.count] }

  private mutating func sayHello(
    _ link: LinkID, at now: Instant, _ effects: inout PeerEffects
  ) {
    repeatAt = now + options.timings.repeatInterval
    let begin = effects.bytes.count
    effects.bytes.append(helloBytes)
    effects.list.append(.send(link, begin..<effects.bytes.count))
  }

  private mutating func sayProof(
    _ link: LinkID, _ answer: PeerHello, at now: Instant, _ effects: inout PeerEffects
  ) {
    repeatAt = now + options.timings.repeatInterval
    let begin = effects.bytes.count
    PeerHeader(
      version: Peers.common(answer.versions, hello.versions) ?? hello.versions.upperBound,
      sender: answer.receiver, session: session(answer)
    ).append(.proof, to: &effects.bytes)
    effects.bytes.append(code(by: .caller))
    effects.list.append(.send(link, begin..<effects.bytes.count))
  }

  private func session(_ answer: PeerHello) -> UInt64 { hello.nonce.first ^ answer.nonce.first }

  private func code(by role: PeerProof.Role) -> [UInt8] {
    PeerProof.code(
      by: role, caller: helloBytes, answerer: answerBytes, options.authenticator)
  }

  /// Words that nobody without the key can foresee, and that `Peers` does not use.
  private static func word(_ number: UInt64, _ key: SipKey) -> UInt64 {
    Peers.word(number | 1 << 63, of: key)
  }
}
