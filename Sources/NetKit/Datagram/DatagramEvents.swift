import Base

/// Events that the owner has not taken yet, in order, with their bytes.
///
/// A ring for the events and one buffer for small messages; whole messages of several datagrams are
/// handed over as they lie.
struct DatagramEvents: ~Copyable {
  private struct Entry {
    var event: TransportEvent
    var byteCount: Int
    /// The slot in `wholes`, or -1 when the bytes are at the front of `arena`.
    var whole: Int
  }

  private var entries: UnsafeMutablePointer<Entry>
  private var capacity = 64
  private var first = 0
  private var count = 0
  private var arena = ByteBuffer()
  private var wholes: Slab<ByteBuffer>
  private let countMax: Int
  private let byteCountMax: Int

  init(options: DatagramOptions) {
    countMax = options.eventCountMax
    byteCountMax = options.eventByteCountMax
    wholes = Slab(capacity: options.eventCountMax)
    entries = .allocate(capacity: 64)
  }

  deinit { entries.deallocate() }

  /// True when all events were taken.
  var isEmpty: Bool { count == 0 }

  /// Whether an event with so many bytes can be taken. Events of links (`opened`, `closed`,
  /// `drained`) are not asked for: they are bounded by the links.
  @inline(__always)
  func hasRoom(for byteCount: Int) -> Bool {
    count < countMax && arena.count + byteCount <= byteCountMax
  }

  /// Adds an event with a copy of its bytes.
  @inline(__always)
  mutating func push(
    _ event: TransportEvent, _ bytes: UnsafeRawBufferPointer = .none
  ) {
    append(Entry(event: event, byteCount: bytes.count, whole: -1))
    arena.append(bytes)
  }

  /// Adds an event with a message of several datagrams. There is room.
  mutating func push(_ event: TransportEvent, whole: consuming ByteBuffer) {
    let byteCount = whole.count
    append(Entry(event: event, byteCount: byteCount, whole: wholes.insert(whole)))
  }

  /// Takes the oldest event, its bytes into `buffer`. `released` is the number of bytes of a whole
  /// message that left.
  @inline(__always)
  mutating func pop(into buffer: inout ByteBuffer, released: inout Int) -> TransportEvent? {
    guard count > 0 else { return nil }
    let entry = entries[first]
    first = (first + 1) & (capacity - 1)
    count -= 1
    buffer.removeAll()
    if entry.whole >= 0 {
      released = entry.byteCount
      buffer = wholes.remove(at: entry.whole)
    } else if entry.byteCount > 0 {
      buffer.append(UnsafeRawBufferPointer(rebasing: arena.bytes[..<entry.byteCount]))
      arena.consume(entry.byteCount)
    }
    return entry.event
  }

  @inline(__always)
  private mutating func append(_ entry: Entry) {
    if count == capacity { grow() }
    entries[(first + count) & (capacity - 1)] = entry
    count += 1
  }

  private mutating func grow() {
    let fresh = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
    for index in 0..<count { fresh[index] = entries[(first + index) & (capacity - 1)] }
    entries.deallocate()
    entries = fresh
    first = 0
    capacity *= 2
  }
}
