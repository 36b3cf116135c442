public import Base

/// How a message travels over a stream between peers; integers are little-endian.
///
/// ```
///  0  F5 32 50 01   magic and version of the protocol
///  4  u32           bytes of the message
///  8  u32           CRC-32C of the eight bytes before and of the message
/// 12  the message
/// ```
///
/// The first byte tells a peer from a client: no RESP, inline or HTTP request begins with it.
public enum Frame {
  /// The first byte of every frame and of every datagram's header.
  public static let firstByte: UInt8 = 0xF5
  /// Magic and version as a little-endian number: `F5 32 50 01`.
  static let magic: UInt32 = 0x0150_32F5
  /// Bytes in front of a message.
  public static let headerByteCount = 12

  /// The header of a message.
  static func header(of message: UnsafeRawBufferPointer) -> FrameHeader {
    var header = FrameHeader(byteCount: UInt32(message.count), checksum: 0)
    header.checksum = header.expectedChecksum(message)
    return header
  }

  /// Appends a message with its header.
  public static func append(_ message: UnsafeRawBufferPointer, to buffer: inout ByteBuffer) {
    let header = header(of: message)
    buffer.append(little: magic)
    buffer.append(little: header.byteCount)
    buffer.append(little: header.checksum)
    buffer.append(message)
  }
}

/// What a frame's header says besides its magic.
struct FrameHeader {
  var byteCount: UInt32
  var checksum: UInt32

  /// What the checksum must be for `message`.
  func expectedChecksum(_ message: UnsafeRawBufferPointer) -> UInt32 {
    var front = (Frame.magic.littleEndian, byteCount.littleEndian)
    let seed = withUnsafeBytes(of: &front) { CRC32C.checksum($0) }
    return CRC32C.checksum(message, seed: seed)
  }

  /// Calls `body` with the twelve bytes.
  func withBytes<R>(_ body: (UnsafeRawBufferPointer) -> R) -> R {
    var words = (Frame.magic.littleEndian, byteCount.littleEndian, checksum.littleEndian)
    return withUnsafeBytes(of: &words, body)
  }
}
