import Base
import NetKit
import Store
import TPC

typealias ClusterPointer = UnsafeMutablePointer<Cluster>

// Commands on a member of a cluster. What only reads is answered from committed data at once; what
// changes data runs in the open round, out of which `closeRound` makes a transaction of all
// members.
extension Node {
  /// True for a command that only reads while no key at all is locked, changed by the open round or
  /// due to expire: it costs what it costs on a node alone. `executeInCluster` would do the same,
  /// key by key.
  @inline(__always)
  func readsAtOnce(_ spec: UnsafePointer<CommandSpec>, _ cluster: ClusterPointer) -> Bool {
    guard cluster.pointee.negotiator.lockCount == 0, cluster.pointee.open == nil,
      spec.pointee.flags.contains(.readOnly), operationID == nil,
      let database, database.pointee.nextExpiry > database.pointee.clockMillis
    else { return false }
    return cluster.pointee.isConfirmed
  }

  /// Runs the command at hand, or defers its unit.
  mutating func executeInCluster(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    let command = spec.pointee.command
    if inTransaction || command == .once { return call(command, session) }
    if command == .outcome { return outcomeInCluster(session, cluster) }
    if command == .members { return membersInCluster(session, cluster) }
    guard let access = access(of: spec, session) else {
      // It may change what the session is: not before what it asked for earlier is answered.
      if waitsForOwnRound(session, cluster) { return deferUnit(behind: .round, session, cluster) }
      return call(command, session)
    }
    if settlesID(session, cluster) { return endUnlessDeferred(spec, session, cluster) }
    if let refusal = clusterRefusal(access, cluster) {
      fail(refusal.text(hasID: operationID != nil))
      return endUnlessDeferred(spec, session, cluster)
    }
    if isInOpenRound(session, cluster), cluster.pointee.open?.change != nil {
      return fail("ERR MEMBERS REMOVE is a UDP message of its own (not-applied)")
    }
    if command == .watch, !endRound(before: spec, session, cluster) {
      return deferUnit(behind: .round, session, cluster)
    }
    guard standsAlone(session, cluster) else {
      return deferUnit(behind: .round, session, cluster)
    }
    guard let touchesRound = claim(access, spec, session, cluster) else {
      return endUnlessDeferred(spec, session, cluster)
    }
    if let id = operationID, !admitInCluster(id, session, cluster) {
      return endUnlessDeferred(spec, session, cluster)
    }
    if !access.changes, !touchesRound, !isInOpenRound(session, cluster), !isRenewing(cluster) {
      // What has no keys reads everything: also what the open round has done in the table.
      if access.isWhole { closeRound() }
      return call(command, session)
    }
    joinRound(spec, access, touchesRound: touchesRound, session, cluster)
  }

  /// What is large goes into a round of its own. The open one ends before the keys are claimed, as
  /// it may hold them. False: it holds earlier commands of the session and has to be waited for.
  private mutating func standsAlone(_ session: SessionPointer, _ cluster: ClusterPointer) -> Bool {
    guard cluster.pointee.unit.bytes.count > Cluster.roundByteCountMax, !isRenewing(cluster)
    else { return true }
    // Of a request all commands go into one round.
    if isInOpenRound(session, cluster) { return !waitsForOwnRound(session, cluster) }
    closeRound()
    return true
  }

  /// WATCH is never part of a round, whose commands may be run again: it sees what is committed.
  /// False: the open round holds earlier commands of its session and has to be waited for.
  private mutating func endRound(
    before spec: UnsafePointer<CommandSpec>, _ session: SessionPointer, _ cluster: ClusterPointer
  ) -> Bool {
    guard let open = cluster.pointee.open else { return true }
    guard mayCloseRound(session, cluster) else { return false }
    var touchesRound = open.changesAll
    visitKeys(of: spec, nil, []) { key, _ in
      if open.keys.contains(key) { touchesRound = true }
    }
    if touchesRound { closeRound() }
    return true
  }

  /// An EXEC that was answered without being run has ended its transaction all the same.
  private func endUnlessDeferred(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    guard command(spec, is: .exec), !cluster.pointee.unit.isDeferred else { return }
    session.pointee.queue = nil
    session.pointee.watches = []
  }

  /// Runs the command in the open round. One that changes nothing there leaves no trace in it.
  private mutating func joinRound(
    _ spec: UnsafePointer<CommandSpec>, _ access: Access, touchesRound: Bool,
    _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    let round = openRound(cluster)
    let start = output.count
    let queue = session.pointee.queue
    let watches = session.pointee.watches
    let changed = runInRound(spec, session, round, from: start)
    guard changed || touchesRound || isInOpenRound(session, cluster) || isRenewing(cluster) else {
      return
    }
    cluster.pointee.unit.hasJoined = true
    if mayGrow(spec, queue) { round.grows = true }
    visitKeys(of: spec, queue, watches) { key, isWritten in
      round.keys.insert(key, isWritten: isWritten)
    }
    if access.changesAll { round.changesAll = true }
    if namesVersion(spec, queue) { round.namesVersion = true }
    if command(spec, is: .exec) {
      cluster.pointee.unit.queue = queue
      cluster.pointee.unit.watches = watches
    }
  }

  /// Whether the data may be more after it.
  private func mayGrow(_ spec: UnsafePointer<CommandSpec>, _ queue: TransactionQueue?) -> Bool {
    var mayGrow = spec.pointee.flags.contains(.denyOOM)
    guard command(spec, is: .exec), let queue else { return mayGrow }
    visitQueue(queue) { spec, _ in if spec.pointee.flags.contains(.denyOOM) { mayGrow = true } }
    return mayGrow
  }

  /// Whether the reply may name a version.
  private func namesVersion(
    _ spec: UnsafePointer<CommandSpec>, _ queue: TransactionQueue?
  ) -> Bool {
    var namesVersion = command(spec, is: .getv) || command(spec, is: .cas)
    guard command(spec, is: .exec), let queue else { return namesVersion }
    visitQueue(queue) { spec, _ in
      if command(spec, is: .getv) || command(spec, is: .cas) { namesVersion = true }
    }
    return namesVersion
  }

  private func command(_ spec: UnsafePointer<CommandSpec>, is command: Command) -> Bool {
    spec.pointee.command == command
  }

  /// Runs the command in the database's open transaction; what fails is undone. True when it
  /// changed something, the record of its id included.
  private mutating func runInRound(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer, _ round: Round, from start: Int
  ) -> Bool {
    let database = database.unsafelyUnwrapped
    let id = operationID
    let point = database.pointee.savepoint()
    let byteCount = database.pointee.log.recordByteCount
    failed = false
    if spec.pointee.command == .exec {
      call(.exec, session)
    } else {
      inTransaction = true
      call(spec.pointee.command, session)
      inTransaction = false
    }
    if failed { database.pointee.rollback(to: point) }
    guard let id else { return database.pointee.log.recordByteCount > byteCount }
    let reply = UnsafeRawBufferPointer(rebasing: output.bytes[start...])
    if database.pointee.addOutcome(of: id, reply: reply, failed: failed) {
      round.operations.append(id)
      return true
    }
    database.pointee.rollback(to: point)
    output.truncate(to: start)
    fail(text(of: .transactionTooLarge, isCertain: false))
    return false
  }

  // MARK: Waiting

  /// Whether the keys are free for the command at hand: nil, and the unit is deferred or has been
  /// refused, when another transaction holds one; otherwise whether the open round touches one.
  private mutating func claim(
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
    var holder = cluster.pointee.holderOfAll(access, joins: joins)
    visitKeys(of: spec, session.pointee.queue, session.pointee.watches) { key, isWritten in
      if holder == nil {
        holder = cluster.pointee.holder(of: key, isWritten: isWritten, joins: joins)
      }
    }
    // Before its absence is told it is to be removed, which is not for now.
    if holder == nil, isDue, isFrozen {
      holder = cluster.pointee.negotiator.holder(operation: Cluster.allKeys)
    }
    if let id = operationID, holder == nil {
      holder = cluster.pointee.negotiator.blocker(
        of: id, .write, for: cluster.pointee.open?.id)
    }
    if let holder {
      let readsOne = !joins && !isDue && cluster.pointee.unit.isOneCommand && readsOneKey(spec)
      if !readsOne || !isPassed(holder, session, cluster) {
        block(on: holder, session, cluster)
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
    let isRequest = cluster.pointee.unit.request != nil
    let awaited = isRequest ? cluster.pointee.unit.awaited : session.pointee.awaited
    if let awaited { return awaited != holder }
    if isRequest {
      cluster.pointee.unit.awaited = holder
    } else {
      session.pointee.awaited = holder
    }
    return false
  }

  /// Puts the unit at hand off until a key is released, or gives it up when it has waited long.
  mutating func block(
    on holder: TransactionID, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    if let since = cluster.pointee.unit.blockedSince ?? session.pointee.blockedSince,
      now.instant - since >= cluster.pointee.patience, !isRenewing(cluster)
    {
      let reason = "a key is held by transaction \(holder), which is not decided yet"
      return fail(Refusal("BUSY", reason).text(hasID: operationID != nil))
    }
    deferUnit(behind: .lock, session, cluster)
  }

  /// Leaves the unit at hand undone, to be run from its beginning later.
  mutating func deferUnit(
    behind stall: Stall, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    cluster.pointee.unit.isDeferred = true
    guard cluster.pointee.unit.request == nil, !isRenewing(cluster) else { return }
    session.pointee.stall = stall
    if case .lock = stall {
      let since = session.pointee.blockedSince ?? now.instant
      session.pointee.blockedSince = since
      cluster.pointee.noteBlocked(since: since)
      cluster.pointee.blockedSessions.append(session.pointee.link)
    }
  }

  /// Leaves the unit at hand undone until the open round has ended.
  mutating func deferBehindRound(_ session: SessionPointer, _ cluster: ClusterPointer) {
    deferUnit(behind: isInOpenRound(session, cluster) ? .round : .lock, session, cluster)
  }

  /// True when the session has a command in the open round.
  func isInOpenRound(_ session: SessionPointer, _ cluster: ClusterPointer) -> Bool {
    guard let open = cluster.pointee.open else { return false }
    if cluster.pointee.unit.request != nil { return cluster.pointee.unit.hasJoined }
    return session.pointee.round == open.number
  }

  /// Whether a command that cannot join the open round has to wait for it, because it holds earlier
  /// ones of its session, whose replies come first. A request has one reply for all.
  func waitsForOwnRound(_ session: SessionPointer, _ cluster: ClusterPointer) -> Bool {
    cluster.pointee.unit.request == nil && isInOpenRound(session, cluster)
  }

  /// Whether the open round can end before the command at hand. Not when it is being run again, nor
  /// when it holds earlier commands of the session: their replies come first.
  func mayCloseRound(_ session: SessionPointer, _ cluster: ClusterPointer) -> Bool {
    !isRenewing(cluster) && !isInOpenRound(session, cluster)
  }

  func isRenewing(_ cluster: ClusterPointer) -> Bool { cluster.pointee.open?.id != nil }

  // MARK: Refusals

  /// Who cannot be reached, and for how long; nil when everybody can.
  var absentMember: String? {
    switch peers {
    case .some(let peers): peers.firstAbsence(at: now.instant)
    case .none: nil
    }
  }

  /// Who has gone away since a transaction began: those that cannot be reached now. Of several,
  /// some may have prepared.
  var departure: String {
    let others =
      switch peers {
      case .some(let peers): peers.statuses(at: now.instant)
      case .none: [PeerStatus]()
      }
    let absent = others.filter { $0.role == .member && $0.state != .reachable }
      .map { "\($0.member.id)" }
    if absent.count > 1 {
      return "members \(absent.joined(separator: ", ")) went away before all had prepared"
    }
    return "\(absent.first.map { "member " + $0 } ?? "a member") went away before it had prepared"
  }

  /// Why the cluster cannot take a command now, or nil.
  func clusterRefusal(_ access: Access, _ cluster: ClusterPointer) -> Refusal? {
    if cluster.pointee.state.isOutside {
      return Refusal("UNAVAILABLE", "this member was removed from its cluster")
    }
    if access.changes, let absence = absentMember { return Refusal("UNAVAILABLE", absence) }
    if !cluster.pointee.isConfirmed {
      return Refusal(
        "UNAVAILABLE", "this member waits until every other one has confirmed the membership")
    }
    return nil
  }
}
