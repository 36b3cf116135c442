import Base
import NetKit
import TPC
import Testing

@testable import Node

/// The first words between a joiner and a member, over a link that may lose and repeat them.
struct JoinCallTests {
  @Test func aJoinerWithTheSecretBecomesTheGuest() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    let welcome = try #require(world.welcome)
    #expect(welcome.id == MemberID(4) && welcome.donor == MemberID(2))
    #expect(welcome.clusterID == 77 && welcome.stamp == Stamp(nanos: 99))
    #expect(welcome.endpoint == peerEndpoint(2))
    #expect(world.guest == MemberID(4) && world.guests == [MemberID(4)])
    #expect(world.roles == [.member, .member, .guest] && world.reachableCount == 1)
    #expect(world.log == ["member 4 (j4:7000) asks to join"])
    // It is called like a member from now on.
    #expect(world.calls.contains(MemberID(4)))
  }

  @Test(arguments: 1...30 as ClosedRange<UInt64>)
  func lossAndRepetitionDoNoHarm(seed: UInt64) throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), seed: seed)
    world.lost = 30
    world.repeated = 30
    world.run(millis: 30_000)
    #expect(world.welcome?.id == MemberID(4))
    #expect(world.guest == MemberID(4))
  }

  @Test(
    arguments: [
      (
        "other", "open sesame",
        "refuses to let this process join: its cluster secret is another one"
      ),
      (nil, "open sesame", "it has no cluster secret, this cluster has one"),
      ("open sesame", nil, "it has a cluster secret, this cluster has none"),
    ] as [(String?, String?, String)])
  func secretsMustBeTheSame(ours: String?, theirs: String?, phrase: String) {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3, secret: theirs), secret: ours)
    world.run(millis: 5_000)
    #expect(world.welcome == nil && world.guests.isEmpty)
    let refusal = world.refusal ?? ""
    // Who has none is told so, or finds out by the answer.
    #expect(refusal.hasSuffix(phrase), "\(refusal)")
    #expect(world.log.count <= 1)
  }

  @Test func theIdsAndAddressesOfMembersAreRefused() {
    for id in 1...3 {
      let world = JoinCallWorld(member: peerOptions(2, of: 3), id: MemberID(UInt16(id)))
      world.run(millis: 5_000)
      #expect(world.refusal?.hasSuffix("leave it out to get a free one") == true)
      #expect(world.guests.isEmpty)
    }
    for address in ["m1:7000", "m2:7000"] {
      let world = JoinCallWorld(member: peerOptions(2, of: 3), address: address)
      world.run(millis: 5_000)
      #expect(world.refusal?.hasSuffix("a member has its address (--advertise)") == true)
    }
    let world = JoinCallWorld(member: peerOptions(2, of: 3), address: "nowhere")
    world.run(millis: 5_000)
    #expect(world.refusal?.hasSuffix("its address (--advertise) is not HOST:PORT") == true)
  }

  @Test func anIdMayBeAskedFor() {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), id: MemberID(40))
    world.run(millis: 50)
    #expect(world.welcome?.id == MemberID(40) && world.guest == MemberID(40))
  }

  @Test func theIdOfAnUnfinishedJoinIsAskedForAgainUnlessItIsTaken() {
    var world = JoinCallWorld(member: peerOptions(2, of: 3), former: MemberID(40))
    world.run(millis: 50)
    #expect(world.welcome?.id == MemberID(40))
    world = JoinCallWorld(member: peerOptions(2, of: 3), former: MemberID(3))
    world.run(millis: 5_000)
    #expect(world.welcome?.id == MemberID(4) && world.refusal == nil)
  }

  /// Its id was a member's that is removed by force; the member that it asks hears of it only when
  /// it votes for the change that makes this one a member under that id.
  @Test(arguments: ["m3:7000", "j4:7000"])
  func theGuestOfAChangeInDoubtComesBackUnderItsId(address: String) throws {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3), address: address, clusterID: 77, former: MemberID(3))
    world.run(millis: 60)
    #expect(world.welcome == nil)
    #expect(world.joinerLog.contains { $0.contains("its --id is that of a member") })
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=\(address)"), guests: MemberSet([MemberID(3)]))
    world.run(millis: 10_000)
    #expect(world.welcome?.id == MemberID(3) && world.refusal == nil)
  }

  /// What it was told to be is a member's for good.
  @Test(arguments: ["m3:7000", "j4:7000"])
  func anUnfinishedJoinEndsWhereItsIdOrAddressStaysTaken(address: String) throws {
    let id = address == "j4:7000" ? MemberID(3) : nil
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3), id: id, address: address, clusterID: 77, former: MemberID(3))
    world.run(millis: 20_000)
    #expect(world.refusal == nil)
    world.run(millis: 100_000)
    #expect(world.refusal?.contains("refuses to let this process join") == true)
    #expect(world.welcome == nil)
  }

  @Test func aGuestWhoseIdAnotherOneHasIsNoGuestAnyMore() throws {
    let members = "1=m1:7000,2=m2:7000,3=m3:7000"
    var world = JoinCallWorld(member: peerOptions(2, of: 3), address: "J4:7000")
    world.run(millis: 50)
    // Its address is written as in lists.
    world.follow(try MemberList(members + ",4=j4:7000"))
    #expect(world.roles == [.member, .member, .member])
    #expect(world.addressOfFour == "j4:7000" && world.guest == nil)
    world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    #expect(world.guest == MemberID(4))
    world.follow(try MemberList(members + ",4=j5:7000"))
    #expect(world.addressOfFour == "j5:7000" && world.guest == nil)
  }

  @Test func oneJoinsAtATime() {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    // Another one waits as long as the first is there.
    world.call("j9:7000")
    world.run(millis: 1_000)
    #expect(world.welcome == nil && world.refusal == nil)
    #expect(world.joinerLog.contains { $0.hasSuffix("another one is joining there; asking again") })
    // The first one comes back at once, with the same id.
    world.call("j4:7000")
    world.run(millis: 50)
    #expect(world.welcome?.id == MemberID(4) && world.guests.count == 2)
    // Who was silent for long gives way.
    world.run(millis: 11_000)
    world.call("j9:7000")
    world.run(millis: 5_000)
    #expect(world.welcome?.id == MemberID(4) && world.guests.count == 3)
  }

  @Test func anUnfinishedJoinGoesOnInItsClusterOnly() {
    var world = JoinCallWorld(member: peerOptions(2, of: 3), clusterID: 78)
    world.run(millis: 1_000)
    #expect(world.refusal?.contains("it belongs to another cluster") == true)
    world = JoinCallWorld(member: peerOptions(2, of: 3), clusterID: 77)
    world.run(millis: 1_000)
    #expect(world.welcome != nil)
  }

  @Test(arguments: [0, 77] as [UInt64], ["j4:7000", "j5:7000"])
  func onlyTheGuestOfAChangeInDoubtSpeaksForIt(clusterID: UInt64, address: String) throws {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3), id: MemberID(4), address: address, clusterID: clusterID)
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=m3:7000,4=j4:7000"), guests: MemberSet([MemberID(4)]))
    world.run(millis: 5_000)
    let isItself = clusterID == 77 && address == "j4:7000"
    #expect((world.welcome != nil) == isItself && world.refusal == nil)
  }

  /// Who proposed the change alone may begin its copy again.
  @Test(arguments: [false, true])
  func theGuestOfAnotherMembersChangeIsNotThisOnes(isOthers: Bool) throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=m3:7000,4=j4:7000"), guests: MemberSet([MemberID(4)]),
      losesGuest: isOthers)
    #expect(world.guest == (isOthers ? nil : MemberID(4)))
    #expect(world.roles == [.member, .member, .guest])
  }

  /// The guest of a change in doubt comes back, when its member has restarted: its place is free.
  @Test func nobodyTakesThePlaceOfTheGuestOfAChangeInDoubt() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), address: "j5:7000")
    let list = "1=m1:7000,2=m2:7000,3=m3:7000"
    world.follow(try MemberList(list + ",4=j4:7000"), guests: MemberSet([MemberID(4)]))
    world.run(millis: 1_000)
    #expect(world.welcome == nil && world.refusal == nil)
    #expect(world.joinerLog.contains { $0.hasSuffix("another one is joining there; asking again") })
    world.follow(try MemberList(list))
    world.run(millis: 5_000)
    #expect(world.welcome != nil)
  }

  @Test func whoDoesNotAnswerIsAskedAgain() {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.lost = 100
    world.run(millis: 10_000)
    #expect(world.knockCount >= 2 && world.welcome == nil && world.refusal == nil)
    #expect(world.joinerLog.count <= 2)
    #expect(world.joinerLog[0].hasSuffix("it does not answer; asking again"))
    world.lost = 0
    world.run(millis: 10_000)
    #expect(world.welcome != nil)
  }

  @Test func theNameOfTheMemberIsResolvedAgainForEachFurtherRound() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), resolves: true)
    world.isAway = true
    world.run(millis: 10_000)
    // Not for the first call, whose address is of just now.
    #expect(world.resolveCount == world.knockCount - 1 && world.knockCount >= 3)
    // It moves, and its name is not known for a while.
    world.isAway = false
    world.address = nil
    world.run(millis: 12_000)
    #expect(world.welcome == nil)
    #expect(world.joinerLog.last?.hasSuffix("yet: m2 is nowhere; asking again") == true)
    world.address = Endpoint(ipv4: 0x7F00_0063, port: 7_000)
    world.run(millis: 5_000)
    #expect(try #require(world.welcome).endpoint == world.address)
  }

  @Test func withoutASecretANameIsFollowedToLoopbackOnly() {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3, secret: nil), secret: nil, resolves: true)
    world.isAway = true
    world.address = Endpoint(ipv4: 0x0A00_0001, port: 7_000)
    world.run(millis: 15_000)
    #expect(world.knockCount == 1 && world.welcome == nil)
    #expect(world.joinerLog.contains { $0.contains("members are on loopback addresses only") })
  }

  @Test(arguments: [false, true])
  func aHelloKeepsItsAddress(ofGuest isGuest: Bool) throws {
    let hello = PeerHello(
      versions: 1...1, hasSecret: true, sender: MemberID(0), receiver: MemberID(0), clusterID: 0,
      epoch: Epoch(0), incarnation: 0, stamp: .zero, nonce: PeerNonce(first: 1, last: 2),
      answered: PeerNonce())
    for count in [0, 1, PeerHello.addressByteCountMax, PeerHello.addressByteCountMax + 1] {
      var hello = hello
      let address = String(repeating: "a", count: count)
      if isGuest { hello.guestAddress = address } else { hello.joinerAddress = address }
      var buffer = ByteBuffer()
      hello.append(to: &buffer)
      let again = PeerHello(buffer.bytes)
      #expect((again == hello) == (1...PeerHello.addressByteCountMax).contains(count))
      for cut in 0..<buffer.count where count > 0 {
        #expect(PeerHello(UnsafeRawBufferPointer(rebasing: buffer.bytes[..<cut])) == nil)
      }
    }
  }
}

/// The world answers in its place.
private struct NoResolver: NameResolver {
  func start(ticket: UInt64, host: String, port: UInt16) -> Bool { fatalError("nobody asks it") }
  func poll() -> (ticket: UInt64, endpoints: [Endpoint], problem: String)? { nil }
}

/// A joiner and one member, with a link between them.
final class JoinCallWorld {
  /// Of a hundred messages.
  var lost = 0
  var repeated = 0
  /// Nobody listens where the member is called.
  var isAway = false
  /// What the member's name means; nil: it is not known.
  var address: Endpoint? = peerEndpoint(2)
  private(set) var resolveCount = 0
  private var peers: Peers
  private var call: JoinCall
  private(set) var now = Instant(nanos: 1_000_000_000)
  private(set) var welcome: JoinWelcome?
  private(set) var refusal: String?
  private(set) var guests: [MemberID] = []
  private(set) var calls: [MemberID] = []
  private(set) var log: [String] = []
  private(set) var joinerLog: [String] = []
  private(set) var knockCount = 0
  private let options: ClusterOptions
  private let clusterID: UInt64
  private let id: MemberID?
  private let former: MemberID?
  private var chance: Random
  private var linkCount: UInt64 = 0
  /// The joiner's end, and the member's.
  private var near = LinkID.none
  private var far = LinkID.none
  private var toMember: [(at: Instant, link: LinkID, bytes: [UInt8])] = []
  private var toJoiner: [(at: Instant, link: LinkID, bytes: [UInt8])] = []

  init(
    member: ClusterOptions, secret: String? = "open sesame", id: MemberID? = nil,
    address: String = "j4:7000", clusterID: UInt64 = 0, former: MemberID? = nil,
    resolves: Bool = false, seed: UInt64 = 1
  ) {
    peers = Peers(member)
    peers.stamp = Stamp(nanos: 99)
    var options = peerOptions(9, of: 9, secret: secret, run: seed)
    if resolves { options.resolver = NoResolver() }
    self.options = options
    chance = Random(seed: seed)
    self.clusterID = clusterID
    self.id = id
    self.former = former
    call = Self.call(address, options, id, clusterID, former, Instant(nanos: 1_000_000_000))
    peers.start(at: moment)
  }

  private static func call(
    _ address: String, _ options: ClusterOptions, _ id: MemberID?, _ clusterID: UInt64,
    _ former: MemberID?, _ now: Instant
  ) -> JoinCall {
    let target = JoinTarget(
      host: "m2", port: 7_000, endpoints: [peerEndpoint(2)], id: id, address: address)
    return JoinCall(target, options, clusterID: clusterID, id: former, at: now)
  }

  /// A new call, of a process that is reached at this address.
  func call(_ address: String) {
    welcome = nil
    refusal = nil
    call = Self.call(address, options, id, clusterID, former, now)
  }

  /// The list of members changes, or who is a guest of a change in doubt.
  func follow(_ list: MemberList, guests: MemberSet = MemberSet(), losesGuest: Bool = false) {
    var effects = PeerEffects()
    peers.setMembers(
      Peers.members(list.entries, options), guests: guests, losesGuest: losesGuest,
      epoch: Epoch(2), at: moment, into: &effects)
    carryOut(effects)
  }

  var guest: MemberID? { peers.guest }
  var addressOfFour: String? { peers.address(of: MemberID(4)) }
  var reachableCount: Int { peers.reachableCount }
  var roles: [PeerRole] { peers.statuses(at: now).map(\.role) }
  private var moment: Moment {
    Moment(instant: now, wallNanos: 1_700_000_000_000_000_000 + now.nanos)
  }

  func run(millis: Int) {
    for _ in 0..<millis {
      now = now + .millis(1)
      step()
    }
  }

  private func step() {
    var effects = PeerEffects()
    for message in toMember.filter({ $0.at <= now }) {
      message.bytes.withUnsafeBytes {
        let delivery = peers.receive($0, on: message.link, at: moment, into: &effects)
        precondition(delivery == nil)
      }
    }
    toMember.removeAll { $0.at <= now }
    if peers.deadline <= now { peers.wake(at: moment, into: &effects) }
    carryOut(effects)
    var own = PeerEffects()
    for message in toJoiner.filter({ $0.at <= now }) {
      let answer = message.bytes.withUnsafeBytes {
        call.receive($0, on: message.link, at: now, into: &own)
      }
      switch answer {
      case .none: break
      case .welcomed(let welcome): self.welcome = welcome
      case .refused(let text): refusal = text
      }
    }
    toJoiner.removeAll { $0.at <= now }
    if call.deadline <= now { call.wake(at: now, into: &own) }
    carryOutOfJoiner(own)
  }

  private func carryOut(_ effects: borrowing PeerEffects) {
    for effect in effects.list {
      switch effect {
      case .send(far, let place):
        pass(Array(effects.bytes.bytes[place])) { $0.toJoiner.append(($1, $0.near, $2)) }
      case .close(far, _): far = .none
      case .connect(let member, _):
        calls.append(member)
        peers.called(member, as: .none, at: moment)
      case .guest(let member): guests.append(member)
      case .send, .close, .trust, .reachable, .unreachable, .knock, .epoch, .outdated, .disowned,
        .resolve, .resolveDonor, .met:
        break
      }
    }
    log += effects.lines.map(\.text)
  }

  private func carryOutOfJoiner(_ effects: borrowing PeerEffects) {
    var further = PeerEffects()
    for effect in effects.list {
      switch effect {
      case .send(near, let place):
        pass(Array(effects.bytes.bytes[place])) { $0.toMember.append(($1, $0.far, $2)) }
      case .close(near, _): end()
      case .knock(let endpoint):
        precondition(endpoint == peerEndpoint(2) || endpoint == address)
        knockCount += 1
        if isAway {
          near = LinkID(raw: 1 << 32 | linkCount)
          call.called(as: near, at: now, into: &further)
          call.closed(near, at: now, into: &further)
          continue
        }
        linkCount += 2
        near = LinkID(raw: 1 << 32 | linkCount)
        far = LinkID(raw: 1 << 32 | linkCount + 1)
        call.called(as: near, at: now, into: &further)
        peers.opened(far, from: peerEndpoint(4), at: moment, into: &further)
        call.opened(near, at: now, into: &further)
      case .resolveDonor(let host, let port):
        precondition(host == "m2" && port == 7_000)
        resolveCount += 1
        call.resolved(
          address.map { [$0] } ?? [], problem: "\(host) is nowhere", at: now, into: &further)
      default: fatalError("a joiner does not do \(effect)")
      }
    }
    joinerLog += effects.lines.map(\.text)
    if !further.list.isEmpty || !further.lines.isEmpty { carryOutOfJoiner(further) }
  }

  private func end() {
    var effects = PeerEffects()
    if far != .none { peers.closed(far, .closed, at: moment, into: &effects) }
    precondition(effects.list.isEmpty)
    near = .none
    far = .none
  }

  private func pass(
    _ bytes: [UInt8], _ body: (JoinCallWorld, Instant, [UInt8]) -> Void
  ) {
    guard !chance.chance(lost, in: 100) else { return }
    for _ in 0..<(chance.chance(repeated, in: 100) ? 2 : 1) {
      body(self, now + .millis(UInt64(chance.within(1...3))), bytes)
    }
  }
}
