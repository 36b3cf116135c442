import Base

/// Datagrams to send, one behind the other in one buffer.
///
/// The owner of a core sends them in order with `sendmmsg` and removes what left. Offsets, not
/// addresses, are kept, because the buffer moves when it grows.
public struct OutgoingDatagrams: ~Copyable {
  /// Where one datagram lies and to whom it goes.
  public struct Entry: Sendable {
    /// To whom it goes.
    public var endpoint: Endpoint
    /// From the start of the buffer.
    public var offset: Int
    public var byteCount: Int
  }

  private var arena = ByteBuffer()
  private var entries: UnsafeMutablePointer<Entry>
  private var capacity = 64
  private var first = 0
  private var end = 0
  /// Raised whenever offsets lose their meaning; see `AckPlace`.
  private(set) var epoch: UInt64 = 1

  /// An empty batch.
  public init() { entries = .allocate(capacity: 64) }

  deinit { entries.deallocate() }

  /// Datagrams not sent yet.
  public var count: Int { end - first }
  /// True when all were sent.
  public var isEmpty: Bool { end == first }
  /// Bytes in the buffer, those already sent of an unfinished batch included.
  public var byteCount: Int { arena.count }

  /// The `index`-th datagram, `index < count`.
  public subscript(index: Int) -> Entry {
    invariant(index >= 0 && index < count, "an outgoing datagram exists")
    return entries[first + index]
  }

  /// The bytes of a datagram; valid until the next mutation.
  public func bytes(of entry: Entry) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: arena.bytes[entry.offset..<entry.offset + entry.byteCount])
  }

  /// The bytes of the `index`-th datagram; valid until the next mutation.
  public func bytes(at index: Int) -> UnsafeRawBufferPointer { bytes(of: self[index]) }

  /// Forgets the first `n` datagrams: they have left.
  public mutating func removeFirst(_ n: Int) {
    invariant(n >= 0 && n <= count, "only outgoing datagrams leave")
    first += n
    if n > 0 { epoch += 1 }
    if first == end { removeAll() }
  }

  /// Forgets all.
  public mutating func removeAll() {
    first = 0
    end = 0
    arena.removeAll()
    epoch += 1
  }

  // MARK: Writing

  /// Adds a datagram of `byteCount` uninitialised bytes and returns where they begin.
  mutating func extend(_ byteCount: Int, to endpoint: Endpoint) -> UnsafeMutableRawPointer {
    if end == capacity { grow() }
    let offset = arena.count
    entries[end] = Entry(endpoint: endpoint, offset: offset, byteCount: byteCount)
    end += 1
    return arena.extend(byteCount)
  }

  /// Adds an acknowledgement, or brings the one at `place` up to date if that has not left yet: a
  /// run of fragments taken in one turn costs one. Returns the bytes added, negative if it shrank.
  @discardableResult
  mutating func putAck(
    _ header: DatagramHeader, _ bitmap: UnsafeRawBufferPointer, to endpoint: Endpoint,
    _ place: inout AckPlace
  ) -> Int {
    let byteCount = DatagramHeader.byteCount + bitmap.count
    guard place.epoch == epoch, byteCount <= self[place.index].byteCount else {
      place = AckPlace(epoch: epoch, index: count)
      put(header, payload: bitmap, to: endpoint)
      return byteCount
    }
    let before = self[place.index].byteCount
    entries[first + place.index].byteCount = byteCount
    let entry = self[place.index]
    let target = arena.mutableBytes.baseAddress.unsafelyUnwrapped + entry.offset
    header.write(to: target, payload: bitmap)
    return byteCount - before
  }

  private mutating func grow() {
    let fresh = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
    fresh.moveInitialize(from: entries, count: end)
    entries.deallocate()
    entries = fresh
    capacity *= 2
  }
}

/// Where an acknowledgement lies in a batch, valid while the batch's epoch is the same.
struct AckPlace {
  var epoch: UInt64 = 0
  var index = 0
}

extension UnsafeRawBufferPointer {
  /// No bytes.
  static var none: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: nil, count: 0) }
}
