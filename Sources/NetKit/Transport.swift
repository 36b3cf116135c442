import Base

/// Names one link of a transport for as long as it is open; never used again within a run.
///
/// The low 32 bits are a slot, the high 32 bits its generation (starting at 1), so an event or a
/// send for a link that is gone is recognised.
public struct LinkID: Hashable, Sendable {
  /// Generation and slot in one word.
  public var raw: UInt64
  /// Wraps the word.
  @inlinable public init(raw: UInt64) { self.raw = raw }
  /// Joins a slot and its generation.
  @inlinable public init(slot: Int, generation: UInt32) {
    raw = UInt64(generation) << 32 | UInt64(UInt32(truncatingIfNeeded: slot))
  }
  /// The index of the link's slot.
  @inlinable public var slot: Int { Int(raw & 0xFFFF_FFFF) }
  /// Which use of the slot this is, from 1.
  @inlinable public var generation: UInt32 { UInt32(raw >> 32) }
  /// The id that no link ever has.
  @inlinable public static var none: LinkID { LinkID(raw: 0) }
}

/// What a link carries.
public enum LinkKind: UInt8, Sendable {
  /// A client's byte stream (RESP, inline commands) over TCP; `send` takes any run of bytes.
  case stream
  /// One client request over UDP: one message arrived, one `send` of one message answers it and
  /// ends the link without a further event. Unanswered ones end by timeout, silently.
  case exchange
  /// Whole messages to and from another node, over TCP or UDP; both ends may send at any time.
  case peer
}

/// Why a link ended.
public enum LinkEnd: UInt8, Sendable {
  /// The other side closed it or it was closed by `close`.
  case closed
  /// The other side reset it, or sent what no protocol allows.
  case reset
  /// It could not be opened: refused, unreachable, no handshake.
  case refused
  /// Idle, handshake or write timeout.
  case timeout
  /// Its pending output passed the bound, or all pending output together did and it was the worst.
  case overflow
}

/// One thing that a transport tells the loop. Bytes belonging to it lie in the caller's buffer.
public enum TransportEvent: Sendable {
  /// A link is open: accepted, or `connect` succeeded. Not sent for exchanges.
  case opened(LinkID, LinkKind, Endpoint)
  /// Bytes of a stream, or one whole message of a peer; the buffer holds exactly these.
  case received(LinkID)
  /// One whole client request over UDP. `id` is the operation id in its header (`.none` if it
  /// carries none); `plain` says it came as a bare datagram without the header, one inline command.
  case request(LinkID, Endpoint, id: OperationID, plain: Bool)
  /// The other side of a stream has said that it sends no more (a half-close, or the start of a
  /// close): nothing more is received, `send` still works. The owner calls `close` as soon as it
  /// has answered what it owes; `closed` follows as always.
  case ended(LinkID)
  /// All of a link's output that had been kept back has left.
  case drained(LinkID)
  /// The link is gone; its id means nothing any more. Sent once for each `opened`, and once for
  /// each `connect` that failed.
  case closed(LinkID, LinkEnd)
}

/// What became of a `send`.
public enum SendOutcome: Sendable {
  /// Taken: written, or copied to the link's pending output.
  case queued
  /// The message is over `messageByteCountMax`, nothing was taken.
  case tooLarge
  /// The link is gone, or was closed because its pending output passed its bound.
  case gone
}

/// Moves bytes and messages between this node, its clients and its peers, and promises little.
///
/// A message that was queued may be lost, repeated, or arrive after a later one, but never cut or
/// damaged by accident. A stream's bytes arrive in order or the link ends. The same contract holds
/// for TCP, UDP and the simulated network, and one conformance suite runs over all three.
///
/// Pull-style so that the caller may send between two events: one turn of the loop is `wait`, then
/// `next` until it answers nil or the turn's bound is reached, then `flush`.
public protocol Transport: ~Copyable {
  /// The largest message that a peer link or an exchange carries, in bytes.
  var messageByteCountMax: Int { get }
  /// The largest message that a peer link carries, in bytes, once it is trusted.
  var peerMessageByteCountMax: Int { get }
  /// When `wait` must have returned at the latest for the transport's own timers.
  var deadline: Instant { get }

  /// Waits until something happened or `deadline` has come; returns the time after waiting.
  /// The only place that reads the clock.
  mutating func wait(until deadline: Instant) -> Moment

  /// With true, events stay where they are and `wait` waits for its deadline or the waker only:
  /// for an owner that cannot take more before its disk has caught up.
  mutating func holdBack(_ isHeldBack: Bool)

  /// The next event, or nil when there is none without waiting. `buffer` is emptied, then filled
  /// with the event's bytes; at most 64 KiB for a stream.
  mutating func next(into buffer: inout ByteBuffer, at now: Moment) -> TransportEvent?

  /// Takes bytes for a link. For streams: written at once when nothing is pending, otherwise kept.
  mutating func send(_ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Moment)
    -> SendOutcome

  /// Bytes taken for a link and not yet written.
  func pendingByteCount(of link: LinkID) -> Int

  /// Stops or resumes the reading of a stream; what the peer sends meanwhile waits in the kernel.
  mutating func setReading(_ enabled: Bool, on link: LinkID)

  /// Opens a peer link; `opened` or `closed` follows.
  mutating func connect(to endpoint: Endpoint, at now: Moment) -> LinkID

  /// Says that the other side of a peer link has proven who it is: from now on it may send messages
  /// of any size that the link carries. Before, a transport may take only small ones, because what
  /// a stranger has begun to send must be held.
  mutating func trust(_ link: LinkID)

  /// Ends a link. `afterFlush` first writes what is pending (bounded by the write timeout).
  /// `closed` follows either way.
  mutating func close(_ link: LinkID, afterFlush: Bool, at now: Moment)

  /// Sends what was batched in this turn (datagrams, messages to peers); called at the end of each
  /// turn, and earlier where what was said should not wait for the rest of it.
  mutating func flush(at now: Moment)

  /// What has been counted, by name, for people to read. Not for hot paths.
  var counts: [(name: String, value: UInt64)] { get }

  /// Stops accepting links and requests; open ones go on. For the drain before an exit.
  mutating func stopListening()
}

extension Transport where Self: ~Copyable {
  /// For transports that know one bound only.
  public var peerMessageByteCountMax: Int { messageByteCountMax }
  /// For transports that hold nothing of a message before it is whole.
  public mutating func trust(_ link: LinkID) {}
  /// For transports whose `wait` does not return early for events.
  public mutating func holdBack(_ isHeldBack: Bool) {}
  /// For transports that nobody asks.
  public var counts: [(name: String, value: UInt64)] { [] }
}
