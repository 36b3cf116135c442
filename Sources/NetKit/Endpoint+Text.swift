extension Endpoint: CustomStringConvertible {
  /// Reads `a.b.c.d:port` or `[v6]:port`; nil for anything else, names included.
  public init?(_ text: String) {
    guard let colon = text.utf8.lastIndex(of: UInt8(ascii: ":")) else { return nil }
    guard let port = Self.parsePort(text[text.index(after: colon)...].utf8) else { return nil }
    var address = text[..<colon]
    if address.utf8.first == UInt8(ascii: "[") {
      guard address.utf8.last == UInt8(ascii: "]") else { return nil }
      address = address.dropFirst().dropLast()
      guard address.utf8.contains(UInt8(ascii: ":")) else { return nil }
    } else if address.utf8.contains(UInt8(ascii: ":")) {
      return nil
    }
    self.init(address: String(address), port: port)
  }

  /// Reads a numeric address: `a.b.c.d`, or IPv6 as RFC 4291 §2.2 writes it, with a numeric scope
  /// (`fe80::1%2`) if need be; nil for anything else, names included.
  public init?(address: String, port: UInt16) {
    let bytes = Array(address.utf8)
    if let ipv4 = Self.parseIPv4(bytes[...]) {
      self.init(ipv4: ipv4, port: port)
      return
    }
    var scope: UInt32 = 0
    var text = bytes[...]
    if let percent = bytes.firstIndex(of: UInt8(ascii: "%")) {
      guard let number = UInt32(String(decoding: bytes[(percent + 1)...], as: UTF8.self)) else {
        return nil
      }
      scope = number
      text = bytes[..<percent]
    }
    guard let (high, low) = Self.parseIPv6(text) else { return nil }
    self.init(high: high, low: low, port: port, scope: scope)
  }

  /// `a.b.c.d:port` or `[v6]:port`.
  public var description: String {
    isIPv4 ? "\(addressText):\(port)" : "[\(addressText)]:\(port)"
  }

  /// The address alone; IPv6 as RFC 5952 writes it.
  public var addressText: String {
    if isIPv4 {
      return [24, 16, 8, 0].map { String(low >> UInt64($0) & 0xFF) }.joined(separator: ".")
    }
    let text = ipv6Text
    return scope == 0 ? text : "\(text)%\(scope)"
  }

  // MARK: Printing

  /// The eight groups in hexadecimal; the longest run of two or more zero groups becomes `::`.
  private var ipv6Text: String {
    let groups = (0..<8).map { index in
      UInt16(truncatingIfNeeded: (index < 4 ? high : low) >> UInt64((3 - index % 4) * 16))
    }
    let gap = Self.longestZeroRun(groups)
    func text(_ part: ArraySlice<UInt16>) -> String {
      part.map { String($0, radix: 16) }.joined(separator: ":")
    }
    guard gap.count >= 2 else { return text(groups[...]) }
    return text(groups[..<gap.lowerBound]) + "::" + text(groups[gap.upperBound...])
  }

  private static func longestZeroRun(_ groups: [UInt16]) -> Range<Int> {
    var longest = 0..<0
    var start = 0
    for index in 0...8 where index == 8 || groups[index] != 0 {
      if index - start > longest.count { longest = start..<index }
      start = index + 1
    }
    return longest
  }

  // MARK: Parsing

  /// Decimal digits, at most 65,535, no sign.
  private static func parsePort(_ text: Substring.UTF8View) -> UInt16? {
    guard !text.isEmpty, text.count <= 5 else { return nil }
    var value: UInt32 = 0
    for byte in text {
      guard byte >= 48, byte <= 57 else { return nil }
      value = value * 10 + UInt32(byte - 48)
    }
    return UInt16(exactly: value)
  }

  /// Four decimal numbers, without leading zeroes (some readers take those for octal).
  private static func parseIPv4(_ text: ArraySlice<UInt8>) -> UInt32? {
    var value: UInt32 = 0
    let parts = text.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false)
    guard parts.count == 4 else { return nil }
    for part in parts {
      guard (1...3).contains(part.count), part.count == 1 || part.first != 48 else { return nil }
      var number: UInt32 = 0
      for byte in part {
        guard byte >= 48, byte <= 57 else { return nil }
        number = number * 10 + UInt32(byte - 48)
      }
      guard number <= 255 else { return nil }
      value = value << 8 | number
    }
    return value
  }

  /// Up to eight groups, one `::`, and an IPv4 address in place of the last two groups.
  private static func parseIPv6(_ text: ArraySlice<UInt8>) -> (high: UInt64, low: UInt64)? {
    guard let (before, rest) = splitAtGap(text) else { return nil }
    guard var groups = parseGroups(before, isLast: rest == nil) else { return nil }
    if let rest {
      guard let tail = parseGroups(rest, isLast: true) else { return nil }
      guard groups.count + tail.count <= 7 else { return nil }
      groups += [UInt16](repeating: 0, count: 8 - groups.count - tail.count) + tail
    }
    guard groups.count == 8 else { return nil }
    func word(_ part: ArraySlice<UInt16>) -> UInt64 { part.reduce(0) { $0 << 16 | UInt64($1) } }
    return (word(groups[..<4]), word(groups[4...]))
  }

  /// What stands before and after `::`; the second is nil where there is none.
  private static func splitAtGap(_ text: ArraySlice<UInt8>)
    -> (ArraySlice<UInt8>, ArraySlice<UInt8>?)?
  {
    let colon = UInt8(ascii: ":")
    var gap: Int?
    for index in text.indices.dropLast() where text[index] == colon && text[index + 1] == colon {
      if gap != nil { return nil }
      gap = index
    }
    guard let gap else { return (text, nil) }
    return (text[..<gap], text[(gap + 2)...])
  }

  /// Groups between single colons; none for an empty text.
  private static func parseGroups(_ text: ArraySlice<UInt8>, isLast: Bool) -> [UInt16]? {
    if text.isEmpty { return [] }
    let parts = text.split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    var groups: [UInt16] = []
    for (index, part) in parts.enumerated() {
      if isLast, index == parts.count - 1, let ipv4 = parseIPv4(part) {
        groups += [UInt16(ipv4 >> 16), UInt16(truncatingIfNeeded: ipv4)]
      } else {
        guard let group = parseGroup(part) else { return nil }
        groups.append(group)
      }
    }
    return groups.count <= 8 ? groups : nil
  }

  /// One to four hexadecimal digits.
  private static func parseGroup(_ text: ArraySlice<UInt8>) -> UInt16? {
    guard (1...4).contains(text.count) else { return nil }
    var value: UInt16 = 0
    for byte in text {
      guard let digit = Character(Unicode.Scalar(byte)).hexDigitValue else { return nil }
      value = value << 4 | UInt16(digit)
    }
    return value
  }
}
