import Base

/// Timers: sending again, asking, pauses and deadlines.
extension Negotiator {
  /// Does what is due. Call it at `deadline`; too early is harmless.
  public mutating func wake<R: Resource & ~Copyable>(
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    dropIdleTimers()
    while let timer = timers.first, timer.at <= now {
      _ = timers.pop()
      let slot = Int(timer.slot)
      if entries[slot].timerAt == timer.at { entries[slot].timerAt = .never }
      entries[slot].wakeAt = .never
      wake(slot, at: now, &resource, &effects)
      dropIdleTimers()
    }
    if forgetAt <= now { useMarks(at: now, &resource, &effects) }
    settle(at: now, &resource, &effects)
  }

  private mutating func wake<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    let entry = entries[slot]
    switch entry.stage {
    case .prepared: wakePrepared(slot, at: now, &effects)
    case .voting:
      if entry.reason == .unreachable || now >= entry.deadline {
        let reason = entry.reason == .unreachable ? entry.reason : .timeout
        abortFinally(slot, reason, at: now, &resource, &effects)
      } else {
        counters.resends += 1
        sendPrepares(slot, to: entry.participants.subtracting(entry.heard), &effects)
        schedule(slot, at: min(entry.deadline, now + backoff(slot, options.resend)))
      }
    case .pausing:
      if now >= entry.deadline {
        abortFinally(slot, entry.reason, at: now, &resource, &effects)
      } else {
        entries[slot].stage = .renewing
        effects.list.append(.renew(entry.id, entry.attempt.next))
        schedule(slot, at: entry.deadline)
      }
    case .renewing: abortFinally(slot, .timeout, at: now, &resource, &effects)
    case .asking: wakeAsking(slot, at: now, &resource, &effects)
    case .aborting: callUnknown(slot, at: now, &effects)
    case .telling:
      callUnknown(slot, at: now, &effects)
      counters.resends += 1
      sendDecision(.aborted, slot)
      schedule(slot, at: now + backoff(slot, options.resend))
    case .settling: wakeSettling(slot, at: now, &resource, &effects)
    case .delegated: wakeDelegated(slot, at: now, &effects)
    case .queued, .committed, .dead, .aborted, .dying: break
    }
  }

  /// Asks the coordinator, later everybody.
  private mutating func wakePrepared(_ slot: Int, at now: Instant, _ effects: inout Effects) {
    let entry = entries[slot]
    let asksAll = now - entry.since >= options.inquiryOfAll
    ask(entry, asksAll ? entry.participants : MemberSet([entry.id.node]), &effects)
    schedule(slot, at: now + backoff(slot, options.inquiry))
  }

  /// Rule 2: after a restart nothing is aborted for lack of time or of a record. Who was prepared
  /// is asked again: it may have heard from one that does not answer here.
  private mutating func wakeAsking<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    #if MUTANTS
      if Mutant.active == .restartedCoordinatorTimesOut, entries[slot].id.node == member {
        abortFinally(slot, .timeout, at: now, &resource, &effects)
        return
      }
    #endif
    callUnknown(slot, at: now, &effects)
    ask(entries[slot], entries[slot].participants, &effects)
    schedule(slot, at: now + backoff(slot, options.inquiry))
  }

  private mutating func wakeSettling<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    #if MUTANTS
      if Mutant.active == .forgetByAge {
        finish(slot, at: now, &resource, &effects)
        return
      }
    #endif
    counters.resends += 1
    sendDecision(.committed, slot)
    schedule(slot, at: now + backoff(slot, options.resend))
  }

  /// Says once that the outcome is unknown, some time after the deadline.
  mutating func callUnknown(_ slot: Int, at now: Instant, _ effects: inout Effects) {
    guard !entries[slot].wasCalledUnknown, entries[slot].deadline < .never,
      now >= entries[slot].deadline + options.outcomeWait
    else { return }
    entries[slot].wasCalledUnknown = true
    effects.list.append(.unknown(entries[slot].id))
  }

  /// A link to the member came up or went down. Up: what waits for it is sent again at once. Down:
  /// what waits for its vote is aborted by the `wake` that is due then; rule 2 allows the
  /// coordinator that at any time before it decides.
  public mutating func reachable(_ member: MemberID, _ isReachable: Bool, at now: Instant) {
    guard isReachable else { return giveUpVotes(of: member, at: now) }
    for slot in entries.slots.indices where entries[slot].isUsed {
      let entry = entries[slot]
      switch entry.stage {
      case .prepared, .asking, .voting, .telling, .settling, .delegated:
        guard entry.participants.contains(member), !entry.heard.contains(member) else { continue }
        schedule(slot, at: now)
      case .queued, .committed, .dead, .aborted, .dying, .pausing, .renewing, .aborting: continue
      }
    }
  }

  private mutating func giveUpVotes(of member: MemberID, at now: Instant) {
    for slot in entries.slots.indices where entries[slot].isUsed {
      let entry = entries[slot]
      guard entry.stage == .voting, entry.participants.contains(member),
        !entry.heard.contains(member)
      else { continue }
      entries[slot].reason = .unreachable
      schedule(slot, at: now)
    }
  }

  // MARK: Parts

  /// Wakes the entry at `at`, and not before.
  mutating func schedule(_ slot: Int, at: Instant) {
    entries[slot].wakeAt = at
    guard at < entries[slot].timerAt else { return }
    entries[slot].timerAt = at
    timers.push(Timer(at: at, slot: Int32(slot), generation: entries[slot].generation))
  }

  /// Drops the timers at the front of the heap for which nothing is due any more, so that nobody
  /// wakes up for a transaction that is over.
  mutating func dropIdleTimers() {
    while let timer = timers.first {
      let slot = Int(timer.slot)
      let isKnown = entries[slot].isUsed && entries[slot].generation == timer.generation
      if isKnown, entries[slot].wakeAt <= timer.at { return }
      _ = timers.pop()
      guard isKnown, entries[slot].timerAt == timer.at else { continue }
      entries[slot].timerAt = .never
      schedule(slot, at: entries[slot].wakeAt)
    }
  }

  /// The next pause: doubles each time.
  mutating func backoff(_ slot: Int, _ first: Interval) -> Interval {
    let tries = entries[slot].tries
    if tries < 16 { entries[slot].tries += 1 }
    return jittered(Interval(nanos: min(options.resendMax.nanos, first.nanos << UInt64(tries))))
  }

  /// Between three and five quarters of it.
  mutating func jittered(_ interval: Interval) -> Interval {
    let half = Int(interval.nanos / 2)
    return Interval(nanos: interval.nanos - UInt64(half / 2) + UInt64(chance.below(half + 1)))
  }
}
