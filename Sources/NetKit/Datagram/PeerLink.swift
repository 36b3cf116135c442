import Base

/// One link with another node: handshake, messages out, messages in.
///
/// Each side names the link by a token of its own, and every datagram carries both, so who cannot
/// read the path cannot take part.
struct PeerLink: ~Copyable {
  /// How far the handshake is.
  enum Phase {
    /// We said hello. Can transition to: open, or end as refused.
    case calling
    /// We answered a hello and have not seen our token come back. Can transition to: open, or end
    /// silently.
    case accepting
    /// Can end by `close`, a goodbye, silence, overflow, or a new hello of a restarted peer.
    case open
  }

  let endpoint: Endpoint
  /// Names the link here; the low 16 bits are the slot.
  let localToken: UInt64
  /// Names the link at the other side; 0 while calling.
  var remoteToken: UInt64
  var phase: Phase
  /// We called; otherwise they did.
  let isCaller: Bool
  /// What the other side gave us to prove our address.
  var cookie: UInt64 = 0
  var outbox = PeerOutbox()
  var inbox = PeerInbox()
  var congestion: Congestion
  /// Some output had to wait; `drained` is owed.
  var isKeptBack = false
  var lastHeard: Instant
  var nextPing = Instant.never
  /// Calling: when to say hello again.
  var nextHello = Instant.never
  var helloCount = 0
  var handshakeEnd: Instant

  init(
    endpoint: Endpoint, localToken: UInt64, remoteToken: UInt64, phase: Phase,
    congestion: Congestion, handshakeEnd: Instant, at now: Instant
  ) {
    self.endpoint = endpoint
    self.localToken = localToken
    self.remoteToken = remoteToken
    self.phase = phase
    isCaller = phase == .calling
    self.congestion = congestion
    self.handshakeEnd = handshakeEnd
    lastHeard = now
  }
}

/// Messages for a peer that are not acknowledged yet, by number.
struct PeerOutbox: ~Copyable {
  /// Messages with numbers this far apart are never under way together; the inbox remembers more.
  static var spread: UInt64 { 256 }

  /// Bytes of the messages.
  private(set) var byteCount = 0
  /// Messages from the oldest unacknowledged to the newest, finished ones between them included.
  private(set) var count = 0
  /// The number of the oldest.
  private(set) var firstNumber: UInt64 = 1
  private var ring: UnsafeMutablePointer<MessageSender>
  private var capacity = 8
  private var head = 0
  /// Every message below has been sent in full at least once.
  private var freshNumber: UInt64 = 1

  init() { ring = .allocate(capacity: 8) }

  deinit {
    for index in 0..<count { (ring + ((head + index) & (capacity - 1))).deinitialize(count: 1) }
    ring.deallocate()
  }

  var isEmpty: Bool { count == 0 }

  /// The message of a number, if it is unacknowledged or waits for older ones.
  func find(_ number: UInt64) -> UnsafeMutablePointer<MessageSender>? {
    guard number >= firstNumber, number - firstNumber < UInt64(count) else { return nil }
    return ring + ((head + Int(number - firstNumber)) & (capacity - 1))
  }

  /// The numbers that may be under way now.
  var activeNumbers: Range<UInt64> {
    firstNumber..<(firstNumber + min(UInt64(count), Self.spread))
  }

  /// The numbers of messages that may have to be sent again.
  var sentNumbers: Range<UInt64> {
    let active = activeNumbers
    return active.lowerBound..<min(active.upperBound, max(active.lowerBound, freshNumber + 1))
  }

  /// All messages have been sent at least once.
  var isSentOnce: Bool { freshNumber >= firstNumber + UInt64(count) }

  /// Adds a message at the end.
  mutating func append(_ message: UnsafeRawBufferPointer, stride: Int) {
    if count == capacity { grow() }
    (ring + ((head + count) & (capacity - 1)))
      .initialize(to: MessageSender(message, stride: stride))
    count += 1
    byteCount += message.count
  }

  /// The next message with something to send for the first time.
  mutating func nextFresh() -> UInt64? {
    freshNumber = max(freshNumber, firstNumber)
    while freshNumber < activeNumbers.upperBound, find(freshNumber)!.pointee.isSentOnce {
      freshNumber += 1
    }
    return freshNumber < activeNumbers.upperBound ? freshNumber : nil
  }

  /// Counts a message as acknowledged in full, and forgets the leading ones that are.
  mutating func finished(_ byteCount: Int) {
    self.byteCount -= byteCount
    while count > 0, (ring + head).pointee.isComplete {
      (ring + head).deinitialize(count: 1)
      head = (head + 1) & (capacity - 1)
      count -= 1
      firstNumber += 1
    }
  }

  private mutating func grow() {
    let fresh = UnsafeMutablePointer<MessageSender>.allocate(capacity: capacity * 2)
    for index in 0..<count {
      (fresh + index).initialize(to: (ring + ((head + index) & (capacity - 1))).move())
    }
    ring.deallocate()
    ring = fresh
    head = 0
    capacity *= 2
  }
}
