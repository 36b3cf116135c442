public import Base

/// What became of a request, as far as can be said for certain. Every error carries one.
public enum Outcome: String, Hashable, Sendable {
  /// It was executed.
  case applied
  /// It was not executed and no copy of it can be any more.
  case notApplied = "not-applied"
  /// It may have been executed, may be later, or not at all; its operation id tells.
  case unknown
}

/// Why a request did not end as asked.
public struct ClientError: Error, Hashable, Sendable {
  /// The kinds of failure; each calls for another remedy.
  public enum Reason: Hashable, Sendable {
    /// The host's name has no address.
    case unresolved
    /// Nobody listens there, or no connection came about: nothing was sent.
    case unreachable
    /// The connection was lost, or the deadline came before the answer or before the members of a
    /// cluster had decided.
    case noAnswer
    /// What came is not an answer to what was asked.
    case malformedReply
    /// The request is above a limit of the transport: nothing was sent.
    case tooLarge
    /// The key is absent, or a condition does not hold.
    case missing
    /// The transaction was aborted; the message says why.
    case aborted
    /// The server does not do it for now or for this client: authentication, rights, no space,
    /// still loading, a member down.
    case refused
    /// It was executed before, and the server kept only the fact: the reply was too large.
    case replyNotKept
    /// The server answered another error.
    case server
  }

  /// What kind of failure it is.
  public var reason: Reason
  /// What became of the request.
  public var outcome: Outcome
  /// One sentence for a person.
  public var message: String
  /// The server's own words, if it answered.
  public var serverError: ServerError?
  /// The id under which a change was sent; with it `Client.outcome(of:)` can ask later.
  public var id: OperationID?

  /// An error with all that is known of it.
  public init(
    _ reason: Reason, _ outcome: Outcome, _ message: String, serverError: ServerError? = nil,
    id: OperationID? = nil
  ) {
    self.reason = reason
    self.outcome = outcome
    self.message = message
    self.serverError = serverError
    self.id = id
  }
}

extension ClientError: CustomStringConvertible {
  /// Message and outcome: `key does not exist (not-applied)`.
  public var description: String { "\(message) (\(outcome.rawValue))" }
}

extension ClientError {
  /// The error for a server's error reply to a request that was sent once; `id` is the one that was
  /// made for it.
  public init(_ error: ServerError, id: OperationID? = nil) {
    var (reason, outcome) = Self.meaning(of: error)
    // Of somebody's id the server has forgotten what it may have known. A new one, refused, was
    // not executed, and never will be.
    if error.code == "IDEXPIRED", id != nil { outcome = .notApplied }
    // Of an id that is not ours the server knows more.
    if id == nil, error.text.hasSuffix(" (unknown)") { outcome = .unknown }
    let usesSentence = reason == .missing || reason == .aborted
    self.init(
      reason, outcome, Self.withoutOutcome(usesSentence ? error.sentence : error.text),
      serverError: error, id: id)
  }

  /// Servers say the outcome too, but only for the copy that they answer.
  private static func withoutOutcome(_ text: String) -> String {
    for word in ["not-applied", "applied", "unknown"] where text.hasSuffix(" (\(word))") {
      return String(text.dropLast(word.count + 3))
    }
    return text
  }

  /// The reply did not fit a message; the word after the code says what became of the request.
  private static func tooLargeOutcome(_ error: ServerError) -> Outcome {
    let word = error.sentence.prefix { $0 != ";" }
    return Outcome(rawValue: String(word)) ?? .unknown
  }

  /// What an error reply means, by its code word. Unknown words are errors that changed nothing.
  private static func meaning(of error: ServerError) -> (Reason, Outcome) {
    switch error.code {
    case "NOTFOUND", "CONDITION": (.missing, .notApplied)
    case "EXECABORT", "ABORTED": (.aborted, .notApplied)
    case "DUPLICATE": (.replyNotKept, .applied)
    case "TOOLARGE": (.server, tooLargeOutcome(error))
    case "IDEXPIRED": (.server, .unknown)
    case "UNKNOWN": (.noAnswer, .unknown)
    case "NOAUTH", "WRONGPASS", "NOPERM", "OOM", "NOSPACE", "READONLY", "LOADING", "UNAVAILABLE",
      "MISCONF", "DENIED":
      (.refused, .notApplied)
    default: (.server, .notApplied)
    }
  }
}

/// What the server knows of an operation id.
public enum OutcomeState: Hashable, Sendable {
  /// It was executed.
  case committed
  /// It was not executed and never will be.
  case aborted
  /// Prepared, and the decision is not known yet.
  case inDoubt
  /// The id is older than what the server remembers: nothing can be said.
  case expired
  /// No copy has arrived; one may be under way still.
  case neverSeen

  /// The server's word for it.
  public var word: String {
    switch self {
    case .committed: "committed"
    case .aborted: "aborted"
    case .inDoubt: "in-doubt"
    case .expired: "expired"
    case .neverSeen: "never-seen"
    }
  }

  /// Reads the reply to `OUTCOME`; nil for anything but the five words.
  init?(_ reply: Reply) {
    guard let word = reply.bytes else { return nil }
    switch String(decoding: word, as: UTF8.self) {
    case "committed": self = .committed
    case "aborted": self = .aborted
    case "in-doubt": self = .inDoubt
    case "expired": self = .expired
    case "never-seen": self = .neverSeen
    default: return nil
    }
  }
}
