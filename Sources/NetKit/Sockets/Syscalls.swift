internal import CLinux
internal import Glibc

/// One thin wrapper a system call: EINTR is handled and errno is read here, nowhere else.
///
/// Calls on the hot path answer the kernel's count or the negated errno, so that "would block"
/// costs no error value; calls that open something throw.
enum Syscalls {
  /// Closes a descriptor. The result says nothing one could act on: Linux frees it in any case.
  static func close(_ descriptor: Int32) { _ = Glibc.close(descriptor) }

  /// The corresponding C function is `socket`; non-blocking and closed on exec.
  static func socket(family: Int32, datagram: Bool) throws(SystemError) -> Descriptor {
    let kind = datagram ? SOCK_DGRAM : SOCK_STREAM
    let flags = SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue
    let descriptor = Glibc.socket(family, Int32(kind.rawValue | flags), 0)
    if descriptor < 0 { throw .last("socket") }
    return Descriptor(descriptor)
  }

  /// The corresponding C function is `connect`; answers 0 or errno (EINPROGRESS while under way).
  static func connect(_ descriptor: Int32, to address: SocketAddress) -> Int32 {
    let result = address.withPointer { Glibc.connect(descriptor, $0, $1) }
    guard result < 0 else { return 0 }
    return errno == EINTR ? EINPROGRESS : errno
  }

  /// The corresponding C function is `bind`.
  static func bind(_ descriptor: Int32, to address: SocketAddress) throws(SystemError) {
    let result = address.withPointer { Glibc.bind(descriptor, $0, $1) }
    if result < 0 { throw .last("bind") }
  }

  /// The corresponding C function is `listen`.
  static func listen(_ descriptor: Int32, backlog: Int32) throws(SystemError) {
    if Glibc.listen(descriptor, backlog) < 0 { throw .last("listen") }
  }

  /// The corresponding C function is `getsockname`.
  static func localAddress(of descriptor: Int32) throws(SystemError) -> SocketAddress {
    var address = SocketAddress()
    let result = address.withMutablePointer { getsockname(descriptor, $0, $1) }
    if result < 0 { throw .last("getsockname") }
    return address
  }

  /// Accepts one connection: the descriptor, or the negated errno.
  static func accept(_ descriptor: Int32, from address: inout SocketAddress) -> Int32 {
    address = SocketAddress()
    let flags = Int32(SOCK_NONBLOCK.rawValue | SOCK_CLOEXEC.rawValue)
    while true {
      let result = address.withMutablePointer { cl_accept4(descriptor, $0, $1, flags) }
      if result >= 0 { return result }
      if errno != EINTR { return -errno }
    }
  }

  /// Reads from a socket: the count, 0 at the end, or the negated errno.
  @inline(__always)
  static func receive(_ descriptor: Int32, into place: UnsafeMutableRawPointer, _ count: Int)
    -> Int
  {
    while true {
      let result = Glibc.recv(descriptor, place, count, 0)
      if result >= 0 { return result }
      if errno != EINTR { return -Int(errno) }
    }
  }

  /// Writes to a socket without raising SIGPIPE: the count, or the negated errno.
  @inline(__always)
  static func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
    while true {
      let result = Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
      if result >= 0 { return result }
      if errno != EINTR { return -Int(errno) }
    }
  }

  /// Waits for readiness of one descriptor; true when something is there, false after `millis`.
  static func poll(_ descriptor: Int32, for events: Int32, millis: Int32) throws(SystemError)
    -> Bool
  {
    var entry = pollfd(fd: descriptor, events: Int16(events), revents: 0)
    let result = Glibc.poll(&entry, 1, millis)
    if result < 0, errno != EINTR { throw .last("poll") }
    return result > 0
  }

  /// Sets an integer socket option.
  static func set(_ descriptor: Int32, _ level: Int32, _ option: Int32, _ value: Int32)
    throws(SystemError)
  {
    var copy = value
    let size = socklen_t(MemoryLayout<Int32>.size)
    if setsockopt(descriptor, level, option, &copy, size) < 0 { throw .last("setsockopt") }
  }

  /// Reads and clears the error of a socket, 0 when there is none.
  static func pendingError(of descriptor: Int32) -> Int32 {
    var code: Int32 = 0
    var size = socklen_t(MemoryLayout<Int32>.size)
    if getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &code, &size) < 0 { return errno }
    return code
  }
}

/// A descriptor that belongs to one owner and closes itself.
struct Descriptor: ~Copyable {
  /// The number the kernel knows it by.
  let raw: Int32

  init(_ raw: Int32) { self.raw = raw }

  /// Gives the number away; its new owner closes it.
  consuming func release() -> Int32 {
    let number = raw
    discard self
    return number
  }

  deinit { Syscalls.close(raw) }
}
