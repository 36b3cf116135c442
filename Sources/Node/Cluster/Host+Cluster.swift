import Base
import NetKit
import Store
import TPC

// A member of a cluster: the rounds of the turn, and what they have to say.
extension Host where Link: ~Copyable, Medium: ~Copyable {
  /// Ends the turn's rounds, answers those that were decided, and sends what may leave.
  mutating func concludeClusterTurn(at now: Moment) {
    guard let cluster = node.cluster, node.database != nil else { return }
    cluster.pointee.messageByteCountMax = link.peerMessageByteCountMax
    node.concludeTurn(cluster)
    followList(cluster, at: now)
    stopIfRemoved(at: now)
    sendLateReplies(at: now)
    if isMember { sendMessages(cluster, at: now) }
  }

  /// Sends the messages to other members that may leave.
  private mutating func sendMessages(_ cluster: ClusterPointer, at now: Moment) {
    var hasSent = false
    while let (member, message) = cluster.pointee.freeOutbox.front(durable: .zero) {
      send(message, to: member, at: now)
      cluster.pointee.freeOutbox.dropFront()
      hasSent = true
    }
    while let (member, message) = cluster.pointee.gatedOutbox.front(durable: node.durable) {
      send(message, to: member, at: now)
      cluster.pointee.gatedOutbox.dropFront()
      hasSent = true
    }
    // The others begin to prepare while the turn goes on here.
    if hasSent { link.flush(at: now) }
  }

  /// Hands the ledger to the negotiator, which asks about what is in doubt. Returns why this node
  /// cannot be the member that it is to be.
  mutating func recoverCluster(_ database: UnsafeMutablePointer<Database>) -> String? {
    if let refusal = node.enterCluster(database) { return refusal }
    guard let cluster = node.cluster else { return nil }
    var bad = 0
    database.pointee.visitLedger { record in
      #if MUTANTS
        if Mutant.active == .forgetNotes { return }
      #endif
      if MembershipNote.isOwnKey(record.id) { return }
      if !cluster.pointee.negotiator.recover(key: record.id, record: record.note) { bad += 1 }
    }
    if bad > 0 { invariantFailed("\(bad) notes of the ledger cannot be read") }
    node.finishClusterRecovery(cluster)
    return nil
  }

  // MARK: The list of members

  /// Tells the links of a change of the list, once it is durable here.
  mutating func followList(_ cluster: ClusterPointer, at now: Moment) {
    for line in node.lines { log(line.level, line.text) }
    node.lines.removeAll()
    // At a first start, once the directory is durable.
    if isMember, node.durable > .zero { startPeers(at: now) }
    let state = cluster.pointee.state
    if state.takeNews(), let database = node.database {
      database.pointee.log.hurry()
      listMark = database.pointee.log.appended
    }
    guard let mark = listMark, mark <= node.durable else { return }
    listMark = nil
    let guests = state.parties.map(\.id).filter { state.present.list.entry(of: $0) == nil }
    if let options = node.options.cluster {
      node.peers?.setMembers(
        Peers.members(state.parties, options), guests: MemberSet(guests),
        losesGuest: state.pending.map { $0.id.node != state.ownID } ?? false,
        onlyCalled: state.pending == nil ? node.joining.welcome?.donor : nil,
        epoch: state.saidEpoch, base: state.present.base, at: now, into: &peerEffects)
      carryOutPeerEffects(at: now)
      if let donor = node.joining.donor, node.guest != donor.member { dismissGuest(at: now) }
      node.noteConfirmations(cluster)
    }
    if state.isRemoved, removedSince == nil { removedSince = now.instant }
  }

  /// A member that was removed goes on answering the others, who may need its word, until they have
  /// closed their links, but for a few seconds at most; then it stops.
  mutating func stopIfRemoved(at now: Moment) {
    guard let since = removedSince, !node.control.stopRequested else { return }
    guard !hasPeerLinks || now.instant - since >= Self.removedLinger else { return }
    log(
      .info,
      "this member was removed from its cluster and stops; its directory is of no use to the others"
    )
    node.control.stopRequested = true
  }

  private var hasPeerLinks: Bool {
    switch node.peers {
    case .some(let peers): peers.hasLinks
    case .none: false
    }
  }

  /// How long a removed member stays for the others.
  static var removedLinger: Interval { .seconds(3) }

  /// Sends the replies to commands of earlier turns: before their sessions go on.
  mutating func sendLateReplies(at now: Moment) {
    guard let cluster = node.cluster else { return }
    if !cluster.pointee.late.isEmpty { sendLateReplies(cluster, at: now) }
    node.resumeReleased(cluster)
  }

  private mutating func sendLateReplies(_ cluster: ClusterPointer, at now: Moment) {
    for (id, count, outcome) in cluster.pointee.late {
      let bytes = UnsafeRawBufferPointer(rebasing: cluster.pointee.lateBytes.bytes[0..<count])
      node.counters.outputBytes &+= UInt64(count)
      if case .tooLarge = link.send(bytes, on: id, at: now) {
        sendTooLarge(count, on: id, outcome: outcome, at: now)
      }
      cluster.pointee.lateBytes.consume(count)
      if let session = node.sessions[id], session.pointee.stall == .none {
        node.stallOnOutput(session, unsent: link.pendingByteCount(of: id))
      }
    }
    cluster.pointee.late.removeAll(keepingCapacity: true)
  }

  /// True when no round waits for its decision and nobody waits for a key.
  var isClusterIdle: Bool {
    guard let cluster = node.cluster else { return true }
    return cluster.pointee.rounds.isEmpty && cluster.pointee.renewals.isEmpty
      && cluster.pointee.blockedSessions.isEmpty && cluster.pointee.blockedRequests.isEmpty
  }

  /// When the cluster's part has something to do by itself.
  var clusterDeadline: Instant {
    guard let cluster = node.cluster, node.database != nil else { return .never }
    if cluster.pointee.mayUnblock { return .zero }
    if let since = removedSince {
      return min(since + Self.removedLinger, cluster.pointee.negotiator.deadline)
    }
    return min(cluster.pointee.negotiator.deadline, cluster.pointee.patienceDeadline)
  }
}
