import Base
import Store
import TPC

// Giving the data to a guest, and taking it in as a member.
extension Node {
  // MARK: The guest

  /// A guest has come, in the place of an earlier one.
  mutating func guestArrived(_ member: MemberID) {
    endDonation()
    joining.guestIncarnation = nil
    joining.dismissAt = now.instant + Joining.guestPatience
  }

  /// The guest can be reached: begins to copy to it, or goes on.
  mutating func guestReachable(_ greeting: PeerGreeting) {
    joining.dismissAt = .never
    if joining.donor != nil, joining.guestIncarnation == greeting.incarnation {
      joining.donor?.reachable(at: now.instant)
      return
    }
    endDonation()
    joining.guestIncarnation = greeting.incarnation
    beginDonation(to: greeting.member)
  }

  /// The guest is silent. Nobody waits for it with writes; its notes are kept for a while.
  mutating func guestUnreachable() {
    joining.dismissAt = now.instant + Joining.guestPatience
    withdrawChange()
    joining.donor?.aborted(at: now.instant)
  }

  private mutating func beginDonation(to member: MemberID) {
    guard let database, let cluster, !cluster.pointee.state.isOutside else { return }
    let present = cluster.pointee.state.present
    guard present.list.entry(of: member) == nil else { return }
    joining.toldEpoch = present.epoch
    let note = [UInt8](MembershipNote(ownID: member, membership: present).bytes.bytes)
    joining.donor = Donor(
      to: member, note: note, after: joining.lastCopy, &database.pointee, at: now.instant,
      into: &copyEffects)
  }

  /// Ends the copy that is under way, and the transaction with it.
  mutating func endDonation() {
    guard let donor = joining.donor else { return }
    withdrawChange()
    joining.lastCopy = donor.copy
    joining.donor = nil
    database?.pointee.endNotes()
  }

  // MARK: The transaction

  /// Tries to begin the transaction that takes the guest in.
  mutating func proposeGuest() {
    guard let cluster, let donor = joining.donor, let guest = guestAddress(donor.member) else {
      return
    }
    let all = Access(changes: true, isWhole: true, changesAll: true)
    guard clusterRefusal(all, cluster) == nil else {
      endProposal()
      joining.donor?.proposalRefused(
        "not all members can be reached", at: now.instant, into: &copyEffects)
      return
    }
    switch proposeChange(.add(guest), cluster) {
    case .begun(let id):
      joining.change = id
      joining.donor?.proposalBegun()
    case .busy: break
    case .refused(let reason):
      joining.donor?.proposalRefused(reason, at: now.instant, into: &copyEffects)
    }
  }

  private func guestAddress(_ member: MemberID) -> MemberAddress? {
    addressOfPeer(member).flatMap { try? MemberList("\(member)=\($0)").entries[0] }
  }

  private func addressOfPeer(_ member: MemberID) -> String? {
    switch peers {
    case .some(let peers): peers.address(of: member)
    case .none: nil
    }
  }

  /// The guest that this member has taken in.
  var guest: MemberID? {
    switch peers {
    case .some(let peers): peers.guest
    case .none: nil
    }
  }

  /// The joiner durably has it all: asks it to prepare, without waiting for the next resend.
  mutating func copyCompleted(_ attempt: CopyAttempt) {
    guard let donor = joining.donor, isPrepared(attempt), let cluster else { return }
    cluster.pointee.negotiator.reachable(donor.member, true, at: now.instant)
  }

  /// An attempt of the change is prepared here.
  mutating func donorPrepared(_ attempt: CopyAttempt, _ change: MembershipChange) {
    guard let database, let donor = joining.donor, change.guest?.id == donor.member else { return }
    joining.change = attempt.id
    joining.donor?.prepared(attempt, &database.pointee, at: now.instant, into: &copyEffects)
  }

  /// The change is decided.
  mutating func donorDecided(_ id: TransactionID, committed: Bool, _ change: MembershipChange) {
    guard joining.donor != nil, joining.change == id else { return }
    joining.change = nil
    guard committed else {
      joining.donor?.aborted(at: now.instant)
      return
    }
    if let donor = joining.donor {
      copyEffects.lines.append(
        (.info, "member \(donor.member) has joined: \(donor.summary(at: now.instant))"))
    }
    joining.donor = nil
    joining.dismissAt = .never
    database?.pointee.endNotes()
  }

  /// Aborts the change that waits for the guest, or that waits for its turn.
  mutating func withdrawChange() {
    endProposal()
    guard let id = joining.change, let cluster else { return }
    joining.change = nil
    withdrawChange(id, cluster)
  }

  private func isPrepared(_ attempt: CopyAttempt) -> Bool {
    guard let cluster else { return false }
    return cluster.pointee.state.pending?.id == attempt.id
      && cluster.pointee.negotiator.isLocked(operation: Cluster.allKeys) == .write
  }

  // MARK: A turn

  mutating func workAsDonor(_ database: UnsafeMutablePointer<Database>) {
    guard let donor = joining.donor, let cluster else { return }
    if cluster.pointee.state.present.epoch != joining.toldEpoch {
      // The joiner must know the list: it begins again with the present one.
      endDonation()
      return beginDonation(to: donor.member)
    }
    let isLocked = donor.attempt.map { isPrepared($0) } ?? false
    joining.donor?.work(
      &database.pointee, isLocked: isLocked, at: now.instant, into: &copyEffects)
  }
}
