import Base

// The bytes of a `Change`, as the comment on `Change` specifies them.

/// The first byte of a change.
enum ChangeTag {
  static var put: UInt8 { 1 }
  static var delete: UInt8 { 2 }
  static var splice: UInt8 { 3 }
  static var expire: UInt8 { 4 }
  static var flush: UInt8 { 5 }
  static var outcome: UInt8 { 6 }
  static var horizon: UInt8 { 7 }
  static var stage: UInt8 { 8 }
  static var settle: UInt8 { 9 }
  static var note: UInt8 { 10 }
  static var unnote: UInt8 { 11 }
}

/// The bytes of each change before its key, id, value or reply.
enum ChangeSize {
  static var put: Int { 23 }
  static var delete: Int { 11 }
  static var splice: Int { 27 }
  static var expire: Int { 19 }
  static var flush: Int { 9 }
  static var outcome: Int { 22 }
  static var horizon: Int { 9 }
  static var stage: Int { 18 }
  static var settle: Int { 15 }
  static var note: Int { 6 }
  static var unnote: Int { 2 }
}

// MARK: Writing

extension ByteBuffer {
  /// Appends any change; where the kind is known, the functions below are shorter.
  public mutating func append(_ change: Change) {
    switch change {
    case .put(let key, let value, let version, let expiry):
      appendPut(key: key, value: value, version: version, expiry: expiry)
    case .delete(let key, let version): appendDelete(key: key, version: version)
    case .splice(let key, let offset, let bytes, let version, let expiry):
      appendSplice(key: key, offset: offset, bytes: bytes, version: version, expiry: expiry)
    case .expire(let key, let version, let expiry):
      appendExpire(key: key, version: version, expiry: expiry)
    case .flush(let version): appendFlush(version: version)
    case .outcome(let id, let status, let reply):
      appendOutcome(id: id, status: status, reply: reply)
    case .horizon(let millis): appendHorizon(millis: millis)
    case .stage(let id, let mark, let note, let changes):
      appendStage(id: id, mark: mark, note: note, changes: changes)
    case .settle(let id, let mark, let committed, let note):
      appendSettle(id: id, mark: mark, committed: committed, note: note)
    case .note(let id, let note): appendNote(id: id, note: note)
    case .unnote(let id): appendUnnote(id: id)
    }
  }

  /// Appends a put.
  public mutating func appendPut(
    key: UnsafeRawBufferPointer, value: UnsafeRawBufferPointer, version: Stamp, expiry: Int64
  ) {
    let place = extend(ChangeSize.put + key.count + value.count)
    place.store(ChangeTag.put, 0)
    place.store(UInt16(truncatingIfNeeded: key.count), 1)
    place.store(UInt32(truncatingIfNeeded: value.count), 3)
    place.store(version.nanos, 7)
    place.store(expiry, 15)
    place.copy(key, 23)
    place.copy(value, 23 + key.count)
  }

  /// Appends a delete.
  public mutating func appendDelete(key: UnsafeRawBufferPointer, version: Stamp) {
    let place = extend(ChangeSize.delete + key.count)
    place.store(ChangeTag.delete, 0)
    place.store(UInt16(truncatingIfNeeded: key.count), 1)
    place.store(version.nanos, 3)
    place.copy(key, 11)
  }

  /// Appends a splice.
  public mutating func appendSplice(
    key: UnsafeRawBufferPointer, offset: Int, bytes: UnsafeRawBufferPointer, version: Stamp,
    expiry: Int64
  ) {
    let place = extend(ChangeSize.splice + key.count + bytes.count)
    place.store(ChangeTag.splice, 0)
    place.store(UInt16(truncatingIfNeeded: key.count), 1)
    place.store(UInt32(truncatingIfNeeded: offset), 3)
    place.store(UInt32(truncatingIfNeeded: bytes.count), 7)
    place.store(version.nanos, 11)
    place.store(expiry, 19)
    place.copy(key, 27)
    place.copy(bytes, 27 + key.count)
  }

  /// Appends an expire.
  public mutating func appendExpire(
    key: UnsafeRawBufferPointer, version: Stamp, expiry: Int64
  ) {
    let place = extend(ChangeSize.expire + key.count)
    place.store(ChangeTag.expire, 0)
    place.store(UInt16(truncatingIfNeeded: key.count), 1)
    place.store(version.nanos, 3)
    place.store(expiry, 11)
    place.copy(key, 19)
  }

  /// Appends a flush.
  public mutating func appendFlush(version: Stamp) {
    let place = extend(ChangeSize.flush)
    place.store(ChangeTag.flush, 0)
    place.store(version.nanos, 1)
  }

  /// Appends an outcome.
  public mutating func appendOutcome(
    id: OperationID, status: OutcomeStatus, reply: UnsafeRawBufferPointer
  ) {
    let place = extend(ChangeSize.outcome + reply.count)
    place.store(ChangeTag.outcome, 0)
    place.store(id.high, 1)
    place.store(id.low, 9)
    place.store(status.rawValue, 17)
    place.store(UInt32(truncatingIfNeeded: reply.count), 18)
    place.copy(reply, 22)
  }

  /// Appends a horizon.
  public mutating func appendHorizon(millis: Int64) {
    let place = extend(ChangeSize.horizon)
    place.store(ChangeTag.horizon, 0)
    place.store(millis, 1)
  }
}

extension UnsafeMutableRawPointer {
  /// Stores an integer, little-endian, at any offset.
  @inline(__always)
  func store<T: FixedWidthInteger>(_ value: T, _ offset: Int) {
    storeBytes(of: value.littleEndian, toByteOffset: offset, as: T.self)
  }

  @inline(__always)
  func copy(_ bytes: UnsafeRawBufferPointer, _ offset: Int) {
    guard let from = bytes.baseAddress, bytes.count > 0 else { return }
    (self + offset).copyMemory(from: from, byteCount: bytes.count)
  }
}

// MARK: Reading

/// Bytes that are no change: what is around them was not made by this code, or was made wrongly.
public struct ChangeError: Error, Equatable, Sendable {
  /// Where the change begins in the bytes read.
  public var offset: Int
  /// What is wrong with it, as half a sentence.
  public var reason: String
}

/// Reads changes one after another.
public struct ChangeReader {
  let bytes: UnsafeRawBufferPointer
  /// Where the next change begins.
  public private(set) var offset = 0

  /// The bytes are borrowed as long as the reader and the changes it gave are used.
  public init(_ bytes: UnsafeRawBufferPointer) { self.bytes = bytes }

  /// The next change; nil at the end.
  public mutating func next() throws(ChangeError) -> Change? {
    guard offset < bytes.count else { return nil }
    switch bytes[offset] {
    case ChangeTag.put: return try put()
    case ChangeTag.delete: return try delete()
    case ChangeTag.splice: return try splice()
    case ChangeTag.expire: return try expire()
    case ChangeTag.flush:
      let place = try take(ChangeSize.flush)
      return .flush(version: Stamp(nanos: place.load(1)))
    case ChangeTag.outcome: return try outcome()
    case ChangeTag.horizon:
      let place = try take(ChangeSize.horizon)
      return .horizon(millis: place.load(1))
    case ChangeTag.stage: return try stage()
    case ChangeTag.settle: return try settle()
    case ChangeTag.note: return try note()
    case ChangeTag.unnote: return try unnote()
    default: throw error("has an unknown tag")
    }
  }

  private mutating func put() throws(ChangeError) -> Change {
    let (keyCount, valueCount) = (Int(try peek(UInt16.self, 1)), Int(try peek(UInt32.self, 3)))
    let place = try take(ChangeSize.put + keyCount + valueCount)
    return .put(
      key: place.bytes(23, keyCount), value: place.bytes(23 + keyCount, valueCount),
      version: Stamp(nanos: place.load(7)), expiry: place.load(15))
  }

  private mutating func delete() throws(ChangeError) -> Change {
    let keyCount = Int(try peek(UInt16.self, 1))
    let place = try take(ChangeSize.delete + keyCount)
    return .delete(key: place.bytes(11, keyCount), version: Stamp(nanos: place.load(3)))
  }

  private mutating func splice() throws(ChangeError) -> Change {
    let (keyCount, byteCount) = (Int(try peek(UInt16.self, 1)), Int(try peek(UInt32.self, 7)))
    let offset = Int(try peek(UInt32.self, 3))
    guard offset + byteCount <= Int(Int32.max) else { throw error("reaches past 2 GiB") }
    let place = try take(ChangeSize.splice + keyCount + byteCount)
    return .splice(
      key: place.bytes(27, keyCount), offset: offset, bytes: place.bytes(27 + keyCount, byteCount),
      version: Stamp(nanos: place.load(11)), expiry: place.load(19))
  }

  private mutating func expire() throws(ChangeError) -> Change {
    let keyCount = Int(try peek(UInt16.self, 1))
    let place = try take(ChangeSize.expire + keyCount)
    return .expire(
      key: place.bytes(19, keyCount), version: Stamp(nanos: place.load(3)),
      expiry: place.load(11))
  }

  private mutating func outcome() throws(ChangeError) -> Change {
    let replyCount = Int(try peek(UInt32.self, 18))
    guard let status = OutcomeStatus(rawValue: bytes[offset + 17]) else {
      throw error("has an unknown status")
    }
    guard status != .committedLargeReply || replyCount == OutcomeStatus.largeReplyByteCount else {
      throw error("has a large reply's outcome of a wrong length")
    }
    let place = try take(ChangeSize.outcome + replyCount)
    return .outcome(
      id: OperationID(high: place.load(1), low: place.load(9)), status: status,
      reply: place.bytes(22, replyCount))
  }

  // MARK: Parts

  /// An integer of the change that begins here, before its length is known.
  func peek<T: FixedWidthInteger>(_: T.Type, _ at: Int) throws(ChangeError) -> T {
    guard bytes.count - offset >= at + MemoryLayout<T>.size else { throw error("is cut off") }
    return (bytes.baseAddress.unsafelyUnwrapped + offset).load(at)
  }

  /// Steps over a change of `count` bytes and returns where it begins.
  mutating func take(_ count: Int) throws(ChangeError) -> UnsafeRawPointer {
    guard bytes.count - offset >= count else { throw error("is cut off") }
    defer { offset += count }
    return bytes.baseAddress.unsafelyUnwrapped + offset
  }

  func error(_ reason: String) -> ChangeError {
    ChangeError(offset: offset, reason: reason)
  }
}

extension OutcomeStatus {
  /// What is kept of a large reply: its CRC-32C (u32) and its length (u64).
  static var largeReplyByteCount: Int { 12 }
}

extension UnsafeRawPointer {
  @inline(__always)
  func load<T: FixedWidthInteger>(_ offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }

  @inline(__always)
  func bytes(_ offset: Int, _ count: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: self + offset, count: count)
  }
}
