import CLinux
import Glibc

/// The monotonic clock in nanoseconds.
@inline(__always)
func clockNanos() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
}

/// Writes a sentence to standard error.
func complain(_ sentence: String) {
  let line = Array("loadgen: \(sentence)\n".utf8)
  _ = write(2, line, line.count)
}

/// Ends the process with a sentence; the generator has nothing to save.
func stop(_ sentence: String) -> Never {
  complain(sentence)
  exit(1)
}

/// Ends the process naming the call that failed.
func stop(call: String) -> Never { stop("\(call): \(String(cString: strerror(errno)))") }

/// A connected, non-blocking socket.
func openSocket(_ type: __socket_type, _ options: LoadOptions) -> Int32 {
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = UInt16(options.port).bigEndian
  guard inet_pton(AF_INET, options.host, &address.sin_addr) == 1 else {
    stop("--host must be an IPv4 address, not \"\(options.host)\"")
  }
  let descriptor = socket(AF_INET, Int32(type.rawValue), 0)
  guard descriptor >= 0 else { stop(call: "socket") }
  let size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let result = withUnsafePointer(to: &address) { pointer in
    pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { connect(descriptor, $0, size) }
  }
  guard result == 0 else { stop(call: "connect \(options.host):\(options.port)") }
  guard fcntl(descriptor, F_SETFL, O_NONBLOCK) == 0 else { stop(call: "fcntl") }
  return descriptor
}

/// Sets an integer option; refusals are ignored, they cost speed only.
func setOption(_ descriptor: Int32, level: Int32, name: Int32, to value: Int32) {
  var value = value
  setsockopt(descriptor, level, name, &value, socklen_t(MemoryLayout<Int32>.size))
}

/// Readiness of the generator's sockets, by the index that each was added under.
struct Readiness: ~Copyable {
  private let descriptor: Int32
  private let events: UnsafeMutablePointer<epoll_event>
  private static var eventCountMax: Int { 256 }

  init() {
    descriptor = epoll_create1(0)
    guard descriptor >= 0 else { stop(call: "epoll_create1") }
    events = .allocate(capacity: Self.eventCountMax)
  }

  deinit {
    close(descriptor)
    events.deallocate()
  }

  func add(_ socket: Int32, as index: Int) { control(EPOLL_CTL_ADD, socket, index, writing: false) }

  /// Also asks for room to write, or no longer.
  func setWriting(_ writing: Bool, _ socket: Int32, as index: Int) {
    control(EPOLL_CTL_MOD, socket, index, writing: writing)
  }

  /// Waits; returns how many sockets are ready.
  func wait(millis: Int32) -> Int {
    let count = epoll_wait(descriptor, events, Int32(Self.eventCountMax), millis)
    if count < 0, errno != EINTR { stop(call: "epoll_wait") }
    return max(0, Int(count))
  }

  func index(_ place: Int) -> Int { Int(events[place].data.u64) }

  private func control(_ verb: Int32, _ socket: Int32, _ index: Int, writing: Bool) {
    var event = epoll_event()
    event.events = EPOLLIN.rawValue | (writing ? EPOLLOUT.rawValue : 0)
    event.data.u64 = UInt64(index)
    guard epoll_ctl(descriptor, verb, socket, &event) == 0 else { stop(call: "epoll_ctl") }
  }
}
