import Base

/// What is left of a rate: a bucket that fills with time and from which each datagram takes one.
///
/// Counts in nanoseconds of credit, so that nothing is lost to rounding: a datagram costs
/// 1 s / `perSecond`, and at most `burst` times that is saved up.
struct TokenBucket {
  private var credit: UInt64
  private var updated: Instant

  /// Full.
  init(_ rate: DatagramRate, at now: Instant) {
    credit = Self.most(rate)
    updated = now
  }

  /// Takes one; false when there is none. A rate of 0 a second allows nothing.
  mutating func take(_ rate: DatagramRate, at now: Instant) -> Bool {
    guard rate.perSecond > 0 else { return false }
    let most = Self.most(rate)
    let earned = (now - updated).nanos
    credit = earned >= most - min(credit, most) ? most : credit + earned
    updated = now
    let cost = Self.cost(rate)
    guard credit >= cost else { return false }
    credit -= cost
    return true
  }

  private static func cost(_ rate: DatagramRate) -> UInt64 {
    max(1, 1_000_000_000 / max(1, rate.perSecond))
  }

  private static func most(_ rate: DatagramRate) -> UInt64 {
    let (product, overflow) = cost(rate).multipliedReportingOverflow(by: max(1, rate.burst))
    return overflow ? .max / 2 : min(product, .max / 2)
  }
}

/// The buckets of the addresses heard lately: a table of fixed size in groups of four.
///
/// A source is an IPv4 address or an IPv6 /64, of which one host may have all.
struct SourceTable: ~Copyable {
  private struct Source {
    var high: UInt64
    var low: UInt64
    var heard: Instant
    var datagrams: TokenBucket
    var strangers: TokenBucket
  }

  private let sources: UnsafeMutablePointer<Source>
  private let groupCount: UInt64
  private let rate: DatagramRate
  private let strangerRate: DatagramRate
  private let key: SipKey

  init(options: DatagramOptions, key: SipKey) {
    groupCount = UInt64(options.sourceCountMax / 4)
    rate = options.sourceRate
    strangerRate = options.strangerRate
    self.key = key
    sources = .allocate(capacity: options.sourceCountMax)
    let empty = Source(
      high: .max, low: .max, heard: .zero, datagrams: TokenBucket(rate, at: .zero),
      strangers: TokenBucket(strangerRate, at: .zero))
    sources.initialize(repeating: empty, count: options.sourceCountMax)
  }

  deinit { sources.deallocate() }

  /// Takes one datagram's worth from an address; false: it sends too much.
  mutating func takeDatagram(from endpoint: Endpoint, at now: Instant) -> Bool {
    source(of: endpoint, at: now).pointee.datagrams.take(rate, at: now)
  }

  /// Takes one answer's worth from an address that has not proven itself.
  mutating func takeStranger(from endpoint: Endpoint, at now: Instant) -> Bool {
    source(of: endpoint, at: now).pointee.strangers.take(strangerRate, at: now)
  }

  /// The source's place, made in that of the group's longest silent one if it is new.
  private func source(
    of endpoint: Endpoint, at now: Instant
  ) -> UnsafeMutablePointer<Source> {
    let low = endpoint.isIPv4 ? endpoint.low : 0
    var words = (endpoint.high, low)
    let hash = withUnsafeBytes(of: &words) { SipHash.hash13($0, key: key) }
    let group = sources + Int(hash.multipliedFullWidth(by: groupCount).high) * 4
    var oldest = group
    for index in 0..<4 {
      let place = group + index
      if place.pointee.high == endpoint.high && place.pointee.low == low {
        place.pointee.heard = now
        return place
      }
      if place.pointee.heard < oldest.pointee.heard { oldest = place }
    }
    oldest.pointee = Source(
      high: endpoint.high, low: low, heard: now, datagrams: TokenBucket(rate, at: now),
      strangers: TokenBucket(strangerRate, at: now))
    return oldest
  }
}
