import Base

/// One physical change, as it stands in log records and checkpoints: what a write did, not what was
/// asked for, so that replay is idempotent.
///
/// Pointers borrow the buffer that the change was decoded from.
///
/// Encoding, little-endian, no padding: tag u8, then
/// - 1 put: key length u16, value length u32, version u64, expiry i64, key, value
/// - 2 delete: key length u16, version u64, key
/// - 3 splice: key length u16, offset u32, byte count u32, version u64, expiry i64, key, bytes
///   (the value is extended with zeroes up to `offset`, then overwritten from there)
/// - 4 expire: key length u16, version u64, expiry i64, key
/// - 5 flush: version u64 (removes every entry)
/// - 6 outcome: id high u64, id low u64, status u8, reply length u32, reply
/// - 7 horizon: Unix milliseconds i64
public enum Change {
  case put(
    key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, version: Stamp, expiry: Int64)
  case delete(key: UnsafeRawBufferPointer, version: Stamp)
  case splice(
    key: UnsafeRawBufferPointer, offset: Int, bytes: UnsafeRawBufferPointer, version: Stamp,
    expiry: Int64)
  case expire(key: UnsafeRawBufferPointer, version: Stamp, expiry: Int64)
  case flush(version: Stamp)
  case outcome(id: OperationID, status: OutcomeStatus, reply: UnsafeRawBufferPointer)
  case horizon(millis: Int64)

  /// The expiry of an entry that has none.
  @inlinable public static var noExpiry: Int64 { .max }
}

/// How a recorded operation ended.
public enum OutcomeStatus: UInt8, Sendable {
  /// Executed; the reply is kept as RESP bytes (RESP2 form).
  case committed = 1
  /// Executed; the reply was over 64 KiB and is kept as its CRC-32C (u32) and length (u64).
  case committedLargeReply = 2
  /// Sealed before it was ever executed, or executed and failed; then the reply is the error.
  case aborted = 3
}
