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
/// - 8 stage: id length u8, note length u32, changes length u32, log sequence number u64 of the
///   record that staged them, id, note, changes (of the tags 1 to 6 only)
/// - 9 settle: id length u8, flags u8 (1 committed, 2 a note follows), note length u32, log
///   sequence number u64 of the record that staged what is settled, id, note
/// - 10 note: id length u8, note length u32, id, note
/// - 11 unnote: id length u8, id
///
/// 8 to 11 change the ledger (`Ledger`); their ids have 1 to 32 bytes.
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
  /// Keeps changes aside until they are settled, in the place of any kept under this id before.
  case stage(
    id: UnsafeRawBufferPointer, mark: Mark, note: UnsafeRawBufferPointer,
    changes: UnsafeRawBufferPointer)
  /// Applies (`committed`) or drops what record `mark` staged; the note is replaced or removed.
  case settle(
    id: UnsafeRawBufferPointer, mark: Mark, committed: Bool, note: UnsafeRawBufferPointer?)
  case note(id: UnsafeRawBufferPointer, note: UnsafeRawBufferPointer)
  case unnote(id: UnsafeRawBufferPointer)

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
