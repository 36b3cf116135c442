import Base

/// Finds the one byte whose change explains a wrong CRC-32C.
///
/// The checksum is linear: what a changed byte does to it depends only on the change and on how
/// many bytes follow. So the difference of the two checksums is run backwards, a byte a step, until
/// it is what one byte can cause. A hint for people: other damage may look the same, and nothing is
/// repaired by it.
struct ChangedByte {
  /// Where in the run the byte is.
  var index: Int

  /// `found` is the checksum of `byteCount` bytes as they are (after whatever came before them),
  /// `expected` the one they had. Nil if no single byte explains it, or more than one does.
  ///
  /// - Complexity: O(`byteCount`)
  init?(found: UInt32, expected: UInt32, byteCount: Int) {
    var difference = found ^ expected
    guard difference != 0 else { return nil }
    var candidate: Int?
    for behind in 0..<byteCount {
      let entry = Self.entries[Int(difference >> 24)]
      difference = (difference ^ Self.table[Int(entry)]) << 8 | UInt32(entry)
      if difference < 256 {
        if candidate != nil { return nil }
        candidate = byteCount - 1 - behind
      }
    }
    guard let candidate else { return nil }
    index = candidate
  }

  /// What a byte does to a checksum of zero.
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { value, _ in
      value & 1 == 1 ? value >> 1 ^ 0x82F6_3B78 : value >> 1
    }
  }

  /// Which byte's entry in the table begins with which eight bits; each does with others.
  private static let entries: [UInt8] = {
    var entries = [UInt8](repeating: 0, count: 256)
    for (byte, value) in table.enumerated() { entries[Int(value >> 24)] = UInt8(byte) }
    return entries
  }()
}

extension ChangedByte {
  /// The same for a record or chunk at `place`: a checksum of everything (u32 at 0), then one of
  /// the header (u32 at 4) over the rest of its `headerByteCount` bytes, then payload and padding.
  /// `isHeaderRight` tells which of the two is wrong. The index counts from `place`.
  init?(
    framedAt place: UnsafeRawBufferPointer, headerByteCount: Int, isHeaderRight: Bool, seed: UInt32
  ) {
    let start = isHeaderRight ? headerByteCount : 8
    let end = isHeaderRight ? place.count : headerByteCount
    let stored = place.little(UInt32.self, at: isHeaderRight ? 0 : 4)
    let before = isHeaderRight ? place.little(UInt32.self, at: 4) : seed
    let found = CRC32C.update(before, UnsafeRawBufferPointer(rebasing: place[start..<end]))
    let difference = found ^ stored
    let low = difference.trailingZeroBitCount / 8
    if difference != 0, difference >> UInt32(low * 8) < 256 {
      index = (isHeaderRight ? 0 : 4) + low
      return
    }
    guard let byte = ChangedByte(found: found, expected: stored, byteCount: end - start) else {
      return nil
    }
    index = start + byte.index
  }
}
