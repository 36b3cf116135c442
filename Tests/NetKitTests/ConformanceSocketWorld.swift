import Base
import Conformance

@testable import NetKit

/// Two socket transports on loopback, turned in one thread, in real time.
struct SocketWorld: ConformanceWorld, ~Copyable {
  let traits: WorldTraits
  let messageByteCountMax: Int
  private(set) var told: [[PeerTold]] = [[], []]
  private var first: SocketTransport?
  private var second: SocketTransport?
  private let overDatagrams: Bool
  private let ports: [UInt16]
  private var stopped = [false, false]
  private var buffer = ByteBuffer()

  init(overDatagrams: Bool) throws {
    self.overDatagrams = overDatagrams
    traits = overDatagrams ? [] : .ordered
    let one = try Self.transport(overDatagrams, port: 0)
    let two = try Self.transport(overDatagrams, port: 0)
    ports = [one.port, two.port]
    messageByteCountMax = one.messageByteCountMax
    first = consume one
    second = consume two
  }

  private static func transport(_ overDatagrams: Bool, port: UInt16) throws -> SocketTransport {
    var options = SocketOptions()
    options.addresses = [ListenAddress(Endpoint(ipv4: 0x7F00_0001, port: port))]
    options.peersUseDatagrams = overDatagrams
    return try SocketTransport(options)
  }

  mutating func connect(_ from: Int) -> LinkID {
    let target = Endpoint(ipv4: 0x7F00_0001, port: ports[1 - from])
    return with(from) { transport, now in
      let link = transport.connect(to: target, at: now)
      transport.flush(at: now)
      return link
    }
  }

  mutating func send(_ bytes: [UInt8], _ node: Int, on link: LinkID) -> SendOutcome {
    with(node) { transport, now in
      let outcome = bytes.withUnsafeBytes { transport.send($0, on: link, at: now) }
      transport.flush(at: now)
      return outcome
    }
  }

  mutating func close(_ node: Int, _ link: LinkID) {
    with(node) { transport, now in
      transport.close(link, afterFlush: false, at: now)
      transport.flush(at: now)
    }
  }

  func pendingByteCount(_ node: Int, _ link: LinkID) -> Int {
    node == 0 ? first!.pendingByteCount(of: link) : second!.pendingByteCount(of: link)
  }

  mutating func stopListening(_ node: Int) {
    with(node) { transport, _ in transport.stopListening() }
  }

  mutating func restart(_ node: Int) {
    told[node] = []
    // The old sockets are closed before the port is opened again.
    if node == 0 { first = nil } else { second = nil }
    do {
      let fresh = try Self.transport(overDatagrams, port: ports[node])
      if node == 0 { first = consume fresh } else { second = consume fresh }
    } catch {
      invariantFailed("the port of a transport that is gone is free: \(error)")
    }
  }

  mutating func cut(_ isCut: Bool) {}

  mutating func stop(_ node: Int, _ isStopped: Bool) { stopped[node] = isStopped }

  mutating func run(_ millis: UInt64, until isDone: ([[PeerTold]]) -> Bool) -> Bool {
    let end = systemInstant() + .millis(millis)
    while true {
      for node in 0..<2 where !stopped[node] { turn(node) }
      if isDone(told) { return true }
      if systemInstant() >= end { return false }
    }
  }

  private mutating func turn(_ node: Int) {
    var local = ByteBuffer()
    var fresh: [PeerTold] = []
    with(node) { transport, _ in
      let now = transport.wait(until: systemInstant() + .micros(200))
      while let event = transport.next(into: &local, at: now) {
        switch event {
        case .opened(let link, _, _): fresh.append(.opened(link))
        case .received(let link): fresh.append(.received(link, [UInt8](local.bytes)))
        case .drained(let link): fresh.append(.drained(link))
        case .closed(let link, let end): fresh.append(.closed(link, end))
        default: break
        }
      }
      transport.flush(at: now)
    }
    told[node] += fresh
  }

  private mutating func with<Result>(
    _ node: Int, _ body: (inout SocketTransport, Moment) -> Result
  ) -> Result {
    let now = systemMoment()
    return node == 0 ? body(&first!, now) : body(&second!, now)
  }
}
