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
    if isContact(id) { return contactOpened(id, at: now) }
    guard isMember, node.database != nil, node.hasPeers else {
      // A node alone has no peers, and a member not before it knows its list.
      return link.close(id, afterFlush: false, at: now)
    }
    node.peers?.opened(id, from: endpoint, at: now, into: &peerEffects)
    carryOutPeerEffects(at: now)
  }

  mutating func peerClosed(_ id: LinkID, _ end: LinkEnd, at now: Moment) {
    if isContact(id) { return contactClosed(id, at: now) }
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
    let payload = UnsafeRawBufferPointer(rebasing: message[delivery.payload])
    switch delivery.channel {
    case .negotiator: node.receive(payload, from: delivery.member)
    case .list: node.receiveList(payload, from: delivery.member)
    case .copy: receiveCopy(payload, from: delivery.member, at: now)
    }
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

  mutating func carryOutPeerEffects(at now: Moment) {
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
    case .resolve(let member, let host, let port):
      if !asks(UInt64(member.number), host, port) {
        node.peers?.resolved(member, [], problem: "cannot ask", at: now, into: &peerEffects)
      }
    case .resolveDonor(let host, let port):
      if !asks(Self.donorTicket, host, port) {
        node.joining.call?.resolved([], problem: "cannot ask", at: now.instant, into: &peerEffects)
      }
    case .epoch(let greeting): heard(greeting, at: now)
    case .outdated(let id): tellList(on: id, at: now)
    case .disowned(let member): node.disowned(by: member)
    case .send(let id, let place): sendToPeer(place, on: id, at: now)
    case .close(let id, let afterFlush): link.close(id, afterFlush: afterFlush, at: now)
    case .trust(let id): link.trust(id)
    case .reachable(let greeting):
      node.memberReachable(greeting)
      heard(greeting, at: now)
    case .unreachable(let member): node.memberUnreachable(member)
    case .met: node.noteDirectories()
    case .guest(let member): node.guestArrived(member)
    case .knock(let endpoint):
      let id = link.connect(to: endpoint, at: now)
      node.joining.call?.called(as: id, at: now.instant, into: &peerEffects)
    }
  }

  /// A member has said its epoch. Whose is behind ours, as we have it durably, is told the list:
  /// after a removal by force, or when it was removed, or its id was given to another process. Who
  /// has as many removals by force is told it as well: they may be other ones.
  private mutating func heard(_ greeting: PeerGreeting, at now: Moment) {
    guard let cluster = node.cluster else { return }
    node.noteConfirmations(cluster)
    // A removal by force may wait for its word.
    cluster.pointee.mayUnblock = true
    guard let list = durableList,
      !list.epoch.isCovered(by: greeting.epoch)
        || greeting.epoch.forced == list.epoch.forced && list.epoch.forced > 0
    else { return }
    var bytes = ByteBuffer()
    list.encode(into: &bytes)
    node.peers?.send(list: bytes.bytes, to: greeting.member, at: now, into: &peerEffects)
  }

  private mutating func tellList(on id: LinkID, at now: Moment) {
    var bytes = ByteBuffer()
    let list = durableList
    list?.encode(into: &bytes)
    node.peers?.tell(list == nil ? nil : bytes.bytes, on: id, at: now, into: &peerEffects)
  }

  /// The list, once it is durable here and the others are told its epoch.
  private var durableList: Membership? {
    guard let present = node.cluster?.pointee.state.present, listMark == nil else { return nil }
    switch node.peers {
    case .some(let peers): return peers.epoch == present.epoch ? present : nil
    case .none: return nil
    }
  }

  /// No member's number.
  private static var donorTicket: UInt64 { 0 }

  private func asks(_ ticket: UInt64, _ host: String, _ port: UInt16) -> Bool {
    resolver?.start(ticket: ticket, host: host, port: port) ?? false
  }

  /// Takes what names of members mean.
  mutating func takeNames(at now: Moment) {
    guard let resolver else { return }
    while let (ticket, endpoints, problem) = resolver.poll() {
      if ticket == Self.donorTicket {
        node.joining.call?.resolved(
          endpoints, problem: problem, at: now.instant, into: &peerEffects)
      } else {
        node.peers?.resolved(
          MemberID(UInt16(truncatingIfNeeded: ticket)), endpoints, problem: problem, at: now,
          into: &peerEffects)
      }
      carryOutPeerEffects(at: now)
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
