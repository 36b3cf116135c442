import Base
import NetKit
import Store
import TPC

// MEMBERS, for people and programs: who is in the cluster, and who is to leave it.
extension Node {
  /// `MEMBERS`, `MEMBERS REMOVE id [FORCE]`.
  mutating func membersInCluster(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    let count = parser.arguments.count
    guard count > 1 else {
      if waitsForOwnRound(session, cluster) { return deferUnit(behind: .round, session, cluster) }
      return listMembers(cluster)
    }
    guard parser.arguments[1].isWord("remove"), count == 3 || count == 4,
      count == 3 || parser.arguments[3].isWord("force")
    else { return failSyntax() }
    guard let number = parseDecimal(parser.arguments[2]).flatMap({ UInt16(exactly: $0) }),
      MemberID(number).isValid
    else {
      return fail("ERR a member's id is a number from 1 to \(MemberID.numberMax) (not-applied)")
    }
    if cluster.pointee.unit.request != nil, isInOpenRound(session, cluster) {
      return fail("ERR MEMBERS REMOVE is a UDP message of its own (not-applied)")
    }
    if count == 4 {
      removeByForce(MemberID(number), session, cluster)
    } else {
      removeByAgreement(MemberID(number), spec, session, cluster)
    }
  }

  // MARK: Removing

  /// Runs in a round of its own, which locks what every other transaction reads.
  private mutating func removeByAgreement(
    _ id: MemberID, _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer,
    _ cluster: ClusterPointer
  ) {
    let state = cluster.pointee.state
    let all = Access(changes: true, isWhole: true, changesAll: true)
    let change = MembershipChange.remove(id)
    if id == state.ownID {
      return fail("ERR a member cannot remove itself: ask another one (not-applied)")
    }
    if let objection = state.present.objection(to: change) {
      return fail("ERR \(objection) (not-applied)")
    }
    if let refusal = clusterRefusal(all, cluster) { return fail(refusal.text(hasID: false)) }
    if !isRenewing(cluster) {
      if isInOpenRound(session, cluster) { return deferUnit(behind: .round, session, cluster) }
      closeRound()
    }
    let waiter = waiter(session, cluster)
    if let holder = cluster.pointee.holderOfAll(all, joins: true, for: waiter) {
      block(on: holder, session, cluster)
      return takePlace(all, spec, session, cluster)
    }
    let round = openRound(cluster)
    round.change = change
    keepAge(session, round, cluster)
    cluster.pointee.unit.hasJoined = true
    var after = state.present
    after.apply(change, begunIn: after.epoch)
    output.reply(bulk: "member \(id) is removed: \(after)")
  }

  /// Done at once, and done already where it is asked for again; the reply leaves when it is
  /// durable here and all members that can be reached are known to have it durably.
  private mutating func removeByForce(
    _ id: MemberID, _ session: SessionPointer, _ cluster: ClusterPointer
  ) {
    if isInOpenRound(session, cluster) { return deferUnit(behind: .round, session, cluster) }
    let isDone = wait(session, cluster)?.removed == id
    if !isDone, !cluster.pointee.state.hasRemoved(id),
      let objection = removeByForce(id, cluster)
    {
      return fail("ERR \(objection) (not-applied)")
    }
    let left = membersWithout(cluster.pointee.state.present)
    if left.contains(where: \.isReachable),
      now.instant - (wait(session, cluster)?.since ?? now.instant) < cluster.pointee.patience
    {
      deferUnit(behind: .lock, session, cluster)
      return withWait(session, cluster) { $0.removed = id }
    }
    let ids = left.map { "\($0.id)" }.joined(separator: ", ")
    let spread = left.isEmpty ? "known to all" : "not known yet to \(ids)"
    let doubts = cluster.pointee.doubtful.sorted().map { "\($0)" }.joined(separator: " ")
    let rest = doubts.isEmpty ? "nothing is in doubt" : "being decided now: \(doubts)"
    output.reply(
      bulk: "member \(id) is removed by force: \(cluster.pointee.state.present); \(spread); "
        + rest)
    replyWaits = true
  }

  /// The other members that have not said that they have the list, by rising id.
  private func membersWithout(_ list: Membership) -> [(id: MemberID, isReachable: Bool)] {
    let own = cluster?.pointee.state.ownID
    let statuses = statuses
    return list.list.entries.map(\.id).compactMap { id in
      let status = statuses.first { $0.member.id == id }
      guard id != own, status?.epoch != list.epoch else { return nil }
      return (id, status?.state == .reachable)
    }
  }

  // MARK: Listing

  /// A line for each member: names and values by turns.
  private mutating func listMembers(_ cluster: ClusterPointer) {
    let rows = memberRows(cluster)
    output.reply(array: rows.count)
    for row in rows {
      output.reply(array: row.count * 2)
      for (name, value) in row {
        output.reply(bulk: name)
        output.reply(bulk: value)
      }
    }
  }

  private func memberRows(_ cluster: ClusterPointer) -> [[(String, String)]] {
    let state = cluster.pointee.state
    let own = state.present.list.entry(of: state.ownID)
    var rows: [(id: MemberID, fields: [(String, String)])] = [
      (
        state.ownID,
        [
          ("id", "\(state.ownID)"), ("address", own?.text ?? ""),
          ("epoch", state.present.epoch.description), ("role", own == nil ? "removed" : "self"),
          ("state", "reachable"), ("lag", "0"), ("round_trip_us", "0"), ("silent_ms", "0"),
        ]
      )
    ]
    for other in statuses where other.role != .leaving {
      rows.append(
        (
          other.member.id,
          [
            ("id", "\(other.member.id)"), ("address", other.member.address),
            ("epoch", other.epoch.description), ("role", other.role.rawValue),
            ("state", other.state.rawValue),
            ("lag", String(cluster.pointee.negotiator.unacknowledgedCount(of: other.member.id))),
            ("round_trip_us", String(other.roundTrip.nanos / 1_000)),
            ("silent_ms", String(other.silence.millis)),
          ]
        ))
    }
    return rows.sorted { $0.id < $1.id }.map(\.fields)
  }

  private var statuses: [PeerStatus] {
    switch peers {
    case .some(let peers): peers.statuses(at: now.instant)
    case .none: []
    }
  }
}
