extension ByteBuffer {
  /// Appends a signed integer in decimal digits.
  @inlinable public mutating func append(decimal value: Int64) {
    if value >= 0, value < 10 {
      append(UInt8(truncatingIfNeeded: 48 + value))
      return
    }
    if value < 0 { append(UInt8(ascii: "-")) }
    append(decimal: value.magnitude)
  }

  /// Appends an unsigned integer in decimal digits.
  @inlinable public mutating func append(decimal value: UInt64) {
    var digits = 1
    var left = value
    while left >= 10 {
      left /= 10
      digits += 1
    }
    let place = extend(digits)
    var rest = value
    var index = digits
    while index > 0 {
      index -= 1
      let digit = UInt8(truncatingIfNeeded: 48 + rest % 10)
      place.storeBytes(of: digit, toByteOffset: index, as: UInt8.self)
      rest /= 10
    }
  }
}

/// Parses a canonical decimal integer as Redis's `string2ll` does: an optional minus, no plus, no
/// leading zero, no white space; nil for anything else or out of range.
@inlinable
public func parseDecimal(_ text: UnsafeRawBufferPointer) -> Int64? {
  let count = text.count
  guard count > 0, count <= 20 else { return nil }
  var index = 0
  let negative = text[0] == UInt8(ascii: "-")
  if negative { index = 1 }
  guard index < count else { return nil }
  let first = text[index]
  if first == UInt8(ascii: "0") { return count == 1 ? 0 : nil }
  var value: UInt64 = 0
  while index < count {
    let digit = text[index] &- 48
    guard digit < 10 else { return nil }
    let (product, overflowed) = value.multipliedReportingOverflow(by: 10)
    let (sum, carried) = product.addingReportingOverflow(UInt64(digit))
    if overflowed || carried { return nil }
    value = sum
    index += 1
  }
  if negative {
    guard value <= UInt64(Int64.max) + 1 else { return nil }
    return Int64(truncatingIfNeeded: 0 &- value)
  }
  guard value <= UInt64(Int64.max) else { return nil }
  return Int64(value)
}
