internal import Base
internal import Glibc

/// A TCP socket that accepts connections.
struct StreamListener {
  var descriptor: Int32
  var endpoint: Endpoint
}

/// A UDP socket that requests come to and peers are talked to from.
struct DatagramPort {
  var descriptor: Int32
  var endpoint: Endpoint

  /// Bound to no address in particular: the address that was asked comes with each datagram.
  var isWildcard: Bool { endpoint.high == 0 && (endpoint.low & ~0xFFFF_0000_0000) == 0 }
}

/// Opens the sockets to listen on: every address, TCP and UDP, all with one port.
struct Listeners {
  private(set) var streams: [StreamListener] = []
  private(set) var datagrams: [DatagramPort] = []
  private let options: SocketOptions

  /// How often another port is tried where the kernel chose one that is not free everywhere.
  private static let attemptCountMax = 32

  /// Opens all; closes what was opened when one fails.
  static func open(_ options: SocketOptions) throws(ListenError) -> Listeners {
    var attempt = 1
    while true {
      var listeners = Listeners(options: options)
      do {
        try listeners.openAll()
        return listeners
      } catch {
        listeners.close()
        let isChosen = options.addresses.contains { $0.endpoint.port == 0 }
        guard isChosen, error.error.isAddressInUse, attempt < attemptCountMax else { throw error }
        attempt += 1
      }
    }
  }

  private init(options: SocketOptions) { self.options = options }

  /// Closes all sockets.
  func close() {
    for stream in streams { Syscalls.close(stream.descriptor) }
    for port in datagrams { Syscalls.close(port.descriptor) }
  }

  /// The port of all sockets that were asked to share one; 0 before the first is open.
  private var port: UInt16 { (streams.first?.endpoint ?? datagrams.first?.endpoint)?.port ?? 0 }

  private mutating func openAll() throws(ListenError) {
    var missing: ListenError?
    for address in options.addresses {
      do {
        try open(address.endpoint)
      } catch {
        guard address.isOptional, error.error.isUnreachable else { throw error }
        missing = error
      }
    }
    if let missing, streams.isEmpty, datagrams.isEmpty { throw missing }
  }

  private mutating func open(_ wanted: Endpoint) throws(ListenError) {
    var endpoint = wanted
    if options.acceptsStreams {
      if wanted.port == 0 { endpoint.port = port }
      do {
        streams.append(try openStream(endpoint))
      } catch {
        throw ListenError(endpoint: endpoint, medium: "tcp", error: error)
      }
    }
    if options.acceptsDatagrams {
      if wanted.port == 0 { endpoint.port = port }
      do {
        datagrams.append(try openDatagram(endpoint))
      } catch {
        throw ListenError(endpoint: endpoint, medium: "udp", error: error)
      }
    }
  }

  /// Options set on a listening socket are those of the connections accepted from it.
  private func openStream(_ endpoint: Endpoint) throws(SystemError) -> StreamListener {
    let socket = try Syscalls.socket(family: endpoint.family, datagram: false)
    try Syscalls.set(socket.raw, SOL_SOCKET, SO_REUSEADDR, 1)
    if !endpoint.isIPv4 { try Syscalls.set(socket.raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    try Syscalls.prepareStream(socket.raw, keepaliveIdle: options.keepaliveIdle)
    try Syscalls.bind(socket.raw, to: SocketAddress(endpoint))
    try Syscalls.listen(socket.raw, backlog: options.backlogCountMax)
    let bound = try Syscalls.localAddress(of: socket.raw).endpoint ?? endpoint
    return StreamListener(descriptor: socket.release(), endpoint: bound)
  }

  private func openDatagram(_ endpoint: Endpoint) throws(SystemError) -> DatagramPort {
    let socket = try Syscalls.socket(family: endpoint.family, datagram: true)
    if !endpoint.isIPv4 { try Syscalls.set(socket.raw, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    Syscalls.raiseBuffers(socket.raw, to: options.datagramBufferByteCount)
    Syscalls.forbidFragments(socket.raw, isIPv4: endpoint.isIPv4)
    try Syscalls.bind(socket.raw, to: SocketAddress(endpoint))
    let bound = try Syscalls.localAddress(of: socket.raw).endpoint ?? endpoint
    let port = DatagramPort(descriptor: socket.raw, endpoint: bound)
    if port.isWildcard { try Syscalls.askForLocalAddress(socket.raw, isIPv4: bound.isIPv4) }
    return DatagramPort(descriptor: socket.release(), endpoint: bound)
  }

  /// The UDP socket of a transport that listens nowhere, for the peers it opens links to.
  static func openUnbound(_ options: SocketOptions, like endpoint: Endpoint)
    throws(SystemError) -> DatagramPort
  {
    let any = endpoint.isIPv4 ? Endpoint(ipv4: 0, port: 0) : Endpoint(high: 0, low: 0, port: 0)
    return try Listeners(options: options).openDatagram(any)
  }
}

extension Syscalls {
  /// TCP_NODELAY and keepalive, for a connection or for those a listener will accept.
  static func prepareStream(_ descriptor: Int32, keepaliveIdle: Interval) throws(SystemError) {
    let seconds = Int32(clamping: max(1, keepaliveIdle.nanos / 1_000_000_000))
    let tcp = Int32(IPPROTO_TCP)
    try set(descriptor, tcp, TCP_NODELAY, 1)
    try set(descriptor, SOL_SOCKET, SO_KEEPALIVE, 1)
    try set(descriptor, tcp, TCP_KEEPIDLE, seconds)
    try set(descriptor, tcp, TCP_KEEPINTVL, max(1, seconds / 3))
    try set(descriptor, tcp, TCP_KEEPCNT, 3)
  }

  /// Makes both buffers as large as the kernel allows, up to `byteCount`.
  static func raiseBuffers(_ descriptor: Int32, to byteCount: Int32) {
    // The FORCE forms need CAP_NET_ADMIN; the others are cut at net.core.rmem_max and wmem_max.
    if (try? set(descriptor, SOL_SOCKET, SO_RCVBUFFORCE, byteCount)) == nil {
      try? set(descriptor, SOL_SOCKET, SO_RCVBUF, byteCount)
    }
    if (try? set(descriptor, SOL_SOCKET, SO_SNDBUFFORCE, byteCount)) == nil {
      try? set(descriptor, SOL_SOCKET, SO_SNDBUF, byteCount)
    }
  }

  /// Has datagrams travel whole or not at all: ours are small enough for any path, a lost fragment
  /// would cost the whole, and the kernel need not number what is never cut (3 % of a reply).
  static func forbidFragments(_ descriptor: Int32, isIPv4: Bool) {
    if isIPv4 {
      try? set(descriptor, Int32(IPPROTO_IP), IP_MTU_DISCOVER, IP_PMTUDISC_PROBE)
    } else {
      try? set(descriptor, Int32(IPPROTO_IPV6), IPV6_MTU_DISCOVER, IPV6_PMTUDISC_PROBE)
    }
  }

  /// Has each datagram say which of our addresses it came to.
  static func askForLocalAddress(_ descriptor: Int32, isIPv4: Bool) throws(SystemError) {
    if isIPv4 {
      try set(descriptor, Int32(IPPROTO_IP), IP_PKTINFO, 1)
    } else {
      try set(descriptor, Int32(IPPROTO_IPV6), IPV6_RECVPKTINFO, 1)
    }
  }
}
