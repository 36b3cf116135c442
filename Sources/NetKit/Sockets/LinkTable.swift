internal import Base

/// Where a link over TCP stands.
enum LinkState: UInt8 {
  /// The slot is unused.
  case free
  /// Accepted; the first byte, which tells what it is, has not come. Can transition to: stream,
  /// peer, free.
  case fresh
  /// A peer link that we are opening. Can transition to: peer, free.
  case connecting
  /// A client. Can transition to: lingering, free.
  case stream
  /// Another node. Can transition to: lingering, free.
  case peer
  /// Closed for its owner; what still arrives is thrown away until the other side has closed too.
  /// Can transition to: free.
  case lingering
}

/// What else is known of a link.
struct LinkFlags: OptionSet {
  var rawValue: UInt16

  /// There may be something to read.
  static let readable = LinkFlags(rawValue: 1)
  /// The kernel may take output again.
  static let writable = LinkFlags(rawValue: 2)
  /// In the queue of links to be visited.
  static let queued = LinkFlags(rawValue: 4)
  /// Not to be read: its owner said so.
  static let paused = LinkFlags(rawValue: 8)
  /// Not to be read: too much of its output is pending.
  static let throttled = LinkFlags(rawValue: 16)
  /// Output is watched for; stays so from the first time on.
  static let watchesOutput = LinkFlags(rawValue: 32)
  /// The kernel has seen the other side finish or fail: read on until the end shows.
  static let finished = LinkFlags(rawValue: 64)
  /// The kernel has seen both directions end.
  static let hungUp = LinkFlags(rawValue: 128)
  /// The end has been read.
  static let ended = LinkFlags(rawValue: 256)
  /// To be closed when all output has left.
  static let closing = LinkFlags(rawValue: 512)
  /// Accepted in a place that is kept for other nodes.
  static let spare = LinkFlags(rawValue: 1_024)
}

/// All that is kept for one link over TCP; a plain value of about a hundred bytes, because there
/// are ten thousand of them.
struct LinkSlot {
  var descriptor: Int32 = -1
  var generation: UInt32 = 1
  var state = LinkState.free
  var flags: LinkFlags = []
  /// The next free slot, or -1.
  var nextFree: Int32 = -1
  /// When something last came from the other side; when it was accepted, before that.
  var lastReceived = Instant.zero
  /// While output is pending: when the kernel last took some of it, or when it began to be.
  /// While connecting or lingering: since when.
  var since = Instant.zero
  var endpoint = Endpoint(high: 0, low: 0, port: 0)
  var output = OutputQueue()
  /// The frames being received, for a peer.
  var frames: UnsafeMutablePointer<StreamLink>?
}

/// The slots of all links over TCP; a slot is used again under another generation.
///
/// Pointers into the table are valid until the next `open`.
struct LinkTable: ~Copyable {
  private var slots: UnsafeMutablePointer<LinkSlot>
  private var capacity: Int
  private var firstFree: Int32 = -1
  /// Slots used so far; those above have never been used.
  private(set) var usedCount = 0
  /// Slots that are not free.
  private(set) var openCount = 0

  init() {
    capacity = 64
    slots = .allocate(capacity: capacity)
  }

  deinit { slots.deallocate() }

  /// Takes a free slot and names it.
  mutating func open() -> LinkID {
    let index: Int
    if firstFree >= 0 {
      index = Int(firstFree)
      firstFree = slots[index].nextFree
    } else {
      if usedCount == capacity { grow() }
      index = usedCount
      usedCount += 1
      (slots + index).initialize(to: LinkSlot())
    }
    openCount += 1
    return LinkID(slot: index, generation: slots[index].generation)
  }

  /// The slot of a link; nil when the link is gone.
  @inline(__always)
  func find(_ link: LinkID) -> UnsafeMutablePointer<LinkSlot>? {
    let index = link.slot
    guard index < usedCount, slots[index].generation == link.generation else { return nil }
    return slots[index].state == .free ? nil : slots + index
  }

  /// The slot of a link that was just taken by `open` and is still free otherwise.
  func find(opened link: LinkID) -> UnsafeMutablePointer<LinkSlot> { slots + link.slot }

  /// The link in the `index`-th slot; nil when it is free. `index < usedCount`.
  func link(at index: Int) -> LinkID? {
    let slot = slots + index
    guard slot.pointee.state != .free else { return nil }
    return LinkID(slot: index, generation: slot.pointee.generation)
  }

  /// Frees the slot of a link whose parts have been given back already.
  mutating func release(_ link: LinkID) {
    let index = link.slot
    var generation = link.generation &+ 1
    if generation == 0 { generation = 1 }
    slots[index] = LinkSlot(generation: generation, nextFree: firstFree)
    firstFree = Int32(truncatingIfNeeded: index)
    openCount -= 1
  }

  private mutating func grow() {
    let fresh = UnsafeMutablePointer<LinkSlot>.allocate(capacity: capacity * 2)
    fresh.moveInitialize(from: slots, count: usedCount)
    slots.deallocate()
    slots = fresh
    capacity *= 2
  }
}
