import Base

/// Removing what has expired. To readers an expired entry is absent at once; here it goes for good,
/// by a logged delete.
extension Database {
  /// The earliest expiry in Unix milliseconds; `Change.noExpiry` when nothing expires.
  public var nextExpiry: Int64 { keyspace.heap.earliestExpiry }

  /// Removes `key` by a record of its own if it is present but expired, and returns true then: a
  /// reader that is told that it is absent waits for `lastRemoval`. Between transactions only.
  public mutating func expireIfDue(_ key: UnsafeRawBufferPointer) -> Bool {
    guard nextExpiry <= clockMillis else { return false }
    let hash = SipHash.hash13(key, key: hashKey)
    guard let place = keyspace.table.place(key, hash: hash),
      place.entry.expiry <= clockMillis
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
}
