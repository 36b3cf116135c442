import Base
import Glibc
import NetKit
import Node
import Store

/// One run of the server: opens everything, turns the loop, and says how it ended.
struct Server {
  private let options: ServeOptions
  private let log: Log
  private let signals = Signals()

  /// Opens the log. No thread exists before this.
  init(_ options: ServeOptions) throws(Failure) {
    Signals.block()
    Machine.tuneAllocator()
    self.options = options
    log = try Log(path: options.logFile, level: options.logLevel)
  }

  /// Serves until a signal or SHUTDOWN ends it, or the disk does.
  func run() throws(Failure) -> ExitCode {
    let addresses = try Addresses.resolved(for: options)
    try Addresses.check(addresses, options)
    let cluster = try options.membership?.options(secretFile: options.secretFile)
    let files = try openDirectory()
    let link = try listen(on: addresses)
    let wake = link.waker
    var passwords: Passwords?
    if let file = options.passwordFile { passwords = try Passwords(file: file, wake: wake) }
    announce(link, cluster)
    var nodeOptions = nodeOptions(link)
    nodeOptions.cluster = cluster
    let disk = disk(on: files, wake: wake)
    var host = Host(
      link: link, disk: disk, options: nodeOptions, seed: systemRandomWord(), passwords: passwords)
    host.log = { [log] level, text in log.line(level, text) }
    host.link.report = { [log] text in log.line(.info, text) }
    signals.start(wake: wake) { [log] in
      if let problem = log.reopen() { log.line(.error, problem) }
    }
    return try end(turn(&host))
  }

  // MARK: The loop

  private func turn(_ host: inout Host<SocketTransport, ThreadedDisk>) -> StopReason {
    let begin = systemInstant()
    var progress = Progress(from: begin)
    var isLoading = true
    while true {
      if signals.isStopAsked { host.requestStop() }
      switch host.turn() {
      case .loading:
        progress.show(host.recovered, at: systemInstant())
      case .running:
        guard isLoading else { continue }
        isLoading = false
        progress.clear()
        log.notice("ready after \((systemInstant() - begin).millis) ms")
      case .stopped(let reason):
        progress.clear()
        return reason
      }
    }
  }

  private func end(_ reason: StopReason) throws(Failure) -> ExitCode {
    switch reason {
    case .requested:
      log.notice("stopped in order")
      return .done
    case .diskFailed(let fault):
      throw Failure(
        .disk,
        "\(describe(fault, in: options.dataDirectory)); nothing was acknowledged since. The next "
          + "start reads what is really there")
    case .unrecoverable(let error): throw Failure(error, directory: options.dataDirectory)
    }
  }

  // MARK: The parts

  /// Makes and locks the data directory, before anything is listened on.
  private func openDirectory() throws(Failure) -> PosixFileSystem {
    do throws(RecoveryError) {
      let files = try PosixFileSystem(serving: options.dataDirectory)
      if let mode = files.looseMode {
        log.line(
          .error,
          "\(options.dataDirectory) has mode 0\(String(mode, radix: 8)): others can look into it "
            + "or change what is in it; chmod 700 it")
      }
      return files
    } catch {
      throw Failure(error, directory: options.dataDirectory)
    }
  }

  private func disk(
    on files: consuming PosixFileSystem, wake: @escaping @Sendable () -> Void
  ) -> ThreadedDisk {
    var disk = DiskOptions()
    disk.fillsAhead = options.durability == .always
    disk.bypassesCache = options.durability != .always
    let worker = DiskWorker(
      fileSystem: files, options: disk, databaseLimits: databaseLimits,
      hashKey: SipKey(k0: systemRandomWord(), k1: systemRandomWord()),
      freshIdentity: systemRandomWord())
    return ThreadedDisk(worker: worker, wake: wake)
  }

  private func listen(on addresses: [ListenAddress]) throws(Failure) -> SocketTransport {
    var sockets = SocketOptions()
    sockets.addresses = addresses
    sockets.acceptsStreams = options.tcp
    sockets.acceptsDatagrams = options.udp
    sockets.connectionCountMax = options.connectionCountMax
    sockets.linkOutputByteCountMax = options.outputByteCountMax
    sockets.outputByteCountMax = max(sockets.outputByteCountMax, options.outputByteCountMax)
    sockets.datagrams.provesLoopback = options.udpProveLoopback
    sockets.datagrams.plainFrom = options.udpPlain ? .anywhere : .loopback
    if let membership = options.membership {
      prepareForPeers(&sockets, memberCount: membership.list.entries.count)
    }
    do throws(ListenError) {
      return try SocketTransport(sockets)
    } catch {
      throw Failure(.address, error.description)
    }
  }

  /// Links between members carry the largest transaction, and from strangers no more than a hello.
  private func prepareForPeers(_ sockets: inout SocketOptions, memberCount: Int) {
    sockets.peersUseDatagrams = options.udp && !options.tcp
    sockets.strangerMessageByteCountMax = Peers.strangerMessageByteCountMax
    // A transaction names its keys once more, to lock them.
    sockets.messageByteCountMax = 2 * databaseLimits.transactionByteCountMax + (1 << 20)
    sockets.datagrams.peerCountMax = 2 * memberCount + Peers.strangerCountMax
    sockets.peerConnectionCountMax = sockets.peersUseDatagrams ? 0 : sockets.datagrams.peerCountMax
  }

  private func nodeOptions(_ link: borrowing SocketTransport) -> NodeOptions {
    var node = NodeOptions()
    node.database = databaseLimits
    node.durability = options.durability
    node.connectionCountMax = link.options.connectionCountMax
    node.outputByteCountMax = options.outputByteCountMax
    node.requiresPassword = options.passwordFile != nil
    node.udpPlain = options.udpPlain
    node.dataDirectory = options.dataDirectory
    node.port = link.port
    node.processID = getpid()
    return node
  }

  private var databaseLimits: DatabaseLimits {
    var limits = DatabaseLimits()
    limits.valueByteCountMax = options.valueByteCountMax
    // A value of the largest size fits one transaction, with its key and what goes with it.
    limits.transactionByteCountMax = max(
      limits.transactionByteCountMax, options.valueByteCountMax + (1 << 20))
    limits.memoryByteCountMax =
      options.memoryByteCountMax ?? Machine.defaultMemoryByteCountMax()
    limits.outcomesAgeMillis = options.outcomesAgeMillis
    return limits
  }

  // MARK: The start line

  private func announce(_ link: borrowing SocketTransport, _ cluster: ClusterOptions?) {
    let places =
      link.streamEndpoints.map { "\($0) tcp" } + link.datagramEndpoints.map { "\($0) udp" }
    log.notice(
      "serve \(tuppenceVersion) listening on \(places.joined(separator: ", ")); "
        + "data in \(options.dataDirectory); durability \(options.durability.rawValue)")
    if let cluster {
      let medium = link.options.peersUseDatagrams ? "UDP" : "TCP"
      let secret = cluster.authenticator == nil ? "without a secret" : "with a secret"
      log.notice(
        "member \(cluster.ownID) of \(cluster.members.count) in cluster "
          + "\(String(cluster.clusterID, radix: 16)), over \(medium), \(secret): "
          + cluster.members.map { "\($0.id)=\($0.address)" }.joined(separator: ","))
    }
    switch options.durability {
    case .always: break
    case .everySecond:
      log.notice("durability every-second: a crash of the machine loses up to a second of writes")
    case .never:
      log.notice("durability never: a crash of the machine loses what the kernel had not written")
    }
    if link.options.connectionCountMax < options.connectionCountMax {
      log.notice(
        "the limit on open files allows \(link.options.connectionCountMax) connections, not "
          + "\(options.connectionCountMax)")
    }
  }
}

/// Shows how far recovery is, at most once a second, when standard error is a terminal.
private struct Progress {
  private let isTerminal = isatty(STDERR_FILENO) == 1
  private var shownAt: Instant
  private var isShown = false

  init(from begin: Instant) { shownAt = begin }

  mutating func show(_ progress: (done: UInt64, of: UInt64), at now: Instant) {
    guard isTerminal, progress.of > 0, now - shownAt >= .seconds(1) else { return }
    shownAt = now
    isShown = true
    put(
      "\rrecovering: \(progress.done * 100 / progress.of) % of \(renderByteCount(progress.of)) ")
  }

  mutating func clear() {
    if isShown { put("\r\u{1B}[K") }
    isShown = false
  }

  private func put(_ text: String) {
    var text = text
    text.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
