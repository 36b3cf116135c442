internal import CHardware

/// CRC-32C (Castagnoli, RFC 3720 appendix B.4): the checksum of log records, checkpoints and
/// messages, against accidents only.
///
/// By the processor's instruction where there is one, on three parts of a long run at once, whose
/// results are then joined by a multiplication. Otherwise sixteen bytes are folded a step
/// through sixteen tables of 256 words ("slicing"), so a step is bound by its loads and not by the
/// chain of its results.
public enum CRC32C {
  /// Extends a finished checksum by `bytes`: `update(checksum(a), b) == checksum(a + b)`.
  ///
  /// The checksum of nothing is 0, so this is also how a checksum begins.
  public static func update(_ crc: UInt32, _ bytes: UnsafeRawBufferPointer) -> UInt32 {
    guard let place = bytes.baseAddress else { return crc }
    guard let powers else { return updateByTables(crc, place, bytes.count) }
    return ~ch_crc32c(~crc, place, bytes.count, powers, partWordCountMax)
  }

  /// The most words of eight bytes in one of three parts.
  private static let partWordCountMax = 1024

  /// At `i`, from 1: x to the power of 64 i - 33 modulo the polynomial, with reflected bits: what
  /// `i` words of zero do to a checksum, but for what the instruction does anyway. Nil without the
  /// instruction. Lives as long as the process.
  nonisolated(unsafe) private static let powers: UnsafePointer<UInt32>? = {
    guard ch_has_crc32c() != 0 else { return nil }
    let count = 2 * partWordCountMax + 1
    let powers = UnsafeMutablePointer<UInt32>.allocate(capacity: count)
    powers[0] = 0
    powers[1] = 1  // x^31
    var word: UInt64 = 0
    for index in 2..<count {
      powers[index] = ch_crc32c(powers[index - 1], &word, 8, powers, 0)
    }
    return UnsafePointer(powers)
  }()

  /// What `update` does where the processor has no instruction for it.
  static func updateByTables(_ crc: UInt32, _ start: UnsafeRawPointer, _ count: Int) -> UInt32 {
    var place = start
    let tables = CRC32C.tables
    var left = count
    var state = ~crc
    while left >= 16 {
      state = fold16(state, place, tables)
      place += 16
      left -= 16
    }
    if left >= 8 {
      state = fold8(state, place, tables)
      place += 8
      left -= 8
    }
    while left > 0 {
      let byte = place.load(as: UInt8.self)
      state = tables[Int(UInt8(truncatingIfNeeded: state) ^ byte)] ^ (state >> 8)
      place += 1
      left -= 1
    }
    return ~state
  }

  /// The checksum of `bytes` after a run whose checksum is `seed`.
  @inlinable
  public static func checksum(_ bytes: UnsafeRawBufferPointer, seed: UInt32 = 0) -> UInt32 {
    update(seed, bytes)
  }

  /// The checksum with a 64-bit seed in front: as if its eight bytes, little-endian, came first.
  @inlinable
  public static func checksum(_ bytes: UnsafeRawBufferPointer, identity: UInt64) -> UInt32 {
    var word = identity.littleEndian
    let seed = withUnsafeBytes(of: &word) { update(0, $0) }
    return update(seed, bytes)
  }

  // MARK: Tables

  /// The polynomial 0x1EDC6F41 with its bits reversed.
  private static let polynomial: UInt32 = 0x82F6_3B78

  /// Table k at 256 * k: what a byte becomes after k more zero bytes. Reached once a call, so that
  /// the check whether it is built is not paid for each byte; lives as long as the process.
  nonisolated(unsafe) private static let tables: UnsafePointer<UInt32> = {
    let words = UnsafeMutablePointer<UInt32>.allocate(capacity: 16 * 256)
    for byte in 0..<256 {
      var value = UInt32(byte)
      for _ in 0..<8 { value = value & 1 == 1 ? value >> 1 ^ polynomial : value >> 1 }
      words[byte] = value
    }
    for index in 256..<16 * 256 {
      let before = words[index - 256]
      words[index] = before >> 8 ^ words[Int(before & 0xFF)]
    }
    return UnsafePointer(words)
  }()

  @inline(__always)
  private static func lookUp(
    _ tables: UnsafePointer<UInt32>, _ k: Int, _ word: UInt64, _ shift: UInt64
  ) -> UInt32 {
    tables[k &* 256 &+ Int(truncatingIfNeeded: word &>> shift & 0xFF)]
  }

  /// The eight bytes of `word`, the last of which has `after` bytes behind it in the step.
  @inline(__always)
  private static func fold(
    _ word: UInt64, after: Int, _ tables: UnsafePointer<UInt32>
  ) -> UInt32 {
    let a = lookUp(tables, after &+ 7, word, 0) ^ lookUp(tables, after &+ 6, word, 8)
    let b = lookUp(tables, after &+ 5, word, 16) ^ lookUp(tables, after &+ 4, word, 24)
    let c = lookUp(tables, after &+ 3, word, 32) ^ lookUp(tables, after &+ 2, word, 40)
    let d = lookUp(tables, after &+ 1, word, 48) ^ lookUp(tables, after, word, 56)
    return (a ^ b) ^ (c ^ d)
  }

  @inline(__always)
  private static func fold8(
    _ state: UInt32, _ place: UnsafeRawPointer, _ tables: UnsafePointer<UInt32>
  ) -> UInt32 {
    let word = UInt64(littleEndian: place.loadUnaligned(as: UInt64.self)) ^ UInt64(state)
    return fold(word, after: 0, tables)
  }

  @inline(__always)
  private static func fold16(
    _ state: UInt32, _ place: UnsafeRawPointer, _ tables: UnsafePointer<UInt32>
  ) -> UInt32 {
    let first = UInt64(littleEndian: place.loadUnaligned(as: UInt64.self)) ^ UInt64(state)
    let second = UInt64(
      littleEndian: place.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    return fold(second, after: 0, tables) ^ fold(first, after: 8, tables)
  }
}
