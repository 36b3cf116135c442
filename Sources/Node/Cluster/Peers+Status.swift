public import Base
public import TPC

/// What is known of another member, for people to read.
public struct PeerStatus: Sendable {
  /// Whether a member can be reached.
  public enum State: String, Sendable {
    /// There is a session, and it was heard lately.
    case reachable
    /// It is silent.
    case unreachable
    /// One of the two does not want to talk to the other; see the log.
    case refused
  }

  /// Who.
  public var member: Member
  /// What it is.
  public var role: PeerRole
  /// Whether it can be reached.
  public var state: State
  /// The version of the protocol agreed on; 0 before the first session.
  public var version: UInt8
  /// Which run of it; 0 before the first session.
  public var incarnation: UInt64
  /// The number of its member list when it was last heard.
  public var epoch: Epoch
  /// Smoothed; zero before the first measurement.
  public var roundTrip: Interval
  /// Since the last sign of life, or since this process started.
  public var silence: Interval
  /// How far its clock is ahead of ours, in milliseconds.
  public var skewMillis: Int64
  /// The clocks are too far apart.
  public var isSkewed: Bool
}

extension Peers {
  /// The other members by rising id.
  public func statuses(at now: Instant) -> [PeerStatus] {
    others.map { other in
      PeerStatus(
        member: other.member, role: other.role,
        state: other.isReachable ? .reachable : other.refusal != nil ? .refused : .unreachable,
        version: other.version, incarnation: other.greeting?.incarnation ?? 0,
        epoch: other.greeting?.epoch ?? Epoch(0), roundTrip: other.roundTrip,
        silence: now - other.lastHeard, skewMillis: other.skewNanos / 1_000_000,
        isSkewed: other.isSkewed)
    }
  }

  /// Members that can be reached, this one included.
  public var reachableCount: Int { others.count { $0.isReachable && $0.role == .member } + 1 }

  /// True when no member is silent.
  public var reachesAll: Bool { others.allSatisfy { $0.isReachable || $0.role != .member } }

  /// Whether another one has said that it is no member yet.
  func isJoining(_ member: MemberID) -> Bool {
    index(of: member).map { others[$0].greeting?.epoch == Epoch(0) } ?? false
  }

  /// Those that have said in this run that they are in the epoch.
  public func members(in epoch: Epoch) -> MemberSet {
    MemberSet(others.lazy.filter { $0.greeting?.epoch == epoch }.map(\.member.id))
  }

  /// Why a write that needs `member` is refused, or why it may be removed by force: `member 3
  /// (10.0.0.3:9099) silent for 2.1 s`; nil when it can be reached.
  public func absence(of member: MemberID, at now: Instant) -> String? {
    guard let other = index(of: member), !others[other].isReachable,
      // Who has just become a member, or all at the start of this one, is on its way.
      others[other].greeting != nil
        || now - others[other].lastHeard >= options.timings.silenceMax
    else { return nil }
    return "\(name(of: other)) silent for \(Self.seconds(now - others[other].lastHeard))"
  }

  /// The first member that cannot be reached, as `absence` names it.
  public func firstAbsence(at now: Instant) -> String? {
    for other in others where !other.isReachable && other.role == .member {
      if let absence = absence(of: other.member.id, at: now) { return absence }
    }
    return nil
  }
}
