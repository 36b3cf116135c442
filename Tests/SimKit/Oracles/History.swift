import Base

/// How one call ended, as far as its client can know.
enum CallOutcome: Hashable {
  /// Executed; a reply for each command.
  case replied([Reply])
  /// Executed; its replies are not known.
  case executed
  /// A command failed for what the keys hold, so nothing was done: the model must agree.
  case failed(String)
  /// EXEC answered nil: nothing was done, and a watched key must have changed.
  case broken
  /// An error that has nothing to do with the keys says that nothing was done.
  case notApplied(String)
  /// No answer, or one that leaves it open: executed at most once between the call's two ends.
  case unknown
}

/// One call of one client: a command, or several as one transaction.
struct Call {
  var serial: Int
  var client: Int
  var commands: [SimCommand]
  var isTransaction: Bool
  /// The watches under which it is executed.
  var tickets: [Int] = []
  var id: OperationID?
  var invoked: Instant
  /// When its effect had come at the latest, if it came.
  var ended: Instant = .never
  var outcome: CallOutcome = .unknown
  /// The stream that it was sent over if it was sent once: what went over one stream had its effect
  /// in the order of serials, up to some call and none after it. 0: no order.
  var stream = 0
  /// The least and the greatest time (Unix milliseconds) by which the node can have judged expiry.
  var clockMillis: ClosedRange<Int64> = 0...0

  /// Members with clocks of their own judge expiry.
  var isAmongMembers = false

  /// It was answered, and only reads: it changes nothing whatever the keys hold.
  var onlyReads: Bool {
    guard case .replied = outcome else { return false }
    return commands.allSatisfy { $0.verb == .get }
  }

  var text: String {
    let body = commands.map(\.text).joined(separator: "; ")
    let result: String
    switch outcome {
    case .replied(let replies): result = replies.map(\.text).joined(separator: " ")
    case .executed: result = "executed"
    case .failed(let text): result = "failed: \(text)"
    case .broken: result = "nil, as a watched key had changed"
    case .notApplied(let text): result = "not applied: \(text)"
    case .unknown: result = "unknown"
    }
    let end = ended == .never ? "…" : Trace.text(ended)
    return "#\(serial) client \(client) [\(Trace.text(invoked)), \(end)] "
      + (isTransaction ? "multi " : "") + tickets.map { "under \($0) " }.joined()
      + (id.map { "once \($0) " } ?? "") + "\(body) -> \(result)"
  }
}

/// All calls on one group of keys. Groups share no keys, so each is checked by itself: strict
/// serializability of a set of objects that no transaction joins is that of each.
final class History {
  let name: String
  let keyCount: Int
  private(set) var calls: [Call] = []

  init(name: String, keyCount: Int) {
    self.name = name
    self.keyCount = keyCount
  }

  /// Notes the beginning of a call; the answer names it for `finish`.
  func begin(_ call: Call) -> Int {
    calls.append(call)
    return calls.count - 1
  }

  func finish(_ index: Int, _ outcome: CallOutcome, at instant: Instant, stream: Int = 0) {
    invariant(calls[index].ended == .never, "a call ends once")
    calls[index].outcome = outcome
    calls[index].ended = instant
    calls[index].stream = stream
  }

  /// Sets what the clocks showed during each call. When all have ended: one that its client gave up
  /// ends later, and clocks may step until then.
  func setClocks(_ bounds: (_ start: Instant, _ end: Instant) -> ClosedRange<Int64>) {
    for index in calls.indices {
      calls[index].clockMillis = bounds(calls[index].invoked, calls[index].ended)
    }
  }

  var hasOpenCalls: Bool { calls.contains { $0.ended == .never } }
}
