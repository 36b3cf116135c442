internal import Base
internal import Glibc

// Datagrams between the kernel and the core, 64 at a time.
extension SocketTransport {
  /// Takes the datagrams that wait at a port. A full batch means that there may be more.
  mutating func receiveDatagrams(from index: Int) {
    guard index < ports.count else { return }
    let count = batch.receive(from: ports[index], index: index)
    counters.datagramsReceived &+= UInt64(count)
    if count == DatagramBatch.countMax { enqueue(socket: Tag.port(index)) }
  }

  /// The core's next event; feeds it one datagram after the other until it has one.
  mutating func nextDatagramEvent(into buffer: inout ByteBuffer, at now: Moment) -> TransportEvent?
  {
    while true {
      if let event = core.next(into: &buffer) { return event }
      guard let (bytes, source) = batch.next() else { return nil }
      core.handle(bytes, from: source, at: now.instant)
    }
  }

  /// Opens a peer link over UDP, from a socket of the right family.
  mutating func connectDatagrams(to endpoint: Endpoint, at now: Moment) -> LinkID {
    if !ports.contains(where: { $0.endpoint.isIPv4 == endpoint.isIPv4 }) {
      if let port = try? Listeners.openUnbound(options, like: endpoint) { add(port) }
    }
    return core.connect(to: endpoint, at: now.instant)
  }

  /// Sends all that the core has put out.
  mutating func sendDatagrams() {
    let sent = batch.send(core.outgoing, through: ports)
    counters.datagramsSent &+= UInt64(sent)
    counters.datagramSendFailures &+= UInt64(core.outgoing.count - sent)
    core.outgoing.removeAll()
  }
}
