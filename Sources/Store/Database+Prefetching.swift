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
      for index in keys.indices { keyspace.table.prefetchEntry(hashes[index]) }
    }
  }
}

extension Table {
  @inline(__always) fileprivate func prefetchBucket(_ hash: UInt64) {
    if let bucket = home(hash) { prefetch(bucket.base) }
  }

  /// The first entry that may be the one; header and key take up to two lines.
  @inline(__always) fileprivate func prefetchEntry(_ hash: UInt64) {
    guard let bucket = home(hash) else { return }
    let matches = Bucket.match(bucket.tags, Bucket.tag(hash))
    guard matches != 0 else { return }
    let block = bucket.pointer(at: matches.trailingZeroBitCount >> 3)
    prefetch(block)
    prefetch(block + 64)
  }
}
