import Base

/// Staging changes of other members' transactions, and the notes of the agreement core.
///
/// Each call appends one record, lazily: it rides with the next group that somebody hurries
/// (`LogWriter.hurry`). Between transactions only. Bytes are borrowed for the call.
///
/// What makes replay right, from any fuzzy checkpoint: the core keeps the keys of staged changes,
/// and the ids of their outcomes, locked from `stage` to `settle`, for every change and for expiry;
/// and a checkpoint gives the ledger before the entries. So where a checkpoint no longer shows the
/// staged changes, its entries show what became of them.
extension Database {
  /// Keeps `changes` aside under `id`, with a note, in one record; `others` are written by the same
  /// one. What was staged under `id` before is dropped.
  ///
  /// Throws, and does nothing, unless `changes` are whole, may be staged, and are within the bound
  /// of a transaction: another member made them.
  public mutating func stage(
    _ id: UnsafeRawBufferPointer, note: UnsafeRawBufferPointer, changes: UnsafeRawBufferPointer,
    with others: [LedgerNote] = []
  ) throws(ChangeError) -> Mark {
    prepareLedger(id)
    let version = try ChangeReader.greatestVersion(ofStaged: changes)
    guard changes.count <= limits.transactionByteCountMax else {
      throw ChangeError(offset: 0, reason: "is beyond the bound of a transaction")
    }
    observe(stamp: version)
    log.begin()
    let mark = log.appended.next
    log.body.appendStage(id: id, mark: mark, note: note, changes: changes)
    ledger.insert(id, stagedBy: mark, note: note, changes: changes)
    write(others)
    return log.finish(lazily: true)
  }

  /// Applies or drops what is staged under `id`; the same record replaces its note, or removes it
  /// when `note` is nil, and writes `others`. If nothing is staged only the note changes.
  ///
  /// A reader of what was applied need not wait for this record, only for the one that staged it
  /// (`lastRemoval` and the versions say so): from that one on a crash can undo the settling, but
  /// not let anybody read what was before, as the keys come back locked and the decision is found
  /// again.
  /// - Complexity: as the operations that the changes came from.
  public mutating func settle(
    _ id: UnsafeRawBufferPointer, committed: Bool, note: UnsafeRawBufferPointer?,
    with others: [LedgerNote] = []
  ) -> Mark {
    prepareLedger(id)
    guard let staged = ledger.find(id), staged.isStaged else {
      invariant(others.isEmpty, "notes are written with what was staged")
      if let note { return self.note(id, note) }
      return unnote(id)
    }
    let stagedBy = staged.mark
    let horizon = horizonMillis
    log.begin()
    log.body.appendSettle(id: id, mark: stagedBy, committed: committed, note: note)
    settleLedger(id, committed: committed, note: note) { database, change in
      database.applySettled(change, stagedBy: stagedBy)
    }
    write(others)
    while dropForRoom() {}
    if horizonMillis > horizon { log.body.appendHorizon(millis: horizonMillis) }
    let mark = log.finish(lazily: true)
    if horizonMillis > horizon { outcomes.horizonMark = mark }
    return mark
  }

  /// Sets the note of `id`; what is staged there stays.
  public mutating func note(
    _ id: UnsafeRawBufferPointer, _ note: UnsafeRawBufferPointer
  ) -> Mark {
    prepareLedger(id)
    log.begin()
    log.body.appendNote(id: id, note: note)
    ledger.insert(id, note: note)
    return log.finish(lazily: true)
  }

  /// Removes the note of `id`, where nothing is staged. Returns the last record when there is none:
  /// that it is gone is durable with that one.
  public mutating func unnote(_ id: UnsafeRawBufferPointer) -> Mark {
    prepareLedger(id)
    guard let record = ledger.take(id) else { return log.appended }
    invariant(!record.isStaged, "staged changes are settled, not forgotten")
    log.begin()
    log.body.appendUnnote(id: id)
    record.entry.free()
    return log.finish(lazily: true)
  }

  // MARK: Reading

  /// What is kept under `id`; valid until the next mutation.
  public func ledgerRecord(of id: UnsafeRawBufferPointer) -> LedgerRecord? { ledger.find(id) }

  /// The number of ids in the ledger.
  public var ledgerCount: Int { ledger.keyspace.table.count }

  /// Gives `body` everything in the ledger, in no particular order; for the agreement core after
  /// recovery. `body` may not change the database.
  public func visitLedger(_ body: (LedgerRecord) -> Void) {
    var position: UInt64 = 0
    repeat {
      position = ledger.keyspace.table.visit(position) { body(LedgerRecord(entry: $0)) }
    } while position != 0
  }

  // MARK: Replay

  /// The part of `apply` for the ledger's own changes.
  mutating func applyToLedger(_ change: Change) {
    switch change {
    case .stage(let id, let mark, let note, let changes):
      guard let version = try? ChangeReader.greatestVersion(ofStaged: changes) else {
        invariantFailed("a stage is decoded only if its changes may be staged")
      }
      lastStamp = max(lastStamp, version)
      ledger.insert(id, stagedBy: mark, note: note, changes: changes)
    case .settle(let id, let mark, let committed, let note):
      // What is staged by another record came later, from a checkpoint; it will be staged again.
      let isThis = ledger.find(id)?.mark == mark
      settleLedger(id, committed: committed && isThis, note: note) { $0.apply($1) }
    case .note(let id, let note): ledger.insert(id, note: note)
    case .unnote(let id): ledger.take(id)?.entry.free()
    case .put, .delete, .splice, .expire, .flush, .outcome, .horizon:
      invariantFailed("no change of the ledger")
    }
  }

  // MARK: Parts

  /// Writes notes within the record that is begun.
  private mutating func write(_ others: [LedgerNote]) {
    for other in others {
      other.key.withUnsafeBytes { key in
        guard let bytes = other.note else {
          guard let record = ledger.take(key) else { return }
          invariant(!record.isStaged, "staged changes are settled, not forgotten")
          log.body.appendUnnote(id: key)
          return record.entry.free()
        }
        bytes.withUnsafeBytes {
          log.body.appendNote(id: key, note: $0)
          ledger.insert(key, note: $0)
        }
      }
    }
  }

  private func prepareLedger(_ id: UnsafeRawBufferPointer) {
    invariant(!transaction.isOpen, "the ledger is changed between transactions")
    invariant(Ledger.idByteCounts.contains(id.count), "an id of the ledger has 1 to 32 bytes")
  }

  /// Takes the record of `id` out, gives its changes to `apply` if they are `committed`, and leaves
  /// the note.
  private mutating func settleLedger(
    _ id: UnsafeRawBufferPointer, committed: Bool, note: UnsafeRawBufferPointer?,
    _ apply: (inout Database, Change) -> Void
  ) {
    let record = ledger.take(id)
    if committed, let record {
      var reader = ChangeReader(record.changes)
      do {
        while let change = try reader.next() { apply(&self, change) }
      } catch {
        invariantFailed("what was staged can be read: \(error.reason)")
      }
    }
    if let note { ledger.insert(id, note: note) }
    record?.entry.free()
  }

  /// Does a staged change as a live transaction would.
  private mutating func applySettled(_ change: Change, stagedBy mark: Mark) {
    notes?.insert(change)
    switch change {
    case .flush:
      // All entries are older, as the whole table was locked; so none needs to be looked at.
      let before = keyspace
      keyspace = Keyspace()
      discard(before)
      lastRemoval = max(lastRemoval, mark)
    case .delete:
      apply(change)
      lastRemoval = max(lastRemoval, mark)
    default: apply(change)
    }
  }
}
