import Base

/// The entries that expire, earliest first: a heap with four children a node, so that a node's
/// children are one cache line. Each entry knows its position, so removal finds it at once.
///
/// An item is the expiry and the entry's pointer, 16 bytes. Positions begin at 3, which puts the
/// children of `p` at `4 * p - 8 ... 4 * p - 5` and its parent at `p / 4 + 2`. Items lie in chunks
/// of 512, so that growth copies none of them. Memory is the owner's to free: copies share it.
struct ExpiryHeap {
  /// The position behind the last item.
  private var end = ExpiryHeap.first
  private var chunks: UnsafeMutablePointer<UnsafeMutableRawPointer>?
  private var chunkCount = 0
  private var chunkCountMax = 0

  private static var first: Int { 3 }
  private static var chunkShift: Int { 9 }
  private static var chunkMask: Int { 511 }
  private static var chunkByteCount: Int { 512 * 16 }

  var count: Int { end - Self.first }

  /// The memory of all chunks and their directory.
  var byteCount: Int {
    let directory = chunkCountMax == 0 ? 0 : Memory.byteCount(ofBlock: chunkCountMax * 8)
    return chunkCount * Memory.byteCount(ofBlock: Self.chunkByteCount) + directory
  }

  /// The earliest expiry; `Change.noExpiry` when the heap is empty.
  var earliestExpiry: Int64 { count == 0 ? Change.noExpiry : expiry(at: Self.first) }

  /// The entry that expires first; nil when the heap is empty.
  var earliest: Entry? { count == 0 ? nil : entry(at: Self.first) }

  /// Adds an entry that is not in the heap.
  /// - Complexity: O(log n), O(1) on average.
  mutating func insert(_ entry: Entry) {
    if end >> Self.chunkShift == chunkCount { addChunk() }
    end += 1
    rise(entry, entry.expiry, from: end - 1)
  }

  /// Removes an entry that is in the heap.
  mutating func remove(_ entry: Entry) {
    let hole = entry.heapPosition
    invariant(hole >= Self.first && hole < end, "an entry's place in the expiry heap is wrong")
    entry.heapPosition = 0
    end -= 1
    if hole != end { settle(self.entry(at: end), expiry(at: end), at: hole) }
    // One chunk is kept in hand, so that a count at the border does not allocate and free in turn.
    if chunkCount - 2 > end >> Self.chunkShift { dropChunk() }
  }

  /// Moves an entry in the heap after its expiry changed.
  mutating func update(_ entry: Entry) {
    settle(entry, entry.expiry, at: entry.heapPosition)
  }

  /// Puts another block in an entry's place; both expire at the same time.
  func replace(_ old: Entry, with new: Entry) {
    store(new, new.expiry, at: old.heapPosition)
    old.heapPosition = 0
  }

  /// Frees a chunk, the directory after the last one; the entries are not touched. The heap may not
  /// be used any more. Returns true when there is more.
  mutating func freeChunk() -> Bool {
    if chunkCount > 0 {
      dropChunk()
      return true
    }
    chunks?.deallocate()
    chunks = nil
    chunkCountMax = 0
    return false
  }

  // MARK: Visiting

  /// Gives `body` the entries that expire at `limit` or before, parents before children, until it
  /// returns false. Returns the earliest expiry after `limit`; nil when `body` ended it. `body` may
  /// not change the heap.
  func visitDue(through limit: Int64, _ body: (Entry) -> Bool) -> Int64? {
    var later = Change.noExpiry
    var position = Self.first
    while position < end {
      let expiry = expiry(at: position)
      if expiry <= limit {
        guard body(entry(at: position)) else { return nil }
        if position * 4 - 8 < end {
          position = position * 4 - 8
          continue
        }
      } else {
        later = min(later, expiry)
      }
      guard let next = successor(of: position) else { break }
      position = next
    }
    return later
  }

  /// The next position in pre-order that is not below this one; nil when there is none.
  private func successor(of position: Int) -> Int? {
    var position = position
    while position > Self.first {
      // Siblings begin at multiples of four.
      if position & 3 != 3, position + 1 < end { return position + 1 }
      position = position / 4 + 2
    }
    return nil
  }

  // MARK: Order

  private func settle(_ entry: Entry, _ expiry: Int64, at position: Int) {
    if position > Self.first, expiry < self.expiry(at: position / 4 + 2) {
      rise(entry, expiry, from: position)
    } else {
      sink(entry, expiry, from: position)
    }
  }

  private func rise(_ entry: Entry, _ expiry: Int64, from start: Int) {
    var position = start
    while position > Self.first {
      let parent = position / 4 + 2
      let parentExpiry = self.expiry(at: parent)
      if parentExpiry <= expiry { break }
      store(self.entry(at: parent), parentExpiry, at: position)
      position = parent
    }
    store(entry, expiry, at: position)
  }

  private func sink(_ entry: Entry, _ expiry: Int64, from start: Int) {
    var position = start
    while true {
      let firstChild = position * 4 - 8
      guard firstChild < end else { break }
      var least = firstChild
      var leastExpiry = self.expiry(at: firstChild)
      for child in firstChild + 1..<firstChild + 4 where child < end {
        let childExpiry = self.expiry(at: child)
        if childExpiry < leastExpiry {
          least = child
          leastExpiry = childExpiry
        }
      }
      if leastExpiry >= expiry { break }
      store(self.entry(at: least), leastExpiry, at: position)
      position = least
    }
    store(entry, expiry, at: position)
  }

  // MARK: Memory

  private func place(_ position: Int) -> UnsafeMutableRawPointer {
    chunks.unsafelyUnwrapped[position >> Self.chunkShift] + (position & Self.chunkMask) * 16
  }

  private func expiry(at position: Int) -> Int64 { place(position).load(as: Int64.self) }

  private func entry(at position: Int) -> Entry {
    Entry(block: place(position).load(fromByteOffset: 8, as: UnsafeMutableRawPointer.self))
  }

  private func store(_ entry: Entry, _ expiry: Int64, at position: Int) {
    let place = place(position)
    place.storeBytes(of: expiry, as: Int64.self)
    place.storeBytes(of: entry.block, toByteOffset: 8, as: UnsafeMutableRawPointer.self)
    entry.heapPosition = position
  }

  private mutating func addChunk() {
    if chunkCount == chunkCountMax {
      let wanted = Swift.max(8, chunkCountMax * 2)
      let fresh = UnsafeMutablePointer<UnsafeMutableRawPointer>.allocate(capacity: wanted)
      if let chunks {
        fresh.update(from: chunks, count: chunkCount)
        chunks.deallocate()
      }
      chunks = fresh
      chunkCountMax = wanted
    }
    chunks.unsafelyUnwrapped[chunkCount] = .allocate(
      byteCount: Self.chunkByteCount, alignment: 64)
    chunkCount += 1
  }

  private mutating func dropChunk() {
    chunkCount -= 1
    chunks.unsafelyUnwrapped[chunkCount].deallocate()
  }
}
