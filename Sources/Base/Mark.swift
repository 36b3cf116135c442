/// A log sequence number: the first record of a directory's log is 1, each next one is one more.
///
/// Used as a durability mark: "durable through mark M" says that record M and all before it are
/// forced. `Mark.zero` is durable from the start.
public struct Mark: Comparable, Hashable, Sendable {
  /// The log sequence number.
  public var number: UInt64

  /// Wraps a log sequence number.
  @inlinable public init(_ number: UInt64) { self.number = number }
  /// The mark before the first record.
  @inlinable public static var zero: Mark { Mark(0) }
  @inlinable public static func < (a: Mark, b: Mark) -> Bool { a.number < b.number }
  /// The mark of the record after this one.
  @inlinable public var next: Mark { Mark(number + 1) }
}

/// The hybrid time of a transaction: nanoseconds of Unix time, but always greater than any stamp
/// that this node has seen, so it never goes back, not over restarts and clock steps either.
///
/// It is also the version of every entry that the transaction wrote.
public struct Stamp: Comparable, Hashable, Sendable {
  /// Unix time in nanoseconds, or the one after the greatest seen.
  public var nanos: UInt64

  /// Wraps a number of nanoseconds.
  @inlinable public init(nanos: UInt64) { self.nanos = nanos }
  /// Before every transaction.
  @inlinable public static var zero: Stamp { Stamp(nanos: 0) }
  @inlinable public static func < (a: Stamp, b: Stamp) -> Bool { a.nanos < b.nanos }
  /// Unix milliseconds; what expiry is compared with.
  @inlinable public var millis: Int64 { Int64(nanos / 1_000_000) }
}
