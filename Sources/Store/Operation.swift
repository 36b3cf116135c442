import Base

/// What a transaction asks of one key: one verb, deterministic given the table and the stamp.
///
/// Keys and values are borrowed for the call. A key has at most `Operation.keyByteCountMax` bytes;
/// who reads it from a client checks that. A value may lie inside the table itself (an `Entry`'s).
public enum Operation {
  /// Inserts or replaces.
  case put(key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, PutOptions)
  case delete(key: UnsafeRawBufferPointer)
  /// Adds to the decimal integer in the value, 0 when absent; the expiry stays.
  case increment(key: UnsafeRawBufferPointer, by: Int64)
  /// Adds to the decimal number in the value, 0 when absent; the expiry stays. Answers `done`; the
  /// new text is read with `find`.
  case incrementFloat(key: UnsafeRawBufferPointer, by: LongDouble)
  /// Adds bytes at the end of the value; the expiry stays.
  case append(key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer)
  /// Overwrites from `offset`, filling up with zeroes to there; the expiry stays.
  case setRange(key: UnsafeRawBufferPointer, offset: Int, value: UnsafeRawBufferPointer)
  /// Sets the expiry in Unix milliseconds; one that is not in the future deletes.
  case expire(key: UnsafeRawBufferPointer, at: Int64, ExpireCondition)
  /// Takes the expiry away.
  case persist(key: UnsafeRawBufferPointer)
  /// Fails unless the entry has this version; nil: unless there is none.
  case check(key: UnsafeRawBufferPointer, version: Stamp?)
  /// Removes every entry.
  case flush

  /// The bound of a key's length: it is kept in 16 bits.
  @inlinable public static var keyByteCountMax: Int { 65_535 }
}

/// When a put is done at all, and what becomes of the expiry.
public struct PutOptions: Sendable {
  /// When the put is done.
  public var condition: PutCondition
  /// What becomes of the expiry.
  public var expiry: PutExpiry

  /// Joins the parts.
  @inlinable
  public init(condition: PutCondition = .always, expiry: PutExpiry = .clear) {
    self.condition = condition
    self.expiry = expiry
  }

  /// Always, and without an expiry: SET with no option.
  @inlinable public static var plain: PutOptions { PutOptions() }
}

/// The condition of a put: none, SET's NX, SET's XX.
public enum PutCondition: Sendable { case always, ifAbsent, ifPresent }

/// The expiry after a put; `at` is in Unix milliseconds.
public enum PutExpiry: Sendable {
  case clear, keep
  case at(Int64)
}

/// The condition of an expire: none, or EXPIRE's NX, XX, GT, LT. An entry that never expires counts
/// as expiring at the end of time.
public enum ExpireCondition: Sendable { case always, nx, xx, gt, lt }

/// What became of one operation.
public enum OperationResult: Sendable {
  /// It changed the table (or, for `check`, holds).
  case done
  /// Nothing changed: a condition was not met, or there was nothing to do.
  case unchanged
  /// `increment`: the new value; `append`, `setRange`: the new length in bytes.
  case integer(Int64)
  /// Nothing changed by this operation; the transaction is still open.
  case failed(OperationFailure)
}

/// Why an operation could not be done.
public enum OperationFailure: Sendable, Equatable {
  case notInteger, overflow, notFloat, nanOrInfinity
  /// The value would pass `DatabaseLimits.valueByteCountMax`.
  case tooLarge
  /// The transaction would pass its bound of bytes or of operations.
  case transactionTooLarge
  case versionMismatch
}
