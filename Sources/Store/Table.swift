import Base

/// The hash table of entries.
///
/// Buckets of a cache line (`BucketArray`), the home bucket chosen by the low bits of a keyed hash:
/// a lookup touches the bucket's line and the entry's. DESIGN asks for open addressing; a full
/// bucket here goes on in a further one instead of spilling into its neighbours, because an entry
/// then never leaves the chain of its home bucket. That is what lets a scan keep its promise while
/// the table is resized (`visit`), lets deletes leave no tombstones, and keeps a lookup that finds
/// nothing as short as one that does. One key in eight lies in a further bucket at the fullest.
///
/// While the table is resized there are two arrays. Invariant: an entry whose home in `main` is
/// below `moved` is in `next`, each other one is in `main`; so every lookup searches one chain.
/// Entries are outside of the table's accounting of life: `remove` does not free.
@usableFromInline struct Table {
  @usableFromInline var main: BucketArray
  /// Where the entries move to; the same as `main` when the table is not being resized.
  @usableFromInline var next: BucketArray
  /// Buckets of `main` moved so far; 0 when the table is not being resized.
  @usableFromInline var moved = 0
  var isResizing = false
  /// The number of entries.
  @usableFromInline var count = 0
  /// The memory of buckets and directories, without the entries.
  var byteCount = 0

  static var bucketCountMin: Int { 4 }

  init() {
    main = BucketArray(bucketCount: Self.bucketCountMin)
    next = main
    byteCount = main.directoryByteCount
  }

  // MARK: Looking up

  /// The first bucket of the chain where an entry of this hash is, if it is anywhere.
  @inlinable @inline(__always) func home(_ hash: UInt64) -> Bucket? {
    let index = Int(truncatingIfNeeded: hash) & main.mask
    if index < moved { return next[Int(truncatingIfNeeded: hash) & next.mask] }
    return main[index]
  }

  /// - Complexity: two cache misses in a large table.
  @inlinable @inline(__always)
  func find(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Entry? {
    guard var bucket = home(hash) else { return nil }
    let tag = Bucket.tag(hash)
    while true {
      let tags = bucket.tags
      var matches = Bucket.match(tags, tag)
      while matches != 0 {
        let entry = bucket.entry(at: matches.trailingZeroBitCount &>> 3)
        if entry.holds(key, hash: hash) { return entry }
        matches &= matches &- 1
      }
      if tags &>> 56 == 0 { return nil }
      bucket = Bucket(base: bucket.pointer(at: 6))
    }
  }

  /// Where an entry is; valid until the next insertion, removal or step of resizing.
  struct Place {
    let home: Bucket
    let bucket: Bucket
    let slot: Int
    var entry: Entry { bucket.entry(at: slot) }
  }

  func place(_ key: UnsafeRawBufferPointer, hash: UInt64) -> Place? {
    guard let home = home(hash) else { return nil }
    let tag = Bucket.tag(hash)
    var bucket = home
    while true {
      let tags = bucket.tags
      var matches = Bucket.match(tags, tag)
      while matches != 0 {
        let slot = matches.trailingZeroBitCount >> 3
        if bucket.entry(at: slot).holds(key, hash: hash) {
          return Place(home: home, bucket: bucket, slot: slot)
        }
        matches &= matches &- 1
      }
      if tags >> 56 == 0 { return nil }
      bucket = Bucket(base: bucket.pointer(at: 6))
    }
  }

  /// The place of an entry that is in the table.
  func place(of entry: Entry) -> Place {
    guard let place = place(entry.key, hash: entry.hash) else {
      invariantFailed("an entry known to be in the table is not found")
    }
    return place
  }

  // MARK: Changing

  /// Adds an entry whose key is not in the table.
  mutating func insert(_ entry: Entry) {
    place(entry.block, hash: entry.hash)
    count += 1
    resizeIfNeeded()
  }

  /// Puts another block with the same key and hash in an entry's place.
  func replace(_ place: Place, with entry: Entry) {
    place.bucket.replace(entry.block, at: place.slot)
  }

  /// Takes an entry out; its block stays the caller's.
  mutating func remove(_ place: Place) {
    count -= 1
    var last = place.home
    var before: Bucket?
    while let further = last.further {
      before = last
      last = further
    }
    if let before {
      fill(place, from: last, before)
    } else {
      place.bucket.clear(place.slot)
    }
    resizeIfNeeded()
  }

  /// Fills the hole with the chain's last entry, so that all buckets but the last stay full.
  private mutating func fill(_ place: Place, from last: Bucket, _ before: Bucket) {
    let victim = 7 - (last.occupied.leadingZeroBitCount >> 3)
    let block = last.pointer(at: victim)
    let tag = last.tag(at: victim)
    last.clear(victim)
    if last.base != place.bucket.base || victim != place.slot {
      place.bucket.put(block, tag: tag, at: place.slot)
    }
    if last.occupied.nonzeroBitCount == 1 {
      before.retract(last)
      byteCount -= Bucket.aloneByteCount
    }
  }

  /// Stores a pointer in the chain of its hash.
  mutating func place(_ block: UnsafeMutableRawPointer, hash: UInt64) {
    let index = Int(truncatingIfNeeded: hash) & main.mask
    if index < moved {
      place(
        block, hash, in: next.materialize(Int(truncatingIfNeeded: hash) & next.mask, &byteCount))
    } else {
      place(block, hash, in: main.materialize(index, &byteCount))
    }
  }

  mutating func place(_ block: UnsafeMutableRawPointer, _ hash: UInt64, in home: Bucket) {
    var bucket = home
    while let further = bucket.further { bucket = further }
    let vacant = bucket.vacant
    if vacant != 0 {
      bucket.put(block, tag: Bucket.tag(hash), at: vacant.trailingZeroBitCount >> 3)
    } else {
      bucket.extend().put(block, tag: Bucket.tag(hash), at: 1)
      byteCount += Bucket.aloneByteCount
    }
  }
}
