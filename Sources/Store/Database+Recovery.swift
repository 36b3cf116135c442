import Base

/// Checkpoints and what is made of them and the log at a start.
///
/// A checkpoint is fuzzy: its slices are written while the table goes on changing. That it comes
/// out right rests on two rules. First, an entry that is present all the while is in some slice,
/// and what a slice holds is the state between two transactions. Second, a replayed change is
/// passed over when the entry there has a greater version, and done again when it has the same:
/// changes of one transaction are absolute (also a splice, which names its offset), so doing them
/// again over their own result ends in the same result.
extension Database {
  /// Appends the next slice to `buffer` until that holds `byteCountMax` bytes; a single large entry
  /// may pass it. Returns false when all was given. Between transactions only.
  public mutating func checkpointSlice(
    _ cursor: inout CheckpointCursor, into buffer: inout ByteBuffer, byteCountMax: Int
  ) -> Bool {
    invariant(!transaction.isOpen, "a slice is taken between transactions")
    var bucketsLeft = CheckpointCursor.bucketCountMax
    while buffer.count < byteCountMax, bucketsLeft > 0 {
      bucketsLeft -= 1
      switch cursor.phase {
      case .horizon:
        buffer.appendHorizon(millis: horizonMillis)
        cursor.phase = .ledger
      case .ledger:
        cursor.position = ledger.keyspace.table.visit(
          cursor.position, byteCountMax: byteCountMax - buffer.count
        ) {
          buffer.append(LedgerRecord(entry: $0))
        }
        if cursor.position == 0 { cursor.phase = .entries }
      case .entries:
        cursor.position = keyspace.table.visit(
          cursor.position, byteCountMax: byteCountMax - buffer.count
        ) {
          buffer.appendPut(key: $0.key, value: $0.value, version: $0.version, expiry: $0.expiry)
        }
        if cursor.position == 0 { cursor.phase = .outcomes }
      case .outcomes:
        cursor.position = outcomes.keyspace.table.visit(
          cursor.position, byteCountMax: byteCountMax - buffer.count
        ) {
          buffer.append(Outcome($0))
        }
        if cursor.position == 0 { cursor.phase = .done }
      case .done: return false
      }
    }
    return cursor.phase != .done
  }

  /// Does one change of a checkpoint or of the log, without logging it. Log changes come in order,
  /// after those of the checkpoint.
  public mutating func apply(_ change: Change) {
    invariant(!transaction.isOpen, "changes are replayed before the first transaction")
    switch change {
    case .put(let key, let value, let version, let expiry):
      let hash = see(key, version)
      let place = keyspace.table.place(key, hash: hash)
      if let place, place.entry.version > version { return }
      store(place, key, hash: hash, value, version: version, expiry: expiry)
    case .delete(let key, let version):
      guard let place = older(key, version) else { return }
      drop(place)
    case .splice(let key, let offset, let bytes, let version, let expiry):
      applySplice(key, offset, bytes, version, expiry)
    case .expire(let key, let version, let expiry):
      guard let place = older(key, version) else { return }
      keyspace.set(place.entry, version: version, expiry: expiry)
    case .flush(let version): applyFlush(version)
    case .outcome(let id, let status, let reply):
      #if MUTANTS
        if Mutant.active == .forgetOutcomes { return }
      #endif
      outcomes.insert(id, status, reply)
    case .horizon(let millis):
      outcomes.raiseHorizon(to: millis)
      while outcomes.dropOldest(through: millis) {}
    case .stage, .settle, .note, .unnote: applyToLedger(change)
    }
  }

  /// Takes over what a checkpoint's footer says: the greatest stamp and the horizon.
  public mutating func restore(stamp: Stamp, horizonMillis: Int64) {
    lastStamp = max(lastStamp, stamp)
    outcomes.raiseHorizon(to: horizonMillis)
  }

  /// Ends recovery: all changes were applied. What was replayed is durable.
  public mutating func finishRecovery() {
    while outcomes.dropOldest(through: horizonMillis) {}
    lastRemoval = .zero
    clockMillis = max(clockMillis, lastStamp.millis)
  }

  // MARK: Parts

  private mutating func see(_ key: UnsafeRawBufferPointer, _ version: Stamp) -> UInt64 {
    if version > lastStamp { lastStamp = version }
    return SipHash.hash13(key, key: hashKey)
  }

  /// Where the key's entry is, if its version is not above `version`.
  private mutating func older(
    _ key: UnsafeRawBufferPointer, _ version: Stamp
  ) -> Table.Place? {
    let hash = see(key, version)
    guard let place = keyspace.table.place(key, hash: hash), place.entry.version <= version
    else { return nil }
    return place
  }

  private mutating func applySplice(
    _ key: UnsafeRawBufferPointer, _ offset: Int, _ bytes: UnsafeRawBufferPointer,
    _ version: Stamp, _ expiry: Int64
  ) {
    let hash = see(key, version)
    var place = keyspace.table.place(key, hash: hash)
    if let place, place.entry.version > version { return }
    if place == nil {
      // The entry was deleted before its slice was taken; a delete follows.
      let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
      store(nil, key, hash: hash, nothing, version: version, expiry: expiry)
      place = keyspace.table.place(key, hash: hash)
    }
    if let place { storeSplice(place, offset: offset, bytes, version: version, expiry: expiry) }
  }

  /// Removes what is not above `version`; entries above it came from a slice taken after the flush.
  private mutating func applyFlush(_ version: Stamp) {
    if version > lastStamp { lastStamp = version }
    var before = keyspace
    keyspace = Keyspace()
    var position: UInt64 = 0
    var kept: [Entry] = []
    repeat {
      position = before.table.visit(position) { if $0.version > version { kept.append($0) } }
    } while position != 0
    for entry in kept {
      before.remove(before.table.place(of: entry))
      keyspace.insert(entry)
    }
    before.free()
  }
}

/// Where a checkpoint has got to.
public struct CheckpointCursor: Sendable {
  /// The ledger comes before the entries: see `Database.stage`.
  enum Phase: Sendable { case horizon, ledger, entries, outcomes, done }

  /// Buckets looked at for one slice; bounds the time of a slice of a sparse table.
  static var bucketCountMax: Int { 16_384 }

  var phase = Phase.horizon
  var position: UInt64 = 0

  /// The beginning.
  public init() {}
}
