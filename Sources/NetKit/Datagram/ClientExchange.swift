import Base

/// How a client's request stands.
public enum ExchangeState: UInt8, Sendable {
  /// No whole reply yet. Can transition to: answered, expired.
  case waiting
  /// The whole reply is in `reply`. Final.
  case answered
  /// The deadline came before the reply. Final.
  case expired
}

/// The client's side of one request and its reply, without a socket or a clock.
///
/// The owner sends what lies in `outgoing`, gives what comes from the server to `handle`, and calls
/// `wake` when `deadline` has come. Once the state is not `waiting`, what lies in `outgoing` is
/// sent a last time: it may hold the acknowledgement of the reply. An owner that keeps the socket
/// may go on calling `handle` for a while, which tells a server that did not hear that
/// acknowledgement.
public struct ClientExchange: ~Copyable {
  /// How the request stands.
  public private(set) var state = ExchangeState.waiting
  /// Datagrams to send; the owner removes what left.
  public var outgoing = OutgoingDatagrams()
  /// A valid datagram came from the server, be it only a cookie.
  public private(set) var wasHeard = false
  /// All of the request was sent in a way that the server may have taken it. While this is false
  /// the request was certainly not applied.
  public private(set) var mayHaveBeenTaken = false
  /// Datagrams sent again.
  public private(set) var retransmittedCount = 0
  /// Datagrams dropped: damaged, or of no use.
  public private(set) var droppedCount = 0
  /// The server's cookie; give it to the next exchange with the same server. 0: none.
  public private(set) var cookie: UInt64

  private let id: OperationID
  private let isChange: Bool
  private let endpoint: Endpoint
  private let options: DatagramOptions
  private let expiry: Instant

  private var sender: MessageSender
  private var congestion: Congestion
  /// When the last fragment goes again, to ask for the reply; while the request is acknowledged.
  private var nextProbe = Instant.never
  private var probeCount = 0
  private var cookieCount = 0

  private var reassembly = Reassembly()
  /// The instance of the reply that is being put together.
  private var replyToken: UInt64 = 0
  private var instanceCount: UInt32
  private var ackPlace = AckPlace()
  private var whole = ByteBuffer()

  /// Begins: the first datagrams lie in `outgoing` at once.
  ///
  /// `id` names the exchange and is not `.none`; with `change` it also makes the request happen
  /// once. `request` is 1 to `messageByteCountMax` bytes and is copied. `endpoint` decides the size
  /// of datagrams and whether a cookie will be wanted. After `expiry` the state is `expired`.
  public init(
    request: UnsafeRawBufferPointer, id: OperationID, change: Bool, to endpoint: Endpoint,
    options: DatagramOptions, seed: UInt64, roundTrip: RoundTrip? = nil, cookie: UInt64 = 0,
    at now: Instant, expiry: Instant
  ) {
    options.check()
    invariant(id != .none, "a request over datagrams has an id")
    invariant(
      !request.isEmpty && request.count <= options.messageByteCountMax, "a request has a size")
    self.id = id
    isChange = change
    self.endpoint = endpoint
    self.options = options
    self.cookie = cookie
    self.expiry = expiry
    var chance = Random(seed: seed)
    instanceCount = UInt32(truncatingIfNeeded: chance.next())
    let unit = options.byteCountMax(for: endpoint) - DatagramHeader.byteCount
    sender = MessageSender(request, stride: unit)
    congestion = Congestion(
      roundTrip: roundTrip ?? RoundTrip(options), unit: unit, options: options)
    // Without a cookie a stranger's fragments are all dropped: one is enough to get it.
    if !endpoint.isLoopback && cookie == 0 { congestion.startCautiously() }
    pump(at: now)
  }

  /// The whole reply once the state is `answered`; empty before. Valid until the next mutation.
  public var reply: UnsafeRawBufferPointer { whole.bytes }

  /// What is known of the path; give it to the next exchange with the same server.
  public var roundTrip: RoundTrip { congestion.roundTrip }

  // MARK: Datagrams in

  /// Takes one datagram from the server as it came. Never traps, whatever it is.
  public mutating func handle(_ datagram: UnsafeRawBufferPointer, at now: Instant) {
    guard case .valid(let header) = DatagramHeader.parse(datagram), header.id == id else {
      droppedCount += 1
      return
    }
    guard state == .waiting else {
      handleLate(header)
      return
    }
    let payload = DatagramHeader.payload(of: datagram)
    switch header.kind {
    case .reply: handleReply(header, payload, at: now)
    case .requestAck: handleAck(header, payload, at: now)
    case .challenge: handleChallenge(header, at: now)
    default:
      droppedCount += 1
      return
    }
    if now >= expiry && state == .waiting { state = .expired }
  }

  /// A fragment of the reply that is whole already: the server has not heard that it is.
  private mutating func handleLate(_ header: DatagramHeader) {
    droppedCount += 1
    if state == .answered && header.kind == .reply && header.flags.contains(.wantsAck) {
      acknowledge(header)
    }
  }

  private mutating func handleChallenge(_ header: DatagramHeader, at now: Instant) {
    wasHeard = true
    guard header.token != cookie else { return }
    cookie = header.token
    cookieCount += 1
    if let sample = now.since(echo: header.echo) { congestion.roundTrip.measured(sample) }
    // A server that gives another cookie each time gets the request at the timer's pace.
    guard cookieCount <= Self.cookieCountMax else { return }
    sender.forgetFlights(&congestion)
    congestion.startInEarnest()
    congestion.progressed(at: now)
    pump(at: now)
  }

  private mutating func handleAck(
    _ header: DatagramHeader, _ bitmap: UnsafeRawBufferPointer, at now: Instant
  ) {
    guard sender.acknowledge(header, bitmap: bitmap, &congestion, at: now) else {
      droppedCount += 1
      return
    }
    wasHeard = true
    congestion.startInEarnest()
    if sender.isComplete {
      if nextProbe == .never { scheduleProbe(at: now) }
    } else {
      nextProbe = .never
      sender.findLost(&congestion, at: now)
      pump(at: now)
    }
  }

  private mutating func handleReply(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, at now: Instant
  ) {
    guard Int(header.messageByteCount) <= options.messageByteCountMax else {
      droppedCount += 1
      return
    }
    wasHeard = true
    if header.count == 1 {
      if !header.flags.contains(.wantsAck), let sample = now.since(echo: header.echo) {
        congestion.roundTrip.measured(sample)
      }
      whole.append(payload)
    } else {
      take(header, payload, at: now)
    }
    if !whole.isEmpty { state = .answered }
    if header.flags.contains(.wantsAck) { acknowledge(header) }
  }

  private mutating func take(
    _ header: DatagramHeader, _ payload: UnsafeRawBufferPointer, at now: Instant
  ) {
    // A reply made anew, after the server has restarted or given the first up, may differ from it.
    if reassembly.fragmentCount == 0 || header.token != replyToken {
      instanceCount = instanceCount == .max ? 1 : instanceCount + 1
      reassembly = Reassembly(header, instance: instanceCount)
      replyToken = header.token
    }
    guard reassembly.take(header, payload: payload) == .fresh else { return }
    if reassembly.isComplete { whole = reassembly.takeBytes() }
    // The reply is under way: no need to ask again for as long as it goes on.
    congestion.progressed(at: now)
    if nextProbe != .never {
      probeCount = 0
      scheduleProbe(at: now)
    }
  }

  private mutating func acknowledge(_ header: DatagramHeader) {
    let isWhole = state == .answered
    let leading = isWhole ? header.count : UInt16(reassembly.leadingCount)
    let ack = DatagramHeader(
      kind: .replyAck, index: leading, count: header.count, id: id, token: cookie,
      messageByteCount: reassembly.instance, echo: header.echo)
    outgoing.putAck(ack, isWhole ? .none : reassembly.acknowledgement, to: endpoint, &ackPlace)
  }

  // MARK: Time

  /// Runs what is due: sends again, or expires.
  public mutating func wake(at now: Instant) {
    guard state == .waiting else { return }
    if now >= expiry {
      state = .expired
      return
    }
    if congestion.timer <= now {
      sender.forgetFlights(&congestion)
      congestion.timedOut()
      pump(at: now)
    }
    if nextProbe <= now {
      put(sender.fragmentCount - 1, at: now)
      retransmittedCount += 1
      scheduleProbe(at: now)
    }
  }

  /// When `wake` must be called next.
  public var deadline: Instant {
    state == .waiting ? min(expiry, congestion.timer, nextProbe) : .never
  }

  // MARK: Datagrams out

  private mutating func pump(at now: Instant) {
    while let fragment = sender.next(congestion) {
      put(fragment.index, at: now)
      if fragment.isRepeated { retransmittedCount += 1 }
      sender.sent(fragment, &congestion, at: now)
    }
    if sender.isSentOnce && (endpoint.isLoopback || cookie != 0) { mayHaveBeenTaken = true }
  }

  private mutating func put(_ index: Int, at now: Instant) {
    var header = DatagramHeader(
      kind: .request, flags: isChange ? .change : [], id: id, token: cookie, echo: now.echo)
    sender.describe(index, in: &header)
    outgoing.put(header, payload: sender.payload(index), to: endpoint)
  }

  private mutating func scheduleProbe(at now: Instant) {
    nextProbe = now + congestion.roundTrip.timeout(backoffs: probeCount)
    probeCount += 1
  }

  /// Cookies taken at once.
  private static var cookieCountMax: Int { 4 }
}
