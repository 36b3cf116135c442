import Base
import NetKit
import TPC

/// What a node has to do with joining: as the one that joins, or as the one that gives its data.
struct Joining: ~Copyable {
  // MARK: The one that joins

  /// This process is to join: it answers no client about data until it is a member.
  var isJoining = false
  /// The first contact, again and again until it succeeds.
  var call: JoinCall?
  /// What came of it.
  var welcome: JoinWelcome?
  var joiner: Joiner?
  /// Which run of the donor it is linked with.
  var donorIncarnation: UInt64?
  /// When the copy is given up because the donor is silent.
  var giveUpAt = Instant.never
  /// The cluster that an unfinished join was to, and the id that it was under; 0 and nil: none.
  private(set) var unfinishedClusterID: UInt64 = 0
  private(set) var unfinishedID: MemberID?
  /// Contacts so far in this run.
  var contactCount: UInt64 = 0
  /// A contact is to be begun anew.
  var asksAgain = false
  /// The links of an earlier contact are to be closed.
  var leavesPeers = false
  /// `takeOwnAddress` has told which member this is.
  var isNamed = false
  /// Why this process must end; only a person can help.
  var refusal: String?

  // MARK: The one that gives

  var donor: Donor?
  /// The number of the copy before.
  var lastCopy: UInt64 = 0
  /// The list that the guest was told of.
  var toldEpoch = Epoch(0)
  /// Which run of the guest it is.
  var guestIncarnation: UInt64?
  /// When the guest is forgotten because it is silent.
  var dismissAt = Instant.never
  /// The transaction that is to take the guest in.
  var change: TransactionID?

  /// A join has begun that is not finished.
  mutating func note(_ unfinished: MembershipNote) {
    unfinishedClusterID = unfinished.membership.clusterID
    unfinishedID = unfinished.ownID
  }

  /// How long a joiner waits for a donor that cannot be reached.
  static var donorPatience: Interval { .seconds(5) }
  /// How long a donor keeps its notes for a guest that cannot be reached.
  static var guestPatience: Interval { .seconds(30) }
}
