import Base

/// What becomes of unforced bytes and names at one loss of power.
enum Survival: Int, CaseIterable {
  /// Everything written had reached the medium.
  case all
  /// Nothing had.
  case nothing
  /// Each sector and name decides for itself: new, old, or neither.
  case each
  /// Writes reached the medium in order up to some sector.
  case prefix
  /// All but one.
  case allButOne
}

/// One file: what readers see now, and what a loss of power would leave at least.
final class SimFile {
  static let sectorByteCount = 512

  /// What the page cache holds.
  private(set) var live: [UInt8] = []
  /// What has been forced, with its size.
  private(set) var durable: [UInt8] = []
  /// Sectors written since the last force.
  private var dirty = SectorSet()
  /// Sectors whose force failed: a later force passes them over and does not tell.
  private var spoiled = SectorSet()

  var hasUnforced: Bool { !dirty.isEmpty || live.count != durable.count }

  func read(into buffer: UnsafeMutableRawBufferPointer, at offset: Int) -> Int {
    let count = max(0, min(buffer.count, live.count - offset))
    guard count > 0 else { return 0 }
    live.withUnsafeBytes { source in
      buffer.baseAddress!.copyMemory(from: source.baseAddress! + offset, byteCount: count)
    }
    return count
  }

  func write(_ bytes: UnsafeRawBufferPointer, at offset: Int) {
    guard bytes.count > 0 else { return }
    let end = offset + bytes.count
    let first = min(offset, live.count)
    if live.count < end { live.append(contentsOf: repeatElement(0, count: end - live.count)) }
    live.withUnsafeMutableBytes { target in
      (target.baseAddress! + offset).copyMemory(from: bytes.baseAddress!, byteCount: bytes.count)
    }
    let sectors = first / Self.sectorByteCount..<(end - 1) / Self.sectorByteCount + 1
    dirty.insert(sectors)
    // Written again, the next force takes them up again.
    spoiled.remove(sectors)
  }

  func truncate(to size: Int) {
    if size <= live.count {
      live.removeLast(live.count - size)
    } else {
      let first = live.count / Self.sectorByteCount
      live.append(contentsOf: repeatElement(0, count: size - live.count))
      dirty.insert(first..<(size - 1) / Self.sectorByteCount + 1)
    }
  }

  func force() {
    resizeDurable(to: live.count)
    for sector in dirty.sorted where !spoiled.contains(sector) { keep(sector) }
    dirty.removeAll()
    for sector in spoiled.sorted { dirty.insert(sector) }
  }

  /// A force that failed: some of it may be on the medium all the same, and the system takes the rest
  /// for written, so that forcing again proves nothing.
  func failForce(_ chance: inout Random) {
    for sector in dirty.sorted {
      if chance.chance(1, in: 2) { spoiled.insert(sector) }
    }
  }

  /// Forgets the sectors that the system takes for written: readers see what is on the medium, which
  /// where a force failed is new, old or neither.
  func dropCache(_ chance: inout Random) {
    for sector in spoiled.sorted {
      tear(sector, &chance)
      reload(sector)
      dirty.remove(sector..<sector + 1)
    }
    spoiled.removeAll()
  }

  /// Flips one bit where it will be read after the next start.
  func flip(bit: Int) {
    live[bit / 8] ^= 1 << UInt8(bit % 8)
    durable[bit / 8] ^= 1 << UInt8(bit % 8)
  }

  /// Zeroes from `offset` on.
  func blank(from offset: Int) {
    for index in min(offset, live.count)..<live.count { live[index] = 0 }
    durable = live
  }

  /// A file with the same bytes, all of them forced.
  func copy() -> SimFile {
    let other = SimFile()
    other.live = live
    other.durable = live
    return other
  }

  // MARK: Loss of power

  /// Leaves what the medium held: each unforced sector is new, old, or neither.
  func losePower(_ survival: Survival, _ chance: inout Random) {
    let oldSize = durable.count
    let newSize = live.count
    let size: Int
    switch survival {
    case .all: size = newSize
    case .nothing: size = oldSize
    default: size = min(oldSize, newSize) + chance.below(abs(newSize - oldSize) + 1)
    }
    let sectors = dirty.sorted
    let last = sectors.isEmpty ? 0 : chance.below(sectors.count + 1)
    resizeDurable(to: max(oldSize, newSize))
    for (index, sector) in sectors.enumerated() {
      switch survival {
      case .all: if !spoiled.contains(sector) { keep(sector) }
      case .nothing: break
      case .each: tear(sector, &chance)
      case .prefix:
        if index < last { keep(sector) } else if index == last { tear(sector, &chance) }
      case .allButOne: if index != last { keep(sector) } else { tear(sector, &chance) }
      }
    }
    resizeDurable(to: size)
    live = durable
    dirty.removeAll()
    spoiled.removeAll()
  }

  private func tear(_ sector: Int, _ chance: inout Random) {
    switch chance.below(8) {
    case 0...2: break
    case 3...5: keep(sector)
    case 6: keep(sector, count: chance.below(Self.sectorByteCount))
    default: scribble(sector, &chance)
    }
  }

  private func keep(_ sector: Int, count: Int = sectorByteCount) {
    let start = sector * Self.sectorByteCount
    let end = min(start + count, live.count, durable.count)
    guard start < end else { return }
    durable.withUnsafeMutableBytes { target in
      live.withUnsafeBytes { source in
        (target.baseAddress! + start).copyMemory(
          from: source.baseAddress! + start, byteCount: end - start)
      }
    }
  }

  private func reload(_ sector: Int) {
    let start = sector * Self.sectorByteCount
    let end = min(start + Self.sectorByteCount, live.count, durable.count)
    for index in start..<max(start, end) { live[index] = durable[index] }
  }

  private func scribble(_ sector: Int, _ chance: inout Random) {
    let start = sector * Self.sectorByteCount
    for index in start..<max(start, min(start + Self.sectorByteCount, durable.count)) {
      durable[index] = UInt8(truncatingIfNeeded: chance.next())
    }
  }

  private func resizeDurable(to size: Int) {
    if size < durable.count {
      durable.removeLast(durable.count - size)
    } else {
      durable.append(contentsOf: repeatElement(0, count: size - durable.count))
    }
  }
}
