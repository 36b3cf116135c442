/// A point on the monotonic clock, in nanoseconds since an arbitrary start.
public struct Instant: Comparable, Hashable, Sendable {
  /// The nanoseconds.
  public var nanos: UInt64

  /// Wraps a number of nanoseconds.
  @inlinable public init(nanos: UInt64) { self.nanos = nanos }

  /// The instant that never comes: the deadline of something that waits for nothing.
  @inlinable public static var never: Instant { Instant(nanos: .max) }
  /// The start of the clock.
  @inlinable public static var zero: Instant { Instant(nanos: 0) }

  @inlinable public static func < (a: Instant, b: Instant) -> Bool { a.nanos < b.nanos }

  /// Saturates at `never`.
  @inlinable public static func + (a: Instant, b: Interval) -> Instant {
    let (sum, overflow) = a.nanos.addingReportingOverflow(b.nanos)
    return overflow ? .never : Instant(nanos: sum)
  }

  /// The time from `b` to `a`; zero when `b` is later.
  @inlinable public static func - (a: Instant, b: Instant) -> Interval {
    Interval(nanos: a.nanos > b.nanos ? a.nanos - b.nanos : 0)
  }
}

/// A length of time in nanoseconds, never negative.
public struct Interval: Comparable, Hashable, Sendable {
  /// The nanoseconds.
  public var nanos: UInt64

  /// Wraps a number of nanoseconds.
  @inlinable public init(nanos: UInt64) { self.nanos = nanos }
  /// Microseconds.
  @inlinable public static func micros(_ n: UInt64) -> Interval { Interval(nanos: n * 1_000) }
  /// Milliseconds.
  @inlinable public static func millis(_ n: UInt64) -> Interval { Interval(nanos: n * 1_000_000) }
  /// Seconds.
  @inlinable public static func seconds(_ n: UInt64) -> Interval {
    Interval(nanos: n * 1_000_000_000)
  }
  /// No time at all.
  @inlinable public static var zero: Interval { Interval(nanos: 0) }
  /// Whole milliseconds, rounded down.
  @inlinable public var millis: UInt64 { nanos / 1_000_000 }
  @inlinable public static func < (a: Interval, b: Interval) -> Bool { a.nanos < b.nanos }
}

/// What the loop read from the two clocks at the start of a turn.
///
/// Invariant: `instant` never goes back within a run; `wallNanos` may.
public struct Moment: Sendable {
  /// Monotonic time; timeouts and deadlines.
  public var instant: Instant
  /// Unix time in nanoseconds as the wall clock says; stamps and expiry are derived from it.
  public var wallNanos: UInt64

  /// Joins the readings of the two clocks.
  @inlinable public init(instant: Instant, wallNanos: UInt64) {
    self.instant = instant
    self.wallNanos = wallNanos
  }

  /// Unix time in milliseconds, rounded down.
  @inlinable public var wallMillis: Int64 { Int64(wallNanos / 1_000_000) }
}
