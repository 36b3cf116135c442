import Base

/// A request that was given to the node and waits for its answer.
struct Exchange {
  var endpoint: Endpoint
  var id: OperationID
  var echo: UInt32
  /// Came as a bare datagram.
  var isPlain: Bool
  /// The address has proven itself or need not.
  var isTrusted: Bool
  /// Bytes of the datagram, payload of a bare one.
  var requestByteCount: Int
  /// The slot of the transfer that its request came by; -1 for a single datagram.
  var transfer: Int
  var since: Instant
  fileprivate var older = -1
  fileprivate var younger = -1

  init(
    endpoint: Endpoint, id: OperationID = .none, echo: UInt32 = 0, isPlain: Bool = false,
    isTrusted: Bool, requestByteCount: Int, transfer: Int = -1, since: Instant
  ) {
    self.endpoint = endpoint
    self.id = id
    self.echo = echo
    self.isPlain = isPlain
    self.isTrusted = isTrusted
    self.requestByteCount = requestByteCount
    self.transfer = transfer
    self.since = since
  }
}

/// The requests that wait, in order of arrival. Finding, adding and removing cost a few
/// nanoseconds and allocate nothing.
struct ExchangeTable: ~Copyable {
  private var slots: Slab<Exchange>
  private var oldest = -1
  private var youngest = -1
  private let timeout: Interval

  init(options: DatagramOptions) {
    slots = Slab(capacity: options.exchangeCountMax)
    timeout = options.exchangeTimeout
  }

  var count: Int { slots.count }
  var isFull: Bool { slots.isFull }

  /// When the oldest gives up waiting.
  @inline(__always)
  var deadline: Instant {
    oldest < 0 ? .never : slots.pointer(at: oldest).pointee.since + timeout
  }

  /// The slot of the oldest if it has waited too long.
  func due(at now: Instant) -> Int? { oldest >= 0 && deadline <= now ? oldest : nil }

  /// The slot of the one that waits longest. There is one.
  var oldestSlot: Int { oldest }

  /// Adds one and returns its slot. There must be room.
  @inline(__always)
  mutating func insert(_ exchange: Exchange) -> Int {
    var exchange = exchange
    exchange.older = youngest
    let slot = slots.insert(exchange)
    if youngest >= 0 { slots.pointer(at: youngest).pointee.younger = slot } else { oldest = slot }
    youngest = slot
    return slot
  }

  /// Takes one out.
  @inline(__always)
  @discardableResult
  mutating func remove(at slot: Int) -> Exchange {
    let exchange = slots.remove(at: slot)
    let (older, younger) = (exchange.older, exchange.younger)
    if older >= 0 { slots.pointer(at: older).pointee.younger = younger } else { oldest = younger }
    if younger >= 0 { slots.pointer(at: younger).pointee.older = older } else { youngest = older }
    return exchange
  }

  /// The exchange of a slot and generation, if it still waits.
  @inline(__always)
  func find(_ slot: Int, generation: UInt32) -> UnsafeMutablePointer<Exchange>? {
    guard slots.isOccupied(slot), slots.generation(of: slot) == generation else { return nil }
    return slots.pointer(at: slot)
  }

  @inline(__always)
  func generation(of slot: Int) -> UInt32 { slots.generation(of: slot) }
}
