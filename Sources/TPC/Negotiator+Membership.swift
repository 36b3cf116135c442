import Base

/// Changes of the member list (rule 10).
///
/// An agreed change is a transaction whose work says so to the resource: `Resource.takeMembers`. A
/// forced one is told by `setMembers`.
extension Negotiator {
  /// The member list has changed by a forced removal. Members that are no longer in it count as
  /// prepared, and all that was said before is asked anew.
  ///
  /// `gone`: a guest of a change in doubt that is removed as well.
  public mutating func setMembers<R: Resource & ~Copyable>(
    _ members: MemberSet, removing gone: MemberSet = MemberSet(), epoch: Epoch, at now: Instant,
    _ resource: inout R, _ effects: inout Effects
  ) {
    enter(
      members, removing: gone, epoch: epoch, by: nil, at: now, &resource, &effects)
    settle(at: now, &resource, &effects)
  }

  /// Enters the epoch that the transaction in `slot`, just committed, begins, if it is a change. In
  /// the same call, so that nothing that waited for its locks is prepared in the old one.
  mutating func enterEpochOfChange<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    guard let change = resource.takeMembers() else { return }
    #if MUTANTS
      if Mutant.active == .epochChangesLate {
        members = change.members
        epoch = change.epoch
        return
      }
    #endif
    enter(
      change.members, removing: MemberSet(), epoch: change.epoch, by: slot, at: now, &resource,
      &effects)
  }

  private mutating func enter<R: Resource & ~Copyable>(
    _ members: MemberSet, removing guests: MemberSet, epoch: Epoch, by change: Int?,
    at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    invariant(!epoch.isCovered(by: self.epoch), "epochs rise")
    let gone = self.members.union(guests).subtracting(members)
    self.members = members
    self.epoch = epoch
    for slot in entries.sorted(where: { _ in true }) { restrict(slot, removing: gone) }
    // It was said in the old epoch, and may not be true in the new one. What still is, is asked for
    // again, as if it had been lost.
    outbox.removeAll()
    for slot in entries.sorted(where: { _ in true }) where slot != change {
      guard entries[slot].isUsed else { continue }
      enterEpoch(slot, without: gone, at: now, &resource, &effects)
    }
  }

  /// Removed members have no say any more; the only participant of one phase stays.
  private mutating func restrict(_ slot: Int, removing gone: MemberSet) {
    guard entries[slot].stage != .delegated else { return }
    entries[slot].participants = entries[slot].participants.subtracting(gone)
  }

  private mutating func enterEpoch<R: Resource & ~Copyable>(
    _ slot: Int, without gone: MemberSet, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    let entry = entries[slot]
    #if MUTANTS
      if Mutant.active == .removedCountsAsRefused, entry.isUndecided,
        !entry.recorded.intersection(gone).isEmpty
      {
        if entry.id.node == member {
          abortFinally(slot, .epoch, at: now, &resource, &effects)
        } else {
          learnAbort(
            slot, entry.attempt, isFinal: true, from: member, &resource, &effects)
        }
        return
      }
    #endif
    switch entry.stage {
    case .voting, .asking: startAsking(slot, at: now, &resource, &effects)
    case .prepared where !members.contains(entry.id.node):
      startAsking(slot, at: now, &resource, &effects)
    case .prepared: schedule(slot, at: now)
    case .queued:
      // The prepare is of the old epoch and does not count any more.
      unqueue(slot)
      unlock(slot)
      if entry.lower > .none {
        entries[slot].attempt = entry.lower
        rest(slot, .dead)
      } else {
        entries.remove(slot)
      }
    // The next attempt would be among the participants of the old epoch.
    case .pausing, .renewing: abortFinally(slot, .epoch, at: now, &resource, &effects)
    case .dying: entries[slot].reason = .epoch
    case .settling: finishIfSettled(slot, at: now, &resource, &effects)
    case .telling:
      if !hasWitness(slot) { finishAborted(slot, at: now, &resource, &effects) }
    case .delegated:
      guard entry.participants.intersection(members).isEmpty else { return }
      if !entry.wasCalledUnknown { effects.list.append(.unknown(entry.id)) }
      finishWithoutNote(slot)
    case .aborting, .committed, .dead, .aborted: break
    }
  }

  // MARK: Guests

  /// Whether a member that is none yet takes part in something here.
  func isGuest(_ peer: MemberID) -> Bool {
    entries.slots.contains { $0.isUsed && $0.participants.contains(peer) }
  }

  /// Those of `participants` that are members now, or take part in something here: one that was
  /// removed has no say any more, whoever names it.
  func present(of participants: MemberSet) -> MemberSet {
    var absent = participants.subtracting(members)
    if absent.isEmpty { return participants }
    for entry in entries.slots where entry.isUsed {
      absent = absent.subtracting(entry.participants)
    }
    return participants.subtracting(absent)
  }

  /// Whether one of the participants, not a member now, was one before and is named by the record
  /// of something that is not finished here: after a restart it would be asked for a word about
  /// what it has forgotten.
  func remembersFormer(of participants: MemberSet) -> Bool {
    let newcomers = participants.subtracting(members)
    guard !newcomers.isEmpty else { return false }
    return entries.slots.contains { entry in
      entry.isUsed && entry.id.node == member
        && !entry.recorded.subtracting(entry.participants).intersection(newcomers).isEmpty
    }
  }
}
