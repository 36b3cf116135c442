/// Whether two runs of `count` bytes are equal. Eight bytes a step, the last step overlapping.
@inlinable @inline(__always)
public func bytesEqual(_ a: UnsafeRawPointer, _ b: UnsafeRawPointer, _ count: Int) -> Bool {
  if count >= 8 {
    var offset = 0
    let last = count &- 8
    while offset < last {
      if word64(a, offset) != word64(b, offset) { return false }
      offset &+= 8
    }
    return word64(a, last) == word64(b, last)
  }
  if count >= 4 {
    return word32(a, 0) == word32(b, 0) && word32(a, count &- 4) == word32(b, count &- 4)
  }
  var offset = 0
  while offset < count {
    let x = a.load(fromByteOffset: offset, as: UInt8.self)
    if x != b.load(fromByteOffset: offset, as: UInt8.self) { return false }
    offset &+= 1
  }
  return true
}

@inlinable @inline(__always)
func word64(_ base: UnsafeRawPointer, _ offset: Int) -> UInt64 {
  base.loadUnaligned(fromByteOffset: offset, as: UInt64.self)
}

@inlinable @inline(__always)
func word32(_ base: UnsafeRawPointer, _ offset: Int) -> UInt32 {
  base.loadUnaligned(fromByteOffset: offset, as: UInt32.self)
}

extension UInt64 {
  /// The same bits in reverse order: bit 0 becomes bit 63.
  @inlinable public var bitReversed: UInt64 {
    var x = self
    x = (x & 0x5555_5555_5555_5555) &<< 1 | x &>> 1 & 0x5555_5555_5555_5555
    x = (x & 0x3333_3333_3333_3333) &<< 2 | x &>> 2 & 0x3333_3333_3333_3333
    x = (x & 0x0F0F_0F0F_0F0F_0F0F) &<< 4 | x &>> 4 & 0x0F0F_0F0F_0F0F_0F0F
    return x.byteSwapped
  }
}

/// Compares without stopping at the first difference, so that time tells nothing about where it is.
public func equalInConstantTime<A, B>(_ a: A, _ b: B) -> Bool
where
  A: RandomAccessCollection, B: RandomAccessCollection, A.Element == UInt8, B.Element == UInt8,
  A.Index == Int, B.Index == Int
{
  var difference = a.count ^ b.count
  for index in 0..<a.count {
    let other = b.isEmpty ? 0 : b[b.startIndex + index % b.count]
    difference |= Int(a[a.startIndex + index] ^ other)
  }
  return difference == 0
}
