import Base

/// The server's and the peers' side of the datagram protocol, without a socket or a clock.
///
/// The owner (`SocketTransport`, the simulator) gives every datagram to `handle`, takes events with
/// `next` until there is none, sends what lies in `outgoing` at the end of a turn, and calls `wake`
/// when `deadline` has come. `now` never goes back. docs/udp.md describes the protocol.
///
/// A request of one datagram with a reply of one datagram costs no state beyond the wait for the
/// node's answer, and no acknowledgement: the client repeats it until the reply comes. Everything
/// longer is a `Transfer`.
public struct DatagramCore: ~Copyable {
  /// Sizes, bounds and times.
  public let options: DatagramOptions
  /// What has been counted.
  public internal(set) var counters = DatagramCounters()
  /// Datagrams to send; the owner removes what left.
  public var outgoing = OutgoingDatagrams()

  var cookies: Cookie
  var sources: SourceTable
  var events: DatagramEvents
  var exchanges: ExchangeTable
  var transfers: Slab<Transfer>
  /// The slots of transfers. Only looked up, so its order decides nothing.
  var transferSlots: [TransferKey: Int] = [:]
  var peers: Slab<PeerLink>
  /// Bytes of messages being put together, and of whole ones not taken yet.
  var reassemblyByteCount = 0
  /// Bytes of replies being sent.
  var replyByteCount = 0
  /// No transfer and no peer needs `wake` before this.
  var timer = Instant.never
  var isListening = true
  let slotBase: Int
  /// What the instances of replies are counted from; another in each run.
  let replyInstanceBase: UInt64
  private var instanceCount: UInt32

  /// `secret` comes from the kernel and is known to nobody; cookies and tokens are made with it.
  /// `seed` differs from run to run, so that a restart is noticed. Links get slots from `slotBase`
  /// on.
  public init(options: DatagramOptions, secret: SipKey, seed: UInt64, slotBase: Int) {
    options.check()
    self.options = options
    self.slotBase = slotBase
    var chance = Random(seed: seed)
    instanceCount = UInt32(truncatingIfNeeded: chance.next())
    replyInstanceBase = chance.next()
    cookies = Cookie(secret: secret)
    sources = SourceTable(options: options, key: SipKey(k0: secret.k1, k1: secret.k0))
    events = DatagramEvents(options: options)
    exchanges = ExchangeTable(options: options)
    transfers = Slab(capacity: options.transferCountMax)
    peers = Slab(capacity: options.peerCountMax)
  }

  // MARK: Datagrams in

  /// Takes one datagram as it came. Never traps, whatever it is.
  public mutating func handle(
    _ datagram: UnsafeRawBufferPointer, from source: Endpoint, at now: Instant
  ) {
    counters.received += 1
    counters.receivedBytes += UInt64(datagram.count)
    guard datagram.count <= options.byteCountMax(for: source) else {
      counters.oversized += 1
      return
    }
    let isTrusted = source.isLoopback && !options.provesLoopback
    if !isTrusted, !sources.takeDatagram(from: source, at: now) {
      counters.throttled += 1
      return
    }
    // Nothing can be answered to port 0.
    guard source.port != 0 else {
      counters.malformed += 1
      return
    }
    switch DatagramHeader.parse(datagram) {
    case .bare: handleBare(datagram, from: source, isTrusted: isTrusted, at: now)
    case .malformed: counters.malformed += 1
    case .damaged: counters.damaged += 1
    case .valid(let header):
      let payload = DatagramHeader.payload(of: datagram)
      handle(header, payload, from: source, isTrusted: isTrusted, at: now)
    }
  }

  @inline(__always)
  private mutating func handle(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, from source: Endpoint,
    isTrusted: Bool, at now: Instant
  ) {
    switch header.kind {
    case .request:
      handleRequest(header, payload, from: source, isTrusted: isTrusted, at: now)
    case .replyAck:
      handleReplyAck(header, payload, from: source, isTrusted: isTrusted, at: now)
    case .reply, .requestAck:
      counters.stray += 1
    case .hello:
      handleHello(header, from: source, isTrusted: isTrusted, at: now)
    case .challenge:
      handleChallenge(header, from: source, at: now)
    case .welcome, .message, .messageAck, .ping, .pong, .goodbye:
      handlePeer(header, payload, from: source, isTrusted: isTrusted, at: now)
    }
  }

  // MARK: Events out

  /// The next event, or nil. `buffer` is emptied, then filled with the event's bytes.
  public mutating func next(into buffer: inout ByteBuffer) -> TransportEvent? {
    var released = 0
    let event = events.pop(into: &buffer, released: &released)
    reassemblyByteCount -= released
    return event
  }

  /// True when `next` has something to give.
  public var hasEvents: Bool { !events.isEmpty }

  // MARK: Links

  /// Answers an exchange, or sends a message to a peer.
  ///
  /// An exchange ends with the answer, which has at least one byte, and is `gone` after it; so it
  /// is after `exchangeTimeout`.
  public mutating func send(
    _ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Instant
  ) -> SendOutcome {
    let slot = link.slot - slotBase
    if slot < options.exchangeCountMax {
      return answer(bytes, slot: slot, generation: link.generation, at: now)
    }
    guard let peer = findPeer(link) else { return .gone }
    return sendMessage(bytes, peer, at: now)
  }

  /// Bytes of a peer link taken and not acknowledged yet.
  public func pendingByteCount(of link: LinkID) -> Int {
    guard let slot = findPeer(link) else { return 0 }
    return peers.pointer(at: slot).pointee.outbox.byteCount
  }

  /// Ends a peer link (`closed` follows) or drops an exchange without an answer (nothing follows).
  /// What a peer has not acknowledged is lost.
  public mutating func close(_ link: LinkID, at now: Instant) {
    let slot = link.slot - slotBase
    if slot < options.exchangeCountMax {
      guard let found = exchanges.find(slot, generation: link.generation) else { return }
      let transfer = found.pointee.transfer
      exchanges.remove(at: slot)
      if transfer >= 0 { removeTransfer(transfer) }
    } else if let slot = findPeer(link) {
      sayGoodbye(slot, unknown: false)
      closePeer(slot, .closed)
    }
  }

  /// Takes no further requests and links; those open go on.
  public mutating func stopListening() { isListening = false }

  // MARK: Time

  /// Runs what is due. To be called when `deadline` has come; earlier does no harm.
  public mutating func wake(at now: Instant) {
    while let slot = exchanges.due(at: now) { expireExchange(slot) }
    guard timer <= now else { return }
    timer = .never
    for slot in 0..<transfers.usedSlotCount where transfers.isOccupied(slot) {
      wakeTransfer(slot, at: now)
    }
    for slot in 0..<peers.usedSlotCount where peers.isOccupied(slot) { wakePeer(slot, at: now) }
  }

  /// When `wake` must be called next.
  public var deadline: Instant { min(timer, exchanges.deadline) }

  // MARK: Shared by the parts

  /// Makes sure that `wake` does something at `instant`.
  mutating func arm(_ instant: Instant) { timer = min(timer, instant) }

  /// Puts a datagram out, unless too many wait to be sent already.
  @inline(__always)
  mutating func put(
    _ header: DatagramHeader, payload: UnsafeRawBufferPointer = .none,
    to endpoint: Endpoint
  ) {
    guard outgoing.byteCount < options.outgoingByteCountMax else {
      counters.unsent += 1
      return
    }
    outgoing.put(header, payload: payload, to: endpoint)
    counters.sent += 1
    counters.sentBytes += UInt64(DatagramHeader.byteCount + payload.count)
  }

  /// The number of the next reassembly; never 0.
  mutating func nextInstance() -> UInt32 {
    instanceCount &+= 1
    if instanceCount == 0 { instanceCount = 1 }
    return instanceCount
  }
}
