/// Why a transaction, or one attempt of it, was refused.
public enum Reason: UInt8, Sendable, CaseIterable {
  /// A condition does not hold. Final.
  case invalid = 1
  /// Another transaction holds a key, or a version moved. From a participant: the coordinator tries
  /// again. From the coordinator's own resource: `begin` tells it, and its caller may.
  case conflict = 2
  /// No room. Final.
  case noSpace = 3
  /// The operation id was committed before, by another transaction. Final.
  case duplicate = 4
  /// The operation id, or the transaction, is at or below a horizon. Final.
  case expired = 5
  /// The member list has changed. Final for this transaction: nothing was done.
  case epoch = 6
  /// This attempt was refused earlier, to somebody who asked. The coordinator tries again.
  case refused = 7
  /// The deadline passed before everybody had voted. Final.
  case timeout = 8
  /// The owner gave it up. Final.
  case abandoned = 9
  /// A participant that had not voted cannot be reached. Final.
  case unreachable = 10

  /// Whether the coordinator makes another attempt.
  var isRetried: Bool { self == .conflict || self == .refused }
}

/// What a resource says to a prepare.
public enum Verdict: Sendable, Equatable {
  /// It is staged and can be committed whatever happens; the bytes go to the coordinator.
  case yes([UInt8])
  /// It cannot be done, and nothing was changed; the bytes go to the coordinator with the reason.
  case no(Reason, [UInt8] = [])
  /// It cannot be said yet, and nothing was changed: as if the prepare had not come. A
  /// participant is sent it again; at the coordinator `begin` answers `.conflict`.
  case later
}
