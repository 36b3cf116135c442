import Base

/// Times and bounds of a negotiator. All times are those of the `now` that it is given.
public struct NegotiatorOptions: Sendable {
  /// The pause before a prepare or a decision is sent again; doubles up to `resendMax`.
  public var resend: Interval = .millis(250)
  /// The longest such pause.
  public var resendMax: Interval = .seconds(2)
  /// How long a participant waits for the decision before it asks the coordinator.
  public var inquiry: Interval = .millis(300)
  /// How long before it asks everybody.
  public var inquiryOfAll: Interval = .seconds(1)
  /// The pause before the second attempt; doubles up to `retryMax`.
  public var retry: Interval = .millis(1)
  /// The longest such pause.
  public var retryMax: Interval = .millis(64)
  /// How long after its deadline a transaction is called unknown if rule 2 still forbids `aborted`.
  public var outcomeWait: Interval = .millis(500)
  /// Transactions begun here and not finished; above it `begin` answers `.full`.
  public var openTransactionCountMax = 16_384
  /// How many transactions may have begun here after the oldest unfinished one; above it `begin`
  /// answers `.full`, because the members remember them all until that one is finished.
  public var openSpanMax = 131_072
  /// Transactions of all coordinators known here; above it a prepare is refused for lack of room.
  public var knownTransactionCountMax = 262_144
  /// How far a coordinator's low-water mark rises before what lies below it is forgotten.
  public var forgetStep: UInt64 = 256
  /// How long a smaller rise waits.
  public var forgetPause: Interval = .seconds(1)
  /// How long a commit may wait for a prepare to the same member, to leave in one message with it;
  /// zero: not at all. The others hold the locks for so much longer.
  public var decisionDelay: Interval = .zero
  /// Counters reserved ahead by one durable note.
  public var counterStep: UInt64 = 1 << 20
  /// Bytes of one message, at most what the transport carries; a turn with more makes several to a
  /// peer. One item that is larger goes by itself: bound the works to fit.
  public var messageByteCountMax = 1 << 20
  /// Whether `Effect.step` is produced.
  public var tracesSteps = false
  /// The key of the lock table's hash; secret where keys are chosen by strangers.
  public var hashKey = SipKey(k0: 0, k1: 0)

  /// The defaults.
  public init() {}
}
