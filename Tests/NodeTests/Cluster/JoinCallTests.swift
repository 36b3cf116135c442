import Base
import NetKit
import TPC
import Testing

@testable import Node

/// The first words between a joiner and a member, over a link that may lose and repeat them.
struct JoinCallTests {
  @Test func aJoinerWithTheSecretBecomesTheGuest() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    let welcome = try #require(world.welcome)
    #expect(welcome.id == MemberID(4) && welcome.donor == MemberID(2))
    #expect(welcome.clusterID == 77 && welcome.stamp == Stamp(nanos: 99))
    #expect(welcome.endpoint == peerEndpoint(2))
    #expect(world.guest == MemberID(4) && world.guests == [MemberID(4)])
    #expect(world.roles == [.member, .member, .guest] && world.reachableCount == 1)
    #expect(world.log == ["member 4 (j4:7000) asks to join"])
    // It is called like a member from now on.
    #expect(world.calls.contains(MemberID(4)))
  }

  @Test(arguments: 1...30 as ClosedRange<UInt64>)
  func lossAndRepetitionDoNoHarm(seed: UInt64) throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), seed: seed)
    world.lost = 30
    world.repeated = 30
    world.run(millis: 30_000)
    #expect(world.welcome?.id == MemberID(4))
    #expect(world.guest == MemberID(4))
  }

  @Test(
    arguments: [
      (
        "other", "open sesame",
        "refuses to let this process join: its cluster secret is another one"
      ),
      (nil, "open sesame", "it has no cluster secret, this cluster has one"),
      ("open sesame", nil, "it has a cluster secret, this cluster has none"),
    ] as [(String?, String?, String)])
  func secretsMustBeTheSame(ours: String?, theirs: String?, phrase: String) {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3, secret: theirs), secret: ours)
    world.run(millis: 5_000)
    #expect(world.welcome == nil && world.guests.isEmpty)
    let refusal = world.refusal ?? ""
    // Who has none is told so, or finds out by the answer.
    #expect(refusal.hasSuffix(phrase), "\(refusal)")
    #expect(world.log.count <= 1)
  }

  @Test func theIdsAndAddressesOfMembersAreRefused() {
    for id in 1...3 {
      let world = JoinCallWorld(member: peerOptions(2, of: 3), id: MemberID(UInt16(id)))
      world.run(millis: 5_000)
      #expect(world.refusal?.hasSuffix("leave it out to get a free one") == true)
      #expect(world.guests.isEmpty)
    }
    for address in ["m1:7000", "m2:7000"] {
      let world = JoinCallWorld(member: peerOptions(2, of: 3), address: address)
      world.run(millis: 5_000)
      #expect(world.refusal?.hasSuffix("a member has its address (--advertise)") == true)
    }
    let world = JoinCallWorld(member: peerOptions(2, of: 3), address: "nowhere")
    world.run(millis: 5_000)
    #expect(world.refusal?.hasSuffix("its address (--advertise) is not HOST:PORT") == true)
  }

  @Test func anIdMayBeAskedFor() {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), id: MemberID(40))
    world.run(millis: 50)
    #expect(world.welcome?.id == MemberID(40) && world.guest == MemberID(40))
  }

  @Test func theIdOfAnUnfinishedJoinIsAskedForAgainUnlessItIsTaken() {
    var world = JoinCallWorld(member: peerOptions(2, of: 3), former: MemberID(40))
    world.run(millis: 50)
    #expect(world.welcome?.id == MemberID(40))
    world = JoinCallWorld(member: peerOptions(2, of: 3), former: MemberID(3))
    world.run(millis: 5_000)
    #expect(world.welcome?.id == MemberID(4) && world.refusal == nil)
  }

  /// Its id was a member's that is removed by force; the member that it asks hears of it only when
  /// it votes for the change that makes this one a member under that id.
  @Test(arguments: ["m3:7000", "j4:7000"])
  func theGuestOfAChangeInDoubtComesBackUnderItsId(address: String) throws {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3), address: address, clusterID: 77, former: MemberID(3))
    world.run(millis: 60)
    #expect(world.welcome == nil)
    #expect(world.joinerLog.contains { $0.contains("its --id is that of a member") })
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=\(address)"), guests: MemberSet([MemberID(3)]))
    world.run(millis: 10_000)
    #expect(world.welcome?.id == MemberID(3) && world.refusal == nil)
  }

  /// What it was told to be is a member's for good.
  @Test(arguments: ["m3:7000", "j4:7000"])
  func anUnfinishedJoinEndsWhereItsIdOrAddressStaysTaken(address: String) throws {
    let id = address == "j4:7000" ? MemberID(3) : nil
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3), id: id, address: address, clusterID: 77, former: MemberID(3))
    world.run(millis: 20_000)
    #expect(world.refusal == nil)
    world.run(millis: 100_000)
    #expect(world.refusal?.contains("refuses to let this process join") == true)
    #expect(world.welcome == nil)
  }

  @Test func aGuestWhoseIdAnotherOneHasIsNoGuestAnyMore() throws {
    let members = "1=m1:7000,2=m2:7000,3=m3:7000"
    var world = JoinCallWorld(member: peerOptions(2, of: 3), address: "J4:7000")
    world.run(millis: 50)
    // Its address is written as in lists.
    world.follow(try MemberList(members + ",4=j4:7000"))
    #expect(world.roles == [.member, .member, .member])
    #expect(world.addressOfFour == "j4:7000" && world.guest == nil)
    world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    #expect(world.guest == MemberID(4))
    world.follow(try MemberList(members + ",4=j5:7000"))
    #expect(world.addressOfFour == "j5:7000" && world.guest == nil)
  }

  @Test func oneJoinsAtATime() {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    // Another one waits as long as the first is there.
    world.call("j9:7000")
    world.run(millis: 1_000)
    #expect(world.welcome == nil && world.refusal == nil)
    #expect(world.joinerLog.contains { $0.hasSuffix("another one is joining there; asking again") })
    // The first one comes back at once, with the same id.
    world.call("j4:7000")
    world.run(millis: 50)
    #expect(world.welcome?.id == MemberID(4) && world.guests.count == 2)
    // Who was silent for long gives way.
    world.run(millis: 11_000)
    world.call("j9:7000")
    world.run(millis: 5_000)
    #expect(world.welcome?.id == MemberID(4) && world.guests.count == 3)
  }

  @Test func anUnfinishedJoinGoesOnInItsClusterOnly() {
    var world = JoinCallWorld(member: peerOptions(2, of: 3), clusterID: 78)
    world.run(millis: 1_000)
    #expect(world.refusal?.contains("it belongs to another cluster") == true)
    world = JoinCallWorld(member: peerOptions(2, of: 3), clusterID: 77)
    world.run(millis: 1_000)
    #expect(world.welcome != nil)
  }

  @Test(arguments: [0, 77] as [UInt64], ["j4:7000", "j5:7000"])
  func onlyTheGuestOfAChangeInDoubtSpeaksForIt(clusterID: UInt64, address: String) throws {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3), id: MemberID(4), address: address, clusterID: clusterID)
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=m3:7000,4=j4:7000"), guests: MemberSet([MemberID(4)]))
    world.run(millis: 5_000)
    let isItself = clusterID == 77 && address == "j4:7000"
    #expect((world.welcome != nil) == isItself && world.refusal == nil)
  }

  /// Who proposed the change alone may begin its copy again.
  @Test(arguments: [false, true])
  func theGuestOfAnotherMembersChangeIsNotThisOnes(isOthers: Bool) throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=m3:7000,4=j4:7000"), guests: MemberSet([MemberID(4)]),
      losesGuest: isOthers)
    #expect(world.guest == (isOthers ? nil : MemberID(4)))
    #expect(world.roles == [.member, .member, .guest])
  }

  /// The guest of a change in doubt comes back, when its member has restarted: its place is free.
  @Test func nobodyTakesThePlaceOfTheGuestOfAChangeInDoubt() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), address: "j5:7000")
    let list = "1=m1:7000,2=m2:7000,3=m3:7000"
    world.follow(try MemberList(list + ",4=j4:7000"), guests: MemberSet([MemberID(4)]))
    world.run(millis: 1_000)
    #expect(world.welcome == nil && world.refusal == nil)
    #expect(world.joinerLog.contains { $0.hasSuffix("another one is joining there; asking again") })
    world.follow(try MemberList(list))
    world.run(millis: 5_000)
    #expect(world.welcome != nil)
  }

  /// The change in doubt waits for its word, and the change of who is there for that one.
  @Test func theGuestOfAChangeInDoubtTakesThePlaceOfAnotherOne() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), clusterID: 77)
    world.run(millis: 50)
    #expect(world.guest == MemberID(4))
    world.follow(
      try MemberList("1=m1:7000,2=m2:7000,3=m3:7000,5=j5:7000"), guests: MemberSet([MemberID(5)]))
    world.call("j5:7000", former: MemberID(5))
    world.run(millis: 1_000)
    #expect(world.welcome?.id == MemberID(5) && world.guest == MemberID(5))
    world.call("j4:7000")
    world.run(millis: 1_000)
    #expect(world.welcome == nil && world.refusal == nil && world.guest == MemberID(5))
  }

  @Test func whoDoesNotAnswerIsAskedAgain() {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.lost = 100
    world.run(millis: 10_000)
    #expect(world.knockCount >= 2 && world.welcome == nil && world.refusal == nil)
    #expect(world.joinerLog.count <= 2)
    #expect(world.joinerLog[0].hasSuffix("it does not answer; asking again"))
    world.lost = 0
    world.run(millis: 10_000)
    #expect(world.welcome != nil)
  }

  @Test func theNameOfTheMemberIsResolvedAgainForEachFurtherRound() throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3), resolves: true)
    world.isAway = true
    world.run(millis: 10_000)
    // Not for the first call, whose address is of just now.
    #expect(world.resolveCount == world.knockCount - 1 && world.knockCount >= 3)
    // It moves, and its name is not known for a while.
    world.isAway = false
    world.address = nil
    world.run(millis: 12_000)
    #expect(world.welcome == nil)
    #expect(world.joinerLog.last?.hasSuffix("yet: m2 is nowhere; asking again") == true)
    world.address = Endpoint(ipv4: 0x7F00_0063, port: 7_000)
    world.run(millis: 5_000)
    #expect(try #require(world.welcome).endpoint == world.address)
  }

  @Test func withoutASecretANameIsFollowedToLoopbackOnly() {
    let world = JoinCallWorld(
      member: peerOptions(2, of: 3, secret: nil), secret: nil, resolves: true)
    world.isAway = true
    world.address = Endpoint(ipv4: 0x0A00_0001, port: 7_000)
    world.run(millis: 15_000)
    #expect(world.knockCount == 1 && world.welcome == nil)
    #expect(world.joinerLog.contains { $0.contains("members are on loopback addresses only") })
  }

  @Test(arguments: [false, true])
  func aHelloKeepsItsAddress(ofGuest isGuest: Bool) throws {
    let hello = PeerHello(
      versions: 1...1, hasSecret: true, sender: MemberID(0), receiver: MemberID(0), clusterID: 0,
      epoch: Epoch(0), incarnation: 0, stamp: .zero, nonce: PeerNonce(first: 1, last: 2),
      answered: PeerNonce())
    for count in [0, 1, PeerHello.addressByteCountMax, PeerHello.addressByteCountMax + 1] {
      var hello = hello
      let address = String(repeating: "a", count: count)
      if isGuest { hello.guestAddress = address } else { hello.joinerAddress = address }
      var buffer = ByteBuffer()
      hello.append(to: &buffer)
      let again = PeerHello(buffer.bytes)
      #expect((again == hello) == (1...PeerHello.addressByteCountMax).contains(count))
      for cut in 0..<buffer.count where count > 0 {
        #expect(PeerHello(UnsafeRawBufferPointer(rebasing: buffer.bytes[..<cut])) == nil)
      }
    }
  }
}
