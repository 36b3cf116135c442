import Base

/// The 48 bytes at the front of every datagram but the bare ones; integers are little-endian.
///
/// ```
///  0  F5 32 50 01        magic and version of the protocol
///  4  kind u8            see DatagramKind
///  5  flags u8           see DatagramFlags
///  6  index u16          of this fragment; in an acknowledgement: fragments received without a gap
///  8  count u16          of the message's fragments, at least 1
/// 10  stride u16         payload bytes of every fragment but the last, when count > 1; otherwise 0
/// 12  checksum u32       CRC-32C over the whole datagram with these four bytes zero
/// 16  id u64, u64        high and low half of the id of the exchange; between peers the token of
///                        the receiver and the number of the message
/// 32  token u64          to a server: the cookie; from a server: the cookie or the instance of
///                        the reply; between peers the token of the sender
/// 40  message u32        bytes of the whole message; in an acknowledgement: the instance of the
///                        reassembly
/// 44  echo u32           chosen by the sender of a message, repeated by what answers it
/// 48  payload
/// ```
struct DatagramHeader: Equatable {
  var kind: DatagramKind
  var flags: DatagramFlags = []
  var index: UInt16 = 0
  var count: UInt16 = 1
  var stride: UInt16 = 0
  var id: OperationID
  var token: UInt64 = 0
  var messageByteCount: UInt32 = 0
  var echo: UInt32 = 0

  /// Bytes of the header.
  static var byteCount: Int { 48 }
  /// The first four bytes as a little-endian number: `F5 32 50 01`.
  static var magic: UInt32 { 0x0150_32F5 }
  /// The first byte; what begins with another is a bare datagram.
  static var firstByte: UInt8 { 0xF5 }
  /// The most fragments of a message; keeps the bitmap of an acknowledgement within 512 bytes.
  static var fragmentCountMax: Int { 4_096 }
  /// The smallest stride taken, so that nobody makes us keep books about single bytes.
  static var strideMin: Int { 256 }
}

/// What a datagram is.
enum DatagramKind: UInt8 {
  /// Client to server: a fragment of a request.
  case request = 1
  /// Server to client: a fragment of a reply.
  case reply = 2
  /// Server to client: which fragments of the request have come. Payload: bitmap, or nothing when
  /// all have.
  case requestAck = 3
  /// Client to server: which fragments of the reply have come.
  case replyAck = 4
  /// To a stranger: repeat what you said with this cookie in `token`.
  case challenge = 5
  /// Between peers: opens a link; `id.high` 0, `id.low` the token of the sender, `token` the
  /// cookie.
  case hello = 6
  /// Between peers: answers a hello; `id.high` the receiver's token, `token` the sender's.
  case welcome = 7
  /// Between peers: a fragment of message `id.low`.
  case message = 8
  /// Between peers: which fragments of message `id.low` have come.
  case messageAck = 9
  /// Between peers: asks for a `pong`.
  case ping = 10
  /// Between peers: answers a `ping`.
  case pong = 11
  /// Between peers: the link is closed, or `id.high` was told a token that names nothing here.
  case goodbye = 12
}

/// The bits of the flags byte; the others are zero.
struct DatagramFlags: OptionSet {
  var rawValue: UInt8
  /// The request changes something; its id makes it happen once.
  static let change = DatagramFlags(rawValue: 1)
  /// The sender repeats this message until it is acknowledged.
  static let wantsAck = DatagramFlags(rawValue: 2)
  /// All bits that mean something.
  static let known: DatagramFlags = [.change, .wantsAck]
}
