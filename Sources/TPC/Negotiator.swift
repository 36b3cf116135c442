import Base

/// What became of `begin` and `renew`.
public enum Beginning: Sendable, Equatable {
  /// Prepares are on their way; the outcome follows as an effect.
  case started(TransactionID)
  /// A name is locked here. Nothing was done; try again when `.unlocked` comes.
  case conflict
  /// The resource said no. Nothing was done.
  case rejected(Reason)
  /// Too many transactions are open. Nothing was done.
  case full
  /// No id may be given out yet (`finishRecovery` must be durable). Nothing was done.
  case notReady
}

/// A transaction that is prepared here and whose outcome is not known here.
public struct Doubt: Sendable, Equatable {
  /// Its name; the coordinator is `id.node`.
  public var id: TransactionID
  /// The attempt that is prepared.
  public var attempt: Attempt
  /// When it was prepared here, or recovered.
  public var since: Instant
  /// Those whose word is missing.
  public var waitsFor: MemberSet
}

/// What happened, counted since the start.
public struct NegotiatorCounters: Sendable, Equatable {
  /// Transactions begun here; attempts of them after the first.
  public var begun: UInt64 = 0
  public var retried: UInt64 = 0
  /// Outcomes of those.
  public var committed: UInt64 = 0
  public var aborted: UInt64 = 0
  /// Votes given here.
  public var yesVotes: UInt64 = 0
  public var noVotes: UInt64 = 0
  /// Messages and items in them, both ways.
  public var messagesSent: UInt64 = 0
  public var messagesReceived: UInt64 = 0
  public var itemsReceived: UInt64 = 0
  /// Prepares and decisions sent again, and inquiries.
  public var resends: UInt64 = 0
  public var inquiries: UInt64 = 0
  /// Messages dropped: malformed, from nobody, of another epoch.
  public var malformed: UInt64 = 0
  public var strangers: UInt64 = 0
  public var otherEpochs: UInt64 = 0
  /// Words of others that cannot be true if everybody keeps the rules; not acted upon.
  public var contradictions: UInt64 = 0
}

/// Two-phase commit of one member: coordinator, participant, inquiry and locks.
///
/// Pure: events go in with the time, effects are appended to a buffer of the caller. A turn of the
/// owner is any number of calls, then `flush`, then the effects in order. `wake` is called at
/// `deadline`. docs/protocol.md numbers the rules.
///
/// Not done yet: this is the interface; the methods do nothing.
public struct Negotiator: ~Copyable {
  /// This member.
  public let member: MemberID
  /// The member list, this one included.
  public private(set) var members: MemberSet
  /// Its version.
  public private(set) var epoch: Epoch
  /// What happened so far.
  public private(set) var counters = NegotiatorCounters()
  /// The greatest hybrid stamp that a message carried; feed the node's clock with it.
  public private(set) var greatestStamp: Stamp = .zero
  let options: NegotiatorOptions
  var chance: Random

  /// Makes the negotiator of `member`, which is one of `members`. Next: `recover` for each note
  /// that is durable, then `finishRecovery`. `seed` decides the jitter.
  public init(
    member: MemberID, members: MemberSet, epoch: Epoch, options: NegotiatorOptions, seed: UInt64
  ) {
    invariant(members.contains(member), "a member is in its member list")
    self.member = member
    self.members = members
    self.epoch = epoch
    self.options = options
    chance = Random(seed: seed)
  }

  // MARK: Start

  /// Takes back one durable note. False: the bytes are not a note of ours.
  public mutating func recover(key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer) -> Bool
  {
    true
  }

  /// Locks what is undecided, reserves counters and begins to ask about what is in doubt.
  public mutating func finishRecovery<R: Resource & ~Copyable>(
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {}

  // MARK: Coordinator

  /// Begins a transaction: prepares it here and asks the other participants to prepare it.
  ///
  /// `participants` nil: all members. One that is not this member alone: one phase (rule 4).
  /// Several: this member is one of them. `age` is a fresh hybrid stamp.
  public mutating func begin<R: Resource & ~Copyable>(
    _ work: Work, among participants: MemberSet? = nil, age: Stamp, deadline: Instant,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) -> Beginning { .notReady }

  /// Answers `Effect.renew` with the work of the next attempt. `.conflict`: a name is locked here;
  /// call again when `.unlocked` comes. `.rejected`: the resource said no, or it is too late; the
  /// transaction is then aborted as by `abandon`.
  public mutating func renew<R: Resource & ~Copyable>(
    _ id: TransactionID, _ work: Work, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) -> Beginning { .notReady }

  /// Answers `Effect.renew`: no further attempt; `Effect.aborted` follows with this reason.
  public mutating func abandon<R: Resource & ~Copyable>(
    _ id: TransactionID, _ reason: Reason, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {}

  // MARK: Events

  /// Takes a message that came from `sender`. Bad bytes are dropped and counted.
  public mutating func receive<R: Resource & ~Copyable>(
    _ message: UnsafeRawBufferPointer, from sender: MemberID, at now: Instant,
    _ resource: inout R, _ effects: inout Effects
  ) {}

  /// Everything appended before the effect `notify(ticket)`, and before lower ones, is durable.
  public mutating func forced<R: Resource & ~Copyable>(
    _ ticket: Ticket, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {}

  /// Does what is due. Call it at `deadline`; too early is harmless.
  public mutating func wake<R: Resource & ~Copyable>(
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {}

  /// Ends a turn: the messages collected in it become effects. `stamp` is the node's hybrid stamp.
  public mutating func flush(stamp: Stamp, _ effects: inout Effects) {}

  /// A link to the member came up or went down. Up: what waits for it is sent again at once.
  public mutating func reachable(_ member: MemberID, _ isReachable: Bool, at now: Instant) {}

  /// The member list has changed. Members that are no longer in it count as prepared, and all that
  /// was said before is asked anew (forced removal); after an agreed change nothing is open.
  public mutating func setMembers<R: Resource & ~Copyable>(
    _ members: MemberSet, epoch: Epoch, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    self.members = members
    self.epoch = epoch
  }

  // MARK: Reading

  /// When `wake` has to be called next.
  public var deadline: Instant { .never }

  /// How a key is locked by a prepared transaction; nil: it is not.
  public func isLocked(_ key: UnsafeRawBufferPointer) -> LockMode? { nil }

  /// Who has locked a key; of several readers any.
  public func holder(_ key: UnsafeRawBufferPointer) -> TransactionID? { nil }

  /// Who has locked an operation id.
  public func holder(operation: OperationID) -> TransactionID? { nil }

  /// Locked names, counted per transaction.
  public var lockCount: Int { 0 }

  /// Transactions begun here and not finished.
  public var openCount: Int { 0 }

  /// Transactions of all coordinators known here, finished ones not yet forgotten included.
  public var knownCount: Int { 0 }

  /// Transactions prepared here and undecided, coordinated here or elsewhere, oldest first.
  public var inDoubt: [Doubt] { [] }
}
