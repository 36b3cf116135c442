import Base

/// What the front of a datagram says about it.
enum ParsedDatagram {
  /// It does not begin with the header's first byte.
  case bare
  /// Too short, another version, an unknown kind, or fields that contradict each other.
  case malformed
  /// The checksum does not match.
  case damaged
  /// A header that can only be right; the payload begins behind it.
  case valid(DatagramHeader)
}

extension DatagramHeader {
  /// Reads and checks a datagram. Whatever passes can be used without a further look at its form.
  @inline(__always)
  static func parse(_ datagram: UnsafeRawBufferPointer) -> ParsedDatagram {
    guard datagram.count > 0 else { return .malformed }
    let base = datagram.baseAddress.unsafelyUnwrapped
    guard base.load(as: UInt8.self) == firstByte else { return .bare }
    guard datagram.count >= byteCount,
      UInt32(littleEndian: base.loadUnaligned(as: UInt32.self)) == magic
    else { return .malformed }
    guard checksum(datagram) == word32(base, 12) else { return .damaged }
    guard let kind = DatagramKind(rawValue: base.load(fromByteOffset: 4, as: UInt8.self)) else {
      return .malformed
    }
    let header = DatagramHeader(
      kind: kind, flags: DatagramFlags(rawValue: base.load(fromByteOffset: 5, as: UInt8.self)),
      index: word16(base, 6), count: word16(base, 8), stride: word16(base, 10),
      id: OperationID(high: word64(base, 16), low: word64(base, 24)), token: word64(base, 32),
      messageByteCount: word32(base, 40), echo: word32(base, 44))
    return header.isSound(payloadByteCount: datagram.count - byteCount)
      ? .valid(header) : .malformed
  }

  /// The payload of a datagram that was parsed.
  @inline(__always)
  static func payload(of datagram: UnsafeRawBufferPointer) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: datagram[byteCount...])
  }

  /// Writes header and payload to `place`, checksum included.
  @inline(__always)
  func write(to place: UnsafeMutableRawPointer, payload: UnsafeRawBufferPointer) {
    place.storeBytes(of: Self.magic.littleEndian, as: UInt32.self)
    place.storeBytes(of: kind.rawValue, toByteOffset: 4, as: UInt8.self)
    place.storeBytes(of: flags.rawValue, toByteOffset: 5, as: UInt8.self)
    place.storeBytes(of: index.littleEndian, toByteOffset: 6, as: UInt16.self)
    place.storeBytes(of: count.littleEndian, toByteOffset: 8, as: UInt16.self)
    place.storeBytes(of: stride.littleEndian, toByteOffset: 10, as: UInt16.self)
    place.storeBytes(of: 0, toByteOffset: 12, as: UInt32.self)
    place.storeBytes(of: id.high.littleEndian, toByteOffset: 16, as: UInt64.self)
    place.storeBytes(of: id.low.littleEndian, toByteOffset: 24, as: UInt64.self)
    place.storeBytes(of: token.littleEndian, toByteOffset: 32, as: UInt64.self)
    place.storeBytes(of: messageByteCount.littleEndian, toByteOffset: 40, as: UInt32.self)
    place.storeBytes(of: echo.littleEndian, toByteOffset: 44, as: UInt32.self)
    if let from = payload.baseAddress {
      (place + Self.byteCount).copyMemory(from: from, byteCount: payload.count)
    }
    let whole = UnsafeRawBufferPointer(start: place, count: Self.byteCount + payload.count)
    let sum = CRC32C.update(0, whole)
    place.storeBytes(of: sum.littleEndian, toByteOffset: 12, as: UInt32.self)
  }

  // MARK: Form

  /// Bytes of the bitmap for `count` fragments.
  static func bitmapByteCount(_ count: Int) -> Int { (count + 7) / 8 }

  /// Where the payload lies in the message.
  var offset: Int { Int(index) * Int(stride) }

  @inline(__always)
  private func isSound(payloadByteCount: Int) -> Bool {
    guard flags.isSubset(of: .known), count >= 1 else { return false }
    switch kind {
    case .request, .reply:
      return id != .none && isSoundFragment(payloadByteCount)
    case .message:
      return id.low != 0 && isSoundFragment(payloadByteCount)
    case .requestAck, .replyAck:
      return id != .none && isSoundAck(payloadByteCount)
    case .messageAck:
      return id.low != 0 && isSoundAck(payloadByteCount)
    case .challenge:
      return payloadByteCount == 0 && token != 0
    case .hello:
      return payloadByteCount == 0 && id.high == 0 && id.low != 0
    case .welcome, .ping, .pong, .goodbye:
      return payloadByteCount == 0 && id.high != 0 && token != 0
    }
  }

  @inline(__always)
  private func isSoundFragment(_ payloadByteCount: Int) -> Bool {
    let total = Int(messageByteCount)
    guard index < count, total > 0 || kind == .message else { return false }
    if count == 1 { return stride == 0 && payloadByteCount == total }
    let (count, stride) = (Int(count), Int(stride))
    guard count <= Self.fragmentCountMax, stride >= Self.strideMin,
      total > (count - 1) * stride, total <= count * stride
    else { return false }
    return payloadByteCount == min(stride, total - offset)
  }

  private func isSoundAck(_ payloadByteCount: Int) -> Bool {
    guard index <= count, Int(count) <= Self.fragmentCountMax else { return false }
    return payloadByteCount == (index == count ? 0 : Self.bitmapByteCount(Int(count)))
  }

  // MARK: Bytes

  /// The checksum of a received datagram: its first 16 bytes count as if the last four were zero.
  @inline(__always)
  private static func checksum(_ datagram: UnsafeRawBufferPointer) -> UInt32 {
    let base = datagram.baseAddress.unsafelyUnwrapped
    var front = (
      base.loadUnaligned(as: UInt64.self),
      base.loadUnaligned(fromByteOffset: 8, as: UInt32.self), UInt32(0)
    )
    let sum = withUnsafeBytes(of: &front) { CRC32C.update(0, $0) }
    return CRC32C.update(sum, UnsafeRawBufferPointer(rebasing: datagram[16...]))
  }

  @inline(__always)
  private static func word16(_ base: UnsafeRawPointer, _ offset: Int) -> UInt16 {
    UInt16(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt16.self))
  }

  @inline(__always)
  private static func word32(_ base: UnsafeRawPointer, _ offset: Int) -> UInt32 {
    UInt32(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt32.self))
  }

  @inline(__always)
  private static func word64(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
    UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }
}

extension OutgoingDatagrams {
  /// Adds a datagram.
  @inline(__always)
  mutating func put(
    _ header: DatagramHeader, payload: UnsafeRawBufferPointer = .none,
    to endpoint: Endpoint
  ) {
    let place = extend(DatagramHeader.byteCount + payload.count, to: endpoint)
    header.write(to: place, payload: payload)
  }
}

extension Instant {
  /// The low 32 bits of the time in microseconds, never 0: what `echo` carries.
  var echo: UInt32 { max(1, UInt32(truncatingIfNeeded: nanos / 1_000)) }

  /// The time since `echo` was written; nil when that makes no sense.
  func since(echo: UInt32) -> Interval? {
    let micros = UInt32(truncatingIfNeeded: nanos / 1_000) &- echo
    return echo != 0 && micros < 60_000_000 ? .micros(UInt64(micros)) : nil
  }
}
