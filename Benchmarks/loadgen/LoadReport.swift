/// Counts of nanoseconds in buckets of at most 1.6 % width: 64 a power of two.
struct LatencyHistogram {
  private var buckets = [UInt32](repeating: 0, count: 64 * 40)
  private(set) var max: UInt64 = 0
  private var count = 0

  mutating func record(_ nanos: UInt64) {
    if nanos > max { max = nanos }
    count += 1
    buckets[Self.index(of: nanos)] += 1
  }

  /// The smallest bound that `share` (0...1) of the recorded are not above, in nanoseconds.
  func percentile(_ share: Double) -> UInt64 {
    let wanted = Int((Double(count) * share).rounded(.up))
    var seen = 0
    for (index, bucket) in buckets.enumerated() {
      seen += Int(bucket)
      if seen >= wanted, bucket > 0 { return Self.bound(of: index) }
    }
    return max
  }

  private static func index(of nanos: UInt64) -> Int {
    guard nanos >= 64 else { return Int(nanos) }
    let power = 63 - nanos.leadingZeroBitCount
    let bucket = (power - 5) * 64 + Int(nanos >> UInt64(power - 6)) - 64
    return min(bucket, 64 * 40 - 1)
  }

  private static func bound(of index: Int) -> UInt64 {
    guard index >= 64 else { return UInt64(index) }
    let power = index / 64 + 5
    return UInt64(index % 64 + 64) << UInt64(power - 6)
  }
}

/// What a phase came to.
struct LoadReport {
  var requests = 0
  var nanos: UInt64 = 0
  /// Replies compared whole; every reply's framing is checked.
  var compared = 0
  /// Datagrams sent again because no answer came within the time; they count as lost.
  var lost = 0
  /// Datagrams that answered nothing under way.
  var stray = 0
  /// Of whole pipelines over TCP, of single requests over UDP.
  var latency = LatencyHistogram()

  /// One line of JSON.
  func json(_ options: LoadOptions) -> String {
    let seconds = Double(nanos) / 1e9
    let rate = seconds > 0 ? Int(Double(requests) / seconds) : 0
    return """
      {"wire":"\(options.wire.rawValue)","operation":"\(options.verb.rawValue)",\
      "clients":\(options.clientCount),"pipeline":\(options.pipeline),\
      "value_size":\(options.valueByteCount),"requests":\(requests),"seconds":\(seconds),\
      "per_second":\(rate),"compared":\(compared),"lost":\(lost),"stray":\(stray),\
      "p50_us":\(latency.percentile(0.5) / 1_000),"p99_us":\(latency.percentile(0.99) / 1_000),\
      "max_us":\(latency.max / 1_000)}
      """
  }
}
