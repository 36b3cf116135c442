import Base

/// Makes and checks the proof that an address receives what is sent to it: SipHash-2-4 of address,
/// port and hour under a secret, so nothing has to be remembered about strangers.
struct Cookie {
  private let secret: SipKey
  private var tokenCount: UInt64 = 0

  init(secret: SipKey) { self.secret = secret }

  /// Cookies change this often, and that of the slot before is still taken.
  static var slotLength: Interval { .seconds(3_600) }

  /// The cookie of an address now; never 0.
  func make(for endpoint: Endpoint, at now: Instant) -> UInt64 {
    cookie(endpoint, slot: now.nanos / Self.slotLength.nanos)
  }

  /// Whether an address has sent the cookie that it got in this slot or the one before.
  func accepts(_ cookie: UInt64, from endpoint: Endpoint, at now: Instant) -> Bool {
    guard cookie != 0 else { return false }
    let slot = now.nanos / Self.slotLength.nanos
    if self.cookie(endpoint, slot: slot) == cookie { return true }
    return slot > 0 && self.cookie(endpoint, slot: slot - 1) == cookie
  }

  /// A number that nobody can guess; never 0. Each call gives another.
  mutating func token() -> UInt64 {
    tokenCount += 1
    return hash((tokenCount, 0, 0, 0))
  }

  private func cookie(_ endpoint: Endpoint, slot: UInt64) -> UInt64 {
    let place = UInt64(endpoint.scope) << 16 | UInt64(endpoint.port)
    // The slot plus one keeps cookies apart from tokens, whose last word is 0.
    return hash((endpoint.high, endpoint.low, place, slot + 1))
  }

  private func hash(_ words: (UInt64, UInt64, UInt64, UInt64)) -> UInt64 {
    var words = words
    let result = withUnsafeBytes(of: &words) { SipHash.hash24($0, key: secret) }
    return result == 0 ? 1 : result
  }
}
