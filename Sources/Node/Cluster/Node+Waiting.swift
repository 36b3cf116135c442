import Base
import NetKit
import Store
import TPC

/// How a unit waits for keys. Its reservation is to be given back (`Node.end`).
struct Wait {
  /// Since when.
  let since: Instant
  /// Its place among those who wait, here and at the other members.
  let id: TransactionID
  /// Of one that reads one key: the transaction that held it when it was tried first.
  var awaited: TransactionID?
  /// The member that it has removed by force; it waits until the others have heard of it.
  var removed: MemberID?
  /// What keeps younger transactions from its keys: some of them may have been reserved by others
  /// first.
  var reservations: [Reservation] = []
}

// Units that need keys which a transaction holds: they are left undone and run later from their
// beginning.
//
// A key that is written all the time is never free between two turns, as one message brings the
// commit and the next prepare. So who waits has a place in the line, by age, at home; and others'
// transactions that are younger get `conflict` (rule 5).
extension Node {
  /// Whether the keys are free for the command at hand: nil, and the unit is deferred or has been
  /// refused, when another transaction holds one; otherwise whether the open round touches one.
  mutating func claim(
    _ access: Access, _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer,
    _ cluster: ClusterPointer
  ) -> Bool? {
    let database = database.unsafelyUnwrapped
    let isRenewing = isRenewing(cluster)
    var touchesRound = false
    var isDue = false
    visitKeys(of: spec, session.pointee.queue, session.pointee.watches) { key, _ in
      if let open = cluster.pointee.open, open.keys.contains(key) { touchesRound = true }
      if !isDue, database.pointee.isDue(key) { isDue = true }
    }
    if let open = cluster.pointee.open, open.changesAll || access.isWhole && open.keys.count > 0 {
      touchesRound = true
    }
    // The removal of what has expired is a change of this node alone, outside of any round: the
    // open one ends, and what it holds counts from here on.
    let endsRound = isDue && !touchesRound && mayCloseRound(session, cluster)
    if endsRound { closeRound() }
    let joins = access.changes || touchesRound || isRenewing || isInOpenRound(session, cluster)
    let waiter = waiter(session, cluster)
    var holder = cluster.pointee.holderOfAll(access, joins: joins, for: waiter)
    visitKeys(of: spec, session.pointee.queue, session.pointee.watches) { key, isWritten in
      if holder == nil {
        holder = cluster.pointee.holder(of: key, isWritten: isWritten, joins: joins, for: waiter)
      }
    }
    // Before its absence is told it is to be removed, which is not for now.
    if holder == nil, isDue, isFrozen {
      holder = cluster.pointee.negotiator.holder(operation: Cluster.allKeys)
    }
    if let id = operationID, holder == nil {
      holder = cluster.pointee.negotiator.blocker(of: id, .write, for: waiter)
    }
    if let holder {
      let readsOne = !joins && !isDue && cluster.pointee.unit.isOneCommand && readsOneKey(spec)
      if !readsOne || !isPassed(holder, session, cluster) {
        block(on: holder, session, cluster)
        if !readsOne { takePlace(access, spec, session, cluster) }
        return nil
      }
    }
    if endsRound {
      var expired: UInt64 = 0
      visitKeys(of: spec, session.pointee.queue, session.pointee.watches) { key, _ in
        if database.pointee.expireIfDue(key) { expired += 1 }
      }
      counters.expired += expired
    }
    return touchesRound
  }

  /// True for a command that reads one key and nothing else.
  private func readsOneKey(_ spec: UnsafePointer<CommandSpec>) -> Bool {
    spec.pointee.flags.contains(.readOnly) && spec.pointee.firstKey > 0
      && (spec.pointee.lastKey == spec.pointee.firstKey || parser.arguments.count == 2)
  }

  /// Whether a read of one key need not wait for who holds it now: it waits for the transaction
  /// that held the key when it was tried first, which has let go of it. The holder was prepared
  /// here since then, so it was not committed before the read came, which may be ordered before
  /// it. Reads of several keys wait on: what they see of the others may come after it.
  private func isPassed(
    _ holder: TransactionID, _ session: SessionPointer, _ cluster: ClusterPointer
  ) -> Bool {
    if let awaited = wait(session, cluster)?.awaited { return awaited != holder }
    withWait(session, cluster) { $0.awaited = holder }
    return false
  }

  /// Puts the unit at hand off until a key is released, or gives it up when it has waited long.
  mutating func block(
    on holder: TransactionID, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    if let since = wait(session, cluster)?.since,
      now.instant - since >= cluster.pointee.patience, !isRenewing(cluster)
    {
      let reason =
        holder.counter == 0
        ? "commands that came earlier wait for a key"
        : "a key is held by transaction \(holder), which is not decided yet"
      return fail(Refusal("BUSY", reason).text(hasID: operationID != nil))
    }
    deferUnit(behind: .lock, session, cluster)
  }

  /// Leaves the unit at hand undone, to be run from its beginning later.
  mutating func deferUnit(
    behind stall: Stall, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    cluster.pointee.unit.isDeferred = true
    guard !isRenewing(cluster) else { return }
    guard cluster.pointee.unit.request == nil else {
      return withWait(session, cluster) { _ in }
    }
    session.pointee.stall = stall
    if case .lock = stall {
      withWait(session, cluster) { cluster.pointee.noteBlocked(since: $0.since) }
      cluster.pointee.blockedSessions.append(session.pointee.link)
    }
  }

  /// Leaves the unit at hand undone until the open round has ended.
  mutating func deferBehindRound(_ session: SessionPointer, _ cluster: ClusterPointer) {
    deferUnit(behind: isInOpenRound(session, cluster) ? .round : .lock, session, cluster)
  }

  // MARK: Places in the line

  /// How the unit at hand waits; nil: it comes for the first time.
  func wait(_ session: SessionPointer, _ cluster: ClusterPointer) -> Wait? {
    cluster.pointee.unit.request == nil ? session.pointee.wait : cluster.pointee.unit.wait
  }

  /// As whom the unit at hand claims keys; nil: as the youngest.
  func waiter(_ session: SessionPointer, _ cluster: ClusterPointer) -> TransactionID? {
    isRenewing(cluster) ? cluster.pointee.open?.id : wait(session, cluster)?.id
  }

  /// The round that the unit at hand joins is as old as the unit.
  func keepAge(_ session: SessionPointer, _ round: Round, _ cluster: ClusterPointer) {
    guard let age = wait(session, cluster)?.id.age else { return }
    round.waitAge = min(round.waitAge ?? age, age)
  }

  /// Lends how the unit at hand waits, from now on if it comes for the first time.
  func withWait(
    _ session: SessionPointer, _ cluster: ClusterPointer, _ body: (inout Wait) -> Void
  ) {
    var wait = wait(session, cluster) ?? newWait(cluster)
    body(&wait)
    if cluster.pointee.unit.request == nil {
      session.pointee.wait = wait
    } else {
      cluster.pointee.unit.wait = wait
    }
  }

  /// As old as the last change that this member knows of: older than any transaction that begins
  /// with the knowledge of it, whatever the clocks say.
  func newWait(_ cluster: ClusterPointer) -> Wait {
    let last = max(
      database.unsafelyUnwrapped.pointee.lastStamp, cluster.pointee.lastWaitAge)
    let age = Stamp(nanos: last.nanos + 1)
    cluster.pointee.lastWaitAge = age
    return Wait(since: now.instant, id: cluster.pointee.negotiator.waiter(since: age))
  }

  /// Reserves what the unit at hand needs and is not reserved yet, unless older work of this member
  /// is in its way, behind which it comes in any case.
  mutating func takePlace(
    _ access: Access, _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer,
    _ cluster: ClusterPointer
  ) {
    // What waits for its own round must not stand in that one's way.
    guard cluster.pointee.unit.isDeferred, !isRenewing(cluster),
      !waitsForOwnRound(session, cluster), let wait = wait(session, cluster),
      access.changesAll || now.instant - wait.since >= Cluster.placePause
    else { return }
    let id = wait.id
    var count = 0
    let mode: LockMode = access.changesAll ? .write : .read
    var state = cluster.pointee.negotiator.reservation(of: Cluster.allKeys, mode, for: id)
    if state == .none {
      cluster.pointee.builder.add(operation: Cluster.allKeys, mode)
      count += 1
    }
    visitKeys(of: spec, session.pointee.queue, session.pointee.watches) { key, isWritten in
      guard state != .inTheWay else { return }
      let mode: LockMode = isWritten ? .write : .read
      state = cluster.pointee.negotiator.reservation(of: key, mode, for: id)
      guard state == .none else { return }
      cluster.pointee.builder.add(key: key, mode)
      count += 1
    }
    guard count > 0, state != .inTheWay else { return cluster.pointee.builder.removeAll() }
    // What is over the bounds of a work has no place, and gets on when nobody else is about.
    guard let names = cluster.pointee.builder.finish() else { return }
    let reservation = cluster.pointee.negotiator.reserve(names, for: id)
    withWait(session, cluster) { $0.reservations.append(reservation) }
  }

  /// Reserves what a round needs for its next attempt.
  mutating func takePlace(_ round: Round, _ cluster: ClusterPointer) {
    guard round.reservation == nil, let id = round.id, let since = round.waitsSince,
      round.change != nil || now.instant - since >= Cluster.placePause
    else { return }
    let isWhole = round.changesAll || round.change != nil
    cluster.pointee.builder.add(operation: Cluster.allKeys, isWhole ? .write : .read)
    for index in 0..<round.keys.count {
      let mode: LockMode = round.keys.isWritten(at: index) ? .write : .read
      cluster.pointee.builder.add(key: round.keys.key(at: index), mode)
    }
    guard let names = cluster.pointee.builder.finish() else { return }
    round.reservation = cluster.pointee.negotiator.reserve(names, for: id)
  }

  /// Gives the place of a round back.
  mutating func leavePlace(_ round: Round, _ cluster: ClusterPointer) {
    guard let reservation = round.reservation else { return }
    round.reservation = nil
    cluster.pointee.negotiator.release(reservation)
    cluster.pointee.mayUnblock = true
  }

  /// The next command of a session waits no longer.
  mutating func endWait(_ session: SessionPointer, _ cluster: ClusterPointer) {
    #if MUTANTS
      let awaited = session.pointee.wait?.awaited
    #endif
    end(&session.pointee.wait, cluster)
    #if MUTANTS
      if Mutant.active == .awaitedIsKept, awaited != nil {
        session.pointee.wait = newWait(cluster)
        session.pointee.wait?.awaited = awaited
      }
    #endif
  }

  /// Gives up the place of a session that cannot be run for now.
  mutating func leavePlace(_ session: SessionPointer, _ cluster: ClusterPointer) {
    guard var wait = session.pointee.wait else { return }
    release(&wait, cluster)
    session.pointee.wait = wait
  }

  /// Ends a wait and gives its place back: who came after it may be next.
  mutating func end(_ wait: inout Wait?, _ cluster: ClusterPointer) {
    guard var last = wait else { return }
    wait = nil
    release(&last, cluster)
  }

  private mutating func release(_ wait: inout Wait, _ cluster: ClusterPointer) {
    guard !wait.reservations.isEmpty else { return }
    #if MUTANTS
      if Mutant.active == .placeIsKept { return }
    #endif
    for reservation in wait.reservations { cluster.pointee.negotiator.release(reservation) }
    wait.reservations = []
    cluster.pointee.mayUnblock = true
  }
}
