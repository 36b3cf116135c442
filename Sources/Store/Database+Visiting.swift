import Base

/// Going through all entries. None of these may change the database while they run.
extension Database {
  /// Gives `body` a part of the entries and returns the cursor for the next part: 0 begins and
  /// ends.
  ///
  /// An entry that is present from the first call to the last is given at least once, whatever is
  /// added, removed or resized meanwhile; one may be given twice. Parts have `atLeast` entries or a
  /// few more, and fewer in a sparse table, where one call looks at `10 * atLeast` buckets at most.
  public func scan(_ cursor: UInt64, atLeast: Int, _ body: (Entry) -> Void) -> UInt64 {
    var position = cursor.bitReversed
    var given = 0
    var buckets = 0
    repeat {
      position = keyspace.table.visit(position) { entry in
        guard entry.expiry > clockMillis else { return }
        given += 1
        body(entry)
      }
      buckets += 1
    } while position != 0 && given < atLeast && buckets / 10 < atLeast
    return position.bitReversed
  }

  /// Gives `body` every entry once.
  /// - Complexity: O(n).
  public func visit(_ body: (Entry) -> Void) {
    var position: UInt64 = 0
    repeat {
      position = keyspace.table.visit(position) { entry in
        if entry.expiry > clockMillis { body(entry) }
      }
    } while position != 0
  }

  /// Some entry, nearly uniformly chosen; nil when none was found that has not expired.
  public func random(_ chance: inout Random) -> Entry? {
    for _ in 0..<128 {
      guard let entry = keyspace.table.random(&chance) else { return nil }
      if entry.expiry > clockMillis { return entry }
    }
    return nil
  }
}
