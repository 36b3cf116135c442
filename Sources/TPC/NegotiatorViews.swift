import Base

/// What became of `begin` and `renew`.
public enum Beginning: Sendable, Equatable {
  /// Prepares are on their way; the outcome follows as an effect.
  case started(TransactionID)
  /// A name is locked here: try again when `.unlocked` comes. Or the resource said `.later`: try
  /// again when it can say. Nothing was done.
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
