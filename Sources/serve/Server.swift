import Base
import Glibc
import NetKit
import Node
import Store
import Tuppence

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
    var cluster = try options.membership?.options(secretFile: options.secretFile)
    let server = try open(serverOptions(addresses, cluster))
    let wake = server.link.waker
    if let membership = options.membership, cluster?.joining != nil {
      cluster?.joining?.address = try membership.advertised(options, port: server.link.port)
    }
    var passwords: Passwords?
    if let file = options.passwordFile { passwords = try Passwords(file: file, wake: wake) }
    announce(server.link, cluster)
    var host = server.host(passwords: passwords, cluster: cluster)
    signals.start(wake: wake) { [log] in
      if let problem = log.reopen() { log.line(.error, problem) }
    }
    return try end(try turn(&host))
  }

  // MARK: The loop

  private func turn(
    _ host: inout Host<SocketTransport, ThreadedDisk>
  ) throws(Failure) -> StopReason {
    let begin = systemInstant()
    var progress = Progress(from: begin)
    var isLoading = true
    while true {
      if signals.isStopAsked { host.requestStop() }
      switch host.turn() {
      case .loading:
        progress.show(host.recovered, at: systemInstant())
      case .running:
        if options.membership != nil, let own = host.takeOwnAddress() {
          try MemberFile.write(own, in: options.dataDirectory)
        }
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
    case .refused(let sentence):
      throw Failure(.configuration, "\(options.dataDirectory): \(sentence)")
    case .unrecoverable(let error): throw Failure(error, directory: options.dataDirectory)
    }
  }

  // MARK: The parts

  /// Makes and locks the data directory, before anything is listened on.
  private func open(_ server: ServerOptions) throws(Failure) -> OpenServer {
    do throws(OpenFailure) {
      let opened = try OpenServer(server)
      if let mode = opened.looseMode {
        log.line(
          .error,
          "\(options.dataDirectory) has mode 0\(String(mode, radix: 8)): others can look into it "
            + "or change what is in it; chmod 700 it")
      }
      return opened
    } catch {
      throw Failure(error, directory: options.dataDirectory)
    }
  }

  private func serverOptions(
    _ addresses: [ListenAddress], _ cluster: ClusterOptions?
  ) -> ServerOptions {
    var server = ServerOptions(dataDirectory: options.dataDirectory)
    server.sockets.addresses = addresses
    server.sockets.acceptsStreams = options.tcp
    server.sockets.acceptsDatagrams = options.udp
    server.sockets.connectionCountMax = options.connectionCountMax
    server.sockets.linkOutputByteCountMax = options.outputByteCountMax
    server.sockets.outputByteCountMax = max(
      server.sockets.outputByteCountMax, options.outputByteCountMax)
    server.sockets.datagrams.provesLoopback = options.udpProveLoopback
    server.sockets.datagrams.plainFrom = options.udpPlain ? .anywhere : .loopback
    server.node.database = databaseLimits
    server.node.durability = options.durability
    server.node.outputByteCountMax = options.outputByteCountMax
    server.node.requiresPassword = options.passwordFile != nil
    server.node.udpPlain = options.udpPlain
    server.node.cluster = cluster
    server.log = { [log] level, text in log.line(level, text) }
    return server
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
      let role =
        cluster.joining.map { "to join at \($0.donor) as \($0.address)" } ?? "a member of a cluster"
      log.notice("\(role), over \(medium), \(secret)")
    }
    switch options.durability {
    case .always: break
    case .everySecond:
      log.notice(
        "durability every-second: a crash of the machine loses up to a second of writes, one of "
          + "the server some 10 ms of them")
    case .never:
      log.notice(
        "durability never: a crash of the machine loses what was not on disk, one of the server "
          + "some 10 ms of writes")
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
