import Base
import Testing

@testable import NetKit

/// A client's exchange over a real socket, turned by hand like the server.
struct DatagramClient: ~Copyable {
  private var socket: DatagramSocket
  private let endpoint: Endpoint
  private var buffer = ByteBuffer()
  private var number: UInt64 = 0

  init(_ endpoint: Endpoint) throws {
    socket = try DatagramSocket(connecting: endpoint)
    self.endpoint = endpoint
  }

  /// Asks and turns the server until the reply is there; nil when there is none within a second.
  mutating func ask(_ text: String, _ server: inout DatagramEcho) throws -> String? {
    number += 1
    var request = ByteBuffer()
    request.append(string: text)
    let now = systemInstant()
    var exchange = ClientExchange(
      request: request.bytes, id: OperationID(high: 1, low: number), change: false, to: endpoint,
      options: DatagramOptions(), seed: 1, at: now, expiry: now + .seconds(1))
    while exchange.state == .waiting {
      try sendAll(&exchange)
      server.turn()
      while try socket.receive(into: &buffer, until: .zero) {
        exchange.handle(buffer.bytes, at: systemInstant())
      }
      if exchange.deadline <= systemInstant() { exchange.wake(at: systemInstant()) }
    }
    try sendAll(&exchange)
    server.turn()
    guard exchange.state == .answered else { return nil }
    return String(decoding: Array(exchange.reply), as: UTF8.self)
  }

  private mutating func sendAll(_ exchange: inout ClientExchange) throws {
    for index in 0..<exchange.outgoing.count { try socket.send(exchange.outgoing.bytes(at: index)) }
    exchange.outgoing.removeAll()
  }

  /// Sends one bare datagram and returns what comes back within a second.
  mutating func askPlain(_ text: String, _ server: inout DatagramEcho) throws -> String? {
    var request = ByteBuffer()
    request.append(string: text)
    try socket.send(request.bytes)
    let limit = systemInstant() + .seconds(1)
    while systemInstant() < limit {
      server.turn()
      if try socket.receive(into: &buffer, until: .zero) {
        return String(decoding: Array(buffer.bytes), as: UTF8.self)
      }
    }
    return nil
  }
}

/// A transport that answers each request with what it said.
struct DatagramEcho: ~Copyable {
  var transport: SocketTransport
  private var buffer = ByteBuffer()
  /// As many requests are taken in a turn at most.
  var requestCountMax = Int.max

  init(_ addresses: [ListenAddress]) throws {
    var options = SocketOptions()
    options.addresses = addresses
    transport = try SocketTransport(options)
  }

  mutating func turn() {
    let now = transport.wait(until: systemInstant() + .millis(1))
    var left = requestCountMax
    while left > 0, let event = transport.next(into: &buffer, at: now) {
      guard case .request(let link, _, _, _) = event else { continue }
      left -= 1
      _ = transport.send(buffer.bytes, on: link, at: now)
    }
    transport.flush(at: now)
  }
}

@Suite(.serialized) struct SocketDatagramTests {
  private static let loopback4 = Endpoint(ipv4: 0x7F00_0001, port: 0)
  private static let loopback6 = Endpoint(high: 0, low: 1, port: 0)

  private static func endpoint(_ address: Endpoint, _ server: borrowing DatagramEcho) -> Endpoint {
    var endpoint = address
    endpoint.port = server.transport.port
    return endpoint
  }

  @Test(arguments: [1, 100, 16_000, 200_000, 1 << 20])
  func `a request of any size is answered`(size: Int) throws {
    var server = try DatagramEcho([ListenAddress(Self.loopback4)])
    var client = try DatagramClient(Self.endpoint(Self.loopback4, server))
    let text = String(repeating: "u", count: size)
    #expect(try client.ask(text, &server) == text)
    #expect(try client.ask("again", &server) == "again")
    #expect(server.transport.counters.datagramSendFailures == 0)
  }

  @Test func `a bare datagram is a request too`() throws {
    var server = try DatagramEcho([ListenAddress(Self.loopback4)])
    var client = try DatagramClient(Self.endpoint(Self.loopback4, server))
    #expect(try client.askPlain("GET k\r\n", &server) == "GET k\r\n")
  }

  @Test func `both families are served side by side`() throws {
    var server = try DatagramEcho([ListenAddress(Self.loopback4), ListenAddress(Self.loopback6)])
    for address in [Self.loopback4, Self.loopback6] {
      var client = try DatagramClient(Self.endpoint(address, server))
      #expect(try client.ask("hello", &server) == "hello")
    }
  }

  @Test func `the answer comes from the address that was asked`() throws {
    // A connected client socket takes datagrams from that address only.
    let any = [Endpoint(ipv4: 0, port: 0), Endpoint(high: 0, low: 0, port: 0)]
    var server = try DatagramEcho(any.map { ListenAddress($0) })
    let asked = [0x7F00_0001, 0x7F00_0002, 0x7F01_0203].map { Endpoint(ipv4: $0, port: 0) }
    for address in asked + [Self.loopback6] {
      var client = try DatagramClient(Self.endpoint(address, server))
      #expect(try client.ask("hello", &server) == "hello", "\(address)")
    }
  }

  @Test func `of several addresses of one family each answers for itself`() throws {
    let addresses = [0x7F00_0001, 0x7F00_0002, 0x7F00_0003].map { Endpoint(ipv4: $0, port: 0) }
    var server = try DatagramEcho(addresses.map { ListenAddress($0) })
    for address in addresses.reversed() {
      var client = try DatagramClient(Self.endpoint(address, server))
      #expect(try client.ask("hello", &server) == "hello", "\(address)")
    }
  }

  @Test func `a turn may answer before it has taken all that came`() throws {
    var server = try DatagramEcho([ListenAddress(Self.loopback4)])
    server.requestCountMax = 3
    var socket = try DatagramSocket(connecting: Self.endpoint(Self.loopback4, server))
    var request = ByteBuffer()
    for number in 10..<30 {
      request.removeAll()
      request.append(string: "GET \(number)\r\n")
      try socket.send(request.bytes)
    }
    var answers: [String] = []
    for _ in 0..<20 {
      server.turn()
      while try socket.receive(into: &request, until: .zero) {
        answers.append(String(decoding: Array(request.bytes), as: UTF8.self))
      }
    }
    #expect(answers == (10..<30).map { "GET \($0)\r\n" })
  }

  @Test func `a port is visited once a turn, however often something came`() throws {
    var server = try DatagramEcho([ListenAddress(Self.loopback4)])
    server.requestCountMax = 1
    var socket = try DatagramSocket(connecting: Self.endpoint(Self.loopback4, server))
    var request = ByteBuffer()
    request.append("PING\r\n")
    for _ in 0..<40 {
      for _ in 0..<5 { try socket.send(request.bytes) }
      server.turn()
      #expect(server.transport.ready.count <= 1)
    }
  }

  @Test func `more datagrams than a batch holds are all taken`() throws {
    var server = try DatagramEcho([ListenAddress(Self.loopback4)])
    var socket = try DatagramSocket(connecting: Self.endpoint(Self.loopback4, server))
    var request = ByteBuffer()
    request.append("PING\r\n")
    for _ in 0..<150 { try socket.send(request.bytes) }
    for _ in 0..<4 { server.turn() }
    #expect(server.transport.counters.datagramsReceived == 150)
    #expect(server.transport.counters.datagramsSent == 150)
    var buffer = ByteBuffer()
    for _ in 0..<150 {
      #expect(try socket.receive(into: &buffer, until: systemInstant() + .seconds(1)))
    }
  }

  @Test func `two nodes exchange messages over UDP`() throws {
    var server = try SocketLoop(.echo)
    var node = try SocketLoop(.listen) {
      $0.addresses = []
      $0.peersUseDatagrams = true
    }
    let link = node.transport.connect(to: server.endpoint, at: node.now)
    #expect(turn(&server, &node) { $1.openedLinks.count == 1 })
    let texts = ["hello", String(repeating: "m", count: 300_000)]
    for text in texts { #expect(node.send(text, on: link).isQueued) }
    #expect(turn(&server, &node) { $1.messages.count == 2 })
    #expect(Set(node.messages) == Set(texts.map { Array($0.utf8) }))
    node.transport.close(link, afterFlush: true, at: node.now)
    #expect(turn(&server, &node) { $0.ends.count == 1 && $1.ends.count == 1 })
  }

  @Test func `a UDP port that is taken is an error`() throws {
    let server = try DatagramEcho([ListenAddress(Self.loopback4)])
    let endpoint = Self.endpoint(Self.loopback4, server)
    do {
      var options = SocketOptions()
      options.addresses = [ListenAddress(endpoint)]
      options.acceptsStreams = false
      let second = try SocketTransport(options)
      Issue.record("listening on \(second.port) twice")
    } catch {
      #expect(error.medium == "udp" && error.error.isAddressInUse)
    }
  }
}

/// Turns both until `isDone`; false when five seconds were not enough.
func turn(
  _ a: inout SocketLoop, _ b: inout SocketLoop,
  until isDone: (borrowing SocketLoop, borrowing SocketLoop) -> Bool
) -> Bool {
  let limit = systemInstant() + .seconds(5)
  while !isDone(a, b) {
    if systemInstant() > limit { return false }
    a.turn(millis: 1)
    b.turn(millis: 1)
  }
  return true
}
