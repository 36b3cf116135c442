import Base
import Testing

@testable import NetKit

/// What the network does to a datagram, in thousandths.
struct Weather {
  var loss = 0
  var repetition = 0
  var damage = 0
  /// A datagram takes 100 us to this much more.
  var delayMicrosMax = 0

  static let calm = Weather()
  static let storm = Weather(loss: 200, repetition: 100, damage: 50, delayMicrosMax: 20_000)
}

/// Datagrams under way between addresses, and the time: a network from one seed.
struct Wire {
  struct Flight {
    var bytes: [UInt8]
    var from: Endpoint
    var to: Endpoint
    var arrival: Instant
    var number: Int
  }

  var now = Instant(nanos: 10_000_000_000)
  var weather: Weather
  var chance: Random
  var flights: [Flight] = []
  var sentCount = 0
  var isCut = false
  /// Bytes that each address has sent and was sent.
  var bytesFrom: [Endpoint: Int] = [:]
  var bytesTo: [Endpoint: Int] = [:]

  init(seed: UInt64, _ weather: Weather) {
    chance = Random(seed: seed)
    self.weather = weather
  }

  mutating func carry(_ batch: inout OutgoingDatagrams, from: Endpoint) {
    for index in 0..<batch.count {
      let entry = batch[index]
      carry([UInt8](batch.bytes(of: entry)), from: from, to: entry.endpoint)
    }
    batch.removeAll()
  }

  mutating func carry(_ bytes: [UInt8], from: Endpoint, to: Endpoint) {
    bytesFrom[from, default: 0] += bytes.count
    bytesTo[to, default: 0] += bytes.count
    if isCut || chance.chance(weather.loss, in: 1_000) { return }
    launch(bytes, from: from, to: to)
    if chance.chance(weather.repetition, in: 1_000) { launch(bytes, from: from, to: to) }
  }

  private mutating func launch(_ bytes: [UInt8], from: Endpoint, to: Endpoint) {
    var bytes = bytes
    if chance.chance(weather.damage, in: 1_000) {
      bytes[chance.below(bytes.count)] ^= 1 << UInt8(chance.below(8))
    }
    let micros = 100 + chance.below(weather.delayMicrosMax + 1)
    sentCount += 1
    flights.append(
      Flight(
        bytes: bytes, from: from, to: to, arrival: now + .micros(UInt64(micros)),
        number: sentCount))
  }

  /// The next arrival at or before `limit`; time goes on to it.
  mutating func land(before limit: Instant) -> Flight? {
    var best = -1
    for (index, flight) in flights.enumerated() where flight.arrival <= limit {
      if best < 0 || (flight.arrival, flight.number) < (flights[best].arrival, flights[best].number)
      {
        best = index
      }
    }
    guard best >= 0 else { return nil }
    let flight = flights.remove(at: best)
    now = max(now, flight.arrival)
    return flight
  }
}

func endpoint(_ last: UInt32, _ port: UInt16) -> Endpoint {
  Endpoint(ipv4: 0x0A00_0000 | last, port: port)
}

func loopback(_ port: UInt16) -> Endpoint { Endpoint(ipv4: 0x7F00_0001, port: port) }

/// An echo of sorts: what the test server answers to a request.
typealias Answer = (_ request: [UInt8], _ id: OperationID) -> [UInt8]?

/// A server and its clients over a wire.
struct ServerWorld: ~Copyable {
  var wire: Wire
  var core: DatagramCore
  let address: Endpoint
  var buffer = ByteBuffer()
  /// Every request given to the node.
  var requests: [(bytes: [UInt8], id: OperationID)] = []
  /// The node answers after so long.
  var thinking = Interval.zero
  var thoughts: [(due: Instant, link: LinkID, reply: [UInt8])] = []

  init(
    seed: UInt64, weather: Weather = .calm, options: DatagramOptions = .init(),
    address: Endpoint = endpoint(1, 9099)
  ) {
    wire = Wire(seed: seed, weather)
    self.address = address
    core = DatagramCore(
      options: options, secret: SipKey(k0: seed, k1: ~seed), seed: seed, slotBase: 1_000)
  }

  /// Gives the server a datagram and answers what it asks.
  mutating func arrive(_ bytes: [UInt8], from: Endpoint, _ answer: Answer) {
    bytes.withUnsafeBytes { core.handle($0, from: from, at: wire.now) }
    work(answer)
  }

  mutating func work(_ answer: Answer) {
    while let event = core.next(into: &buffer) {
      if case .received(let link) = event, let reply = answer([UInt8](buffer.bytes), .none) {
        _ = reply.withUnsafeBytes { core.send($0, on: link, at: wire.now) }
      }
      guard case .request(let link, _, let id, _) = event else { continue }
      let request = [UInt8](buffer.bytes)
      requests.append((request, id))
      guard let reply = answer(request, id) else { continue }
      thoughts.append((wire.now + thinking, link, reply))
    }
    while let first = thoughts.first, first.due <= wire.now {
      thoughts.removeFirst()
      _ = first.reply.withUnsafeBytes { core.send($0, on: first.link, at: wire.now) }
    }
    wire.carry(&core.outgoing, from: address)
  }

  /// Runs one exchange of a client until it has ended.
  mutating func run(_ exchange: inout ClientExchange, from client: Endpoint, _ answer: Answer) {
    wire.carry(&exchange.outgoing, from: client)
    while exchange.state == .waiting {
      let thought = thoughts.first?.due ?? .never
      let limit = min(exchange.deadline, core.deadline, thought)
      if let flight = wire.land(before: limit) {
        if flight.to == address {
          arrive(flight.bytes, from: flight.from, answer)
        } else if flight.to == client {
          flight.bytes.withUnsafeBytes { exchange.handle($0, at: wire.now) }
        }
      } else {
        wire.now = max(wire.now, limit)
        core.wake(at: wire.now)
        work(answer)
        exchange.wake(at: wire.now)
      }
      wire.carry(&exchange.outgoing, from: client)
    }
  }

  /// Lets the network come to rest and the server's timers pass.
  mutating func settle(_ seconds: UInt64, _ answer: Answer) {
    let end = wire.now + .seconds(seconds)
    while wire.now < end {
      let limit = min(end, core.deadline)
      if let flight = wire.land(before: limit) {
        if flight.to == address { arrive(flight.bytes, from: flight.from, answer) }
      } else {
        wire.now = max(wire.now, limit)
        core.wake(at: wire.now)
        work(answer)
      }
    }
  }
}

func randomBytes(_ count: Int, _ chance: inout Random) -> [UInt8] {
  (0..<count).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
}

/// Starts an exchange with the server of a world.
func exchange(
  _ request: [UInt8], to server: Endpoint, id: UInt64 = 1, change: Bool = false,
  options: DatagramOptions = .init(), cookie: UInt64 = 0, at now: Instant, seconds: UInt64 = 60
) -> ClientExchange {
  var bytes = ByteBuffer()
  bytes.append(request)
  return ClientExchange(
    request: bytes.bytes, id: OperationID(high: 7, low: id), change: change, to: server,
    options: options, seed: id, cookie: cookie, at: now, expiry: now + .seconds(seconds))
}
