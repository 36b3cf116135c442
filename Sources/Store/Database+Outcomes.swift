import Base

/// Whether an operation with an id is to be executed.
public enum Admission {
  /// It was not yet.
  case new
  /// It was, with this outcome and reply (`OutcomeStatus` says in which form). The answer waits for
  /// the record `log.appended`. The pointer is valid until the next mutation.
  case duplicate(OutcomeStatus, UnsafeRawBufferPointer)
  /// Its time is at or below the horizon. The answer waits for this record, which says so.
  case expired(Mark?)
  /// Its time is too far ahead of the clock.
  case future
}

/// What is known of an id. The answer waits for the record `log.appended`.
public enum OutcomeState {
  /// Executed; the reply, valid until the next mutation.
  case committed(UnsafeRawBufferPointer)
  /// Executed; the reply was too large to be kept.
  case committedLarge(crc: UInt32, byteCount: UInt64)
  /// Sealed before it was executed.
  case aborted
  /// At or below the horizon: nothing is known any more, and it will not be executed from now on.
  case expired
  /// Not executed, and not sealed.
  case neverSeen
}

/// What would become of an operation with an id just now.
public enum Standing {
  /// It is neither recorded nor refused.
  case new
  /// It ended so (`OutcomeStatus` says in which form the reply is). The answer waits for the record
  /// `log.appended`. The pointer is valid until the next mutation.
  case recorded(OutcomeStatus, UnsafeRawBufferPointer)
  /// Its time is at or below the horizon. The answer waits for this record, which says so.
  case expired(Mark?)
  /// By its age it must be refused, after the horizon was raised to this.
  case aged(horizonMillis: Int64)
  /// Its time is too far ahead of the clock.
  case future
}

extension Database {
  /// What would become of an operation with `id`. Changes nothing, so it may be asked at any time.
  ///
  /// The member that a client talks to gives its wall clock. A member that votes gives nil: the
  /// vote rests on what it has recorded and on its horizon alone, never on its clock. Members'
  /// horizons need not be equal: a transaction needs all votes, so an operation is not executed
  /// again as long as one member remembers it or refuses it. The no `expired` carries the voter's
  /// horizon, and the coordinator raises its own to that (`raiseHorizon`) before it answers, so
  /// that the refusal stands when the voter is gone.
  public func standing(of id: OperationID, wallMillis: Int64?) -> Standing {
    if id.unixMillis <= horizonMillis {
      return .expired(outcomes.horizonMark == .zero ? nil : outcomes.horizonMark)
    }
    if let wallMillis, id.unixMillis <= wallMillis - limits.outcomesAgeMillis {
      return .aged(horizonMillis: wallMillis - limits.outcomesAgeMillis)
    }
    if let outcome = outcomes.find(id) { return .recorded(outcome.status, outcome.reply) }
    if let wallMillis, id.unixMillis - wallMillis > limits.futureMillisMax { return .future }
    return .new
  }

  /// Raises the horizon to `millis` by a record of its own, unless it is there already. Returns the
  /// record that a refusal by it waits for. Between transactions only. What lies below is refused
  /// at once, and dropped in `step`. Outcomes staged by then are settled all the same.
  @discardableResult
  public mutating func raiseHorizon(to millis: Int64) -> Mark {
    invariant(!transaction.isOpen, "the horizon is raised between transactions")
    if millis > horizonMillis {
      outcomes.raiseHorizon(to: millis)
      logHorizon()
    }
    return outcomes.horizonMark
  }

  /// Decides what becomes of an operation with `id`, before its transaction is begun. `wallMillis`
  /// is the wall clock. May log a record, which raises the horizon.
  public mutating func admit(_ id: OperationID, wallMillis: Int64) -> Admission {
    switch standing(of: id, wallMillis: wallMillis) {
    case .new: return .new
    case .recorded(let status, let reply): return .duplicate(status, reply)
    case .expired(let mark): return .expired(mark)
    case .aged(let horizon): return .expired(raiseHorizon(to: horizon))
    case .future: return .future
    }
  }

  /// What is known of `id`. May log a record, which raises the horizon.
  public mutating func lookup(_ id: OperationID, wallMillis: Int64) -> OutcomeState {
    switch standing(of: id, wallMillis: wallMillis) {
    case .new, .future: return .neverSeen
    case .recorded(.committed, let reply): return .committed(reply)
    case .recorded(.committedLargeReply, let kept): return large(kept)
    case .recorded(.aborted, _): return .aborted
    case .expired: return .expired
    case .aged(let horizon):
      raiseHorizon(to: horizon)
      return .expired
    }
  }

  /// Turns an id that was never seen into an aborted one by a record of its own, so that a copy of
  /// its operation that is still under way can do nothing. Nil, and nothing is done, when the id is
  /// recorded, at or below the horizon, or too far ahead of the clock. Between transactions only.
  public mutating func seal(_ id: OperationID) -> Mark? {
    invariant(!transaction.isOpen, "an id is sealed between transactions")
    let wallMillis = clockMillis
    guard id.unixMillis > horizonMillis, outcomes.find(id) == nil,
      id.unixMillis - wallMillis <= limits.futureMillisMax
    else { return nil }
    log.begin()
    let raised = record(id, .aborted, UnsafeRawBufferPointer(start: nil, count: 0))
    let mark = log.finish()
    if raised { outcomes.horizonMark = mark }
    return mark
  }

  // MARK: For transactions and housekeeping

  /// Adds the outcome of the open transaction to its record. Returns true when the horizon rose.
  mutating func recordOutcome(
    _ id: OperationID, _ reply: UnsafeRawBufferPointer, failed: Bool
  ) -> Bool {
    withKept(reply, failed: failed) { $0.record(id, $1, $2) }
  }

  /// Gives `body` the status of an operation with this reply, and what is kept of the reply.
  mutating func withKept(
    _ reply: UnsafeRawBufferPointer, failed: Bool,
    _ body: (inout Database, OutcomeStatus, UnsafeRawBufferPointer) -> Bool
  ) -> Bool {
    if failed { return body(&self, .aborted, reply) }
    guard reply.count > limits.largeReplyByteCount else { return body(&self, .committed, reply) }
    var short = ByteBuffer(capacity: 16)
    short.append(little: CRC32C.checksum(reply))
    short.append(little: UInt64(reply.count))
    return body(&self, .committedLargeReply, short.bytes)
  }

  /// Raises the horizon to (now - `outcomesAgeMillis`) and drops what lies below, once the oldest
  /// outcome is past that by `ageStepMillis`, so that this costs a record a minute at most. Returns
  /// true when there is more to drop.
  mutating func ageOutcomes(budget: Int) -> Bool {
    let aged = Int64(wallNanos / 1_000_000) - limits.outcomesAgeMillis
    if let oldest = outcomes.oldestMillis, oldest <= aged - Self.ageStepMillis,
      oldest > horizonMillis
    {
      raiseHorizon(to: aged)
    }
    var left = budget
    while left > 0, outcomes.dropOldest(through: horizonMillis) { left -= 1 }
    let horizon = horizonMillis
    while left > 0, dropForRoom() { left -= 1 }
    if horizonMillis > horizon { logHorizon() }
    return left == 0
  }

  // MARK: Parts

  private static var ageStepMillis: Int64 { 60_000 }

  private mutating func logHorizon() {
    log.begin()
    log.body.appendHorizon(millis: horizonMillis)
    outcomes.horizonMark = log.finish()
  }

  /// Drops the oldest outcome if all together pass their bound; the horizon covers it. Returns
  /// whether it did; the horizon is then still to be logged, before anything relies on it.
  mutating func dropForRoom() -> Bool {
    guard outcomes.byteCount > limits.outcomeByteCountMax,
      let oldest = outcomes.oldestMillis
    else { return false }
    #if MUTANTS
      if Mutant.active == .evictSilently { return outcomes.dropOldest(through: oldest) }
    #endif
    outcomes.raiseHorizon(to: oldest)
    return outcomes.dropOldest(through: oldest)
  }

  /// Adds an outcome to the record begun and to the table; makes room by dropping the oldest, and
  /// says so by a raised horizon in the same record. Returns true when it did.
  private mutating func record(
    _ id: OperationID, _ status: OutcomeStatus, _ reply: UnsafeRawBufferPointer
  ) -> Bool {
    log.body.appendOutcome(id: id, status: status, reply: reply)
    outcomes.insert(id, status, reply)
    let before = horizonMillis
    while dropForRoom() {}
    guard horizonMillis > before else { return false }
    log.body.appendHorizon(millis: horizonMillis)
    return true
  }

  private func large(_ kept: UnsafeRawBufferPointer) -> OutcomeState {
    .committedLarge(
      crc: UInt32(littleEndian: kept.loadUnaligned(as: UInt32.self)),
      byteCount: UInt64(littleEndian: kept.loadUnaligned(fromByteOffset: 4, as: UInt64.self)))
  }
}
