import Base

/// Writing replies in RESP2 and RESP3 (redis.io/docs/reference/protocol-spec).
extension ByteBuffer {
  @inline(__always) mutating func replyOK() { append("+OK\r\n") }

  mutating func reply(simple text: StaticString) {
    append(UInt8(ascii: "+"))
    append(text)
    append("\r\n")
  }

  /// An error; line breaks in `text` are replaced.
  mutating func reply(error text: String) {
    append(UInt8(ascii: "-"))
    for byte in text.utf8 { append(byte == 13 || byte == 10 ? 32 : byte) }
    append("\r\n")
  }

  @inline(__always) mutating func reply(integer value: Int64) {
    if value == 0 { return append(":0\r\n") }
    if value == 1 { return append(":1\r\n") }
    append(UInt8(ascii: ":"))
    append(decimal: value)
    append("\r\n")
  }

  @inline(__always) mutating func reply(integer value: Int) { reply(integer: Int64(value)) }

  @inline(__always) mutating func reply(bulk bytes: UnsafeRawBufferPointer) {
    let place = extend(bytes.count + 32)
    place.storeBytes(of: UInt8(ascii: "$"), as: UInt8.self)
    var at = 1
    var digits = 1
    var left = bytes.count
    while left >= 10 {
      left /= 10
      digits += 1
    }
    var rest = bytes.count
    var index = digits
    while index > 0 {
      let digit = UInt8(truncatingIfNeeded: 48 + rest % 10)
      (place + index).storeBytes(of: digit, as: UInt8.self)
      rest /= 10
      index -= 1
    }
    at += digits
    (place + at).storeBytes(of: UInt16(0x0A0D).littleEndian, as: UInt16.self)
    at += 2
    if let from = bytes.baseAddress {
      (place + at).copyMemory(from: from, byteCount: bytes.count)
      at += bytes.count
    }
    (place + at).storeBytes(of: UInt16(0x0A0D).littleEndian, as: UInt16.self)
    at += 2
    truncate(to: count - (bytes.count + 32 - at))
  }

  mutating func reply(bulk text: String) {
    var copy = text
    copy.withUTF8 { reply(bulk: UnsafeRawBufferPointer($0)) }
  }

  mutating func reply(array count: Int) {
    append(UInt8(ascii: "*"))
    append(decimal: Int64(count))
    append("\r\n")
  }

  /// A map of `count` pairs; in RESP2 a flat array.
  mutating func reply(map count: Int, resp: UInt8) {
    append(UInt8(ascii: resp >= 3 ? "%" : "*"))
    append(decimal: Int64(resp >= 3 ? count : count * 2))
    append("\r\n")
  }

  mutating func reply(set count: Int, resp: UInt8) {
    append(UInt8(ascii: resp >= 3 ? "~" : "*"))
    append(decimal: Int64(count))
    append("\r\n")
  }

  /// No such value.
  @inline(__always) mutating func replyNil(resp: UInt8) {
    if resp >= 3 { append("_\r\n") } else { append("$-1\r\n") }
  }

  /// No such array; what EXEC answers when a watched key changed.
  mutating func replyNilArray(resp: UInt8) {
    if resp >= 3 { append("_\r\n") } else { append("*-1\r\n") }
  }

  /// Plain text for people: a verbatim string in RESP3.
  mutating func reply(text: String, resp: UInt8) {
    guard resp >= 3 else { return reply(bulk: text) }
    append(UInt8(ascii: "="))
    append(decimal: Int64(text.utf8.count + 4))
    append("\r\ntxt:")
    append(string: text)
    append("\r\n")
  }
}
