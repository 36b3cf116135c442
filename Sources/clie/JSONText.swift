/// Writes JSON (RFC 8259) member by member, without a tree.
///
/// Bytes that are UTF-8 become a string, others an object `{"base64": "..."}` (RFC 4648 §4,
/// padded), so nothing is lost and a string never means two things.
struct JSONText {
  private(set) var bytes: [UInt8] = []
  private var needsComma = false

  // MARK: Structure

  mutating func object(_ members: (inout JSONText) -> Void) { nest("{", "}", members) }

  mutating func array(_ elements: (inout JSONText) -> Void) { nest("[", "]", elements) }

  /// Begins a member of an object; its value follows.
  mutating func name(_ name: String) {
    separate()
    quote(Array(name.utf8))
    bytes.append(UInt8(ascii: ":"))
    needsComma = false
  }

  // MARK: Values

  mutating func value(_ content: [UInt8]) {
    if String(validating: content, as: UTF8.self) != nil {
      separate()
      quote(content)
    } else {
      object {
        $0.name("base64")
        $0.value(encodeBase64(content))
      }
    }
  }

  mutating func value(_ text: String) { value(Array(text.utf8)) }
  mutating func value(_ number: Int64) { raw(String(number)) }
  mutating func value(_ truth: Bool) { raw(truth ? "true" : "false") }
  mutating func null() { raw("null") }

  // MARK: Parts

  private mutating func raw(_ text: String) {
    separate()
    bytes += text.utf8
  }

  private mutating func separate() {
    if needsComma { bytes.append(UInt8(ascii: ",")) }
    needsComma = true
  }

  private mutating func nest(
    _ open: Unicode.Scalar, _ close: Unicode.Scalar, _ body: (inout JSONText) -> Void
  ) {
    separate()
    bytes.append(UInt8(ascii: open))
    needsComma = false
    body(&self)
    bytes.append(UInt8(ascii: close))
    needsComma = true
  }

  private mutating func quote(_ content: [UInt8]) {
    bytes.append(UInt8(ascii: "\""))
    for byte in content {
      switch byte {
      case UInt8(ascii: "\""), UInt8(ascii: "\\"): bytes += [UInt8(ascii: "\\"), byte]
      case 10: bytes += Array("\\n".utf8)
      case 13: bytes += Array("\\r".utf8)
      case 9: bytes += Array("\\t".utf8)
      case 0..<32:
        let digits = Array("0123456789abcdef".utf8)
        bytes += Array("\\u00".utf8) + [digits[Int(byte >> 4)], digits[Int(byte & 15)]]
      default: bytes.append(byte)
      }
    }
    bytes.append(UInt8(ascii: "\""))
  }
}

/// Base 64 with padding: RFC 4648 §4.
func encodeBase64(_ content: [UInt8]) -> String {
  let alphabet = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
  var text: [UInt8] = []
  text.reserveCapacity((content.count + 2) / 3 * 4)
  for start in stride(from: 0, to: content.count, by: 3) {
    let group = content[start..<min(start + 3, content.count)]
    let bits = group.reduce(UInt32(0)) { $0 << 8 | UInt32($1) } << UInt32(8 * (3 - group.count))
    for place in 0..<4 {
      let digit = alphabet[Int(bits >> UInt32(18 - 6 * place) & 63)]
      text.append(place <= group.count ? digit : UInt8(ascii: "="))
    }
  }
  return String(decoding: text, as: UTF8.self)
}
