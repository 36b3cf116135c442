import Base

/// What is known of the time a datagram takes there and back: RFC 6298.
public struct RoundTrip: Sendable {
  /// Smoothed time, eight times it; 0 before the first measurement.
  private var smoothed8: UInt64 = 0
  /// Variation, four times it.
  private var variation4: UInt64 = 0
  private let initial: UInt64
  private let least: UInt64
  private let most: UInt64

  /// Knows nothing yet; takes the bounds from `options`.
  public init(_ options: DatagramOptions) {
    initial = options.initialTimeout.nanos
    least = options.timeoutMin.nanos
    most = options.timeoutMax.nanos
  }

  /// Takes a measurement: section 2.2 for the first, 2.3 with alpha 1/8 and beta 1/4 for the next.
  public mutating func measured(_ sample: Interval) {
    let nanos = max(1, min(sample.nanos, most))
    if smoothed8 == 0 {
      smoothed8 = nanos * 8
      variation4 = nanos * 2
      return
    }
    let smoothed = smoothed8 / 8
    let difference = nanos > smoothed ? nanos - smoothed : smoothed - nanos
    variation4 = variation4 - variation4 / 4 + difference
    smoothed8 = smoothed8 - smoothed8 / 8 + nanos
  }

  /// The smoothed time; zero before the first measurement.
  public var smoothed: Interval { Interval(nanos: smoothed8 / 8) }

  /// How long to wait for an answer after `backoffs` timeouts in a row; doubles with each.
  public func timeout(backoffs: Int) -> Interval {
    let base = smoothed8 == 0 ? initial : max(least, smoothed8 / 8 + variation4)
    let doubled = base << UInt64(min(backoffs, 16))
    return Interval(nanos: min(doubled, most))
  }
}
