import Base

/// The durable notes of a negotiator.
///
/// Under the 18 bytes of a transaction id, little-endian: u8 version 1, u8 kind, u32 attempt, u64
/// participants, and if prepared the names (`Work` without body). Under the byte 1: u64 ceiling of
/// the counters given out here. Under the byte 2 and a u16 member: u64 horizon of that coordinator.
struct Record {
  enum Kind: UInt8 {
    /// Staged work of this attempt; can be committed, only the coordinator may decide.
    case prepared = 1
    /// Committed. At the coordinator: not everybody has it durable yet.
    case committed = 2
    /// Attempts up to this one will not be committed: refused or given up.
    case dead = 3
    /// No attempt will be committed: the coordinator's final word.
    case aborted = 4
    /// Prepared in one phase: it is this member alone that decides (rule 4).
    case alone = 5
  }

  var kind: Kind
  var attempt: Attempt
  var participants: MemberSet
  var names: Work?

  static let version: UInt8 = 1

  /// Replaces the content of `bytes`.
  func encode(into bytes: inout [UInt8]) {
    bytes.removeAll(keepingCapacity: true)
    bytes.append(Self.version)
    bytes.append(kind.rawValue)
    bytes.append(little: attempt.number)
    bytes.append(little: participants.bits)
    if let names { bytes.append(contentsOf: names.bytes) }
  }

  init(_ kind: Kind, _ attempt: Attempt, _ participants: MemberSet, names: Work? = nil) {
    self.kind = kind
    self.attempt = attempt
    self.participants = participants
    self.names = names
  }

  /// Nil when the bytes are not a record of ours.
  init?(_ bytes: UnsafeRawBufferPointer) {
    var reader = ByteReader(bytes)
    guard reader.integer(UInt8.self) == Self.version,
      let kind = reader.integer(UInt8.self).flatMap(Kind.init(rawValue:)),
      let attempt = reader.attempt(), let bits = reader.integer(UInt64.self)
    else { return nil }
    self.init(kind, attempt, MemberSet(bits: bits))
    if kind == .prepared || kind == .alone {
      guard let rest = reader.bytes(reader.count), let view = WorkView(rest) else { return nil }
      names = view.names
    } else if !reader.isEmpty {
      return nil
    }
  }

  // MARK: Keys

  static let ceilingKey: [UInt8] = [1]

  static func horizonKey(_ coordinator: MemberID) -> [UInt8] {
    [2, UInt8(truncatingIfNeeded: coordinator.number), UInt8(coordinator.number >> 8)]
  }

  /// The coordinator whose horizon stands under this key.
  static func horizonOwner(_ key: UnsafeRawBufferPointer) -> MemberID? {
    var reader = ByteReader(key)
    guard key.count == 3, reader.integer(UInt8.self) == 2 else { return nil }
    return reader.member()
  }
}

extension [UInt8] {
  /// Appends an integer, little-endian.
  mutating func append<T: FixedWidthInteger>(little value: T) {
    Swift.withUnsafeBytes(of: value.littleEndian) { append(contentsOf: $0) }
  }

  mutating func append(_ id: TransactionID) {
    append(little: id.age.nanos)
    append(little: id.node.number)
    append(little: id.counter)
  }
}
