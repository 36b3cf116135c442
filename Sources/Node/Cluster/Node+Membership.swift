import Base
import NetKit
import Store
import TPC

// The list of members: how a node becomes one, changes that all agree on, and removals by force.
extension Node {
  // MARK: The start

  /// Makes this node the member that its ledger says, or at a first start the options. Returns why
  /// it cannot be one.
  mutating func enterCluster(_ database: UnsafeMutablePointer<Database>) -> String? {
    var found: MembershipNote?
    var change: PendingChange?
    var directories: DirectoriesNote? = DirectoriesNote([:])
    var isUnreadable = false
    database.pointee.visitLedger { record in
      if record.id.elementsEqual(MembershipNote.key) {
        found = MembershipNote(record.note)
        if found == nil { isUnreadable = true }
      } else if record.id.elementsEqual(MembershipNote.changeKey) {
        change = PendingChange(record.note)
        if change == nil { isUnreadable = true }
      } else if record.id.elementsEqual(DirectoriesNote.key) {
        directories = DirectoriesNote(record.note)
        if directories == nil { isUnreadable = true }
      }
    }
    if isUnreadable { return "what the directory says of the cluster cannot be read" }
    if found == nil, let answer = enterAsJoiner(change, database) { return answer.refusal }
    guard let options = options.cluster else {
      guard cluster == nil, let found else { return nil }
      return
        "the directory is that of member \(found.ownID) of a cluster, and its file \"member\" is "
        + "missing: give --id \(found.ownID) --cluster \(found.membership.list.text)"
    }
    let isEmpty =
      database.pointee.count == 0 && database.pointee.outcomeCount == 0
      && database.pointee.ledgerCount == 0
    let isJoining = found != nil && change?.proposed.change.guest?.id == found?.ownID
    if let refusal = Self.refusal(options, found, isJoining: isJoining, isEmpty: isEmpty) {
      return refusal
    }
    guard
      let note = found
        ?? options.founding.flatMap({ founding in
          options.ownID.map { MembershipNote(ownID: $0, membership: founding) }
        })
    else { return "no member list" }
    if found == nil {
      let bytes = note.bytes
      MembershipNote.key.withUnsafeBytes { _ = database.pointee.note($0, bytes.bytes) }
      database.pointee.log.hurry()
    }
    let listed = note.membership.members
    let known = (directories?.directories ?? [:]).filter { listed.contains($0.key) }
    peers = Peers(
      options, as: note.ownID, of: note.membership, directory: database.pointee.log.directoryName,
      directories: known)
    joinCluster(note, seed: Self.negotiatorSeed(of: options.nonceKey))
    if let change { cluster?.pointee.state.recover(change) }
    endUnfinishedJoin(database)
    if known != directories?.directories { noteDirectories() }
    return nil
  }

  /// Why the directory is not the one of the member that was asked for; nil: it is.
  private static func refusal(
    _ options: ClusterOptions, _ found: MembershipNote?, isJoining: Bool, isEmpty: Bool
  ) -> String? {
    guard let found else {
      guard options.founding != nil else {
        return
          "the directory is marked as a member's and holds no member list, its first start did "
          + "not come to its end: give --id and --cluster again"
      }
      return isEmpty
        ? nil
        : "the directory holds the data of a node alone; a member begins with an empty directory"
    }
    let list = found.membership.list
    if let asked = options.ownID, asked != found.ownID {
      return "the directory is that of member \(found.ownID), not of --id \(asked)"
    }
    if let founding = options.founding, founding.clusterID != found.membership.clusterID,
      founding.list != list
    {
      return
        "the directory is that of a member of another cluster (\(list.text)); to go on as that "
        + "member leave --id and --cluster out"
    }
    if list.entry(of: found.ownID) == nil, !isJoining {
      return "member \(found.ownID) was removed from its cluster (now \(list.text), epoch "
        + "\(found.membership.epoch)); it can only join anew, with an empty directory"
    }
    return nil
  }

  // MARK: Agreed changes

  /// What becomes of a proposal.
  enum ProposalResult: Equatable {
    /// `changeDecided` follows, and `changePrepared` for each attempt.
    case begun(TransactionID)
    /// Something else is under way; to be tried again soon. What is younger waits behind it, until
    /// it is begun, refused or given up (`endProposal`).
    case busy
    case refused(String)
  }

  /// Begins a change of members as a transaction of all of them, and of the one that joins.
  mutating func proposeChange(
    _ change: MembershipChange, _ cluster: ClusterPointer
  ) -> ProposalResult {
    if let objection = cluster.pointee.state.present.objection(to: change) {
      endProposal()
      return .refused(objection)
    }
    closeRound()
    let all = Access(changes: true, isWhole: true, changesAll: true)
    if clusterRefusal(all, cluster) != nil { return .busy }
    let waiter = cluster.pointee.proposalWait?.id
    guard cluster.pointee.holderOfAll(all, joins: true, for: waiter) == nil else {
      if waiter == nil { reserveForProposal(cluster) }
      return .busy
    }
    let round = openRound(cluster)
    round.change = change
    round.waitAge = waiter?.age
    round.deadline = now.instant + Cluster.patienceForJoiner
    endProposal()
    closeRound()
    return round.id.map { .begun($0) } ?? .busy
  }

  private func reserveForProposal(_ cluster: ClusterPointer) {
    cluster.pointee.builder.add(operation: Cluster.allKeys, .write)
    guard let names = cluster.pointee.builder.finish() else {
      invariantFailed("one name is within the bounds of a work")
    }
    var wait = newWait(cluster)
    wait.reservations = [cluster.pointee.negotiator.reserve(names, for: wait.id)]
    cluster.pointee.proposalWait = wait
  }

  /// The proposal that waits is no longer wanted, or is begun.
  mutating func endProposal() {
    guard let cluster else { return }
    end(&cluster.pointee.proposalWait, cluster)
  }

  /// Gives a change up that was proposed here, if it is not decided: `changeDecided` follows.
  mutating func withdrawChange(_ id: TransactionID, _ cluster: ClusterPointer) {
    let isWaiting = cluster.pointee.renewals.contains { $0.id == id && $0.change != nil }
    guard let database, isWaiting || cluster.pointee.rounds[id]?.change != nil else { return }
    closeRound()
    var resource = storeResource(database)
    cluster.pointee.negotiator.withdraw(
      id, at: now.instant, &resource, &cluster.pointee.effects)
    carryOutEffects(cluster)
  }

  /// An attempt of a change that was proposed here is locked and staged here: what is in the table
  /// now is what the joiner must have when it votes for this attempt.
  mutating func changePrepared(
    _ id: TransactionID, _ attempt: Attempt, _ change: MembershipChange
  ) {
    donorPrepared(CopyAttempt(id: id, attempt: attempt), change)
  }

  /// A change that was proposed here is decided; nil: its outcome is not known yet.
  mutating func changeDecided(
    _ id: TransactionID, committed: Bool?, _ change: MembershipChange
  ) {
    donorDecided(id, committed: committed ?? false, change)
  }

  // MARK: By force

  /// Removes a member that is gone, on the operator's word, or returns why not.
  mutating func removeByForce(_ id: MemberID, _ cluster: ClusterPointer) -> String? {
    let state = cluster.pointee.state
    let isGuest = state.guest?.id == id
    if id == state.ownID { return "a member cannot remove itself: ask another one" }
    if !isGuest, let objection = state.present.objection(toRemoving: id) { return objection }
    if !state.present.takesRemoval {
      return "too many were removed by force since the last change that all members agreed on"
    }
    if answers(id) {
      return
        "member \(id) answers, or was heard a moment ago: only a stopped one is removed by force"
    }
    adopt([id], cluster)
    return nil
  }

  /// Notes removals by force, and concludes without those members.
  private mutating func adopt(_ gone: [MemberID], _ cluster: ClusterPointer) {
    guard let database, !gone.isEmpty else { return }
    closeRound()
    let state = cluster.pointee.state
    for id in gone {
      var membership = state.present
      membership.remove(id)
      noteList(membership, state, database)
      cluster.pointee.confirmed.remove(id)
      forgetDirectory(of: id)
      let doubts = cluster.pointee.negotiator.inDoubt.map(\.id)
      lines.append(
        (
          .info,
          "member \(id) is removed by force: epoch \(membership.epoch), members "
            + "\(membership.list.text); transactions in doubt: \(doubts.count)"
        ))
      cluster.pointee.doubtful.formUnion(doubts)
      var resource = storeResource(database)
      cluster.pointee.negotiator.setMembers(
        state.members, removing: MemberSet([id]), epoch: membership.epoch, at: now.instant,
        &resource, &cluster.pointee.effects)
      carryOutEffects(cluster)
    }
    cluster.pointee.mayUnblock = true
  }

  /// Tells what became of what was in doubt when a member was removed by force.
  mutating func noteDecision(_ step: TraceStep, _ cluster: ClusterPointer) {
    guard !cluster.pointee.doubtful.isEmpty else { return }
    let word: String
    switch step.action {
    case .decidesCommit, .learnsCommit: word = "committed"
    case .decidesAbort, .learnsAbort: word = "aborted"
    default: return
    }
    guard cluster.pointee.doubtful.remove(step.id) != nil else { return }
    lines.append((.info, "transaction \(step.id), in doubt when a member was removed: \(word)"))
  }

  // MARK: Lists of others

  /// Another member tells its list: it, or this one, has been away during a removal by force, or
  /// this one was removed.
  mutating func receiveList(_ bytes: UnsafeRawBufferPointer, from member: MemberID) {
    guard let theirs = Membership(bytes) else { return }
    if joining.isJoining { joinerHears(theirs) }
    guard let cluster else { return }
    let state = cluster.pointee.state
    let ours = state.present
    // Who joins and has not voted goes by what its donor says.
    guard theirs.clusterID == ours.clusterID, !state.isRemoved,
      !state.isJoining || state.pending != nil
    else { return }
    // Who was removed may have removed others since, of whom it knows too little.
    guard
      theirs.epoch.agreed >= ours.epoch.agreed || state.parties.contains(where: { $0.id == member })
    else { return }
    if state.missesChange(to: theirs) { return becomeOutside(theirs, cluster) }
    guard theirs.epoch.forced >= ours.epoch.forced else { return }
    guard let missing = theirs.removals(from: ours.epoch.forced &+ 1), theirs.agrees(with: ours)
    else { return raiseAlarm(member, theirs, cluster) }
    if missing.contains(state.ownID) { return becomeOutside(theirs, cluster) }
    if state.alarm?.member == member { state.alarm = nil }
    adopt(missing, cluster)
  }

  /// Two operators have removed different members at once: nobody adopts the other's list.
  private mutating func raiseAlarm(
    _ member: MemberID, _ theirs: Membership, _ cluster: ClusterPointer
  ) {
    let text = "member \(member) has another list in epoch \(theirs.epoch): \(theirs.list.text)"
    guard cluster.pointee.state.alarm?.text != text else { return }
    cluster.pointee.state.alarm = (member, text)
    lines.append((.error, "\(text); remove by force at one of the two what the other one removed"))
  }

  /// This member was removed and had not heard of it; its id may be another one's by now. Or the
  /// change that was to make it one came to nothing.
  private mutating func becomeOutside(_ membership: Membership, _ cluster: ClusterPointer) {
    guard let database else { return }
    let state = cluster.pointee.state
    closeRound()
    guard let change = state.pending, state.isJoining else {
      state.lastEpoch = state.present.epoch
      return noteList(membership.without(state.ownID), state, database)
    }
    var resource = storeResource(database)
    resource.abort(change.id, record: nil)
    copyEffects.lines.append(
      (.info, "the cluster goes on without this process (\(membership)): asking again"))
    askToJoin()
  }

  private func noteList(
    _ membership: Membership, _ state: MembershipState, _ database: UnsafeMutablePointer<Database>
  ) {
    let bytes = MembershipNote(ownID: state.ownID, membership: membership).bytes
    (state.isJoining ? Self.joinKey : MembershipNote.key).withUnsafeBytes {
      _ = database.pointee.note($0, bytes.bytes)
    }
    database.pointee.log.hurry()
    state.replace(membership)
  }

  // MARK: Confirmations

  /// A session with a member has begun, or it is heard again.
  mutating func memberReachable(_ greeting: PeerGreeting) {
    donorReachable(greeting)
    if guest == greeting.member { guestReachable(greeting) }
    guard let cluster else { return }
    noteConfirmations(cluster)
    cluster.pointee.negotiator.reachable(greeting.member, true, at: now.instant)
    cluster.pointee.mayUnblock = true
  }

  /// Keeps which directory each other member has: before anything that is agreed with one is
  /// recorded here, and so before it is durable.
  mutating func noteDirectories() {
    guard let database, cluster != nil, !joining.isJoining else { return }
    closeRound()
    let bytes =
      switch peers {
      case .some(let peers): DirectoriesNote(peers.directories).bytes
      case .none: ByteBuffer()
      }
    DirectoriesNote.key.withUnsafeBytes {
      let known = database.pointee.ledgerRecord(of: $0)
      if let known, known.note.elementsEqual(bytes.bytes) { return }
      _ = database.pointee.note($0, bytes.bytes)
    }
  }

  /// Who was removed is no member with any directory: recorded before its id can be given again.
  private mutating func forgetDirectory(of id: MemberID) {
    peers?.forget(id)
    noteDirectories()
  }

  /// Counts those as confirmed that have said our epoch in this run.
  mutating func noteConfirmations(_ cluster: ClusterPointer) {
    let same = membersInEpoch(cluster.pointee.negotiator.epoch)
    guard !cluster.pointee.confirmed.isSuperset(of: same) else { return }
    cluster.pointee.confirmed = cluster.pointee.confirmed.union(same)
    cluster.pointee.mayUnblock = true
  }

  private func membersInEpoch(_ epoch: Epoch) -> MemberSet {
    switch peers {
    case .some(let peers): peers.members(in: epoch)
    case .none: MemberSet()
    }
  }

  /// Whether a member was heard lately.
  private func answers(_ id: MemberID) -> Bool {
    switch peers {
    case .some(let peers): peers.absence(of: id, at: now.instant) == nil
    case .none: false
    }
  }

  /// A member says that this one is none: until it says otherwise nothing is read here.
  mutating func disowned(by member: MemberID) {
    cluster?.pointee.confirmed.remove(member)
    donorDisowned(member)
  }

  /// Acts upon changes of the list that were decided in this turn.
  mutating func applyChanges(_ cluster: ClusterPointer) {
    for (change, isCommitted) in cluster.pointee.state.takeDecided() {
      joinerDecided(committed: isCommitted)
      guard isCommitted else { continue }
      let membership = cluster.pointee.state.present
      switch change.proposed.change {
      case .add(let newcomer):
        // It has voted: it knows the list, and could not have removed us.
        cluster.pointee.confirmed.insert(newcomer.id)
        lines.append((.info, "member \(newcomer.id) (\(newcomer.text)) has joined: \(membership)"))
      case .remove(let id):
        cluster.pointee.confirmed.remove(id)
        forgetDirectory(of: id)
        lines.append((.info, "member \(id) has been removed: \(membership)"))
      }
      noteConfirmations(cluster)
      noteDirectories()
      cluster.pointee.mayUnblock = true
    }
  }
}

extension Membership: CustomStringConvertible {
  public var description: String { "epoch \(epoch), members \(list.text)" }
}
