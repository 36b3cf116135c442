import Base
import NetKit

/// What the owner of a client's stream is told.
protocol StreamUser: AnyObject {
  func streamOpened()
  func streamReceived(_ bytes: [UInt8])
  func streamEnded(_ end: LinkEnd)
}

/// A client's end of one stream to a node.
final class ClientStream: LinkEndpoint {
  private let network: SimNetwork
  private weak var user: (any StreamUser)?
  private weak var link: SimLink?
  private var outward = LinkDirection()
  private var hasEnded = false

  /// Opens a stream to `port`; `streamOpened` or `streamEnded` follows.
  init(
    network: SimNetwork, to port: SimPort?, from endpoint: Endpoint, user: any StreamUser
  ) {
    self.network = network
    self.user = user
    network.scheduler.at(network.scheduler.now + network.latency()) { [self] in
      guard let port, port.isAlive, port.isListening else { return end(.refused) }
      let link = port.makeLink(.stream, endpoint)
      link.other = self
      self.link = link
      port.add(.opened(link))
      network.scheduler.at(network.scheduler.now + network.latency()) { [self] in
        if !hasEnded { self.user?.streamOpened() }
      }
    }
  }

  func send(_ bytes: [UInt8]) {
    guard !hasEnded else { return }
    for piece in network.cut(bytes) {
      outward.lastArrival = network.arrival(after: outward.lastArrival)
      network.scheduler.at(outward.lastArrival) { [self] in deliver(piece) }
      if network.drawsReset() {
        link?.reset()
        return
      }
    }
  }

  /// A node that lost power does not know its old links: what comes for one is answered by a reset.
  private func deliver(_ piece: [UInt8]) {
    guard !hasEnded else { return }
    guard let link, link.port.isAlive else { return end(.reset) }
    link.arrive(piece)
  }

  /// Gives the stream up; the node learns it a little later, as an end of input or as a reset.
  func close() {
    guard !hasEnded else { return }
    hasEnded = true
    let resets = network.chance.chance(1, in: 2)
    outward.lastArrival = network.arrival(after: outward.lastArrival)
    network.scheduler.at(outward.lastArrival) { [weak link] in
      guard let link else { return }
      if resets { link.end(.reset) } else { link.endInput() }
    }
  }

  func arrive(_ bytes: [UInt8]) {
    guard !hasEnded else { return }
    user?.streamReceived(bytes)
  }

  func end(_ end: LinkEnd) {
    guard !hasEnded else { return }
    hasEnded = true
    user?.streamEnded(end)
  }
}
