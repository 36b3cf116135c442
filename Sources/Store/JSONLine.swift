import Base

/// One line of JSON: an object whose fields are appended one after another.
struct JSONLine: ~Copyable {
  private(set) var bytes = ByteBuffer()
  private var isEmpty = true

  init() { bytes.append(UInt8(ascii: "{")) }

  /// Ends the line and gives it to `emit`; then another line can be begun.
  mutating func finish(_ emit: (UnsafeRawBufferPointer) -> Void) {
    bytes.append("}\n")
    emit(bytes.bytes)
    bytes.removeAll()
    bytes.append(UInt8(ascii: "{"))
    isEmpty = true
  }

  mutating func field(_ name: StaticString, _ value: UInt64) {
    begin(name, "")
    bytes.append(decimal: value)
  }

  mutating func field(_ name: StaticString, _ value: Int64) {
    begin(name, "")
    bytes.append(decimal: value)
  }

  mutating func field(_ name: StaticString, _ value: String) {
    begin(name, "")
    var value = value
    value.withUTF8 { quote(UnsafeRawBufferPointer($0)) }
  }

  /// A field that is true.
  mutating func flag(_ name: StaticString) {
    begin(name, "")
    bytes.append("true")
  }

  /// A string if the bytes are UTF-8; otherwise the field's name gets `Base64` at its end, and its
  /// value is that of the bytes.
  mutating func field(_ name: StaticString, bytes value: UnsafeRawBufferPointer) {
    if String(validating: value, as: UTF8.self) != nil {
      begin(name, "")
      quote(value)
    } else {
      begin(name, "Base64")
      bytes.append(UInt8(ascii: "\""))
      base64(value)
      bytes.append(UInt8(ascii: "\""))
    }
  }

  /// The bytes in hexadecimal digits.
  mutating func field(_ name: StaticString, hex value: UnsafeRawBufferPointer) {
    begin(name, "")
    bytes.append(UInt8(ascii: "\""))
    for byte in value {
      bytes.append(Self.hexDigits.utf8Start[Int(byte >> 4)])
      bytes.append(Self.hexDigits.utf8Start[Int(byte & 15)])
    }
    bytes.append(UInt8(ascii: "\""))
  }

  // MARK: Parts

  private mutating func begin(_ name: StaticString, _ ending: StaticString) {
    if !isEmpty { bytes.append(UInt8(ascii: ",")) }
    isEmpty = false
    bytes.append(UInt8(ascii: "\""))
    bytes.append(name)
    bytes.append(ending)
    bytes.append("\":")
  }

  /// A JSON string of UTF-8 bytes; control characters, quotes and backslashes are escaped.
  private mutating func quote(_ text: UnsafeRawBufferPointer) {
    bytes.append(UInt8(ascii: "\""))
    for byte in text {
      switch byte {
      case UInt8(ascii: "\""): bytes.append("\\\"")
      case UInt8(ascii: "\\"): bytes.append("\\\\")
      case UInt8(ascii: "\n"): bytes.append("\\n")
      case UInt8(ascii: "\r"): bytes.append("\\r")
      case UInt8(ascii: "\t"): bytes.append("\\t")
      case 0..<0x20, 0x7F:
        bytes.append("\\u00")
        bytes.append(Self.hexDigits.utf8Start[Int(byte >> 4)])
        bytes.append(Self.hexDigits.utf8Start[Int(byte & 15)])
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }

  private mutating func base64(_ value: UnsafeRawBufferPointer) {
    var index = 0
    while index < value.count {
      let count = min(3, value.count - index)
      var word: UInt32 = 0
      for step in 0..<3 {
        word = word << 8 | (step < count ? UInt32(value[index + step]) : 0)
      }
      for step in 0..<4 {
        let digit = Int(word >> UInt32(18 - 6 * step) & 63)
        bytes.append(step <= count ? Self.digits.utf8Start[digit] : UInt8(ascii: "="))
      }
      index += 3
    }
  }

  private static let hexDigits: StaticString = "0123456789abcdef"
  private static let digits: StaticString =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
}
