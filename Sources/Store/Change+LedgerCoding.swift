import Base

// The bytes of the changes of the ledger, as the comment on `Change` specifies them.

// MARK: Writing

extension ByteBuffer {
  /// Appends a stage; `changes` are whole changes that `ChangeReader.greatestVersion` accepts.
  public mutating func appendStage(
    id: UnsafeRawBufferPointer, mark: Mark, note: UnsafeRawBufferPointer,
    changes: UnsafeRawBufferPointer
  ) {
    let place = extend(ChangeSize.stage + id.count + note.count + changes.count)
    place.store(ChangeTag.stage, 0)
    place.store(UInt8(truncatingIfNeeded: id.count), 1)
    place.store(UInt32(truncatingIfNeeded: note.count), 2)
    place.store(UInt32(truncatingIfNeeded: changes.count), 6)
    place.store(mark.number, 10)
    place.copy(id, 18)
    place.copy(note, 18 + id.count)
    place.copy(changes, 18 + id.count + note.count)
  }

  /// Appends a settle.
  public mutating func appendSettle(
    id: UnsafeRawBufferPointer, mark: Mark, committed: Bool, note: UnsafeRawBufferPointer?
  ) {
    let place = extend(ChangeSize.settle + id.count + (note?.count ?? 0))
    var flags = SettleFlags()
    if committed { flags.insert(.committed) }
    if note != nil { flags.insert(.hasNote) }
    place.store(ChangeTag.settle, 0)
    place.store(UInt8(truncatingIfNeeded: id.count), 1)
    place.store(flags.rawValue, 2)
    place.store(UInt32(truncatingIfNeeded: note?.count ?? 0), 3)
    place.store(mark.number, 7)
    place.copy(id, 15)
    if let note { place.copy(note, 15 + id.count) }
  }

  /// Appends a note.
  public mutating func appendNote(id: UnsafeRawBufferPointer, note: UnsafeRawBufferPointer) {
    let place = extend(ChangeSize.note + id.count + note.count)
    place.store(ChangeTag.note, 0)
    place.store(UInt8(truncatingIfNeeded: id.count), 1)
    place.store(UInt32(truncatingIfNeeded: note.count), 2)
    place.copy(id, 6)
    place.copy(note, 6 + id.count)
  }

  /// Appends an unnote.
  public mutating func appendUnnote(id: UnsafeRawBufferPointer) {
    let place = extend(ChangeSize.unnote + id.count)
    place.store(ChangeTag.unnote, 0)
    place.store(UInt8(truncatingIfNeeded: id.count), 1)
    place.copy(id, 2)
  }
}

/// What a settle says beside its numbers.
private struct SettleFlags: OptionSet {
  var rawValue: UInt8
  static var committed: SettleFlags { SettleFlags(rawValue: 1) }
  static var hasNote: SettleFlags { SettleFlags(rawValue: 2) }
  static var all: SettleFlags { [.committed, .hasNote] }
}

// MARK: Reading

extension ChangeReader {
  /// The greatest version among `changes`, zero when none has one; throws unless they are whole
  /// changes that may be staged.
  ///
  /// A ledger's own changes and a horizon may not: they are about one member, not about the data.
  public static func greatestVersion(
    ofStaged changes: UnsafeRawBufferPointer
  ) throws(ChangeError) -> Stamp {
    var reader = ChangeReader(changes)
    var greatest = Stamp.zero
    var offset = 0
    while let change = try reader.next() {
      let version: Stamp
      switch change {
      case .put(_, _, let its, _), .delete(_, let its), .splice(_, _, _, let its, _),
        .expire(_, let its, _), .flush(let its):
        version = its
      case .outcome: version = .zero
      case .horizon, .stage, .settle, .note, .unnote:
        throw ChangeError(offset: offset, reason: "is none that may be staged")
      }
      guard version <= .greatest else {
        throw ChangeError(offset: offset, reason: "has a version that no clock reaches")
      }
      greatest = max(greatest, version)
      offset = reader.offset
    }
    return greatest
  }

  mutating func stage() throws(ChangeError) -> Change {
    let idCount = try idCount()
    let (noteCount, count) = (Int(try peek(UInt32.self, 2)), Int(try peek(UInt32.self, 6)))
    let start = offset
    let place = try take(ChangeSize.stage + idCount + noteCount + count)
    let changes = place.bytes(18 + idCount + noteCount, count)
    do {
      _ = try Self.greatestVersion(ofStaged: changes)
    } catch let flaw {
      throw ChangeError(offset: start, reason: "stages a change that \(flaw.reason)")
    }
    return .stage(
      id: place.bytes(18, idCount), mark: Mark(place.load(10)),
      note: place.bytes(18 + idCount, noteCount), changes: changes)
  }

  mutating func settle() throws(ChangeError) -> Change {
    let idCount = try idCount()
    let noteCount = Int(try peek(UInt32.self, 3))
    let flags = SettleFlags(rawValue: try peek(UInt8.self, 2))
    guard SettleFlags.all.isSuperset(of: flags) else { throw error("has an unknown flag") }
    guard flags.contains(.hasNote) || noteCount == 0 else {
      throw error("has no note but its length")
    }
    let place = try take(ChangeSize.settle + idCount + noteCount)
    return .settle(
      id: place.bytes(15, idCount), mark: Mark(place.load(7)),
      committed: flags.contains(.committed),
      note: flags.contains(.hasNote) ? place.bytes(15 + idCount, noteCount) : nil)
  }

  mutating func note() throws(ChangeError) -> Change {
    let idCount = try idCount()
    let noteCount = Int(try peek(UInt32.self, 2))
    let place = try take(ChangeSize.note + idCount + noteCount)
    return .note(id: place.bytes(6, idCount), note: place.bytes(6 + idCount, noteCount))
  }

  mutating func unnote() throws(ChangeError) -> Change {
    let idCount = try idCount()
    let place = try take(ChangeSize.unnote + idCount)
    return .unnote(id: place.bytes(2, idCount))
  }

  private func idCount() throws(ChangeError) -> Int {
    let count = Int(try peek(UInt8.self, 1))
    guard Ledger.idByteCounts.contains(count) else { throw error("has an id of a wrong length") }
    return count
  }
}

extension Stamp {
  /// The greatest stamp taken from another member (the year 2262), so that counting on from it
  /// never overflows.
  static var greatest: Stamp { Stamp(nanos: 1 << 63 - 1) }
}
