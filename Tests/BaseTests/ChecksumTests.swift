import Testing

@testable import Base

@Suite struct ChecksumTests {
  /// The definition, a bit at a time.
  static func reference(_ bytes: [UInt8]) -> UInt32 {
    var state: UInt32 = .max
    for byte in bytes {
      state ^= UInt32(byte)
      for _ in 0..<8 { state = state & 1 == 1 ? state >> 1 ^ 0x82F6_3B78 : state >> 1 }
    }
    return ~state
  }

  static func checksum(_ bytes: [UInt8]) -> UInt32 {
    bytes.withUnsafeBytes { CRC32C.checksum($0) }
  }

  @Test func `the examples of RFC 3720 B 4 come out`() {
    #expect(Self.checksum(Array(repeating: 0, count: 32)) == 0x8A91_36AA)
    #expect(Self.checksum(Array(repeating: 0xFF, count: 32)) == 0x62A8_AB43)
    #expect(Self.checksum(Array(0..<32)) == 0x46DD_794E)
    #expect(Self.checksum(Array((0..<32).reversed())) == 0x113F_DB5C)
    #expect(Self.checksum(Array("123456789".utf8)) == 0xE306_9283)
    #expect(Self.checksum([]) == 0)
  }

  @Test func `every length and alignment agrees with the bitwise definition`() {
    var chance = Random(seed: 1)
    let bytes = (0..<400).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
    for start in 0..<17 {
      for count in 0...160 {
        let part = Array(bytes[start..<start + count])
        let fast = bytes.withUnsafeBytes {
          CRC32C.checksum(UnsafeRawBufferPointer(rebasing: $0[start..<start + count]))
        }
        #expect(fast == Self.reference(part))
      }
    }
  }

  @Test func `long runs agree with the bitwise definition`() {
    var chance = Random(seed: 2)
    let bytes = (0..<5_000).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
    for count in [255, 256, 257, 271, 272, 511, 512, 513, 1_024, 4_095, 4_999, 5_000] {
      #expect(Self.checksum(Array(bytes[..<count])) == Self.reference(Array(bytes[..<count])))
    }
  }

  @Test func `a checksum goes on where another ended`() {
    let bytes = (0..<100).map { UInt8($0 * 7 & 0xFF) }
    let whole = Self.checksum(bytes)
    for cut in 0...100 {
      let first = Self.checksum(Array(bytes[..<cut]))
      let both = Array(bytes[cut...]).withUnsafeBytes { CRC32C.update(first, $0) }
      #expect(both == whole)
    }
  }

  @Test func `an identity counts like eight bytes in front`() {
    let identity: UInt64 = 0x0123_4567_89AB_CDEF
    let front = withUnsafeBytes(of: identity.littleEndian) { Array($0) }
    let rest: [UInt8] = [9, 8, 7]
    let seeded = rest.withUnsafeBytes { CRC32C.checksum($0, identity: identity) }
    #expect(seeded == Self.checksum(front + rest))
  }

  @Test func tablesAndInstructionAgree() {
    var chance = Random(seed: 9)
    // Around the length of one round of three parts, 3 * 8 * 1024, too.
    for count in Array(0..<1_200) + Array(24_500..<24_800) + [49_151, 49_152, 49_344, 100_003] {
      let bytes = (0..<count).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
      let seed = UInt32(truncatingIfNeeded: chance.next())
      bytes.withUnsafeBytes { raw in
        guard let start = raw.baseAddress else { return }
        #expect(CRC32C.updateByTables(seed, start, count) == CRC32C.update(seed, raw))
      }
    }
  }
}
