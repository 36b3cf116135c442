/// The 128-bit key of a SipHash.
public struct SipKey: Sendable, Hashable {
  /// The first eight bytes of the key, little-endian.
  public var k0: UInt64
  /// The last eight bytes of the key, little-endian.
  public var k1: UInt64
  /// Joins the halves of the key.
  @inlinable public init(k0: UInt64, k1: UInt64) {
    self.k0 = k0
    self.k1 = k1
  }
}

/// SipHash of Aumasson and Bernstein: a keyed hash whose collisions cannot be found without the
/// key.
public enum SipHash {
  /// SipHash-1-3, for hash tables: its key is secret and its results are never shown.
  @inlinable
  public static func hash13(_ bytes: UnsafeRawBufferPointer, key: SipKey) -> UInt64 {
    var state = SipState(key)
    state.absorb1(bytes)
    state.v2 ^= 0xFF
    state.round()
    state.round()
    state.round()
    return state.folded
  }

  /// SipHash-2-4, as the paper recommends it, for what others see: address cookies.
  @inlinable
  public static func hash24(_ bytes: UnsafeRawBufferPointer, key: SipKey) -> UInt64 {
    var state = SipState(key)
    state.absorb2(bytes)
    state.v2 ^= 0xFF
    state.round()
    state.round()
    state.round()
    state.round()
    return state.folded
  }
}

/// The four words of the paper's section 2.
@usableFromInline struct SipState {
  @usableFromInline var v0: UInt64
  @usableFromInline var v1: UInt64
  @usableFromInline var v2: UInt64
  @usableFromInline var v3: UInt64

  @inlinable @inline(__always) init(_ key: SipKey) {
    v0 = key.k0 ^ 0x736f_6d65_7073_6575
    v1 = key.k1 ^ 0x646f_7261_6e64_6f6d
    v2 = key.k0 ^ 0x6c79_6765_6e65_7261
    v3 = key.k1 ^ 0x7465_6462_7974_6573
  }

  @inlinable @inline(__always) var folded: UInt64 { v0 ^ v1 ^ v2 ^ v3 }

  @inlinable @inline(__always) mutating func round() {
    v0 = v0 &+ v1
    v2 = v2 &+ v3
    v1 = (v1 &<< 13 | v1 &>> 51) ^ v0
    v3 = (v3 &<< 16 | v3 &>> 48) ^ v2
    v0 = v0 &<< 32 | v0 &>> 32
    v2 = v2 &+ v1
    v0 = v0 &+ v3
    v1 = (v1 &<< 17 | v1 &>> 47) ^ v2
    v3 = (v3 &<< 21 | v3 &>> 43) ^ v0
    v2 = v2 &<< 32 | v2 &>> 32
  }

  @inlinable @inline(__always) mutating func absorb1(_ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while offset &+ 8 <= bytes.count {
      absorb1(SipState.word(bytes, at: offset))
      offset &+= 8
    }
    absorb1(SipState.lastWord(bytes, from: offset))
  }

  @inlinable @inline(__always) mutating func absorb1(_ word: UInt64) {
    v3 ^= word
    round()
    v0 ^= word
  }

  @inlinable @inline(__always) mutating func absorb2(_ bytes: UnsafeRawBufferPointer) {
    var offset = 0
    while offset &+ 8 <= bytes.count {
      absorb2(SipState.word(bytes, at: offset))
      offset &+= 8
    }
    absorb2(SipState.lastWord(bytes, from: offset))
  }

  @inlinable @inline(__always) mutating func absorb2(_ word: UInt64) {
    v3 ^= word
    round()
    round()
    v0 ^= word
  }

  @inlinable @inline(__always)
  static func word(_ bytes: UnsafeRawBufferPointer, at offset: Int) -> UInt64 {
    let base = bytes.baseAddress.unsafelyUnwrapped
    return UInt64(littleEndian: base.loadUnaligned(fromByteOffset: offset, as: UInt64.self))
  }

  /// The length in the highest byte, the 0 to 7 bytes left below it.
  @inlinable @inline(__always)
  static func lastWord(_ bytes: UnsafeRawBufferPointer, from offset: Int) -> UInt64 {
    let length = UInt64(truncatingIfNeeded: bytes.count) &<< 56
    let left = bytes.count &- offset
    if left == 0 { return length }
    if offset > 0 {
      // The eight bytes that end at the end, those seen before shifted out.
      let word = word(bytes, at: bytes.count &- 8)
      return length | word &>> UInt64(truncatingIfNeeded: 64 &- 8 &* left)
    }
    let base = bytes.baseAddress.unsafelyUnwrapped
    if left >= 4 {
      let low = UInt32(littleEndian: base.loadUnaligned(as: UInt32.self))
      let high = UInt32(
        littleEndian: base.loadUnaligned(fromByteOffset: left &- 4, as: UInt32.self))
      return length | UInt64(low) | UInt64(high) &<< UInt64(truncatingIfNeeded: 8 &* (left &- 4))
    }
    // First, middle and last of one to three bytes; they coincide when there are fewer.
    let first = UInt64(base.load(as: UInt8.self))
    let middle = UInt64(base.load(fromByteOffset: left &>> 1, as: UInt8.self))
    let last = UInt64(base.load(fromByteOffset: left &- 1, as: UInt8.self))
    return length | first | middle &<< UInt64(truncatingIfNeeded: 8 &* (left &>> 1))
      | last &<< UInt64(truncatingIfNeeded: 8 &* (left &- 1))
  }
}
