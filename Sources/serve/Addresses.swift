import Base
import NetKit

/// Decides where the server listens.
enum Addresses {
  /// The addresses for `options`: loopback when no host is given. Names are resolved here, before
  /// the loop exists, so this may block.
  static func resolved(for options: ServeOptions) throws(Failure) -> [ListenAddress] {
    guard !options.hosts.isEmpty else { return loopback(port: options.port) }
    var addresses: [ListenAddress] = []
    for host in options.hosts {
      let found: [Endpoint]
      do throws(ResolveError) {
        found = try resolve(host: host, port: options.port)
      } catch {
        throw Failure(.address, error.description)
      }
      for endpoint in found where !addresses.contains(where: { $0.endpoint == endpoint }) {
        let isOptional = host == "localhost" && !endpoint.isIPv4
        addresses.append(ListenAddress(endpoint, isOptional: isOptional))
      }
    }
    return addresses
  }

  /// Refuses what would let strangers in: an address other than loopback without a password.
  static func check(_ addresses: [ListenAddress], _ options: ServeOptions) throws(Failure) {
    if options.udpPlain, options.passwordFile != nil {
      throw Failure(
        .configuration,
        "--udp-plain cannot be combined with --password-file: bare datagrams carry no password")
    }
    guard options.passwordFile == nil, !options.insecure else { return }
    if let open = addresses.first(where: { !$0.endpoint.isLoopback }) {
      throw Failure(
        .configuration,
        "listening on \(open.endpoint) without a password lets anyone in: give --password-file, or "
          + "--insecure if that is meant")
    }
  }

  /// 127.0.0.1, and ::1 where the machine has it.
  private static func loopback(port: UInt16) -> [ListenAddress] {
    [
      ListenAddress(Endpoint(ipv4: 0x7F00_0001, port: port)),
      ListenAddress(Endpoint(high: 0, low: 1, port: port), isOptional: true),
    ]
  }
}
