import Base

extension Negotiator {
  /// When `wake` has to be called next.
  public var deadline: Instant {
    min(timers.first?.at ?? .never, forgetAt, heldUntil)
  }

  /// How a key is locked by a prepared transaction; nil: it is not.
  public func isLocked(_ key: UnsafeRawBufferPointer) -> LockMode? {
    locks.holder(key, isOperation: false)?.mode
  }

  /// Who keeps a transaction from locking a key: who holds it, or waits for it and is older. `id`:
  /// the transaction, nil for one that is yet to begin.
  public func blocker(
    of key: UnsafeRawBufferPointer, _ mode: LockMode, for id: TransactionID?
  ) -> TransactionID? {
    locks.blocker(of: key, isOperation: false, mode, for: id)
  }

  /// As for a key.
  public func blocker(
    of operation: OperationID, _ mode: LockMode, for id: TransactionID?
  ) -> TransactionID? {
    var pair = (operation.high.bigEndian, operation.low.bigEndian)
    return withUnsafeBytes(of: &pair) {
      locks.blocker(of: $0, isOperation: true, mode, for: id)
    }
  }

  /// Who has locked a key; of several readers any.
  public func holder(_ key: UnsafeRawBufferPointer) -> TransactionID? {
    locks.holder(key, isOperation: false)?.id
  }

  /// How an operation id is locked by a prepared transaction; nil: it is not.
  public func isLocked(operation: OperationID) -> LockMode? {
    var pair = (operation.high.bigEndian, operation.low.bigEndian)
    return withUnsafeBytes(of: &pair) { locks.holder($0, isOperation: true)?.mode }
  }

  /// Who has locked an operation id.
  public func holder(operation: OperationID) -> TransactionID? {
    var pair = (operation.high.bigEndian, operation.low.bigEndian)
    return withUnsafeBytes(of: &pair) { locks.holder($0, isOperation: true)?.id }
  }

  /// Locked names, counted per transaction.
  @inlinable public var lockCount: Int { locks.lockCount }

  /// Transactions begun here and not finished.
  public var openCount: Int { openCountHeld }

  /// Transactions of all coordinators known here, finished ones not yet forgotten included.
  public var knownCount: Int { entries.count }

  /// Commits of transactions begun here that the member has not acknowledged as durable yet.
  public func unacknowledgedCount(of member: MemberID) -> Int {
    entries.slots.count {
      $0.isUsed && $0.stage == .settling && $0.participants.contains(member)
        && !$0.heard.contains(member)
    }
  }

  /// True once `begin` may give out ids.
  public var isReady: Bool { nextCounter < durableCeiling }

  /// Transactions prepared here and undecided, coordinated here or elsewhere, oldest first.
  public var inDoubt: [Doubt] {
    entries.sorted { $0.isUndecided }.map { slot in
      let entry = entries[slot]
      var waitsFor = entry.participants.subtracting(entry.heard)
      if entry.stage != .voting { waitsFor.remove(member) }
      return Doubt(
        id: entry.id, attempt: entry.attempt, since: entry.since, waitsFor: waitsFor)
    }
  }
}
