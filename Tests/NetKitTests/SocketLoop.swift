import Base
import Testing

@testable import NetKit

/// A socket transport on loopback with what it told, turned by hand: several fit one thread.
struct SocketLoop: ~Copyable {
  /// What the loop does with the events it gets.
  enum Manner {
    /// Sends back what streams and peers send.
    case echo
    /// Only writes down.
    case listen
  }

  var transport: SocketTransport
  var manner: Manner
  var events: [TransportEvent] = []
  /// The bytes received, link by link.
  var received: [LinkID: [UInt8]] = [:]
  /// The messages received, in order.
  var messages: [[UInt8]] = []
  var now = systemMoment()
  private var buffer = ByteBuffer()

  init(_ manner: Manner, _ configure: (inout SocketOptions) -> Void = { _ in }) throws {
    var options = SocketOptions()
    options.addresses = [ListenAddress(Endpoint(ipv4: 0x7F00_0001, port: 0))]
    configure(&options)
    transport = try SocketTransport(options)
    self.manner = manner
  }

  var endpoint: Endpoint { Endpoint(ipv4: 0x7F00_0001, port: transport.port) }

  /// One turn; waits `millis` for something to happen.
  mutating func turn(millis: UInt64 = 0) {
    now = transport.wait(until: systemInstant() + .millis(millis))
    while let event = transport.next(into: &buffer, at: now) {
      events.append(event)
      guard case .received(let link) = event else { continue }
      messages.append(Array(buffer.bytes))
      received[link, default: []] += Array(buffer.bytes)
      if manner == .echo { _ = transport.send(buffer.bytes, on: link, at: now) }
    }
    transport.flush(at: now)
  }

  /// Turns until `isDone`, or for five seconds at most; false when time was up.
  mutating func turn(until isDone: (borrowing SocketLoop) -> Bool) -> Bool {
    let limit = systemInstant() + .seconds(5)
    while !isDone(self) {
      if systemInstant() > limit { return false }
      turn(millis: 1)
    }
    return true
  }

  mutating func send(_ text: String, on link: LinkID) -> SendOutcome {
    var bytes = ByteBuffer()
    bytes.append(string: text)
    return transport.send(bytes.bytes, on: link, at: now)
  }

  // MARK: What it told

  var openedLinks: [LinkID] {
    events.compactMap { if case .opened(let link, _, _) = $0 { link } else { nil } }
  }

  var ends: [LinkEnd] {
    events.compactMap { if case .closed(_, let end) = $0 { end } else { nil } }
  }

  var endedCount: Int {
    events.count { if case .ended = $0 { true } else { false } }
  }

  var drainedCount: Int {
    events.count { if case .drained = $0 { true } else { false } }
  }
}

extension StreamSocket {
  mutating func send(_ text: String) throws {
    var bytes = ByteBuffer()
    bytes.append(string: text)
    try send(bytes.bytes, until: systemInstant() + .seconds(5))
  }

  /// Reads exactly that many bytes.
  mutating func receive(_ count: Int) throws -> String {
    var bytes = ByteBuffer()
    while bytes.count < count {
      try receive(
        into: &bytes, byteCountMax: count - bytes.count, until: systemInstant() + .seconds(5))
    }
    return String(decoding: Array(bytes.bytes), as: UTF8.self)
  }

  /// Reads to the end, which may be a reset.
  mutating func receiveRest() -> String {
    var bytes = ByteBuffer()
    while (try? receive(into: &bytes, until: systemInstant() + .seconds(5))) != nil {}
    return String(decoding: Array(bytes.bytes), as: UTF8.self)
  }
}

func dial(_ loop: borrowing SocketLoop) throws -> StreamSocket {
  try StreamSocket(connecting: loop.endpoint, until: systemInstant() + .seconds(5))
}
