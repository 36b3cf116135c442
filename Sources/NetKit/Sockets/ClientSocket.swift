public import Base
internal import Glibc

/// Why a blocking socket operation ended without its result.
public enum SocketError: Error, Hashable, Sendable {
  /// The deadline came first.
  case timedOut
  /// The other side closed the connection.
  case ended
  /// A system call failed, among them refused and reset connections.
  case failed(SystemError)
}

extension SocketError: CustomStringConvertible {
  /// One phrase for messages to a person.
  public var description: String {
    switch self {
    case .timedOut: "timed out"
    case .ended: "connection closed by the server"
    case .failed(let error): error.reason
    }
  }
}

/// A TCP connection of a client: blocking calls, each with a deadline on the monotonic clock.
///
/// Used by one thread at a time. Closed when it goes out of scope.
public struct StreamSocket: ~Copyable {
  private let descriptor: Descriptor
  /// The bytes that the kernel has taken so far. Zero means: the other side has certainly seen
  /// none.
  public private(set) var sentByteCount = 0

  /// Connects, with TCP_NODELAY set.
  public init(connecting endpoint: Endpoint, until deadline: Instant) throws(SocketError) {
    let descriptor = try openSocket(endpoint.family, datagram: false)
    var code = Syscalls.connect(descriptor.raw, to: SocketAddress(endpoint))
    if code == EINPROGRESS {
      try wait(descriptor.raw, for: POLLOUT, until: deadline)
      code = Syscalls.pendingError(of: descriptor.raw)
    }
    if code != 0 { throw .failed(SystemError("connect", code: code)) }
    try? Syscalls.set(descriptor.raw, Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    self.descriptor = descriptor
  }

  /// Sends all bytes. After an error `sentByteCount` says how far it came.
  public mutating func send(_ bytes: UnsafeRawBufferPointer, until deadline: Instant)
    throws(SocketError)
  {
    var rest = bytes
    while !rest.isEmpty {
      let result = Syscalls.send(descriptor.raw, rest)
      if result >= 0 {
        sentByteCount += result
        rest = UnsafeRawBufferPointer(rebasing: rest[result...])
      } else if result == -Int(EAGAIN) {
        try wait(descriptor.raw, for: POLLOUT, until: deadline)
      } else {
        throw .failed(SystemError("send", code: Int32(-result)))
      }
    }
  }

  /// Appends at least one and at most `byteCountMax` bytes to `buffer`; waits for the first.
  ///
  /// Throws `.ended` when the other side has closed and everything was read.
  public mutating func receive(
    into buffer: inout ByteBuffer, byteCountMax: Int = 64 << 10, until deadline: Instant
  ) throws(SocketError) {
    let before = buffer.count
    while true {
      let place = buffer.extend(byteCountMax)
      let result = Syscalls.receive(descriptor.raw, into: place, byteCountMax)
      buffer.truncate(to: before + max(result, 0))
      if result > 0 { return }
      if result == 0 { throw .ended }
      if result != -Int(EAGAIN) { throw .failed(SystemError("recv", code: Int32(-result))) }
      try wait(descriptor.raw, for: POLLIN, until: deadline)
    }
  }

  /// Says that nothing more will be sent; what comes back can still be received.
  public mutating func finishSending() { _ = shutdown(descriptor.raw, Int32(SHUT_WR)) }
}

/// A UDP socket of a client, connected to one server, so that an ICMP refusal is seen
/// (`.failed` with `isRefused`) and datagrams of others are not.
///
/// Used by one thread at a time. Closed when it goes out of scope.
public struct DatagramSocket: ~Copyable {
  private let descriptor: Descriptor

  /// Opens the socket; nothing is sent.
  public init(connecting endpoint: Endpoint) throws(SocketError) {
    let descriptor = try openSocket(endpoint.family, datagram: true)
    try? Syscalls.set(descriptor.raw, SOL_SOCKET, SO_RCVBUF, 4 << 20)
    let code = Syscalls.connect(descriptor.raw, to: SocketAddress(endpoint))
    if code != 0 { throw .failed(SystemError("connect", code: code)) }
    self.descriptor = descriptor
  }

  /// Sends one datagram. A full send queue drops it silently, as the network may.
  public mutating func send(_ datagram: UnsafeRawBufferPointer) throws(SocketError) {
    let result = Syscalls.send(descriptor.raw, datagram)
    if result >= 0 || result == -Int(EAGAIN) || result == -Int(ENOBUFS) { return }
    throw .failed(SystemError("send", code: Int32(-result)))
  }

  /// Replaces the contents of `buffer` by the next datagram; false when the deadline came first.
  ///
  /// A deadline in the past takes only what is already there.
  public mutating func receive(into buffer: inout ByteBuffer, until deadline: Instant)
    throws(SocketError) -> Bool
  {
    while true {
      buffer.removeAll()
      let place = buffer.extend(Self.datagramByteCountMax)
      let result = Syscalls.receive(descriptor.raw, into: place, Self.datagramByteCountMax)
      buffer.truncate(to: max(result, 0))
      if result >= 0 { return true }
      if result != -Int(EAGAIN) { throw .failed(SystemError("recv", code: Int32(-result))) }
      do {
        try wait(descriptor.raw, for: POLLIN, until: deadline)
      } catch .timedOut {
        return false
      }
    }
  }

  /// The largest datagram that IP can carry.
  public static var datagramByteCountMax: Int { 65_535 }
}

// MARK: Parts

private func openSocket(_ family: Int32, datagram: Bool) throws(SocketError) -> Descriptor {
  do {
    return try Syscalls.socket(family: family, datagram: datagram)
  } catch {
    throw .failed(error)
  }
}

/// Waits until the descriptor is ready, or throws `.timedOut` at the deadline.
private func wait(_ descriptor: Int32, for events: Int32, until deadline: Instant)
  throws(SocketError)
{
  while true {
    let left = deadline - systemInstant()
    let millis = min((left.nanos + 999_999) / 1_000_000, UInt64(Int32.max))
    do {
      if try Syscalls.poll(descriptor, for: events, millis: Int32(millis)) { return }
    } catch {
      throw .failed(error)
    }
    if deadline <= systemInstant() { throw .timedOut }
  }
}
