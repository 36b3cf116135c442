import Base
import Conformance
import Testing

@testable import NetKit

/// Two nodes over one wire, in virtual time.
struct PeerWorld: ConformanceWorld, ~Copyable {
  var wire: Wire
  let addresses: [Endpoint]
  var options: DatagramOptions
  private let cores: UnsafeMutablePointer<DatagramCore>
  var told: [[PeerTold]]
  var buffer = ByteBuffer()
  private var restarts: UInt64 = 0
  private var stopped = [false, false]

  init(
    seed: UInt64, weather: Weather = .calm, options: DatagramOptions = .init(),
    addresses: [Endpoint] = [endpoint(1, 9099), endpoint(2, 9099)]
  ) {
    wire = Wire(seed: seed, weather)
    self.addresses = addresses
    self.options = options
    told = addresses.map { _ in [] }
    cores = .allocate(capacity: addresses.count)
    for index in 0..<addresses.count {
      (cores + index).initialize(to: Self.core(seed &* 31 &+ UInt64(index), options))
    }
  }

  deinit {
    cores.deinitialize(count: addresses.count)
    cores.deallocate()
  }

  private static func core(_ seed: UInt64, _ options: DatagramOptions) -> DatagramCore {
    DatagramCore(options: options, secret: SipKey(k0: seed, k1: 7), seed: seed, slotBase: 0)
  }

  func core(_ node: Int) -> UnsafeMutablePointer<DatagramCore> { cores + node }

  /// Forgets everything a node knew; its address stays.
  mutating func restart(_ node: Int) {
    restarts += 1
    cores[node] = Self.core(1_000 + restarts, options)
    told[node] = []
  }

  var traits: WorldTraits { .cuts }
  var messageByteCountMax: Int { options.messageByteCountMax }

  func pendingByteCount(_ node: Int, _ link: LinkID) -> Int {
    cores[node].pendingByteCount(of: link)
  }

  mutating func stopListening(_ node: Int) { cores[node].stopListening() }
  mutating func cut(_ isCut: Bool) { wire.isCut = isCut }
  mutating func stop(_ node: Int, _ isStopped: Bool) { stopped[node] = isStopped }

  mutating func connect(_ from: Int) -> LinkID {
    let link = cores[from].connect(to: addresses[1 - from], at: wire.now)
    collect(from)
    return link
  }

  @discardableResult
  mutating func send(_ bytes: [UInt8], _ node: Int, on link: LinkID) -> SendOutcome {
    let outcome = bytes.withUnsafeBytes { cores[node].send($0, on: link, at: wire.now) }
    collect(node)
    return outcome
  }

  mutating func close(_ node: Int, _ link: LinkID) {
    cores[node].close(link, at: wire.now)
    collect(node)
  }

  /// Lets so much time pass.
  mutating func run(_ millis: UInt64) { _ = run(millis) { _ in false } }

  mutating func run(_ millis: UInt64, until isDone: ([[PeerTold]]) -> Bool) -> Bool {
    let end = wire.now + .millis(millis)
    while !isDone(told) {
      guard wire.now < end else { return false }
      step(end)
    }
    return true
  }

  /// Goes on to the next arrival or timer.
  private mutating func step(_ end: Instant) {
    var limit = end
    for node in 0..<2 where !stopped[node] { limit = min(limit, cores[node].deadline) }
    if let flight = wire.land(before: limit) {
      guard let node = addresses.firstIndex(of: flight.to), !stopped[node] else { return }
      flight.bytes.withUnsafeBytes { cores[node].handle($0, from: flight.from, at: wire.now) }
      collect(node)
    } else {
      wire.now = max(wire.now, limit)
      for node in 0..<2 where !stopped[node] {
        cores[node].wake(at: wire.now)
        collect(node)
      }
    }
  }

  private mutating func collect(_ node: Int) {
    while let event = cores[node].next(into: &buffer) {
      switch event {
      case .opened(let link, let kind, _) where kind == .peer: told[node].append(.opened(link))
      case .received(let link): told[node].append(.received(link, [UInt8](buffer.bytes)))
      case .drained(let link): told[node].append(.drained(link))
      case .closed(let link, let end): told[node].append(.closed(link, end))
      default: Issue.record("unexpected \(event)")
      }
    }
    wire.carry(&cores[node].outgoing, from: addresses[node])
  }

  /// The link that a node was last told is open.
  func lastOpened(_ node: Int) -> LinkID? {
    for event in told[node].reversed() { if case .opened(let link) = event { return link } }
    return nil
  }

  func messages(_ node: Int) -> [[UInt8]] {
    told[node].compactMap { if case .received(_, let bytes) = $0 { bytes } else { nil } }
  }
}
