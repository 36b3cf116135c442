import Base

extension Database {
  /// Opens a transaction; `multi` keeps what it needs to undo, so that `rollback` is possible after
  /// operations that changed something. Its stamp is taken here, and used up by a commit only.
  public mutating func begin(multi: Bool) {
    invariant(!transaction.isOpen, "one transaction is open at a time")
    let stamp = Stamp(nanos: max(wallNanos, lastStamp.nanos + 1))
    clockMillis = stamp.millis
    transaction.begin(stamp: stamp, multi: multi)
  }

  /// Ends the transaction. Returns the mark of its record; nil when nothing changed.
  public mutating func commit() -> Mark? {
    invariant(transaction.isOpen, "only an open transaction is committed")
    invariant(!transaction.hasOutcomes, "outcomes are added to what other members settle")
    let isMulti = transaction.isMulti
    transaction.close()
    guard transaction.hasChanged else { return nil }
    let mark = log.finish()
    lastStamp = transaction.stamp
    if transaction.hasRemoved { lastRemoval = mark }
    if isMulti { transaction.settle(&remains) }
    return mark
  }

  /// Ends the transaction and records in the same log record how `id` ended, also when nothing
  /// changed: a copy of the request that is still under way would find other data later, and change
  /// what its client was told it had not. With `failed`, which goes only with nothing changed, `id`
  /// is aborted, and later copies get the same error.
  public mutating func commit(
    as id: OperationID, reply: UnsafeRawBufferPointer, failed: Bool = false
  ) -> Mark? {
    invariant(!failed || !transaction.hasChanged, "what failed has changed nothing")
    if !transaction.hasChanged {
      log.begin()
      transaction.hasChanged = true
    }
    let raised = recordOutcome(id, reply, failed: failed)
    let mark = commit()
    if raised { outcomes.horizonMark = mark ?? .zero }
    return mark
  }

  /// Ends the transaction as if it had never been. One that is not `multi` may have changed
  /// nothing.
  public mutating func rollback() {
    invariant(transaction.isOpen, "only an open transaction is rolled back")
    let isMulti = transaction.isMulti
    transaction.close()
    guard transaction.hasChanged else { return }
    invariant(isMulti, "a transaction without undo is rolled back only when unchanged")
    log.cancel()
    while let step = transaction.pop() { undo(step) }
  }

  mutating func undo(_ step: Transaction.Undo) {
    switch step {
    case .inserted(let new):
      keyspace.remove(keyspace.table.place(of: new))
      new.free()
    case .replaced(let old, let new):
      keyspace.replace(keyspace.table.place(of: new), with: old)
      new.free()
    case .removed(let old): keyspace.insert(old)
    case .touched(let entry, let version, let expiry):
      keyspace.set(entry, version: version, expiry: expiry)
    case .flushed(let before):
      // What the transaction put after the flush is undone already, so this one is empty.
      keyspace.free()
      keyspace = before
    }
  }
}

// MARK: Changing the keyspace and logging it

extension Database {
  /// Makes sure that a change of `byteCount` fits in the record, and begins the record with the
  /// first one. False: it does not fit; nothing was done.
  mutating func reserve(_ byteCount: Int) -> Bool {
    if !transaction.hasChanged {
      guard byteCount <= limits.transactionByteCountMax else { return false }
      log.begin()
      transaction.hasChanged = true
    } else if log.recordByteCount - transaction.partStart + byteCount
      > limits.transactionByteCountMax
    {
      return false
    }
    return true
  }

  /// Inserts or replaces the entry; `value` may lie in the entry that is replaced.
  mutating func write(
    _ place: Table.Place?, _ key: UnsafeRawBufferPointer, hash: UInt64,
    _ value: UnsafeRawBufferPointer, expiry: Int64
  ) -> Bool {
    guard reserve(ChangeSize.put + key.count + value.count) else { return false }
    let stamp = transaction.stamp
    log.body.appendPut(key: key, value: value, version: stamp, expiry: expiry)
    store(place, key, hash: hash, value, version: stamp, expiry: expiry)
    return true
  }

  /// The table's part of `write`; recovery uses it too.
  mutating func store(
    _ place: Table.Place?, _ key: UnsafeRawBufferPointer, hash: UInt64,
    _ value: UnsafeRawBufferPointer, version: Stamp, expiry: Int64
  ) {
    guard let place else {
      let new = Entry.allocate(
        hash: hash, key: key, valueByteCount: value.count, capacity: value.count)
      new.overwrite(value: value)
      new.set(version: version, expiry: expiry)
      add(new)
      return
    }
    let old = place.entry
    if old.fits(valueByteCount: value.count), !transaction.isMulti || old.isOwned {
      old.overwrite(value: value)
      keyspace.set(old, version: version, expiry: expiry)
    } else {
      let new = Entry.allocate(
        hash: hash, key: old.key, valueByteCount: value.count, capacity: value.count)
      new.overwrite(value: value)
      new.set(version: version, expiry: expiry)
      exchange(place, for: new)
    }
  }

  /// Writes `bytes` at `offset` in the value of the entry, which has not expired.
  mutating func splice(
    _ place: Table.Place, offset: Int, _ bytes: UnsafeRawBufferPointer
  ) -> Bool {
    let entry = place.entry
    guard reserve(ChangeSize.splice + entry.keyByteCount + bytes.count) else { return false }
    log.body.appendSplice(
      key: entry.key, offset: offset, bytes: bytes, version: transaction.stamp,
      expiry: entry.expiry)
    storeSplice(
      place, offset: offset, bytes, version: transaction.stamp, expiry: entry.expiry)
    return true
  }

  /// The table's part of `splice`; recovery uses it too.
  mutating func storeSplice(
    _ place: Table.Place, offset: Int, _ bytes: UnsafeRawBufferPointer, version: Stamp,
    expiry: Int64
  ) {
    let old = place.entry
    let before = old.valueByteCount
    let count = max(before, offset + bytes.count)
    var target = old
    let moves = count > old.capacity || (transaction.isMulti && !old.isOwned)
    if moves {
      target = Entry.allocate(
        hash: old.hash, key: old.key, valueByteCount: count, capacity: Self.room(for: count))
      target.valueStart.copyMemory(from: old.valueStart, byteCount: before)
    }
    if offset > before {
      (target.valueStart + before).initializeMemory(
        as: UInt8.self, repeating: 0, count: offset - before)
    }
    if let from = bytes.baseAddress, bytes.count > 0 {
      (target.valueStart + offset).copyMemory(from: from, byteCount: bytes.count)
    }
    target.set(valueByteCount: count)
    if moves {
      target.set(version: version, expiry: expiry)
      exchange(place, for: target)
    } else {
      keyspace.set(target, version: version, expiry: expiry)
    }
  }

  /// Room for a value that grows: twice as much up to 1 MiB, then 1 MiB more; so that appending
  /// byte by byte copies each byte a few times only.
  private static func room(for count: Int) -> Int { count + min(count, 1 << 20) }

  /// Sets the expiry of an entry.
  mutating func writeExpiry(_ entry: Entry, _ expiry: Int64) -> Bool {
    guard reserve(ChangeSize.expire + entry.keyByteCount) else { return false }
    let stamp = transaction.stamp
    log.body.appendExpire(key: entry.key, version: stamp, expiry: expiry)
    if transaction.isMulti { transaction.push(.touched(entry, entry.version, entry.expiry)) }
    keyspace.set(entry, version: stamp, expiry: expiry)
    return true
  }

  /// Removes an entry.
  mutating func erase(_ place: Table.Place) -> Bool {
    let entry = place.entry
    guard reserve(ChangeSize.delete + entry.keyByteCount) else { return false }
    log.body.appendDelete(key: entry.key, version: transaction.stamp)
    transaction.hasRemoved = true
    drop(place)
    return true
  }

  /// Removes every entry: an empty keyspace takes the place of this one, which is freed in `step`.
  mutating func eraseAll() -> Bool {
    guard reserve(ChangeSize.flush) else { return false }
    log.body.appendFlush(version: transaction.stamp)
    transaction.hasRemoved = true
    let before = keyspace
    keyspace = Keyspace()
    if transaction.isMulti {
      transaction.push(.flushed(before))
    } else {
      discard(before)
    }
    return true
  }

  // MARK: Parts

  private mutating func add(_ new: Entry) {
    keyspace.insert(new)
    if transaction.isMulti {
      new.isOwned = true
      transaction.push(.inserted(new))
    }
  }

  private mutating func exchange(_ place: Table.Place, for new: Entry) {
    let old = place.entry
    keyspace.replace(place, with: new)
    if transaction.isMulti {
      new.isOwned = true
      transaction.push(.replaced(old: old, new: new))
    } else {
      old.free()
    }
  }

  /// The table's part of `erase`; recovery uses it too.
  mutating func drop(_ place: Table.Place) {
    let entry = place.entry
    keyspace.remove(place)
    if transaction.isMulti {
      transaction.push(.removed(entry))
    } else {
      entry.free()
    }
  }

  /// Frees a keyspace: a small one at once, so that a run of flushes leaves no long list.
  mutating func discard(_ keyspace: Keyspace) {
    var left = Remains(keyspace)
    if left.free(entryCountMax: 256) { remains.append(left) }
  }
}
