import Client

/// How the process ends; docs/clie.md says what each means to a script.
enum ExitCode: Int32, CaseIterable {
  case done = 0
  /// The key is absent, or a condition does not hold.
  case missing = 1
  case usage = 2
  /// Certainly not applied: there was no way to the server, or a read got no answer.
  case notApplied = 3
  /// The transaction was aborted.
  case aborted = 4
  /// A change left and no answer came.
  case unknown = 5
  /// Authentication, rights, no space, still loading, a member down.
  case refused = 6
  /// The server answered another error.
  case serverError = 7
  /// Our own failure, such as an output that cannot be written.
  case internalError = 70

  init(_ error: ClientError) {
    if error.outcome == .unknown {
      self = .unknown
      return
    }
    switch error.reason {
    case .unresolved, .unreachable, .noAnswer, .malformedReply: self = .notApplied
    case .tooLarge: self = .usage
    case .missing: self = .missing
    case .aborted: self = .aborted
    case .refused: self = .refused
    case .replyNotKept: self = .done
    case .server: self = .serverError
    }
  }
}
