import Base
import NetKit
import Node
import TPC

/// What makes a life of a node one of a member of a cluster.
struct MemberParts {
  /// Counted from 0.
  var index: Int
  var count: Int
  /// The links to the others.
  var mesh: Mesh
  /// Where the first members listen.
  var endpoints: [Endpoint]
  /// Whom it asks to be taken in; nil: it is one of the first members.
  var joining: JoinTarget?

  /// What the member is told of its cluster when its messages go over links.
  func options(_ chance: inout Random) -> ClusterOptions {
    let key = SipKey(k0: chance.next(), k1: chance.next())
    if let joining {
      var options = ClusterOptions(nonceKey: key, authenticator: SimAuthenticator())
      options.joining = joining
      return options
    }
    let members = endpoints.enumerated().map { index, endpoint in
      Member(id: MemberID(UInt16(index + 1)), address: "\(endpoint)", endpoint: endpoint)
    }
    return ClusterOptions(
      ownID: MemberID(UInt16(index + 1)), members: members, clusterID: 77, nonceKey: key,
      authenticator: SimAuthenticator())
  }
}

/// Stands for HMAC: what matters here is that both sides come to the same code.
struct SimAuthenticator: MessageAuthenticator {
  func code(of message: UnsafeRawBufferPointer) -> [UInt8] {
    (0..<4).flatMap { word in
      let code = SipHash.hash24(message, key: SipKey(k0: UInt64(word), k1: 7))
      return withUnsafeBytes(of: code) { Array($0) }
    }
  }
}

/// Messages of other members that wait for the next turn of a node.
struct MemberInbox {
  private var messages: [(from: Int, bytes: [UInt8])] = []

  var isEmpty: Bool { messages.isEmpty }

  mutating func add(_ bytes: [UInt8], from: Int) { messages.append((from, bytes)) }

  mutating func takeAll() -> [(from: Int, bytes: [UInt8])] {
    defer { messages.removeAll(keepingCapacity: true) }
    return messages
  }
}
