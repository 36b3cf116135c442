import Base
import Glibc
import NetKit
import Node
import TPC
import Tuppence

/// How this process begins as a member of a cluster: by `--id` and `--cluster`, or as its directory
/// says.
struct MemberStart {
  /// What `--id` and `--cluster` say; nil: the directory decides. Which list is in force it decides
  /// always.
  private(set) var flags: (id: MemberID, list: MemberList)?
  /// Where this member is reached; nil for a joiner, until it is a member.
  let own: MemberAddress?
  /// The member of a cluster through which this process joins it.
  private(set) var joining: JoinFlags?
  /// The directory has not been a member's yet.
  private let isFirst: Bool

  /// Reads the two flags, which go together, and the directory's file; nil for a node alone.
  init?(_ values: FlagValues, directory: String) throws(UsageError) {
    let text = values.text("cluster")
    let number = try values.integer("id", in: 1...Int(MemberID.numberMax))
    let known = MemberFile.read(in: directory)
    isFirst = known == nil
    joining = try JoinFlags(values, id: number.map { MemberID(UInt16($0)) })
    if joining != nil {
      if text != nil {
        throw UsageError("--mhost joins a cluster that is there, --cluster begins one: give one")
      }
      own = known
      return
    }
    if let text, let number {
      let list = try MemberList(text)
      let id = MemberID(UInt16(number))
      guard let own = list.entry(of: id) else {
        throw UsageError("--id \(number) is not among the members of --cluster (\(list.text))")
      }
      self.own = own
      flags = (id, list)
      return
    }
    if text != nil { throw UsageError("--cluster needs --id, the member that this process is") }
    if number != nil {
      throw UsageError("--id needs --cluster, the list of all members, or --mhost and --qport")
    }
    guard let known else {
      if values.has("secret-file") {
        throw UsageError("--secret-file is for the members of a cluster: give --id and --cluster")
      }
      return nil
    }
    own = known
  }

  /// The cluster as the node is told it. At a first start names are resolved here, before the loop
  /// exists, so this may block.
  func options(secretFile: String?) throws(Failure) -> ClusterOptions {
    let secret = try secretFile.map { path throws(Failure) in try Secret(file: path) }
    let nonceKey = SipKey(k0: systemRandomWord(), k1: systemRandomWord())
    if let joining { return try joining.options(nonceKey: nonceKey, secret) }
    guard let flags else { return ClusterOptions(nonceKey: nonceKey, authenticator: secret) }
    let cluster: ClusterOptions
    do throws(OpenFailure) {
      cluster = try ClusterOptions(
        ownID: flags.id, list: flags.list, authenticator: secret, resolvesNames: isFirst)
    } catch {
      throw Failure(error)
    }
    if secret == nil, let far = cluster.members.first(where: { $0.endpoint?.isLoopback == false }) {
      throw Failure(
        .configuration,
        "member \(far.id) (\(far.address)) is not on a loopback address: give all members one "
          + "--secret-file")
    }
    return cluster
  }

  /// Where a joiner will be reached: by `--advertise`, or where it listens.
  func advertised(_ options: ServeOptions, port: UInt16) throws(Failure) -> String {
    if let given = joining?.advertised { return given }
    if let own { return own.text }
    let host = options.hosts.first { $0 != "localhost" } ?? "127.0.0.1"
    if let endpoint = Endpoint(address: host, port: port), endpoint.high == 0,
      endpoint.low & 0xFFFF_FFFF == 0
    {
      throw Failure(
        .configuration,
        "this process listens on all addresses (\(host)): give the one at which the members reach "
          + "it as --advertise HOST:PORT")
    }
    return host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
  }
}

/// What `--mhost`, `--qport`, `--id` and `--advertise` say.
struct JoinFlags {
  private let host: String
  private let port: UInt16
  private let id: MemberID?
  /// `host:port`.
  let advertised: String?

  /// Nil when this process is not to join anything.
  init?(_ values: FlagValues, id: MemberID?) throws(UsageError) {
    let host = values.text("mhost")
    let port = try values.integer("qport", in: 1...65_535)
    let address = values.text("advertise")
    guard let host, let port else {
      if host != nil || port != nil {
        throw UsageError("--mhost and --qport go together: a member of the cluster to join")
      }
      if address != nil {
        throw UsageError("--advertise is for a process that joins: give --mhost and --qport")
      }
      return nil
    }
    if host.isEmpty { throw UsageError("--mhost needs an address or a name") }
    if let address {
      guard let list = try? MemberList("1=\(address)"), list.entries.count == 1 else {
        throw UsageError("--advertise must be HOST:PORT, not \"\(address)\"")
      }
    }
    self.host = host
    self.port = UInt16(port)
    self.id = id
    advertised = address
  }

  /// Names are resolved here, before the loop exists, so this may block.
  func options(nonceKey: SipKey, _ secret: Secret?) throws(Failure) -> ClusterOptions {
    let endpoints: [Endpoint]
    do throws(ResolveError) {
      endpoints = try resolve(host: host, port: port)
    } catch {
      throw Failure(.address, "--mhost: \(error)")
    }
    if secret == nil, endpoints.contains(where: { !$0.isLoopback }) {
      throw Failure(
        .configuration,
        "the member at \(host) is not on a loopback address: give the cluster's --secret-file")
    }
    var options = ClusterOptions(
      ownID: id, members: [], clusterID: 0, nonceKey: nonceKey, authenticator: secret)
    options.joining = JoinTarget(
      host: host, port: port, endpoints: endpoints, id: id, address: "")
    return options
  }
}

/// The file `member` of a member's directory: `2=host:port` and a newline, so that a later start
/// knows before recovery where to listen, and that others are expected. The ledger has the truth.
enum MemberFile {
  private static func path(in directory: String) -> String { "\(directory)/member" }

  /// The member that the directory was served as before; nil: none, or the file is damaged.
  static func read(in directory: String) -> MemberAddress? {
    guard let text = Machine.readText(path(in: directory), byteCountMax: 512),
      let line = text.split(separator: "\n").first,
      let list = try? MemberList(String(line)), list.entries.count == 1
    else { return nil }
    return list.entries[0]
  }

  /// Writes the file anew, forced, unless it says so already. The corresponding C functions are
  /// `write`, `fsync` and `rename`.
  static func write(_ own: MemberAddress, in directory: String) throws(Failure) {
    guard read(in: directory) != own else { return }
    let fresh = path(in: directory) + ".new"
    let file = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o600)
    var text = "\(own.id)=\(own.text)\n"
    let isWritten =
      file >= 0 && text.withUTF8 { Glibc.write(file, $0.baseAddress, $0.count) == $0.count }
    let isForced = isWritten && fsync(file) == 0
    if file >= 0 { close(file) }
    guard isForced, rename(fresh, path(in: directory)) == 0, force(directory) else {
      throw Failure(.disk, "cannot write \(path(in: directory)): \(errnoText(errno))")
    }
  }

  private static func force(_ directory: String) -> Bool {
    let folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0 else { return false }
    defer { close(folder) }
    return fsync(folder) == 0
  }
}
