internal import Base
internal import Glibc

/// An endpoint in the form that system calls take: room for `sockaddr_in` or `sockaddr_in6`.
struct SocketAddress {
  /// Holds either form; `sockaddr_in` fills the first 16 bytes.
  var storage: sockaddr_in6
  /// How many bytes of `storage` count.
  var length: socklen_t

  /// Room for an address that the kernel fills in.
  init() {
    storage = sockaddr_in6()
    length = socklen_t(MemoryLayout<sockaddr_in6>.size)
  }

  /// The IPv4 form for a mapped address, the IPv6 form for others.
  init(_ endpoint: Endpoint) {
    storage = sockaddr_in6()
    if endpoint.isIPv4 {
      length = socklen_t(MemoryLayout<sockaddr_in>.size)
      withUnsafeMutableBytes(of: &storage) { raw in
        raw.storeBytes(of: sa_family_t(AF_INET), as: sa_family_t.self)
        raw.storeBytes(of: endpoint.port.bigEndian, toByteOffset: 2, as: UInt16.self)
        let address = UInt32(truncatingIfNeeded: endpoint.low)
        raw.storeBytes(of: address.bigEndian, toByteOffset: 4, as: UInt32.self)
      }
    } else {
      length = socklen_t(MemoryLayout<sockaddr_in6>.size)
      storage.sin6_family = sa_family_t(AF_INET6)
      storage.sin6_port = endpoint.port.bigEndian
      storage.sin6_scope_id = endpoint.scope
      withUnsafeMutableBytes(of: &storage.sin6_addr) { raw in
        raw.storeBytes(of: endpoint.high.bigEndian, as: UInt64.self)
        raw.storeBytes(of: endpoint.low.bigEndian, toByteOffset: 8, as: UInt64.self)
      }
    }
  }

  /// The endpoint, or nil for an address of another family.
  var endpoint: Endpoint? {
    withUnsafeBytes(of: storage) { Endpoint(socketAddress: $0.baseAddress!) }
  }

  /// Calls `body` with the address as `connect`, `bind` and `sendto` take it.
  func withPointer<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    withUnsafePointer(to: storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, length) }
    }
  }

  /// Calls `body` with room for an address and its length, as `getsockname` takes them.
  mutating func withMutablePointer<R>(
    _ body: (UnsafeMutablePointer<sockaddr>, UnsafeMutablePointer<socklen_t>) -> R
  ) -> R {
    withUnsafeMutablePointer(to: &storage) { pointer in
      pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, &length) }
    }
  }
}

extension Endpoint {
  /// Reads a `sockaddr_in` or `sockaddr_in6`; nil for another family.
  init?(socketAddress raw: UnsafeRawPointer) {
    let family = Int32(raw.load(as: sa_family_t.self))
    let port = UInt16(bigEndian: raw.loadUnaligned(fromByteOffset: 2, as: UInt16.self))
    switch family {
    case AF_INET:
      let address = raw.loadUnaligned(fromByteOffset: 4, as: UInt32.self)
      self.init(ipv4: UInt32(bigEndian: address), port: port)
    case AF_INET6:
      let high = UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      let low = UInt64(bigEndian: raw.loadUnaligned(fromByteOffset: 16, as: UInt64.self))
      let scope = raw.loadUnaligned(fromByteOffset: 24, as: UInt32.self)
      self.init(high: high, low: low, port: port, scope: scope)
    default:
      return nil
    }
  }

  /// `AF_INET` or `AF_INET6`.
  var family: Int32 { isIPv4 ? AF_INET : AF_INET6 }
}
