public import Base

/// An address to listen on.
public struct ListenAddress: Hashable, Sendable {
  /// The address; port 0 lets the kernel choose one port for all.
  public var endpoint: Endpoint
  /// Whether it is no error that the machine lacks the address: `::1` where IPv6 is off.
  public var isOptional: Bool

  /// An address that must be there unless `isOptional`.
  public init(_ endpoint: Endpoint, isOptional: Bool = false) {
    self.endpoint = endpoint
    self.isOptional = isOptional
  }
}

/// What a socket transport listens on, and the bounds of all it holds.
public struct SocketOptions: Sendable {
  // MARK: Listening

  /// Where to listen; none for a transport that only connects. All have the same port.
  public var addresses: [ListenAddress] = []
  /// TCP is listened on.
  public var acceptsStreams = true
  /// UDP is listened on.
  public var acceptsDatagrams = true
  /// Connections that the kernel holds for us until we accept them.
  public var backlogCountMax: Int32 = 1_024

  // MARK: Streams

  /// TCP connections of clients; a further one is answered with an error and closed.
  public var connectionCountMax = 10_000
  /// TCP connections above these that only other nodes may use, so that clients cannot keep them
  /// out. One that is accepted there and says nothing for `spareTimeout` is closed.
  public var peerConnectionCountMax = 0
  /// Pending output of one link above which it is no longer read. Clients write a whole pipeline
  /// before they read the first reply; a small value makes both sides wait for each other.
  public var linkOutputByteCountMax = 256 << 20
  /// Pending output of all links; above it the link with most of it is closed.
  public var outputByteCountMax = 1 << 30
  /// A connection from which nothing came for this long is closed; zero: never.
  public var idleTimeout = Interval.zero
  /// A connection that has not sent its first byte after this long is closed; zero: never, since
  /// clients with a pool open connections long before they use them.
  public var firstByteTimeout = Interval.zero
  /// The same for a connection that is kept for other nodes, which speak at once.
  public var spareTimeout = Interval.seconds(1)
  /// A connection with pending output that took none of it for this long is closed.
  public var writeTimeout = Interval.seconds(60)
  /// The kernel asks after this long without a sign of life whether the other side is still there.
  public var keepaliveIdle = Interval.seconds(300)
  /// After the last byte of a connection that we close, what still arrives is thrown away for this
  /// long, because a reset would take the last reply away from the client.
  public var lingerTimeout = Interval.seconds(2)

  // MARK: Peers

  /// Opens peer links over UDP instead of TCP.
  public var peersUseDatagrams = false
  /// How long opening a peer link may take.
  public var connectTimeout = Interval.seconds(5)
  /// The largest message between peers over TCP, in bytes; like that of `datagrams`.
  public var messageByteCountMax = (1 << 20) + (128 << 10)
  /// The largest message taken on a link over TCP before it is trusted; nil: no less.
  public var strangerMessageByteCountMax: Int?

  // MARK: Datagrams

  /// Sizes and bounds of the datagram link.
  public var datagrams = DatagramOptions()
  /// The kernel's receive and send buffer of a UDP socket; it gives less where it is not allowed.
  public var datagramBufferByteCount: Int32 = 8 << 20

  /// The defaults, listening nowhere.
  public init() {}

  /// How often timeouts are looked at: none is meant to be exact, a quarter late is in order.
  var sweepInterval: Interval {
    let all = [
      idleTimeout, firstByteTimeout, writeTimeout, connectTimeout, lingerTimeout,
      peerConnectionCountMax > 0 ? spareTimeout : .zero, .seconds(4),
    ]
    let shortest = all.filter { $0 != .zero }.min() ?? .seconds(4)
    return max(.millis(5), Interval(nanos: shortest.nanos / 4))
  }
}

/// What a socket transport has counted since it began; `INFO` shows it.
public struct SocketCounters: Hashable, Sendable {
  /// TCP connections accepted, those closed at once for being too many not among them.
  public var accepted: UInt64 = 0
  /// TCP connections closed because there were `connectionCountMax`.
  public var refused: UInt64 = 0
  /// Failed accepts: no descriptor, no memory.
  public var acceptFailures: UInt64 = 0
  /// Connections that began with a TLS hello, which is not supported.
  public var tlsHellos: UInt64 = 0
  /// Links closed because too much output was pending.
  public var closedByOverflow: UInt64 = 0
  /// Links closed by the idle, first-byte, write or connect timeout.
  public var closedByTimeout: UInt64 = 0
  /// Peer links closed because of a frame that no peer sends.
  public var badFrames: UInt64 = 0
  /// Bytes of TCP.
  public var bytesReceived: UInt64 = 0
  public var bytesSent: UInt64 = 0
  /// Datagrams the kernel gave and took; what became of them is in `DatagramCounters`.
  public var datagramsReceived: UInt64 = 0
  public var datagramsSent: UInt64 = 0
  /// Datagrams that the kernel did not take: buffer full, no route.
  public var datagramSendFailures: UInt64 = 0

  /// Nothing counted yet.
  public init() {}
}

/// An address on which it was not possible to listen.
public struct ListenError: Error, Hashable, Sendable, CustomStringConvertible {
  /// The address, nil when something else failed.
  public var endpoint: Endpoint?
  /// `tcp` or `udp`, empty when something else failed.
  public var medium: String
  /// The call that failed and why.
  public var error: SystemError

  /// One phrase for a message to a person: `cannot listen on 127.0.0.1:9099 (tcp): ...`.
  public var description: String {
    guard let endpoint else { return error.description }
    return "cannot listen on \(endpoint) (\(medium)): \(error.reason)"
  }
}
