internal import Base
internal import CLinux
internal import Glibc

/// Memory for 64 datagrams a system call, allocated once: `recvmmsg` in, `sendmmsg` out.
///
/// Also knows which of our addresses each correspondent used, where there is a choice, since an
/// answer from another address is no answer.
struct DatagramBatch: ~Copyable {
  /// Datagrams received or sent by one system call at most.
  static var countMax: Int { 64 }

  /// The largest datagram that IP carries, and a little more, so that the fronts of the datagrams
  /// don't all fall on the same lines of the cache. Memory that nothing was received into is never
  /// touched.
  private static var stride: Int { (64 << 10) + 192 }

  /// Each way has its own: a turn may end, and send, before all that was received is given out.
  private let incoming = DatagramHeaders()
  private let outgoing = DatagramHeaders()
  private let arena: UnsafeMutableRawPointer

  /// Received datagrams not given out yet: first <= end <= countMax.
  private var first = 0
  private var end = 0
  private var portIndex = 0
  private var routes: RouteTable?

  init() {
    arena = .allocate(byteCount: Self.countMax * Self.stride, alignment: 16)
  }

  deinit { arena.deallocate() }

  /// From now on remembers by which of our addresses each correspondent reaches us.
  mutating func keepRoutes() {
    if routes == nil { routes = RouteTable() }
  }

  // MARK: In

  /// True when all received datagrams were given out.
  var isEmpty: Bool { first == end }

  /// Receives what waits at a port: how many datagrams there are. `isEmpty` before.
  mutating func receive(from port: DatagramPort, index: Int) -> Int {
    invariant(isEmpty, "a batch is given out before the next is received")
    first = 0
    end = 0
    portIndex = index
    for index in 0..<Self.countMax { prepareToReceive(index, control: port.isWildcard) }
    while true {
      let count = cl_recvmmsg(
        port.descriptor, incoming.messages, UInt32(Self.countMax), Int32(MSG_DONTWAIT), nil)
      if count >= 0 {
        end = Int(count)
        return end
      }
      // EAGAIN: empty. Anything else is an error left by an earlier datagram, cleared by this call.
      if errno == EAGAIN { return 0 }
    }
  }

  private func prepareToReceive(_ index: Int, control wantsControl: Bool) {
    incoming.vectors[index] = iovec(iov_base: arena + index * Self.stride, iov_len: 64 << 10)
    incoming.messages[index].msg_hdr = msghdr(
      msg_name: incoming.names + index, msg_namelen: UInt32(MemoryLayout<sockaddr_in6>.size),
      msg_iov: incoming.vectors + index, msg_iovlen: 1,
      msg_control: wantsControl ? incoming.control(index) : nil,
      msg_controllen: wantsControl ? DatagramHeaders.controlByteCount : 0, msg_flags: 0)
  }

  /// The next received datagram and where it came from; its bytes stay until the next `receive`.
  mutating func next() -> (UnsafeRawBufferPointer, Endpoint)? {
    while first < end {
      let index = first
      first += 1
      guard let source = Endpoint(socketAddress: incoming.names + index) else { continue }
      if routes != nil {
        let local = LocalAddress(control: incoming.messages[index].msg_hdr)
        routes!.store(Route(remote: source, port: portIndex, local: local))
      }
      let bytes = UnsafeRawBufferPointer(
        start: arena + index * Self.stride, count: Int(incoming.messages[index].msg_len))
      return (bytes, source)
    }
    return nil
  }

  // MARK: Out

  /// Sends all datagrams; answers how many the kernel took. The others are lost, as they may be.
  mutating func send(_ datagrams: borrowing OutgoingDatagrams, through ports: [DatagramPort]) -> Int
  {
    var sent = 0
    var filled = 0
    var current = -1
    for index in 0..<datagrams.count {
      let entry = datagrams[index]
      let route = route(to: entry.endpoint, ports)
      guard route.port >= 0 else { continue }
      if filled == Self.countMax || (filled > 0 && route.port != current) {
        sent += sendBatch(filled, through: ports[current].descriptor)
        filled = 0
      }
      current = route.port
      prepareToSend(filled, datagrams.bytes(of: entry), route)
      filled += 1
    }
    if filled > 0 { sent += sendBatch(filled, through: ports[current].descriptor) }
    return sent
  }

  /// The way the correspondent came, or the likeliest; port -1 when there is none.
  private func route(to remote: Endpoint, _ ports: [DatagramPort]) -> Route {
    if ports.count == 1, routes == nil {
      let fits = ports[0].endpoint.isIPv4 == remote.isIPv4
      return Route(remote: remote, port: fits ? 0 : -1, local: nil)
    }
    if let known = routes?.find(remote) { return known }
    var best = -1
    for (index, port) in ports.enumerated() where port.endpoint.isIPv4 == remote.isIPv4 {
      let fits = port.isWildcard || port.endpoint.isLoopback == remote.isLoopback
      if best < 0 || fits { best = index }
      if fits { break }
    }
    return Route(remote: remote, port: best, local: nil)
  }

  private func prepareToSend(_ index: Int, _ bytes: UnsafeRawBufferPointer, _ route: Route) {
    let address = SocketAddress(route.remote)
    outgoing.names[index] = address.storage
    outgoing.vectors[index] = iovec(
      iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
    let place = outgoing.control(index)
    let controlByteCount = route.local?.write(to: place) ?? 0
    outgoing.messages[index].msg_hdr = msghdr(
      msg_name: outgoing.names + index, msg_namelen: address.length,
      msg_iov: outgoing.vectors + index,
      msg_iovlen: 1, msg_control: controlByteCount > 0 ? place : nil,
      msg_controllen: controlByteCount, msg_flags: 0)
  }

  /// Sends the first `count` prepared datagrams; skips one that the kernel refuses.
  private func sendBatch(_ count: Int, through descriptor: Int32) -> Int {
    var sent = 0
    var next = 0
    while next < count {
      let result = cl_sendmmsg(
        descriptor, outgoing.messages + next, UInt32(count - next),
        Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL))
      if result > 0 {
        sent += Int(result)
        next += Int(result)
      } else if result == 0 || errno == EAGAIN || errno == ENOBUFS {
        return sent
      } else if errno != EINTR {
        next += 1
      }
    }
    return sent
  }
}

/// What the kernel is told of 64 datagrams: where their bytes and their addresses are.
struct DatagramHeaders: ~Copyable {
  static var controlByteCount: Int { 64 }

  let messages: UnsafeMutablePointer<cl_mmsghdr>
  let vectors: UnsafeMutablePointer<iovec>
  let names: UnsafeMutablePointer<sockaddr_in6>
  private let controls: UnsafeMutableRawPointer

  init() {
    let count = DatagramBatch.countMax
    messages = .allocate(capacity: count)
    messages.initialize(repeating: cl_mmsghdr(), count: count)
    vectors = .allocate(capacity: count)
    vectors.initialize(repeating: iovec(), count: count)
    names = .allocate(capacity: count)
    names.initialize(repeating: sockaddr_in6(), count: count)
    controls = .allocate(byteCount: count * Self.controlByteCount, alignment: 16)
  }

  deinit {
    messages.deallocate()
    vectors.deallocate()
    names.deallocate()
    controls.deallocate()
  }

  /// Where the control data of a datagram stands.
  func control(_ index: Int) -> UnsafeMutableRawPointer {
    controls + index * Self.controlByteCount
  }
}
