/// What the replies to one call say about it.
enum Meaning {
  /// Codes of errors that say nothing was done and have nothing to do with what the keys hold.
  private static let refusals: Set<String> = [
    "OOM", "NOSPACE", "LOADING", "ABORTED", "UNAVAILABLE", "BUSY",
  ]

  /// The outcome of a call; `isFirstAttempt` is false when an earlier copy may have been executed.
  static func outcome(
    of replies: [Reply], isTransaction: Bool, isFirstAttempt: Bool
  ) -> CallOutcome {
    let reply = replies[replies.count - 1]
    if case .error(let text) = reply { return outcome(ofError: text, isFirstAttempt) }
    guard isTransaction else { return .replied([reply]) }
    if reply == .null { return .broken }
    guard case .array(let items) = reply else { return .notApplied(reply.text) }
    if let error = items.first(where: \.isError), case .error(let text) = error {
      return outcome(ofError: text, isFirstAttempt)
    }
    return .replied(items)
  }

  /// The members have not decided yet; under an id it can be asked for again.
  static func isUndecided(_ replies: [Reply]) -> Bool {
    replies[replies.count - 1].errorCode == "UNKNOWN"
  }

  private static func outcome(ofError text: String, _ isFirstAttempt: Bool) -> CallOutcome {
    // A transaction that was undone says why at its end.
    let reason = text.split(separator: "because of: ").last.map(String.init) ?? text
    let code = Reply.error(reason).errorCode!
    // What is refused for its id's time can be neither sealed nor asked after.
    if code == "IDEXPIRED" || code == "IDFUTURE" {
      return isFirstAttempt ? .notApplied(text) : .unknown
    }
    if code == "DUPLICATE" { return .executed }
    if code == "TOOLARGE" {
      if text.contains("not-applied") { return .notApplied(text) }
      return text.contains("unknown") ? .unknown : .executed
    }
    // Commands refused while they were queued; anything else is a failure at run time. On a full
    // disk both may be said of a copy only: this client knows of its others (`needsRetry`).
    if text.contains("because of previous errors.") { return .notApplied(text) }
    if refusals.contains(code) { return .notApplied(text) }
    if text.contains("(unknown)") { return .unknown }
    return .failed(text)
  }
}

/// What `OUTCOME` answered.
enum OutcomeWord: String {
  case committed, aborted, expired
  case neverSeen = "never-seen"

  /// Nil for anything else, such as an error while the node is loading.
  init?(_ reply: Reply) {
    guard case .bulk(let bytes) = reply else { return nil }
    self.init(rawValue: String(decoding: bytes, as: UTF8.self))
  }
}
