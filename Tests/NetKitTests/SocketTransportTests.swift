import Base
import Testing

@testable import NetKit

@Suite(.serialized) struct SocketTransportTests {
  @Test func `a client gets back what it sent`() throws {
    var loop = try SocketLoop(.echo)
    var client = try dial(loop)
    for text in ["a", "*1\r\n$4\r\nPING\r\n", String(repeating: "x", count: 200_000)] {
      let before = loop.transport.counters.bytesReceived
      try client.send(text)
      #expect(
        loop.turn { $0.transport.counters.bytesReceived == before + UInt64(text.utf8.count) })
      #expect(try client.receive(text.utf8.count) == text)
    }
    #expect(loop.openedLinks.count == 1)
    #expect(loop.transport.counters.accepted == 1)
  }

  @Test func `port 0 becomes one port for TCP and UDP and all addresses`() throws {
    let loop = try SocketLoop(.listen) {
      $0.addresses.append(ListenAddress(Endpoint(high: 0, low: 1, port: 0), isOptional: true))
    }
    #expect(loop.transport.port != 0)
    let all = loop.transport.streamEndpoints + loop.transport.datagramEndpoints
    #expect(all.allSatisfy { $0.port == loop.transport.port })
    #expect(all.count >= 2)
  }

  @Test func `a taken address is an error that names it`() throws {
    let loop = try SocketLoop(.listen)
    var options = SocketOptions()
    options.addresses = [ListenAddress(loop.endpoint)]
    do {
      let second = try SocketTransport(options)
      Issue.record("listening on \(second.port) twice")
    } catch {
      #expect(error.endpoint == loop.endpoint)
      #expect(error.error.isAddressInUse)
    }
  }

  @Test func `IPv6 works like IPv4`() throws {
    let loopback = Endpoint(high: 0, low: 1, port: 0)
    var loop = try SocketLoop(.echo) { $0.addresses = [ListenAddress(loopback, isOptional: false)] }
    let endpoint = Endpoint(high: 0, low: 1, port: loop.transport.port)
    var client = try StreamSocket(connecting: endpoint, until: systemInstant() + .seconds(5))
    try client.send("six")
    #expect(loop.turn { $0.transport.counters.bytesSent == 3 })
    #expect(try client.receive(3) == "six")
    guard case .opened(_, .stream, let peer) = loop.events.first else {
      Issue.record("\(loop.events)")
      return
    }
    #expect(peer.isLoopback && !peer.isIPv4)
  }

  @Test func `a client that has finished sending still gets its replies`() throws {
    var loop = try SocketLoop(.listen)
    var client = try dial(loop)
    try client.send("last words")
    client.finishSending()
    #expect(loop.turn { $0.endedCount == 1 })
    let link = loop.openedLinks[0]
    #expect(loop.received[link] == Array("last words".utf8))
    #expect(loop.ends.isEmpty)
    _ = loop.send("answer", on: link)
    loop.transport.close(link, afterFlush: true, at: loop.now)
    loop.turn()
    #expect(client.receiveRest() == "answer")
    #expect(loop.ends == [.closed])
    #expect(loop.transport.connectionCount == 0)
  }

  @Test func `closing after the last reply does not take the reply away`() throws {
    var loop = try SocketLoop(.listen)
    var client = try dial(loop)
    try client.send("one")
    #expect(loop.turn { !$0.received.isEmpty })
    let link = loop.openedLinks[0]
    try client.send("two, never read by the server")
    _ = loop.send("bye", on: link)
    loop.transport.close(link, afterFlush: true, at: loop.now)
    loop.turn(millis: 1)
    #expect(loop.ends == [.closed])
    #expect(loop.send("more", on: link).isGone)
    #expect(client.receiveRest() == "bye")
    client.finishSending()
    #expect(loop.turn { $0.transport.connectionCount == 0 })
  }

  @Test func `a client that goes away is reported once`() throws {
    var loop = try SocketLoop(.listen)
    do {
      var client = try dial(loop)
      try client.send("x")
      #expect(loop.turn { !$0.received.isEmpty })
      // Unread input makes the kernel send a reset at the close.
      _ = loop.send("unread", on: loop.openedLinks[0])
      loop.turn()
    }
    #expect(loop.turn { $0.endedCount + $0.ends.count > 0 })
    let link = loop.openedLinks[0]
    loop.transport.close(link, afterFlush: true, at: loop.now)
    #expect(loop.turn { $0.transport.connectionCount == 0 })
    #expect(loop.ends.count == 1)
    #expect(loop.send("late", on: link).isGone)
    #expect(loop.transport.pendingByteCount(of: link) == 0)
  }

  @Test func `output that the client does not take waits and then drains`() throws {
    var loop = try SocketLoop(.listen)
    var client = try dial(loop)
    try client.send("go")
    #expect(loop.turn { !$0.received.isEmpty })
    let link = loop.openedLinks[0]
    let text = String(repeating: "0123456789", count: 100_000)
    for _ in 0..<16 { #expect(loop.send(text, on: link).isQueued) }
    let pending = loop.transport.pendingByteCount(of: link)
    #expect(pending > 0)
    #expect(loop.transport.pendingOutputByteCount == pending)
    var taken = ""
    while loop.transport.pendingByteCount(of: link) > 0 {
      taken += try client.receive(100_000)
      loop.turn()
    }
    taken += try client.receive(16 * text.utf8.count - taken.utf8.count)
    #expect(taken == String(repeating: text, count: 16))
    #expect(loop.drainedCount == 1)
    #expect(loop.transport.pendingOutputByteCount == 0)
  }

  @Test func `a link with too much pending output is not read until it drains`() throws {
    var loop = try SocketLoop(.listen) { $0.linkOutputByteCountMax = 1 << 20 }
    var client = try dial(loop)
    try client.send("go")
    #expect(loop.turn { !$0.received.isEmpty })
    let link = loop.openedLinks[0]
    let text = String(repeating: "x", count: 16 << 20)
    #expect(loop.send(text, on: link).isQueued)
    try client.send("unheard")
    for _ in 0..<20 { loop.turn(millis: 1) }
    #expect(loop.received[link] == Array("go".utf8))
    var left = text.utf8.count
    while left > 0 {
      left -= try client.receive(min(left, 1 << 20)).utf8.count
      loop.turn()
    }
    #expect(loop.turn { $0.received[link] == Array("gounheard".utf8) })
  }

  @Test func `above the bound of all output the worst link is closed`() throws {
    var loop = try SocketLoop(.listen) { $0.outputByteCountMax = 24 << 20 }
    var first = try dial(loop)
    var second = try dial(loop)
    try first.send("1")
    #expect(loop.turn { $0.received.count == 1 })
    try second.send("2")
    #expect(loop.turn { $0.received.count == 2 })
    let (a, b) = (loop.openedLinks[0], loop.openedLinks[1])
    #expect(loop.send(String(repeating: "a", count: 20 << 20), on: a).isQueued)
    #expect(loop.send(String(repeating: "b", count: 12 << 20), on: b).isQueued)
    loop.turn()
    #expect(loop.ends == [.overflow])
    #expect(loop.send("more", on: a).isGone)
    #expect(loop.transport.counters.closedByOverflow == 1)
    #expect(loop.send(String(repeating: "b", count: 32 << 20), on: b).isGone)
    #expect(loop.transport.pendingOutputByteCount == 0)
  }

  @Test func `reading can be stopped and resumed`() throws {
    var loop = try SocketLoop(.listen)
    var client = try dial(loop)
    try client.send("a")
    #expect(loop.turn { !$0.received.isEmpty })
    let link = loop.openedLinks[0]
    loop.transport.setReading(false, on: link)
    try client.send("b")
    for _ in 0..<5 { loop.turn(millis: 1) }
    #expect(loop.received[link] == Array("a".utf8))
    loop.transport.setReading(true, on: link)
    #expect(loop.turn { $0.received[link] == Array("ab".utf8) })
  }

  @Test func `a thousand connections are all served`() throws {
    var loop = try SocketLoop(.echo)
    var clients = ClientPool()
    for index in 0..<1_000 {
      clients.add(try dial(loop))
      try clients.send("client \(index)", index)
      if index % 100 == 0 { loop.turn() }
    }
    let sent = (0..<1_000).reduce(0) { $0 + "client \($1)".utf8.count }
    #expect(loop.turn { $0.transport.counters.bytesSent == UInt64(sent) })
    for index in 0..<1_000 {
      #expect(try clients.receive("client \(index)".utf8.count, index) == "client \(index)")
    }
    #expect(loop.openedLinks.count == 1_000)
    #expect(Set(loop.openedLinks).count == 1_000)
  }

  @Test func `a connection above the limit is told so and closed`() throws {
    var loop = try SocketLoop(.echo) { $0.connectionCountMax = 1 }
    var first = try dial(loop)
    try first.send("x")
    #expect(loop.turn { !$0.received.isEmpty })
    var second = try dial(loop)
    #expect(loop.turn { $0.transport.counters.refused == 1 })
    #expect(second.receiveRest() == "-ERR max number of clients reached\r\n")
    try first.send("y")
    #expect(try loop.turn { $0.messages.count == 2 } && first.receive(2) == "xy")
  }

  @Test func `clients cannot take the places that are kept for other nodes`() throws {
    var loop = try SocketLoop(.echo) {
      $0.connectionCountMax = 1
      $0.peerConnectionCountMax = 1
      $0.spareTimeout = .millis(40)
    }
    var first = try dial(loop)
    try first.send("x")
    #expect(loop.turn { !$0.received.isEmpty })
    var second = try dial(loop)
    try second.send("PING\r\n")
    #expect(loop.turn { $0.transport.counters.refused == 1 })
    #expect(second.receiveRest() == "-ERR max number of clients reached\r\n")
    #expect(loop.turn { $0.transport.connectionCount == 1 })
    var silent = try dial(loop)
    #expect(loop.turn { $0.transport.counters.refused == 2 })
    #expect(silent.receiveRest() == "-ERR max number of clients reached\r\n")
    var node = try StreamSocket(connecting: loop.endpoint, until: systemInstant() + .seconds(5))
    var bytes = ByteBuffer()
    bytes.append(Frame.firstByte)
    try node.send(bytes.bytes, until: systemInstant() + .seconds(5))
    #expect(loop.turn { $0.openedLinks.count == 2 })
    #expect(loop.transport.peerLinkCount == 1 && loop.ends.isEmpty)
    node.finishSending()
    #expect(loop.turn { $0.transport.peerLinkCount == 0 })
  }

  @Test func `a connection that begins with TLS is closed with a line in the log`() throws {
    var loop = try SocketLoop(.echo)
    let lines = Lines()
    loop.transport.report = { lines.all.append($0) }
    var client = try dial(loop)
    try client.send("\u{16}\u{3}\u{1}")
    #expect(loop.turn { $0.transport.counters.tlsHellos == 1 })
    #expect(client.receiveRest() == "")
    #expect(loop.events.isEmpty)
    #expect(lines.all.count == 1 && lines.all[0].contains("TLS"))
  }

  @Test func `a connection that takes nothing of its output is closed in time`() throws {
    var loop = try SocketLoop(.listen) { $0.writeTimeout = .millis(40) }
    var client = try dial(loop)
    try client.send("x")
    #expect(loop.turn { !$0.received.isEmpty })
    #expect(loop.send(String(repeating: "y", count: 16 << 20), on: loop.openedLinks[0]).isQueued)
    #expect(loop.turn { $0.ends == [.timeout] })
    #expect(loop.transport.pendingOutputByteCount == 0)
    #expect(loop.transport.counters.closedByTimeout == 1)
    #expect(loop.turn { $0.transport.deadline == .never })
  }

  @Test func `idle and silent connections are closed where that is asked for`() throws {
    var loop = try SocketLoop(.listen) {
      $0.idleTimeout = .millis(60)
      $0.firstByteTimeout = .millis(20)
    }
    var idle = try dial(loop)
    try idle.send("x")
    var silent = try dial(loop)
    #expect(loop.turn { $0.openedLinks.count == 1 && $0.transport.connectionCount == 2 })
    #expect(loop.turn { $0.transport.connectionCount == 0 })
    #expect(loop.ends == [.timeout])
    #expect(silent.receiveRest() == "" && idle.receiveRest() == "")
  }

  @Test func `without timeouts a transport with idle connections waits for nothing`() throws {
    var loop = try SocketLoop(.echo)
    var client = try dial(loop)
    try client.send("x")
    #expect(loop.turn { !$0.received.isEmpty })
    #expect(loop.transport.deadline == .never)
  }

  @Test func `one busy connection does not keep another waiting`() throws {
    var loop = try SocketLoop(.listen)
    var busy = try dial(loop)
    var quiet = try dial(loop)
    try busy.send(String(repeating: "b", count: 1 << 20))
    try quiet.send("q")
    loop.turn(millis: 1)
    loop.turn(millis: 1)
    let quietLink = loop.openedLinks.first { loop.received[$0] == [UInt8(ascii: "q")] }
    #expect(quietLink != nil)
    #expect(loop.received.values.allSatisfy { $0.count <= 4 * SocketTransport.readByteCountMax })
    #expect(loop.turn { $0.transport.counters.bytesReceived == 1 << 20 + 1 })
  }

  @Test func `the waker ends a wait`() throws {
    var loop = try SocketLoop(.listen)
    let wake = loop.transport.waker
    for _ in 0..<3 {
      wake()
      let before = systemInstant()
      loop.turn(millis: 5_000)
      #expect(systemInstant() - before < .seconds(4))
    }
    let before = systemInstant()
    loop.turn(millis: 2)
    #expect(systemInstant() - before >= .millis(2))
  }

  @Test func `after the end of listening nobody comes in and who is there stays`() throws {
    var loop = try SocketLoop(.echo)
    var client = try dial(loop)
    try client.send("a")
    #expect(loop.turn { !$0.received.isEmpty })
    let endpoint = loop.endpoint
    var silent = try dial(loop)
    #expect(loop.turn { $0.transport.connectionCount == 2 })
    loop.transport.stopListening()
    #expect(silent.receiveRest() == "")
    #expect(throws: SocketError.self) {
      _ = try StreamSocket(connecting: endpoint, until: systemInstant() + .seconds(5))
    }
    try client.send("b")
    #expect(try loop.turn { $0.messages.count == 2 } && client.receive(2) == "ab")
  }
}

/// Client sockets by number.
struct ClientPool: ~Copyable {
  private var sockets = UnsafeMutablePointer<StreamSocket>.allocate(capacity: 1_000)
  private var count = 0

  deinit {
    sockets.deinitialize(count: count)
    sockets.deallocate()
  }

  mutating func add(_ socket: consuming StreamSocket) {
    (sockets + count).initialize(to: socket)
    count += 1
  }

  mutating func send(_ text: String, _ index: Int) throws { try sockets[index].send(text) }
  mutating func receive(_ size: Int, _ index: Int) throws -> String {
    try sockets[index].receive(size)
  }
}

/// Lines that a closure wrote down.
final class Lines { var all: [String] = [] }

extension SendOutcome {
  var isQueued: Bool { if case .queued = self { true } else { false } }
  var isGone: Bool { if case .gone = self { true } else { false } }
  var isTooLarge: Bool { if case .tooLarge = self { true } else { false } }
}
