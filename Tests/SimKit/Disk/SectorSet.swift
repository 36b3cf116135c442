/// A set of sector numbers: a bit each.
struct SectorSet {
  private var words: [UInt64] = []
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  func contains(_ sector: Int) -> Bool {
    let word = sector >> 6
    return word < words.count && words[word] >> UInt64(sector & 63) & 1 == 1
  }

  mutating func insert(_ sector: Int) {
    let word = sector >> 6
    while words.count <= word { words.append(0) }
    let bit: UInt64 = 1 << UInt64(sector & 63)
    if words[word] & bit == 0 {
      words[word] |= bit
      count += 1
    }
  }

  mutating func insert(_ range: Range<Int>) {
    for sector in range { insert(sector) }
  }

  mutating func remove(_ range: Range<Int>) {
    for sector in range where contains(sector) {
      words[sector >> 6] &= ~(1 << UInt64(sector & 63))
      count -= 1
    }
  }

  mutating func removeAll() {
    guard count > 0 else { return }
    for index in words.indices { words[index] = 0 }
    count = 0
  }

  /// The members, ascending.
  var sorted: [Int] {
    var members: [Int] = []
    members.reserveCapacity(count)
    for (index, word) in words.enumerated() {
      var rest = word
      while rest != 0 {
        members.append(index << 6 + rest.trailingZeroBitCount)
        rest &= rest - 1
      }
    }
    return members
  }
}
