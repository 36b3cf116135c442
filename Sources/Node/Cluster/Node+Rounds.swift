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
    cluster.pointee.unit.isTouched = true
    let command = spec.pointee.command
    if inTransaction || command == .once { return call(command, session) }
    if command == .outcome { return outcomeInCluster(session, cluster) }
    if command == .members { return membersInCluster(spec, session, cluster) }
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
    keepAge(session, round, cluster)
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
