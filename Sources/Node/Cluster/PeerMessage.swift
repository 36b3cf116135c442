import Base
import TPC

/// What members say to each other below the transactions; integers are little-endian.
///
/// The transport carries whole messages (over TCP in frames with length and checksum, see `Frame`;
/// over UDP see `DatagramHeader`), and may lose, repeat or reorder them.
///
/// ```
/// hello (kind 1)                              all others
///  0  u8   kind                                0  u8   kind
///  1  u8   newest version spoken               1  u8   version agreed on
///  2  u8   oldest version spoken               2  u16  sender
///  3  u8   flags: bit 0, a secret is set;      4  u64  session: the two nonces' first words, xored
///          bit 1, from who wants to join;
///          bit 2, from a guest, bit 3,
///          that has voted; bit 4, the
///          directory is told
///  4  u16  sender                              12 the rest
///  6  u16  receiver
///  8  u64  cluster id                         proof (2), welcome (3)
/// 16  u64  epoch                               12 code, 32 bytes; zeroes without a secret
/// 24  u64  incarnation                        payload (4)
/// 32  u64  hybrid stamp                        12 the negotiator's message
/// 40  16   nonce                              ping (5), pong (6)
/// 56  16   nonce of the caller that is         12 u64 the pinger's monotonic time
///          answered; zeroes from a caller      20 u64 the sender's Unix time in nanoseconds
/// 72  with bits 1 or 2: u8 length, then the    28 u64 epoch
///      address where it is or will be         refusal (7): session 0 or that of the link
///      reached                                 12 u8 reason
///     with bit 4: u64 name of the data        copy (9)
///      directory                               12 a `CopyMessage`
///     (later versions may add bytes,
///      256 in all at most)
/// ```
///
/// The caller is the member with the lower id. It says hello, the other answers with its hello, the
/// caller proves the secret, the other proves it in its welcome; then both send. A member with a
/// higher id that has had no link for a while calls too: it is refused as one that is to be called
/// (5), or, if it was removed, heard and told the list. Where its id is another one's by now the
/// list and a refusal are all that it hears on that link. Who wants to join calls any member, with
/// the id that it wants or 0, to member 0, and with cluster id 0 while it knows none; the answer's
/// receiver is the id that it gets. Its link ends with the welcome: then it is the other's guest,
/// linked by the rules for members, and is sent its data. Later versions keep the first 72 bytes of
/// a hello and the form of a refusal, so that members that do not understand each other can at
/// least say so.
enum PeerMessage {
  case hello(PeerHello)
  case proof(PeerHeader, code: Range<Int>)
  case welcome(PeerHeader, code: Range<Int>)
  case payload(PeerHeader, Range<Int>)
  case ping(PeerHeader, PeerPulse)
  case pong(PeerHeader, PeerPulse)
  case refusal(PeerHeader, PeerRefusal)
  case copy(PeerHeader, Range<Int>)
  case list(PeerHeader, Range<Int>)

  /// Bytes before the rest of every message but a hello.
  static var headerByteCount: Int { 12 }
  /// The longest message before a link is proven.
  static var handshakeByteCountMax: Int { 256 }

  /// Reads one message; nil for what no member sends.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard let kind = bytes.first.flatMap(PeerMessageKind.init) else { return nil }
    if kind == .hello {
      guard let hello = PeerHello(bytes) else { return nil }
      self = .hello(hello)
      return
    }
    guard let header = PeerHeader(bytes) else { return nil }
    let rest = Self.headerByteCount..<bytes.count
    switch kind {
    case .hello: return nil
    case .proof, .welcome:
      guard rest.count == PeerProof.codeByteCount else { return nil }
      self = kind == .proof ? .proof(header, code: rest) : .welcome(header, code: rest)
    case .payload: self = .payload(header, rest)
    case .copy: self = .copy(header, rest)
    case .ping, .pong:
      guard let pulse = PeerPulse(bytes) else { return nil }
      self = kind == .ping ? .ping(header, pulse) : .pong(header, pulse)
    case .refusal:
      guard rest.count == 1, let reason = PeerRefusal(rawValue: bytes[rest.lowerBound]) else {
        return nil
      }
      self = .refusal(header, reason)
    case .list: self = .list(header, rest)
    }
  }
}

/// The first byte of a message.
enum PeerMessageKind: UInt8 {
  case hello = 1
  case proof, welcome, payload, ping, pong, refusal, list, copy
}

/// The beginning of every message but a hello.
struct PeerHeader: Hashable {
  var version: UInt8
  var sender: MemberID
  var session: UInt64

  init(version: UInt8, sender: MemberID, session: UInt64) {
    self.version = version
    self.sender = sender
    self.session = session
  }

  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= PeerMessage.headerByteCount else { return nil }
    version = bytes[1]
    sender = MemberID(little(bytes, at: 2))
    session = little(bytes, at: 4)
  }

  func append(_ kind: PeerMessageKind, to buffer: inout ByteBuffer) {
    buffer.append(kind.rawValue)
    buffer.append(version)
    buffer.append(little: sender.number)
    buffer.append(little: session)
  }
}

/// Sixteen bytes that were never used before.
struct PeerNonce: Hashable {
  var first: UInt64 = 0
  var last: UInt64 = 0
}

/// The first word of either side.
struct PeerHello: Hashable {
  var versions: ClosedRange<UInt8>
  var hasSecret: Bool
  var sender: MemberID
  var receiver: MemberID
  var clusterID: UInt64
  var epoch: Epoch
  var incarnation: UInt64
  var stamp: Stamp
  var nonce: PeerNonce
  /// The caller's nonce in an answer.
  var answered = PeerNonce()
  /// Of who wants to join: where it will be reached.
  var joinerAddress: String?

  /// Of a guest: where it is reached. Another process may have been given its id.
  var guestAddress: String?
  /// Of a guest: it has voted for the change that makes it a member, and must hear what came of it.
  var hasVoted = false
  /// The name of the sender's data directory; 0: it is not told.
  var directory: UInt64 = 0

  /// The longest such address: with it a hello is within its bounds.
  static var addressByteCountMax: Int { 160 }

  static var byteCount: Int { 72 }

  init(
    versions: ClosedRange<UInt8>, hasSecret: Bool, sender: MemberID, receiver: MemberID,
    clusterID: UInt64, epoch: Epoch, incarnation: UInt64, stamp: Stamp, nonce: PeerNonce,
    answered: PeerNonce
  ) {
    self.versions = versions
    self.hasSecret = hasSecret
    self.sender = sender
    self.receiver = receiver
    self.clusterID = clusterID
    self.epoch = epoch
    self.incarnation = incarnation
    self.stamp = stamp
    self.nonce = nonce
    self.answered = answered
  }

  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Self.byteCount, bytes.count <= PeerMessage.handshakeByteCountMax,
      bytes[2] <= bytes[1], let number = UInt32(exactly: little(bytes, at: 16) as UInt64)
    else { return nil }
    versions = bytes[2]...bytes[1]
    hasSecret = bytes[3] & 1 != 0
    sender = MemberID(little(bytes, at: 4))
    receiver = MemberID(little(bytes, at: 6))
    clusterID = little(bytes, at: 8)
    epoch = Epoch(number)
    incarnation = little(bytes, at: 24)
    stamp = Stamp(nanos: little(bytes, at: 32))
    nonce = PeerNonce(first: little(bytes, at: 40), last: little(bytes, at: 48))
    answered = PeerNonce(first: little(bytes, at: 56), last: little(bytes, at: 64))
    var end = Self.byteCount
    if bytes[3] & 6 != 0 {
      guard let address = Self.address(UnsafeRawBufferPointer(rebasing: bytes[end...])) else {
        return nil
      }
      if bytes[3] & 2 != 0 { joinerAddress = address } else { guestAddress = address }
      hasVoted = bytes[3] & 8 != 0
      end += 1 + address.utf8.count
    }
    guard bytes[3] & 16 != 0 else { return }
    guard bytes.count - end >= 8 else { return nil }
    directory = little(bytes, at: end)
  }

  private static func address(_ bytes: UnsafeRawBufferPointer) -> String? {
    guard let count = bytes.first.map(Int.init), (1...addressByteCountMax).contains(count),
      bytes.count > count
    else { return nil }
    let text = bytes[1...count]
    guard text.allSatisfy({ $0 > 32 && $0 < 127 }) else { return nil }
    return String(decoding: text, as: UTF8.self)
  }

  func append(to buffer: inout ByteBuffer) {
    buffer.append(PeerMessageKind.hello.rawValue)
    buffer.append(versions.upperBound)
    buffer.append(versions.lowerBound)
    let kind: UInt8 = joinerAddress != nil ? 2 : guestAddress != nil ? 4 : 0
    buffer.append((hasSecret ? 1 : 0) | kind | (hasVoted ? 8 : 0) | (directory != 0 ? 16 : 0))
    buffer.append(little: sender.number)
    buffer.append(little: receiver.number)
    for word in [clusterID, UInt64(epoch.number), incarnation, stamp.nanos] {
      buffer.append(little: word)
    }
    for word in [nonce.first, nonce.last, answered.first, answered.last] {
      buffer.append(little: word)
    }
    if let address = joinerAddress ?? guestAddress {
      buffer.append(UInt8(address.utf8.count))
      buffer.append(string: address)
    }
    if directory != 0 { buffer.append(little: directory) }
  }
}

/// What a ping says and a pong answers.
struct PeerPulse: Hashable {
  /// The pinger's monotonic time when it asked, in nanoseconds; means nothing to the other side.
  var asked: UInt64
  /// The sender's Unix time in nanoseconds.
  var wallNanos: UInt64
  /// The sender's epoch.
  var epoch: Epoch

  init(asked: UInt64, wallNanos: UInt64, epoch: Epoch) {
    self.asked = asked
    self.wallNanos = wallNanos
    self.epoch = epoch
  }

  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == PeerMessage.headerByteCount + 24,
      let number = UInt32(exactly: little(bytes, at: 28) as UInt64)
    else { return nil }
    asked = little(bytes, at: 12)
    wallNanos = little(bytes, at: 20)
    epoch = Epoch(number)
  }

  func append(to buffer: inout ByteBuffer) {
    for word in [asked, wallNanos, UInt64(epoch.number)] { buffer.append(little: word) }
  }
}

/// Why a member does not want to talk to another; told to it, and logged once on both sides.
enum PeerRefusal: UInt8, CaseIterable, CustomStringConvertible {
  case otherCluster = 1
  case unknownMember, sameMember, otherMember, wrongDirection, version
  case badSecret, secretMissing, secretUnexpected, notLoopback
  case idTaken, addressTaken, badAddress, clusterFull, joinerWaits
  case otherDirectory, alreadyHere

  /// Completes "refused ...:" with what is wrong with the one that was refused.
  var description: String {
    switch self {
    case .otherCluster: "it belongs to another cluster (another --cluster list)"
    case .unknownMember: "its id is not that of a member"
    case .sameMember: "it has the same --id"
    case .otherMember: "it looked for another member at this address"
    case .wrongDirection: "the member with the lower id opens the link"
    case .version: "no version of the protocol in common"
    case .badSecret: "its cluster secret is another one"
    case .secretMissing: "it has no cluster secret, this cluster has one"
    case .secretUnexpected: "it has a cluster secret, this cluster has none"
    case .notLoopback: "without a cluster secret members are on loopback addresses only"
    case .idTaken: "its --id is that of a member; leave it out to get a free one"
    case .addressTaken: "a member has its address (--advertise)"
    case .badAddress: "its address (--advertise) is not HOST:PORT"
    case .clusterFull: "the cluster has as many members as it may have"
    case .joinerWaits: "another one is joining there"
    case .otherDirectory:
      "its data directory is not the one that this member had; if that is lost, remove the member "
        + "by force and let it join anew, with an empty directory"
    case .alreadyHere: "another process of this member is there"
    }
  }

  /// It passes by itself: to ask again is of use.
  var mayPass: Bool { self == .joinerWaits || self == .unknownMember }
}

@inline(__always)
private func little<T: FixedWidthInteger>(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> T {
  T(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: T.self))
}
