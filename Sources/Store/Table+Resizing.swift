import Base

/// Growing and shrinking, a bucket at a time: with each insertion and removal, and in `step` when
/// the loop has a turn.
extension Table {
  /// Mean entries a bucket at which the table grows to twice its buckets.
  private static var growLoad: Int { 5 }
  /// Buckets an entry at which it shrinks: to 2.5 entries a bucket or a little less.
  private static var shrinkBucketsPerEntry: Int { 4 }

  /// Starts resizing when the table is too full or too empty; goes on when it is under way.
  mutating func resizeIfNeeded() {
    if isResizing {
      move(bucketCountMax: 1)
    } else {
      startIfNeeded()
    }
  }

  private mutating func startIfNeeded() {
    if count > main.bucketCount * Self.growLoad {
      start(bucketCount: main.bucketCount * 2)
    } else if main.bucketCount > Self.bucketCountMin,
      count * Self.shrinkBucketsPerEntry < main.bucketCount
    {
      start(bucketCount: Self.bucketCount(for: count))
    }
  }

  /// Moves up to `bucketCountMax` buckets. Returns true when there is more to move.
  @discardableResult
  mutating func move(bucketCountMax: Int) -> Bool {
    var left = bucketCountMax
    while isResizing, left > 0 {
      moveBucket()
      left -= 1
    }
    return isResizing
  }

  /// The fewest buckets for which `count` is at most 2.5 a bucket.
  private static func bucketCount(for count: Int) -> Int {
    var buckets = bucketCountMin
    while buckets * 5 < count * 2 { buckets *= 2 }
    return buckets
  }

  private mutating func start(bucketCount: Int) {
    next = BucketArray(bucketCount: bucketCount)
    byteCount += next.directoryByteCount
    moved = 0
    isResizing = true
  }

  private mutating func moveBucket() {
    if let bucket = main[moved] {
      empty(bucket)
      moved += 1
      if moved & BucketArray.chunkMask == 0 || moved == main.bucketCount {
        main.freeChunk(holding: moved - 1, &byteCount)
      }
    } else {
      // Nothing was ever written to this chunk.
      moved = Swift.min((moved | BucketArray.chunkMask) + 1, main.bucketCount)
    }
    if moved == main.bucketCount { finish() }
  }

  private mutating func finish() {
    main.freeDirectory(&byteCount)
    main = next
    moved = 0
    isResizing = false
    startIfNeeded()
  }

  /// Moves a chain's entries to `next`.
  private mutating func empty(_ first: Bucket) {
    var bucket = first
    while true {
      let further = bucket.further
      var occupied = bucket.occupied
      while occupied != 0 {
        let block = bucket.pointer(at: occupied.trailingZeroBitCount >> 3)
        let hash = Entry(block: block).hash
        let index = Int(truncatingIfNeeded: hash) & next.mask
        place(block, hash, in: next.materialize(index, &byteCount))
        occupied &= occupied - 1
      }
      if bucket.base == first.base {
        bucket.tags = 0
      } else {
        bucket.base.deallocate()
        byteCount -= Bucket.aloneByteCount
      }
      guard let further else { return }
      bucket = further
    }
  }
}
