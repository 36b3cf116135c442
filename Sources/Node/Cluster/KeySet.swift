import Base
import Store

/// The keys that a round locks, each once, with its mode: found by their bytes, kept in the order
/// in which they came.
///
/// Bounded by the round: `DatabaseLimits.transactionOperationCountMax` keys.
struct KeySet: ~Copyable {
  private struct Entry {
    var offset: Int
    var byteCount: Int
    var hash: UInt64
    var isWritten: Bool
  }

  private var arena = ByteBuffer()
  private var entries: [Entry] = []
  /// Indices into `entries` plus one; 0: free. Its size is a power of two, at least twice the
  /// count.
  private var slots: [UInt32] = Array(repeating: 0, count: 64)
  private let hashKey: SipKey

  init(hashKey: SipKey) { self.hashKey = hashKey }

  var count: Int { entries.count }
  /// Bytes of all keys.
  var byteCount: Int { arena.count }

  /// The key at an index; valid until the next insertion.
  func key(at index: Int) -> UnsafeRawBufferPointer {
    let entry = entries[index]
    return UnsafeRawBufferPointer(
      rebasing: arena.bytes[entry.offset..<(entry.offset + entry.byteCount)])
  }

  /// Whether the key at an index is written, not only read.
  func isWritten(at index: Int) -> Bool { entries[index].isWritten }

  func contains(_ key: UnsafeRawBufferPointer) -> Bool {
    entries.isEmpty ? false : slots[slot(of: key, SipHash.hash13(key, key: hashKey))] != 0
  }

  /// Adds a key, or turns one that was only read into one that is written.
  mutating func insert(_ key: UnsafeRawBufferPointer, isWritten: Bool) {
    let hash = SipHash.hash13(key, key: hashKey)
    let slot = slot(of: key, hash)
    if slots[slot] != 0 {
      if isWritten { entries[Int(slots[slot]) - 1].isWritten = true }
      return
    }
    entries.append(
      Entry(offset: arena.count, byteCount: key.count, hash: hash, isWritten: isWritten))
    arena.append(key)
    slots[slot] = UInt32(entries.count)
    if entries.count * 2 > slots.count { grow() }
  }

  private func slot(of key: UnsafeRawBufferPointer, _ hash: UInt64) -> Int {
    var slot = Int(truncatingIfNeeded: hash) & (slots.count - 1)
    while slots[slot] != 0 {
      let index = Int(slots[slot]) - 1
      if entries[index].hash == hash, self.key(at: index).isEqual(to: key) { return slot }
      slot = (slot + 1) & (slots.count - 1)
    }
    return slot
  }

  private mutating func grow() {
    slots = Array(repeating: 0, count: slots.count * 2)
    for (index, entry) in entries.enumerated() {
      var slot = Int(truncatingIfNeeded: entry.hash) & (slots.count - 1)
      while slots[slot] != 0 { slot = (slot + 1) & (slots.count - 1) }
      slots[slot] = UInt32(index + 1)
    }
  }
}
