import Base
import NetKit
import Store
import TPC

// From the open round to a transaction, and from its decision to the replies.
extension Node {
  /// The open round; opens one when there is none.
  mutating func openRound(_ cluster: ClusterPointer) -> Round {
    if let open = cluster.pointee.open { return open }
    cluster.pointee.roundNumber += 1
    let round = Round(
      number: cluster.pointee.roundNumber, hashKey: cluster.pointee.hashKey,
      deadline: now.instant + cluster.pointee.patience)
    cluster.pointee.open = round
    database.unsafelyUnwrapped.pointee.begin(multi: true)
    return round
  }

  /// Adds the unit at hand, whose reply is what stands in `output` from `start`, to the open round.
  mutating func addUnit(
    _ link: LinkID, replyFrom start: Int, _ cluster: ClusterPointer
  ) {
    guard let round = cluster.pointee.open else { invariantFailed("a unit joins an open round") }
    let input = round.input.count
    round.input.append(cluster.pointee.unit.bytes)
    let reply = round.output.count
    round.output.append(UnsafeRawBufferPointer(rebasing: output.bytes[start...]))
    output.truncate(to: start)
    round.units.append(
      RoundUnit(
        link: link, request: cluster.pointee.unit.request, input: input..<round.input.count,
        reply: reply..<round.output.count, queue: cluster.pointee.unit.queue,
        watches: cluster.pointee.unit.watches, hasID: cluster.pointee.unit.hasID,
        outcome: requestOutcome))
    cluster.pointee.counters.units &+= 1
  }

  /// True when the open round has taken as much as one round may.
  func isRoundFull(_ cluster: ClusterPointer) -> Bool {
    guard let open = cluster.pointee.open, open.id == nil else { return false }
    let changedByteCount = database.unsafelyUnwrapped.pointee.log.recordByteCount
    return open.namesVersion || open.change != nil
      || open.input.count + open.output.count + changedByteCount > Cluster.roundByteCountMax
      || open.units.count >= Cluster.roundUnitCountMax
      || open.keys.count >= Cluster.roundUnitCountMax
  }

  /// Makes the open round a transaction: takes its changes out of the database again, locks its
  /// keys here, and has the others asked to prepare.
  mutating func closeRound() {
    guard let cluster, let round = cluster.pointee.open, let database else { return }
    cluster.pointee.open = nil
    cluster.pointee.changes.removeAll()
    let stamp = database.pointee.takeChanges(into: &cluster.pointee.changes)
    if round.units.isEmpty, round.change == nil { return }
    for unit in round.units where unit.request == nil {
      sessions[unit.link]?.pointee.stall = .round
    }
    if isVoid(round, cluster), round.id == nil {
      // Nothing was changed after all: what was read together is answered together.
      return deliver(round, cluster)
    }
    begin(round, stamp, cluster)
    carryOutEffects(cluster)
  }

  /// Whether a round has nothing to do.
  private func isVoid(_ round: Round, _ cluster: ClusterPointer) -> Bool {
    cluster.pointee.changes.isEmpty && round.operations.isEmpty && round.change == nil
  }

  /// Hands a round to the negotiator: the first attempt of a transaction, or the next one.
  private mutating func begin(_ round: Round, _ stamp: Stamp, _ cluster: ClusterPointer) {
    guard let database else { return }
    var resource = storeResource(database)
    if let id = round.id { cluster.pointee.rounds[id] = round }
    guard let work = work(of: round, stamp, cluster) else {
      guard let id = round.id else {
        let most = cluster.pointee.messageByteCountMax - Cluster.messageOverheadByteCount
        let bound = "its bound of \(most) bytes between members"
        let text = "ERR transaction exceeds \(bound) (not-applied)"
        return refuseOrPart(round, text, cluster)
      }
      return cluster.pointee.negotiator.abandon(
        id, .invalid, at: now.instant, &resource, &cluster.pointee.effects)
    }
    if let id = round.id {
      if isVoid(round, cluster) {
        round.deliversOnAbort = true
        return cluster.pointee.negotiator.abandon(
          id, .abandoned, at: now.instant, &resource, &cluster.pointee.effects)
      }
      let beginning = cluster.pointee.negotiator.renew(
        id, work, at: now.instant, &resource, &cluster.pointee.effects)
      if case .started = beginning, let change = round.change {
        changePrepared(id, round.attempt, change)
      } else if case .conflict = beginning {
        invariant(round.change != nil, "a round's keys were free a moment ago")
        putOff(round, id, cluster)
      }
      return
    }
    if let absence = absentMember {
      return refuse(round, "UNAVAILABLE \(absence) (not-applied)", cluster)
    }
    let beginning = cluster.pointee.negotiator.begin(
      work, admitting: round.change?.guest?.id, age: min(stamp, round.waitAge ?? stamp),
      deadline: round.deadline, at: now.instant, &resource, &cluster.pointee.effects)
    switch beginning {
    case .started(let id):
      round.id = id
      cluster.pointee.rounds[id] = round
      cluster.pointee.counters.rounds &+= 1
      if let change = round.change { changePrepared(id, round.attempt, change) }
      #if MUTANTS
        if Mutant.active == .replyBeforeDecision {
          cluster.pointee.rounds[id] = nil
          deliver(round, cluster)
        }
      #endif
    case .conflict:
      invariant(round.change != nil, "a round's keys were free a moment ago")
      refuse(round, "BUSY an earlier member of that id is not done with (not-applied)", cluster)
    case .rejected(let reason):
      // Its commands ran on this very data: it can only lack room.
      refuseOrPart(round, text(of: reason, round), cluster)
    case .full, .notReady:
      refuse(round, "BUSY too many transactions are under way (not-applied)", cluster)
    }
  }

  /// What is sent to the others: keys, versions, changes (`StoreResource`). Nil: it is too large.
  private mutating func work(
    of round: Round, _ stamp: Stamp, _ cluster: ClusterPointer
  ) -> Work? {
    let database = database.unsafelyUnwrapped
    cluster.pointee.builder.add(operation: Cluster.allKeys, modeOfAll(round))
    cluster.pointee.builder.body.appendWorkHead(
      stamp: stamp, grows: round.grows, changesMembers: round.change != nil,
      keyCount: round.keys.count)
    for index in 0..<round.keys.count {
      let key = round.keys.key(at: index)
      let mode: LockMode = round.keys.isWritten(at: index) ? .write : .read
      if isLocked(mode) { cluster.pointee.builder.add(key: key, mode) }
      cluster.pointee.builder.body.appendWorkKey(key, version: database.pointee.version(of: key))
    }
    let operations = operationsInWork(of: round)
    for id in operations { cluster.pointee.builder.add(operation: id) }
    cluster.pointee.builder.body.append(workOperations: operations)
    cluster.pointee.builder.body.append(cluster.pointee.changes.bytes)
    if let change = round.change {
      ProposedChange(change, of: cluster.pointee.state.present)
        .encode(into: &cluster.pointee.builder.body)
    }
    guard
      cluster.pointee.builder.byteCount + Cluster.messageOverheadByteCount
        <= cluster.pointee.messageByteCountMax
    else {
      cluster.pointee.builder.removeAll()
      return nil
    }
    return cluster.pointee.builder.finish()
  }

  /// A change of the members goes alone, like one of all keys.
  private func modeOfAll(_ round: Round) -> LockMode {
    #if MUTANTS
      if Mutant.active == .joinPastLock { return round.changesAll ? .write : .read }
    #endif
    return round.changesAll || round.change != nil ? .write : .read
  }

  /// Keys that are only read are locked too.
  private func isLocked(_ mode: LockMode) -> Bool {
    #if MUTANTS
      if Mutant.active == .readsNotLocked { return mode == .write }
    #endif
    return true
  }

  private func operationsInWork(of round: Round) -> [OperationID] {
    #if MUTANTS
      if Mutant.active == .operationNotInWork { return [] }
    #endif
    return round.operations
  }

  // MARK: Effects

  /// Does what the negotiator asked for.
  mutating func carryOutEffects(_ cluster: ClusterPointer) {
    guard let database else { return }
    // None of these calls the negotiator, so the list does not grow meanwhile.
    var index = 0
    while index < cluster.pointee.effects.list.count {
      let effect = cluster.pointee.effects.list[index]
      index += 1
      switch effect {
      case .send(let member, let range, let isGated):
        let message = UnsafeRawBufferPointer(
          rebasing: cluster.pointee.effects.bytes.bytes[range])
        #if MUTANTS
          let isGated = isGated && Mutant.active != .memberGateOpen
        #endif
        if isGated {
          cluster.pointee.gatedOutbox.push(
            message, to: member, after: database.pointee.log.appended)
        } else {
          cluster.pointee.freeOutbox.push(message, to: member, after: .zero)
        }
      case .notify(let ticket):
        cluster.pointee.tickets.append((database.pointee.log.appended, ticket))
      case .urgent: database.pointee.log.hurry()
      case .result: break
      case .refusal(_, _, let reason, let range):
        hear(reason, UnsafeRawBufferPointer(rebasing: cluster.pointee.effects.bytes.bytes[range]))
      case .committed(let id): committed(id, cluster)
      case .aborted(let id, let reason): aborted(id, reason, cluster)
      case .unknown(let id): outcomeUnknown(id, cluster)
      case .renew(let id, let attempt): renew(id, attempt, cluster)
      case .unlocked: cluster.pointee.mayUnblock = true
      case .step(let step):
        cluster.pointee.steps.append(step, at: now)
        noteDecision(step, cluster)
      }
    }
    cluster.pointee.effects.removeAll()
    // Before a command runs that waited for the change: its newcomer is known to be confirmed.
    applyChanges(cluster)
  }

  /// A voter's no came with details: its horizon becomes this member's, so that the refusal stands
  /// when the voter is gone.
  private mutating func hear(_ reason: Reason, _ detail: UnsafeRawBufferPointer) {
    guard reason == .expired, let horizon = StoreResource.horizonMillis(in: detail) else { return }
    database.unsafelyUnwrapped.pointee.raiseHorizon(to: horizon)
  }

  private mutating func committed(_ id: TransactionID, _ cluster: ClusterPointer) {
    guard let round = cluster.pointee.rounds.removeValue(forKey: id) else { return }
    if let change = round.change { changeDecided(id, committed: true, change) }
    deliver(round, cluster)
  }

  private mutating func aborted(
    _ id: TransactionID, _ reason: Reason, _ cluster: ClusterPointer
  ) {
    guard let round = cluster.pointee.take(id) else { return }
    cluster.pointee.counters.aborted &+= 1
    if let change = round.change { changeDecided(id, committed: false, change) }
    if round.deliversOnAbort { return deliver(round, cluster) }
    switch reason {
    case .duplicate, .epoch: giveBack(round, alone: true, cluster)
    // Run again, it is answered out of what is known here by now.
    case .expired where isExpired(round): giveBack(round, alone: true, cluster)
    case .noSpace, .expired, .invalid:
      if round.units.count > 1 { return giveBack(round, alone: true, cluster) }
      refuse(round, text(of: reason, round), cluster)
    case .conflict, .refused, .timeout, .abandoned, .unreachable:
      refuse(round, text(of: reason, round), cluster)
    }
  }

  /// An id of the round's is at or below the horizon of this member.
  private func isExpired(_ round: Round) -> Bool {
    let horizon = database.unsafelyUnwrapped.pointee.horizonMillis
    return round.operations.contains { $0.unixMillis <= horizon }
  }

  private func text(of reason: Reason, _ round: Round) -> String {
    switch reason {
    case .noSpace: "NOSPACE a member has no room (not-applied)"
    case .expired where round.operations.isEmpty:
      "ABORTED a member takes the transaction for a finished one (not-applied)"
    case .expired: "IDEXPIRED the id is at or below a member's horizon (unknown)"
    case .timeout: "ABORTED not all members have prepared in time (not-applied)"
    case .unreachable: "ABORTED \(departure) (not-applied)"
    case .conflict, .refused: "ABORTED other transactions hold the keys (not-applied)"
    case .invalid, .duplicate, .epoch, .abandoned: "ABORTED \(reason) (not-applied)"
    }
  }

  private mutating func outcomeUnknown(_ id: TransactionID, _ cluster: ClusterPointer) {
    guard let round = cluster.pointee.take(id) else { return }
    cluster.pointee.counters.unknown &+= 1
    if let change = round.change { changeDecided(id, committed: nil, change) }
    refuse(round, "UNKNOWN transaction \(id) is not decided yet (unknown)", cluster)
  }

  // MARK: Replies

  /// Answers all units of a round that has ended.
  private mutating func deliver(_ round: Round, _ cluster: ClusterPointer) {
    for unit in round.units {
      let start = output.count
      output.append(round.reply(of: unit))
      answerLate(unit, from: start, outcome: unit.outcome, cluster)
    }
    release(round)
  }

  /// Answers all units of a round with an error.
  mutating func refuse(_ round: Round, _ text: String, _ cluster: ClusterPointer) {
    let word = " (not-applied)"
    let reason = text.hasSuffix(word) ? String(text.dropLast(word.count)) : text
    let uncertain = reason.hasSuffix("(unknown)") ? reason : reason + " (unknown)"
    for unit in round.units {
      let start = output.count
      fail(unit.hasID ? uncertain : text)
      answerLate(unit, from: start, outcome: .unknown, cluster)
    }
    release(round)
  }

  /// Moves a unit's reply from `output` to what Host sends next.
  private mutating func answerLate(
    _ unit: RoundUnit, from start: Int, outcome: RequestOutcome, _ cluster: ClusterPointer
  ) {
    if unit.request == nil {
      guard let session = sessions[unit.link] else { return output.truncate(to: start) }
      finishLateReply(session, from: start)
    }
    sendLate(to: unit.link, from: start, outcome: outcome, cluster)
  }

  /// Lets the sessions of a round go on, once Host has sent the replies.
  mutating func release(_ round: Round) {
    guard let cluster else { return }
    cluster.pointee.mayUnblock = true
    leavePlace(round, cluster)
    for unit in round.units where unit.request == nil {
      guard let session = sessions[unit.link], session.pointee.stall == .round else { continue }
      session.pointee.round = 0
      cluster.pointee.released.append(unit.link)
    }
  }

  /// The replies of the rounds that ended are sent: their sessions go on.
  mutating func resumeReleased(_ cluster: ClusterPointer) {
    guard !cluster.pointee.released.isEmpty else { return }
    let links = cluster.pointee.released
    cluster.pointee.released.removeAll(keepingCapacity: true)
    for link in links {
      guard let session = sessions[link], session.pointee.stall == .round else { continue }
      session.pointee.stall = .none
      stallOnOutput(session, unsent: 0)
      if session.pointee.stall == .none, session.pointee.hasMore { becomeReady(session) }
    }
  }
}
