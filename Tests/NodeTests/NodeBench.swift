import Base
import NetKit
import Store
import TPC

@testable import Node

/// A transport without a network: a test puts events in and takes replies out.
struct ScriptTransport: Transport, ~Copyable {
  var moment = Moment(instant: Instant(nanos: 1_000_000_000), wallNanos: 1_700_000_000_000_000_000)
  var events: [(event: TransportEvent, bytes: [UInt8])] = []
  var sent: [LinkID: [UInt8]] = [:]
  var closed: [LinkID] = []
  var isListening = true

  var messageByteCountMax: Int { 1 << 20 }
  var peerLimit = 64 << 20
  var peerMessageByteCountMax: Int { peerLimit }
  var deadline: Instant { .never }
  /// When the last `wait` would have ended without an event.
  var lastDeadline = Instant.zero
  mutating func wait(until deadline: Instant) -> Moment {
    lastDeadline = deadline
    return moment
  }
  mutating func next(into buffer: inout ByteBuffer, at now: Moment) -> TransportEvent? {
    guard !events.isEmpty else { return nil }
    let first = events.removeFirst()
    buffer.removeAll()
    buffer.append(first.bytes)
    return first.event
  }
  mutating func send(_ bytes: UnsafeRawBufferPointer, on link: LinkID, at now: Moment)
    -> SendOutcome
  {
    if bytes.count > messageByteCountMax, link.slot >= 1_000 { return .tooLarge }
    sent[link, default: []].append(contentsOf: bytes)
    return .queued
  }
  /// What the client has not taken yet.
  var unsentByteCount = 0
  func pendingByteCount(of link: LinkID) -> Int { unsentByteCount }
  mutating func setReading(_ enabled: Bool, on link: LinkID) {}
  /// Whom the node called, in order; the n-th call is the link of slot 500 + n.
  var called: [Endpoint] = []
  mutating func connect(to endpoint: Endpoint, at now: Moment) -> LinkID {
    called.append(endpoint)
    return LinkID(slot: 499 + called.count, generation: 1)
  }
  mutating func close(_ link: LinkID, afterFlush: Bool, at now: Moment) {
    closed.append(link)
    events.append((.closed(link, .closed), []))
  }
  mutating func flush(at now: Moment) {}
  mutating func stopListening() { isListening = false }
}

/// A disk that keeps nothing, and finishes a group only when it is told to.
struct ScriptDisk: Disk, ~Copyable {
  var isHeld = false
  private var inFlight: DiskGroup?
  private var isRecovering = false
  private var limits: DatabaseLimits
  private var durable = Mark.zero
  var groupCount = 0
  var forceCount = 0
  /// Groups that the loop has waited for.
  var awaitedCount = 0
  /// How many records of its group stood before the last one handed over first.
  private(set) var groupOffset: UInt32 = 0
  private var logByteCount: UInt64 = 0
  /// There is no room for the log's next segment; or none for a checkpoint.
  var isFull = false
  var refusesCheckpoints = false
  /// How many checkpoints were begun.
  var checkpointCount = 0

  init(limits: DatabaseLimits) { self.limits = limits }

  var isIdle: Bool { inFlight == nil }
  mutating func recover() { isRecovering = true }
  mutating func start(_ group: consuming DiskGroup) {
    groupCount += 1
    if group.force { forceCount += 1 }
    logByteCount += UInt64(group.log.count)
    if !group.log.isEmpty {
      groupOffset = UInt32(
        littleEndian: group.log.bytes.loadUnaligned(fromByteOffset: 12, as: UInt32.self))
    }
    inFlight = consume group
  }
  mutating func performNow(_ group: consuming DiskGroup) -> Bool {
    awaitedCount += 1
    start(group)
    return true
  }
  mutating func poll() -> DiskEvent? {
    if isRecovering {
      isRecovering = false
      let log = LogWriter(after: .zero, chain: 0, identity: 1)
      return .recovered(Database(hashKey: SipKey(k0: 1, k1: 2), limits: limits, log: log))
    }
    guard !isHeld, var group = inFlight.take() else { return nil }
    let written = group.last
    if group.force { durable = written }
    group.log.removeAll()
    group.checkpointBytes.removeAll()
    let step = group.checkpoint
    group.checkpoint = .none
    var report = DiskReport(
      through: written, durable: durable, logByteCount: logByteCount, checkpointByteCount: 0)
    switch step {
    case .begin:
      checkpointCount += 1
      report.checkpointFailed = refusesCheckpoints
    case .finish:
      report.checkpointFinished = true
      logByteCount = 0
      report.logByteCount = 0
      isFull = false
    case .none, .entries, .abandon: break
    }
    report.noSpace = isFull
    return .finished(group, report)
  }
  mutating func shutDown(clean: Bool) -> DiskFault? { nil }
}

/// One node with a scripted transport and disk: commands in as text, replies out as text.
struct NodeBench: ~Copyable {
  var host: Host<ScriptTransport, ScriptDisk>
  private var nextSlot = 1

  init(options: NodeOptions = NodeOptions(), passwords: (any PasswordChecker)? = nil) {
    host = Host(
      link: ScriptTransport(), disk: ScriptDisk(limits: options.database), options: options,
      seed: 1, passwords: passwords)
    _ = host.turn()
    _ = host.turn()
  }

  /// One member of a cluster of `count`.
  init(
    clusterMember id: MemberID, count: Int, negotiator: NegotiatorOptions = NegotiatorOptions()
  ) {
    let options = NodeOptions()
    host = Host(
      link: ScriptTransport(), disk: ScriptDisk(limits: options.database), options: options,
      seed: 1, passwords: nil)
    host.join(
      as: id, of: count, seed: UInt64(id.number), options: negotiator, patience: .seconds(5))
    _ = host.turn()
    _ = host.turn()
  }

  /// A new client connection.
  mutating func connect() -> LinkID {
    let link = LinkID(slot: nextSlot, generation: 1)
    nextSlot += 1
    host.link.events.append(
      (.opened(link, .stream, Endpoint(ipv4: 0x7F00_0001, port: 5_000)), []))
    run()
    return link
  }

  /// Puts a whole message of a peer in; answers what has been sent on the link since the last time.
  mutating func hear(_ message: [UInt8], on link: LinkID) -> [UInt8] {
    host.link.events.append((.received(link), message))
    run()
    return host.link.sent.removeValue(forKey: link) ?? []
  }

  /// Some turns, until nothing more happens by itself.
  mutating func run() { for _ in 0..<6 { _ = host.turn() } }

  mutating func advance(millis: UInt64) {
    host.link.moment.instant = host.link.moment.instant + .millis(millis)
    host.link.moment.wallNanos += millis * 1_000_000
    run()
  }

  mutating func put(_ text: String, on link: LinkID) {
    host.link.events.append((.received(link), Array(text.utf8)))
    run()
  }

  /// What has been sent on a link since the last time, with `;` for line ends.
  mutating func take(_ link: LinkID) -> String {
    let bytes = host.link.sent.removeValue(forKey: link) ?? []
    let text = String(decoding: bytes, as: UTF8.self)
    return text.split(separator: "\r\n", omittingEmptySubsequences: false).joined(separator: ";")
  }

  /// The reply to an inline command.
  mutating func ask(_ command: String, on link: LinkID) -> String {
    put(command + "\r\n", on: link)
    let reply = take(link)
    return reply.hasSuffix(";") ? String(reply.dropLast()) : reply
  }

  /// The reply to a UDP request.
  mutating func request(
    _ text: String, id: OperationID = .none, plain: Bool = false,
    from endpoint: Endpoint = Endpoint(ipv4: 0x7F00_0001, port: 6_000)
  ) -> String {
    let link = LinkID(slot: 1_000 + nextSlot, generation: 1)
    nextSlot += 1
    host.link.events.append(
      (.request(link, endpoint, id: id, plain: plain), Array(text.utf8)))
    run()
    return take(link)
  }
}
