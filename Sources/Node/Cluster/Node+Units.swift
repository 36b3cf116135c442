import Base
import NetKit
import Store
import TPC

// Units: what one client sent that runs as a whole, a command of a stream or a request over UDP.
extension Node {
  /// Notes where the command that is executed next came from.
  @inline(__always)
  mutating func beginUnit(
    _ bytes: UnsafeRawBufferPointer, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    if session.pointee.aloneCount > 0 { closeRound() }
    if cluster.pointee.unit.isTouched {
      cluster.pointee.unit = UnitAtHand(isTouched: false, bytes: bytes)
    } else {
      cluster.pointee.unit.bytes = bytes
    }
  }

  /// Whether there may be something to settle: not for what only read, at once, while nobody waits
  /// and no round is open, which is to cost what it costs on a node alone.
  @inline(__always)
  func isToBeSettled(_ session: SessionPointer, _ cluster: ClusterPointer) -> Bool {
    cluster.pointee.unit.isTouched || cluster.pointee.open != nil || session.pointee.wait != nil
      || session.pointee.aloneCount > 0
  }

  /// Ends the command at hand: its reply joins the open round if it ran there, or if earlier ones
  /// of its session did. True when there is nothing left to do for the reply.
  mutating func settleUnit(
    _ session: SessionPointer, from start: Int, _ cluster: ClusterPointer
  ) -> Bool {
    guard cluster.pointee.unit.request == nil else { return false }
    if cluster.pointee.unit.isDeferred {
      output.truncate(to: start)
      return true
    }
    endWait(session, cluster)
    let isAlone = session.pointee.aloneCount > 0
    if isAlone { session.pointee.aloneCount -= 1 }
    guard let open = cluster.pointee.open,
      cluster.pointee.unit.hasJoined || session.pointee.round == open.number || open.id != nil
    else { return false }
    session.pointee.round = open.number
    addUnit(session.pointee.link, replyFrom: start, cluster)
    if isAlone || isRoundFull(cluster) { closeRound() }
    return true
  }

  // MARK: Requests over UDP

  /// Executes a request, or keeps it until the keys it needs are free.
  mutating func requestInCluster(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, _ head: RequestHead,
    _ cluster: ClusterPointer
  ) {
    var wait: Wait?
    guard !runRequest(bytes, on: link, head, &wait, cluster) else { return }
    guard cluster.pointee.blockedRequests.count < Cluster.blockedRequestCountMax,
      cluster.pointee.blockedByteCount + bytes.count <= Cluster.blockedByteCountMax
    else {
      end(&wait, cluster)
      let refusal = Refusal("BUSY", "too many requests wait for keys")
      return fail(refusal.text(hasID: head.id != .none))
    }
    cluster.pointee.blockedByteCount += bytes.count
    cluster.pointee.noteBlocked(since: now.instant)
    cluster.pointee.blockedRequests.append(
      BlockedRequest(link: link, head: head, bytes: [UInt8](bytes), isAlone: false, wait: wait))
  }

  /// Runs a request from its beginning. False, and nothing is done, when it has to wait for a key.
  mutating func runRequest(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, _ head: RequestHead, _ wait: inout Wait?,
    _ cluster: ClusterPointer
  ) -> Bool {
    cluster.pointee.unit = UnitAtHand(bytes: bytes, request: head, wait: wait)
    defer {
      wait = cluster.pointee.unit.wait
      if !cluster.pointee.unit.isDeferred { end(&wait, cluster) }
      cluster.pointee.unit = UnitAtHand()
    }
    let start = output.count
    let before = cluster.pointee.open
    let point = before == nil ? nil : database?.pointee.savepoint()
    let operationCount = before?.operations.count ?? 0
    let age = before?.waitAge
    guard execute(bytes, of: head, on: link) else { return true }
    guard !cluster.pointee.unit.isDeferred else {
      _ = takeGateStart()
      output.truncate(to: start)
      undoUnit(since: before, point, operationCount: operationCount, age: age, cluster)
      return false
    }
    if let open = cluster.pointee.open, cluster.pointee.unit.hasJoined || open.id != nil {
      // It waits for the round in any case.
      _ = takeGateStart()
      addUnit(link, replyFrom: start, cluster)
      if isRoundFull(cluster) { closeRound() }
    } else if takeGateStart(), let database {
      gate.hold(
        UnsafeRawBufferPointer(rebasing: output.bytes[start...]), for: link,
        until: database.pointee.log.appended, outcome: requestOutcome)
      output.truncate(to: start)
    }
    return true
  }

  /// Undoes what a request has done in the open round before it met a locked key. The keys that it
  /// added stay locked with the round's.
  private mutating func undoUnit(
    since before: Round?, _ point: Savepoint?, operationCount: Int, age: Stamp?,
    _ cluster: ClusterPointer
  ) {
    guard let open = cluster.pointee.open, let database else { return }
    if let point, open === before {
      database.pointee.rollback(to: point)
      open.operations.removeLast(open.operations.count - operationCount)
      open.waitAge = age
    } else if open !== before {
      invariant(open.units.isEmpty, "a round that a unit opened holds nothing else")
      cluster.pointee.open = nil
      database.pointee.rollback()
    }
  }

  // MARK: A turn

  /// Ends what the turn's commands began, and lets go on what waited: once a turn.
  mutating func concludeTurn(_ cluster: ClusterPointer) {
    closeRound()
    partRounds(cluster)
    guard let database else { return }
    var resource = storeResource(database)
    if cluster.pointee.negotiator.deadline <= now.instant {
      cluster.pointee.negotiator.wake(
        at: now.instant, &resource, &cluster.pointee.effects)
      carryOutEffects(cluster)
    }
    tellForced()
    if cluster.pointee.mayUnblock || cluster.pointee.patienceDeadline <= now.instant {
      unblock(cluster)
      partRounds(cluster)
    }
    var isHurried = control.stopRequested
    #if MUTANTS
      if FailPoint.isAtHandOver { isHurried = true }
    #endif
    cluster.pointee.negotiator.flush(
      stamp: database.pointee.lastStamp, hurried: isHurried, at: now.instant,
      &cluster.pointee.effects)
    carryOutEffects(cluster)
  }

  /// Takes a message of another member.
  mutating func receive(_ message: UnsafeRawBufferPointer, from member: MemberID) {
    guard let cluster, let database else { return }
    // The negotiator's changes are transactions of their own.
    closeRound()
    var resource = storeResource(database)
    cluster.pointee.counters.messages &+= 1
    cluster.pointee.negotiator.receive(
      message, from: member, isJoining: isJoining(member), at: now.instant, &resource,
      &cluster.pointee.effects)
    database.pointee.observe(stamp: cluster.pointee.negotiator.greatestStamp)
    carryOutEffects(cluster)
  }

  private func isJoining(_ member: MemberID) -> Bool {
    switch peers {
    case .some(let peers): peers.isJoining(member)
    case .none: false
    }
  }

  /// Tells the negotiator what has become durable.
  mutating func tellForced() {
    guard let cluster, let database else { return }
    while let first = cluster.pointee.tickets.first, first.mark <= durable {
      cluster.pointee.tickets.removeFirst()
      closeRound()
      var resource = storeResource(database)
      cluster.pointee.negotiator.forced(
        first.ticket, at: now.instant, &resource, &cluster.pointee.effects)
      carryOutEffects(cluster)
    }
  }

  /// Votes for other members' transactions so far.
  var voteCount: UInt64 {
    guard let votes = cluster?.pointee.negotiator.counters else { return 0 }
    return votes.yesVotes &+ votes.noVotes
  }

  func storeResource(_ database: UnsafeMutablePointer<Database>) -> StoreResource {
    guard let cluster else { invariantFailed("only a member's database is a resource") }
    return StoreResource(
      database: database, members: cluster.pointee.state,
      isFull: noSpace || database.pointee.usedByteCount > control.memoryByteCountMax)
  }

  // MARK: Who waits

  /// Tries everything that waits for keys: first rounds that lost a conflict, then clients.
  private mutating func unblock(_ cluster: ClusterPointer) {
    cluster.pointee.mayUnblock = false
    cluster.pointee.blockedSince = nil
    tryRenewals(cluster)
    let sessions = cluster.pointee.blockedSessions
    cluster.pointee.blockedSessions.removeAll(keepingCapacity: true)
    for link in sessions {
      guard let session = self.sessions[link], session.pointee.stall == .lock else { continue }
      session.pointee.stall = .none
      becomeReady(session)
    }
    let requests = cluster.pointee.blockedRequests
    cluster.pointee.blockedRequests.removeAll(keepingCapacity: true)
    cluster.pointee.blockedByteCount = 0
    for var request in requests {
      if request.isAlone { closeRound() }
      let start = output.count
      let bytes = request.bytes
      let isDone = bytes.withUnsafeBytes {
        runRequest($0, on: request.link, request.head, &request.wait, cluster)
      }
      if isDone {
        sendLate(to: request.link, from: start, outcome: requestOutcome, cluster)
      } else {
        cluster.pointee.blockedRequests.append(request)
        cluster.pointee.noteBlocked(since: request.wait?.since ?? now.instant)
        cluster.pointee.blockedByteCount += request.bytes.count
      }
      if request.isAlone { closeRound() }
    }
    closeRound()
  }

  /// Moves what stands in `output` from `start` to what Host sends next.
  mutating func sendLate(
    to link: LinkID, from start: Int, outcome: RequestOutcome, _ cluster: ClusterPointer
  ) {
    let count = output.count - start
    guard count > 0 else { return }
    cluster.pointee.late.append((link, count, outcome))
    cluster.pointee.lateBytes.append(UnsafeRawBufferPointer(rebasing: output.bytes[start...]))
    output.truncate(to: start)
  }
}

// The start, and what goes on by itself.
extension Node {
  /// The seed of the negotiator's chance: a word of its own among those made from the run's key,
  /// which nobody can compute from nonces and incarnation, though members are told these.
  static func negotiatorSeed(of key: SipKey) -> UInt64 {
    var label = "seed of the negotiator"
    return label.withUTF8 { SipHash.hash24(UnsafeRawBufferPointer($0), key: key) }
  }

  /// Makes this node a member; before its ledger is given to the negotiator.
  mutating func joinCluster(
    _ note: MembershipNote, seed: UInt64, options: NegotiatorOptions = Cluster.negotiatorOptions
  ) {
    let state = MembershipState(note)
    var random = Random(seed: seed)
    let hashKey = SipKey(k0: random.next(), k1: random.next())
    var options = options
    options.hashKey = hashKey
    options.tracesSteps = true
    // Below what a link carries, over UDP too; one item may be larger
    // (`Cluster.messageByteCountMax`).
    options.messageByteCountMax = Cluster.roundByteCountMax
    let place = ClusterPointer.allocate(capacity: 1)
    place.initialize(
      to: Cluster(
        negotiator: Negotiator(
          member: note.ownID, members: state.members, epoch: note.membership.epoch,
          options: options, seed: random.next()),
        state: state, hashKey: hashKey))
    cluster = place
  }

  /// All notes have been given to the negotiator.
  mutating func finishClusterRecovery(_ cluster: ClusterPointer) {
    guard let database else { return }
    var resource = storeResource(database)
    cluster.pointee.negotiator.finishRecovery(
      admitting: cluster.pointee.state.guest?.id, at: now.instant, &resource,
      &cluster.pointee.effects)
    carryOutEffects(cluster)
  }

  /// Removes what has expired and is not locked.
  mutating func expireDue(_ database: UnsafeMutablePointer<Database>, limit: Int) -> ExpiryPass {
    if isFrozen { return database.pointee.expireDue(limit: limit) { _ in true } }
    guard let cluster, cluster.pointee.negotiator.lockCount > 0 else {
      let removed = database.pointee.expireDue(limit: limit)
      return ExpiryPass(
        removedCount: removed, isCut: removed == limit, nextExpiry: database.pointee.nextExpiry)
    }
    return database.pointee.expireDue(limit: limit) {
      cluster.pointee.negotiator.isLocked($0) != nil
    }
  }

  /// The table is to stay as it is: it is what a joiner must have, or becomes that.
  var isFrozen: Bool {
    joining.isJoining
      || cluster?.pointee.negotiator.isLocked(operation: Cluster.allKeys) == .write
  }
}
