/// The 128-bit name of one change, in UUIDv7 layout (RFC 9562): 48 bits of Unix milliseconds, then
/// the version and variant bits, the rest random.
///
/// One kind of id serves UDP, `ONCE` and `clie`; DESIGN guarantee 4.
public struct OperationID: Hashable, Comparable, Sendable {
  /// The first eight bytes in network order: milliseconds, version, 12 random bits.
  public var high: UInt64
  /// The last eight bytes in network order: variant, 62 random bits.
  public var low: UInt64

  /// Joins the halves; any 128 bits are taken as they are.
  @inlinable public init(high: UInt64, low: UInt64) {
    self.high = high
    self.low = low
  }

  /// The id that names nothing; sent with requests that carry no id.
  @inlinable public static var none: OperationID { OperationID(high: 0, low: 0) }

  /// A new id from a time and 74 random bits taken out of `a` and `b`.
  @inlinable public init(unixMillis: Int64, random a: UInt64, _ b: UInt64) {
    high = UInt64(bitPattern: unixMillis) << 16 | 0x7000 | (a & 0xFFF)
    low = 0x8000_0000_0000_0000 | (b >> 2)
  }

  /// The Unix milliseconds within the id.
  @inlinable public var unixMillis: Int64 { Int64(high >> 16) }

  @inlinable public static func < (a: OperationID, b: OperationID) -> Bool {
    a.high != b.high ? a.high < b.high : a.low < b.low
  }

  /// Parses 32 hexadecimal digits, with hyphens anywhere between them; nil for anything else.
  public init?(text: UnsafeRawBufferPointer) {
    var digits = 0
    var high: UInt64 = 0
    var low: UInt64 = 0
    for byte in text where byte != UInt8(ascii: "-") {
      let digit: UInt64
      switch byte {
      case UInt8(ascii: "0")...UInt8(ascii: "9"): digit = UInt64(byte - 48)
      case UInt8(ascii: "a")...UInt8(ascii: "f"): digit = UInt64(byte - 87)
      case UInt8(ascii: "A")...UInt8(ascii: "F"): digit = UInt64(byte - 55)
      default: return nil
      }
      guard digits < 32 else { return nil }
      if digits < 16 { high = high << 4 | digit } else { low = low << 4 | digit }
      digits += 1
    }
    guard digits == 32 else { return nil }
    self.init(high: high, low: low)
  }

  /// Parses as `init(text:)` does.
  public init?(_ string: String) {
    var copy = string
    guard let id = copy.withUTF8({ OperationID(text: UnsafeRawBufferPointer($0)) }) else {
      return nil
    }
    self = id
  }
}

extension OperationID: CustomStringConvertible {
  /// The 36 characters of a UUID, lower case.
  public var description: String {
    let hex = Array("0123456789abcdef".utf8)
    var out: [UInt8] = []
    out.reserveCapacity(36)
    for index in 0..<32 {
      if index == 8 || index == 12 || index == 16 || index == 20 { out.append(45) }
      let word = index < 16 ? high : low
      out.append(hex[Int(word >> UInt64(60 - (index % 16) * 4) & 0xF)])
    }
    return String(decoding: out, as: UTF8.self)
  }
}
