import Base
import Glibc
import Testing

#if arch(x86_64)
  @Suite struct LongDoubleTests {
    /// What the C library prints, with the zeroes at the end taken away as Redis does.
    static func reference(_ value: LongDouble) -> String {
      var buffer = [CChar](repeating: 0, count: 6_000)
      _ = withVaList([value]) { vsnprintf(&buffer, buffer.count, "%.17Lf", $0) }
      var text = String(decoding: buffer.prefix { $0 != 0 }.map { UInt8($0) }, as: UTF8.self)
      while text.hasSuffix("0") { text.removeLast() }
      if text.hasSuffix(".") { text.removeLast() }
      return text == "-0" ? "0" : text
    }

    static func printed(_ value: LongDouble) -> String {
      var buffer = ByteBuffer()
      buffer.append(fixed17: value)
      return String(decoding: buffer.bytes, as: UTF8.self)
    }

    static func parsed(_ text: String) -> LongDouble? {
      Array(text.utf8).withUnsafeBytes { parseLongDouble($0) }
    }

    @Test func `numbers of every size are printed as the C library prints them`() {
      var chance = Random(seed: 7)
      for round in 0..<12_000 {
        let exponent = round % 8 == 0 ? chance.within(-16_445...16_383) : chance.within(-90...90)
        let significand =
          LongDouble(chance.next() | 1 << 63)
          / LongDouble(sign: .plus, exponent: 63, significand: 1)
        let sign: FloatingPointSign = chance.chance(1, in: 2) ? .plus : .minus
        let value = LongDouble(sign: sign, exponent: exponent, significand: significand)
        #expect(Self.printed(value) == Self.reference(value))
      }
    }

    @Test func `numbers half way between two decimals are rounded to even as in C`() {
      for numerator in 0..<4_096 {
        for shift in [1, 17, 18, 19, 20, 30] {
          let value = LongDouble(sign: .plus, exponent: -shift, significand: LongDouble(numerator))
          #expect(Self.printed(value) == Self.reference(value))
        }
      }
    }

    @Test(
      arguments: [
        0, -0.0, 1, -1, 3.3, 10.5, 5e3, 0.1, .leastNonzeroMagnitude, .greatestFiniteMagnitude,
        -.greatestFiniteMagnitude, 0x1p63, 0x1p64, 0x1p65, 1e-17, 0.5e-17, 1.5e-17,
        0.999999999999999999,
      ] as [LongDouble])
    func `known numbers are printed as in C`(_ value: LongDouble) {
      #expect(Self.printed(value) == Self.reference(value))
    }

    @Test func `sums look as in Redis`() {
      #expect(Self.printed(Self.parsed("3.0e3")! + 200) == "3200")
      #expect(Self.printed(Self.parsed("10.5")! + Self.parsed("0.1")!) == "10.6")
      #expect(Self.printed(Self.parsed("0.1")! + Self.parsed("0.2")!) == "0.3")
      #expect(Self.printed(Self.parsed("1.5")! + Self.parsed("-1.5")!) == "0")
    }

    @Test(arguments: [
      "", " 1", "1 ", "1 1", "abc", "1a", "nan", "-nan", "--1", "1e", "1e5000", "-1e5000",
      "1e-6000",
      "0x1p-20000", "1,5", "1.2.3",
    ])
    func `what is no number is not parsed`(_ text: String) {
      #expect(Self.parsed(text) == nil)
    }

    @Test func `what is a number is parsed`() {
      #expect(Self.parsed("1") == 1)
      #expect(Self.parsed("+1.5") == 1.5)
      #expect(Self.parsed("-.5") == -0.5)
      #expect(Self.parsed("0x10") == 16)
      #expect(Self.parsed("0x0p5") == 0)
      #expect(Self.parsed("0e10") == 0)
      #expect(Self.parsed("inf") == .infinity)
      #expect(Self.parsed("-Infinity") == -.infinity)
      #expect(Self.parsed("9223372036854775808") == 0x1p63)
    }
  }
#endif
