import Base

/// Removing what has expired. To readers an expired entry is absent at once; here it goes for good,
/// by a logged delete.
extension Database {
  /// The earliest expiry in Unix milliseconds; `Change.noExpiry` when nothing expires.
  public var nextExpiry: Int64 {
    mutating get { keyspace.heap.earliestExpiry }
  }

  /// True when `key` is present but expired: `expireIfDue` would remove it.
  public func isDue(_ key: UnsafeRawBufferPointer) -> Bool {
    guard keyspace.heap.earliestExpiry <= clockMillis else { return false }
    let hash = SipHash.hash13(key, key: hashKey)
    return keyspace.table.place(key, hash: hash).map { $0.entry.expiry <= clockMillis } ?? false
  }

  /// Removes `key` by a record of its own if it is present but expired, and returns true then: a
  /// reader that is told that it is absent waits for `lastRemoval`. Between transactions only.
  public mutating func expireIfDue(_ key: UnsafeRawBufferPointer) -> Bool {
    expireIfDue(key) { _ in false }
  }

  /// As `expireIfDue(_:)`, but leaves the key alone if `isLocked` says so.
  public mutating func expireIfDue(
    _ key: UnsafeRawBufferPointer, unless isLocked: (UnsafeRawBufferPointer) -> Bool
  ) -> Bool {
    guard nextExpiry <= clockMillis else { return false }
    let hash = SipHash.hash13(key, key: hashKey)
    guard let place = keyspace.table.place(key, hash: hash),
      place.entry.expiry <= clockMillis, !isLocked(key)
    else { return false }
    begin(multi: false)
    let done = erase(place)
    invariant(done, "a record has room for one delete")
    _ = commit()
    return true
  }

  /// Removes up to `limit` expired entries, earliest first, by one record. Returns how many.
  /// Between transactions only.
  public mutating func expireDue(limit: Int) -> Int {
    guard nextExpiry <= clockMillis, limit > 0 else { return 0 }
    begin(multi: false)
    var removed = 0
    while removed < limit, let entry = keyspace.heap.earliest, entry.expiry <= clockMillis,
      erase(keyspace.table.place(of: entry))
    {
      removed += 1
    }
    _ = commit()
    return removed
  }

  /// As `expireDue(limit:)`, but passes over the keys that `isLocked` names, which stay as they
  /// are. Looks at `4 * limit` entries at most; so many locked ones may hide others until they are
  /// free.
  public mutating func expireDue(
    limit: Int, unless isLocked: (UnsafeRawBufferPointer) -> Bool
  ) -> ExpiryPass {
    var pass = ExpiryPass(removedCount: 0, isCut: false, nextExpiry: nextExpiry)
    guard nextExpiry <= clockMillis, limit > 0 else { return pass }
    var free: [Entry] = []
    var seen = 0
    let next = keyspace.heap.visitDue(through: clockMillis) { entry in
      seen += 1
      if !isLocked(entry.key) { free.append(entry) }
      return free.count < limit && seen < 4 * limit
    }
    pass.isCut = next == nil
    pass.nextExpiry = next ?? nextExpiry
    guard !free.isEmpty else { return pass }
    begin(multi: false)
    for entry in free where erase(keyspace.table.place(of: entry)) { pass.removedCount += 1 }
    _ = commit()
    return pass
  }
}

/// What one `expireDue(limit:unless:)` did.
public struct ExpiryPass: Sendable, Equatable {
  /// The entries removed.
  public var removedCount: Int
  /// There may be more to remove at once: a limit was reached.
  public var isCut: Bool
  /// The earliest expiry that is still to come; if the pass was cut, one that has come. Locked keys
  /// that are due do not count: look again when keys were unlocked.
  public var nextExpiry: Int64

  /// Joins what one pass did.
  public init(removedCount: Int, isCut: Bool, nextExpiry: Int64) {
    self.removedCount = removedCount
    self.isCut = isCut
    self.nextExpiry = nextExpiry
  }
}
