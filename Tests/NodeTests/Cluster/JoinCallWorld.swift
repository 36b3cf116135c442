import Base
import NetKit
import TPC

@testable import Node

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
  func call(_ address: String, former: MemberID? = nil) {
    welcome = nil
    refusal = nil
    call = Self.call(address, options, id, clusterID, former ?? self.former, now)
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

/// The world answers in its place.
private struct NoResolver: NameResolver {
  func start(ticket: UInt64, host: String, port: UInt16) -> Bool { fatalError("nobody asks it") }
  func poll() -> (ticket: UInt64, endpoints: [Endpoint], problem: String)? { nil }
}
