import Base
import Testing

@Suite struct BytesTests {
  @Test func `equal runs are equal and a difference in any byte is seen`() {
    for count in 0...40 {
      let a = (0..<count).map { UInt8($0 * 3 & 0xFF) }
      var b = a
      #expect(equal(a, b))
      for index in 0..<count {
        b[index] ^= 0x80
        #expect(!equal(a, b))
        b[index] ^= 0x80
      }
    }
  }

  @Test func `reversing bits is its own inverse and moves bit n to 63 - n`() {
    var chance = Random(seed: 3)
    for bit in 0..<64 as Range<UInt64> {
      #expect((1 << bit as UInt64).bitReversed == 1 << (63 - bit))
      let word = chance.next()
      #expect(word.bitReversed.bitReversed == word)
    }
  }

  private func equal(_ a: [UInt8], _ b: [UInt8]) -> Bool {
    a.withUnsafeBytes { a in
      b.withUnsafeBytes { b in
        a.isEmpty || bytesEqual(a.baseAddress!, b.baseAddress!, a.count)
      }
    }
  }
}
