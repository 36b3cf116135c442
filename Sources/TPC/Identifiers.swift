import Base

/// A member of a cluster: 1...64. Zero is nobody.
public struct MemberID: Comparable, Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public var number: UInt16

  /// Wraps a number; see `isValid`.
  @inlinable public init(_ number: UInt16) { self.number = number }
  /// The greatest number of a member: a set of members is one word.
  @inlinable public static var numberMax: UInt16 { 64 }
  /// True for 1...64.
  @inlinable public var isValid: Bool { number >= 1 && number <= Self.numberMax }
  @inlinable public static func < (a: MemberID, b: MemberID) -> Bool { a.number < b.number }
  public var description: String { "\(number)" }
}

/// A set of members, walked in rising order.
public struct MemberSet: Hashable, Sendable {
  /// Bit n - 1 stands for member n.
  public var bits: UInt64

  /// Wraps the bits.
  @inlinable public init(bits: UInt64) { self.bits = bits }
  /// No member.
  @inlinable public init() { bits = 0 }
  /// The given members, each valid.
  @inlinable public init(_ members: some Sequence<MemberID>) {
    bits = members.reduce(0) { $0 | Self.bit($1) }
  }

  @inlinable static func bit(_ member: MemberID) -> UInt64 { 1 &<< UInt64(member.number &- 1) }

  /// True when nobody is in it.
  @inlinable public var isEmpty: Bool { bits == 0 }
  /// How many are in it.
  @inlinable public var count: Int { bits.nonzeroBitCount }
  /// Whether it holds the member.
  @inlinable public func contains(_ member: MemberID) -> Bool {
    member.isValid && bits & Self.bit(member) != 0
  }
  /// Those that are in either.
  @inlinable public func union(_ other: MemberSet) -> MemberSet {
    MemberSet(bits: bits | other.bits)
  }
  /// Whether it holds all of the other set.
  @inlinable public func isSuperset(of other: MemberSet) -> Bool { other.bits & ~bits == 0 }
  /// Adds one, which is valid.
  @inlinable public mutating func insert(_ member: MemberID) { bits |= Self.bit(member) }
  /// Takes one out.
  @inlinable public mutating func remove(_ member: MemberID) { bits &= ~Self.bit(member) }
  /// Those that are in both.
  @inlinable public func intersection(_ other: MemberSet) -> MemberSet {
    MemberSet(bits: bits & other.bits)
  }
  /// Those that are not in the other.
  @inlinable public func subtracting(_ other: MemberSet) -> MemberSet {
    MemberSet(bits: bits & ~other.bits)
  }
}

extension MemberSet: Sequence {
  /// Yields members in rising order.
  public struct Iterator: IteratorProtocol {
    @usableFromInline var rest: UInt64
    @usableFromInline init(_ bits: UInt64) { rest = bits }
    /// The next member; nil at the end.
    @inlinable public mutating func next() -> MemberID? {
      guard rest != 0 else { return nil }
      let index = rest.trailingZeroBitCount
      rest &= rest &- 1
      return MemberID(UInt16(index + 1))
    }
  }
  /// Starts at the lowest member.
  @inlinable public func makeIterator() -> Iterator { Iterator(bits) }
}

/// The version of the member list.
///
/// Two counters in one number: what all members agreed on, in the low half, and forced removals, in
/// the high half. Each change raises one of them, so a change in doubt over a forced removal ends
/// in the same epoch wherever which of the two comes first.
public struct Epoch: Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public var number: UInt32
  /// Wraps a number.
  @inlinable public init(_ number: UInt32) { self.number = number }
  /// Joins the two counters.
  @inlinable public init(agreed: UInt16, forced: UInt16) {
    number = UInt32(forced) << 16 | UInt32(agreed)
  }
  /// Counts the lists that all their members agreed on, the first one included.
  @inlinable public var agreed: UInt16 { UInt16(truncatingIfNeeded: number) }
  /// Counts forced removals.
  @inlinable public var forced: UInt16 { UInt16(number >> 16) }
  /// Whether `other` counts every change that this one counts. Of two epochs, neither may cover the
  /// other: one member has heard of an agreed change, one of a forced removal.
  @inlinable public func isCovered(by other: Epoch) -> Bool {
    agreed <= other.agreed && forced <= other.forced
  }
  /// `3`, or `3.1` after a forced removal.
  public var description: String { forced == 0 ? "\(agreed)" : "\(agreed).\(forced)" }
}

/// The name of a transaction, given by its coordinator and never given again (rule 9).
///
/// The order is that of age and decides who waits and who dies (rule 5).
public struct TransactionID: Comparable, Hashable, Sendable, CustomStringConvertible {
  /// The stamp at which the first attempt began.
  public var age: Stamp
  /// The coordinator.
  public var node: MemberID
  /// Rises with each transaction of one coordinator, over restarts too.
  public var counter: UInt64

  /// Joins the parts.
  @inlinable public init(age: Stamp, node: MemberID, counter: UInt64) {
    self.age = age
    self.node = node
    self.counter = counter
  }

  /// The bytes of an encoded id.
  @inlinable public static var byteCount: Int { 18 }

  @inlinable public static func < (a: TransactionID, b: TransactionID) -> Bool {
    if a.age != b.age { return a.age < b.age }
    return a.node != b.node ? a.node < b.node : a.counter < b.counter
  }

  /// As `node.counter`, for people: two numbers that make it unique.
  public var description: String { "\(node).\(counter)" }

  /// Appends 18 bytes: age, node, counter, little-endian.
  public func encode(into buffer: inout ByteBuffer) {
    buffer.append(little: age.nanos)
    buffer.append(little: node.number)
    buffer.append(little: counter)
  }

  /// Decodes 18 bytes; nil for another length or an impossible member.
  public init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count == Self.byteCount else { return nil }
    var reader = ByteReader(bytes)
    guard let id = reader.transactionID() else { return nil }
    self = id
  }
}

/// One try to commit a transaction: 1, 2, ... Everything said about a transaction names one.
public struct Attempt: Comparable, Hashable, Sendable, CustomStringConvertible {
  /// The number.
  public var number: UInt32
  /// Wraps a number.
  @inlinable public init(_ number: UInt32) { self.number = number }
  /// The first.
  @inlinable public static var first: Attempt { Attempt(1) }
  /// Before the first: no attempt at all.
  @inlinable public static var none: Attempt { Attempt(0) }
  /// The one after this.
  @inlinable public var next: Attempt { Attempt(number + 1) }
  @inlinable public static func < (a: Attempt, b: Attempt) -> Bool { a.number < b.number }
  public var description: String { "\(number)" }
}
