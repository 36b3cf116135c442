internal import Base
public import NetKit
public import Node
public import Store
public import TPC

/// How a server is set up: where it listens, where its data lies, and whether it is a member of a
/// cluster. What `serve` reads from its flags.
public struct ServerOptions: Sendable {
  /// Addresses, transports, and the bounds of connections.
  public var sockets = SocketOptions()
  /// Data directory, durability, bounds of the data, and the cluster. Port and process id are
  /// filled in at the start.
  public var node = NodeOptions()
  /// Where lines of the log go. Called on the server's thread, never once a command.
  public var log: @Sendable (LogLevel, String) -> Void = { _, _ in }

  /// A node alone, over TCP on 127.0.0.1. Port 0 is any free one: `Server.port` tells which.
  public init(dataDirectory: String, port: UInt16 = 0) {
    node.dataDirectory = dataDirectory
    sockets.addresses = [ListenAddress(Endpoint(ipv4: 0x7F00_0001, port: port))]
    sockets.acceptsDatagrams = false
  }

  /// A member of a cluster, which listens where the others look for it. The authenticator proves
  /// the cluster's secret; without one all members must be on loopback addresses, which is not
  /// checked here.
  ///
  /// Names are resolved here, so this may block. `id` is one of the list.
  public init(
    dataDirectory: String, member id: MemberID, of list: MemberList,
    authenticator: (any MessageAuthenticator)? = nil
  ) throws(OpenFailure) {
    let cluster = try ClusterOptions(ownID: id, list: list, authenticator: authenticator)
    self.init(dataDirectory: dataDirectory)
    node.cluster = cluster
    sockets.addresses = cluster.members.filter { $0.id == id }.compactMap(\.endpoint)
      .map { ListenAddress($0) }
  }
}

extension ClusterOptions {
  /// What the name of the cluster adds to its id; all clusters have this one so far.
  private static var clusterName: String { "tuppence" }

  /// The cluster of a list whose names are resolved here, so this may block, or later, off the
  /// loop. `ownID` is one of the list.
  public init(
    ownID: MemberID, list: MemberList, authenticator: (any MessageAuthenticator)?,
    resolvesNames: Bool = true
  ) throws(OpenFailure) {
    var members: [Member] = []
    for entry in list.entries {
      members.append(resolvesNames ? try Self.resolved(entry) : entry.member())
    }
    self.init(
      ownID: ownID, members: members, clusterID: list.clusterID(name: Self.clusterName),
      nonceKey: SipKey(k0: systemRandomWord(), k1: systemRandomWord()),
      authenticator: authenticator)
  }

  private static func resolved(_ entry: MemberAddress) throws(OpenFailure) -> Member {
    do throws(ResolveError) {
      return entry.member(at: try resolve(host: entry.host, port: entry.port)[0])
    } catch {
      throw .member(entry.id, error)
    }
  }
}

/// Why a server cannot start.
public enum OpenFailure: Error, Sendable {
  /// The name of a member's host has no address.
  case member(MemberID, ResolveError)
  /// The data directory cannot be served.
  case directory(RecoveryError)
  /// An address cannot be listened on.
  case network(ListenError)
}

extension OpenFailure: CustomStringConvertible {
  /// One sentence for a person.
  public var description: String {
    switch self {
    case .member(let id, let error): "member \(id): \(error)"
    case .directory(let error): error.description
    case .network(let error): error.description
    }
  }
}
