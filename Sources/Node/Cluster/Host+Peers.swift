import Base
import NetKit
import Store
import TPC

// The links to the other members of a cluster. A node alone never comes here.
extension Host where Link: ~Copyable, Medium: ~Copyable {
  /// Begins to talk to the others: this member can answer them from now on.
  mutating func startPeers(at now: Moment) {
    node.peers?.start(at: now)
  }

  /// True when every other member can be reached, as a write needs it; for a node alone.
  public var reachesAllMembers: Bool {
    switch node.peers {
    case .some(let peers): peers.reachesAll
    case .none: true
    }
  }

  mutating func peerOpened(_ id: LinkID, from endpoint: Endpoint, at now: Moment) {
    guard isMember else {
      // A node alone has no peers.
      return link.close(id, afterFlush: false, at: now)
    }
    node.peers?.opened(id, from: endpoint, at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  mutating func peerClosed(_ id: LinkID, _ end: LinkEnd, at now: Moment) {
    node.peers?.closed(id, end, at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  /// Takes the message in `message` from a link to a member.
  mutating func receive(_ message: UnsafeRawBufferPointer, fromPeer id: LinkID, at now: Moment) {
    node.counters.inputBytes &+= UInt64(message.count)
    let delivery = node.peers?.receive(message, on: id, at: now, into: &peerEffects)
    // A session that begins with this message is told of before what came in it.
    carryOutPeerEffects(at: now)
    guard let delivery = delivery ?? nil else { return }
    node.receive(
      UnsafeRawBufferPointer(rebasing: message[delivery.payload]), from: delivery.member)
  }

  /// Sends a message of the negotiator; one to a member that cannot be reached is dropped.
  mutating func send(_ payload: UnsafeRawBufferPointer, to member: MemberID, at now: Moment) {
    node.peers?.send(payload, to: member, at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  /// Does what is due, after the turn's messages were taken.
  mutating func wakePeers(at now: Moment) {
    node.peers?.stamp = node.database?.pointee.lastStamp ?? .zero
    guard peersDeadline <= now.instant else { return }
    node.peers?.wake(at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  /// When `wakePeers` has something to do next.
  var peersDeadline: Instant {
    switch node.peers {
    case .some(let peers): peers.deadline
    case .none: .never
    }
  }

  // MARK: Effects

  private mutating func carryOutPeerEffects(at now: Moment) {
    guard !peerEffects.list.isEmpty else { return }
    var index = 0
    while index < peerEffects.list.count {
      carryOut(peerEffects.list[index], at: now)
      index += 1
    }
    for line in peerEffects.lines { log(line.level, line.text) }
    peerEffects.removeAll()
  }

  private mutating func carryOut(_ effect: PeerEffects.Effect, at now: Moment) {
    switch effect {
    case .connect(let member, let endpoint):
      let id = link.connect(to: endpoint, at: now)
      node.peers?.called(member, as: id, at: now)
    case .send(let id, let place): sendToPeer(place, on: id, at: now)
    case .close(let id, let afterFlush): link.close(id, afterFlush: afterFlush, at: now)
    case .trust(let id): link.trust(id)
    case .reachable(let greeting): node.memberReachable(greeting)
    case .unreachable(let member): node.memberUnreachable(member)
    case .guest, .knock: break
    }
  }

  private mutating func sendToPeer(_ place: Range<Int>, on id: LinkID, at now: Moment) {
    let pending = link.pendingByteCount(of: id)
    let bytes = UnsafeRawBufferPointer(rebasing: peerEffects.bytes.bytes[place])
    guard pending == 0 || pending + bytes.count <= outputByteCountMaxOfPeers else {
      node.peers?.counters.dropped += 1
      return
    }
    node.counters.outputBytes &+= UInt64(bytes.count)
    if case .tooLarge = link.send(bytes, on: id, at: now) {
      node.peers?.counters.dropped += 1
      log(
        .error,
        "a message of \(bytes.count) bytes exceeds the \(link.peerMessageByteCountMax) that a link "
          + "between members carries: dropped")
    }
  }

  private var outputByteCountMaxOfPeers: Int { node.options.cluster?.outputByteCountMax ?? 0 }
}
