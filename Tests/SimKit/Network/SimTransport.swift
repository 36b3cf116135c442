import Base
import NetKit

/// The `Transport` of a simulated node: virtual time, links of a `SimPort`, and the real
/// `DatagramCore` for what comes as datagrams.
struct SimTransport: Transport, ~Copyable {
  let port: SimPort
  private var core: DatagramCore

  /// Slots from here on are the datagram core's.
  private static let datagramSlotBase = 1 << 20

  init(port: SimPort, secret: SipKey, seed: UInt64) {
    self.port = port
    core = DatagramCore(
      options: DatagramOptions(), secret: secret, seed: seed, slotBase: Self.datagramSlotBase)
  }

  var messageByteCountMax: Int { core.options.messageByteCountMax }
  var deadline: Instant { core.deadline }

  mutating func wait(until deadline: Instant) -> Moment {
    let moment = port.wait(min(deadline, self.deadline))
    if core.deadline <= moment.instant { core.wake(at: moment.instant) }
    return moment
  }

  mutating func next(into buffer: inout ByteBuffer, at now: Moment) -> TransportEvent? {
    buffer.removeAll()
    return nextOfLinks(into: &buffer) ?? nextOfDatagrams(into: &buffer, at: now)
  }

  private mutating func nextOfLinks(into buffer: inout ByteBuffer) -> TransportEvent? {
    while let item = port.take() {
      switch item {
      case .opened(let link): return .opened(link.id, link.kind, link.remote)
      case .data(let link):
        guard port.link(link.id) != nil, link.take(into: &buffer) else { continue }
        port.observer?("received", link.id.raw, buffer.bytes)
        return .received(link.id)
      case .ended(let link):
        guard port.link(link.id) != nil else { continue }
        return .ended(link.id)
      case .drained(let link):
        guard port.link(link.id) != nil else { continue }
        return .drained(link.id)
      case .closed(let link, let end):
        guard port.link(link.id) != nil else { continue }
        port.release(link)
        return .closed(link.id, end)
      }
    }
    return nil
  }

  private mutating func nextOfDatagrams(
    into buffer: inout ByteBuffer, at now: Moment
  ) -> TransportEvent? {
    while true {
      if let event = core.next(into: &buffer) {
        port.activity += 1
        port.observer?("request", 0, buffer.bytes)
        return event
      }
      guard let (source, datagram) = port.takeDatagram() else { return nil }
      datagram.withUnsafeBytes { core.handle($0, from: source, at: now.instant) }
    }
  }

  mutating func send(_ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Moment)
    -> SendOutcome
  {
    port.observer?("sent", link.raw, bytes)
    if link.slot >= Self.datagramSlotBase { return core.send(bytes, on: link, at: now.instant) }
    guard let end = port.link(link) else { return .gone }
    if end.kind != .stream, bytes.count > messageByteCountMax { return .tooLarge }
    return end.send(bytes)
  }

  func pendingByteCount(of link: LinkID) -> Int {
    if link.slot >= Self.datagramSlotBase { return core.pendingByteCount(of: link) }
    return port.link(link)?.pendingByteCount ?? 0
  }

  mutating func setReading(_ enabled: Bool, on link: LinkID) {
    port.link(link)?.reading = enabled
  }

  mutating func connect(to endpoint: Endpoint, at now: Moment) -> LinkID {
    let near = port.makeLink(.peer, endpoint)
    let network = port.network
    network.scheduler.at(network.scheduler.now + network.latency()) { [port] in
      guard let target = port.resolve(endpoint), target.isAlive, target.isListening else {
        return near.end(.refused)
      }
      let far = target.makeLink(.peer, port.source(), of: port.endpoint)
      far.other = near
      near.other = far
      target.add(.opened(far))
      port.add(.opened(near))
    }
    return near.id
  }

  mutating func close(_ link: LinkID, afterFlush: Bool, at now: Moment) {
    if link.slot >= Self.datagramSlotBase { return core.close(link, at: now.instant) }
    port.link(link)?.close(afterFlush: afterFlush)
  }

  mutating func flush(at now: Moment) {
    for index in 0..<core.outgoing.count {
      let entry = core.outgoing[index]
      port.sendDatagram(Array(core.outgoing.bytes(of: entry)), entry.endpoint)
    }
    core.outgoing.removeAll()
  }

  mutating func stopListening() {
    port.isListening = false
    core.stopListening()
  }
}
