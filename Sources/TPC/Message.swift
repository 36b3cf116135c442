import Base

/// What members tell each other. All integers little-endian.
///
/// A message: u8 version 1, u8 zero, u16 sender, u32 epoch, u64 hybrid stamp, u64 low-water mark,
/// then items. An item: u8 kind, 18 bytes transaction id, u32 attempt, then by kind:
/// - 1 prepare, 2 one phase: u64 participants, u32 length, work
/// - 3 vote: u8 (0 yes, else the reason of no), u32 length, what the resource adds
/// - 4 decision: u8 (0 commit, 1 attempts up to this one are dead, 2 aborted for good)
/// - 5 acknowledgement that the decision is durable: u8 as in 4
/// - 6 inquiry: u64 participants
/// - 7 answer: u8 (0 committed, 1 refused up to this attempt, 2 aborted for good, 3 prepared)
enum Message {
  static let version: UInt8 = 1
  static let headerByteCount = 24
  static let itemByteCountMin = 23

  struct Header: Equatable {
    var sender: MemberID
    var epoch: Epoch
    var stamp: Stamp
    var lowWater: UInt64
  }

  enum Kind: UInt8 {
    case prepare = 1
    case onePhase, vote, decision, acknowledgement, inquiry, answer
  }

  enum Word: UInt8 {
    case committed = 0
    case dead, aborted, prepared
  }

  enum Content {
    case prepare(MemberSet, WorkView, isOnePhase: Bool)
    case yes(UnsafeRawBufferPointer)
    case no(Reason, UnsafeRawBufferPointer)
    case decision(Word)
    case acknowledgement(Word)
    case inquiry(MemberSet)
    case answer(Word)
  }

  struct Item {
    var id: TransactionID
    var attempt: Attempt
    var content: Content

    var isInquiry: Bool { if case .inquiry = content { true } else { false } }
  }

  static func header(_ reader: inout ByteReader) -> Header? {
    guard reader.integer(UInt8.self) == version, reader.integer(UInt8.self) == 0,
      let sender = reader.member(), let epoch = reader.integer(UInt32.self),
      let stamp = reader.integer(UInt64.self), let lowWater = reader.integer(UInt64.self)
    else { return nil }
    return Header(
      sender: sender, epoch: Epoch(epoch), stamp: Stamp(nanos: stamp), lowWater: lowWater)
  }

  static func item(_ reader: inout ByteReader) -> Item? {
    guard let kind = reader.integer(UInt8.self).flatMap(Kind.init(rawValue:)),
      let id = reader.transactionID(), let attempt = reader.attempt(),
      let content = content(kind, &reader)
    else { return nil }
    return Item(id: id, attempt: attempt, content: content)
  }

  private static func content(_ kind: Kind, _ reader: inout ByteReader) -> Content? {
    switch kind {
    case .prepare, .onePhase:
      guard let bits = reader.integer(UInt64.self), let length = reader.integer(UInt32.self),
        let bytes = reader.bytes(Int(length)), let work = WorkView(bytes)
      else { return nil }
      return .prepare(MemberSet(bits: bits), work, isOnePhase: kind == .onePhase)
    case .vote:
      guard let code = reader.integer(UInt8.self), let length = reader.integer(UInt32.self),
        let result = reader.bytes(Int(length))
      else { return nil }
      return code == 0 ? .yes(result) : Reason(rawValue: code).map { .no($0, result) }
    case .decision:
      return word(&reader, through: .aborted).map { .decision($0) }
    case .acknowledgement:
      return word(&reader, through: .aborted).map { .acknowledgement($0) }
    case .inquiry:
      return reader.integer(UInt64.self).map { .inquiry(MemberSet(bits: $0)) }
    case .answer:
      return word(&reader, through: .prepared).map { .answer($0) }
    }
  }

  private static func word(_ reader: inout ByteReader, through last: Word) -> Word? {
    guard let word = reader.integer(UInt8.self).flatMap(Word.init(rawValue:)),
      word.rawValue <= last.rawValue
    else { return nil }
    return word
  }
}
