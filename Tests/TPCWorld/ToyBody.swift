import Base
import TPC

/// The work of the toy resource: numbers that are raised by one, under numbered keys.
///
/// Keys below 100 are kept by all members alike; key 100 + n belongs to one-phase work at member n.
public struct ToyBody: Equatable {
  /// One key: the version seen, and what is written if anything is.
  public struct Change: Equatable {
    public var key: UInt8
    public var isWrite: Bool
    public var expected: UInt64
    public var value: UInt64
    public var version: UInt64
  }

  public var changes: [Change] = []
  public var operation = OperationID.none
  /// Members that say that the work is invalid.
  public var refusedBy = MemberSet()
  /// A change of members: who comes, who goes; `base` is the epoch in which it was begun.
  public var admits = MemberSet()
  public var dismisses = MemberSet()
  public var base = Epoch(0)

  public init() {}

  public var isChange: Bool { !admits.isEmpty || !dismisses.isEmpty }

  /// What every work reads and a change of members writes.
  private static let membersKey: UInt8 = 255

  private var membersMode: LockMode {
    #if MUTANTS
      if Mutant.active == .joinPastLock { return .read }
    #endif
    return isChange ? .write : .read
  }

  /// The bytes and the locks.
  public func work() -> Work {
    var builder = WorkBuilder()
    for change in changes {
      withUnsafeBytes(of: change.key) { builder.add(key: $0, change.isWrite ? .write : .read) }
      builder.body.append(change.key)
      builder.body.append(change.isWrite ? 1 : 0)
      builder.body.append(little: change.expected)
      builder.body.append(little: change.value)
      builder.body.append(little: change.version)
    }
    withUnsafeBytes(of: Self.membersKey) { builder.add(key: $0, membersMode) }
    if operation != .none { builder.add(operation: operation) }
    builder.body.append(little: operation.high)
    builder.body.append(little: operation.low)
    builder.body.append(little: refusedBy.bits)
    builder.body.append(little: admits.bits)
    builder.body.append(little: dismisses.bits)
    builder.body.append(little: base.number)
    guard let work = builder.finish() else { fatalError("a toy body is small") }
    return work
  }

  init(_ bytes: [UInt8]) {
    var rest = bytes[...]
    func number<T: FixedWidthInteger>(_: T.Type) -> T {
      defer { rest = rest.dropFirst(MemoryLayout<T>.size) }
      return rest.prefix(MemoryLayout<T>.size).reversed().reduce(0) { $0 << 8 | T($1) }
    }
    while rest.count > 44 {
      changes.append(
        Change(
          key: rest.removeFirst(), isWrite: rest.removeFirst() == 1,
          expected: number(UInt64.self), value: number(UInt64.self),
          version: number(UInt64.self)))
    }
    operation = OperationID(high: number(UInt64.self), low: number(UInt64.self))
    refusedBy = MemberSet(bits: number(UInt64.self))
    admits = MemberSet(bits: number(UInt64.self))
    dismisses = MemberSet(bits: number(UInt64.self))
    base = Epoch(number(UInt32.self))
  }
}
