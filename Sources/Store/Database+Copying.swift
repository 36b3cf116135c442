public import Base

/// Copying the database to another member while it goes on changing.
///
/// The source notes what committed changes touch (`beginNotes`), gives out all entries and recorded
/// outcomes once (`copySlice`), then again and again the present state of what was noted meanwhile
/// (`copyNoted`), at last while nothing changes. The target applies it all in order
/// (`applyCopied`). Both then have the same entries, which their digests show (`digestSlice`).
/// Everything here is called between transactions.
extension Database {
  // MARK: The source

  /// Values above this are given in parts.
  private static var wholeByteCountMax: Int { 32 << 10 }
  /// What a part carries besides its value: the longest key and the change's own bytes.
  private static var partByteCountMax: Int { (64 << 10) + 64 }
  /// The fewest bytes that `copySlice` and `copyNoted` can be asked for.
  public static var copyByteCountMin: Int { 2 * (wholeByteCountMax + partByteCountMax) }

  /// Begins to note what committed changes touch.
  public mutating func beginNotes() { notes = CopyNotes() }

  /// Ends that.
  public mutating func endNotes() { notes = nil }

  /// Takes what was noted so far, and goes on noting.
  public mutating func takeNotes() -> CopyNotes {
    defer { if notes != nil { notes = CopyNotes() } }
    return notes ?? CopyNotes()
  }

  /// How many keys and ids are noted.
  public var noteCount: Int { notes?.count ?? 0 }

  /// The notes do not say everything: the copy must begin again.
  public var notesAreOverrun: Bool { notes?.isOverrun ?? false }

  /// Appends entries and outcomes to `buffer` as changes, `byteCountMax` bytes at most in all, and
  /// returns how many; those that come or change meanwhile are noted. Looks at a bounded number of
  /// buckets, so there may be none; the cursor says when everything was given.
  public func copySlice(
    _ cursor: inout CopyCursor, into buffer: inout ByteBuffer, byteCountMax: Int
  ) -> Int {
    invariant(!transaction.isOpen, "a slice is taken between transactions")
    let end = byteCountMax - Self.wholeByteCountMax - Self.partByteCountMax
    var bucketsLeft = CheckpointCursor.bucketCountMax
    var given = 0
    while buffer.count < end, bucketsLeft > 0 {
      bucketsLeft -= 1
      if !cursor.large.isDone {
        given += copyNoted(&cursor.large, into: &buffer, byteCountMax: byteCountMax)
        continue
      }
      switch cursor.phase {
      case .entries:
        var large: [[UInt8]] = []
        cursor.position = keyspace.table.visit(
          cursor.position, byteCountMax: end - buffer.count
        ) { entry in
          if entry.valueByteCount > Self.wholeByteCountMax {
            large.append([UInt8](entry.key))
          } else {
            given += 1
            buffer.appendPut(
              key: entry.key, value: entry.value, version: entry.version, expiry: entry.expiry)
          }
        }
        cursor.large = CopyList(keys: large)
        if cursor.position == 0 { cursor.phase = .outcomes }
      case .outcomes:
        cursor.position = outcomes.keyspace.table.visit(
          cursor.position, byteCountMax: end - buffer.count
        ) {
          given += 1
          buffer.append(Outcome($0))
        }
        if cursor.position == 0 { cursor.phase = .done }
      case .done: return given
      }
    }
    return given
  }

  /// Appends the present state of noted keys and ids to `buffer` as changes, `byteCountMax` bytes
  /// at most in all, and returns how many keys and ids were done with. What changes meanwhile is
  /// noted again.
  public func copyNoted(
    _ list: inout CopyList, into buffer: inout ByteBuffer, byteCountMax: Int
  ) -> Int {
    invariant(!transaction.isOpen, "a slice is taken between transactions")
    let end = byteCountMax - Self.wholeByteCountMax - Self.partByteCountMax
    let before = list.count
    while buffer.count < end, list.keyIndex < list.keys.count {
      let isWhole = list.keys[list.keyIndex].withUnsafeBytes {
        copy($0, from: &list.offset, into: &buffer)
      }
      if isWhole { list.keyIndex += 1 }
    }
    while buffer.count < end, list.operationIndex < list.operations.count {
      // One that is gone by now lies at or below the horizon, which is given at the end.
      if let outcome = outcomes.find(list.operations[list.operationIndex]) {
        buffer.append(outcome)
      }
      list.operationIndex += 1
    }
    return before - list.count
  }

  /// Appends the state of a key, or a part of its value from `offset` on. True when it is whole.
  private func copy(
    _ key: UnsafeRawBufferPointer, from offset: inout Int, into buffer: inout ByteBuffer
  ) -> Bool {
    let hash = SipHash.hash13(key, key: hashKey)
    guard let entry = keyspace.table.find(key, hash: hash) else {
      offset = 0
      buffer.appendDelete(key: key, version: lastStamp)
      return true
    }
    let (value, version, expiry) = (entry.value, entry.version, entry.expiry)
    if offset == 0 {
      guard value.count > Self.wholeByteCountMax else {
        buffer.appendPut(key: key, value: value, version: version, expiry: expiry)
        return true
      }
      // At once as long as it will be, so that it need not grow with each part.
      let nothing = UnsafeRawBufferPointer(rebasing: value[..<0])
      let last = UnsafeRawBufferPointer(rebasing: value[(value.count - 1)...])
      buffer.appendPut(key: key, value: nothing, version: version, expiry: expiry)
      buffer.appendSplice(
        key: key, offset: value.count - 1, bytes: last, version: version, expiry: expiry)
    }
    let end = min(offset + Self.wholeByteCountMax, value.count)
    if offset < end {
      let part = UnsafeRawBufferPointer(rebasing: value[offset..<end])
      buffer.appendSplice(
        key: key, offset: offset, bytes: part, version: version, expiry: expiry)
    }
    offset = end < value.count ? end : 0
    return offset == 0
  }

  // MARK: The target

  /// Removes all entries and all notes of the ledger but `kept`, where nothing may be staged, by
  /// records of its own: what is copied next begins with an empty table. Recorded outcomes stay, as
  /// they say what has happened, and so does the horizon.
  public mutating func clearForCopy(keeping kept: UnsafeRawBufferPointer) {
    invariant(!transaction.isOpen, "the data is cleared between transactions")
    log.begin()
    log.body.appendFlush(version: lastStamp)
    let before = keyspace
    keyspace = Keyspace()
    discard(before)
    lastRemoval = log.finish()
    var ids: [[UInt8]] = []
    visitLedger { if !$0.id.elementsEqual(kept) { ids.append([UInt8]($0.id)) } }
    for id in ids { _ = id.withUnsafeBytes { unnote($0) } }
  }

  /// Applies what another member's `copySlice` or `copyNoted` gave, by one record, and returns its
  /// mark. Throws, and does nothing, unless these are whole changes that those give.
  public mutating func applyCopied(_ changes: UnsafeRawBufferPointer) throws(ChangeError) -> Mark {
    invariant(!transaction.isOpen, "a copy is applied between transactions")
    let horizon = horizonMillis
    observe(stamp: try ChangeReader.greatestVersion(ofStaged: changes))
    log.begin()
    log.body.append(changes)
    var reader = ChangeReader(changes)
    while let change = try? reader.next() { apply(change) }
    while dropForRoom() {}
    if horizonMillis > horizon { log.body.appendHorizon(millis: horizonMillis) }
    let mark = log.finish()
    if horizonMillis > horizon { outcomes.horizonMark = mark }
    return mark
  }

  // MARK: Both

  /// Sums up further entries, about `entryCountMax` of them. Returns false when all are in the
  /// cursor's digest. Nothing may change meanwhile but entries that the cursor passes over.
  public func digestSlice(_ cursor: inout DigestCursor, entryCountMax: Int) -> Bool {
    var left = entryCountMax
    repeat {
      left -= 1
      cursor.position = keyspace.table.visit(cursor.position, byteCountMax: .max) { entry in
        left -= 1
        if entry.expiry > cursor.aliveMillis { cursor.digest.add(entry) }
      }
    } while cursor.position != 0 && left > 0
    return cursor.position != 0
  }
}

extension ByteBuffer {
  /// Appends a recorded outcome as the change that makes it.
  mutating func append(_ outcome: Outcome) {
    appendOutcome(id: outcome.id, status: outcome.status, reply: outcome.reply)
  }
}
