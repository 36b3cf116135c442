public import Base
public import NetKit
public import TPC

/// What one member is told about its cluster at its start.
public struct ClusterOptions: Sendable {
  /// The member that this process is; nil: what its directory says.
  public let ownID: MemberID?
  /// All members that the cluster begins with, this one included, by rising id; none: those that
  /// the directory names.
  public let members: [Member]
  /// What keeps this cluster apart from others; see `MemberList.clusterID`.
  public let clusterID: UInt64
  /// Proves and checks the cluster's secret; nil: there is none, and peers are on loopback only.
  public var authenticator: (any MessageAuthenticator)?
  /// Nonces, the incarnation and the jitter of this run are made from it: from the kernel, another
  /// one at each start, known to nobody.
  public var nonceKey: SipKey
  /// Intervals and limits of time.
  public var timings = PeerTimings()
  /// The versions of the protocol between members that are spoken: the newest, and the one before
  /// it where there is one.
  public var versions: ClosedRange<UInt8> = 1...1
  /// Bytes waiting to be written to one member above which further messages are dropped, as for one
  /// that cannot be reached.
  public var outputByteCountMax = 192 << 20
  /// The cluster is to be joined by this member of it; a process that is a member already goes on
  /// as that.
  public var joining: JoinTarget?
  /// Resolves names; nil: there are none but numeric ones.
  public var resolver: (any NameResolver)?

  /// A first start: `members` holds one of `ownID`.
  public init(
    ownID: MemberID?, members: [Member], clusterID: UInt64, nonceKey: SipKey,
    authenticator: (any MessageAuthenticator)?
  ) {
    let members = members.sorted { $0.id < $1.id }
    invariant(
      members.isEmpty || members.contains { $0.id == ownID },
      "this process is a member of its cluster")
    invariant(members.count <= MemberList.memberCountMax, "a cluster has at most 64 members")
    self.ownID = ownID
    self.members = members
    self.clusterID = clusterID
    self.nonceKey = nonceKey
    self.authenticator = authenticator
  }

  /// The start of a member whose directory says which it is, and of which cluster.
  public init(nonceKey: SipKey, authenticator: (any MessageAuthenticator)?) {
    self.init(
      ownID: nil, members: [], clusterID: 0, nonceKey: nonceKey, authenticator: authenticator)
  }

  /// The options of the contact number `number` of a joiner: nonces and incarnation of its own.
  func contact(_ number: UInt64) -> ClusterOptions {
    var options = self
    let word = { Peers.word(1 << 62 | 2 * number + $0, of: nonceKey) }
    options.nonceKey = SipKey(k0: word(0), k1: word(1))
    return options
  }

  /// The first list, as it is kept; nil: the directory decides.
  var founding: Membership? {
    let text = members.map { "\($0.id)=\($0.address)" }.joined(separator: ",")
    guard !members.isEmpty, let list = try? MemberList(text) else { return nil }
    return Membership(clusterID: clusterID, list: list)
  }
}

/// Asks what names of members mean, off the loop, which is woken when there is an answer.
public protocol NameResolver: Sendable {
  /// Begins to ask; false when that cannot be done now.
  func start(ticket: UInt64, host: String, port: UInt16) -> Bool
  /// The next answer that has come; an empty one means that the name is not known.
  func poll() -> (ticket: UInt64, endpoints: [Endpoint], problem: String)?
}

/// Proves to another member that this one knows the cluster's secret.
///
/// The function is HMAC-SHA256 from a library; tests hand in another. Called on the loop, a few
/// times for each link that is opened.
public protocol MessageAuthenticator: Sendable {
  /// The code of `message` under the cluster's secret, `PeerProof.codeByteCount` bytes.
  func code(of message: UnsafeRawBufferPointer) -> [UInt8]
}

/// How long members wait for each other.
public struct PeerTimings: Sendable {
  /// A member to which nothing was sent for this long is sent a ping.
  public var pingInterval = Interval.millis(500)
  /// The round trip and the clocks are measured this often even when there is traffic.
  public var measureInterval = Interval.seconds(2)
  /// Who was removed is still told so on links of before for this long.
  public var farewell = Interval.seconds(5)
  /// A member that was silent for longer is unreachable.
  public var silenceMax = Interval.seconds(2)
  /// A link that was silent for longer may be that of a process which died, and whose next run is
  /// there: the time of a ping and more.
  public var twinSilence = Interval.millis(750)
  /// A link that was silent for longer is closed and opened anew.
  public var linkSilenceMax = Interval.seconds(5)
  /// Opening a link and proving the secret both ways take at most this long.
  public var handshakeTimeout = Interval.seconds(3)
  /// A word of the handshake that got no answer is said again after this long.
  public var repeatInterval = Interval.millis(200)
  /// Bounds of the wait before a link is opened again; it doubles with each failure.
  public var backoffMin = Interval.millis(50)
  public var backoffMax = Interval.millis(500)
  /// The wait after a refusal, which only a person can end.
  public var refusedBackoff = Interval.seconds(2)
  /// Clocks of members that are further apart raise an alarm.
  public var skewMax = Interval.seconds(5)
  /// The owner was away when it woke us this much too late: silence of that time is our own.
  public var absenceMin = Interval.seconds(1)
  /// A guest that was silent for longer gives way to another one.
  public var guestSilenceMax = Interval.seconds(10)
  /// A stranger's mistake of one kind is logged this often at most.
  public var strangerLogInterval = Interval.seconds(60)

  /// The defaults.
  public init() {}
}
