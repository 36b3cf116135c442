import Base

/// A table and the heap of its entries that expire, kept in step, with the memory of all of it.
///
/// Memory is the owner's to free: copies share it.
@usableFromInline struct Keyspace {
  @usableFromInline var table = Table()
  var heap = ExpiryHeap()
  /// The memory of the entries alone.
  private(set) var entriesByteCount = 0

  init() {}

  /// The memory of everything in it.
  var byteCount: Int { table.byteCount + heap.byteCount + entriesByteCount }

  /// Takes an entry in, whose key is not there.
  mutating func insert(_ entry: Entry) {
    entriesByteCount += entry.memoryByteCount
    if entry.expiry != Change.noExpiry { heap.insert(entry) }
    table.insert(entry)
  }

  /// Takes an entry out; its block is the caller's to free or keep.
  mutating func remove(_ place: Table.Place) {
    let entry = place.entry
    entriesByteCount -= entry.memoryByteCount
    if entry.heapPosition != 0 { heap.remove(entry) }
    table.remove(place)
  }

  /// Puts another block of the same key in the place; the old one is the caller's.
  mutating func replace(_ place: Table.Place, with entry: Entry) {
    let old = place.entry
    entriesByteCount += entry.memoryByteCount - old.memoryByteCount
    if old.heapPosition != 0, old.expiry == entry.expiry {
      heap.replace(old, with: entry)
    } else {
      if old.heapPosition != 0 { heap.remove(old) }
      if entry.expiry != Change.noExpiry { heap.insert(entry) }
    }
    table.replace(place, with: entry)
  }

  /// Sets version and expiry of an entry in the table.
  mutating func set(_ entry: Entry, version: Stamp, expiry: Int64) {
    let before = entry.expiry
    entry.set(version: version, expiry: expiry)
    guard before != expiry else { return }
    if before == Change.noExpiry {
      heap.insert(entry)
    } else if expiry == Change.noExpiry {
      heap.remove(entry)
    } else {
      heap.update(entry)
    }
  }

  /// Frees everything at once.
  mutating func free() {
    var remains = Remains(self)
    while remains.free(entryCountMax: 1 << 20) {}
  }
}
