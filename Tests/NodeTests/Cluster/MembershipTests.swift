import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// The list of members as data, and its changes in a cluster of nodes.
@Suite struct MembershipTests {
  private func membership(_ text: String = "1=a:1,2=b:2,3=c:3") throws -> Membership {
    Membership(clusterID: 7, list: try MemberList(text))
  }

  private func decoded(_ membership: Membership) -> Membership? {
    var bytes = ByteBuffer()
    membership.encode(into: &bytes)
    return Membership(bytes.bytes)
  }

  // MARK: The list

  @Test func `What is encoded is read again, whatever was done to it`() throws {
    var list = try membership()
    #expect(decoded(list) == list)
    list.remove(MemberID(3))
    #expect(decoded(list) == list && list.epoch.description == "1.1")
    list.apply(.add(try MemberList("4=d:4").entries[0]), begunIn: list.epoch)
    #expect(decoded(list) == list && list.epoch.description == "2.1")
    #expect(list.list.text == "1=a:1,2=b:2,4=d:4" && list.removals.isEmpty)
  }

  /// A member that prepared the change and was away since has seen `base`, and learns the rest.
  @Test func `A removal while a change is in doubt is still told after it`() throws {
    var (one, other) = (try membership(), try membership())
    one.remove(MemberID(3))
    one.apply(.add(try MemberList("4=d:4").entries[0]), begunIn: Epoch(1))
    #expect(one.removals == [MemberID(3)] && one.removals(from: 1) == [MemberID(3)])
    #expect(one.base == Epoch(1) && one.agrees(with: other))
    other.apply(.add(try MemberList("4=d:4").entries[0]), begunIn: Epoch(1))
    other.remove(MemberID(3))
    #expect(one == other)
    one.apply(.remove(MemberID(4)), begunIn: one.epoch)
    #expect(one.removals.isEmpty && one.base == Epoch(agreed: 2, forced: 1))
  }

  @Test func `Bytes that are cut or damaged are no list`() throws {
    var list = try membership()
    list.remove(MemberID(2))
    var bytes = ByteBuffer()
    list.encode(into: &bytes)
    let whole = Array(bytes.bytes)
    // The text may end after a whole entry.
    for count in 0..<(whole.count - 4) {
      let isList = whole[..<count].withUnsafeBytes { Membership($0) } != nil
      #expect(!isList || count > 20, "\(count) bytes")
    }
    var other = whole
    other[0] = 9
    #expect(other.withUnsafeBytes { Membership($0) } == nil)
    other = whole
    other[13] = 65
    #expect(other.withUnsafeBytes { Membership($0) } == nil)
  }

  @Test func `A change in doubt over a removal by force ends equal in either order`() throws {
    let changes: [MembershipChange] = [
      .add(try MemberList("4=d:4").entries[0]), .remove(MemberID(2)), .remove(MemberID(3)),
    ]
    for change in changes {
      for gone in [MemberID(3), MemberID(4)] {
        var one = try membership()
        one.apply(change, begunIn: Epoch(1))
        one.remove(gone)
        var other = try membership()
        other.remove(gone)
        other.apply(change, begunIn: Epoch(1))
        #expect(one.list == other.list && one.epoch == other.epoch, "\(change), \(gone)")
      }
    }
  }

  @Test func `The only survivor of removals by force stays`() throws {
    var list = try membership("1=a:1,2=b:2")
    list.remove(MemberID(1))
    list.apply(.remove(MemberID(2)), begunIn: list.epoch)
    #expect(list.list.text == "2=b:2")
  }

  @Test func `An id that was removed by force joins again`() throws {
    let newcomer = try MemberList("3=d:4").entries[0]
    var list = try membership()
    list.remove(MemberID(3))
    list.remove(MemberID(2))
    list.apply(.add(newcomer), begunIn: list.epoch)
    #expect(list.list.text == "1=a:1,3=d:4" && list.epoch.description == "2.2")
    // Removed once more while its change was in doubt.
    var other = try membership()
    other.remove(MemberID(3))
    let base = other.epoch
    other.remove(MemberID(3))
    other.apply(.add(newcomer), begunIn: base)
    #expect(other.list.text == "1=a:1,2=b:2")
  }

  @Test func `A change that was told before its decision is not made twice`() throws {
    var list = try membership()
    list.apply(.remove(MemberID(3)), begunIn: Epoch(1))
    list.apply(.remove(MemberID(3)), begunIn: Epoch(1))
    #expect(list.epoch == Epoch(2))
  }

  @Test func `Objections name what is wrong`() throws {
    let list = try membership()
    #expect(list.objection(to: .remove(MemberID(9))) == "9 is no member (1=a:1,2=b:2,3=c:3)")
    let known = try MemberList("3=x:9").entries[0]
    #expect(list.objection(to: .add(known)) == "member 3 is a member already")
    let taken = try MemberList("9=c:3").entries[0]
    #expect(list.objection(to: .add(taken)) == "member 3 has the address c:3")
    #expect(
      try membership("1=a:1").objection(toRemoving: MemberID(1)) == "member 1 is the only one")
  }

  @Test func `As many removals by force are noted as can be read again`() throws {
    var list = try membership()
    var count = 0
    while list.takesRemoval {
      list.remove(MemberID(9))
      count += 1
    }
    #expect(count == 64 && decoded(list) == list)
    list.remove(MemberID(9))
    #expect(decoded(list) == nil)
    list.apply(.remove(MemberID(3)), begunIn: list.epoch)
    #expect(list.takesRemoval && decoded(list) == list)
  }

  @Test func `Who was away learns the removals that it has missed, or that they are too old`()
    throws
  {
    var list = try membership("1=a:1,2=b:2,3=c:3,4=d:4")
    list.remove(MemberID(3))
    list.remove(MemberID(4))
    #expect(list.removals(from: 1) == [MemberID(3), MemberID(4)])
    #expect(list.removals(from: 2) == [MemberID(4)])
    #expect(list.removals(from: 3) == [])
    list.apply(.remove(MemberID(2)), begunIn: list.epoch)
    #expect(list.removals(from: 2) == nil)
  }

  @Test func `The id of one that was removed by force joins again`() throws {
    var list = try membership()
    list.remove(MemberID(3))
    let again = MembershipChange.add(try MemberList("3=c:3").entries[0])
    #expect(list.objection(to: again) == nil)
    list.apply(again, begunIn: list.epoch)
    #expect(list.list.text == "1=a:1,2=b:2,3=c:3" && list.epoch.description == "2.1")
  }

  @Test func `Lists are of one history when they differ by later removals and one change`() throws {
    let first = try membership("1=a:1,2=b:2,3=c:3,4=d:4")
    var (three, four) = (first, first)
    three.remove(MemberID(3))
    four.remove(MemberID(4))
    #expect(three.agrees(with: first) && !three.agrees(with: four))
    var both = three
    both.remove(MemberID(4))
    #expect(both.agrees(with: three) && !both.agrees(with: four))
    four.remove(MemberID(3))
    #expect(both.agrees(with: four) && four.agrees(with: both))
    var changed = three
    changed.apply(.remove(MemberID(2)), begunIn: changed.epoch)
    #expect(changed.agrees(with: three))
    changed.remove(MemberID(4))
    #expect(changed.agrees(with: three))
  }

  // MARK: Changes

  @Test func `A member is removed by a transaction of all, which it takes part in`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    #expect(cluster.ask(1, client, "SET a 1") == "+OK")
    let reply = cluster.ask(1, client, "MEMBERS REMOVE 3")
    #expect(reply.contains("member 3 is removed: epoch 2, members 1=member:1,2=member:2"))
    cluster.settle()
    for number in 1...2 {
      let state = cluster[number].bench.host.node.cluster!.pointee.state
      #expect(state.present.epoch == Epoch(2) && state.pending == nil && !state.isOutside)
    }
    // Over a link it is told the list, with which it finds itself outside.
    let state = cluster[3].bench.host.node.cluster!.pointee.state
    #expect(state.pending != nil)
    list(cluster[1].bench.host.node.cluster!.pointee.state.present).withUnsafeBytes {
      cluster[3].bench.host.node.receiveList($0, from: MemberID(1))
    }
    #expect(state.isOutside)
    #expect(cluster.ask(2, cluster.connect(2), "SET b 2") == "+OK")
    #expect(cluster.ask(1, client, "MGET a b") == "*2;$1;1;$1;2")
    #expect(cluster[3].bench.host.node.control.stopRequested)
  }

  @Test func `A removal waits for what is under way, and goes before what comes after it`() {
    let cluster = ClusterBench()
    let (one, two) = (cluster.connect(1), cluster.connect(2))
    cluster.drops = { _, to in to == 3 }
    cluster.put(2, two, "SET a 1\r\n")
    cluster.put(1, one, "MEMBERS REMOVE 3\r\n")
    #expect(cluster.take(1, one) == "")
    cluster.drops = { _, _ in false }
    cluster.settle()
    for _ in 0..<40 { cluster.advance(millis: 50) }
    #expect(cluster.take(2, two) == "+OK")
    #expect(cluster.take(1, one).contains("member 3 is removed"))
    #expect(cluster[2].bench.host.node.cluster!.pointee.state.present.epoch == Epoch(2))
  }

  /// While a removal waits for its turn, what has begun here before it may still be tried again.
  @Test func `A removal that waits refuses nothing that lost a conflict here`() {
    let cluster = ClusterBench()
    let (one, two) = ((0..<3).map { _ in cluster.connect(1) }, cluster.connect(2))
    cluster.drops = { from, to in from == 2 && to == 1 }
    cluster.put(2, two, "SET a 2\r\n")
    cluster.advance(millis: 1)
    cluster.put(1, one[0], "SET b 1\r\n")
    cluster.advance(millis: 1)
    cluster.drops = { from, to in to == 1 }
    cluster.put(1, one[1], "SET a 1\r\n")
    cluster.put(1, one[2], "MEMBERS REMOVE 3\r\n")
    cluster.drops = { from, to in from == 2 && to == 1 }
    for _ in 0..<80 { cluster.advance(millis: 10) }
    #expect(cluster[1].bench.host.node.cluster!.pointee.counters.conflicts > 0)
    cluster.drops = { _, _ in false }
    for _ in 0..<40 { cluster.advance(millis: 50) }
    #expect(cluster.take(2, two) == "+OK")
    #expect(cluster.take(1, one[0]) == "+OK")
    #expect(cluster.take(1, one[1]) == "+OK")
    #expect(cluster.take(1, one[2]).contains("member 3 is removed"))
  }

  @Test func `A member that does not answer is not removed by agreement`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    cluster[3].isCut = true
    cluster.put(1, client, "MEMBERS REMOVE 3\r\n")
    for _ in 0..<70 { cluster.advance(millis: 100) }
    #expect(cluster.take(1, client).hasPrefix("-ABORTED not all members have prepared in time"))
    cluster[3].isCut = false
    for _ in 0..<40 { cluster.advance(millis: 100) }
    #expect(cluster[3].bench.host.node.cluster!.pointee.state.present.epoch == Epoch(1))
    #expect(cluster.ask(1, client, "SET a 1") == "+OK")
  }

  @Test func `A removal by force concludes what is in doubt, as if the removed had prepared`() {
    let cluster = ClusterBench()
    let (one, two) = (cluster.connect(1), cluster.connect(2))
    // Member 3 coordinates, all prepare, and nobody hears its decision.
    let three = cluster.connect(3)
    cluster.drops = { from, _ in from == 1 || from == 2 }
    cluster.put(3, three, "SET a 1\r\n")
    cluster.drops = { _, _ in false }
    cluster[3].isCut = true
    #expect(cluster.ask(1, one, "MEMBERS REMOVE 3 FORCE").contains("epoch 1.1"))
    #expect(cluster.ask(2, two, "MEMBERS REMOVE 3 FORCE").contains("epoch 1.1"))
    for _ in 0..<40 { cluster.advance(millis: 100) }
    #expect(cluster.ask(1, one, "GET a") == "$1;1")
    #expect(cluster.ask(2, two, "GET a") == "$1;1")
    #expect(cluster.ask(2, two, "SET a 2") == "+OK")
  }

  @Test func `MEMBERS refuses what makes no sense`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    #expect(
      cluster.ask(1, client, "MEMBERS REMOVE 1").hasPrefix("-ERR a member cannot remove itself"))
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 9").hasPrefix("-ERR 9 is no member"))
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 65").hasPrefix("-ERR a member's id is"))
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 2 NOW").hasPrefix("-ERR syntax"))
    #expect(cluster.ask(1, client, "MEMBERS").contains("$2;id;$1;1;$7;address;$8;member:1"))
    var alone = NodeBench()
    let link = alone.connect()
    #expect(alone.ask("MEMBERS", on: link).hasPrefix("-ERR a node alone has no members"))
  }

  // MARK: Lists of others

  private func list(_ membership: Membership) -> [UInt8] {
    var bytes = ByteBuffer()
    membership.encode(into: &bytes)
    return Array(bytes.bytes)
  }

  @Test func `A list with removals that were missed is adopted, another one of the epoch is not`() {
    let cluster = ClusterBench(count: 4)
    var theirs = cluster[1].bench.host.node.cluster!.pointee.state.present
    theirs.remove(MemberID(3))
    list(theirs).withUnsafeBytes {
      cluster[2].bench.host.node.receiveList($0, from: MemberID(1))
    }
    let state = cluster[2].bench.host.node.cluster!.pointee.state
    #expect(state.present == theirs && state.alarm == nil)
    var other = cluster[1].bench.host.node.cluster!.pointee.state.present
    other.remove(MemberID(4))
    list(other).withUnsafeBytes {
      cluster[2].bench.host.node.receiveList($0, from: MemberID(1))
    }
    #expect(state.present == theirs)
    #expect(state.alarm?.text.hasPrefix("member 1 has another list in epoch 1.1") == true)
  }

  @Test func `Who has missed a change that needed it was removed, though its id is in use again`()
    throws
  {
    let cluster = ClusterBench()
    let state = cluster[3].bench.host.node.cluster!.pointee.state
    var theirs = state.present
    theirs.apply(.remove(MemberID(2)), begunIn: theirs.epoch)
    // One that it has prepared it may yet hear of.
    #expect(state.missesChange(to: theirs))
    let pending = PendingChange(
      id: TransactionID(age: Stamp(nanos: 1), node: MemberID(1), counter: 1),
      proposed: ProposedChange(.remove(MemberID(2)), of: state.present))
    state.prepared(pending)
    #expect(!state.missesChange(to: theirs) && !state.missesChange(to: state.present))
    // Removed by force while that change was in doubt, and its id given away.
    var other = state.present
    other.remove(MemberID(3))
    other.apply(.add(try MemberList("3=elsewhere:3").entries[0]), begunIn: other.epoch)
    #expect(state.missesChange(to: other))
    theirs.apply(.remove(MemberID(3)), begunIn: theirs.epoch)
    theirs.apply(.add(try MemberList("3=elsewhere:3").entries[0]), begunIn: theirs.epoch)
    list(theirs).withUnsafeBytes {
      cluster[3].bench.host.node.receiveList($0, from: MemberID(1))
    }
    #expect(state.isRemoved && state.present.list.text == "1=member:1")
    // The other one of its id says the list's epoch.
    #expect(state.saidEpoch == Epoch(1))
    cluster.run()
    #expect(cluster[3].bench.host.node.control.stopRequested)
  }

  @Test func `Who was to join has missed the change in which another process got its id`() throws {
    let before = Membership(clusterID: 7, list: try MemberList("1=a:1,2=b:2"))
    let own = MembershipChange.add(try MemberList("3=c:3").entries[0])
    let state = MembershipState(MembershipNote(ownID: MemberID(3), membership: before))
    state.recover(
      PendingChange(
        id: TransactionID(age: Stamp(nanos: 1), node: MemberID(1), counter: 1),
        proposed: ProposedChange(own, of: before)))
    for (change, misses) in [
      (own, false), (.add(try MemberList("3=d:4").entries[0]), true),
      (.add(try MemberList("4=d:4").entries[0]), true), (.remove(MemberID(2)), true),
    ] {
      var theirs = before
      theirs.apply(change, begunIn: before.epoch)
      #expect(state.missesChange(to: theirs) == misses, "\(change)")
    }
  }

  @Test func `Two operators' lists are told apart until each has done what the other one did`() {
    let cluster = ClusterBench(count: 4)
    let state = cluster[2].bench.host.node.cluster!.pointee.state
    var theirs = state.present
    func tell() {
      list(theirs).withUnsafeBytes {
        cluster[2].bench.host.node.receiveList($0, from: MemberID(1))
      }
    }
    cluster[4].isCut = true
    theirs.remove(MemberID(3))
    let own = cluster.ask(2, cluster.connect(2), "MEMBERS REMOVE 4 FORCE")
    #expect(own.contains("epoch 1.1") && own.contains("not known yet to 1, 3"))
    tell()
    #expect(state.alarm?.member == MemberID(1))
    // Not adopted, which would be the removal of 4 once more.
    theirs.remove(MemberID(4))
    tell()
    #expect(state.present.epoch.description == "1.1" && state.alarm != nil)
    #expect(cluster.ask(2, cluster.connect(2), "MEMBERS REMOVE 3 FORCE").contains("epoch 1.2"))
    tell()
    #expect(state.alarm == nil && state.present.list == theirs.list)
  }

  @Test func `A removal by force that is asked for again is done already`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    let said = cluster.ask(1, client, "MEMBERS REMOVE 3 FORCE")
    #expect(said.contains("removed by force: epoch 1.1, members 1=member:1,2=member:2; not known"))
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 3 FORCE") == said)
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 3").hasPrefix("-ERR 3 is no member"))
  }

  /// A restart asks the guest for its word as long as it may give it, and not after that.
  @Test func `The guest of a change in doubt is one until it is removed by force`() throws {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    let state = cluster[1].bench.host.node.cluster!.pointee.state
    _ = cluster.ask(1, client, "MEMBERS REMOVE 3 FORCE")
    // It joins again, and dies when it has voted.
    let again = MembershipChange.add(try MemberList("3=c:3").entries[0])
    state.recover(
      PendingChange(
        id: TransactionID(age: Stamp(nanos: 1), node: MemberID(2), counter: 1),
        proposed: ProposedChange(again, of: state.present)))
    #expect(state.guest?.id == MemberID(3) && state.parties.count == 3)
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 3 FORCE").contains("epoch 1.2"))
    #expect(state.guest == nil && state.parties.count == 2)
    #expect(cluster.ask(1, client, "MEMBERS REMOVE 3 FORCE").contains("epoch 1.2"))
  }

  @Test func `Who is told that it was removed by force stops`() {
    let cluster = ClusterBench()
    var theirs = cluster[1].bench.host.node.cluster!.pointee.state.present
    theirs.remove(MemberID(3))
    list(theirs).withUnsafeBytes {
      cluster[3].bench.host.node.receiveList($0, from: MemberID(1))
    }
    #expect(cluster[3].bench.host.node.cluster!.pointee.state.isOutside)
    cluster.run()
    // There are no links that it would have to wait for.
    #expect(cluster[3].bench.host.node.control.stopRequested)
  }
}
