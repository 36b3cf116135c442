import Base

/// Puts one message of several fragments together.
///
/// Invariants: `receivedCount` bits of `bitmap` are set; all below `leadingCount` are.
struct Reassembly: ~Copyable {
  /// What became of a fragment.
  enum Taken {
    case fresh
    case repeated
    /// It belongs to a message of another form.
    case contradictory
  }

  /// The message; whole once `isComplete`.
  private(set) var bytes: ByteBuffer
  /// Fragments of the message; 0 for a reassembly of nothing.
  let fragmentCount: Int
  /// Tells this reassembly from another of the same message: after a restart the sender sees by it
  /// that what was acknowledged before is gone.
  let instance: UInt32
  /// Bytes of the message.
  let byteCount: Int
  private let stride: Int
  private(set) var receivedCount = 0
  /// Fragments received without a gap from the start.
  private(set) var leadingCount = 0
  private let bitmap: UnsafeMutablePointer<UInt8>

  /// Of nothing.
  init() {
    bytes = ByteBuffer()
    fragmentCount = 0
    instance = 0
    byteCount = 0
    stride = 0
    bitmap = .allocate(capacity: 1)
  }

  /// Of the message that a fragment belongs to; `header` passed `parse`.
  init(_ header: DatagramHeader, instance: UInt32) {
    fragmentCount = Int(header.count)
    byteCount = Int(header.messageByteCount)
    stride = header.count == 1 ? byteCount : Int(header.stride)
    self.instance = instance
    bytes = ByteBuffer(capacity: byteCount)
    _ = bytes.extend(byteCount)
    let bitmapByteCount = DatagramHeader.bitmapByteCount(fragmentCount)
    bitmap = .allocate(capacity: bitmapByteCount)
    bitmap.initialize(repeating: 0, count: bitmapByteCount)
  }

  deinit { bitmap.deallocate() }

  /// All fragments have come.
  var isComplete: Bool { receivedCount == fragmentCount }

  /// Takes a fragment; `header` passed `parse` and `payload` is what follows it.
  mutating func take(_ header: DatagramHeader, payload: UnsafeRawBufferPointer) -> Taken {
    let headerStride = header.count == 1 ? byteCount : Int(header.stride)
    guard Int(header.count) == fragmentCount, Int(header.messageByteCount) == byteCount,
      headerStride == stride
    else { return .contradictory }
    let index = Int(header.index)
    if has(index) { return .repeated }
    let target = UnsafeMutableRawBufferPointer(rebasing: bytes.mutableBytes[(index * stride)...])
    target.copyMemory(from: payload)
    bitmap[index >> 3] |= 1 << UInt8(index & 7)
    receivedCount += 1
    while leadingCount < fragmentCount, has(leadingCount) { leadingCount += 1 }
    return .fresh
  }

  /// Whether a fragment would be the last one missing.
  func wouldComplete(_ header: DatagramHeader) -> Bool {
    receivedCount == fragmentCount - 1 && Int(header.index) < fragmentCount
      && !has(Int(header.index))
  }

  /// The payload of an acknowledgement: nothing once complete.
  var acknowledgement: UnsafeRawBufferPointer {
    let count = isComplete ? 0 : DatagramHeader.bitmapByteCount(fragmentCount)
    return UnsafeRawBufferPointer(start: bitmap, count: count)
  }

  /// Gives the message away and keeps nothing.
  mutating func takeBytes() -> ByteBuffer {
    var whole = ByteBuffer()
    swap(&whole, &bytes)
    return whole
  }

  private func has(_ index: Int) -> Bool { bitmap[index >> 3] >> UInt8(index & 7) & 1 == 1 }
}
