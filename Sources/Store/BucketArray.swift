import Base

/// A power of two of buckets, in chunks that are allocated when first written to and freed one by
/// one, so that neither zeroing nor freeing a large array ever stalls a turn.
///
/// A bucket is one cache line: seven slots of entry pointers, then eight bytes: a tag a slot, 0 for
/// an empty one, else eight bits of the entry's hash; the last byte is 1 when slot 6 holds no entry
/// but the pointer of a further bucket. All buckets of a chain but the last are full, and a further
/// bucket holds at least two entries. Memory is the owner's to free: copies share it.
@usableFromInline struct BucketArray {
  @usableFromInline let chunks: UnsafeMutablePointer<UnsafeMutableRawPointer?>
  /// The number of buckets less one.
  @usableFromInline let mask: Int

  @inlinable static var chunkShift: Int { 12 }
  @inlinable static var chunkMask: Int { 4095 }

  init(bucketCount: Int) {
    mask = bucketCount - 1
    let chunkCount = (mask >> Self.chunkShift) + 1
    chunks = .allocate(capacity: chunkCount)
    chunks.initialize(repeating: nil, count: chunkCount)
  }

  var bucketCount: Int { mask + 1 }
  var chunkCount: Int { (mask >> Self.chunkShift) + 1 }
  var chunkByteCount: Int { Swift.min(bucketCount, Self.chunkMask + 1) * Bucket.byteCount }
  var directoryByteCount: Int { Memory.byteCount(ofBlock: chunkCount * 8) }

  /// The bucket at `index`; nil in a chunk that nothing was written to.
  @inlinable @inline(__always) subscript(index: Int) -> Bucket? {
    guard let chunk = chunks[index &>> Self.chunkShift] else { return nil }
    return Bucket(base: chunk + (index & Self.chunkMask) &* Bucket.byteCount)
  }

  /// The bucket at `index`, its chunk made if there is none; `byteCount` is raised by its memory.
  func materialize(_ index: Int, _ byteCount: inout Int) -> Bucket {
    if let bucket = self[index] { return bucket }
    let size = chunkByteCount
    let chunk = UnsafeMutableRawPointer.allocate(byteCount: size, alignment: Bucket.byteCount)
    chunk.initializeMemory(as: UInt8.self, repeating: 0, count: size)
    chunks[index >> Self.chunkShift] = chunk
    byteCount += Memory.byteCount(ofBlock: size)
    return self[index].unsafelyUnwrapped
  }

  /// Frees the chunk that holds bucket `index`; its buckets are empty.
  func freeChunk(holding index: Int, _ byteCount: inout Int) {
    guard let chunk = chunks[index >> Self.chunkShift] else { return }
    chunk.deallocate()
    chunks[index >> Self.chunkShift] = nil
    byteCount -= Memory.byteCount(ofBlock: chunkByteCount)
  }

  /// Frees the directory; the chunks are freed already.
  func freeDirectory(_ byteCount: inout Int) {
    byteCount -= directoryByteCount
    chunks.deallocate()
  }
}

/// One bucket; see `BucketArray`.
@usableFromInline struct Bucket {
  @usableFromInline let base: UnsafeMutableRawPointer

  @inlinable init(base: UnsafeMutableRawPointer) { self.base = base }

  @inlinable static var byteCount: Int { 64 }
  @inlinable static var slotCount: Int { 7 }
  @inlinable static var low7: UInt64 { 0x7F7F_7F7F_7F7F_7F7F }
  @inlinable static var slotBits: UInt64 { 0x0080_8080_8080_8080 }
  @inlinable static var chainedSlotBits: UInt64 { 0x0000_8080_8080_8080 }
  /// The memory of a bucket that is allocated alone.
  static var aloneByteCount: Int { Memory.byteCount(ofBlock: byteCount) }

  /// The tag of a hash: bits that do not choose the bucket; never 0.
  @inlinable @inline(__always) static func tag(_ hash: UInt64) -> UInt64 {
    let top = hash &>> 56
    return top == 0 ? 1 : top
  }

  @inlinable var tags: UInt64 {
    @inline(__always) get { base.load(fromByteOffset: 56, as: UInt64.self) }
    nonmutating set { base.storeBytes(of: newValue, toByteOffset: 56, as: UInt64.self) }
  }

  /// The bucket that this one goes on in.
  @inlinable @inline(__always) var further: Bucket? {
    tags &>> 56 == 0 ? nil : Bucket(base: pointer(at: 6))
  }

  @inlinable @inline(__always) func pointer(at slot: Int) -> UnsafeMutableRawPointer {
    base.load(fromByteOffset: slot &* 8, as: UnsafeMutableRawPointer.self)
  }

  @inlinable @inline(__always) func entry(at slot: Int) -> Entry {
    Entry(block: pointer(at: slot))
  }

  /// Bit 8 * slot + 7 is set for each slot whose tag is `tag`. Exact: no carry between bytes.
  @inlinable @inline(__always) static func match(_ tags: UInt64, _ tag: UInt64) -> UInt64 {
    let x = tags ^ tag &* 0x0101_0101_0101_0101
    return ~((x & low7 &+ low7) | x | low7) & slotBits
  }

  /// Bit 8 * slot + 7 is set for each slot that holds an entry.
  @inlinable @inline(__always) var occupied: UInt64 {
    let tags = tags
    return ~Bucket.match(tags, 0) & Bucket.slotBits
  }

  /// The bits of empty slots; none in a bucket that goes on.
  var vacant: UInt64 { tags >> 56 == 0 ? Bucket.match(tags, 0) : 0 }

  func put(_ block: UnsafeMutableRawPointer, tag: UInt64, at slot: Int) {
    base.storeBytes(of: block, toByteOffset: slot * 8, as: UnsafeMutableRawPointer.self)
    base.storeBytes(of: UInt8(tag), toByteOffset: 56 + slot, as: UInt8.self)
  }

  func replace(_ block: UnsafeMutableRawPointer, at slot: Int) {
    base.storeBytes(of: block, toByteOffset: slot * 8, as: UnsafeMutableRawPointer.self)
  }

  func tag(at slot: Int) -> UInt64 { UInt64(base.load(fromByteOffset: 56 + slot, as: UInt8.self)) }

  func clear(_ slot: Int) {
    base.storeBytes(of: 0, toByteOffset: 56 + slot, as: UInt8.self)
  }

  /// Goes on in a new bucket, which takes what slot 6 holds. Returns the new bucket.
  func extend() -> Bucket {
    let memory = UnsafeMutableRawPointer.allocate(byteCount: Bucket.byteCount, alignment: 16)
    let fresh = Bucket(base: memory)
    fresh.tags = 0
    fresh.put(pointer(at: 6), tag: tag(at: 6), at: 0)
    replace(memory, at: 6)
    clear(6)
    base.storeBytes(of: 1, toByteOffset: 63, as: UInt8.self)
    return fresh
  }

  /// Ends here again: slot 6 takes the one entry left in `last`, which is freed.
  func retract(_ last: Bucket) {
    let slot = last.occupied.trailingZeroBitCount / 8
    let block = last.pointer(at: slot)
    let tag = last.tag(at: slot)
    base.storeBytes(of: 0, toByteOffset: 63, as: UInt8.self)
    put(block, tag: tag, at: 6)
    last.base.deallocate()
  }
}
