import Base

/// Rule 3: recovery by asking.
extension Negotiator {
  /// Sends an inquiry; it leaves when our own `prepared` is durable.
  mutating func ask(_ entry: Entry, _ targets: MemberSet, _ effects: inout Effects) {
    var isGated = true
    #if MUTANTS
      if Mutant.active == .inquiryUngated { isGated = false }
    #endif
    for peer in targets where peer != member {
      counters.inquiries += 1
      trace(&effects, entry.id, entry.attempt, peer, .asks)
      outbox.inquiry(entry.id, entry.attempt, entry.participants, to: peer, gated: isGated)
    }
  }

  mutating func receiveInquiry<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ participants: MemberSet, from peer: MemberID,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard participants.contains(member), participants.contains(peer) || id.node == peer else {
      counters.malformed += 1
      return
    }
    if id.node == member {
      answerAsCoordinator(id, attempt, to: peer, &effects)
    } else if let slot = entries.find(id) {
      answer(slot, attempt, to: peer, &resource, &effects)
    } else if id.counter < coordinator(id.node).horizon {
      answer(id, attempt, .dead, to: peer, &effects)
    } else if entries.count < options.knownTransactionCountMax {
      let slot = add(Entry(id, attempt, .dead, present(of: participants), since: now))
      refuse(slot, attempt, to: peer, &resource, &effects)
    }
  }

  // MARK: Answers

  private mutating func answerAsCoordinator(
    _ id: TransactionID, _ attempt: Attempt, to peer: MemberID, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id) else {
      // Finished or never prepared durably: no record of it can come up any more.
      if id.counter < nextCounter { answer(id, attempt, .dead, to: peer, &effects) }
      return
    }
    let entry = entries[slot]
    switch entry.stage {
    case .settling: answer(id, entry.attempt, .committed, to: peer, &effects)
    case .aborting, .telling: answer(id, entry.attempt, .aborted, to: peer, &effects)
    case .dying, .pausing, .renewing: answer(id, entry.attempt, .dead, to: peer, &effects)
    case .voting, .asking:
      // A lower attempt died durably before this one began; about this one nothing can be said.
      if attempt < entry.attempt { answer(id, attempt, .dead, to: peer, &effects) }
      if attempt > entry.attempt { counters.contradictions += 1 }
    case .queued, .prepared, .committed, .dead, .aborted, .delegated: break
    }
  }

  private mutating func answer<R: Resource & ~Copyable>(
    _ slot: Int, _ attempt: Attempt, to peer: MemberID, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    switch entry.stage {
    case .committed:
      answer(
        entry.id, entry.attempt, .committed, isOnePhase: entry.isOnePhase, to: peer, &effects)
    case .aborted:
      answer(entry.id, max(attempt, entry.attempt), .aborted, to: peer, &effects)
    case .prepared where isPrepared(entry, for: attempt),
      .asking where isPrepared(entry, for: attempt):
      answer(entry.id, attempt, .prepared, to: peer, &effects)
    case .prepared, .asking, .queued, .dead:
      if entry.stage == .queued ? attempt < entry.attempt : attempt <= entry.attempt {
        answer(entry.id, attempt, .dead, to: peer, &effects)
      } else {
        refuse(slot, attempt, to: peer, &resource, &effects)
      }
    default: break
    }
  }

  private func isPrepared(_ entry: Entry, for attempt: Attempt) -> Bool {
    #if MUTANTS
      if Mutant.active == .attemptsMixed { return true }
    #endif
    return isAbout(attempt, entry)
  }

  /// Not prepared for the attempt: forces a refusal, drops what is lower or waits.
  private mutating func refuse<R: Resource & ~Copyable>(
    _ slot: Int, _ attempt: Attempt, to peer: MemberID, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    unqueue(slot)
    unlock(slot)
    write(.dead, attempt, entry.participants)
    scratch.withUnsafeBytes { resource.abort(entry.id, record: $0) }
    rest(slot, .dead)
    entries[slot].attempt = attempt
    effects.list.append(.urgent)
    answer(entry.id, attempt, .dead, to: peer, &effects)
  }

  /// A commit may be said at once, because all have prepared durably, unless it was decided alone;
  /// all else waits until what it says is durable here.
  private mutating func answer(
    _ id: TransactionID, _ attempt: Attempt, _ word: Message.Word, isOnePhase: Bool = false,
    to peer: MemberID, _ effects: inout Effects
  ) {
    switch word {
    case .committed: trace(&effects, id, attempt, peer, .answersCommitted)
    case .prepared: trace(&effects, id, attempt, peer, .answersPrepared)
    case .dead, .aborted: trace(&effects, id, attempt, peer, .answersRefused)
    }
    var isGated = word != .committed || isOnePhase
    #if MUTANTS
      if Mutant.active == .refusalUnforced, word != .prepared { isGated = false }
      if Mutant.active == .voteUngated { isGated = false }
    #endif
    outbox.word(.answer, id, attempt, word, to: peer, gated: isGated)
  }

  // MARK: Hearing answers

  mutating func receiveAnswer<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ word: Message.Word, from peer: MemberID,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id), entries[slot].participants.contains(peer) || id.node == peer
    else { return }
    if id.node == member {
      hearAsCoordinator(slot, attempt, word, from: peer, at: now, &resource, &effects)
      return
    }
    guard entries[slot].stage == .prepared || entries[slot].stage == .asking else { return }
    switch word {
    case .committed: learnCommit(slot, attempt, from: peer, at: now, &resource, &effects)
    case .dead, .aborted:
      learnAbort(slot, attempt, isFinal: word == .aborted, from: peer, &resource, &effects)
    case .prepared:
      // Only who decides may conclude a commit from it: the coordinator, or all if it was removed.
      guard isPrepared(entries[slot], for: attempt) else { return }
      entries[slot].heard.insert(peer)
      if entries[slot].stage == .asking, haveAllAnswered(slot) {
        learnCommit(slot, entries[slot].attempt, from: peer, at: now, &resource, &effects)
      }
    }
  }

  private mutating func hearAsCoordinator<R: Resource & ~Copyable>(
    _ slot: Int, _ attempt: Attempt, _ word: Message.Word, from peer: MemberID,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    let entry = entries[slot]
    if entry.stage == .delegated, word != .prepared {
      onePhaseIsDecided(slot, by: peer, nil, no: word == .committed ? nil : .refused, &effects)
      return
    }
    guard entry.stage == .asking else { return }
    switch word {
    case .committed:
      if isAbout(attempt, entry) { decideCommit(slot, at: now, &resource, &effects) }
    case .dead, .aborted:
      if entry.attempt <= attempt || word == .aborted {
        abortFinally(slot, .refused, at: now, &resource, &effects)
      }
    case .prepared:
      guard isPrepared(entry, for: attempt) else { return }
      entries[slot].heard.insert(peer)
      if haveAllAnswered(slot) { decideCommit(slot, at: now, &resource, &effects) }
    }
  }

  private func haveAllAnswered(_ slot: Int) -> Bool {
    var missing = entries[slot].participants.subtracting(entries[slot].heard)
    missing.remove(member)
    return missing.isEmpty
  }

  /// Begins to ask all others; alone, our own record decides, when it is durable.
  mutating func startAsking<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    entries[slot].stage = .asking
    entries[slot].heard = MemberSet()
    entries[slot].tries = 0
    entries[slot].work = nil
    guard haveAllAnswered(slot) else {
      ask(entries[slot], entries[slot].participants, &effects)
      schedule(slot, at: now + backoff(slot, options.inquiry))
      return
    }
    effects.list.append(.urgent)
    awaitForce(.ownVote(entries[slot].id, entries[slot].attempt))
  }

  /// Our own record is durable, and nobody else is left to be asked.
  mutating func concludeAlone<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard haveAllAnswered(slot) else { return }
    if entries[slot].id.node == member {
      decideCommit(slot, at: now, &resource, &effects)
    } else {
      learnCommit(slot, entries[slot].attempt, from: member, at: now, &resource, &effects)
    }
  }
}
