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

    /// Sent by or to that member.
    func isOf(_ member: MemberID) -> Bool { from == member || to == member }
  }

  public internal(set) var nodes: [WorldNode]
  /// Under way.
  public var network: [Message] = []
  /// What a client was told.
  public internal(set) var told: [TransactionID: Bool] = [:]
  public internal(set) var calledUnknown: Set<TransactionID> = []
  /// What each begun transaction was to do, for the oracles.
  public internal(set) var begun: [TransactionID: WorldNode.Request] = [:]
  /// Removed by force, in order: at most one but for those that had left without being missed.
  public internal(set) var removals: [MemberID] = []
  /// Removed by force; gone by agreement; not members yet.
  public internal(set) var removed: MemberSet = MemberSet()
  public internal(set) var departed: MemberSet = MemberSet()
  public internal(set) var outsiders: MemberSet = MemberSet()
  public internal(set) var violations: [String] = []
  /// What came with votes of no.
  public internal(set) var details: [[UInt8]] = []
  /// Steps in words, when wanted.
  public var journal: [String] = []
  public let keepsJournal: Bool
  var nextStamp: UInt64 = 1_000
  /// The next calls do not end their turns: what they have to say leaves with the next one that does.
  public var leavesTurnOpen = false
  /// Decides after how many of the effects of a turn a node crashes; nil: it does not.
  public var effectsBeforeCrash: Int?

  public init(
    nodeCount: Int, guestCount: Int = 0, keepsJournal: Bool = false,
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
    for number in nodeCount..<(nodeCount + guestCount) {
      let guest = WorldNode(
        MemberID(UInt16(number + 1)), members: members, epoch: Epoch(1), options: options)
      guest.isUp = false
      outsiders.insert(guest.member)
      nodes.append(guest)
    }
    for node in nodes where node.isUp {
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
    removals = other.removals
    removed = other.removed
    departed = other.departed
    outsiders = other.outsiders
    violations = other.violations
    details = other.details
    keepsJournal = other.keepsJournal
    journal = other.journal
    nextStamp = other.nextStamp
  }

  public func node(_ number: Int) -> WorldNode { nodes[number - 1] }
  /// The members.
  public var live: [WorldNode] {
    let gone = removed.union(departed).union(outsiders)
    return nodes.filter { !gone.contains($0.member) }
  }
  /// Those that may take a step: also who has yet to learn that it has joined or gone.
  public var actors: [WorldNode] {
    nodes.filter { !removed.contains($0.member) && (!outsiders.contains($0.member) || $0.isUp) }
  }

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
        work, among: request.participants, admitting: request.admits, age: stamp,
        deadline: now + request.patience, at: now, &resource, &effects)
      if case .started(let id) = outcome {
        self.give(request, id, .first, resource)
        node.sessions[id] = request
        self.begun[id] = request
        self.write("node \(node.member): begins \(id)")
      }
    }
    return outcome
  }

  /// A node that is no member asks `donor` to be made one; it gets a copy of what is there when the
  /// change is prepared. Nothing happens to one that is in doubt about an earlier change.
  @discardableResult
  public func join(
    _ newcomer: WorldNode, at donor: WorldNode, patience: Interval = .seconds(5)
  ) -> Beginning {
    guard donor.isUp, !departed.contains(donor.member), !donor.members.contains(newcomer.member),
      newcomer.resource.staged.isEmpty,
      departed.contains(newcomer.member) || outsiders.contains(newcomer.member)
    else { return .notReady }
    // It refuses the id of a member, as which it knows one until the change is durable.
    let knowsItDurably = donor.resource.forcedCount == donor.resource.log.count
    if departed.contains(newcomer.member), !knowsItDurably { return .notReady }
    write("node \(newcomer.member): asks node \(donor.member) to join")
    if departed.contains(newcomer.member) {
      // A member's links carry nothing that was said to or by an earlier life of its id.
      network.removeAll { $0.isOf(newcomer.member) }
      departed.remove(newcomer.member)
    }
    outsiders.insert(newcomer.member)
    enter(newcomer, by: donor)
    var request = WorldNode.Request()
    request.admits = newcomer.member
    request.patience = patience
    return begin(request, at: donor)
  }

  /// Begins a life that knows nothing but the list of `donor`.
  func enter(_ newcomer: WorldNode, by donor: WorldNode) {
    newcomer.prepareToJoin(donor)
    run(newcomer) { $0.finishRecovery(at: $1, &$2, &$3) }
    force(newcomer)
  }

  /// The last part of the copy: what is here when an attempt is prepared.
  func give(
    _ request: WorldNode.Request, _ id: TransactionID, _ attempt: Attempt, _ resource: ToyResource
  ) {
    guard let guest = request.admits.map({ nodes[Int($0.number) - 1] }), guest.isUp,
      guest.resource.isOutside, guest.resource.staged.isEmpty || guest.resource.staged[id] != nil
    else { return }
    guest.resource.install(resource.copy)
    guest.resource.completeFor = (id, attempt)
  }

  /// A message arrives; it stays wherever else it is.
  public func deliver(_ message: Message) {
    let node = nodes[Int(message.to.number) - 1]
    guard node.isUp else { return }
    run(node) { negotiator, now, resource, effects in
      message.bytes.withUnsafeBytes {
        negotiator.receive(
          $0, from: message.from, isJoining: self.outsiders.contains(message.from), at: now,
          &resource, &effects)
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
    if node.resource.isOutside, node.resource.staged.isEmpty {
      // Who had not come to prepare when it stopped begins anew; who has gone stays away.
      guard outsiders.contains(node.member), let donor = live.first else { return }
      return enter(node, by: donor)
    }
    write("node \(node.member): starts")
    node.isUp = true
    node.negotiator = node.makeNegotiator()
    for (key, note) in node.resource.notes.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) })
    {
      let isOurs = key.withUnsafeBytes { key in
        note.withUnsafeBytes { node.negotiator.recover(key: key, record: $0) }
      }
      if !isOurs { violations.append("a note of member \(node.member) is not understood") }
    }
    let guest = node.resource.guest
    run(node) { $0.finishRecovery(admitting: guest, at: $1, &$2, &$3) }
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
    learnOfRemovals(node)
    guard node.isUp, node.members.contains(gone) || node.resource.guest == gone else { return }
    removals.append(gone)
    removed.insert(gone)
    learnOfRemovals(node)
  }

  /// A survivor tells this one of removals by force. Who was removed by agreement, and may not know
  /// it, is told that and no more by those who do.
  public func learnOfRemovals(_ node: WorldNode) {
    let isMissed = live.contains { $0.members.contains(node.member) }
    guard !departed.contains(node.member) || isMissed else { return }
    while node.isUp, Int(node.resource.epoch.forced) < removals.count {
      let gone = removals[Int(node.resource.epoch.forced)]
      write("node \(node.member): node \(gone) is removed")
      node.resource.remove(gone)
      let (members, epoch) = (node.members, node.resource.epoch)
      run(node) {
        $0.setMembers(
          members.union(MemberSet([node.member])), removing: MemberSet([gone]), epoch: epoch,
          at: $1, &$2, &$3)
      }
    }
  }
}
