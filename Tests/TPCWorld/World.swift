import Base
import TPC

/// A few members, a network that may do anything but damage a message, and the clients' knowledge.
public final class World {
  public struct Message: Hashable {
    public var from: MemberID
    public var to: MemberID
    public var bytes: [UInt8]

    public init(from: MemberID, to: MemberID, bytes: [UInt8]) {
      self.from = from
      self.to = to
      self.bytes = bytes
    }
  }

  public internal(set) var nodes: [WorldNode]
  /// Under way.
  public var network: [Message] = []
  /// What a client was told.
  public internal(set) var told: [TransactionID: Bool] = [:]
  public internal(set) var calledUnknown: Set<TransactionID> = []
  /// What each begun transaction was to do, for the oracles.
  public internal(set) var begun: [TransactionID: WorldNode.Request] = [:]
  public internal(set) var removed: MemberSet = MemberSet()
  public internal(set) var violations: [String] = []
  /// What came with votes of no.
  public internal(set) var details: [[UInt8]] = []
  /// Steps in words, when wanted.
  public var journal: [String] = []
  public let keepsJournal: Bool
  var nextStamp: UInt64 = 1_000
  /// Decides after how many of the effects of a turn a node crashes; nil: it does not.
  public var effectsBeforeCrash: Int?

  public init(
    nodeCount: Int, keepsJournal: Bool = false,
    configure: (inout NegotiatorOptions) -> Void = { _ in }
  ) {
    var options = NegotiatorOptions()
    options.forgetStep = 1
    options.counterStep = 16
    options.tracesSteps = keepsJournal
    configure(&options)
    self.keepsJournal = keepsJournal
    let members = MemberSet((1...nodeCount).map { MemberID(UInt16($0)) })
    nodes = members.map { WorldNode($0, members: members, epoch: Epoch(1), options: options) }
    for node in nodes {
      run(node) { $0.finishRecovery(at: $1, &$2, &$3) }
      force(node)
    }
  }

  public init(copying other: World) {
    nodes = other.nodes.map(WorldNode.init(copying:))
    network = other.network
    told = other.told
    calledUnknown = other.calledUnknown
    begun = other.begun
    removed = other.removed
    violations = other.violations
    details = other.details
    keepsJournal = other.keepsJournal
    journal = other.journal
    nextStamp = other.nextStamp
  }

  public func node(_ number: Int) -> WorldNode { nodes[number - 1] }
  public var live: [WorldNode] { nodes.filter { !removed.contains($0.member) } }

  func write(_ line: @autoclosure () -> String) {
    if keepsJournal { journal.append(line()) }
  }

  // MARK: Steps

  /// A client's request at a node.
  @discardableResult
  public func begin(_ request: WorldNode.Request, at node: WorldNode) -> Beginning {
    guard node.isUp else { return .notReady }
    nextStamp += 1
    let stamp = Stamp(nanos: nextStamp)
    let work = node.body(request, version: nextStamp).work()
    var outcome = Beginning.notReady
    // The effects may tell of the outcome at once: the session must be known before them.
    run(node) { negotiator, now, resource, effects in
      outcome = negotiator.begin(
        work, among: request.participants, age: stamp, deadline: now + request.patience, at: now,
        &resource, &effects)
      if case .started(let id) = outcome {
        node.sessions[id] = request
        self.begun[id] = request
        self.write("node \(node.member): begins \(id)")
      }
    }
    return outcome
  }

  /// A message arrives; it stays wherever else it is.
  public func deliver(_ message: Message) {
    let node = nodes[Int(message.to.number) - 1]
    guard node.isUp else { return }
    run(node) { negotiator, now, resource, effects in
      message.bytes.withUnsafeBytes {
        negotiator.receive($0, from: message.from, at: now, &resource, &effects)
      }
    }
  }

  /// The log is durable through `count` records; nil: all.
  public func force(_ node: WorldNode, through count: Int? = nil) {
    guard node.isUp else { return }
    node.resource.force(through: count ?? node.resource.log.count)
    while let first = node.held.first, first.mark <= node.resource.forcedCount {
      node.held.removeFirst()
      switch first.what {
      case .message(let to, let bytes):
        network.append(Message(from: node.member, to: to, bytes: bytes))
      case .ticket(let ticket):
        run(node) { $0.forced(ticket, at: $1, &$2, &$3) }
        if !node.isUp { return }
      }
    }
  }

  /// The node's clock reaches its next deadline.
  public func wake(_ node: WorldNode) {
    guard node.isUp, node.negotiator.deadline < .never else { return }
    node.now = max(node.now, node.negotiator.deadline)
    run(node) { $0.wake(at: $1, &$2, &$3) }
  }

  /// The node stops; `count` records of its log are there when it starts again.
  public func crash(_ node: WorldNode, keeping count: Int) {
    guard node.isUp else { return }
    write("node \(node.member): crashes")
    node.isUp = false
    node.resource.crash(keeping: count)
    node.held = []
    node.sessions = [:]
    node.renewing = []
  }

  public func start(_ node: WorldNode) {
    guard !node.isUp else { return }
    write("node \(node.member): starts")
    node.isUp = true
    node.negotiator = Negotiator(
      member: node.member, members: node.members, epoch: node.epoch, options: node.options,
      seed: 1)
    for (key, note) in node.resource.notes.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) })
    {
      let isOurs = key.withUnsafeBytes { key in
        note.withUnsafeBytes { node.negotiator.recover(key: key, record: $0) }
      }
      if !isOurs { violations.append("a note of member \(node.member) is not understood") }
    }
    run(node) { $0.finishRecovery(at: $1, &$2, &$3) }
  }

  /// `node` loses its link to another member, and does what is due then.
  public func lose(_ member: MemberID, at node: WorldNode) {
    guard node.isUp else { return }
    write("node \(node.member): node \(member) is unreachable")
    node.negotiator.reachable(member, false, at: node.now)
    run(node) { $0.wake(at: $1, &$2, &$3) }
  }

  /// The operator's word that a stopped member is gone: counts from now on at this survivor.
  public func remove(_ gone: MemberID, at node: WorldNode) {
    guard node.members.contains(gone) else { return }
    write("node \(node.member): node \(gone) is removed")
    node.members.remove(gone)
    node.epoch = Epoch(node.epoch.number + 1)
    removed.insert(gone)
    guard node.isUp else { return }
    let (members, epoch) = (node.members, node.epoch)
    run(node) { $0.setMembers(members, epoch: epoch, at: $1, &$2, &$3) }
  }
}
