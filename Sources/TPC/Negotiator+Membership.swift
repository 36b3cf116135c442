import Base

/// Changes of the member list.
extension Negotiator {
  /// The member list has changed. Members that are no longer in it count as prepared, and all that
  /// was said before is asked anew (forced removal); after an agreed change nothing is open.
  public mutating func setMembers<R: Resource & ~Copyable>(
    _ members: MemberSet, epoch: Epoch, at now: Instant, _ resource: inout R,
    _ effects: inout Effects
  ) {
    invariant(members.contains(member), "a member is in its member list")
    invariant(epoch > self.epoch, "epochs rise")
    self.members = members
    self.epoch = epoch
    outbox.keepOnly(members)
    for slot in entries.sorted(where: { _ in true }) where entries[slot].isUsed {
      restrictToMembers(slot)
      enterEpoch(slot, at: now, &resource, &effects)
    }
    settle(at: now, &resource, &effects)
  }

  /// Removed members have no say any more; the only participant of one phase stays.
  mutating func restrictToMembers(_ slot: Int) {
    guard entries[slot].stage != .delegated else { return }
    let left = entries[slot].participants.intersection(members)
    entries[slot].participants = left
  }

  private mutating func enterEpoch<R: Resource & ~Copyable>(
    _ slot: Int, at now: Instant, _ resource: inout R, _ effects: inout Effects
  ) {
    let entry = entries[slot]
    switch entry.stage {
    case .voting: startAsking(slot, at: now, &resource, &effects)
    case .asking: startAsking(slot, at: now, &resource, &effects)
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
    case .pausing, .renewing: abortFinally(slot, .epoch, at: now, &resource, &effects)
    case .settling: finishIfSettled(slot, at: now, &resource, &effects)
    case .telling:
      if entry.participants.count <= 1 { finishAborted(slot, at: now, &resource, &effects) }
    case .delegated:
      guard entry.participants.intersection(members).isEmpty else { return }
      if !entry.wasCalledUnknown { effects.list.append(.unknown(entry.id)) }
      finishWithoutNote(slot)
    case .dying, .aborting, .committed, .dead, .aborted: break
    }
  }
}
