/// An IPv4 or IPv6 address and a port.
///
/// IPv4 addresses are kept as IPv4-mapped IPv6 (`::ffff:a.b.c.d`), so there is one form.
public struct Endpoint: Hashable, Sendable {
  /// The 16 address bytes, first eight and last eight in network order.
  public var high: UInt64
  /// The last eight address bytes in network order.
  public var low: UInt64
  /// The port, in host order.
  public var port: UInt16
  /// The scope of a link-local IPv6 address, otherwise 0.
  public var scope: UInt32

  /// Joins the parts.
  @inlinable public init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
    self.high = high
    self.low = low
    self.port = port
    self.scope = scope
  }

  /// `a.b.c.d` as a mapped address, most significant byte first.
  @inlinable public init(ipv4: UInt32, port: UInt16) {
    self.init(high: 0, low: 0xFFFF_0000_0000 | UInt64(ipv4), port: port)
  }

  /// True for an IPv4-mapped address.
  @inlinable public var isIPv4: Bool { high == 0 && low >> 32 == 0xFFFF }

  /// True for 127.0.0.0/8 and ::1.
  @inlinable public var isLoopback: Bool {
    isIPv4 ? (low >> 24) & 0xFF == 127 : high == 0 && low == 1
  }
}
