import Base

extension Database {
  /// Does one operation of the open transaction. One that fails changes nothing by itself; whether
  /// the transaction goes on without it is the caller's to say, with `commit` or `rollback`.
  public mutating func execute(_ operation: Operation) -> OperationResult {
    invariant(transaction.isOpen, "operations are executed within a transaction")
    transaction.operationCount += 1
    guard transaction.operationCount <= limits.transactionOperationCountMax else {
      return .failed(.transactionTooLarge)
    }
    switch operation {
    case .put(let key, let value, let options): return put(key, value, options)
    case .delete(let key): return delete(key)
    case .increment(let key, let amount): return increment(key, by: amount)
    case .incrementFloat(let key, let amount): return increment(key, byFloat: amount)
    case .append(let key, let value): return append(key, value)
    case .setRange(let key, let offset, let value): return setRange(key, offset, value)
    case .expire(let key, let millis, let condition): return expire(key, millis, condition)
    case .persist(let key): return persist(key)
    case .check(let key, let version): return check(key, version)
    case .flush: return flush()
    }
  }

  /// A key looked up for a change.
  private struct Target {
    let hash: UInt64
    /// Where there is an entry, though perhaps an expired one.
    let place: Table.Place?
    /// Where there is an entry that has not expired.
    let live: Table.Place?
  }

  @inline(__always)
  private func target(_ key: UnsafeRawBufferPointer) -> Target {
    invariant(key.count <= Operation.keyByteCountMax, "a key fits in 16 bits of length")
    let hash = SipHash.hash13(key, key: hashKey)
    guard let place = keyspace.table.place(key, hash: hash) else {
      return Target(hash: hash, place: nil, live: nil)
    }
    let isLive = place.entry.expiry > clockMillis
    return Target(hash: hash, place: place, live: isLive ? place : nil)
  }

  // MARK: Whole values

  private mutating func put(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer, _ options: PutOptions
  ) -> OperationResult {
    guard value.count <= limits.valueByteCountMax else { return .failed(.tooLarge) }
    let target = target(key)
    switch options.condition {
    case .always: break
    case .ifAbsent: if target.live != nil { return .unchanged }
    case .ifPresent: if target.live == nil { return .unchanged }
    }
    let expiry: Int64
    switch options.expiry {
    case .clear: expiry = Change.noExpiry
    case .keep: expiry = target.live?.entry.expiry ?? Change.noExpiry
    case .at(let millis): expiry = millis
    }
    return write(target.place, key, hash: target.hash, value, expiry: expiry)
      ? .done : .failed(.transactionTooLarge)
  }

  private mutating func delete(_ key: UnsafeRawBufferPointer) -> OperationResult {
    guard let place = target(key).live else { return .unchanged }
    return erase(place) ? .done : .failed(.transactionTooLarge)
  }

  private mutating func flush() -> OperationResult {
    guard keyspace.table.count > 0 else { return .unchanged }
    return eraseAll() ? .done : .failed(.transactionTooLarge)
  }

  private func check(_ key: UnsafeRawBufferPointer, _ version: Stamp?) -> OperationResult {
    let present = target(key).live?.entry.version
    return present == version ? .done : .failed(.versionMismatch)
  }

  // MARK: Numbers

  private mutating func increment(
    _ key: UnsafeRawBufferPointer, by amount: Int64
  ) -> OperationResult {
    let target = target(key)
    var before: Int64 = 0
    if let live = target.live {
      guard let number = parseDecimal(live.entry.value) else { return .failed(.notInteger) }
      before = number
    }
    let (sum, overflowed) = before.addingReportingOverflow(amount)
    guard !overflowed else { return .failed(.overflow) }
    let expiry = target.live?.entry.expiry ?? Change.noExpiry
    let done = withUnsafeTemporaryAllocation(byteCount: 20, alignment: 8) { text in
      let digits = text.writeDecimal(sum)
      return write(target.place, key, hash: target.hash, digits, expiry: expiry)
    }
    return done ? .integer(sum) : .failed(.transactionTooLarge)
  }

  private mutating func increment(
    _ key: UnsafeRawBufferPointer, byFloat amount: LongDouble
  ) -> OperationResult {
    let target = target(key)
    var before: LongDouble = 0
    if let live = target.live {
      guard let number = parseLongDouble(live.entry.value) else { return .failed(.notFloat) }
      before = number
    }
    let sum = before + amount
    guard sum.isFinite else { return .failed(.nanOrInfinity) }
    let expiry = target.live?.entry.expiry ?? Change.noExpiry
    var text = ByteBuffer(capacity: 64)
    text.append(fixed17: sum)
    return write(target.place, key, hash: target.hash, text.bytes, expiry: expiry)
      ? .done : .failed(.transactionTooLarge)
  }

  // MARK: Parts of values

  private mutating func append(
    _ key: UnsafeRawBufferPointer, _ value: UnsafeRawBufferPointer
  ) -> OperationResult {
    let target = target(key)
    let before = target.live?.entry.valueByteCount ?? 0
    let count = before + value.count
    guard count <= limits.valueByteCountMax else { return .failed(.tooLarge) }
    if target.live != nil, value.isEmpty { return .integer(Int64(count)) }
    let done: Bool
    if let live = target.live {
      done = splice(live, offset: before, value)
    } else {
      done = write(target.place, key, hash: target.hash, value, expiry: Change.noExpiry)
    }
    return done ? .integer(Int64(count)) : .failed(.transactionTooLarge)
  }

  private mutating func setRange(
    _ key: UnsafeRawBufferPointer, _ offset: Int, _ value: UnsafeRawBufferPointer
  ) -> OperationResult {
    let target = target(key)
    let before = target.live?.entry.valueByteCount ?? 0
    if value.isEmpty { return .integer(Int64(before)) }
    guard offset >= 0, offset <= limits.valueByteCountMax,
      value.count <= limits.valueByteCountMax - offset
    else { return .failed(.tooLarge) }
    let count = max(before, offset + value.count)
    let done: Bool
    if let live = target.live {
      done = splice(live, offset: offset, value)
    } else {
      // Not a splice of nothing: an expired entry's bytes may still be there.
      var filled = ByteBuffer(capacity: count)
      filled.append(zeroes: offset)
      filled.append(value)
      done = write(
        target.place, key, hash: target.hash, filled.bytes, expiry: Change.noExpiry)
    }
    return done ? .integer(Int64(count)) : .failed(.transactionTooLarge)
  }

  // MARK: Expiry

  private mutating func expire(
    _ key: UnsafeRawBufferPointer, _ millis: Int64, _ condition: ExpireCondition
  ) -> OperationResult {
    guard let place = target(key).live else { return .unchanged }
    let present = place.entry.expiry
    switch condition {
    case .always: break
    case .nx: if present != Change.noExpiry { return .unchanged }
    case .xx: if present == Change.noExpiry { return .unchanged }
    case .gt: if millis <= present { return .unchanged }
    case .lt: if millis >= present { return .unchanged }
    }
    let done = millis <= clockMillis ? erase(place) : writeExpiry(place.entry, millis)
    return done ? .done : .failed(.transactionTooLarge)
  }

  private mutating func persist(_ key: UnsafeRawBufferPointer) -> OperationResult {
    guard let place = target(key).live, place.entry.expiry != Change.noExpiry else {
      return .unchanged
    }
    return writeExpiry(place.entry, Change.noExpiry) ? .done : .failed(.transactionTooLarge)
  }
}

extension UnsafeMutableRawBufferPointer {
  /// Writes a number in decimal digits at the end of the 20 bytes and returns where it is.
  fileprivate func writeDecimal(_ value: Int64) -> UnsafeRawBufferPointer {
    var left = value.magnitude
    var start = count
    repeat {
      start -= 1
      self[start] = UInt8(truncatingIfNeeded: 48 + left % 10)
      left /= 10
    } while left > 0
    if value < 0 {
      start -= 1
      self[start] = UInt8(ascii: "-")
    }
    return UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(self)[start...])
  }
}
