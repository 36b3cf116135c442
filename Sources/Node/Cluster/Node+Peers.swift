import Base
import NetKit
import TPC

// What the agreement core hears of the other members, and what INFO says of them. A node alone has
// none.
extension Node {
  /// A member was silent for too long.
  mutating func memberUnreachable(_ member: MemberID) {
    if joining.donor?.member == member { guestUnreachable() }
    donorUnreachable(member)
    cluster?.pointee.negotiator.reachable(member, false, at: now.instant)
    cluster?.pointee.mayUnblock = true
  }

  /// True for a link to another member, or to who says to be one.
  func isPeer(_ link: LinkID) -> Bool {
    switch peers {
    case .some(let peers): peers.holds(link)
    case .none: false
    }
  }

  /// There is a list of others to talk to.
  var hasPeers: Bool {
    switch peers {
    case .some: true
    case .none: false
    }
  }

  // MARK: INFO

  /// The lines of the section `Cluster`. Of the cluster that Redis knows there is none: its clients
  /// would ask for slots.
  func clusterLines() -> [(String, String)] {
    let none = [("cluster_enabled", "0")] + joiningLines
    switch peers {
    case .some(let peers):
      let transactions = cluster.map { transactionLines($0) } ?? []
      guard let state = cluster?.pointee.state else { return none }
      return none + Self.lines(peers, state, at: now.instant) + transactions
    case .none: return none
    }
  }

  private static func lines(
    _ peers: borrowing Peers, _ state: MembershipState, at now: Instant
  ) -> [(String, String)] {
    let others = peers.statuses(at: now)
    let own = state.present.list.entry(of: state.ownID)
    let lines = [
      ("cluster_id", String(peers.clusterID, radix: 16)),
      ("cluster_epoch", state.present.epoch.description),
      ("cluster_has_secret", peers.options.authenticator == nil ? "0" : "1"),
      ("member_id", "\(state.ownID)"), ("member_address", own?.text ?? ""),
      ("membership_alarm", state.alarm?.text ?? ""),
      ("member_incarnation", String(peers.incarnation, radix: 16)),
      ("members", String(state.present.list.entries.count)),
      ("members_reachable", String(peers.reachableCount)),
      ("clock_alarm", others.contains { $0.isSkewed } ? "1" : "0"),
    ]
    return lines + others.map(line) + self.lines(peers.counters)
  }

  private static func line(_ other: PeerStatus) -> (String, String) {
    let fields = [
      ("address", other.member.address), ("state", other.state.rawValue),
      ("round_trip_us", String(other.roundTrip.nanos / 1_000)),
      ("silent_ms", String(other.silence.millis)), ("clock_skew_ms", String(other.skewMillis)),
      ("epoch", other.epoch.description), ("role", other.role.rawValue),
      ("version", String(other.version)),
      ("incarnation", String(other.incarnation, radix: 16)),
    ]
    let text = fields.map { "\($0.0)=\($0.1)" }.joined(separator: ",")
    return ("member\(other.member.id)", text)
  }

  private static func lines(_ counters: PeerCounters) -> [(String, String)] {
    [
      ("peer_sessions", counters.sessions), ("peer_refusals", counters.refusals),
      ("peer_failed_handshakes", counters.failedHandshakes),
      ("peer_malformed_messages", counters.malformed), ("peer_stale_messages", counters.stale),
      ("peer_messages_received", counters.delivered), ("peer_messages_sent", counters.sent),
      ("peer_messages_dropped", counters.dropped), ("peer_silences", counters.silences),
    ].map { ($0.0, String($0.1)) }
  }
}
