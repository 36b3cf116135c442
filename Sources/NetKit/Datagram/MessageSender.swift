import Base

/// Sends one message in fragments until all are acknowledged. The window and the timer belong to
/// the path (`Congestion`), which several messages may share.
///
/// Invariants: fragments from `freshIndex` on were never sent; `lostCount` of those below wait to
/// be sent again; `acknowledgedCount` of all were acknowledged.
struct MessageSender: ~Copyable {
  /// What to send next.
  struct Fragment {
    var index: Int
    var isRepeated: Bool
    var byteCount: Int
  }

  /// Fragments of the message; 0 for a sender of nothing.
  let fragmentCount: Int
  /// Bytes of the message.
  let byteCount: Int
  private(set) var acknowledgedCount = 0
  /// Fragments thought lost and not sent again yet.
  private(set) var lostCount = 0
  /// Fragments from here on were never sent.
  private(set) var freshIndex = 0

  private var bytes: ByteBuffer
  private let stride: Int
  /// Per fragment: the sequence under which it is under way, or one of the marks below.
  private let places: UnsafeMutablePointer<UInt64>
  /// Per fragment: when it was sent last.
  private let times: UnsafeMutablePointer<Instant>
  /// All below are acknowledged.
  private var firstOpen = 0
  private var receiverInstance: UInt32 = 0

  private static var waiting: UInt64 { 0 }
  private static var acknowledged: UInt64 { .max }

  /// Of nothing.
  init() {
    fragmentCount = 0
    byteCount = 0
    stride = 1
    bytes = ByteBuffer()
    places = .allocate(capacity: 1)
    times = .allocate(capacity: 1)
  }

  /// Copies the message; `stride` is the payload of a full datagram.
  init(_ message: UnsafeRawBufferPointer, stride: Int) {
    invariant(stride > 0, "a fragment has bytes")
    byteCount = message.count
    self.stride = stride
    fragmentCount = max(1, (message.count + stride - 1) / stride)
    bytes = ByteBuffer(capacity: message.count)
    bytes.append(message)
    places = .allocate(capacity: fragmentCount)
    places.initialize(repeating: Self.waiting, count: fragmentCount)
    times = .allocate(capacity: fragmentCount)
  }

  deinit {
    places.deallocate()
    times.deallocate()
  }

  var isComplete: Bool { acknowledgedCount == fragmentCount }
  /// All fragments have been sent at least once.
  var isSentOnce: Bool { freshIndex == fragmentCount }

  // MARK: Sending

  /// The fragment to send now, if there is one and the window has room: lost ones first.
  mutating func next(_ congestion: borrowing Congestion) -> Fragment? {
    if lostCount > 0 {
      var index = firstOpen
      while index < freshIndex, places[index] != Self.waiting { index += 1 }
      invariant(index < freshIndex, "a lost fragment is found")
      return fragment(index, repeated: true, congestion)
    }
    while freshIndex < fragmentCount, places[freshIndex] == Self.acknowledged { freshIndex += 1 }
    guard freshIndex < fragmentCount else { return nil }
    return fragment(freshIndex, repeated: false, congestion)
  }

  /// Counts a fragment that `next` gave as sent.
  mutating func sent(_ fragment: Fragment, _ congestion: inout Congestion, at now: Instant) {
    places[fragment.index] = congestion.sent(fragment.byteCount, at: now)
    times[fragment.index] = now
    if fragment.isRepeated { lostCount -= 1 } else { freshIndex = fragment.index + 1 }
  }

  /// The header fields that describe a fragment.
  func describe(_ index: Int, in header: inout DatagramHeader) {
    header.index = UInt16(index)
    header.count = UInt16(fragmentCount)
    header.stride = fragmentCount == 1 ? 0 : UInt16(stride)
    header.messageByteCount = UInt32(byteCount)
  }

  /// The bytes of a fragment; valid until the next mutation.
  func payload(_ index: Int) -> UnsafeRawBufferPointer {
    let start = index * stride
    return UnsafeRawBufferPointer(rebasing: bytes.bytes[start..<start + length(index)])
  }

  // MARK: Hearing

  /// Takes an acknowledgement; false when it belongs to a message of another form.
  mutating func acknowledge(
    _ header: DatagramHeader, bitmap: UnsafeRawBufferPointer, _ congestion: inout Congestion,
    at now: Instant
  ) -> Bool {
    guard Int(header.count) == fragmentCount else { return false }
    let isWhole = header.index == header.count
    if !isWhole { meet(header.messageByteCount) }
    let before = acknowledgedCount
    for index in firstOpen..<fragmentCount
    where isWhole || bitmap[index >> 3] >> UInt8(index & 7) & 1 == 1 {
      acknowledge(index, &congestion, at: now)
    }
    while firstOpen < fragmentCount, places[firstOpen] == Self.acknowledged { firstOpen += 1 }
    if acknowledgedCount > before, let sample = now.since(echo: header.echo) {
      congestion.roundTrip.measured(sample)
    }
    return true
  }

  /// Marks what must be lost by what was acknowledged since.
  mutating func findLost(_ congestion: inout Congestion, at now: Instant) {
    var index = firstOpen
    while index < freshIndex {
      let sequence = places[index]
      if sequence != Self.waiting, sequence != Self.acknowledged,
        congestion.isLost(sequence, sentAt: times[index], at: now)
      {
        congestion.lost(sequence, byteCount: length(index))
        places[index] = Self.waiting
        lostCount += 1
      }
      index += 1
    }
  }

  /// Everything under way waits to be sent again: the timer ran out, or it went without a cookie.
  mutating func forgetFlights(_ congestion: inout Congestion) {
    for index in firstOpen..<max(firstOpen, freshIndex)
    where places[index] != Self.waiting && places[index] != Self.acknowledged {
      congestion.forgotten(byteCount: length(index))
      places[index] = Self.waiting
      lostCount += 1
    }
  }

  // MARK: Private parts

  private func length(_ index: Int) -> Int { min(stride, byteCount - index * stride) }

  private func fragment(
    _ index: Int, repeated: Bool, _ congestion: borrowing Congestion
  ) -> Fragment? {
    let byteCount = length(index)
    guard congestion.allows(byteCount) else { return nil }
    return Fragment(index: index, isRepeated: repeated, byteCount: byteCount)
  }

  private mutating func acknowledge(
    _ index: Int, _ congestion: inout Congestion, at now: Instant
  ) {
    let sequence = places[index]
    guard sequence != Self.acknowledged else { return }
    if sequence != Self.waiting {
      congestion.acknowledged(sequence, byteCount: length(index), at: now)
    } else if index < freshIndex {
      // It was thought lost and has come after all.
      lostCount -= 1
    }
    places[index] = Self.acknowledged
    acknowledgedCount += 1
  }

  /// Learns which reassembly speaks. Another than before knows nothing of what was acknowledged to
  /// the first: the receiver has restarted or given up in between.
  private mutating func meet(_ instance: UInt32) {
    guard instance != receiverInstance else { return }
    let isFirst = receiverInstance == 0
    receiverInstance = instance
    if isFirst && acknowledgedCount == 0 { return }
    for index in 0..<fragmentCount where places[index] == Self.acknowledged {
      places[index] = Self.waiting
      if index < freshIndex { lostCount += 1 }
    }
    acknowledgedCount = 0
    firstOpen = 0
  }
}
