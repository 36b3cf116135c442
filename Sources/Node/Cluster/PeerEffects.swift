public import Base
public import NetKit
public import TPC

/// What `Peers` wants done, in order; owned and emptied by who carries it out.
public struct PeerEffects: ~Copyable {
  /// One thing to do.
  public enum Effect: Sendable {
    /// Open a peer link and tell which it is by `Peers.called`.
    case connect(MemberID, Endpoint)
    /// Open a peer link for a `JoinCall` and tell which it is by `JoinCall.called`.
    case knock(Endpoint)
    /// Find out what the member's name means and tell it by `Peers.resolved`.
    case resolve(MemberID, host: String, port: UInt16)
    /// Find out what the name of a `JoinCall`'s member means and tell it by `JoinCall.resolved`.
    case resolveDonor(host: String, port: UInt16)
    /// Send a message: its place in `bytes`.
    case send(LinkID, Range<Int>)
    /// End a link.
    case close(LinkID, afterFlush: Bool)
    /// A link is proven: longer messages may come on it.
    case trust(LinkID)
    /// A session with a member has begun, or it is heard again after it was unreachable. What was
    /// sent to it before may be lost.
    case reachable(PeerGreeting)
    /// A member has said in which epoch it is: another one than before, or than ours.
    case epoch(PeerGreeting)
    /// Who is at the other end of a link was a member before another one got its id: is to be told
    /// the list by `Peers.tell`.
    case outdated(LinkID)
    /// A member says that this one is none.
    case disowned(by: MemberID)
    /// A member was silent for too long; what is sent to it is dropped from now on.
    case unreachable(MemberID)
    /// `Peers.directories` has changed: to be kept.
    case met
    /// This guest has come, in the place of an earlier one; `reachable` follows.
    case guest(MemberID)
  }

  /// What to do, in order.
  public var list: [Effect] = []
  /// The messages to send.
  public var bytes = ByteBuffer()
  /// Lines for the log; seldom any.
  public var lines: [(level: LogLevel, text: String)] = []

  /// Nothing to do.
  public init() {}

  /// Forgets everything; keeps the memory.
  public mutating func removeAll() {
    list.removeAll(keepingCapacity: true)
    bytes.removeAll()
    if !lines.isEmpty { lines.removeAll() }
  }
}

/// What a member said of itself when the session with it began.
public struct PeerGreeting: Hashable, Sendable {
  /// Who.
  public var member: MemberID
  /// Which run of it: another number after each start.
  public var incarnation: UInt64
  /// The number of its member list.
  public var epoch: Epoch
  /// Its hybrid time then.
  public var stamp: Stamp
  /// The name of its data directory; 0: it said none.
  public var directory: UInt64 = 0
}

/// Whom a message between members is for.
public enum PeerChannel: Sendable {
  case negotiator
  /// `CopyMessage`s between a donor and a joiner.
  case copy
  /// A `Membership`.
  case list
}

/// A message for others than `Peers`: who sent it, and where it lies in the bytes received.
public struct PeerDelivery: Hashable, Sendable {
  /// The sender, proven.
  public var member: MemberID
  /// Whom it is for.
  public var channel: PeerChannel
  /// The message's place.
  public var payload: Range<Int>
}
