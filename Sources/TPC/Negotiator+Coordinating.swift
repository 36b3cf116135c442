import Base

/// The coordinator's side: rules 1, 2 and 5.
extension Negotiator {
  /// Begins a transaction: prepares it here and asks the other participants to prepare it.
  ///
  /// `participants` nil: all members. One that is not this member alone: one phase (rule 4).
  /// Several: this member is one of them. `guest` takes part as well, though it is not a member
  /// yet: the work makes it one. `age` is a hybrid stamp: the older of two transactions wins a
  /// conflict. That of now is above all before, and at least `greatestStamp`; work that has waited
  /// under a `Reservation` keeps its age.
  public mutating func begin<R: Resource & ~Copyable>(
    _ work: Work, among participants: MemberSet? = nil, admitting guest: MemberID? = nil,
    age: Stamp, deadline: Instant, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) -> Beginning {
    var participants = participants ?? members
    if let guest { participants.insert(guest) }
    invariant(
      (guest != nil || members.isSuperset(of: participants))
        && (participants.contains(member) || participants.count == 1),
      "participants \(participants.map(\.number)) are members, the coordinator among them")
    guard isReady else { return .notReady }
    guard openCountHeld < options.openTransactionCountMax,
      begun.count - begunHead < options.openSpanMax
    else { return .full }
    let id = TransactionID(age: age, node: member, counter: nextCounter)
    var entry = Entry(id, .first, .voting, participants, since: now)
    entry.deadline = deadline
    guard participants.contains(member) else {
      return delegate(entry, work, at: now, &resource, &effects)
    }
    let outcome = prepareHere(entry, work, at: now, &resource, &effects)
    if case .started = outcome { take(counterOf: id, at: now, &resource, &effects) }
    settle(at: now, &resource, &effects)
    return outcome
  }

  /// Answers `Effect.renew` with the work of the next attempt. `.conflict`: a name is locked here;
  /// call again when `.unlocked` comes, or, if the resource said `.later`, when it can say.
  /// `.rejected`: the resource said no, or it is too late; the
  /// transaction is then aborted as by `abandon`.
  public mutating func renew<R: Resource & ~Copyable>(
    _ id: TransactionID, _ work: Work, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) -> Beginning {
    guard let slot = entries.find(id), entries[slot].stage == .renewing else {
      return .rejected(.timeout)
    }
    var entry = entries[slot]
    entry.attempt = entry.attempt.next
    let outcome = prepareHere(entry, work, at: now, &resource, &effects)
    switch outcome {
    case .started: counters.retried += 1
    case .rejected(let reason): abortFinally(slot, reason, at: now, &resource, &effects)
    case .conflict, .full, .notReady: break
    }
    settle(at: now, &resource, &effects)
    return outcome
  }

  /// Answers `Effect.renew`: no further attempt; `Effect.aborted` follows with this reason.
  public mutating func abandon<R: Resource & ~Copyable>(
    _ id: TransactionID, _ reason: Reason, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), entries[slot].stage == .renewing else { return }
    abortFinally(slot, reason, at: now, &resource, &effects)
    settle(at: now, &resource, &effects)
  }

  /// Gives a transaction up that was begun here and is not decided; `Effect.aborted` follows. While
  /// the coordinator runs it may abort at any moment (rule 2); after a restart it may not.
  public mutating func withdraw<R: Resource & ~Copyable>(
    _ id: TransactionID, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), id.node == member else { return }
    switch entries[slot].stage {
    case .voting, .pausing, .renewing:
      abortFinally(slot, .abandoned, at: now, &resource, &effects)
      settle(at: now, &resource, &effects)
    case .dying: entries[slot].reason = .abandoned
    default: break
    }
  }

  /// Locks and stages an attempt here and sends its prepares. `entry` is stored only if it starts.
  private mutating func prepareHere<R: Resource & ~Copyable>(
    _ entry: Entry, _ work: Work, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) -> Beginning {
    var entry = entry
    let obstacle = locks.obstacle(to: entry.id, work, pastReservations: true)
    guard obstacle == .none, !remembersFormer(of: entry.participants) else { return .conflict }
    let names = work.withoutBody
    write(.prepared, entry.attempt, entry.participants, names: names)
    let verdict = work.withBody { body in
      scratch.withUnsafeBytes {
        resource.prepare(entry.id, entry.attempt, body: body, record: $0)
      }
    }
    guard case .yes(let result) = verdict else {
      if case .no(let reason, _) = verdict { return .rejected(reason) }
      return .conflict
    }
    entry.lock = locks.lock(entry.id, names)
    entry.stage = .voting
    entry.work = work
    entry.result = result
    entry.heard = MemberSet()
    entry.tries = 0
    let slot = store(entry)
    sendPrepares(slot, to: entry.participants, &effects)
    effects.list.append(.urgent)
    schedule(slot, at: min(entry.deadline, now + options.resend))
    #if MUTANTS
      if Mutant.active == .ownVoteUngated {
        countOwnVote(entry.id, entry.attempt, at: now, &resource, &effects)
        return .started(entry.id)
      }
    #endif
    awaitForce(.ownVote(entry.id, entry.attempt))
    return .started(entry.id)
  }

  private mutating func store(_ entry: Entry) -> Int {
    guard let slot = entries.find(entry.id) else { return entries.insert(entry) }
    entries[slot] = entry
    return slot
  }

  /// Rule 10: a guest is asked last, when all members are prepared. What it has been given is then
  /// what each of them has, and stays so until they hear of the attempt's death.
  mutating func sendPrepares(_ slot: Int, to targets: MemberSet, _ effects: inout Effects) {
    let entry = entries[slot]
    guard let work = entry.work else { return }
    let voters = entry.participants.intersection(members)
    let targets = entry.heard.isSuperset(of: voters) ? targets : targets.intersection(voters)
    for peer in targets where peer != member {
      trace(&effects, entry.id, entry.attempt, peer, .sendsPrepare)
      outbox.prepare(
        entry.id, entry.attempt, entry.participants, work, isOnePhase: entry.stage == .delegated,
        to: peer)
    }
  }

  // MARK: Votes

  /// Rule 1: our own vote counts like the others', when it is durable.
  mutating func countOwnVote<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), entries[slot].attempt == attempt else { return }
    switch entries[slot].stage {
    case .voting: count(member, slot, at: now, &resource, &effects)
    case .asking: concludeAlone(slot, at: now, &resource, &effects)
    default: break
    }
  }

  mutating func receiveYes<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ result: UnsafeRawBufferPointer,
    from peer: MemberID, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), isAbout(attempt, entries[slot]),
      entries[slot].participants.contains(peer)
    else { return }
    if entries[slot].stage == .delegated {
      onePhaseIsDecided(slot, by: peer, result, no: nil, &effects)
      return
    }
    guard entries[slot].stage == .voting, !entries[slot].heard.contains(peer) else { return }
    trace(&effects, id, attempt, peer, .receivesYes)
    if !result.isEmpty {
      let from = effects.bytes.count
      effects.bytes.append(result)
      effects.list.append(.result(id, from: peer, bytes: from..<effects.bytes.count))
    }
    count(peer, slot, at: now, &resource, &effects)
  }

  mutating func receiveNo<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ reason: Reason, _ detail: UnsafeRawBufferPointer,
    from peer: MemberID, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), isAbout(attempt, entries[slot]),
      entries[slot].participants.contains(peer),
      entries[slot].stage == .delegated || entries[slot].stage == .voting
    else { return }
    if !detail.isEmpty {
      let from = effects.bytes.count
      effects.bytes.append(detail)
      effects.list.append(.refusal(id, from: peer, reason, bytes: from..<effects.bytes.count))
    }
    if entries[slot].stage == .delegated {
      onePhaseIsDecided(slot, by: peer, nil, no: reason, &effects)
      return
    }
    trace(&effects, id, attempt, peer, .receivesNo(reason))
    #if MUTANTS
      if Mutant.active == .ignoreNo {
        count(peer, slot, at: now, &resource, &effects)
        return
      }
    #endif
    guard reason.isRetried, now < entries[slot].deadline else {
      abortFinally(slot, reason, at: now, &resource, &effects)
      return
    }
    giveUpAttempt(slot, reason, at: now, &resource, &effects)
  }

  /// Rule 1: committed when all have voted yes for the same attempt, durably.
  private mutating func count<R: Resource & ~Copyable>(
    _ voter: MemberID, _ slot: Int, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    entries[slot].heard.insert(voter)
    let missing = entries[slot].participants.subtracting(entries[slot].heard)
    #if MUTANTS
      if Mutant.active == .commitBeforeAllVotes, missing.count == 1 {
        decideCommit(slot, at: now, &resource, &effects)
        return
      }
    #endif
    if missing.isEmpty {
      decideCommit(slot, at: now, &resource, &effects)
    } else if missing.intersection(members).isEmpty {
      sendPrepares(slot, to: missing, &effects)
    }
  }

  /// The commit needs no force: all have it in their prepared records.
  mutating func decideCommit<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    let entry = entries[slot]
    counters.committed += 1
    trace(&effects, entry.id, entry.attempt, nil, .decidesCommit)
    write(.committed, entry.attempt, entry.participants)
    scratch.withUnsafeBytes { resource.commit(entry.id, record: $0) }
    unlock(slot)
    effects.list.append(.committed(entry.id))
    begin(.settling, slot)
    entries[slot].heard = MemberSet([member])
    enterEpochOfChange(slot, at: now, &resource, &effects)
    sendDecision(.committed, slot)
    schedule(slot, at: now + options.resend)
    finishIfSettled(slot, at: now, &resource, &effects)
  }

  // MARK: Aborts

  /// Rule 2: the death of an attempt is durable before anybody hears of it, and before the next.
  private mutating func giveUpAttempt<R: Resource & ~Copyable>(
    _ slot: Int, _ reason: Reason, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    trace(&effects, entry.id, entry.attempt, nil, .attemptDies(reason))
    write(.dead, entry.attempt, entry.participants)
    scratch.withUnsafeBytes { resource.abort(entry.id, record: $0) }
    unlock(slot)
    begin(.dying, slot)
    entries[slot].reason = reason
    #if MUTANTS
      if Mutant.active == .attemptGivenUpUnforced {
        deathIsDurable(entry.id, entry.attempt, at: now, &resource, &effects)
        return
      }
    #endif
    effects.list.append(.urgent)
    awaitForce(.death(entry.id, entry.attempt))
  }

  mutating func deathIsDurable<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), entries[slot].stage == .dying,
      entries[slot].attempt == attempt
    else { return }
    guard entries[slot].reason.isRetried else {
      return abortFinally(slot, entries[slot].reason, at: now, &resource, &effects)
    }
    sendDecision(.dead, slot)
    let doublings = min(UInt64(attempt.number - 1), 16)
    let pause = min(options.retryMax.nanos, options.retry.nanos << doublings)
    begin(.pausing, slot)
    schedule(slot, at: min(entries[slot].deadline, now + jittered(Interval(nanos: pause))))
  }

  /// Rule 2: the final abort is forced, then told to the others, then to the client when one of
  /// them has it durably.
  mutating func abortFinally<R: Resource & ~Copyable>(
    _ slot: Int, _ reason: Reason, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    trace(&effects, entry.id, entry.attempt, nil, .decidesAbort(reason))
    write(.aborted, entry.attempt, entry.participants)
    scratch.withUnsafeBytes { resource.abort(entry.id, record: $0) }
    unlock(slot)
    begin(.aborting, slot)
    entries[slot].reason = reason
    schedule(slot, at: entry.deadline + options.outcomeWait)
    #if MUTANTS
      if Mutant.active == .abortSentUnforced {
        finalAbortIsDurable(entry.id, at: now, &resource, &effects)
        return
      }
    #endif
    effects.list.append(.urgent)
    awaitForce(.finalAbort(entry.id))
  }

  mutating func finalAbortIsDurable<R: Resource & ~Copyable>(
    _ id: TransactionID, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), entries[slot].stage == .aborting else { return }
    begin(.telling, slot)
    sendDecision(.aborted, slot)
    schedule(slot, at: now + options.resend)
    if !hasWitness(slot) {
      finishAborted(slot, at: now, &resource, &effects)
    }
  }

  // MARK: Acknowledgements

  mutating func receiveAcknowledgement<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ word: Message.Word, from peer: MemberID,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), entries[slot].participants.contains(peer),
      id.node == member
    else { return }
    trace(&effects, id, attempt, peer, .receivesAcknowledgement)
    switch (word, entries[slot].stage) {
    case (.committed, .settling):
      entries[slot].heard.insert(peer)
      finishIfSettled(slot, at: now, &resource, &effects)
    case (.aborted, .telling) where members.contains(peer):
      finishAborted(slot, at: now, &resource, &effects)
    default: break
    }
  }

  /// Rule 2: who keeps an abort besides the coordinator is a member; a guest that is not admitted
  /// after all forgets everything.
  func hasWitness(_ slot: Int) -> Bool {
    entries[slot].participants.intersection(members).count > 1
  }

  /// Rule 7: a commit is kept until every participant has it durably.
  mutating func finishIfSettled<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard entries[slot].participants.subtracting(entries[slot].heard).isEmpty else { return }
    finish(slot, at: now, &resource, &effects)
  }

  mutating func finishAborted<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    counters.aborted += 1
    effects.list.append(.aborted(entries[slot].id, entries[slot].reason))
    finish(slot, at: now, &resource, &effects)
  }

  // MARK: Parts

  /// Tells the participants that have not answered yet.
  mutating func sendDecision(_ word: Message.Word, _ slot: Int) {
    let entry = entries[slot]
    for peer in entry.participants where peer != member && !entry.heard.contains(peer) {
      outbox.word(
        .decision, entry.id, entry.attempt, word, to: peer, gated: false,
        patient: word == .committed)
    }
  }

  /// Enters a stage of the coordinator in which nobody was heard yet.
  private mutating func begin(_ stage: Entry.Stage, _ slot: Int) {
    entries[slot].stage = stage
    entries[slot].heard = MemberSet()
    entries[slot].tries = 0
    entries[slot].work = nil
    entries[slot].result = []
    entries[slot].wakeAt = .never
  }

  /// Whether a word about `attempt` is about the attempt of the entry.
  func isAbout(_ attempt: Attempt, _ entry: Entry) -> Bool {
    #if MUTANTS
      if Mutant.active == .attemptMissing { return true }
    #endif
    return attempt == entry.attempt
  }
}
