import Base
import Store
import TPC

/// What a donor and a joiner say to each other while the data is copied; integers are
/// little-endian.
///
/// ```
/// chunk (1), from the donor                   receipt (2), from the joiner
///  0  u8   kind                                0  u8   kind
///  1  u64  copy: rises with each copy          1  u64  copy
///  9  u32  number: 0, 1, 2, ...                9  u32  so many chunks are applied and durable
/// 13  u8   content, then                      13  u8   state: 0 copying, 1 the last chunk was
///     0 begin: u64 the donor's stamp, then             `complete`, and it is; 2 failed: begin
///       a `MembershipNote` for the joiner              again
///     1 changes: `Change`s of entries and
///       outcomes
///     2 complete: 18 bytes transaction, u32
///       attempt, i64 horizon, i64 time from
///       which entries count, u64 their
///       count, u64 their sum
/// ```
///
/// Chunks are applied strictly in order, each once, so loss, repetition and reordering do no harm.
/// A `begin` with a greater copy starts over. `complete` says that the entries that live at the
/// given time are just those that the donor has while that attempt of that transaction is prepared
/// there.
enum CopyMessage {
  case chunk(CopyChunk, CopyContent)
  case receipt(CopyReceipt)

  /// The longest chunk: what goes through all transports with room to spare.
  static var byteCountMax: Int { 256 << 10 }
  /// True for a chunk with which a copy begins.
  static func isBegin(_ bytes: UnsafeRawBufferPointer) -> Bool {
    guard case .chunk(_, .begin) = CopyMessage(bytes) else { return false }
    return true
  }

  /// Bytes before a chunk's content.
  static var headerByteCount: Int { 14 }

  private enum Kind: UInt8 {
    case chunk = 1
    case receipt = 2
  }

  /// Reads one message; nil for what neither side sends.
  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= Self.headerByteCount, bytes.count <= Self.byteCountMax,
      let kind = Kind(rawValue: bytes[0])
    else { return nil }
    let copy: UInt64 = bytes.copyInteger(at: 1)
    let number: UInt32 = bytes.copyInteger(at: 9)
    switch kind {
    case .chunk:
      let rest = UnsafeRawBufferPointer(rebasing: bytes[Self.headerByteCount...])
      guard let content = CopyContent(bytes[13], rest) else { return nil }
      self = .chunk(CopyChunk(copy: copy, number: number), content)
    case .receipt:
      guard bytes.count == Self.headerByteCount,
        let state = CopyReceipt.State(rawValue: bytes[13])
      else { return nil }
      self = .receipt(CopyReceipt(copy: copy, count: number, state: state))
    }
  }
}

/// Which chunk it is.
struct CopyChunk: Hashable {
  var copy: UInt64
  var number: UInt32

  /// Appends what stands before the content.
  func append(_ code: CopyContent.Code, to buffer: inout ByteBuffer) {
    buffer.append(1 as UInt8)
    buffer.append(little: copy)
    buffer.append(little: number)
    buffer.append(code.rawValue)
  }
}

/// What is in a chunk; pointers borrow the message.
enum CopyContent {
  enum Code: UInt8 {
    case begin = 0
    case changes, complete
  }

  case begin(Stamp, note: UnsafeRawBufferPointer)
  case changes(UnsafeRawBufferPointer)
  case complete(CopyEnd)

  fileprivate init?(_ code: UInt8, _ rest: UnsafeRawBufferPointer) {
    switch Code(rawValue: code) {
    case nil: return nil
    case .begin:
      guard rest.count >= 8 else { return nil }
      self = .begin(
        Stamp(nanos: rest.copyInteger(at: 0)), note: UnsafeRawBufferPointer(rebasing: rest[8...]))
    case .changes: self = .changes(rest)
    case .complete:
      guard let end = CopyEnd(rest) else { return nil }
      self = .complete(end)
    }
  }
}

/// One attempt of the transaction that takes the joiner in.
struct CopyAttempt: Hashable {
  var id: TransactionID
  var attempt: Attempt
}

/// What the joiner must have when its copy is complete.
struct CopyEnd: Hashable {
  var attempt: CopyAttempt
  var horizonMillis: Int64
  var aliveMillis: Int64
  var digest: CopyDigest

  private static var byteCount: Int { TransactionID.byteCount + 36 }

  init(
    attempt: CopyAttempt, horizonMillis: Int64, aliveMillis: Int64, digest: CopyDigest
  ) {
    self.attempt = attempt
    self.horizonMillis = horizonMillis
    self.aliveMillis = aliveMillis
    self.digest = digest
  }

  init?(_ bytes: UnsafeRawBufferPointer) {
    let split = TransactionID.byteCount
    guard bytes.count == Self.byteCount,
      let id = TransactionID(UnsafeRawBufferPointer(rebasing: bytes[..<split]))
    else { return nil }
    attempt = CopyAttempt(id: id, attempt: Attempt(bytes.copyInteger(at: split)))
    horizonMillis = bytes.copyInteger(at: split + 4)
    aliveMillis = bytes.copyInteger(at: split + 12)
    digest = CopyDigest(
      count: bytes.copyInteger(at: split + 20), sum: bytes.copyInteger(at: split + 28))
  }

  func append(to buffer: inout ByteBuffer) {
    attempt.id.encode(into: &buffer)
    buffer.append(little: attempt.attempt.number)
    buffer.append(little: horizonMillis)
    buffer.append(little: aliveMillis)
    buffer.append(little: digest.count)
    buffer.append(little: digest.sum)
  }
}

/// How far the joiner has come.
struct CopyReceipt: Hashable {
  enum State: UInt8 {
    case copying = 0
    case complete, failed
  }

  var copy: UInt64
  /// Chunks applied and durable.
  var count: UInt32
  var state: State

  func append(to buffer: inout ByteBuffer) {
    buffer.append(2 as UInt8)
    buffer.append(little: copy)
    buffer.append(little: count)
    buffer.append(state.rawValue)
  }
}

/// What a donor or a joiner wants done, in order; owned and emptied by who carries it out.
struct CopyEffects: ~Copyable {
  enum Effect: Equatable {
    /// Send a message to the other side: its place in `bytes`.
    case send(Range<Int>)
    /// The donor's: try to begin the transaction that takes the joiner in.
    case propose
    /// The donor's: the joiner has it all for this attempt, durably.
    case completed(CopyAttempt)
    /// The donor's: abort the transaction, the copy begins again.
    case withdraw
  }

  var list: [Effect] = []
  var bytes = ByteBuffer()
  /// Lines for the log; seldom any.
  var lines: [(level: LogLevel, text: String)] = []

  mutating func removeAll() {
    list.removeAll(keepingCapacity: true)
    bytes.removeAll()
    if !lines.isEmpty { lines.removeAll() }
  }
}

extension UnsafeRawBufferPointer {
  fileprivate func copyInteger<T: FixedWidthInteger>(at offset: Int) -> T {
    T(littleEndian: loadUnaligned(fromByteOffset: offset, as: T.self))
  }
}
