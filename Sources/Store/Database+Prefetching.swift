import Base

extension Database {
  /// The most keys that `prefetch` takes at once.
  public static var prefetchCountMax: Int { 16 }

  /// Has the memory fetched that looking these keys up will touch. In a table larger than the
  /// processor's caches a lookup waits for memory twice, for the bucket and for the entry; this
  /// way it waits for all the keys together. Changes nothing.
  public func prefetch(_ keys: UnsafeBufferPointer<UnsafeRawBufferPointer>) {
    invariant(keys.count <= Self.prefetchCountMax, "keys are fetched a few at a time")
    withUnsafeTemporaryAllocation(of: UInt64.self, capacity: Self.prefetchCountMax) { hashes in
      for index in keys.indices {
        let hash = SipHash.hash13(keys[index], key: hashKey)
        hashes[index] = hash
        keyspace.table.prefetchBucket(hash)
      }
      // The hash gives way to the place of the entry.
      for index in keys.indices {
        let block = keyspace.table.prefetchEntry(hashes[index])
        hashes[index] = UInt64(UInt(bitPattern: block))
      }
      for index in keys.indices {
        guard let block = UnsafeMutableRawPointer(bitPattern: UInt(hashes[index])) else { continue }
        Entry(block: block).prefetchValue()
      }
    }
  }
}

extension Table {
  @inline(__always) fileprivate func prefetchBucket(_ hash: UInt64) {
    if let bucket = home(hash) { prefetch(bucket.base) }
  }

  /// The first entry that may be the one, or nil; header and key take up to two lines.
  @inline(__always)
  fileprivate func prefetchEntry(_ hash: UInt64) -> UnsafeMutableRawPointer? {
    guard let bucket = home(hash) else { return nil }
    let matches = Bucket.match(bucket.tags, Bucket.tag(hash))
    guard matches != 0 else { return nil }
    let block = bucket.pointer(at: matches.trailingZeroBitCount >> 3)
    prefetch(block)
    prefetch(block + 64)
    return block
  }
}

extension Entry {
  /// How much of an entry is fetched; behind that the processor sees the pattern by itself.
  private static var prefetchByteCountMax: Int { 2048 }

  /// What lies behind the first two lines.
  @inline(__always) fileprivate func prefetchValue() {
    let count = Entry.headerByteCount + keyByteCount + valueByteCount
    var offset = 128
    while offset < Swift.min(count, Entry.prefetchByteCountMax) {
      prefetch(block + offset)
      offset += 64
    }
  }
}
