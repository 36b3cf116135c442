import Base

/// Handshake, liveness and end of peer links.
extension DatagramCore {
  // MARK: Opening

  /// Opens a peer link; `opened` or `closed` follows. `.none` when `peerCountMax` links exist.
  public mutating func connect(to endpoint: Endpoint, at now: Instant) -> LinkID {
    guard !peers.isFull else { return .none }
    let slot = addPeer(endpoint, remoteToken: 0, phase: .calling, at: now)
    sayHello(slot, at: now)
    return link(slot)
  }

  /// Answers who wants to open a link. The same hello again gets the same answer. Another from the
  /// same address means that the peer has restarted, but may also be a late copy of an old one: the
  /// link that it had stays until the new one is open.
  mutating func handleHello(
    _ header: DatagramHeader, from source: Endpoint, isTrusted: Bool, at now: Instant
  ) {
    guard isTrusted || cookies.accepts(header.token, from: source, at: now) else {
      challenge(header, source, at: now)
      return
    }
    let remoteToken = header.id.low
    for slot in 0..<peers.usedSlotCount where peers.isOccupied(slot) {
      let peer = peers.pointer(at: slot)
      guard peer.pointee.endpoint == source, !peer.pointee.isCaller else { continue }
      if peer.pointee.remoteToken == remoteToken {
        counters.repeated += 1
        sayWelcome(slot)
        return
      }
      if peer.pointee.phase == .accepting { closePeer(slot, .reset) }
    }
    guard isListening, !peers.isFull else {
      counters.overloaded += 1
      return
    }
    counters.accepted += 1
    sayWelcome(addPeer(source, remoteToken: remoteToken, phase: .accepting, at: now))
  }

  /// Takes the cookie that answers our hello, and says hello again with it.
  mutating func handleChallenge(_ header: DatagramHeader, from source: Endpoint, at now: Instant) {
    let slot = Int(header.id.low & 0xFFFF)
    guard header.id.high == 0, peers.isOccupied(slot),
      peers.pointer(at: slot).pointee.localToken == header.id.low,
      peers.pointer(at: slot).pointee.endpoint == source,
      peers.pointer(at: slot).pointee.phase == .calling
    else {
      counters.stray += 1
      return
    }
    let peer = peers.pointer(at: slot)
    guard peer.pointee.cookie != header.token else {
      counters.repeated += 1
      return
    }
    counters.accepted += 1
    let isFirst = peer.pointee.cookie == 0
    peer.pointee.cookie = header.token
    // A second cookie waits for the timer, so that two of them don't chase each other.
    if isFirst { sayHello(slot, at: now) }
  }

  // MARK: Open links

  /// Takes a datagram that names a link by our token.
  mutating func handlePeer(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, from source: Endpoint,
    isTrusted: Bool, at now: Instant
  ) {
    let slot = Int(header.id.high & 0xFFFF)
    guard peers.isOccupied(slot), peers.pointer(at: slot).pointee.localToken == header.id.high,
      peers.pointer(at: slot).pointee.endpoint == source
    else {
      disown(header, source, isTrusted: isTrusted, at: now)
      return
    }
    let peer = peers.pointer(at: slot)
    if peer.pointee.phase == .calling {
      guard header.kind == .welcome else {
        counters.stray += 1
        return
      }
      peer.pointee.remoteToken = header.token
    }
    guard peer.pointee.remoteToken == header.token else {
      counters.stray += 1
      return
    }
    if header.kind == .goodbye {
      counters.accepted += 1
      closePeer(slot, header.index == 0 ? .closed : .reset)
      return
    }
    heard(slot, at: now)
    switch header.kind {
    case .message: handleMessage(header, payload, slot, at: now)
    case .messageAck: handleMessageAck(header, payload, slot, at: now)
    case .ping:
      counters.accepted += 1
      put(peerHeader(.pong, slot), to: source)
    default: counters.accepted += 1
    }
  }

  /// Tells who uses a token that means nothing here, in as many bytes as it sent at most: after a
  /// restart its peers learn it at once. A goodbye is never answered, so there is no loop.
  private mutating func disown(
    _ header: DatagramHeader, _ source: Endpoint, isTrusted: Bool, at now: Instant
  ) {
    counters.stray += 1
    guard header.kind != .goodbye, header.kind != .welcome,
      isTrusted || sources.takeStranger(from: source, at: now)
    else { return }
    let token = header.id.high
    put(
      DatagramHeader(
        kind: .goodbye, index: 1, count: 1, id: OperationID(high: header.token, low: 0),
        token: token), to: source)
  }

  /// The other side lives; the first word after the handshake opens the link.
  private mutating func heard(_ slot: Int, at now: Instant) {
    let peer = peers.pointer(at: slot)
    peer.pointee.lastHeard = now
    peer.pointee.nextPing = now + options.keepaliveInterval
    guard peer.pointee.phase != .open else { return }
    if !peer.pointee.isCaller { closePredecessor(slot) }
    peer.pointee.phase = .open
    events.push(.opened(link(slot), .peer, peer.pointee.endpoint))
    // Shows the other side its token at once; it takes the link for open only then.
    if peer.pointee.isCaller { put(peerHeader(.ping, slot), to: peer.pointee.endpoint) }
    arm(peer.pointee.nextPing)
    pumpMessages(slot, at: now)
  }

  /// Ends the link that a restarted peer had before.
  private mutating func closePredecessor(_ slot: Int) {
    let endpoint = peers.pointer(at: slot).pointee.endpoint
    for other in 0..<peers.usedSlotCount where other != slot && peers.isOccupied(other) {
      let peer = peers.pointer(at: other)
      if peer.pointee.endpoint == endpoint, !peer.pointee.isCaller { closePeer(other, .reset) }
    }
  }

  // MARK: Time

  mutating func wakePeer(_ slot: Int, at now: Instant) {
    let peer = peers.pointer(at: slot)
    guard peer.pointee.phase == .open else {
      wakeHandshake(slot, at: now)
      return
    }
    let silenceEnd = peer.pointee.lastHeard + options.peerTimeout
    guard silenceEnd > now else {
      sayGoodbye(slot, unknown: false)
      closePeer(slot, .timeout)
      return
    }
    if peer.pointee.congestion.timer <= now { repeatMessages(slot, at: now) }
    if peer.pointee.nextPing <= now {
      peer.pointee.nextPing = now + options.keepaliveInterval
      put(peerHeader(.ping, slot), to: peer.pointee.endpoint)
    }
    arm(min(silenceEnd, peer.pointee.nextPing, peer.pointee.congestion.timer))
  }

  private mutating func wakeHandshake(_ slot: Int, at now: Instant) {
    let peer = peers.pointer(at: slot)
    guard peer.pointee.handshakeEnd > now else {
      closePeer(slot, .refused)
      return
    }
    if peer.pointee.nextHello <= now { sayHello(slot, at: now) }
    arm(min(peer.pointee.handshakeEnd, peer.pointee.nextHello))
  }

  // MARK: Words

  private mutating func sayHello(_ slot: Int, at now: Instant) {
    let peer = peers.pointer(at: slot)
    put(
      DatagramHeader(
        kind: .hello, id: OperationID(high: 0, low: peer.pointee.localToken),
        token: peer.pointee.cookie, echo: now.echo), to: peer.pointee.endpoint)
    let wait = peer.pointee.congestion.roundTrip.timeout(backoffs: peer.pointee.helloCount)
    peer.pointee.helloCount += 1
    peer.pointee.nextHello = now + wait
    arm(peer.pointee.nextHello)
  }

  private mutating func sayWelcome(_ slot: Int) {
    put(peerHeader(.welcome, slot), to: peers.pointer(at: slot).pointee.endpoint)
  }

  mutating func sayGoodbye(_ slot: Int, unknown: Bool) {
    let peer = peers.pointer(at: slot)
    guard peer.pointee.remoteToken != 0 else { return }
    var header = peerHeader(.goodbye, slot)
    header.index = unknown ? 1 : 0
    put(header, to: peer.pointee.endpoint)
  }

  /// A header for a peer: its token, a message number, our token.
  func peerHeader(_ kind: DatagramKind, _ slot: Int, number: UInt64 = 0) -> DatagramHeader {
    let peer = peers.pointer(at: slot)
    return DatagramHeader(
      kind: kind, id: OperationID(high: peer.pointee.remoteToken, low: number),
      token: peer.pointee.localToken)
  }

  // MARK: Table

  private mutating func addPeer(
    _ endpoint: Endpoint, remoteToken: UInt64, phase: PeerLink.Phase, at now: Instant
  ) -> Int {
    let unit = options.byteCountMax(for: endpoint) - DatagramHeader.byteCount
    let congestion = Congestion(roundTrip: RoundTrip(options), unit: unit, options: options)
    let handshakeEnd = now + options.handshakeTimeout
    arm(handshakeEnd)
    // The slot is known only once it is taken, and the token contains it.
    let slot = peers.nextSlot
    let token = cookies.token() & ~0xFFFF | UInt64(slot)
    let taken = peers.insert(
      PeerLink(
        endpoint: endpoint, localToken: token, remoteToken: remoteToken, phase: phase,
        congestion: congestion, handshakeEnd: handshakeEnd, at: now))
    invariant(taken == slot, "a slab takes the slot it announced")
    return slot
  }

  /// Ends a link and says so, unless nobody was told of it.
  mutating func closePeer(_ slot: Int, _ end: LinkEnd) {
    let link = link(slot)
    let peer = peers.remove(at: slot)
    reassemblyByteCount -= peer.inbox.byteCount
    if peer.isCaller || peer.phase == .open { events.push(.closed(link, end)) }
  }

  /// The slot of a peer link that still exists.
  func findPeer(_ link: LinkID) -> Int? {
    let slot = link.slot - slotBase - options.exchangeCountMax
    guard peers.isOccupied(slot), peers.generation(of: slot) == link.generation else { return nil }
    return slot
  }

  func link(_ slot: Int) -> LinkID {
    LinkID(
      slot: slotBase + options.exchangeCountMax + slot, generation: peers.generation(of: slot))
  }
}
