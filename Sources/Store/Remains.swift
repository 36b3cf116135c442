import Base

/// A keyspace that was flushed, on its way to being freed a little every turn.
struct Remains {
  private var arrays: (BucketArray, BucketArray?)
  private var index = 0
  private var heap: ExpiryHeap
  private var bucketsByteCount: Int

  /// The memory not yet given back.
  var byteCount: Int { heap.byteCount + bucketsByteCount }

  /// Takes the keyspace over, which may not be used any more.
  init(_ keyspace: Keyspace) {
    let table = keyspace.table
    arrays = table.isResizing ? (table.main, table.next) : (table.main, nil)
    index = table.moved
    heap = keyspace.heap
    bucketsByteCount = keyspace.byteCount - heap.byteCount
  }

  /// What freeing a chunk counts for, in entries.
  private static var chunkCost: Int { 8 }

  /// Frees about as many entries or buckets. Returns true when there is more; afterwards false.
  mutating func free(entryCountMax: Int) -> Bool {
    var left = entryCountMax
    while left > 0 {
      if heap.freeChunk() {
        left -= Self.chunkCost
      } else if index >= arrays.0.bucketCount {
        arrays.0.freeDirectory(&bucketsByteCount)
        guard let next = arrays.1 else { return false }
        arrays = (next, nil)
        index = 0
      } else {
        left -= freeBucket()
      }
    }
    return true
  }

  private mutating func freeBucket() -> Int {
    guard let first = arrays.0[index] else {
      index = Swift.min((index | BucketArray.chunkMask) + 1, arrays.0.bucketCount)
      return 1
    }
    var freed = 1
    var bucket: Bucket? = first
    while let each = bucket {
      bucket = each.further
      freed += freeEntries(each)
      if each.base != first.base {
        each.base.deallocate()
        bucketsByteCount -= Bucket.aloneByteCount
      }
    }
    index += 1
    if index & BucketArray.chunkMask == 0 || index == arrays.0.bucketCount {
      arrays.0.freeChunk(holding: index - 1, &bucketsByteCount)
    }
    return freed
  }

  private mutating func freeEntries(_ bucket: Bucket) -> Int {
    var occupied = bucket.occupied
    let count = occupied.nonzeroBitCount
    while occupied != 0 {
      let entry = bucket.entry(at: occupied.trailingZeroBitCount >> 3)
      bucketsByteCount -= entry.memoryByteCount
      entry.free()
      occupied &= occupied - 1
    }
    return count
  }
}
