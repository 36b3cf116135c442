import Base
import NetKit

/// Where one life of a node is attached to the network: its links and what waits to be taken.
///
/// Outlives the `SimTransport` that reads from it only as long as something under way refers to it.
final class SimPort {
  /// What `next` will tell; bytes of a stream wait in its link.
  enum Item {
    case opened(SimLink)
    case data(SimLink)
    case ended(SimLink)
    case drained(SimLink)
    case closed(SimLink, LinkEnd)
  }

  let network: SimNetwork
  let endpoint: Endpoint
  var isListening = true
  /// False once the node's life is over: nothing reaches it any more.
  private(set) var isAlive = true
  /// Called when something waits to be taken.
  var wake: () -> Void = {}
  /// Called by `wait`.
  var wait: (Instant) -> Moment
  /// Told of all bytes that the node sends and receives, for the trace.
  var observer: ((StaticString, UInt64, UnsafeRawBufferPointer) -> Void)?
  /// Datagrams that arrived, oldest first.
  private var datagrams: [(Endpoint, [UInt8])] = []
  /// Sends a datagram of this port's.
  var sendDatagram: ([UInt8], Endpoint) -> Void = { _, _ in }
  /// What the other node sees as the address of a link that is opened from here.
  lazy var source: () -> Endpoint = { [endpoint] in endpoint }
  /// Where another node listens.
  var resolve: (Endpoint) -> SimPort? = { _ in nil }

  /// Carries a message of a link to another node: given the link, when the last one of its direction
  /// arrives, and what to do with each copy; answers when this one arrives. Nil: in order, without loss.
  var carryMessage: ((SimLink, [UInt8], Instant, @escaping ([UInt8]) -> Void) -> Instant)?

  private var items: [Item] = []
  private var taken = 0
  private var links: [SimLink?] = []
  private var generation: UInt32 = 0
  private(set) var linkCount = 0
  /// Raised with each thing taken: tells whether a turn did something.
  var activity: UInt64 = 0

  init(network: SimNetwork, endpoint: Endpoint, wait: @escaping (Instant) -> Moment) {
    self.network = network
    self.endpoint = endpoint
    self.wait = wait
  }

  var hasItems: Bool { taken < items.count || !datagrams.isEmpty }

  func add(_ item: Item) {
    guard isAlive else { return }
    items.append(item)
    wake()
  }

  func take() -> Item? {
    guard taken < items.count else { return nil }
    let item = items[taken]
    activity += 1
    taken += 1
    if taken == items.count {
      items.removeAll(keepingCapacity: true)
      taken = 0
    }
    return item
  }

  func takeDatagram() -> (Endpoint, [UInt8])? {
    guard !datagrams.isEmpty else { return nil }
    activity += 1
    return datagrams.removeFirst()
  }

  func arrive(datagram: [UInt8], from source: Endpoint) {
    guard isAlive else { return }
    datagrams.append((source, datagram))
    wake()
  }

  /// `listener`: where the other node listens; nil: at `remote`.
  func makeLink(_ kind: LinkKind, _ remote: Endpoint, of listener: Endpoint? = nil) -> SimLink {
    generation += 1
    let slot = links.firstIndex { $0 == nil } ?? links.count
    if slot == links.count { links.append(nil) }
    let link = SimLink(
      port: self, kind: kind, id: LinkID(slot: slot, generation: generation), remote: remote,
      listener: listener ?? remote)
    links[slot] = link
    linkCount += 1
    return link
  }

  func link(_ id: LinkID) -> SimLink? {
    guard id.slot < links.count, let link = links[id.slot], link.id == id else { return nil }
    return link
  }

  func release(_ link: SimLink) {
    guard self.link(link.id) != nil else { return }
    links[link.id.slot] = nil
    linkCount -= 1
  }

  /// The end of this life: all links end with it, without a word to the node.
  ///
  /// A killed process's system says so to the other side; a machine without power says nothing.
  func die(tellsOthers: Bool) {
    isAlive = false
    isListening = false
    let open = links.compactMap { $0 }
    links.removeAll()
    items.removeAll()
    datagrams.removeAll()
    for link in open { link.die(tellsOther: tellsOthers) }
  }
}
