import Base

/// How one attempt to send a request and read its answer failed.
enum AttemptFailure: Error, Hashable {
  /// The name has no address.
  case unresolved(String)
  /// No connection came about.
  case notConnected(String)
  /// The connection was lost before all of the request had left: this copy is no whole request.
  case incomplete(String)
  /// The connection was lost after the request had left.
  case lost(String)
  /// The deadline came; `wasSent` says whether the server may have the whole request.
  case expired(wasSent: Bool)
  /// What came cannot be understood.
  case malformed(String)
  /// The request is above what the transport carries.
  case tooLarge(String)

  /// What happened, for a person.
  var sentence: String {
    switch self {
    case .unresolved(let text), .notConnected(let text), .incomplete(let text), .lost(let text),
      .malformed(let text), .tooLarge(let text):
      text
    case .expired: "no answer in time"
    }
  }
}

/// What to do after an attempt.
enum RetryDecision: Hashable {
  /// Send the same request, under the same id, at this time.
  case retry(at: Instant)
  /// Give up.
  case fail(ClientError)
}

/// What to do with an answer.
enum AnswerDecision: Hashable {
  /// It is the answer.
  case accept
  /// The server is still loading, or has not decided: send again at this time.
  case retry(at: Instant)
  /// It says "not done", but an earlier copy is unaccounted for: ask what became of the id, and
  /// seal it, before believing it.
  case settle
}

/// Decides about one request: whether it may be sent again, when, and what can be said for certain
/// when it may not. Pure, one for all attempts of a request.
///
/// Reads may be repeated freely. Changes may be repeated because the server executes an operation
/// id once. Others are sent once. A request that never left was certainly not applied.
struct RetryPlan {
  /// When the client wants to have heard.
  let deadline: Instant
  private let effect: Command.Effect
  private let id: OperationID
  private let timeout: Interval
  private var retriesLeft: Int
  private var failureCount = 0
  /// A copy that was not answered may have been executed, or may be still.
  private(set) var hasStrayCopy = false
  /// The members of a cluster had not decided about an earlier copy when it was answered.
  private var awaitsDecision = false
  /// What they say while they can't.
  private static let passing: Set = ["UNKNOWN", "UNAVAILABLE", "BUSY"]

  init(
    effect: Command.Effect, id: OperationID, retryCountMax: Int, timeout: Interval, at now: Instant
  ) {
    self.effect = effect
    self.id = id
    self.timeout = timeout
    deadline = now + timeout
    retriesLeft = retryCountMax
  }

  /// The transport itself sent further copies, any of which the server may take yet.
  mutating func noteRepetition() {
    if effect != .read { hasStrayCopy = true }
  }

  /// Called when an attempt ended without an answer.
  mutating func decide(after failure: AttemptFailure, at now: Instant) -> RetryDecision {
    failureCount += 1
    switch failure {
    case .unresolved(let reason): return .fail(error(.unresolved, reason))
    case .tooLarge(let reason): return .fail(error(.tooLarge, reason))
    case .notConnected(let reason):
      // A server that was there a moment ago may be restarting; one that never was, is not.
      guard failureCount > 1 else { return .fail(error(.unreachable, reason)) }
      return retry(at: now, or: reason)
    case .incomplete(let reason): return retry(at: now, or: reason)
    case .lost(let reason):
      noteRepetition()
      return effect == .other ? .fail(error(.noAnswer, reason)) : retry(at: now, or: reason)
    case .expired(let wasSent):
      if wasSent { noteRepetition() }
      return .fail(error(.noAnswer, "no answer within \(Self.text(timeout))"))
    case .malformed(let reason):
      noteRepetition()
      return .fail(error(.malformedReply, reason))
    }
  }

  /// Called with the answer.
  mutating func decide(about reply: Reply, at now: Instant) -> AnswerDecision {
    let code = reply.error?.code
    // The members of a cluster have yet to decide: the id will be answered with what they did.
    if code == "UNKNOWN", effect == .change {
      awaitsDecision = true
      noteRepetition()
    }
    let waits = code.map { Self.passing.contains($0) && awaitsDecision || $0 == "LOADING" } ?? false
    let next = now + .millis(50)
    if waits, next < deadline { return .retry(at: next) }
    if code == "UNKNOWN" { return .accept }
    let isDoubtful = effect == .change && hasStrayCopy && Self.mayHaveDoneNothing(reply)
    return isDoubtful ? .settle : .accept
  }

  /// The error when the stray copy could not be accounted for.
  func unsettled(_ reply: Reply) -> ClientError {
    let said = reply.error.map { "; the next one: " + $0.text } ?? ""
    return error(.noAnswer, "an earlier copy was not answered" + said)
  }

  // MARK: Parts

  private mutating func retry(at now: Instant, or reason: String) -> RetryDecision {
    let next = now + backOff
    guard retriesLeft > 0, next < deadline else { return .fail(error(.noAnswer, reason)) }
    retriesLeft -= 1
    return .retry(at: next)
  }

  /// 10 ms, doubled with each failure to 640 ms; up to half as much more, so that clients that lost
  /// one server don't come back in step.
  private var backOff: Interval {
    let base = UInt64(10) << UInt64(min(failureCount - 1, 6))
    return .millis(base + id.low % (base / 2 + 1))
  }

  private func error(_ reason: ClientError.Reason, _ message: String) -> ClientError {
    ClientError(
      reason, hasStrayCopy ? .unknown : .notApplied, message, id: effect == .change ? id : nil)
  }

  /// True for errors and for what commands answer that found nothing to do.
  private static func mayHaveDoneNothing(_ reply: Reply) -> Bool {
    switch reply {
    case .error(let error): ClientError(error).outcome != .applied
    case .null, .integer(0), .boolean(false): true
    case .array(let elements): elements.allSatisfy(mayHaveDoneNothing)
    default: false
    }
  }

  private static func text(_ interval: Interval) -> String {
    interval.millis % 1000 == 0 ? "\(interval.millis / 1000) s" : "\(interval.millis) ms"
  }
}
