import Base
import Conformance
import NetKit
import Testing

@testable import SimKit

/// The simulated transport keeps the contract that TCP and UDP keep, by the same suite.
@Suite struct SimPairTests {
  @Test func `A link opens and carries both ways`() throws {
    var pair = SimPair(seed: 1)
    try Conformance.opensAndCarriesBothWays(&pair)
  }

  @Test func `Messages arrive whole up to the limit`() throws {
    var pair = SimPair(seed: 2)
    try Conformance.sizesUpToTheLimit(&pair)
  }

  @Test(arguments: 3...12 as ClosedRange<UInt64>)
  func `Nothing is lost, repeated or reordered`(seed: UInt64) throws {
    var pair = SimPair(seed: seed)
    try Conformance.orderLossAndRepetition(&pair, seed: seed)
  }

  @Test func `Output piles up and drains`() throws {
    var pair = SimPair(seed: 13)
    try Conformance.backPressure(&pair)
  }

  @Test func `Closing ends both sides`() throws {
    var pair = SimPair(seed: 14)
    try Conformance.closingEndsBothSides(&pair)
  }

  @Test func `A restart is noticed`() throws {
    var pair = SimPair(seed: 15)
    try Conformance.peerRestart(&pair)
  }

  @Test func `Connecting to nobody ends`() throws {
    var pair = SimPair(seed: 16)
    try Conformance.connectingToNobody(&pair)
  }

  @Test func `Draining keeps open links`() throws {
    var pair = SimPair(seed: 17)
    try Conformance.drainingKeepsOpenLinks(&pair)
  }
}

/// Two simulated transports and the time between them.
struct SimPair: ConformanceWorld, ~Copyable {
  private let clock = PairClock()
  private let network: SimNetwork
  private var nodes: [PairNode] = []
  private var stopped = [false, false]
  private(set) var told: [[PeerTold]] = [[], []]

  init(seed: UInt64) {
    network = SimNetwork(scheduler: clock, seed: seed, faults: NetworkFaults())
    nodes = [PairNode(network, 0), PairNode(network, 1)]
    introduce()
  }

  /// Tells each port where the other one is.
  private func introduce() {
    for (index, node) in nodes.enumerated() {
      node.port.resolve = { [other = nodes[1 - index]] _ in other.port }
    }
  }

  private var moment: Moment { Moment(instant: clock.now, wallNanos: clock.now.nanos) }

  var traits: WorldTraits { .ordered }
  var messageByteCountMax: Int { nodes[0].transport.messageByteCountMax }

  mutating func connect(_ from: Int) -> LinkID {
    nodes[from].transport.connect(to: nodes[1 - from].port.endpoint, at: moment)
  }

  mutating func send(_ bytes: [UInt8], _ node: Int, on link: LinkID) -> SendOutcome {
    bytes.withUnsafeBytes { nodes[node].transport.send($0, on: link, at: moment) }
  }

  mutating func close(_ node: Int, _ link: LinkID) {
    nodes[node].transport.close(link, afterFlush: true, at: moment)
  }

  func pendingByteCount(_ node: Int, _ link: LinkID) -> Int {
    nodes[node].transport.pendingByteCount(of: link)
  }

  mutating func stopListening(_ node: Int) { nodes[node].transport.stopListening() }

  mutating func restart(_ node: Int) {
    nodes[node].port.die(tellsOthers: true)
    nodes[node] = PairNode(network, node)
    told[node] = []
    introduce()
  }

  mutating func cut(_ isCut: Bool) {}

  mutating func stop(_ node: Int, _ isStopped: Bool) { stopped[node] = isStopped }

  mutating func run(_ millis: UInt64, until isDone: ([[PeerTold]]) -> Bool) -> Bool {
    let end = clock.now + .millis(millis)
    poll()
    while !isDone(told) {
      guard clock.step(until: end) else { return false }
      poll()
    }
    return true
  }

  private mutating func poll() {
    for node in 0..<2 where !stopped[node] { told[node] += nodes[node].take(at: moment) }
  }
}

/// One end of the pair, in a place of its own because transports cannot be copied.
private final class PairNode {
  let port: SimPort
  var transport: SimTransport

  init(_ network: SimNetwork, _ index: Int) {
    let port = SimPort(
      network: network, endpoint: Endpoint(ipv4: 0x7F00_0001, port: UInt16(100 + index))
    ) { _ in Moment(instant: network.scheduler.now, wallNanos: 0) }
    self.port = port
    transport = SimTransport(port: port, secret: SipKey(k0: 1, k1: 2), seed: 3)
  }

  func take(at now: Moment) -> [PeerTold] {
    var told: [PeerTold] = []
    var buffer = ByteBuffer()
    while let event = transport.next(into: &buffer, at: now) {
      switch event {
      case .opened(let link, _, _): told.append(.opened(link))
      case .received(let link): told.append(.received(link, Array(buffer.bytes)))
      case .drained(let link): told.append(.drained(link))
      case .closed(let link, let end): told.append(.closed(link, end))
      case .request, .ended: break
      }
    }
    return told
  }
}

/// Virtual time without a world.
private final class PairClock: Scheduler {
  private(set) var now = Instant.zero
  private var heap = EventHeap()

  func at(_ instant: Instant, _ body: @escaping () -> Void) { heap.add(instant, body) }

  /// Lets the next thing happen; false when there is none before `end`, which is then now.
  func step(until end: Instant) -> Bool {
    guard let next = heap.first, next <= end, let (instant, body) = heap.pop() else {
      now = end
      return false
    }
    now = max(now, instant)
    body()
    return true
  }
}
