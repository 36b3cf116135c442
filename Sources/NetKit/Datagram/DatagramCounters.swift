/// What a datagram link has counted since it began.
///
/// Invariant: `received` is the sum of the fields from `accepted` to `overloaded`; each datagram
/// handed in is in exactly one of them.
public struct DatagramCounters: Hashable, Sendable {
  /// Datagrams handed in.
  public var received: UInt64 = 0

  /// Taken: requests, fragments, acknowledgements, handshakes.
  public var accepted: UInt64 = 0
  /// Repetitions of what had come before.
  public var repeated: UInt64 = 0
  /// Too short, an unknown kind, fields that contradict each other, or alien.
  public var malformed: UInt64 = 0
  /// Longer than the largest allowed from that address.
  public var oversized: UInt64 = 0
  /// The checksum does not match.
  public var damaged: UInt64 = 0
  /// From an address that has not proven itself; a cookie was sent or nothing.
  public var strange: UInt64 = 0
  /// Above the rate of the address.
  public var throttled: UInt64 = 0
  /// Bare datagrams from where they are not allowed, or that no inline command begins like.
  public var refused: UInt64 = 0
  /// Acknowledgements and messages for what does not exist (any more).
  public var stray: UInt64 = 0
  /// Dropped because a table or buffer was full, or while draining.
  public var overloaded: UInt64 = 0

  /// Datagrams put out, retransmissions among them.
  public var sent: UInt64 = 0
  public var receivedBytes: UInt64 = 0
  public var sentBytes: UInt64 = 0
  /// Fragments put out again.
  public var retransmitted: UInt64 = 0
  /// Datagrams not put out because `outgoingByteCountMax` was reached.
  public var unsent: UInt64 = 0
  /// Cookies sent.
  public var challenged: UInt64 = 0
  /// Requests given to the node.
  public var requests: UInt64 = 0
  /// Replies taken from the node.
  public var replies: UInt64 = 0
  /// Replies to bare datagrams that were longer than the request, not sent.
  public var plainReplies: UInt64 = 0
  /// Replies of several datagrams for which there was no room, or that were never acknowledged.
  public var repliesLost: UInt64 = 0
  /// Requests dropped unanswered: the oldest at the bound, or timed out.
  public var exchangesExpired: UInt64 = 0
  /// Messages of several datagrams of which the rest never came.
  public var reassembliesExpired: UInt64 = 0

  public init() {}

  /// The sum that equals `received`.
  public var sorted: UInt64 {
    let taken = accepted + repeated
    let broken = malformed + oversized + damaged
    return taken + broken + strange + throttled + refused + stray + overloaded
  }
}
