import Base
import NetKit
import TPC

@testable import Node

/// A keyed hash in place of HMAC-SHA256: equal secrets give equal codes.
struct TestAuthenticator: MessageAuthenticator {
  var secret: String

  func code(of message: UnsafeRawBufferPointer) -> [UInt8] {
    var text = Array(secret.utf8)
    let key = text.withUnsafeMutableBytes {
      SipHash.hash24(UnsafeRawBufferPointer($0), key: SipKey(k0: 1, k1: 2))
    }
    return (0..<4).flatMap { part in
      let word = SipHash.hash24(message, key: SipKey(k0: key, k1: UInt64(part)))
      return (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) }
    }
  }
}

/// The options of member `id` among `count` on loopback.
func peerOptions(
  _ id: UInt16, of count: Int, secret: String? = "open sesame", run: UInt64 = 1,
  cluster: UInt64 = 77
) -> ClusterOptions {
  let members = (1...UInt16(count)).map { number in
    Member(id: MemberID(number), address: "m\(number):7000", endpoint: peerEndpoint(number))
  }
  return ClusterOptions(
    ownID: MemberID(id), members: members, clusterID: cluster,
    nonceKey: SipKey(k0: UInt64(id), k1: run),
    authenticator: secret.map { TestAuthenticator(secret: $0) })
}

func peerEndpoint(_ id: UInt16) -> Endpoint {
  Endpoint(ipv4: 0x7F00_0000 | UInt32(id), port: 7_000)
}

/// Members over a network in memory: messages are lost, repeated and late as the seed decides.
final class PeerWorld {
  /// One member over all its runs.
  final class Node {
    let options: ClusterOptions
    var peers: Peers
    var effects = PeerEffects()
    var isUp = true
    /// Neither takes events nor wakes, like a process that was sent SIGSTOP.
    var isStopped = false
    /// How far its wall clock is ahead.
    var wallOffset: Int64 = 0
    /// What it said and did, in order.
    var story: [String] = []
    var log: [String] = []
    var delivered: [String] = []
    var inbox: [Item] = []

    init(
      _ options: ClusterOptions, guestAt address: String? = nil, onlyCalled: MemberID? = nil,
      directory: UInt64 = 0, directories: [MemberID: UInt64] = [:]
    ) {
      self.options = options
      guard let address else {
        peers = Peers(options, directory: directory, directories: directories)
        return
      }
      let others = options.members.filter { $0.id != options.ownID }
      let text = others.map { "\($0.id)=\($0.address)" }.joined(separator: ",")
      guard let list = try? MemberList(text) else { invariantFailed("\(text) is a list") }
      peers = Peers(
        options, as: options.ownID,
        of: Membership(clusterID: options.clusterID, list: list), at: address,
        onlyCalled: onlyCalled, directory: directory)
    }
  }

  struct Item {
    enum What {
      case opened(Endpoint)
      case message([UInt8])
      case closed(LinkEnd)
    }
    var at: Instant
    var link: LinkID
    var what: What
  }

  struct Faults {
    /// Of a hundred messages.
    var lost = 0
    var repeated = 0
    var latencyMillis = 1...1
    /// Bytes of every message are handed to it, and what it answers is delivered instead.
    var tamper: ([UInt8]) -> [UInt8] = { $0 }
  }

  private struct End {
    var node: Int
    var link: LinkID
  }

  var nodes: [Node]
  var faults = Faults()
  /// Pairs between which nothing passes, both ways.
  var cuts: Set<Set<Int>> = []
  private(set) var now = Instant(nanos: 1_000_000_000)
  private var chance: Random
  private var wires: [LinkID: End] = [:]
  private var linkCount: UInt64 = 0

  init(_ options: [ClusterOptions], seed: UInt64 = 1) {
    nodes = options.map { Node($0, directory: PeerWorld.directory(of: $0.ownID!)) }
    chance = Random(seed: seed)
    for index in nodes.indices { start(index) }
  }

  convenience init(count: Int, secret: String? = "open sesame", seed: UInt64 = 1) {
    self.init(
      (1...UInt16(count)).map { peerOptions($0, of: count, secret: secret) }, seed: seed)
  }

  func moment(of node: Node) -> Moment {
    let wall = Int64(1_700_000_000_000_000_000) + Int64(now.nanos) + node.wallOffset
    return Moment(instant: now, wallNanos: UInt64(wall))
  }

  // MARK: Runs

  private func start(_ index: Int) {
    nodes[index].peers.start(at: moment(of: nodes[index]))
  }

  /// The process dies; its links are reset.
  func kill(_ index: Int) {
    nodes[index].isUp = false
    for (link, end) in wires where end.node == index {
      deliver(.closed(.reset), to: link, after: .millis(1))
      wires[link] = nil
    }
    nodes[index].inbox.removeAll()
  }

  /// All links are reset at both ends; the members live on.
  func breakLinks() {
    for (link, _) in wires { deliver(.closed(.reset), to: link, after: .millis(1)) }
    wires = [:]
  }

  /// The data directory that a member begins with.
  static func directory(of id: MemberID) -> UInt64 { 1_000 + UInt64(id.number) }

  /// A new run of a member that was killed; with another directory, one that remembers nobody.
  func restart(
    _ index: Int, _ options: ClusterOptions, guestAt address: String? = nil,
    onlyCalled: MemberID? = nil, directory: UInt64? = nil
  ) {
    let own = nodes[index].peers.directory
    let node = Node(
      options, guestAt: address, onlyCalled: onlyCalled, directory: directory ?? own,
      directories: directory == nil ? nodes[index].peers.directories : [:])
    node.story = nodes[index].story
    nodes[index] = node
    start(index)
  }

  /// Lets `millis` milliseconds pass.
  func run(millis: Int) {
    for _ in 0..<millis {
      now = now + .millis(1)
      for index in nodes.indices { turn(index) }
    }
  }

  private func turn(_ index: Int) {
    let node = nodes[index]
    guard node.isUp, !node.isStopped else { return }
    let moment = moment(of: node)
    let due = node.inbox.filter { $0.at <= now }
    node.inbox.removeAll { $0.at <= now }
    for item in due {
      switch item.what {
      case .opened(let endpoint):
        node.peers.opened(item.link, from: endpoint, at: moment, into: &node.effects)
      case .message(let bytes): take(bytes, item.link, node, moment)
      case .closed(let end):
        node.peers.closed(item.link, end, at: moment, into: &node.effects)
      }
      carryOut(index)
    }
    if node.peers.deadline <= now {
      node.peers.wake(at: moment, into: &node.effects)
      carryOut(index)
    }
  }

  private func take(_ bytes: [UInt8], _ link: LinkID, _ node: Node, _ moment: Moment) {
    let delivery = bytes.withUnsafeBytes {
      node.peers.receive($0, on: link, at: moment, into: &node.effects)
    }
    guard let delivery else { return }
    let text = String(decoding: bytes[delivery.payload], as: UTF8.self)
    node.delivered.append("\(delivery.member): \(text)")
  }

  /// Sends a text from one member to another; false when it was dropped at once.
  @discardableResult
  func send(_ text: String, from index: Int, to id: UInt16) -> Bool {
    let node = nodes[index]
    var bytes = Array(text.utf8)
    let sent = bytes.withUnsafeMutableBytes {
      node.peers.send(
        UnsafeRawBufferPointer($0), to: MemberID(id), at: moment(of: node), into: &node.effects)
    }
    carryOut(index)
    return sent
  }

  // MARK: Effects

  private func carryOut(_ index: Int) {
    let node = nodes[index]
    var at = 0
    while at < node.effects.list.count {
      switch node.effects.list[at] {
      case .connect(let member, let endpoint): connect(index, member, endpoint)
      case .send(let link, let place): pass(Array(node.effects.bytes.bytes[place]), from: link)
      case .close(let link, _): close(link)
      case .trust, .met: break
      case .reachable(let greeting): node.story.append("+\(greeting.member)")
      case .unreachable(let member): node.story.append("-\(member)")
      case .guest(let member): node.story.append("guest \(member)")
      case .knock, .resolveDonor: fatalError("a member does not knock")
      case .epoch(let greeting): node.story.append("\(greeting.member)@\(greeting.epoch)")
      case .outdated(let link): tellList(on: link, by: node)
      case .disowned(let member): node.story.append("disowned by \(member)")
      case .resolve(let member, let host, _): node.story.append("\(member) is \(host)?")
      }
      at += 1
    }
    node.log += node.effects.lines.map(\.text)
    node.effects.removeAll()
  }

  private func tellList(on link: LinkID, by node: Node) {
    var text = Array("a list".utf8)
    text.withUnsafeMutableBytes {
      node.peers.tell(
        UnsafeRawBufferPointer($0), on: link, at: moment(of: node), into: &node.effects)
    }
  }

  private func connect(_ index: Int, _ member: MemberID, _ endpoint: Endpoint) {
    let near = newLink()
    let node = nodes[index]
    node.peers.called(member, as: near, at: moment(of: node))
    let target = nodes.firstIndex { peerEndpoint($0.peers.ownID.number) == endpoint }
    guard let target, nodes[target].isUp, !isCut(index, target) else {
      node.inbox.append(Item(at: now + .millis(1), link: near, what: .closed(.refused)))
      return
    }
    let far = newLink()
    wires[near] = End(node: target, link: far)
    wires[far] = End(node: index, link: near)
    let caller = peerEndpoint(node.peers.ownID.number)
    nodes[target].inbox.append(Item(at: now + .millis(1), link: far, what: .opened(caller)))
    node.inbox.append(Item(at: now + .millis(1), link: near, what: .opened(endpoint)))
  }

  private func newLink() -> LinkID {
    linkCount += 1
    return LinkID(raw: 1 << 32 | linkCount)
  }

  private func pass(_ bytes: [UInt8], from link: LinkID) {
    guard let end = wires[link], let back = wires[end.link] else { return }
    guard !isCut(end.node, back.node), !chance.chance(faults.lost, in: 100) else { return }
    let copies = chance.chance(faults.repeated, in: 100) ? 2 : 1
    for _ in 0..<copies {
      let latency = chance.within(faults.latencyMillis)
      nodes[end.node].inbox.append(
        Item(
          at: now + .millis(UInt64(latency)), link: end.link, what: .message(faults.tamper(bytes))))
    }
  }

  private func close(_ link: LinkID) {
    guard let end = wires[link], let back = wires[end.link] else { return }
    nodes[back.node].inbox.append(Item(at: now + .millis(1), link: link, what: .closed(.closed)))
    if !isCut(end.node, back.node) { deliver(.closed(.closed), to: end.link, after: .millis(2)) }
    wires[link] = nil
  }

  private func deliver(_ what: Item.What, to link: LinkID, after wait: Interval) {
    guard let index = wires.first(where: { $0.value.link == link })?.value.node else { return }
    nodes[index].inbox.append(Item(at: now + wait, link: link, what: what))
  }

  private func isCut(_ a: Int, _ b: Int) -> Bool { cuts.contains([a, b]) }

  // MARK: Questions

  /// Whether all members that are up hold one another for reachable.
  var isWhole: Bool {
    nodes.allSatisfy { $0.peers.reachableCount == nodes.count }
  }

  func status(of id: UInt16, at index: Int) -> PeerStatus {
    nodes[index].peers.statuses(at: now).first { $0.member.id == MemberID(id) }!
  }
}
