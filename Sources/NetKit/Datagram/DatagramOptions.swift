import Base

/// From where a bare datagram (one inline command without the header) is taken.
public enum PlainSource: UInt8, Sendable {
  /// 127.0.0.0/8 and ::1 only.
  case loopback
  /// Anywhere; elsewhere than from loopback a reply longer than the request is dropped.
  case anywhere
}

/// A rate in datagrams a second and how many may come at once after a pause.
public struct DatagramRate: Hashable, Sendable {
  /// Datagrams a second in the long run.
  public var perSecond: UInt64
  /// Datagrams at once after a pause.
  public var burst: UInt64

  /// `burst` is at least 1.
  public init(perSecond: UInt64, burst: UInt64) {
    self.perSecond = perSecond
    self.burst = burst
  }
}

/// Sizes, bounds and times of the datagram link; both ends use the same type.
///
/// Counts are of things, byte counts of bytes. Every table and buffer of `DatagramCore` has its
/// bound here, and what happens at the bound is said there.
public struct DatagramOptions: Sendable {
  // MARK: Sizes

  /// The largest datagram sent to or taken from an address that is not loopback; fits the smallest
  /// IPv6 path (1,280) with its headers and some room for a tunnel's.
  public var datagramByteCountMax = 1_200
  /// The same on loopback, where a datagram costs the same whatever its size.
  public var loopbackDatagramByteCountMax = 16 << 10
  /// The largest request, reply or peer message: a value of 1 MiB with the longest key and the
  /// words around them.
  public var messageByteCountMax = (1 << 20) + (128 << 10)

  // MARK: Who is trusted

  /// Loopback addresses have to prove themselves like any other; for tests.
  public var provesLoopback = false
  /// From where bare datagrams are taken.
  public var plainFrom = PlainSource.loopback
  /// What an address that has not proven itself may cost: cookies and bare datagrams.
  public var strangerRate = DatagramRate(perSecond: 1_000, burst: 2_000)
  /// What any one address may send. Loopback is exempt from both rates unless `provesLoopback`.
  public var sourceRate = DatagramRate(perSecond: 500_000, burst: 500_000)
  /// Addresses whose rate is known at once; a multiple of 4. The one not heard for longest of its
  /// group of four gives way, and comes back with a full burst.
  public var sourceCountMax = 4_096

  // MARK: Requests

  /// Requests given to the node and not answered yet; at the bound the oldest is dropped.
  public var exchangeCountMax = 65_536
  /// After this long without an answer a request is dropped.
  public var exchangeTimeout = Interval.seconds(60)
  /// Events not taken yet; at the bound datagrams are dropped.
  public var eventCountMax = 16_384
  /// Bytes of events not taken yet, whole messages of several datagrams not counted.
  public var eventByteCountMax = 16 << 20
  /// Datagrams not sent yet; at the bound further ones are dropped, as a full network would.
  public var outgoingByteCountMax = 16 << 20

  // MARK: Messages of several datagrams

  /// Exchanges with a request or reply of several datagrams under way or lately ended.
  public var transferCountMax = 1_024
  /// Bytes of requests and peer messages that are being put together. One address holds at most
  /// half of this and of `transferCountMax`.
  public var reassemblyByteCountMax = 64 << 20
  /// Bytes of replies that are being sent in several datagrams.
  public var replyByteCountMax = 64 << 20
  /// A message that got no new fragment for this long is forgotten.
  public var reassemblyTimeout = Interval.seconds(10)
  /// A request that is not whole after this long is forgotten however diligently it trickles in.
  public var reassemblyTimeMax = Interval.seconds(120)
  /// How long an exchange that was answered in full is remembered, so that late repetitions of its
  /// datagrams don't begin it anew.
  public var lingerTimeout = Interval.seconds(5)
  /// Timeouts in a row after which a reply is given up.
  public var retransmissionCountMax = 8
  /// The retransmission timeout before anything is known of the path (RFC 6298 says 1 s, for
  /// paths around the world).
  public var initialTimeout = Interval.millis(250)
  /// Bounds of the retransmission timeout.
  public var timeoutMin = Interval.millis(20)
  public var timeoutMax = Interval.seconds(4)
  /// Bytes under way at once, at most.
  public var windowByteCountMax = 512 << 10

  // MARK: Peers

  /// Links with other nodes, in handshake or open.
  public var peerCountMax = 64
  /// Messages of one link taken and not acknowledged yet; above either bound it is closed.
  public var peerMessageCountMax = 4_096
  public var peerPendingByteCountMax = 64 << 20
  /// A handshake takes at most this long.
  public var handshakeTimeout = Interval.seconds(5)
  /// A peer link that was idle for this long sends a ping.
  public var keepaliveInterval = Interval.seconds(1)
  /// A peer link that heard nothing for this long is closed.
  public var peerTimeout = Interval.seconds(5)

  /// The defaults.
  public init() {}

  /// The largest datagram to or from an address.
  @inlinable public func byteCountMax(for endpoint: Endpoint) -> Int {
    endpoint.isLoopback ? loopbackDatagramByteCountMax : datagramByteCountMax
  }

  /// Stops the process when the values contradict each other: they are our own.
  func check() {
    let smallest = DatagramHeader.byteCount + DatagramHeader.strideMin
    invariant(datagramByteCountMax >= smallest, "a datagram holds a header and a fragment")
    invariant(
      loopbackDatagramByteCountMax >= smallest && loopbackDatagramByteCountMax <= 65_507,
      "a loopback datagram fits UDP")
    invariant(datagramByteCountMax <= 65_507, "a datagram fits UDP")
    let stride = min(datagramByteCountMax, loopbackDatagramByteCountMax) - DatagramHeader.byteCount
    invariant(
      messageByteCountMax <= stride * DatagramHeader.fragmentCountMax,
      "the largest message fits the most fragments")
    invariant(sourceCountMax > 0 && sourceCountMax % 4 == 0, "sources come in groups of four")
    invariant(
      exchangeCountMax > 0 && eventCountMax > 0 && transferCountMax > 1 && peerCountMax >= 0,
      "tables have room")
    invariant(timeoutMin <= initialTimeout && initialTimeout <= timeoutMax, "timeouts are in order")
    invariant(
      reassemblyByteCountMax / 2 >= messageByteCountMax && replyByteCountMax >= messageByteCountMax,
      "the largest message fits")
  }
}
