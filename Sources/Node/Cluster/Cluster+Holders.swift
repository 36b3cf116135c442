import Base
import Store
import TPC

extension Cluster {
  /// Who keeps a command from using a key now; nil: nobody. A command that joins the open round
  /// will lock it; one that does not only reads what is committed. `id`: that of a round that is
  /// run again, or under which the command waits.
  func holder(
    of key: UnsafeRawBufferPointer, isWritten: Bool, joins: Bool, for id: TransactionID?
  ) -> TransactionID? {
    guard joins else {
      guard negotiator.lockCount > 0, negotiator.isLocked(key) == .write else { return nil }
      #if MUTANTS
        if Mutant.active == .readAtCoordinator,
          negotiator.holder(key)?.node == negotiator.member
        {
          return nil
        }
      #endif
      return negotiator.holder(key)
    }
    if let blocker = negotiator.blocker(of: key, isWritten ? .write : .read, for: id) {
      return blocker
    }
    // Those that have lost a conflict before go first.
    guard open?.id == nil, !renewals.isEmpty else { return nil }
    return renewals.first { round in
      guard let other = round.id, round.keys.contains(key) else { return false }
      return id.map { other < $0 } ?? true
    }?.id
  }

  /// Who keeps a command from using the table as a whole.
  func holderOfAll(
    _ access: Node.Access, joins: Bool, for id: TransactionID?
  ) -> TransactionID? {
    guard joins else {
      // One that takes a member in changes no key, and writes need this member before and after.
      guard negotiator.isLocked(operation: Self.allKeys) == .write,
        state.pending?.proposed.change.guest == nil
      else { return nil }
      return negotiator.holder(operation: Self.allKeys)
    }
    let mode: LockMode = access.changesAll || open?.changesAll == true ? .write : .read
    return negotiator.blocker(of: Self.allKeys, mode, for: id)
  }
}
