internal import Base
internal import Glibc
public import NetKit
public import Node
public import Store

/// A server whose directory is locked and whose addresses are listened on, before it turns.
///
/// For mains that turn the loop themselves, as `serve` does; `Server` does it on a thread.
public struct OpenServer: ~Copyable {
  /// The network; its `waker` ends the wait of the loop.
  public let link: SocketTransport
  /// The data directory's mode if others have a right to it; nil as it should be.
  public let looseMode: UInt32?
  private let files: PosixFileSystem
  private let options: ServerOptions

  /// Makes and locks the data directory, then listens.
  public init(_ options: ServerOptions) throws(OpenFailure) {
    let files = try Self.openDirectory(options)
    let link = try Self.listen(options)
    self.init(options, files, link)
  }

  private init(
    _ options: ServerOptions, _ files: consuming PosixFileSystem, _ link: consuming SocketTransport
  ) {
    self.options = options
    looseMode = files.looseMode
    self.files = files
    self.link = link
  }

  private static func openDirectory(
    _ options: ServerOptions
  ) throws(OpenFailure) -> PosixFileSystem {
    do throws(RecoveryError) {
      return try PosixFileSystem(serving: options.node.dataDirectory)
    } catch {
      throw .directory(error)
    }
  }

  private static func listen(_ options: ServerOptions) throws(OpenFailure) -> SocketTransport {
    do throws(ListenError) {
      return try SocketTransport(sockets(options))
    } catch {
      throw .network(error)
    }
  }

  /// Links between members carry the largest transaction, and from strangers no more than a hello.
  private static func sockets(_ options: ServerOptions) -> SocketOptions {
    var sockets = options.sockets
    guard options.node.cluster != nil else { return sockets }
    sockets.peersUseDatagrams = sockets.acceptsDatagrams && !sockets.acceptsStreams
    sockets.strangerMessageByteCountMax = Peers.strangerMessageByteCountMax
    // A transaction names its keys once more, to lock them.
    let transaction = options.node.database.transactionByteCountMax
    sockets.messageByteCountMax = 2 * transaction + (1 << 20)
    sockets.datagrams.peerCountMax = 2 * MemberList.memberCountMax + Peers.strangerCountMax
    sockets.peerConnectionCountMax = sockets.peersUseDatagrams ? 0 : sockets.datagrams.peerCountMax
    return sockets
  }

  /// The loop. Recovery begins with its first turn. `cluster` takes the place of that of the
  /// options, for what was known only when the port was.
  public consuming func host(
    passwords: (any PasswordChecker)? = nil, cluster: ClusterOptions? = nil
  ) -> Host<SocketTransport, ThreadedDisk> {
    var node = options.node
    node.connectionCountMax = link.options.connectionCountMax
    node.port = link.port
    node.processID = getpid()
    if let cluster { node.cluster = cluster }
    node.cluster?.resolver = MemberNames(wake: link.waker)
    var disk = DiskOptions()
    disk.fillsAhead = node.durability == .always
    disk.bypassesCache = node.durability != .always
    let log = options.log
    let wake = link.waker
    let worker = DiskWorker(
      fileSystem: files, options: disk, databaseLimits: node.database,
      hashKey: SipKey(k0: systemRandomWord(), k1: systemRandomWord()),
      freshIdentity: systemRandomWord())
    var host = Host(
      link: link, disk: ThreadedDisk(worker: worker, wake: wake), options: node,
      seed: systemRandomWord(), passwords: passwords)
    host.log = log
    host.link.report = { log(.info, $0) }
    return host
  }
}
