import Base
import NetKit
import Store
import TPC

// Joining a cluster: asking a member, taking its data, becoming a member.
extension Node {
  /// What stands in the ledger while a join is not finished: a `MembershipNote`.
  static var joinKey: [UInt8] { [5] }

  // MARK: The contact

  /// Begins to join, if that is asked for or has not ended; nil: it is not. The answer is why it
  /// cannot be done, if it cannot.
  mutating func enterAsJoiner(
    _ change: PendingChange?,
    _ database: UnsafeMutablePointer<Database>
  ) -> (refusal: String?, Void)? {
    let record = Self.joinKey.withUnsafeBytes { database.pointee.ledgerRecord(of: $0) }
    let unfinished = record.flatMap { MembershipNote($0.note) }
    guard let options = options.cluster, options.joining != nil else {
      guard unfinished != nil else { return nil }
      return (
        "the directory is that of a join that has not ended: give --mhost and --qport again, or an "
          + "empty directory", ()
      )
    }
    let isEmpty =
      database.pointee.count == 0 && database.pointee.outcomeCount == 0
      && database.pointee.ledgerCount == 0
    guard isEmpty || unfinished != nil else {
      return (
        "the directory holds data of a node alone; a member joins with an empty directory", ()
      )
    }
    joining.isJoining = true
    if let unfinished { joining.note(unfinished) }
    guard let unfinished, let change else {
      askToJoin()
      return (nil, ())
    }
    // It has voted: the others know whether it is a member.
    peers = Peers(
      options, as: unfinished.ownID, of: unfinished.membership,
      at: change.proposed.change.guest?.text ?? options.joining?.address,
      directory: database.pointee.log.directoryName)
    joinCluster(unfinished, seed: Self.negotiatorSeed(of: options.nonceKey))
    cluster?.pointee.state.recover(change)
    return (nil, ())
  }

  /// This process is a member: nothing is left of its join.
  mutating func endUnfinishedJoin(_ database: UnsafeMutablePointer<Database>) {
    Self.joinKey.withUnsafeBytes { _ = database.pointee.unnote($0) }
    guard options.cluster?.joining != nil else { return }
    lines.append((.info, "this process is a member already: --mhost and --qport change nothing"))
  }

  /// Asks a member anew; what was copied so far is of no use.
  mutating func askToJoin() {
    guard let options = options.cluster, let target = options.joining else { return }
    leaveCluster()
    joining.asksAgain = false
    joining.joiner = nil
    joining.welcome = nil
    joining.donorIncarnation = nil
    joining.giveUpAt = .never
    joining.contactCount += 1
    joining.call = JoinCall(
      target, options.contact(joining.contactCount), clusterID: joining.unfinishedClusterID,
      id: joining.unfinishedID, isFirst: joining.contactCount == 1, at: now.instant)
  }

  /// Forgets the negotiations of an earlier copy, which came to nothing, and the links.
  private mutating func leaveCluster() {
    leaveNegotiations()
    joining.leavesPeers = true
  }

  private mutating func leaveNegotiations() {
    guard let cluster else { return }
    invariant(cluster.pointee.state.pending == nil, "who has voted waits for the decision")
    cluster.deinitialize(count: 1)
    cluster.deallocate()
    self.cluster = nil
  }

  /// A member took this process as its guest: is linked to it as its members are.
  mutating func welcomed(_ welcome: JoinWelcome) {
    guard let options = options.cluster, let target = options.joining,
      let list = try? MemberList(
        "\(welcome.donor)=\(welcome.endpoint),\(welcome.id)=\(target.address)")
    else { return refuseToJoin("the address \(welcome.endpoint) is no member's") }
    joining.call = nil
    joining.welcome = welcome
    joining.joiner = Joiner()
    joining.giveUpAt = now.instant + Joining.donorPatience
    peers = Peers(
      options.contact(joining.contactCount), as: welcome.id,
      of: Membership(clusterID: welcome.clusterID, list: list), at: target.address,
      onlyCalled: welcome.donor, directory: database?.pointee.log.directoryName ?? 0)
    peers?.start(at: now)
  }

  mutating func refuseToJoin(_ reason: String) { joining.refusal = reason }

  // MARK: The copy

  /// A message of the donor.
  mutating func receiveCopy(_ message: UnsafeRawBufferPointer) {
    guard let database, joining.joiner != nil else { return }
    closeRound()
    // Prepared, it has all; what the donor says next is of another attempt, or of none.
    if let cluster, cluster.pointee.state.pending != nil, CopyMessage.isBegin(message) { return }
    let arrival = joining.joiner!.receive(
      message, &database.pointee, at: now.instant, into: &copyEffects)
    guard case .begins(let stamp, let note) = arrival else { return checkRoom(database) }
    begin(stamp, note, database)
  }

  private mutating func begin(
    _ stamp: Stamp, _ bytes: UnsafeRawBufferPointer, _ database: UnsafeMutablePointer<Database>
  ) {
    guard let note = MembershipNote(bytes), let welcome = joining.welcome,
      let options = options.cluster, note.ownID == welcome.id,
      note.membership.clusterID == welcome.clusterID
    else { return askToJoin() }
    leaveNegotiations()
    database.pointee.observe(stamp: stamp)
    // The note before all else: a directory without it is not cleared.
    Self.joinKey.withUnsafeBytes {
      _ = database.pointee.note($0, bytes)
      database.pointee.clearForCopy(keeping: $0)
    }
    joining.note(note)
    let key = options.contact(joining.contactCount).nonceKey
    joinCluster(note, seed: Self.negotiatorSeed(of: key))
    if let cluster {
      cluster.pointee.negotiator.countAsNewcomer()
      finishClusterRecovery(cluster)
    }
    joining.joiner?.begun(database.pointee)
    joining.giveUpAt = .never
  }

  /// A member that is full holds a little more than its limit: its last round was begun below it,
  /// and the same entries take more or less room in each table.
  private mutating func checkRoom(_ database: UnsafeMutablePointer<Database>) {
    let limit = control.memoryByteCountMax
    guard database.pointee.usedByteCount - limit > limit / 8 + Cluster.roundByteCountMax else {
      return
    }
    refuseToJoin("the cluster's data needs more than --max-memory")
  }

  mutating func workAsJoiner(_ database: UnsafeMutablePointer<Database>) {
    guard joining.joiner != nil else { return }
    joining.joiner!.work(&database.pointee, at: now.instant, into: &copyEffects)
    joining.joiner!.durable(durable, into: &copyEffects)
    guard let cluster else { return }
    if case .complete(let attempt)? = joining.joiner?.phase {
      cluster.pointee.state.readyFor = (attempt.id, attempt.attempt)
    } else {
      cluster.pointee.state.readyFor = nil
    }
  }

  // MARK: The donor

  /// The donor can be reached. Another run of it knows nothing of the copy, nor of the guest that
  /// it welcomed: until it has begun, this process waits so long and no longer.
  mutating func donorReachable(_ greeting: PeerGreeting) {
    guard let welcome = joining.welcome, greeting.member == welcome.donor else { return }
    joining.giveUpAt =
      cluster == nil ? min(joining.giveUpAt, now.instant + Joining.donorPatience) : .never
    if let known = joining.donorIncarnation, known != greeting.incarnation {
      return giveCopyUp("member \(welcome.donor) was restarted")
    }
    joining.donorIncarnation = greeting.incarnation
  }

  /// The donor says that another process has this one's id: it has given its guest up.
  mutating func donorDisowned(_ member: MemberID) {
    guard let welcome = joining.welcome, member == welcome.donor else { return }
    giveCopyUp("member \(member) knows it no more")
  }

  mutating func donorUnreachable(_ member: MemberID) {
    guard let welcome = joining.welcome, member == welcome.donor else { return }
    joining.giveUpAt = min(joining.giveUpAt, now.instant + Joining.donorPatience)
  }

  /// The donor is gone: asks again, unless what was prepared has still to be decided.
  mutating func giveCopyUp(_ reason: String) {
    joining.giveUpAt = .never
    if let cluster, cluster.pointee.state.pending != nil {
      joining.joiner = nil
      joining.welcome = nil
      return
    }
    copyEffects.lines.append((.info, "the copy is given up, as \(reason): asking again"))
    askToJoin()
  }

  /// A member says its list. If the id of this process is another one's there, which has joined at
  /// another member, this one needs another id: it asks anew.
  mutating func joinerHears(_ theirs: Membership) {
    guard let welcome = joining.welcome, let target = options.cluster?.joining,
      theirs.clusterID == welcome.clusterID, let owner = theirs.list.entry(of: welcome.id),
      owner.text != Peers.spelling(of: target.address)
    else { return }
    giveCopyUp("\(owner.text) has joined as member \(owner.id)")
  }

  /// The change that would take this process in is decided, or one attempt at it has died.
  mutating func joinerDecided(committed: Bool) {
    guard joining.isJoining, let cluster, let database else { return }
    guard committed, !cluster.pointee.state.isOutside else {
      // After a start there is no copy to go on with.
      if joining.joiner == nil { joining.asksAgain = true }
      return
    }
    joining.isJoining = false
    Self.joinKey.withUnsafeBytes { _ = database.pointee.unnote($0) }
    let summary = joining.joiner?.summary(database.pointee, at: now.instant)
    lines.append(
      (
        .info,
        "joined the cluster as member \(cluster.pointee.state.ownID)"
          + (summary.map { ": \($0)" } ?? "")
      ))
    joining.joiner = nil
    joining.welcome = nil
    joining.giveUpAt = .never
  }

  // MARK: INFO

  /// What INFO says of a join.
  var joiningLines: [(String, String)] {
    var lines: [(String, String)] = []
    if joining.isJoining { lines.append(("joining", "1")) }
    if let joiner = joining.joiner, let database {
      lines.append(("copy_entries", String(database.pointee.count)))
      lines.append(("copy_bytes", String(joiner.progress.byteCount)))
    }
    if let donor = joining.donor {
      lines.append(("copy_to", "\(donor.member)"))
      lines.append(("copy_entries", String(donor.progress.entryCount)))
      lines.append(("copy_bytes", String(donor.progress.byteCount)))
      lines.append(("copy_passes", String(donor.progress.passCount)))
    }
    return lines
  }
}
