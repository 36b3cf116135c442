import Base
import NetKit
import TPC

/// One link to another member, from its opening to its end.
struct PeerSession {
  /// How far the handshake is. Every phase can end with the link.
  enum Phase {
    /// We called and wait for the transport. Can transition to: greeting.
    case connecting
    /// We called and said hello. Can transition to: proving.
    case greeting
    /// We called and sent our proof. Can transition to: open.
    case proving
    /// We were called and wait for a hello. Can transition to: challenging.
    case listening
    /// We were called and answered the hello. Can transition to: open, admitted.
    case challenging
    /// We have welcomed a joiner, which ends the link, or one that is told the list before we do.
    case admitted
    /// Proven both ways, as far as we know.
    case open
  }

  let link: LinkID
  let endpoint: Endpoint
  /// We called; otherwise the other side did.
  let isCaller: Bool
  /// Whom we called, or who says to be there.
  var member: MemberID?
  var phase: Phase
  /// The hellos as they were sent, for the proofs and to be said again.
  var callerHello: [UInt8] = []
  var answererHello: [UInt8] = []
  /// The other side's hello.
  var greeting: PeerHello?
  /// Who called wants to join, with this address.
  var joinerAddress: String?
  /// The version agreed on.
  var version: UInt8 = 0
  /// What every message of this session carries.
  var number: UInt64 = 0
  var handshakeEnd: Instant
  var nextRepeat = Instant.never
  /// One of the two does not want to talk to the other.
  var isRefused = false
  /// Messages taken before the link was proven.
  var strangerMessageCount = 0

  init(
    link: LinkID, endpoint: Endpoint, isCaller: Bool, member: MemberID?, phase: Phase,
    handshakeEnd: Instant
  ) {
    self.link = link
    self.endpoint = endpoint
    self.isCaller = isCaller
    self.member = member
    self.phase = phase
    self.handshakeEnd = handshakeEnd
  }

  var isOpen: Bool { if case .open = phase { true } else { false } }

  /// Takes the other side's hello: what is agreed follows from both.
  mutating func agree(with hello: PeerHello, own: PeerHello, version: UInt8) {
    greeting = hello
    self.version = version
    number = own.nonce.first ^ hello.nonce.first
  }

  /// When the handshake needs attention.
  var deadline: Instant { isOpen ? .never : min(handshakeEnd, nextRepeat) }
}

/// What another one is here.
public enum PeerRole: String, Sendable {
  /// In the list.
  case member
  /// Takes part in a change that makes it a member.
  case guest = "joining"
  /// In the list no more.
  case leaving
}

/// Another member, whether it can be reached or not.
struct PeerMember {
  var member: Member
  var role = PeerRole.member
  /// When a link with one that is no member any more is closed.
  var leavesAt = Instant.never
  /// Its name could not be resolved.
  var isUnresolved = false
  /// Its name was resolved since the last call.
  var isFresh = false
  /// The proven link to it.
  var link = LinkID.none
  /// What it said last when a session began.
  var greeting: PeerGreeting?
  var version: UInt8 = 0
  var isReachable = false
  /// The guest that its own hello has made one.
  var isGuest = false
  /// The last sign of life; the start of this process before the first.
  var lastHeard: Instant
  var lastSent = Instant.zero
  var lastPing = Instant.zero
  /// When it is to be called; `never` while a call is under way or a link is open. One that is to
  /// call us is asked only whether it is there, and whether we are a member.
  var callAt = Instant.never
  /// Calls that failed since the last session.
  var failureCount = 0
  /// How often since then one of us took the other for a second process of its member.
  var twinCount = 0
  var roundTrip = Interval.zero
  /// How far its clock is ahead of ours, in nanoseconds.
  var skewNanos: Int64 = 0
  var isSkewed = false
  /// Why one of us does not want to talk to the other; nil since the last session.
  var refusal: PeerRefusal?
  /// Refusals logged since the last session, a bit each.
  var loggedRefusals: UInt64 = 0

  init(_ member: Member, at now: Instant) {
    self.member = member
    lastHeard = now
  }

  /// Notes a refusal; true when it is to be logged.
  mutating func note(_ refusal: PeerRefusal, isOurs: Bool) -> Bool {
    self.refusal = refusal
    let bit: UInt64 = 1 << (UInt64(refusal.rawValue) + (isOurs ? 32 : 0))
    defer { loggedRefusals |= bit }
    return loggedRefusals & bit == 0
  }

  /// Takes a measurement of the round trip: the smoothed time of RFC 6298, section 2.
  mutating func measured(_ sample: Interval) {
    let smoothed = roundTrip.nanos
    roundTrip.nanos = smoothed == 0 ? sample.nanos : smoothed - smoothed / 8 + sample.nanos / 8
  }
}

/// What was counted since the start.
public struct PeerCounters: Hashable, Sendable {
  /// Sessions begun.
  public var sessions: UInt64 = 0
  /// Links ended by a refusal, ours or theirs.
  public var refusals: UInt64 = 0
  /// Links ended because the handshake took too long, or brought what no member sends.
  public var failedHandshakes: UInt64 = 0
  /// Messages that no member sends.
  public var malformed: UInt64 = 0
  /// Messages of another session than the link's, repeated words of a handshake among them.
  public var stale: UInt64 = 0
  /// Messages for the negotiator.
  public var delivered: UInt64 = 0
  /// Messages of the negotiator that were sent.
  public var sent: UInt64 = 0
  /// Messages that were not sent because the member cannot be reached.
  public var dropped: UInt64 = 0
  /// Members that became unreachable.
  public var silences: UInt64 = 0
}
