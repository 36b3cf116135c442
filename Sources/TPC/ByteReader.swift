import Base

/// Takes integers and runs of bytes from the front of foreign bytes; nil when they end too early.
struct ByteReader {
  private var rest: UnsafeRawBufferPointer

  init(_ bytes: UnsafeRawBufferPointer) { rest = bytes }

  /// The bytes not yet taken.
  var count: Int { rest.count }
  var isEmpty: Bool { rest.isEmpty }

  mutating func integer<T: FixedWidthInteger>(_: T.Type = T.self) -> T? {
    let size = MemoryLayout<T>.size
    guard rest.count >= size else { return nil }
    let value = T(littleEndian: rest.loadUnaligned(as: T.self))
    rest = UnsafeRawBufferPointer(rebasing: rest[size...])
    return value
  }

  mutating func bytes(_ count: Int) -> UnsafeRawBufferPointer? {
    guard count >= 0, rest.count >= count else { return nil }
    defer { rest = UnsafeRawBufferPointer(rebasing: rest[count...]) }
    return UnsafeRawBufferPointer(rebasing: rest[..<count])
  }

  mutating func member() -> MemberID? {
    guard let number = integer(UInt16.self) else { return nil }
    let member = MemberID(number)
    return member.isValid ? member : nil
  }

  mutating func transactionID() -> TransactionID? {
    guard let age = integer(UInt64.self), let node = member(), let counter = integer(UInt64.self)
    else { return nil }
    return TransactionID(age: Stamp(nanos: age), node: node, counter: counter)
  }

  /// An attempt from 1 on.
  mutating func attempt() -> Attempt? {
    guard let number = integer(UInt32.self), number >= 1 else { return nil }
    return Attempt(number)
  }
}
