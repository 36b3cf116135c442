import Base

/// Names a point in the resource's log: all that was appended before the effect `notify`.
public struct Ticket: Comparable, Hashable, Sendable {
  /// Rises by one.
  public var number: UInt64
  /// Wraps a number.
  @inlinable public init(_ number: UInt64) { self.number = number }
  @inlinable public static func < (a: Ticket, b: Ticket) -> Bool { a.number < b.number }
}

/// What the owner of a negotiator has to do, in the order in which it was appended.
public enum Effect: Sendable, Equatable {
  /// Send these bytes of `Effects.bytes`. Gated: only when all that the resource has appended so
  /// far is durable; what is still held back at a crash is lost. A message may be lost, repeated
  /// or late.
  case send(to: MemberID, bytes: Range<Int>, gated: Bool)
  /// Call `Negotiator.forced` once all that the resource has appended so far is durable.
  case notify(Ticket)
  /// A record just appended is waited for: force soon. Without this, records may ride with the next
  /// group, at the latest 20 ms later.
  case urgent
  /// A participant's yes to a transaction begun here carried these bytes of `Effects.bytes`.
  case result(TransactionID, from: MemberID, bytes: Range<Int>)
  /// A participant's no to an attempt of a transaction begun here carried these bytes of
  /// `Effects.bytes`. What becomes of the transaction is told as ever.
  case refusal(TransactionID, from: MemberID, Reason, bytes: Range<Int>)
  /// A transaction begun here is committed and applied here. May be told at once, ungated.
  case committed(TransactionID)
  /// A transaction begun here is aborted for good, and rule 2 allows telling so at once.
  case aborted(TransactionID, Reason)
  /// The deadline of a transaction begun here passed and the outcome is not known. It may follow.
  case unknown(TransactionID)
  /// The last attempt died of a conflict and the pause is over: execute again and call
  /// `Negotiator.renew`, or call `Negotiator.abandon`.
  case renew(TransactionID, Attempt)
  /// Some names were unlocked: what waits for one may be tried again.
  case unlocked
  /// A step of the protocol, for people. Only with `NegotiatorOptions.tracesSteps`.
  case step(TraceStep)
}

/// Effects and the bytes that they refer to; owned by the caller and used again each turn.
public struct Effects: ~Copyable {
  /// In order.
  public var list: [Effect] = []
  /// Messages and results.
  public var bytes = ByteBuffer()

  /// Makes an empty buffer.
  public init() {}

  /// Empties it after a turn, keeping its memory.
  public mutating func removeAll() {
    list.removeAll(keepingCapacity: true)
    bytes.removeAll()
  }
}

/// One visible step: who, in which role, did what about which attempt.
public struct TraceStep: Sendable, Equatable, CustomStringConvertible {
  /// What happened; the peer stands in `TraceStep.peer`.
  public enum Action: Sendable, Equatable {
    case sendsPrepare, receivesPrepare, queues
    case votesYes
    case votesNo(Reason)
    case receivesYes
    case receivesNo(Reason)
    case decidesCommit
    case decidesAbort(Reason)
    case attemptDies(Reason)
    case learnsCommit, learnsAbort
    case acknowledges, receivesAcknowledgement
    case asks, answersPrepared, answersRefused, answersCommitted
    case forgets
  }

  /// The member that takes the step.
  public var member: MemberID
  /// Whether it coordinates this transaction.
  public var isCoordinator: Bool
  /// What it is about.
  public var id: TransactionID
  /// Which attempt.
  public var attempt: Attempt
  /// To whom or from whom, if anybody.
  public var peer: MemberID?
  /// What.
  public var action: Action

  public var description: String {
    let role = isCoordinator ? "coordinator" : "participant"
    return "node \(member) (\(role)) \(phrase), transaction \(id) attempt \(attempt)"
  }
}

extension TraceStep {
  /// The action in the field's words.
  private var phrase: String {
    let other = peer.map { "node \($0)" } ?? "nobody"
    return switch action {
    case .sendsPrepare: "sends prepare to \(other)"
    case .receivesPrepare: "receives prepare from \(other)"
    case .queues: "lets prepare wait for a lock"
    case .votesYes: "votes yes"
    case .votesNo(let reason): "votes no (\(reason))"
    case .receivesYes: "has the yes of \(other)"
    case .receivesNo(let reason): "has the no of \(other) (\(reason))"
    case .decidesCommit: "decides commit"
    case .decidesAbort(let reason): "decides abort (\(reason))"
    case .attemptDies(let reason): "gives the attempt up (\(reason))"
    case .learnsCommit: "commits on the word of \(other)"
    case .learnsAbort: "aborts on the word of \(other)"
    case .acknowledges: "acknowledges to \(other)"
    case .receivesAcknowledgement: "has the acknowledgement of \(other)"
    case .asks: "asks \(other)"
    case .answersPrepared: "answers prepared to \(other)"
    case .answersRefused: "answers refused to \(other)"
    case .answersCommitted: "answers committed to \(other)"
    case .forgets: "forgets"
    }
  }
}
