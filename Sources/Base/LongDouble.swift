#if arch(x86_64)
  /// What C calls `long double` here: INCRBYFLOAT computes in it, as Redis does.
  public typealias LongDouble = Float80
#else
  /// The widest binary floating point that Swift has here; INCRBYFLOAT computes in it.
  public typealias LongDouble = Double
#endif

/// Parses a number as Redis's `string2ld` does: what C's `strtold` takes (decimal or hexadecimal,
/// with an exponent, or an infinity) without white space around it. Nil for anything else, for not
/// a number, for what is too large, and for what is so small that it would become zero.
public func parseLongDouble(_ text: UnsafeRawBufferPointer) -> LongDouble? {
  // As long as what INCRBYFLOAT itself prints: up to 4,950 bytes; Redis has the same bound.
  guard text.count > 0, text.count < 5 << 10 else { return nil }
  var letterN = false
  for byte in text {
    guard byte > 0x20, byte < 0x7F else { return nil }
    if byte | 0x20 == UInt8(ascii: "n") { letterN = true }
  }
  guard let value = LongDouble(String(decoding: text, as: UTF8.self)), !value.isNaN else {
    return nil
  }
  // Of numbers only the infinities have an n.
  if value.isInfinite { return letterN ? value : nil }
  return value == 0 && hasNonzeroDigit(text) ? nil : value
}

private func hasNonzeroDigit(_ text: UnsafeRawBufferPointer) -> Bool {
  var index = 0
  var isHex = false
  while index < text.count {
    let byte = text[index] | 0x20
    if byte == UInt8(ascii: "x") { isHex = true }
    if byte == UInt8(ascii: isHex ? "p" : "e") { return false }
    let isDigit = byte >= UInt8(ascii: "1") && byte <= UInt8(ascii: "9")
    if isDigit || (isHex && byte >= UInt8(ascii: "a") && byte <= UInt8(ascii: "f")) { return true }
    index += 1
  }
  return false
}

extension ByteBuffer {
  /// Appends a finite number with 17 decimals, exactly rounded (to even), zeroes at the end taken
  /// away: what Redis prints for INCRBYFLOAT, C's `%.17Lf` without the zeroes. Zero is `0`.
  ///
  /// At most 4,950 bytes: there is no exponent.
  public mutating func append(fixed17 value: LongDouble) {
    invariant(value.isFinite, "only finite numbers are printed")
    var whole: UInt64 = 0
    var fraction: UInt64 = 0
    let significand = UInt64(value.magnitude.significandInteger)
    let exponent = value.magnitude.integerExponent
    if exponent >= 0 {
      if exponent > significand.leadingZeroBitCount {
        if value < 0 { append(UInt8(ascii: "-")) }
        append(significand, shiftedLeft: exponent)
        return
      }
      whole = significand << UInt64(exponent)
    } else {
      (whole, fraction) = Self.split(significand, shiftedRight: -exponent)
    }
    if value < 0, whole != 0 || fraction != 0 { append(UInt8(ascii: "-")) }
    append(decimal: whole)
    append(decimals: fraction)
  }

  private static var scale: UInt64 { 100_000_000_000_000_000 }

  /// The whole part of significand / 2^shift, and its fraction in units of 10^-17.
  private static func split(
    _ significand: UInt64, shiftedRight shift: Int
  ) -> (whole: UInt64, fraction: UInt64) {
    // The fraction times 10^17 is below 2^121, so beyond this it is less than half a unit.
    guard shift < 122 else { return (0, 0) }
    var whole = shift < 64 ? significand >> UInt64(shift) : 0
    let rest = shift < 64 ? significand & (1 << UInt64(shift) - 1) : significand
    let scaled = UInt128(rest) * UInt128(scale)
    var fraction = UInt64(scaled >> UInt128(shift))
    let remainder = scaled & (1 << UInt128(shift) - 1)
    let half: UInt128 = 1 << UInt128(shift - 1)
    if remainder > half || (remainder == half && fraction & 1 == 1) { fraction += 1 }
    if fraction == scale {
      fraction = 0
      whole += 1
    }
    return (whole, fraction)
  }

  /// Appends `.` and up to 17 digits without zeroes at the end; nothing for zero.
  private mutating func append(decimals fraction: UInt64) {
    guard fraction != 0 else { return }
    var left = fraction
    var digits = 17
    while left % 10 == 0 {
      left /= 10
      digits -= 1
    }
    append(UInt8(ascii: "."))
    let place = extend(digits)
    for index in (0..<digits).reversed() {
      place.storeBytes(
        of: UInt8(truncatingIfNeeded: 48 + left % 10), toByteOffset: index, as: UInt8.self)
      left /= 10
    }
  }

  /// Appends a whole number of more than 64 bits, by multiplying in base 10^9.
  private mutating func append(_ significand: UInt64, shiftedLeft shift: Int) {
    let base: UInt64 = 1_000_000_000
    var limbs = [significand % base, significand / base % base, significand / base / base]
    var left = shift
    while left > 0 {
      let step = UInt64(min(left, 32))
      left -= Int(step)
      var carry: UInt64 = 0
      for index in limbs.indices {
        let product = limbs[index] << step + carry
        limbs[index] = product % base
        carry = product / base
      }
      while carry > 0 {
        limbs.append(carry % base)
        carry /= base
      }
    }
    while limbs.last == 0 { limbs.removeLast() }
    append(decimal: limbs.removeLast())
    for limb in limbs.reversed() {
      let text = limb + base
      var divisor = base / 10
      while divisor > 0 {
        append(UInt8(truncatingIfNeeded: 48 + text / divisor % 10))
        divisor /= 10
      }
    }
  }
}

extension LongDouble {
  /// The number is `significandInteger` times 2 to the power of `integerExponent`; not negative.
  fileprivate var integerExponent: Int {
    let bits = LongDouble.significandBitCount
    return self == 0 ? 0 : Int(Swift.max(exponent, LongDouble.leastNormalMagnitude.exponent)) - bits
  }

  fileprivate var significandInteger: UInt64 {
    self == 0 ? 0 : UInt64(LongDouble(sign: .plus, exponent: -integerExponent, significand: self))
  }
}
