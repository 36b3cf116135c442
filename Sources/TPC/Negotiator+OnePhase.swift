import Base

/// Rule 4: one remote participant decides alone.
extension Negotiator {
  /// Sends the transaction to its only participant. Nothing is recorded here.
  mutating func delegate<R: Resource & ~Copyable>(
    _ entry: Entry, _ work: Work, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) -> Beginning {
    var entry = entry
    entry.stage = .delegated
    entry.work = work
    entry.isOnePhase = true
    let slot = entries.insert(entry)
    take(counterOf: entry.id, at: now, &resource, &effects)
    sendPrepares(slot, to: entry.participants, &effects)
    schedule(slot, at: min(entry.deadline, now + options.resend))
    return .started(entry.id)
  }

  /// The participant committed, or refused durably.
  mutating func onePhaseIsDecided(
    _ slot: Int, by peer: MemberID, _ result: UnsafeRawBufferPointer?, no reason: Reason?,
    _ effects: inout Effects
  ) {
    let id = entries[slot].id
    if let result, !result.isEmpty {
      let from = effects.bytes.count
      effects.bytes.append(result)
      effects.list.append(.result(id, from: peer, bytes: from..<effects.bytes.count))
    }
    if let reason {
      counters.aborted += 1
      effects.list.append(.aborted(id, reason))
    } else {
      counters.committed += 1
      effects.list.append(.committed(id))
    }
    finishWithoutNote(slot)
  }

  /// Before the deadline: again. After it: asks, which makes the participant refuse what it does
  /// not know. Until it answers the outcome is unknown.
  mutating func wakeDelegated(_ slot: Int, at now: Instant, _ effects: inout Effects) {
    let entry = entries[slot]
    if now < entry.deadline {
      sendPrepares(slot, to: entry.participants, &effects)
    } else {
      entries[slot].work = nil
      callUnknown(slot, at: now, &effects)
      ask(entry, entry.participants, &effects)
    }
    counters.resends += 1
    schedule(slot, at: now + backoff(slot, options.resend))
  }

  // MARK: Participant

  /// Commits what was just prepared under an `alone` record; the yes leaves when both are durable.
  mutating func commitAlone<R: Resource & ~Copyable>(
    _ entry: Entry, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    write(.committed, entry.attempt, entry.participants)
    scratch.withUnsafeBytes { resource.commit(entry.id, record: $0) }
    let slot = keep(entry)
    entries[slot].stage = .committed
    entries[slot].wakeAt = .never
    effects.list.append(.urgent)
    vote(entry, no: nil, &effects)
  }

  /// A no is a durable refusal, and leaves when it is that.
  mutating func refuseAlone<R: Resource & ~Copyable>(
    _ entry: Entry, _ reason: Reason, _ resource: inout R, _ effects: inout Effects
  ) {
    write(.aborted, entry.attempt, entry.participants)
    scratch.withUnsafeBytes { resource.abort(entry.id, record: $0) }
    let slot = keep(entry)
    entries[slot].stage = .aborted
    entries[slot].reason = reason
    entries[slot].result = []
    entries[slot].work = nil
    effects.list.append(.urgent)
    vote(entry, no: reason, &effects)
  }
}
