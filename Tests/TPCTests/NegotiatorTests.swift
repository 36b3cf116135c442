import Base
import TPC
import TPCWorld
import Testing

@Suite struct NegotiatorTests {
  static let members = MemberSet([MemberID(1), MemberID(2)])

  static func work(_ name: UInt8 = 1) -> Work {
    var builder = WorkBuilder()
    withUnsafeBytes(of: name) { builder.add(key: $0, .write) }
    builder.body.append(zeroes: 24)
    return builder.finish()!
  }

  // MARK: Ids

  @Test func `Rule 9: no id is given out before its counter is below a durable ceiling`() {
    var resource = ToyResource(member: MemberID(1), members: Self.members)
    var effects = Effects()
    var negotiator = Negotiator(
      member: MemberID(1), members: Self.members, epoch: Epoch(1), options: NegotiatorOptions(),
      seed: 1)
    func begin(_ negotiator: inout Negotiator) -> Beginning {
      negotiator.begin(
        Self.work(), age: Stamp(nanos: 5), deadline: .never, at: .zero, &resource, &effects)
    }
    #expect(begin(&negotiator) == .notReady)
    negotiator.finishRecovery(at: .zero, &resource, &effects)
    negotiator.flush(stamp: .zero, at: .zero, &effects)
    #expect(begin(&negotiator) == .notReady)
    guard case .notify(let ticket)? = effects.list.last else {
      Issue.record("no ticket")
      return
    }
    negotiator.forced(ticket, at: .zero, &resource, &effects)
    guard case .started(let id) = begin(&negotiator) else {
      Issue.record("not started")
      return
    }
    #expect(id.counter == 1)
  }

  /// Who had the id before is counted by 1, and then by the list that it was given; removals by
  /// force and clocks make no difference.
  @Test(arguments: [
    (Epoch(agreed: 1, forced: 1), Epoch(agreed: 2, forced: 1)),
    (Epoch(agreed: 2, forced: 3), Epoch(agreed: 3, forced: 0)),
    (Epoch(agreed: .max - 1, forced: 0), Epoch(agreed: .max, forced: 0)),
  ])
  func `Rule 9: a newcomer counts above all former members of its id`(
    former: Epoch, own: Epoch
  ) {
    func first(_ epoch: Epoch) -> UInt64? {
      var resource = ToyResource(member: MemberID(1), members: Self.members)
      var effects = Effects()
      var negotiator = Negotiator(
        member: MemberID(1), members: Self.members, epoch: epoch, options: NegotiatorOptions(),
        seed: 1)
      negotiator.countAsNewcomer()
      negotiator.finishRecovery(at: .zero, &resource, &effects)
      negotiator.flush(stamp: .zero, at: .zero, &effects)
      negotiator.forced(Ticket(1), at: .zero, &resource, &effects)
      let beginning = negotiator.begin(
        Self.work(), age: Stamp(nanos: 5), deadline: .never, at: .zero, &resource, &effects)
      guard case .started(let id) = beginning else { return nil }
      return id.counter
    }
    #expect(first(former) == UInt64(former.agreed) << 48)
    #expect(first(own) == UInt64(own.agreed) << 48)
  }

  @Test func `Rule 9: after a restart counters go on above all that were ever given`() {
    let world = World(nodeCount: 2)
    var request = WorldNode.Request()
    var last: UInt64 = 0
    for round in 0..<40 {
      request.writes = [UInt8(round)]
      if case .started(let id) = world.begin(request, at: world.node(1)) {
        #expect(id.counter > last)
        last = id.counter
      }
      world.crash(world.node(1), keeping: 0)
      world.start(world.node(1))
      world.force(world.node(1))
    }
    #expect(last > 40)
  }

  // MARK: Messages

  @Test func `Rule 6: a commit rides with the next prepare, or leaves after a moment`() {
    let world = World(nodeCount: 2) { $0.decisionDelay = .micros(250) }
    let (one, two) = (world.node(1), world.node(2))
    func deliver() {
      let messages = world.network
      world.network = []
      for message in messages { world.deliver(message) }
    }
    func commit(_ key: UInt8) {
      var request = WorldNode.Request()
      request.writes = [key]
      world.begin(request, at: one)
      #expect(world.network.count == 1)
      deliver()
      world.force(one)
      world.force(two)
      deliver()
      #expect(world.network.isEmpty && one.negotiator.deadline <= one.now + .micros(250))
    }
    func isLocked(_ key: UInt8) -> Bool {
      withUnsafeBytes(of: key) { two.negotiator.isLocked($0) != nil }
    }
    commit(1)
    #expect(isLocked(1))
    commit(2)
    #expect(!isLocked(1) && isLocked(2))
    world.wake(one)
    #expect(world.network.count == 1)
    deliver()
    #expect(!isLocked(2) && world.violations.isEmpty)
  }

  /// Timers to send again and to ask stay behind: each would wake its member for nothing.
  @Test func `Nobody is woken for a transaction that is over`() {
    let world = World(nodeCount: 3) { $0.forgetPause = .seconds(100) }
    for key in 0..<20 {
      var request = WorldNode.Request()
      request.writes = [UInt8(key)]
      world.begin(request, at: world.node(1))
      #expect(world.node(1).negotiator.deadline <= world.node(1).now + .millis(250))
      for _ in 0..<5 {
        let messages = world.network
        world.network = []
        for message in messages { world.deliver(message) }
        for node in world.nodes { world.force(node) }
      }
    }
    #expect(world.network.isEmpty && world.violations.isEmpty)
    for node in world.nodes {
      #expect(node.negotiator.inDoubt.isEmpty)
      #expect(node.negotiator.deadline >= node.now + .seconds(100))
    }
  }

  // MARK: Resource

  @Test func `Rule 8: what a resource refuses at home is refused without a message`() {
    let world = World(nodeCount: 2)
    var request = WorldNode.Request()
    request.writes = [0]
    request.refusedBy = MemberSet([MemberID(1)])
    #expect(world.begin(request, at: world.node(1)) == .rejected(.invalid))
    #expect(world.network.isEmpty)
    #expect(world.node(1).negotiator.lockCount == 0)
  }

  @Test func `A locked name is known by mode and holder, and stands in the way at home`() {
    let world = World(nodeCount: 2)
    var request = WorldNode.Request()
    request.writes = [7]
    guard case .started(let id) = world.begin(request, at: world.node(1)) else {
      Issue.record("not started")
      return
    }
    withUnsafeBytes(of: UInt8(7)) { key in
      #expect(world.node(1).negotiator.isLocked(key) == .write)
      #expect(world.node(1).negotiator.holder(key) == id)
    }
    withUnsafeBytes(of: UInt8(8)) { #expect(world.node(1).negotiator.isLocked($0) == nil) }
    #expect(world.begin(request, at: world.node(1)) == .conflict)
  }

  /// One of another epoch may be that of an earlier process under the id.
  @Test func `Rule 7: a mark is heard in messages of the same epoch only`() {
    func isHeard(in epoch: UInt32) -> Bool {
      var resource = ToyResource(member: MemberID(1), members: Self.members)
      var effects = Effects()
      var options = NegotiatorOptions()
      options.forgetStep = 1
      var negotiator = Negotiator(
        member: MemberID(1), members: Self.members, epoch: Epoch(2), options: options, seed: 1)
      negotiator.finishRecovery(at: .zero, &resource, &effects)
      let before = resource.notes
      Self.empty(from: 2, epoch: epoch, mark: 100).withUnsafeBytes {
        negotiator.receive($0, from: MemberID(2), at: .zero, &resource, &effects)
      }
      return resource.notes != before
    }
    #expect((1...3).map(isHeard) == [false, true, false])
  }

  @Test func `Rule 7: with nothing open and the marks heard, nothing is remembered`() {
    let world = World(nodeCount: 3)
    var request = WorldNode.Request()
    for round in 0..<50 {
      request.writes = [UInt8(round)]
      world.begin(request, at: world.nodes[round % 3])
      world.comeToRest()
    }
    #expect(world.violations.isEmpty)
    for node in world.nodes {
      #expect(node.negotiator.knownCount <= 4)
      // The ceiling, a horizon for each of the others, and what is not yet below a mark.
      #expect(node.resource.notes.count <= 7)
    }
  }

  @Test func `A resource's no carries bytes to the coordinator`() {
    let world = World(nodeCount: 3)
    var request = WorldNode.Request()
    request.writes = [1]
    request.refusedBy = MemberSet([MemberID(2)])
    world.begin(request, at: world.node(1))
    world.comeToRest()
    #expect(world.details.first == [2] && Set(world.details) == [[2]])
  }

  // MARK: Epochs

  /// One that is ahead in anything says it again; only one that is behind must renew its attempt.
  @Test(arguments: [
    (Epoch(agreed: 1, forced: 0), true), (Epoch(agreed: 2, forced: 0), false),
    (Epoch(agreed: 1, forced: 2), false),
  ])
  func `Rule 10: a prepare is refused for its epoch only when that lacks something`(
    epoch: Epoch, isRefused: Bool
  ) {
    let world = World(nodeCount: 2)
    let two = world.node(2)
    var effects = Effects()
    two.negotiator.setMembers(
      Self.members, epoch: Epoch(agreed: 1, forced: 1), at: .zero, &two.resource, &effects)
    var request = WorldNode.Request()
    request.writes = [1]
    world.begin(request, at: world.node(1))
    var message = world.network.removeFirst()
    withUnsafeBytes(of: epoch.number.littleEndian) {
      message.bytes.replaceSubrange(4..<8, with: $0)
    }
    world.deliver(message)
    #expect(world.network.count == (isRefused ? 1 : 0))
    #expect(two.negotiator.knownCount == 0)
  }

  /// Three members; node 1's transaction is prepared durably at those of `members` and at itself.
  private static func prepared(at members: [Int]) -> World {
    let world = World(nodeCount: 3)
    var request = WorldNode.Request()
    request.writes = [1]
    world.begin(request, at: world.node(1))
    for message in world.network where members.contains(Int(message.to.number)) {
      world.deliver(message)
    }
    for node in world.nodes { world.force(node) }
    world.network = []
    return world
  }

  private static func remove(_ gone: UInt16, at node: WorldNode) -> [World.Message] {
    var effects = Effects()
    let members = node.members.subtracting(MemberSet([MemberID(gone)]))
    node.negotiator.setMembers(
      members, epoch: Epoch(agreed: 1, forced: 1), at: node.now, &node.resource, &effects)
    node.negotiator.flush(stamp: .zero, at: node.now, &effects)
    return effects.list.compactMap {
      guard case .send(let to, let range, _) = $0 else { return nil }
      return World.Message(from: node.member, to: to, bytes: Array(effects.bytes.bytes[range]))
    }
  }

  /// An answer leaves at the end of the turn, in which its sender may have heard the abort and of
  /// the removal: nobody may count it then.
  @Test func `Rule 10: what was to be said in the old epoch is not said in the new one`() {
    let world = Self.prepared(at: [2, 3])
    let (one, two, three) = (world.node(1), world.node(2), world.node(3))
    let id = two.negotiator.inDoubt[0].id
    let inquiries = Self.remove(1, at: three).filter { $0.to == two.member }
    #expect(!inquiries.isEmpty)
    var effects = Effects()
    one.negotiator.withdraw(id, at: one.now, &one.resource, &effects)
    world.endTurn(one)
    world.force(one)
    let aborts = world.network.filter { $0.to == two.member }
    #expect(!aborts.isEmpty)
    world.leavesTurnOpen = true
    for message in inquiries + aborts { world.deliver(message) }
    world.leavesTurnOpen = false
    #expect(two.negotiator.inDoubt.isEmpty)
    for message in Self.remove(1, at: two) where message.to == three.member {
      world.deliver(message)
    }
    #expect(three.negotiator.inDoubt.map(\.id) == [id])
  }

  @Test func `Rule 10: who was removed is no guest because somebody else names it`() throws {
    let world = Self.prepared(at: [3])
    let (two, three) = (world.node(2), world.node(3))
    for _ in 0..<40 where !world.network.contains(where: { $0.to == two.member }) {
      world.wake(three)
      world.force(three)
    }
    let inquiry = try #require(world.network.first { $0.to == two.member })
    _ = Self.remove(1, at: two)
    world.deliver(inquiry)
    #expect(two.negotiator.knownCount == 1)
    let before = two.negotiator.counters.strangers
    world.deliver(World.Message(from: MemberID(1), to: two.member, bytes: Self.empty(from: 1)))
    #expect(two.negotiator.counters.strangers == before + 1)
  }

  /// A message without items.
  private static func empty(from sender: UInt8, epoch: UInt32 = 1, mark: UInt64 = 0) -> [UInt8] {
    var message = ByteBuffer()
    for byte in [1, 0, sender, 0] { message.append(byte) }
    message.append(little: epoch)
    for word in [5, mark] { message.append(little: word) }
    return Array(message.bytes)
  }

  // MARK: Foreign bytes

  @Test func `Rule 7: no mark is too great`() {
    let world = World(nodeCount: 2) { $0.forgetStep = 64 }
    for mark in [UInt64.max - 1, .max, 7] {
      let bytes = Self.empty(from: 2, mark: mark)
      world.deliver(World.Message(from: MemberID(2), to: MemberID(1), bytes: bytes))
    }
    #expect(world.violations.isEmpty && world.node(1).negotiator.counters.messagesReceived == 3)
  }

  @Test func `Damaged messages are dropped and counted, and change nothing else`() {
    let world = World(nodeCount: 2)
    var request = WorldNode.Request()
    request.writes = [1, 2]
    request.operation = OperationID(high: 1, low: 1)
    world.begin(request, at: world.node(1))
    guard let message = world.network.first else {
      Issue.record("no message")
      return
    }
    var chance = Random(seed: 3)
    for round in 0..<4_000 {
      var bytes = message.bytes
      if round % 2 == 0 {
        bytes.removeLast(chance.within(1...bytes.count))
      } else {
        for _ in 0...chance.below(3) { bytes[chance.below(bytes.count)] = UInt8(chance.below(256)) }
      }
      // Only that it does not trap; a changed byte may make another message that is well formed.
      let copy = World(copying: world)
      copy.deliver(World.Message(from: message.from, to: message.to, bytes: bytes))
      if round % 2 == 0, bytes.count != 24 {
        #expect(copy.node(2).negotiator.counters.malformed == 1)
        #expect(copy.node(2).negotiator.lockCount == 0)
      }
    }
  }

  @Test func `A message from somebody who is no member is dropped`() {
    let world = World(nodeCount: 2)
    var request = WorldNode.Request()
    request.writes = [1]
    world.begin(request, at: world.node(1))
    let bytes = world.network[0].bytes
    var effects = Effects()
    bytes.withUnsafeBytes {
      world.node(2).negotiator.receive(
        $0, from: MemberID(9), at: .zero, &world.node(2).resource, &effects)
    }
    #expect(world.node(2).negotiator.counters.malformed == 1)
    #expect(world.node(2).negotiator.knownCount == 0)
  }

  @Test func `Names of a work are sorted and unique, in the stronger mode`() {
    var builder = WorkBuilder()
    for key in ["b", "a", "b", "longer than eight bytes", "longer than eight", "a"] {
      var key = key
      key.withUTF8 { builder.add(key: UnsafeRawBufferPointer($0), $0.count == 1 ? .read : .write) }
    }
    var again = "b"
    again.withUTF8 { builder.add(key: UnsafeRawBufferPointer($0), .write) }
    builder.body.append(string: "body")
    let work = builder.finish()
    #expect(work?.nameCount == 4)
    #expect(work?.withBody { $0.elementsEqual("body".utf8) } == true)
  }
}
