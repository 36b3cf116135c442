import Base
import NetKit
import TPC
import Testing

@testable import Node

@Suite struct PeerTests {
  @Test(arguments: ["open sesame", nil])
  func membersFindEachOther(secret: String?) {
    let world = PeerWorld(count: 3, secret: secret)
    world.run(millis: 20)
    #expect(world.isWhole)
    #expect(world.nodes.map(\.story) == [["+2", "+3"], ["+1", "+3"], ["+1", "+2"]])
    #expect(world.nodes.map { $0.peers.sessions.count } == [2, 2, 2])
    #expect(world.nodes.allSatisfy { $0.peers.sessions.allSatisfy(\.isOpen) })
    #expect(world.nodes[2].peers.sessions.allSatisfy { !$0.isCaller })
  }

  @Test func messagesArriveWithTheirSender() {
    let world = PeerWorld(count: 3)
    world.run(millis: 20)
    #expect(world.send("hello", from: 0, to: 3))
    #expect(world.send("there", from: 2, to: 1))
    world.run(millis: 5)
    #expect(world.nodes[2].delivered == ["1: hello"])
    #expect(world.nodes[0].delivered == ["3: there"])
  }

  @Test func nothingIsKeptForAMemberThatCannotBeReached() {
    let world = PeerWorld(count: 2)
    #expect(!world.send("early", from: 0, to: 2))
    world.run(millis: 20)
    #expect(!world.send("to nobody", from: 0, to: 9))
    #expect(world.nodes[0].peers.counters.dropped == 2)
    #expect(world.nodes[1].delivered == [])
  }

  @Test func onIdleLinksBothSidesHearEachOtherAndMeasure() {
    let world = PeerWorld(count: 2)
    world.faults.latencyMillis = 10...10
    world.run(millis: 10_000)
    #expect(world.nodes.map(\.story) == [["+2"], ["+1"]])
    for (index, id) in [(0, UInt16(2)), (1, 1)] {
      let status = world.status(of: id, at: index)
      #expect((19...22).contains(status.roundTrip.millis))
      #expect(status.silence <= .millis(530))
      #expect(abs(status.skewMillis) <= 2 && !status.isSkewed)
    }
    // Two pings and two pongs a second and side at most.
    #expect(world.nodes[0].peers.counters.stale == 0)
  }

  // MARK: Silence

  @Test func aSilentMemberIsUnreachableAfterTwoSecondsAndComesBack() {
    let world = PeerWorld(count: 3)
    world.run(millis: 1_000)
    world.nodes[2].isStopped = true
    world.run(millis: 1_480)
    #expect(world.isWhole)
    world.run(millis: 620)
    #expect(world.nodes[0].story == ["+2", "+3", "-3"])
    #expect(world.nodes[1].story.last == "-3")
    #expect(!world.send("lost", from: 0, to: 3))
    let absence = world.nodes[0].peers.absence(of: MemberID(3), at: world.now)
    #expect(absence?.hasPrefix("member 3 (m3:7000) silent for 2.") == true)
    world.nodes[2].isStopped = false
    world.run(millis: 20)
    #expect(world.nodes[0].story == ["+2", "+3", "-3", "+3"])
    #expect(world.send("found", from: 0, to: 3))
    world.run(millis: 5)
    #expect(world.nodes[2].delivered == ["1: found"])
    let last = world.nodes[0].log.last
    #expect(last?.hasPrefix("member 3 (m3:7000) is reachable again after 2.") == true)
  }

  @Test func whoWasAwayDoesNotBlameTheOthers() {
    let world = PeerWorld(count: 3)
    world.run(millis: 1_000)
    world.nodes[2].isStopped = true
    world.run(millis: 4_000)
    for index in world.nodes.indices { world.nodes[index].inbox.removeAll() }
    world.nodes[2].isStopped = false
    world.run(millis: 100)
    #expect(world.nodes[2].story == ["+1", "+2"])
  }

  @Test func aPartitionHealsThroughANewLink() {
    let world = PeerWorld(count: 2)
    world.run(millis: 100)
    world.cuts = [[0, 1]]
    world.run(millis: 20_000)
    #expect(world.nodes.map(\.story) == [["+2", "-2"], ["+1", "-1"]])
    #expect(world.nodes.allSatisfy { $0.peers.sessions.isEmpty })
    world.cuts = []
    world.run(millis: 800)
    #expect(world.isWhole)
  }

  @Test func trafficOneWayDoesNotHideSilence() {
    let world = PeerWorld(count: 2)
    world.run(millis: 100)
    world.nodes[1].isStopped = true
    for _ in 0..<220 {
      world.send("x", from: 0, to: 2)
      world.run(millis: 10)
    }
    #expect(world.nodes[0].story == ["+2", "-2"])
  }

  // MARK: Links that are lost

  @Test func aMemberThatDiedIsUnreachableOnceACallIsRefused() {
    let world = PeerWorld(count: 3)
    world.run(millis: 1_000)
    world.kill(1)
    world.run(millis: 70)
    // Member 1 calls it, and member 3 is called by it.
    #expect(world.nodes[0].story == ["+2", "+3", "-2"])
    #expect(world.nodes[2].story == ["+1", "+2", "-2"])
    #expect(
      world.nodes[2].log.last == "member 2 (m2:7000) refuses connections: unreachable")
    #expect(world.nodes[0].peers.sessions.count == 1 && world.nodes[2].peers.sessions.count == 1)
    world.restart(1, peerOptions(2, of: 3, run: 2))
    world.run(millis: 700)
    #expect(world.isWhole)
  }

  @Test func aLinkThatIsLostIsOpenedAnewWithoutAWordAboutTheMember() {
    let world = PeerWorld(count: 3)
    world.run(millis: 1_000)
    world.breakLinks()
    world.run(millis: 200)
    #expect(world.isWhole)
    for node in world.nodes { #expect(!node.story.contains { $0.hasPrefix("-") }) }
    let left = world.nodes.allSatisfy { $0.peers.sessions.count == 2 }
    #expect(left)
  }

  // MARK: Restarts

  @Test func aRestartIsSeenByItsIncarnation() {
    let world = PeerWorld(count: 2)
    world.run(millis: 100)
    let before = world.status(of: 2, at: 0).incarnation
    world.kill(1)
    world.run(millis: 300)
    #expect(world.nodes[0].story == ["+2", "-2"])
    world.restart(1, peerOptions(2, of: 2, run: 2))
    world.run(millis: 700)
    #expect(world.isWhole)
    #expect(world.status(of: 2, at: 0).incarnation != before)
    #expect(world.nodes[0].story == ["+2", "-2", "+2"])
    #expect(world.nodes[0].log.last?.contains("was restarted") == true)
  }

  @Test func aCallerThatWasRestartedTakesThePlaceOfItsOldLink() {
    let world = PeerWorld(count: 2)
    world.run(millis: 100)
    // The other side hears nothing of the end of the old link.
    world.nodes[0].isUp = false
    world.nodes[0].inbox.removeAll()
    world.restart(0, peerOptions(1, of: 2, run: 2))
    world.run(millis: 100)
    // As far as it knows the old run is there.
    #expect(world.nodes[1].story == ["+1"])
    world.run(millis: 1_400)
    #expect(world.nodes[1].peers.sessions.count == 1)
    #expect(world.nodes[1].story == ["+1", "+1"])
    #expect(world.send("new", from: 1, to: 1))
    world.run(millis: 5)
    #expect(world.nodes[0].delivered == ["2: new"])
  }

  @Test func callsAreRepeatedWithABoundedWait() {
    let world = PeerWorld(count: 2)
    world.kill(1)
    world.run(millis: 30_000)
    let before = world.nodes[0].peers.others[0].failureCount
    #expect((55...130).contains(before))
    world.restart(1, peerOptions(2, of: 2, run: 2))
    world.run(millis: 520)
    #expect(world.isWhole)
  }

  // MARK: Bad links

  @Test(arguments: 1...40 as ClosedRange<UInt64>)
  func theHandshakeWithstandsLossRepetitionAndDisorder(seed: UInt64) {
    let world = PeerWorld(count: 3, seed: seed)
    world.faults.lost = 30
    world.faults.repeated = 30
    world.faults.latencyMillis = 1...150
    world.run(millis: 8_000)
    world.faults = PeerWorld.Faults()
    world.run(millis: 6_000)
    #expect(world.isWhole)
    let allOpen = world.nodes.allSatisfy { node in
      node.peers.sessions.count == 2 && node.peers.sessions.allSatisfy(\.isOpen)
    }
    #expect(allOpen)
    world.send("a", from: 0, to: 2)
    world.send("b", from: 2, to: 1)
    world.run(millis: 5)
    #expect(world.nodes[1].delivered == ["1: a"] && world.nodes[0].delivered == ["3: b"])
    #expect(world.nodes.allSatisfy { $0.peers.counters.refusals == 0 })
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func damagedMessagesOpenNothingAndTrapNothing(seed: UInt64) {
    let world = PeerWorld(count: 2, seed: seed)
    var chance = Random(seed: seed)
    world.faults.tamper = { bytes in
      var bytes = bytes
      if chance.chance(1, in: 2) {
        bytes[chance.below(bytes.count)] ^= UInt8(1 + chance.below(255))
      }
      if chance.chance(1, in: 5) { bytes.removeLast(chance.below(bytes.count)) }
      return bytes
    }
    world.run(millis: 5_000)
    world.faults.tamper = { $0 }
    world.run(millis: 8_000)
    #expect(world.isWhole)
  }

  // MARK: Who is to be called

  @Test func whoIsToBeCalledAndIsNotAsksInVainAndUnlogged() {
    let world = PeerWorld(count: 2)
    // It never calls, as if the network let nothing through that way.
    world.nodes[0].peers.others[0].callAt = .never
    world.run(millis: 7_000)
    #expect(world.nodes.map(\.story) == [[], []])
    #expect(world.nodes.allSatisfy { $0.log.isEmpty && $0.peers.counters.refusals == 0 })
    #expect((2...4).contains(world.nodes[1].peers.others[0].failureCount))
    #expect(world.nodes.allSatisfy { $0.peers.sessions.isEmpty })
    #expect(world.status(of: 1, at: 1).state == .unreachable)
  }

  @Test func whoWasRemovedWhileItWasAwayAsksThoseThatItKnows() {
    let world = PeerWorld(count: 3)
    world.run(millis: 100)
    world.kill(2)
    for node in world.nodes.prefix(2) {
      node.peers.setMembers(
        node.options.members.filter { $0.id != MemberID(3) }, epoch: Epoch(agreed: 1, forced: 1),
        at: world.moment(of: node), into: &node.effects)
    }
    world.run(millis: 6_000)
    let before = world.nodes.map(\.story)
    world.restart(2, peerOptions(3, of: 3, run: 2))
    world.run(millis: 3_000)
    // Each side hears the other's epoch: the members tell it their list.
    for (index, own) in [(0, "+3"), (1, "+3"), (2, "+1"), (2, "+2")] {
      #expect(world.nodes[index].story.dropFirst(before[index].count).contains(own))
    }
    #expect(world.nodes.prefix(2).allSatisfy { $0.peers.reachableCount == 2 })
    #expect(world.nodes[0].peers.statuses(at: world.now).map(\.role) == [.member, .leaving])
  }

  @Test func whoseIdHasAnotherOneByNowDoesNotTakeItsLink() {
    let world = PeerWorld(count: 3)
    world.run(millis: 100)
    for node in world.nodes {
      node.peers.setMembers(
        node.options.members, epoch: Epoch(3), at: world.moment(of: node), into: &node.effects)
    }
    world.run(millis: 1_000)
    // Its directory knows the first list only.
    let before = world.nodes[1].story
    world.kill(0)
    world.restart(0, peerOptions(1, of: 3, run: 2))
    world.run(millis: 3_000)
    // It is told the list, on a link that carries nothing else.
    for member in [2, 3] {
      #expect(
        world.nodes[0].story.filter { $0.hasSuffix("\(member)") }.suffix(3)
          == ["+\(member)", "disowned by \(member)", "-\(member)"])
      #expect(world.nodes[0].delivered.contains("\(member): a list"))
    }
    let log = world.nodes[1].log
    #expect(log.count { $0.hasSuffix(": its id is not that of a member") } == 1)
    #expect(world.nodes[1].peers.reachableCount == 2)
    #expect(!world.nodes[1].story.dropFirst(before.count).contains("+1"))
  }

  /// It was away while it was removed and its id given to another one, which was not heard yet.
  @Test(arguments: [
    (Epoch(3), Epoch(2), false), (Epoch(agreed: 2, forced: 1), Epoch(agreed: 1, forced: 1), false),
    (Epoch(2), Epoch(1), true), (Epoch(agreed: 2, forced: 1), Epoch(1), true),
  ])
  func whoHasSeenLessThanAllMembersIsNone(epoch: Epoch, base: Epoch, isHeard: Bool) {
    let world = PeerWorld(count: 3)
    world.run(millis: 100)
    world.kill(0)
    for node in world.nodes.dropFirst() {
      node.peers.setMembers(
        node.options.members, epoch: epoch, base: base, at: world.moment(of: node),
        into: &node.effects)
    }
    let before = world.nodes[1].story.count
    world.restart(0, peerOptions(1, of: 3, run: 2))
    world.run(millis: 3_000)
    #expect(world.nodes[1].story.dropFirst(before).contains("+1") == isHeard)
    if !isHeard { #expect(world.nodes[0].delivered.contains("2: a list")) }
  }

  @Test func theGuestOfAnIdIsNotTheMemberThatHadItBefore() {
    let world = PeerWorld(count: 3)
    world.run(millis: 100)
    // Its removal and the change that gives its id to another process are heard of at once.
    let node = world.nodes[0]
    #expect(world.status(of: 3, at: 0).incarnation != 0)
    node.peers.setMembers(
      node.options.members, guests: MemberSet([MemberID(3)]), epoch: Epoch(2),
      at: world.moment(of: node), into: &node.effects)
    let status = world.status(of: 3, at: 0)
    #expect(status.state != .reachable && status.incarnation == 0 && status.role == .guest)
    #expect(!world.send("not for who had it before", from: 0, to: 3))
  }

  /// Of three, the first is dead, and a change that makes m1:7000 member 1 is in doubt.
  private static func worldWithGuest() -> PeerWorld {
    let world = PeerWorld(count: 3)
    world.kill(0)
    for node in world.nodes.dropFirst() {
      node.peers.setMembers(
        node.options.members, guests: MemberSet([MemberID(1)]), epoch: Epoch(2),
        at: world.moment(of: node), into: &node.effects)
    }
    return world
  }

  @Test(arguments: [("M1:7000", true), ("m9:7000", false)])
  func aGuestIsNotTakenForAnotherOneOfItsID(address: String, isTaken: Bool) {
    let world = Self.worldWithGuest()
    world.restart(0, peerOptions(1, of: 3, run: 2), guestAt: address)
    world.run(millis: 1_000)
    for index in [1, 2] {
      #expect((world.status(of: 1, at: index).state == .reachable) == isTaken)
      #expect(world.nodes[index].log.contains { $0.contains("is not that of a member") } != isTaken)
    }
    // Who is refused hears of it, and asks anew.
    #expect(world.nodes[0].story.contains("disowned by 2") != isTaken)
  }

  /// It has voted, and asks what came of it, when its id is nobody's any more, or another one's.
  @Test(arguments: [nil, "m9:7000"])
  func aGuestThatComesBackTooLateIsHeardOrToldTheList(owner: String?) {
    let world = PeerWorld(count: 3)
    world.kill(0)
    for node in world.nodes.dropFirst() {
      var members = node.options.members.filter { $0.id != MemberID(1) }
      if let owner { members.append(Member(id: MemberID(1), address: owner, endpoint: nil)) }
      node.peers.setMembers(
        members, epoch: Epoch(2), at: world.moment(of: node), into: &node.effects)
    }
    world.run(millis: 30_000)
    let before = world.nodes[1].story.count
    world.restart(0, peerOptions(1, of: 3, run: 2), guestAt: "m1:7000")
    world.run(millis: 3_000)
    #expect(world.nodes[1].story.dropFirst(before).contains("+1") == (owner == nil))
    #expect(world.nodes[0].delivered.contains("2: a list") == (owner != nil))
  }

  @Test func aGuestThatHasNotVotedAndIsKnownToNobodyIsSentAwayToAskAnew() {
    let world = PeerWorld(count: 2)
    world.kill(0)
    let node = world.nodes[1]
    node.peers.setMembers(
      node.options.members.filter { $0.id != MemberID(1) }, epoch: Epoch(2),
      at: world.moment(of: node), into: &node.effects)
    world.run(millis: 10_000)
    world.restart(
      0, peerOptions(1, of: 2, run: 2), guestAt: "m1:7000", onlyCalled: MemberID(2))
    world.run(millis: 1_000)
    #expect(world.nodes[0].story.contains("disowned by 2"))
  }

  @Test func aFormerMemberIsNotTakenForTheGuestThatHasItsID() {
    let world = Self.worldWithGuest()
    // It says the first list's epoch.
    world.restart(0, peerOptions(1, of: 3, run: 2))
    world.run(millis: 3_000)
    for index in [1, 2] {
      #expect(world.status(of: 1, at: index).state != .reachable)
      #expect(world.nodes[0].delivered.contains("\(index + 1): a list"))
    }
  }

  @Test func whoWasRemovedAndHasRemovedOthersByForceSinceIsHeard() {
    let world = PeerWorld(count: 3)
    for (index, epoch) in [(0, Epoch(agreed: 1, forced: 1)), (2, Epoch(agreed: 2, forced: 0))] {
      let node = world.nodes[index]
      let gone = MemberID(index == 0 ? 2 : 1)
      node.peers.setMembers(
        node.options.members.filter { $0.id != gone }, epoch: epoch, at: world.moment(of: node),
        into: &node.effects)
    }
    world.kill(1)
    let before = world.nodes[2].story.count
    world.run(millis: 3_000)
    #expect(world.nodes[2].story.dropFirst(before).contains("+1"))
  }

  // MARK: Clocks

  @Test func clocksFarApartRaiseAnAlarmUntilTheyAreRight() {
    let world = PeerWorld(count: 2)
    world.nodes[1].wallOffset = 7_000_000_000
    world.run(millis: 600)
    let ahead = world.status(of: 2, at: 0)
    #expect(ahead.isSkewed && (6_900...7_100).contains(ahead.skewMillis))
    #expect(world.status(of: 1, at: 1).isSkewed)
    #expect(
      world.nodes[0].log.contains {
        $0.hasPrefix("the clock of member 2 (m2:7000) is ") && $0.hasSuffix(" s ahead of this one")
      })
    world.nodes[1].wallOffset = 3_000_000_000
    world.run(millis: 2_500)
    #expect(!world.status(of: 2, at: 0).isSkewed)
    #expect(world.nodes[0].log.count { $0.contains("clock") } == 2)
  }

  // MARK: Members

  @Test func aMemberListThatChangesOpensAndClosesLinks() {
    let world = PeerWorld(count: 3)
    world.run(millis: 100)
    let node = world.nodes[0]
    let two = node.options.members.filter { $0.id != MemberID(3) }
    node.peers.setMembers(two, epoch: Epoch(2), at: world.moment(of: node), into: &node.effects)
    // Whom nobody tells asks again.
    world.run(millis: 5_030)
    #expect(node.peers.sessions.count == 1)
    #expect(!world.send("gone", from: 0, to: 3))
    world.run(millis: 600)
    #expect(world.status(of: 1, at: 1).epoch == Epoch(2))
    node.peers.setMembers(
      node.options.members, epoch: Epoch(3), at: world.moment(of: node), into: &node.effects)
    world.run(millis: 600)
    #expect(world.isWhole)
  }
}
