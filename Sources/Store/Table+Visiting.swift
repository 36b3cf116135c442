import Base

/// Going through the table in pieces while it changes.
///
/// The order is that of the hash with its bits reversed. In an array of 2^k buckets the entries of
/// one bucket are an interval of that order: those whose first k reversed bits are the bucket's
/// number reversed. So a position in the order means the same in an array of any size, and a visit
/// that goes from 0 upwards sees each entry that is in the table all the while at least once,
/// however the table is resized in between. (Redis's SCAN walks the same order, a bucket at a
/// time.)
extension Table {
  /// Gives `body` the entries of the interval around `position` and returns the position where the
  /// next interval begins, 0 after the last. Entries a little before `position` may come again.
  func visit(_ position: UInt64, _ body: (Entry) -> Void) -> UInt64 {
    let larger = next.mask > main.mask ? next.mask : main.mask
    let index = Int(truncatingIfNeeded: position.bitReversed) & larger
    visit(main, index, larger, body)
    if isResizing { visit(next, index, larger, body) }
    // The bit above the interval, in reversed order; shifting past the word ends the walk.
    let width = UInt64((larger + 1).trailingZeroBitCount)
    let first = UInt64(index).bitReversed
    return first &+ (1 << (64 - width))
  }

  /// The entries of one array whose home would be `index` under the mask `larger`.
  private func visit(
    _ array: BucketArray, _ index: Int, _ larger: Int, _ body: (Entry) -> Void
  ) {
    var bucket = array[index & array.mask]
    while let each = bucket {
      var occupied = each.occupied
      while occupied != 0 {
        let entry = each.entry(at: occupied.trailingZeroBitCount >> 3)
        if array.mask == larger || Int(truncatingIfNeeded: entry.hash) & larger == index {
          body(entry)
        }
        occupied &= occupied - 1
      }
      bucket = each.further
    }
  }

  /// An entry of the table, nearly uniformly; nil when it is empty.
  func random(_ chance: inout Random) -> Entry? {
    guard count > 0 else { return nil }
    var position = chance.next()
    while true {
      var seen = 0
      var chosen: Entry?
      position = visit(position) { entry in
        seen += 1
        if chance.below(seen) == 0 { chosen = entry }
      }
      if let chosen { return chosen }
    }
  }
}

extension Table {
  /// As `visit`, but within an interval only the entries from `position` on, and when they pass
  /// `byteCountMax` bytes no further entry: the position returned is then within the interval.
  func visit(
    _ position: UInt64, byteCountMax: Int, _ body: (Entry) -> Void
  ) -> UInt64 {
    var sum = 0
    let end = visit(position) { sum += $0.keyByteCount + $0.valueByteCount }
    if sum <= byteCountMax {
      _ = visit(position) { if $0.hash.bitReversed >= position { body($0) } }
      return end
    }
    return visitLowest(position, end, byteCountMax, body)
  }

  /// Takes the entries of the interval one by one in order.
  private func visitLowest(
    _ position: UInt64, _ end: UInt64, _ byteCountMax: Int, _ body: (Entry) -> Void
  ) -> UInt64 {
    var position = position
    var left = byteCountMax
    while left > 0 {
      var lowest: UInt64?
      _ = visit(position) {
        let each = $0.hash.bitReversed
        if each >= position, each <= lowest ?? .max { lowest = each }
      }
      guard let lowest else { return end }
      _ = visit(position) {
        guard $0.hash.bitReversed == lowest else { return }
        left -= $0.keyByteCount + $0.valueByteCount
        body($0)
      }
      if lowest == .max || lowest &+ 1 == end { return end }
      position = lowest + 1
    }
    return position
  }
}
