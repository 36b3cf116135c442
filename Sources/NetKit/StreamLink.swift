public import Base

/// What a stream holds next.
public enum FrameOutcome: Hashable, Sendable {
  /// One whole message was put into the buffer.
  case message
  /// The next message has not come whole yet.
  case incomplete
  /// The stream holds what no peer sends; it stays so, the link must end.
  case violation(FrameFault)
}

/// Why a stream of frames cannot be read on.
public enum FrameFault: Hashable, Sendable {
  /// Not our magic where a frame should begin.
  case magic
  /// Ours, but of another version of the protocol.
  case version(UInt8)
  /// A message longer than the largest allowed.
  case tooLarge(UInt32)
  /// The bytes are not those that were sent.
  case checksum
}

/// The receiving side of a stream between peers: bytes in, whole messages out.
///
/// Pure. The owner appends what it read (`space` and `filled`, or `append`) and calls `next` until
/// it answers something else than `.message`. Only bytes that came are held, whatever length a
/// header declares; at most one message and one read.
public struct StreamLink: ~Copyable {
  /// The largest message taken, in bytes.
  public private(set) var messageByteCountMax: Int
  private var input = ByteBuffer()
  private var fault: FrameFault?

  /// A stream of which nothing has been read.
  public init(messageByteCountMax: Int) {
    invariant(messageByteCountMax < Int(UInt32.max), "the length of a message fits its field")
    self.messageByteCountMax = messageByteCountMax
  }

  /// Takes messages of this size from now on; what was refused before stays refused.
  public mutating func allow(_ byteCount: Int) {
    invariant(byteCount < Int(UInt32.max), "the length of a message fits its field")
    messageByteCountMax = byteCount
  }

  /// Bytes received and not yet given out as messages.
  public var byteCount: Int { input.count }

  // MARK: Bytes in

  /// Room for `byteCount` bytes; call `filled` with how many were put there before anything else.
  public mutating func space(_ byteCount: Int) -> UnsafeMutableRawPointer {
    input.extend(byteCount)
  }

  /// Says how many of the `byteCount` bytes of the last `space` were filled.
  public mutating func filled(_ n: Int, of byteCount: Int) {
    input.truncate(to: input.count - byteCount + n)
    if input.isEmpty { input.release() }
  }

  /// Copies received bytes to the end.
  public mutating func append(_ bytes: UnsafeRawBufferPointer) { input.append(bytes) }

  // MARK: Messages out

  /// Takes the next whole message: `buffer` is emptied, then filled with it.
  public mutating func next(into buffer: inout ByteBuffer) -> FrameOutcome {
    if let fault { return .violation(fault) }
    let bytes = input.bytes
    if let found = Self.checkMagic(bytes) { return fail(found) }
    guard bytes.count >= Frame.headerByteCount else { return .incomplete }
    let header = FrameHeader(byteCount: Self.word(bytes, at: 4), checksum: Self.word(bytes, at: 8))
    guard Int(header.byteCount) <= messageByteCountMax else {
      return fail(.tooLarge(header.byteCount))
    }
    let end = Frame.headerByteCount + Int(header.byteCount)
    guard bytes.count >= end else { return .incomplete }
    let message = UnsafeRawBufferPointer(rebasing: bytes[Frame.headerByteCount..<end])
    guard header.expectedChecksum(message) == header.checksum else { return fail(.checksum) }
    buffer.removeAll()
    buffer.append(message)
    input.consume(end)
    if input.isEmpty { input.release() }
    return .message
  }

  private mutating func fail(_ found: FrameFault) -> FrameOutcome {
    fault = found
    input.release()
    return .violation(found)
  }

  /// Compares as many bytes of the magic as there are, so that a stranger is told early.
  private static func checkMagic(_ bytes: UnsafeRawBufferPointer) -> FrameFault? {
    for index in 0..<min(bytes.count, 4) {
      let expected = UInt8(truncatingIfNeeded: Frame.magic >> UInt32(index * 8))
      if bytes[index] != expected { return index == 3 ? .version(bytes[3]) : .magic }
    }
    return nil
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt32 {
    UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }
}
