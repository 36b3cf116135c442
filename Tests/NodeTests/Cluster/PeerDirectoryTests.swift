import Base
import NetKit
import TPC
import Testing

@testable import Node

/// Who comes under a member's id with another data directory, or beside it (rule 10).
@Suite struct PeerDirectoryTests {
  private static func list(_ ids: ClosedRange<UInt16>) -> [Member] {
    ids.map { Member(id: MemberID($0), address: "m\($0):7000", endpoint: peerEndpoint($0)) }
  }

  private static func set(
    _ members: [Member], guests: MemberSet = MemberSet(), epoch: Epoch, _ world: PeerWorld,
    at index: Int
  ) {
    world.nodes[index].peers.setMembers(
      members, guests: guests, epoch: epoch, at: world.moment(of: world.nodes[index]),
      into: &world.nodes[index].effects)
  }

  @Test func `Members remember each other's directories`() {
    let world = PeerWorld(count: 3)
    world.run(millis: 20)
    #expect(
      world.nodes[0].peers.directories == [MemberID(2): 1_002, MemberID(3): 1_003])
    #expect(
      world.nodes[2].peers.directories == [MemberID(1): 1_001, MemberID(2): 1_002])
  }

  @Test(arguments: 0...2)
  func aMemberThatHasLostItsDirectoryIsRefused(lost: Int) {
    let world = PeerWorld(count: 3)
    world.run(millis: 20)
    world.kill(lost)
    world.run(millis: 1_000)
    let id = UInt16(lost + 1)
    world.restart(lost, peerOptions(id, of: 3, run: 2), directory: 77)
    world.run(millis: 20_000)
    #expect(world.nodes[lost].story == ["+1", "+2", "+3"].filter { $0 != "+\(id)" })
    for index in 0...2 where index != lost {
      #expect(world.nodes[index].story.last == "-\(id)")
      #expect(world.nodes[index].peers.directories[MemberID(id)] == 1_000 + UInt64(id))
    }
    #expect(world.nodes[lost].log.contains { $0.contains("refused this one: its data directory") })
    // Once is enough.
    let other = lost == 0 ? 1 : 0
    let refusals = world.nodes[other].log.filter {
      $0.contains("its data directory is not the one")
    }
    #expect(refusals.count == 1)
    // With the old one it is the member again.
    world.kill(lost)
    world.restart(lost, peerOptions(id, of: 3, run: 3), directory: 1_000 + UInt64(id))
    world.run(millis: 5_000)
    #expect(world.isWhole)
  }

  @Test func `Over a restart of all a lost directory is still noticed`() {
    let world = PeerWorld(count: 3)
    world.run(millis: 20)
    for index in 0...2 { world.kill(index) }
    for id in 1...UInt16(3) {
      world.restart(
        Int(id) - 1, peerOptions(id, of: 3, run: 2), directory: id == 2 ? 77 : nil)
    }
    world.run(millis: 20_000)
    #expect(world.nodes[0].story.filter { $0 == "+2" }.count == 1)
    #expect(!world.nodes[0].peers.others[0].isReachable)
    #expect(!world.nodes[2].peers.others[1].isReachable)
  }

  @Test func `A new member of an id that was removed has a directory of its own`() {
    let world = PeerWorld(count: 3)
    world.run(millis: 20)
    world.kill(2)
    world.run(millis: 100)
    let removed = Epoch(agreed: 1, forced: 1)
    for index in 0...1 { Self.set(Self.list(1...2), epoch: removed, world, at: index) }
    #expect(world.nodes[0].peers.directories == [MemberID(2): 1_002])
    for index in 0...1 {
      let guests = MemberSet([MemberID(3)])
      Self.set(Self.list(1...3), guests: guests, epoch: removed, world, at: index)
    }
    world.restart(2, peerOptions(3, of: 3, run: 2), guestAt: "m3:7000", directory: 77)
    world.run(millis: 2_000)
    #expect(world.nodes[0].peers.directories == [MemberID(2): 1_002])
    let joined = Epoch(agreed: 2, forced: 1)
    for index in 0...2 { Self.set(Self.list(1...3), epoch: joined, world, at: index) }
    world.run(millis: 2_000)
    #expect(world.nodes[0].peers.directories == [MemberID(2): 1_002, MemberID(3): 77])
    #expect(world.nodes[1].peers.directories == [MemberID(1): 1_001, MemberID(3): 77])
    #expect(world.isWhole)
  }

  @Test func `Who was removed by agreement says the epoch in which it was a member`() throws {
    let before = Membership(clusterID: 7, list: try MemberList("1=a:1,2=b:2,3=c:3"))
    let state = MembershipState(MembershipNote(ownID: MemberID(3), membership: before))
    let id = TransactionID(age: Stamp(nanos: 1), node: MemberID(1), counter: 1)
    state.recover(
      PendingChange(id: id, proposed: ProposedChange(.remove(MemberID(3)), of: before)))
    state.settled(id, committed: state.noteAfterCommit(of: id))
    #expect(state.isRemoved && state.present.epoch == Epoch(2))
    // Its id may be given again by the next change.
    #expect(state.saidEpoch == Epoch(1))
  }

  @Test func `A second process of a member is refused while the first one talks`() {
    let world = PeerWorld(count: 2)
    world.run(millis: 5_000)
    let first = world.nodes[1].peers.others[0].greeting?.incarnation
    // Another process with a copy of its directory calls member 2.
    let twin = PeerWorld.Node(peerOptions(1, of: 2, run: 9), directory: 1_001)
    world.nodes.append(twin)
    twin.peers.start(at: world.moment(of: twin))
    world.run(millis: 20_000)
    #expect(world.nodes[1].story == ["+1"])
    #expect(world.nodes[1].peers.others[0].greeting?.incarnation == first)
    #expect(!twin.peers.others[0].isReachable)
    #expect(twin.log.contains { $0.hasSuffix("another process of this member is there") })
    // It takes over when the first one is gone.
    world.nodes[0].isStopped = true
    world.run(millis: 3_000)
    #expect(twin.peers.others[0].isReachable)
  }

  @Test func `A member that is restarted at once is heard, and nobody complains`() {
    let world = PeerWorld(count: 2)
    world.run(millis: 5_000)
    // Over UDP nothing tells that a process has died.
    world.nodes[0].isUp = false
    world.restart(0, peerOptions(1, of: 2, run: 2))
    world.run(millis: 2_000)
    #expect(world.isWhole)
    #expect(!world.nodes.contains { $0.log.contains { $0.contains("another process") } })
  }
}
