import Base

/// Messages from a peer: those being put together, and which were delivered.
///
/// Invariant: all numbers below `base` were delivered; bit n of the ring says it for those from
/// `base` to `base + spread - 1`.
struct PeerInbox: ~Copyable {
  /// Numbers from the lowest undelivered that are remembered.
  static var spread: UInt64 { 1_024 }

  private(set) var base: UInt64 = 1
  /// Bytes of all messages being put together.
  private(set) var byteCount = 0
  private let delivered: UnsafeMutablePointer<UInt64>
  /// Few at a time: a peer begins a message when those before are under way.
  private var parts: Slab<Reassembly>
  /// Per slot of `parts`: the message's number and its last acknowledgement.
  private let notes: UnsafeMutablePointer<Note>

  private struct Note {
    var number: UInt64
    var ackPlace = AckPlace()
  }

  init() {
    delivered = .allocate(capacity: 16)
    delivered.initialize(repeating: 0, count: 16)
    parts = Slab(capacity: Int(PeerOutbox.spread))
    notes = .allocate(capacity: Int(PeerOutbox.spread))
  }

  deinit {
    delivered.deallocate()
    notes.deallocate()
  }

  // MARK: What was delivered

  /// True for a message delivered before.
  func wasDelivered(_ number: UInt64) -> Bool {
    if number < base { return true }
    return number - base < Self.spread && bit(number)
  }

  /// True for a message so far ahead that no honest peer sends it.
  func isTooFarAhead(_ number: UInt64) -> Bool {
    number >= base && number - base >= Self.spread
  }

  /// Remembers a message as delivered; it is not too far ahead.
  mutating func deliver(_ number: UInt64) {
    delivered[Int(number >> 6 & 15)] |= 1 << (number & 63)
    while bit(base) {
      delivered[Int(base >> 6 & 15)] &= ~(1 << (base & 63))
      base += 1
    }
  }

  private func bit(_ number: UInt64) -> Bool {
    delivered[Int(number >> 6 & 15)] >> (number & 63) & 1 == 1
  }

  // MARK: Messages of several datagrams

  /// The place of a message that was begun.
  func find(_ number: UInt64) -> Int? {
    guard !parts.isEmpty else { return nil }
    for place in 0..<parts.usedSlotCount
    where parts.isOccupied(place) && notes[place].number == number {
      return place
    }
    return nil
  }

  /// Begins a message and returns its place; nil when there are too many.
  mutating func begin(_ number: UInt64, _ reassembly: consuming Reassembly) -> Int? {
    guard !parts.isFull else { return nil }
    byteCount += reassembly.byteCount
    let place = parts.insert(reassembly)
    notes[place] = Note(number: number)
    return place
  }

  /// Ends a message.
  mutating func end(at place: Int) {
    let reassembly = parts.remove(at: place)
    byteCount -= reassembly.byteCount
  }

  /// The message at a place; stays valid until it ends.
  func reassembly(at place: Int) -> UnsafeMutablePointer<Reassembly> { parts.pointer(at: place) }

  func ackPlace(at place: Int) -> AckPlace { notes[place].ackPlace }

  mutating func setAckPlace(_ ackPlace: AckPlace, at place: Int) {
    notes[place].ackPlace = ackPlace
  }
}
