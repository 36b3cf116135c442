/// Parses a size as Redis's configuration does: a whole number, then nothing or `b` for bytes, `k`
/// `m` `g` for powers of 1000, `kb` `mb` `gb` for powers of 1024, in any case; nil for anything
/// else.
public func parseByteCount(_ text: String) -> Int? {
  guard let (number, unit) = splitQuantity(text) else { return nil }
  let factor: Int
  switch unit {
  case "", "b": factor = 1
  case "k": factor = 1_000
  case "m": factor = 1_000_000
  case "g": factor = 1_000_000_000
  case "kb": factor = 1 << 10
  case "mb": factor = 1 << 20
  case "gb": factor = 1 << 30
  default: return nil
  }
  let (product, overflow) = number.multipliedReportingOverflow(by: factor)
  return overflow ? nil : product
}

/// Parses a length of time: a whole number, then `ms`, `s` (or nothing), `m`, `h` or `d`; nil for
/// anything else.
public func parseInterval(_ text: String) -> Interval? {
  guard let (number, unit) = splitQuantity(text) else { return nil }
  let factor: UInt64
  switch unit {
  case "ms": factor = 1_000_000
  case "", "s": factor = 1_000_000_000
  case "m": factor = 60_000_000_000
  case "h": factor = 3_600_000_000_000
  case "d": factor = 86_400_000_000_000
  default: return nil
  }
  let (product, overflow) = UInt64(number).multipliedReportingOverflow(by: factor)
  return overflow ? nil : Interval(nanos: product)
}

/// Bytes for a person: `512 B`, `1.5 MiB`, with one digit after the point.
public func renderByteCount(_ count: UInt64) -> String {
  let units = ["KiB", "MiB", "GiB", "TiB"]
  guard count >= 1 << 10 else { return "\(count) B" }
  var shift: UInt64 = 10
  var unit = 0
  while unit + 1 < units.count, count >> (shift + 10) > 0 {
    shift += 10
    unit += 1
  }
  let tenths = ((count >> (shift - 10)) * 10) >> 10
  return tenths % 10 == 0
    ? "\(tenths / 10) \(units[unit])" : "\(tenths / 10).\(tenths % 10) \(units[unit])"
}

/// The leading digits as a number, and the rest in lower case.
private func splitQuantity(_ text: String) -> (Int, String)? {
  let digits = text.utf8.prefix { $0 >= 48 && $0 <= 57 }
  guard !digits.isEmpty, let number = Int(String(decoding: digits, as: UTF8.self)) else {
    return nil
  }
  return (number, String(decoding: text.utf8.dropFirst(digits.count), as: UTF8.self).lowercased())
}
