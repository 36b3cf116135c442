public import Base
public import NetKit
public import TPC

/// Everything between two members below the transactions: one proven link per pair, who is there,
/// and how long it has been silent.
///
/// Pure. The owner tells it what became of links (`called`, `opened`, `closed`), gives it messages
/// (`receive`), calls `wake` when `deadline` has come, and carries out what it finds in the effects
/// after each call. The member with the lower id calls; the other one asks, when it has no link for
/// a while, whether it is still a member. Messages may be lost, repeated and late; nothing is kept
/// for a member that cannot be reached.
public struct Peers: ~Copyable {
  /// What it was started with.
  public let options: ClusterOptions
  /// This member.
  public let ownID: MemberID
  /// What keeps this cluster apart from others.
  public let clusterID: UInt64
  /// Which run of this member this is.
  public let incarnation: UInt64
  /// The number of the member list at hand; 0 before this one is a member.
  public private(set) var epoch: Epoch
  /// The hybrid time here, told in hellos; kept up to date by the owner.
  public var stamp = Stamp(nanos: 0)
  /// What was counted.
  public internal(set) var counters = PeerCounters()

  /// The name of the own data directory, told in hellos; 0: none.
  let directory: UInt64
  /// Those of other members, as they were first met.
  public internal(set) var directories: [MemberID: UInt64]

  /// The other members, by rising id.
  var others: [PeerMember] = []
  /// Links in handshake and open ones.
  /// What all members have seen.
  private(set) var base: Epoch
  var sessions: [PeerSession] = []
  /// The only one to call; nil: all.
  private(set) var onlyCalled: MemberID?
  var chance: Random
  /// When a stranger's mistake of each kind was logged last.
  var strangerLogs = [Instant?](repeating: nil, count: PeerRefusal.allCases.count + 1)
  private var nonceCount: UInt64 = 0
  private var isStarted = false
  let firstMembers: [Member]
  /// Where this process is reached, as long as it is a guest; nil: it never was one.
  let guestAddress: String?

  /// Links that others opened and have not proven; above it the oldest gives way.
  public static var strangerCountMax: Int { 32 }
  /// Bytes of a message on a link that is not proven.
  public static var strangerMessageByteCountMax: Int { PeerMessage.handshakeByteCountMax }
  /// Messages taken on a link before it is proven.
  static var strangerMessageCountMax: Int { 64 }

  /// The peers of the member that the options name, or of one whose directory says more; with an
  /// address, of a guest that is reached there, and calls only its donor until it has voted.
  /// `directory` is the name of the own data directory, `directories` what was kept of the
  /// others'. Nothing happens before `start`.
  public init(
    _ options: ClusterOptions, as ownID: MemberID? = nil, of membership: Membership? = nil,
    at guestAddress: String? = nil, onlyCalled: MemberID? = nil, directory: UInt64 = 0,
    directories: [MemberID: UInt64] = [:]
  ) {
    guard let ownID = ownID ?? options.ownID else { invariantFailed("a member has an id") }
    self.options = options
    self.ownID = ownID
    clusterID = membership?.clusterID ?? options.clusterID
    firstMembers = membership.map { Self.members($0.list.entries, options) } ?? options.members
    epoch = guestAddress != nil ? Epoch(0) : membership?.epoch ?? Epoch(1)
    base = membership?.base ?? Epoch(0)
    self.guestAddress = guestAddress.map(Self.spelling)
    self.onlyCalled = onlyCalled
    self.directory = directory
    self.directories = directories
    incarnation = Self.word(0, of: options.nonceKey)
    chance = Random(seed: Self.word(1, of: options.nonceKey))
  }

  /// Begins to call the others, and to answer them; once. What makes this process a member is
  /// durable by then, so that its directory is the same after a crash.
  public mutating func start(at now: Moment) {
    guard !isStarted else { return }
    isStarted = true
    for member in firstMembers where member.id != ownID {
      others.append(newcomer(member, at: now))
    }
  }

  /// Takes another member list; `guests` of it take part in a change and are no members yet. Links
  /// with who is no longer in it stay open a while, so that it can be told. To be called when the
  /// list is durable: its epoch is what the others hear. `losesGuest`: the change is another
  /// member's, which alone may begin anew with its guest. `onlyCalled`: who has yet to join calls
  /// nobody else. `base`: what all members have seen.
  public mutating func setMembers(
    _ members: [Member], guests: MemberSet = MemberSet(), losesGuest: Bool = false,
    onlyCalled: MemberID? = nil, epoch: Epoch, base: Epoch = Epoch(0), at now: Moment,
    into effects: inout PeerEffects
  ) {
    self.onlyCalled = onlyCalled
    self.base = base
    invariant(members.count <= MemberList.memberCountMax + 1, "at most 64 members and a guest")
    self.epoch = epoch
    dismissGuest(unlessIn: members, at: now, into: &effects)
    var fresh: [PeerMember] = []
    for member in members where member.id != ownID {
      let isGuest = guests.contains(member.id)
      var entry: PeerMember
      if let known = index(of: member.id), !isAnother(member, isGuest: isGuest, than: others[known])
      {
        entry = others[known]
      } else {
        entry = newcomer(member, at: now)
        forget(member.id, into: &effects)
        endSessions(with: member.id, at: now, into: &effects)
      }
      if entry.member.address != member.address { entry.member = member }
      if entry.role == .guest { forget(member.id, into: &effects) }
      entry.role = isGuest ? .guest : .member
      if entry.role == .member || losesGuest { entry.isGuest = false }
      fresh.append(entry)
    }
    for var entry in others where !members.contains(where: { $0.id == entry.member.id }) {
      if entry.isGuest {
        // Its copy goes on.
        entry.role = .guest
        fresh.append(entry)
        continue
      }
      guard entry.link != .none else { continue }
      if entry.role != .leaving { entry.leavesAt = now.instant + options.timings.farewell }
      entry.role = .leaving
      entry.callAt = .never
      fresh.append(entry)
    }
    others = fresh.sorted { $0.member.id < $1.member.id }
    meetMembers(into: &effects)
    for other in others.indices {
      guard let index = session(of: others[other].link) else { continue }
      ping(other, index, at: now, into: &effects)
    }
    closeStrangers(at: now, into: &effects)
  }

  private mutating func endSessions(
    with member: MemberID, at now: Moment, into effects: inout PeerEffects
  ) {
    for index in sessions.indices.reversed() where sessions[index].member == member {
      end(index, at: now, into: &effects)
    }
  }

  /// Whether a member or guest of the list is another process than who had its id before, whose
  /// removal came with the list at the latest.
  private func isAnother(_ member: Member, isGuest: Bool, than former: PeerMember) -> Bool {
    switch former.role {
    case .leaving: true
    case .member: isGuest
    case .guest: former.member.address != member.address
    }
  }

  /// Ends links with who is no longer known.
  mutating func closeStrangers(at now: Moment, into effects: inout PeerEffects) {
    for index in sessions.indices.reversed() {
      guard let member = sessions[index].member, self.index(of: member) == nil else { continue }
      end(index, at: now, into: &effects)
    }
  }

  /// Members with what their addresses mean, as far as that is known.
  static func members(_ entries: [MemberAddress], _ options: ClusterOptions) -> [Member] {
    entries.map { entry in
      entry.member(at: options.members.first { $0.address == entry.text }?.endpoint)
    }
  }

  func newcomer(_ member: Member, at now: Moment) -> PeerMember {
    var newcomer = PeerMember(member, at: now.instant)
    newcomer.callAt = ownID < member.id ? now.instant : now.instant + options.timings.silenceMax
    return newcomer
  }

  // MARK: Links

  /// True for a link in handshake or open.
  public func holds(_ link: LinkID) -> Bool { session(of: link) != nil }

  /// Answers the effect `connect`: the link that was opened, `.none` when there is none to be had.
  public mutating func called(_ member: MemberID, as link: LinkID, at now: Moment) {
    guard let other = index(of: member) else { return }
    guard link != .none, let endpoint = others[other].member.endpoint else {
      return callLater(other, isRefused: false, at: now)
    }
    sessions.append(
      PeerSession(
        link: link, endpoint: endpoint, isCaller: true, member: member,
        phase: .connecting, handshakeEnd: now.instant + options.timings.handshakeTimeout))
  }

  /// Answers the effect `resolve`: what a name means; none: it is not known now.
  public mutating func resolved(
    _ member: MemberID, _ endpoints: [Endpoint], problem: String, at now: Moment,
    into effects: inout PeerEffects
  ) {
    guard let other = index(of: member), others[other].role != .leaving else { return }
    guard let endpoint = endpoints.first else {
      if !others[other].isUnresolved {
        effects.lines.append((.error, "\(name(of: other)): \(problem)"))
      }
      others[other].isUnresolved = true
      return callLater(other, isRefused: false, at: now)
    }
    if others[other].isUnresolved {
      effects.lines.append((.info, "\(name(of: other)) is \(endpoint)"))
    }
    others[other].isUnresolved = false
    others[other].member.endpoint = endpoint
    others[other].isFresh = true
    others[other].callAt = now.instant
  }

  /// A link is open, called or accepted.
  public mutating func opened(
    _ link: LinkID, from endpoint: Endpoint, at now: Moment, into effects: inout PeerEffects
  ) {
    if let index = session(of: link) {
      guard case .connecting = sessions[index].phase else { return }
      return greet(index, at: now, into: &effects)
    }
    guard isStarted else { return effects.list.append(.close(link, afterFlush: false)) }
    makeRoomForStranger(at: now, into: &effects)
    sessions.append(
      PeerSession(
        link: link, endpoint: endpoint, isCaller: false, member: nil, phase: .listening,
        handshakeEnd: now.instant + options.timings.handshakeTimeout))
    if options.authenticator == nil, !endpoint.isLoopback {
      refuse(sessions.count - 1, .notLoopback, at: now, into: &effects)
    }
  }

  /// A link is gone, or could not be opened.
  public mutating func closed(
    _ link: LinkID, _ end: LinkEnd, at now: Moment, into effects: inout PeerEffects
  ) {
    guard let index = session(of: link) else { return }
    let session = sessions[index]
    remove(index, at: now)
    guard let member = session.member, let other = self.index(of: member),
      others[other].link == .none
    else { return }
    if session.isCaller, end == .refused {
      lose(other, because: "refuses connections", at: now, into: &effects)
    } else if session.isOpen, !session.isCaller {
      // The member has died, or only the link: a call that is refused tells.
      others[other].callAt = now.instant + options.timings.backoffMin
    }
  }

  private mutating func makeRoomForStranger(at now: Moment, into effects: inout PeerEffects) {
    let strangers = sessions.indices.filter { !sessions[$0].isOpen && !sessions[$0].isCaller }
    guard strangers.count >= Self.strangerCountMax else { return }
    counters.failedHandshakes += 1
    end(strangers[0], at: now, into: &effects)
  }

  /// There are links in handshake or open.
  var hasLinks: Bool { !sessions.isEmpty }

  // MARK: Messages

  /// Takes one message as it came. Never traps, whatever it is. Answers what is for others than
  /// `Peers`.
  public mutating func receive(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Moment,
    into effects: inout PeerEffects
  ) -> PeerDelivery? {
    guard let index = session(of: link) else { return nil }
    guard sessions[index].isOpen else {
      takeHandshake(bytes, index, at: now, into: &effects)
      return nil
    }
    guard let message = PeerMessage(bytes) else {
      counters.malformed += 1
      return nil
    }
    return takeOpen(message, index, at: now, into: &effects)
  }

  /// Takes a message on a proven link.
  private mutating func takeOpen(
    _ message: PeerMessage, _ index: Int, at now: Moment, into effects: inout PeerEffects
  ) -> PeerDelivery? {
    switch message {
    case .payload(let header, let payload):
      guard let other = heard(header, index, at: now, into: &effects) else { return nil }
      counters.delivered += 1
      return PeerDelivery(
        member: others[other].member.id, channel: .negotiator, payload: payload)
    case .ping(let header, let pulse):
      guard let other = heard(header, index, at: now, into: &effects) else { return nil }
      note(pulse.epoch, of: other, into: &effects)
      answer(pulse, other, index, at: now, into: &effects)
    case .pong(let header, let pulse):
      guard let other = heard(header, index, at: now, into: &effects) else { return nil }
      note(pulse.epoch, of: other, into: &effects)
      measure(pulse, other, at: now, into: &effects)
    case .copy(let header, let payload):
      guard let other = heard(header, index, at: now, into: &effects) else { return nil }
      counters.delivered += 1
      return PeerDelivery(member: others[other].member.id, channel: .copy, payload: payload)
    case .list(let header, let place):
      guard let other = heard(header, index, at: now, into: &effects) else { return nil }
      return PeerDelivery(member: others[other].member.id, channel: .list, payload: place)
    case .proof(let header, _) where !sessions[index].isCaller:
      guard heard(header, index, at: now, into: &effects) != nil else { return nil }
      // The caller has not seen our welcome.
      sayWelcome(index, into: &effects)
    case .refusal(let header, let reason) where belongs(header, to: index):
      refused(index, reason, at: now, into: &effects)
    case .proof, .hello, .welcome, .refusal: counters.stale += 1
    }
    return nil
  }

  /// Sends a message to a member; false when it cannot be reached and the message was dropped.
  @discardableResult
  public mutating func send(
    _ payload: UnsafeRawBufferPointer, to member: MemberID, on channel: PeerChannel = .negotiator,
    at now: Moment, into effects: inout PeerEffects
  ) -> Bool {
    guard let other = index(of: member), others[other].isReachable,
      let index = session(of: others[other].link)
    else {
      counters.dropped += 1
      return false
    }
    counters.sent += 1
    let kind: PeerMessageKind =
      switch channel {
      case .negotiator: .payload
      case .list: .list
      case .copy: .copy
      }
    put(kind, index, at: now, into: &effects) { $0.append(payload) }
    return true
  }

  /// Sends a member list, to members and to who is no longer one.
  public mutating func send(
    list: UnsafeRawBufferPointer, to member: MemberID, at now: Moment,
    into effects: inout PeerEffects
  ) {
    guard let other = index(of: member), let index = session(of: others[other].link) else { return }
    put(.list, index, at: now, into: &effects) { $0.append(list) }
  }

  // MARK: Parts

  /// Takes the epoch that another member says.
  private mutating func note(
    _ epoch: Epoch, of other: Int, into effects: inout PeerEffects
  ) {
    guard var greeting = others[other].greeting else { return }
    let isNews = greeting.epoch != epoch
    greeting.epoch = epoch
    others[other].greeting = greeting
    meet(other, into: &effects)
    // Said again as long as it is another one, so that the list is told again.
    if isNews || epoch != self.epoch { effects.list.append(.epoch(greeting)) }
  }

  /// The place of a link's session.
  func session(of link: LinkID) -> Int? { sessions.firstIndex { $0.link == link } }

  /// The place of a member.
  func index(of member: MemberID) -> Int? { others.firstIndex { $0.member.id == member } }

  mutating func nextNonce() -> PeerNonce {
    nonceCount += 2
    let key = options.nonceKey
    return PeerNonce(
      first: Self.word(nonceCount, of: key), last: Self.word(nonceCount + 1, of: key))
  }

  /// Words that nobody without the key can foresee.
  static func word(_ number: UInt64, of key: SipKey) -> UInt64 {
    withUnsafeBytes(of: number.littleEndian) { SipHash.hash24($0, key: key) }
  }

  /// Puts a message of a session into the effects.
  mutating func put(
    _ kind: PeerMessageKind, _ index: Int, at now: Moment?, into effects: inout PeerEffects,
    _ body: (inout ByteBuffer) -> Void
  ) {
    let session = sessions[index]
    let begin = effects.bytes.count
    PeerHeader(version: session.version, sender: ownID, session: session.number)
      .append(kind, to: &effects.bytes)
    body(&effects.bytes)
    effects.list.append(.send(session.link, begin..<effects.bytes.count))
    if let now, let member = session.member, let other = self.index(of: member) {
      others[other].lastSent = now.instant
    }
  }
}
