internal import Base
internal import CLinux
internal import Glibc

/// One of our addresses, as a wildcard socket learns it with each datagram and sets it with each
/// answer: IP_PKTINFO and IPV6_PKTINFO.
struct LocalAddress {
  var isIPv4: Bool
  /// `in_pktinfo` or `in6_pktinfo`, whichever it is.
  private var ipv4 = cl_in_pktinfo()
  private var ipv6 = cl_in6_pktinfo()

  /// Bytes of `cmsghdr`, which the data follows at once (both are multiples of eight).
  private static var headerByteCount: Int { MemoryLayout<cmsghdr>.size }

  /// Reads the control data of a received datagram; nil when it has none of ours.
  init?(control message: msghdr) {
    guard let place = message.msg_control.map({ UnsafeRawPointer($0) }) else { return nil }
    let front = Self.headerByteCount
    guard message.msg_controllen >= front else { return nil }
    let header = place.load(as: cmsghdr.self)
    let room = min(Int(header.cmsg_len), message.msg_controllen) - front
    if header.cmsg_level == Int32(IPPROTO_IP), header.cmsg_type == IP_PKTINFO,
      room >= MemoryLayout<cl_in_pktinfo>.size
    {
      isIPv4 = true
      ipv4 = (place + front).load(as: cl_in_pktinfo.self)
      // The route back decides about the interface.
      ipv4.interface = 0
    } else if header.cmsg_level == Int32(IPPROTO_IPV6), header.cmsg_type == IPV6_PKTINFO,
      room >= MemoryLayout<cl_in6_pktinfo>.size
    {
      isIPv4 = false
      ipv6 = (place + front).load(as: cl_in6_pktinfo.self)
    } else {
      return nil
    }
  }

  /// Writes the control data of an answer; answers its length.
  func write(to place: UnsafeMutableRawPointer) -> Int {
    let front = Self.headerByteCount
    var header = cmsghdr()
    let dataByteCount: Int
    if isIPv4 {
      dataByteCount = MemoryLayout<cl_in_pktinfo>.size
      header.cmsg_level = Int32(IPPROTO_IP)
      header.cmsg_type = IP_PKTINFO
      (place + front).storeBytes(of: ipv4, as: cl_in_pktinfo.self)
    } else {
      dataByteCount = MemoryLayout<cl_in6_pktinfo>.size
      header.cmsg_level = Int32(IPPROTO_IPV6)
      header.cmsg_type = IPV6_PKTINFO
      (place + front).storeBytes(of: ipv6, as: cl_in6_pktinfo.self)
    }
    header.cmsg_len = front + dataByteCount
    place.storeBytes(of: header, as: cmsghdr.self)
    return front + (dataByteCount + 7) & ~7
  }
}

/// How a correspondent is reached: through which socket and from which address.
struct Route {
  var remote: Endpoint
  /// Index into the ports of the transport; -1: none.
  var port: Int
  /// The address to send from; nil where the socket has only one.
  var local: LocalAddress?
}

/// The routes of the correspondents last heard, each in the one place its address hashes to. One
/// that was overwritten is answered from the address that the kernel's routing chooses.
struct RouteTable {
  private static let countMax = 4_096
  private var routes = [Route?](repeating: nil, count: countMax)

  mutating func store(_ route: Route) { routes[Self.place(of: route.remote)] = route }

  func find(_ remote: Endpoint) -> Route? {
    guard let route = routes[Self.place(of: remote)], route.remote == remote else { return nil }
    return route
  }

  private static func place(of endpoint: Endpoint) -> Int {
    let word = endpoint.high ^ endpoint.low ^ UInt64(endpoint.port) << 32
    return Int((word &* 0x9E37_79B9_7F4A_7C15) >> 52)
  }
}
