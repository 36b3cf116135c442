public import Base
public import NetKit
public import TPC

/// A member of the cluster and where it is reached.
public struct Member: Hashable, Sendable {
  /// Its id.
  public var id: MemberID
  /// `host:port` as the operator wrote it.
  public var address: String
  /// What the address means; nil while its name has yet to be resolved.
  public var endpoint: Endpoint?

  /// Joins the parts.
  public init(id: MemberID, address: String, endpoint: Endpoint?) {
    self.id = id
    self.address = address
    self.endpoint = endpoint
  }
}

/// A member as the operator writes it, `2=host:port`, before its name is resolved.
public struct MemberAddress: Hashable, Sendable {
  /// The number before the equals sign.
  public var id: MemberID
  /// A name or a numeric address, without brackets, in lower case.
  public var host: String
  /// From 1.
  public var port: UInt16

  /// `host:port`, with brackets around an IPv6 address.
  public var text: String { host.utf8.contains(58) ? "[\(host)]:\(port)" : "\(host):\(port)" }

  /// Its member; a numeric address needs no resolving.
  public func member(at endpoint: Endpoint? = nil) -> Member {
    let endpoint = endpoint ?? Endpoint(address: host, port: port)
    return Member(id: id, address: text, endpoint: endpoint)
  }
}

/// The members that `--cluster` names, in the order of their ids.
///
/// Invariant: ids and addresses differ; there are 1 to `memberCountMax` of them.
public struct MemberList: Hashable, Sendable {
  /// Members of one cluster, at most; their ids are not greater either.
  public static var memberCountMax: Int { Int(MemberID.numberMax) }

  /// The members by rising id.
  public private(set) var entries: [MemberAddress]

  /// Bytes of a host's name, at most.
  static var hostByteCountMax: Int { 255 }

  /// Reads `1=host:port,2=host:port,...`.
  public init(_ text: String) throws(UsageError) {
    var entries: [MemberAddress] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let entry = try Self.entry(part)
      if entries.contains(where: { $0.id == entry.id }) {
        throw UsageError("--cluster names member \(entry.id) twice")
      }
      if let other = entries.first(where: { $0.text == entry.text }) {
        throw UsageError("--cluster gives members \(other.id) and \(entry.id) one address")
      }
      entries.append(entry)
    }
    self.entries = entries.sorted { $0.id < $1.id }
  }

  /// The member of an id, if it is one.
  public func entry(of id: MemberID) -> MemberAddress? { entries.first { $0.id == id } }

  /// The one way to write the list: by rising id.
  public var text: String { entries.map { "\($0.id)=\($0.text)" }.joined(separator: ",") }

  /// What the cluster of this name and these first members is known by. Different by accident only:
  /// it keeps clusters apart that were mixed up, not people out.
  public func clusterID(name: String) -> UInt64 {
    var bytes = Array("\(name)\n\(text)".utf8)
    return bytes.withUnsafeMutableBytes {
      SipHash.hash24(UnsafeRawBufferPointer($0), key: SipKey(k0: 0x7475_7070, k1: 0x656E_6365))
    }
  }

  /// Adds one whose id and address are new.
  mutating func insert(_ entry: MemberAddress) {
    entries.removeAll { $0.id == entry.id }
    entries.append(entry)
    entries.sort { $0.id < $1.id }
  }

  /// Takes one out, if it is in.
  mutating func remove(_ id: MemberID) { entries.removeAll { $0.id == id } }

  // MARK: Parts

  private static func entry(_ part: Substring) throws(UsageError) -> MemberAddress {
    let wrong = UsageError(
      "--cluster must be ID=HOST:PORT,ID=HOST:PORT,... with ids from 1 to \(memberCountMax) and "
        + "ports from 1 to 65535, not \"\(part)\"")
    guard let equals = part.firstIndex(of: "="),
      let id = number(part[..<equals]).map(MemberID.init), id.isValid
    else { throw wrong }
    let address = part[part.index(after: equals)...]
    guard let colon = address.lastIndex(of: ":"),
      let port = number(address[address.index(after: colon)...]),
      let host = host(address[..<colon])
    else { throw wrong }
    return MemberAddress(id: id, host: host, port: port)
  }

  /// Decimal digits without a sign or leading zeroes, from 1.
  private static func number(_ text: Substring) -> UInt16? {
    guard let first = text.utf8.first, (49...57).contains(first) else { return nil }
    return UInt16(text)
  }

  /// A name, an IPv4 address, or an IPv6 address in brackets.
  private static func host(_ text: Substring) -> String? {
    if text.utf8.first == UInt8(ascii: "[") {
      let inner = String(text.dropFirst().dropLast()).lowercased()
      guard text.utf8.last == UInt8(ascii: "]"), Endpoint(address: inner, port: 1) != nil,
        inner.utf8.contains(58)
      else { return nil }
      return inner
    }
    let isName = text.utf8.allSatisfy { byte in
      byte > 32 && byte < 127 && !":=[]/\"".utf8.contains(byte)
    }
    return text.isEmpty || text.utf8.count > hostByteCountMax || !isName ? nil : text.lowercased()
  }
}
