internal import Base
internal import CLinux
internal import Glibc

/// TCP and UDP over the kernel's sockets: one epoll set, one thread.
///
/// All calls come from one thread; only what `waker` gives may be called from others. Sockets are
/// watched for edges: a short read means that a socket is empty and nothing more is asked of the
/// kernel, so a request that comes alone costs one read and one write besides its share of the
/// wait. Whoever had more to read is put at the end of the queue, so nobody starves.
public struct SocketTransport: ~Copyable {
  /// The options it was opened with; `connectionCountMax` lowered to what the process may open.
  public let options: SocketOptions
  /// What has been counted.
  public internal(set) var counters = SocketCounters()
  /// Gets a line for the log now and then: what a person should hear of. Rare, not on hot paths.
  public var report: (String) -> Void = { _ in }

  var poller: Poller
  /// Only the waker, for waits in which events must wait too.
  var wakerPoller: Poller
  var isHeldBack = false
  let wakerObject: Waker
  var table = LinkTable()
  /// Links of the table that are opened or open to other nodes.
  var peerLinkCount = 0
  var pool = ChunkPool()
  var core: DatagramCore
  var batch: DatagramBatch
  var listeners: [StreamListener]
  var ports: [DatagramPort]

  /// Tags of sockets that may have something for us, each at most once; see `Tag`.
  var ready = WorkQueue<UInt64>()
  /// The listeners and ports in `ready`.
  var queuedSockets: [UInt64] = []
  /// What the loop has still to be told.
  var notices = WorkQueue<TransportEvent>()
  /// The link to be visited before all others: it is not done yet. 0: none.
  var again: UInt64 = 0
  /// Entries of `ready` that belong to this turn.
  var visitsLeft = 0
  /// Peer links over TCP whose messages of this turn wait for `flush`, each once.
  var unwritten: [LinkID] = []
  /// Bytes of output that the kernel did not take yet, of all links over TCP.
  public internal(set) var pendingOutputByteCount = 0
  /// When timeouts are looked at next; `never` while none can run out.
  var nextSweep = Instant.never
  /// When accepting goes on after descriptors had run out; `never` while it goes on.
  var acceptResume = Instant.never
  var isListening = true
  /// When the last line about a client's mistake was reported, so that nobody fills the log.
  var lastComplaint = Instant.zero

  /// Slots from here on belong to the datagram core.
  static let datagramSlotBase = 1 << 31

  /// Opens all sockets and begins to listen.
  public init(_ options: SocketOptions) throws(ListenError) {
    var options = options
    let spare = options.peerConnectionCountMax
    options.connectionCountMax = max(
      1, allowDescriptors(for: options.connectionCountMax + spare) - spare)
    let opened = try Listeners.open(options)
    do {
      let waker = try Waker()
      self.init(
        options, opened, try Self.openPoller(waker), try Self.openPoller(waker), waker)
    } catch {
      opened.close()
      throw ListenError(endpoint: nil, medium: "", error: error)
    }
  }

  private init(
    _ options: SocketOptions, _ opened: Listeners, _ poller: consuming Poller,
    _ wakerPoller: consuming Poller, _ waker: Waker
  ) {
    self.options = options
    self.poller = poller
    self.wakerPoller = wakerPoller
    wakerObject = waker
    listeners = opened.streams
    ports = []
    batch = DatagramBatch()
    let secret = SipKey(k0: systemRandomWord(), k1: systemRandomWord())
    core = DatagramCore(
      options: options.datagrams, secret: secret, seed: systemRandomWord(),
      slotBase: Self.datagramSlotBase)
    for (index, listener) in listeners.enumerated() {
      watch(listener.descriptor, for: .input, tag: Tag.listener(index))
    }
    for port in opened.datagrams { add(port) }
  }

  deinit {
    for index in 0..<table.usedCount {
      if let link = table.link(at: index), let slot = table.find(link) {
        slot.pointee.output.free()
        Self.giveBack(slot)
      }
    }
    for listener in listeners { Syscalls.close(listener.descriptor) }
    for port in ports { Syscalls.close(port.descriptor) }
  }

  // MARK: What it is

  /// The port listened on; 0 when listening nowhere.
  public var port: UInt16 { (listeners.first?.endpoint ?? ports.first?.endpoint)?.port ?? 0 }

  /// The addresses listened on for TCP.
  public var streamEndpoints: [Endpoint] { listeners.map(\.endpoint) }

  /// The addresses listened on for UDP.
  public var datagramEndpoints: [Endpoint] { ports.map(\.endpoint) }

  /// Ends the wait of the loop; may be called from any thread, also after the transport is gone.
  public var waker: @Sendable () -> Void {
    let object = wakerObject
    return { object.wake() }
  }

  /// Open TCP connections, those that are being opened or closed included.
  public var connectionCount: Int { table.openCount }

  /// What the datagram link has counted.
  public var datagramCounters: DatagramCounters { core.counters }

  // MARK: Watching

  private static func openPoller(_ waker: Waker) throws(SystemError) -> Poller {
    let poller = try Poller()
    try poller.add(waker.descriptor, for: [.input, .edge], tag: Tag.waker)
    return poller
  }

  mutating func add(_ port: DatagramPort) {
    let hasChoice = ports.contains { $0.endpoint.isIPv4 == port.endpoint.isIPv4 }
    if port.isWildcard || hasChoice { batch.keepRoutes() }
    watch(port.descriptor, for: [.input, .edge], tag: Tag.port(ports.count))
    ports.append(port)
  }

  private func watch(_ descriptor: Int32, for interest: Readiness, tag: UInt64) {
    do {
      try poller.add(descriptor, for: interest, tag: tag)
    } catch {
      invariantFailed("a fresh socket can be watched: \(error)")
    }
  }
}

/// What an epoll event is about: a link's id, or, with generation 0, something of the transport.
enum Tag {
  static let waker: UInt64 = 0
  static func listener(_ index: Int) -> UInt64 { 1 << 24 | UInt64(index) }
  static func port(_ index: Int) -> UInt64 { 2 << 24 | UInt64(index) }

  /// True for the id of a link.
  static func isLink(_ tag: UInt64) -> Bool { tag >> 32 != 0 }
  static func isListener(_ tag: UInt64) -> Bool { tag >> 24 == 1 }
  static func index(_ tag: UInt64) -> Int { Int(tag & 0xFF_FFFF) }
}

/// Raises the limit of descriptors for that many connections and what else a server opens; answers
/// how many connections fit the limit. The corresponding C function is `setrlimit`.
private func allowDescriptors(for connectionCount: Int) -> Int {
  let others = 64
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
    return connectionCount
  }
  let wanted = rlim_t(connectionCount + others)
  if limit.rlim_cur < wanted {
    var raised = limit
    raised.rlim_cur = wanted
    // Beyond the hard limit only a privileged process may go.
    raised.rlim_max = max(limit.rlim_max, wanted)
    if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised) != 0 {
      raised = limit
      raised.rlim_cur = min(wanted, limit.rlim_max)
      _ = setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &raised)
    }
    limit = raised
  }
  return min(connectionCount, max(16, Int(clamping: limit.rlim_cur) - others))
}
