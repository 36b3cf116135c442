import Base
import Store
import TPC

/// What a member knows of its cluster's list, and what is being done to it.
///
/// `StoreResource` changes it within the negotiator's calls, together with the ledger; `Node` acts
/// upon it afterwards.
final class MembershipState {
  /// This member.
  let ownID: MemberID
  /// The list in force.
  private(set) var present: Membership {
    didSet {
      isOutside = present.list.entry(of: ownID) == nil
      if !isOutside { wasMember = true }
    }
  }
  /// The own id is not in the list: it was removed, or has yet to join.
  private(set) var isOutside: Bool
  /// The change that is prepared here and undecided.
  private(set) var pending: PendingChange?
  /// The own id has been in the list in this run.
  private var wasMember = false
  /// Something of it has changed since `takeNews`.
  private var hasNews = true
  /// Changes that were decided, for `Node` to tell of.
  private var decided: [(change: PendingChange, isCommitted: Bool)] = []
  private var takesMembers = false
  /// Who has a list that cannot be brought together with this one; nil: nobody.
  var alarm: (member: MemberID, text: String)?
  /// A joiner's: the attempt of which it durably has all that the others have.
  var readyFor: (id: TransactionID, attempt: Attempt)?

  init(_ note: MembershipNote) {
    ownID = note.ownID
    present = note.membership
    isOutside = note.membership.list.entry(of: note.ownID) == nil
    wasMember = !isOutside
  }

  /// This member was one, and has been removed.
  var isRemoved: Bool { isOutside && wasMember }

  /// This process has yet to join.
  var isJoining: Bool { isOutside && !wasMember }

  /// The last epoch in which this one was a member, when it is none any more: its id may be another
  /// one's by now, which says a later one.
  var lastEpoch: Epoch?

  /// The epoch that the others are told: none before this one is a member, and a former one after
  /// that, so that it is heard as one that has to be told what became of it.
  var saidEpoch: Epoch { isJoining ? Epoch(0) : lastEpoch ?? present.epoch }

  /// Who becomes a member by the change in doubt; nil: nobody, or it was removed by force since.
  var guest: MemberAddress? {
    guard let proposed = pending?.proposed, let guest = proposed.change.guest,
      !present.wasRemoved(guest.id, since: proposed.base)
    else { return nil }
    return guest
  }

  /// The members, the one included that becomes one by the change in doubt.
  var parties: [MemberAddress] {
    guard let guest, present.list.entry(of: guest.id) == nil, guest.id != ownID else {
      return present.list.entries
    }
    return present.list.entries + [guest]
  }

  // MARK: Recovery

  /// Takes the ledger's word for the change in doubt.
  func recover(_ change: PendingChange) { pending = change }

  // MARK: The change as a transaction

  /// Why an attempt of a change cannot be prepared here; nil: it can.
  func objection(
    to proposed: ProposedChange, _ id: TransactionID, _ attempt: Attempt
  ) -> Verdict? {
    if isOutside {
      guard let readyFor, readyFor.id == id, readyFor.attempt == attempt else { return .later }
    }
    guard proposed.clusterID == present.clusterID, proposed.base == present.epoch else {
      return .no(.epoch)
    }
    return present.objection(to: proposed.change) == nil ? nil : .no(.invalid)
  }

  func prepared(_ change: PendingChange) {
    pending = change
    hasNews = true
  }

  /// What the ledger says once the pending change has been committed; nil: `id` is not it.
  func noteAfterCommit(of id: TransactionID) -> MembershipNote? {
    guard let pending, pending.id == id else { return nil }
    var changed = present
    changed.apply(pending.proposed.change, begunIn: pending.proposed.base)
    return MembershipNote(ownID: ownID, membership: changed)
  }

  func settled(_ id: TransactionID, committed note: MembershipNote?) {
    guard let change = pending, change.id == id else { return }
    if let note {
      if case .remove(ownID) = change.proposed.change { lastEpoch = present.epoch }
      present = note.membership
      takesMembers = true
    }
    pending = nil
    decided.append((change, note != nil))
    hasNews = true
  }

  /// Once after a commit that changed the list.
  func takeMembers() -> (members: MemberSet, epoch: Epoch)? {
    defer { takesMembers = false }
    return takesMembers ? (members, present.epoch) : nil
  }

  /// The negotiator's list: this member takes part while it joins, and until it has stopped.
  var members: MemberSet { present.members.union(MemberSet([ownID])) }

  // MARK: Lists of others

  /// Whether `theirs` has changes by agreement that this one has taken no part in: a member
  /// prepares each of them, so it was removed, though its id may be in use again; one that has yet
  /// to join is not in the list that was to have it, or another process is there under its id.
  func missesChange(to theirs: Membership) -> Bool {
    guard theirs.epoch.agreed > present.epoch.agreed else { return false }
    let isNext = theirs.epoch.agreed - present.epoch.agreed == 1
    guard let owner = theirs.list.entry(of: ownID), let change = pending?.proposed.change, isNext
    else { return true }
    return owner != (isJoining ? change.guest : present.list.entry(of: ownID))
  }

  // MARK: By force

  /// Whether who has that id was removed by force since the last change that all agreed on.
  func hasRemoved(_ id: MemberID) -> Bool {
    present.removals.contains(id) && present.list.entry(of: id) == nil && guest?.id != id
  }

  /// The list after a removal by force.
  func replace(_ membership: Membership) {
    present = membership
    hasNews = true
  }

  // MARK: News

  /// True once after each change of the list or of what is pending.
  func takeNews() -> Bool {
    defer { hasNews = false }
    return hasNews
  }

  func takeDecided() -> [(change: PendingChange, isCommitted: Bool)] {
    if decided.isEmpty { return [] }
    defer { decided.removeAll() }
    return decided
  }
}
