import Base

/// The participant's side: rules 1 and 5.
extension Negotiator {
  mutating func receivePrepare<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ participants: MemberSet, _ work: WorkView,
    isOnePhase: Bool, _ header: Message.Header, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let isWellFormed =
      id.node == header.sender && participants.contains(member)
      && (isOnePhase ? participants.count == 1 : participants.contains(id.node))
    guard isWellFormed else {
      counters.malformed += 1
      return
    }
    trace(&effects, id, attempt, header.sender, .receivesPrepare)
    var entry = Entry(id, attempt, .queued, participants, since: now)
    entry.isOnePhase = isOnePhase
    // A no of one phase is a durable refusal: what was committed alone is said in any epoch.
    if isOnePhase, answerKnown(entry, &effects) { return }
    guard isOfThisEpoch(header) else {
      // Who is ahead of us says it again until we have come so far.
      if !isOnePhase, header.epoch.isCovered(by: epoch) { refuse(entry, .epoch, &effects) }
      return
    }
    if answerKnown(entry, &effects) { return }
    guard id.counter >= coordinator(id.node).horizon else {
      return refuse(entry, .expired, &effects)
    }
    if entries.find(id) == nil, entries.count >= options.knownTransactionCountMax {
      if !isOnePhase { refuse(entry, .noSpace, &effects) }
      return
    }
    guard isOnePhase || !remembersFormer(of: participants) else { return }
    endLower(entry)
    consider(entry, work, at: now, &resource, &effects)
  }

  /// Answers a prepare whose attempt is known already, or is older than what is known.
  private mutating func answerKnown(_ entry: Entry, _ effects: inout Effects) -> Bool {
    guard let slot = entries.find(entry.id) else { return false }
    let known = entries[slot]
    switch known.stage {
    case .committed:
      var entry = entry
      entry.result = known.result
      if entry.isOnePhase {
        vote(entry, no: nil, &effects)
      } else {
        acknowledge(entry, .committed, &effects)
      }
      return true
    case .aborted:
      refuse(entry, known.reason, &effects)
      return true
    case .dead:
      guard entry.attempt <= known.attempt else { return false }
      refuse(entry, .refused, &effects)
      return true
    case .prepared:
      guard entry.attempt <= known.attempt else { return false }
      if entry.attempt == known.attempt { vote(known, no: nil, &effects) }
      return true
    case .queued: return entry.attempt <= known.attempt
    default: return true
    }
  }

  /// Hearing of a higher attempt ends the lower ones; what was staged is replaced or dropped by
  /// `consider`.
  private mutating func endLower(_ entry: Entry) {
    guard let slot = entries.find(entry.id) else { return }
    unlock(slot)
    entries[slot].work = nil
  }

  /// The whole check of a prepare: locks, then the resource. Also when it waited.
  private mutating func consider<R: Resource & ~Copyable>(
    _ entry: Entry, _ work: WorkView, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    switch locks.obstacle(to: entry.id, work.bytes) {
    case .none: stage(entry, work, at: now, &resource, &effects)
    case .older: decline(entry, .conflict, &resource, &effects)
    case .younger:
      let lower = drop(entry, &resource)
      var entry = entry
      entry.work = work.copy
      entry.lower = lower
      entry.lock = locks.lock(entry.id, work.names, .waits)
      _ = keep(entry)
      trace(&effects, entry.id, entry.attempt, nil, .queues)
    }
  }

  /// Stages and votes. The vote leaves when the record is durable (rule 1).
  private mutating func stage<R: Resource & ~Copyable>(
    _ entry: Entry, _ work: WorkView, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    var entry = entry
    let names = work.names
    write(entry.isOnePhase ? .alone : .prepared, entry.attempt, entry.participants, names: names)
    let verdict = scratch.withUnsafeBytes {
      resource.prepare(entry.id, entry.attempt, body: work.body, record: $0)
    }
    switch verdict {
    case .no(let reason, let detail):
      entry.result = detail
      decline(entry, reason, &resource, &effects)
    case .later: decline(entry, nil, &resource, &effects)
    case .yes(let result):
      entry.stage = .prepared
      entry.since = now
      entry.result = result
      entry.work = nil
      entry.tries = 0
      entry.heard = MemberSet()
      if entry.isOnePhase {
        commitAlone(entry, at: now, &resource, &effects)
        return
      }
      entry.lock = locks.lock(entry.id, names)
      let slot = keep(entry)
      vote(entry, no: nil, &effects)
      effects.list.append(.urgent)
      schedule(slot, at: now + jittered(options.inquiry))
    }
  }

  /// A no; without a reason nothing is said. What a lower attempt had staged goes.
  private mutating func decline<R: Resource & ~Copyable>(
    _ entry: Entry, _ reason: Reason?, _ resource: inout R, _ effects: inout Effects
  ) {
    if entry.isOnePhase {
      if let reason { refuseAlone(entry, reason, &resource, &effects) }
      return
    }
    let lower = drop(entry, &resource)
    if let reason { refuse(entry, reason, &effects) }
    guard let slot = entries.find(entry.id) else { return }
    let dead = max(lower, entry.lower)
    if dead == .none {
      entries.remove(slot)
    } else {
      entries[slot].stage = .dead
      entries[slot].attempt = dead
    }
  }

  /// Drops what a lower attempt had staged; returns up to which attempt a record calls it dead.
  private mutating func drop<R: Resource & ~Copyable>(
    _ entry: Entry, _ resource: inout R
  ) -> Attempt {
    guard let slot = entries.find(entry.id) else { return .none }
    let known = entries[slot]
    if known.stage == .dead { return known.attempt }
    guard known.stage == .prepared else { return known.lower }
    write(.dead, known.attempt, known.participants)
    scratch.withUnsafeBytes { resource.abort(entry.id, record: $0) }
    entries[slot].stage = .dead
    return known.attempt
  }

  /// Stores an entry under its id, with the timer that its slot has.
  mutating func keep(_ entry: Entry) -> Int {
    guard let slot = entries.find(entry.id) else { return add(entry) }
    var entry = entry
    entry.generation = entries[slot].generation
    entry.timerAt = entries[slot].timerAt
    entries[slot] = entry
    return slot
  }

  /// Adds the entry of another coordinator's transaction.
  mutating func add(_ entry: Entry) -> Int {
    if entry.id.node != member {
      coordinators[Int(entry.id.node.number) - 1].known.push(
        KnownTransaction(counter: entry.id.counter, age: entry.id.age))
    }
    return entries.insert(entry)
  }

  // MARK: Waiting

  /// Rule 5: a prepare that waited is checked from the start when its turn comes.
  mutating func tryQueued<R: Resource & ~Copyable>(
    _ id: TransactionID, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let slot = entries.find(id) else { return }
    #if MUTANTS
      if Mutant.active == .queuedGrantedUnchecked, let work = entries[slot].work {
        var granted = entries[slot]
        granted.stage = .queued
        work.bytes.withUnsafeBytes { bytes in
          guard let view = WorkView(bytes) else { return }
          if granted.lock >= 0 { unlock(slot) }
          granted.lock = -1
          _ = locks.obstacle(to: id, bytes)
          stage(granted, view, at: now, &resource, &effects)
        }
        return
      }
    #endif
    guard entries[slot].stage == .queued, let work = entries[slot].work else { return }
    let lock = entries[slot].lock
    entries[slot].lock = -1
    if lock >= 0 { locks.unlock(lock, awakened: &awakened) }
    var entry = entries[slot]
    entry.lock = -1
    work.bytes.withUnsafeBytes { bytes in
      guard let view = WorkView(bytes) else { return }
      consider(entry, view, at: now, &resource, &effects)
    }
  }

  /// Takes a waiting prepare out of the queue: its attempt was refused, or is over.
  mutating func unqueue(_ slot: Int) {
    guard entries[slot].stage == .queued else { return }
    unlock(slot)
    #if MUTANTS
      if Mutant.active == .queuedGrantedUnchecked {
        awakened.append(entries[slot].id)
        return
      }
    #endif
    entries[slot].work = nil
  }

  // MARK: Decisions

  mutating func receiveDecision<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ word: Message.Word, from peer: MemberID,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard id.node == peer else {
      counters.malformed += 1
      return
    }
    guard let slot = entries.find(id) else {
      decisionAboutUnknown(id, attempt, word, from: peer, &resource, &effects)
      return
    }
    switch word {
    case .committed: learnCommit(slot, attempt, from: peer, at: now, &resource, &effects)
    case .dead, .aborted, .prepared:
      learnAbort(slot, attempt, isFinal: word == .aborted, from: peer, &resource, &effects)
    }
  }

  private mutating func decisionAboutUnknown<R: Resource & ~Copyable>(
    _ id: TransactionID, _ attempt: Attempt, _ word: Message.Word, from peer: MemberID,
    _ resource: inout R, _ effects: inout Effects
  ) {
    let entry = Entry(id, attempt, .aborted, MemberSet([member, peer]), since: .zero)
    if id.counter < coordinator(id.node).horizon {
      // It was finished, and is done with here; say so again, the coordinator has forgotten it.
      if word != .dead { acknowledge(entry, word, &effects) }
    } else if word == .aborted, entries.count < options.knownTransactionCountMax {
      _ = add(entry)
      write(.aborted, attempt, entry.participants)
      scratch.withUnsafeBytes { resource.abort(id, record: $0) }
      effects.list.append(.urgent)
      acknowledge(entry, .aborted, &effects)
    } else if word == .committed {
      counters.contradictions += 1
    }
  }

  /// Applies what is staged. Lazy: who loses this record asks again (rule 1).
  mutating func learnCommit<R: Resource & ~Copyable>(
    _ slot: Int, _ attempt: Attempt, from peer: MemberID, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    switch entry.stage {
    case .committed: acknowledge(entry, .committed, &effects)
    case .prepared where isAbout(attempt, entry), .asking where isAbout(attempt, entry):
      trace(&effects, entry.id, attempt, peer, .learnsCommit)
      write(.committed, entry.attempt, entry.participants)
      scratch.withUnsafeBytes { resource.commit(entry.id, record: $0) }
      unlock(slot)
      rest(slot, .committed)
      enterEpochOfChange(slot, at: now, &resource, &effects)
      acknowledge(entry, .committed, &effects)
    default: counters.contradictions += 1
    }
  }

  /// Attempts up to `attempt` are dead. Final: all are, also those that the coordinator had begun
  /// and forgot by a crash.
  mutating func learnAbort<R: Resource & ~Copyable>(
    _ slot: Int, _ attempt: Attempt, isFinal: Bool, from peer: MemberID, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    switch entry.stage {
    case .aborted:
      if isFinal { acknowledge(entry, .aborted, &effects) }
      return
    case .dead where isFinal || entry.attempt < attempt: break
    case .prepared where isFinal || covers(attempt, entry),
      .asking where isFinal || covers(attempt, entry),
      .queued where isFinal || covers(attempt, entry):
      break
    case .committed:
      if isFinal || attempt >= entry.attempt { counters.contradictions += 1 }
      return
    default: return
    }
    trace(&effects, entry.id, attempt, peer, .learnsAbort)
    unqueue(slot)
    unlock(slot)
    let dead = isFinal ? max(attempt, entry.attempt) : max(attempt, entry.lower)
    write(isFinal ? .aborted : .dead, dead, entry.participants)
    scratch.withUnsafeBytes { resource.abort(entry.id, record: $0) }
    rest(slot, isFinal ? .aborted : .dead)
    entries[slot].attempt = dead
    guard isFinal else { return }
    effects.list.append(.urgent)
    acknowledge(entries[slot], .aborted, &effects)
  }

  /// Whether the death of attempts up to `attempt` is that of the entry's.
  private func covers(_ attempt: Attempt, _ entry: Entry) -> Bool {
    entry.attempt <= attempt || isAbout(attempt, entry)
  }

  /// Enters a stage in which nothing is due.
  mutating func rest(_ slot: Int, _ stage: Entry.Stage) {
    entries[slot].stage = stage
    entries[slot].result = []
    entries[slot].heard = MemberSet()
    entries[slot].wakeAt = .never
  }

  // MARK: Words to the coordinator

  /// Sends a vote; it leaves when what it says is durable.
  mutating func vote(_ entry: Entry, no reason: Reason?, _ effects: inout Effects) {
    if let reason {
      counters.noVotes += 1
      trace(&effects, entry.id, entry.attempt, entry.id.node, .votesNo(reason))
    } else {
      counters.yesVotes += 1
      trace(&effects, entry.id, entry.attempt, entry.id.node, .votesYes)
    }
    var isGated = reason == nil || entry.isOnePhase
    #if MUTANTS
      if Mutant.active == .voteUngated { isGated = false }
    #endif
    outbox.vote(
      entry.id, entry.attempt, no: reason, result: entry.result, to: entry.id.node,
      gated: isGated)
  }

  private mutating func refuse(_ entry: Entry, _ reason: Reason, _ effects: inout Effects) {
    vote(entry, no: reason, &effects)
  }

  /// Says that a decision is recorded; leaves when it is durably so (rules 2 and 7).
  mutating func acknowledge(
    _ entry: Entry, _ word: Message.Word, _ effects: inout Effects
  ) {
    guard entry.id.node != member, members.contains(entry.id.node), !entry.isOnePhase else {
      return
    }
    trace(&effects, entry.id, entry.attempt, entry.id.node, .acknowledges)
    var isGated = true
    #if MUTANTS
      if Mutant.active == .acknowledgeAtAppend { isGated = false }
    #endif
    outbox.word(
      .acknowledgement, entry.id, entry.attempt, word, to: entry.id.node, gated: isGated)
  }

  func coordinator(_ member: MemberID) -> CoordinatorMemory {
    coordinators[Int(member.number) - 1]
  }
}
