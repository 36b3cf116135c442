import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// Commands that have to wait for other members' transactions, or are refused meanwhile.
@Suite struct ClusterWaitingTests {
  @Test func anExecThatIsRefusedEndsItsTransaction() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    cluster[1].bench.host.node.cluster!.pointee.confirmed = MemberSet()
    cluster.put(1, link, "MULTI\r\nSET a 1\r\nEXEC\r\n")
    #expect(cluster.take(1, link).hasPrefix("+OK;+QUEUED;-UNAVAILABLE this member waits"))
    cluster[1].bench.host.node.cluster!.pointee.confirmed = MemberSet([MemberID(2), MemberID(3)])
    #expect(cluster.ask(1, link, "SET b 1") == "+OK")
    #expect(cluster.ask(1, link, "EXEC") == "-ERR EXEC without MULTI")
    #expect(cluster.ask(1, link, "EXISTS a b") == ":1")
  }

  @Test func anExecUnderAnIdThatIsKnownEndsItsTransaction() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let id = cluster.id
    #expect(cluster.ask(1, link, "OUTCOME \(id) SEAL") == "$7;aborted")
    cluster.put(1, link, "MULTI\r\nSET a 1\r\nONCE \(id) EXEC\r\n")
    #expect(cluster.take(1, link).hasPrefix("+OK;+QUEUED;-ABORTED the id was sealed"))
    #expect(cluster.ask(1, link, "SET b 1") == "+OK")
  }

  @Test func whoDoesNotKnowTheOthersSaysUnknownUnderAnId() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let id = cluster.id
    #expect(cluster.ask(1, link, "ONCE \(id) INCR a") == ":1")
    cluster[1].bench.host.node.cluster!.pointee.confirmed = MemberSet()
    #expect(cluster.ask(1, link, "ONCE \(id) INCR a").hasSuffix("(unknown)"))
    #expect(cluster.ask(1, link, "INCR a").hasSuffix("(not-applied)"))
    cluster[1].bench.host.node.cluster!.pointee.confirmed = MemberSet([MemberID(2), MemberID(3)])
    #expect(cluster.ask(1, link, "ONCE \(id) INCR a") == ":1")
  }

  /// Another copy may have been prepared, and be committed yet.
  @Test func anIdInDoubtIsSaidToBeUnknown() {
    let cluster = ClusterBench()
    let writer = cluster.connect(1)
    let link = cluster.connect(2)
    let id = cluster.id
    cluster[1].bench.put("ONCE \(id) INCR a\r\n", on: writer)
    cluster.sayOnly(1)
    cluster[2].bench.run()
    cluster[1].isCut = true
    #expect(cluster.ask(2, link, "OUTCOME \(id)") == "$8;in-doubt")
    cluster.put(2, link, "ONCE \(id) INCR a\r\n")
    for _ in 0..<51 { cluster.advance(millis: 100) }
    let told = cluster.take(2, link)
    #expect(told.hasPrefix("-BUSY") && told.hasSuffix("(unknown)"), "\(told)")
  }

  /// Whatever becomes of the commands before it, and whether there is room or not.
  @Test(arguments: [false, true])
  func aKnownIdIsNotAnsweredWithTheRoundOfEarlierCommands(isFull: Bool) {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let id = cluster.id
    #expect(cluster.ask(1, link, "SET k v") == "+OK")
    #expect(cluster.ask(1, link, "ONCE \(id) APPEND a abc") == ":3")
    if isFull { #expect(cluster.ask(1, link, "CONFIG SET maxmemory 1") == "+OK") }
    for number in 2...3 { cluster[number].isCut = true }
    cluster.put(1, link, "DEL k\r\nONCE \(id) APPEND a abc\r\n")
    for _ in 0..<120 { cluster.advance(millis: 100) }
    let told = cluster.take(1, link)
    #expect(told.hasPrefix("-") && told.hasSuffix(";:3"), "\(told)")
  }

  /// FLUSHALL of member 1 waits at member 2 for a younger SET there: a further SET there waits for it.
  @Test func aRoundWaitsForAnOlderTransactionThatWaitsItself() {
    let cluster = ClusterBench()
    let links = (1...2).map { cluster.connect($0) }
    let late = cluster.connect(2)
    cluster.drops = { from, _ in from == 1 }
    cluster.put(1, links[0], "FLUSHALL\r\n")
    cluster.drops = { from, to in from == 2 && to == 1 || from == 1 && to == 2 }
    cluster.advance(millis: 1)
    cluster.put(2, links[1], "SET a 1\r\n")
    cluster.drops = { from, to in from == 2 && to == 1 }
    for _ in 0..<40 { cluster.advance(millis: 10) }
    cluster.put(2, late, "SET b 1\r\n")
    #expect(cluster.take(2, late) == "")
    cluster.drops = { _, _ in false }
    cluster.settle()
    for _ in 0..<100 { cluster.advance(millis: 10) }
    #expect(cluster.take(1, links[0]) == "+OK")
    #expect(cluster.take(2, links[1]) == "+OK")
    #expect(cluster.take(2, late) == "+OK")
  }

  /// The id's age passes the bound between two attempts: run again, its command is as good as before.
  @Test func anIdThatAgesBetweenTwoAttemptsIsExecutedAllTheSame() {
    let cluster = ClusterBench()
    let links = (1...2).map { cluster.connect($0) }
    let day: Int64 = 24 * 3_600 * 1_000
    let now = Int64(cluster[1].bench.host.link.moment.wallMillis)
    let id = OperationID(unixMillis: now - day + 50, random: 1, 2)
    cluster.drops = { from, to in from == 2 && to == 1 }
    cluster.put(2, links[1], "SET a 1\r\n")
    cluster.advance(millis: 1)
    cluster.put(1, links[0], "ONCE \(id) INCR a\r\n")
    for _ in 0..<20 { cluster.advance(millis: 10) }
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 10) }
    #expect(cluster.take(2, links[1]) == "+OK")
    #expect(cluster.take(1, links[0]) == ":2")
    #expect(cluster.members.allSatisfy { $0.bench.host.isClusterIdle })
  }

  /// A command between WATCH and MULTI is run again after a conflict: the watch is still on.
  @Test func aWatchOutlivesACommandThatIsRunAgain() {
    let cluster = ClusterBench()
    let links = (1...3).map { cluster.connect($0) }
    #expect(cluster.ask(1, links[0], "SET a 1") == "+OK")
    cluster.advance(millis: 10)
    cluster.drops = { from, to in from == 2 && to == 1 }
    cluster.put(2, links[1], "SET b 2\r\n")
    cluster.advance(millis: 1)
    cluster.put(1, links[0], "WATCH a\r\nSET b 1\r\n")
    for _ in 0..<5 { cluster.advance(millis: 10) }
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 10) }
    #expect(cluster.take(1, links[0]) == "+OK;+OK")
    #expect(cluster.ask(3, links[2], "SET a 2") == "+OK")
    cluster.advance(millis: 10)
    cluster.put(1, links[0], "MULTI\r\nSET c 1\r\nEXEC\r\n")
    #expect(cluster.take(1, links[0]) == "+OK;+QUEUED;*-1")
  }

  /// WATCH behind a change of the same key: run again, the change has another version than at first.
  @Test func aWatchInOnePipelineWithAChangeSeesWhatWasCommitted() {
    let cluster = ClusterBench()
    let links = (1...2).map { cluster.connect($0) }
    cluster.drops = { from, to in from == 2 && to == 1 }
    cluster.put(2, links[1], "SET a 2\r\n")
    cluster.advance(millis: 1)
    cluster.put(1, links[0], "SET a 1\r\nWATCH a\r\nMULTI\r\nINCR a\r\nEXEC\r\n")
    for _ in 0..<5 { cluster.advance(millis: 10) }
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 10) }
    #expect(cluster.take(1, links[0]) == "+OK;+OK;+OK;+QUEUED;*1;:2")
  }

  /// Member 2 has forgotten what was done until now. The no of its vote tells the coordinator how far.
  @Test(arguments: ["ONCE * INCR a", "OUTCOME * SEAL"])
  func anIdBelowTheHorizonOfAVoterIsExpiredAtTheCoordinatorToo(command: String) {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let now = Int64(cluster[1].bench.host.link.moment.wallMillis)
    cluster[2].bench.host.node.database!.pointee.raiseHorizon(to: now)
    let id = OperationID(unixMillis: now, random: 1, 2)
    #expect(cluster.ask(1, link, "OUTCOME \(id)") == "$10;never-seen")
    cluster.put(1, link, command.split(separator: "*").joined(separator: "\(id)") + "\r\n")
    cluster.settle()
    let reply = cluster.take(1, link)
    #expect(command.hasPrefix("ONCE") ? reply.hasPrefix("-IDEXPIRED") : reply == "$7;expired")
    cluster[2].isCut = true
    #expect(cluster.ask(1, link, "OUTCOME \(id)") == "$7;expired")
    #expect(cluster.ask(1, link, "EXISTS a") == ":0")
  }

  @Test func aRoundEndsWhenAMemberGoesAwayThatHasNotPrepared() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    cluster[3].isCut = true
    cluster.put(1, link, "SET a 1\r\n")
    #expect(cluster.take(1, link) == "")
    cluster[1].bench.host.node.memberUnreachable(MemberID(3))
    cluster.run()
    #expect(
      cluster.take(1, link) == "-ABORTED a member went away before it had prepared (not-applied)")
    cluster[3].isCut = false
    cluster.settle()
    for member in cluster.members {
      #expect(member.bench.host.node.cluster!.pointee.negotiator.lockCount == 0)
      #expect(member.bench.host.node.database!.pointee.count == 0)
    }
  }

  /// A transaction reads the key, and its decision does not come: the key stays, and costs no turns.
  @Test func aLockedKeyThatIsDueIsNotPolledAndGoesOnceItIsFree() {
    let cluster = ClusterBench()
    let links = (1...2).map { cluster.connect($0) }
    #expect(cluster.ask(1, links[0], "SET k v PX 50") == "+OK")
    cluster.advance(millis: 1)
    cluster.drops = { from, to in from == 1 && to == 2 }
    cluster.put(2, links[1], "MULTI\r\nGET k\r\nSET other 1\r\nEXEC\r\n")
    for _ in 0..<6 { cluster.advance(millis: 10) }
    let link = cluster[1].bench.host.link.moment.instant
    #expect(cluster[1].bench.host.link.lastDeadline - link > .millis(20))
    #expect(cluster[1].bench.host.node.database!.pointee.count == 1)
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 10) }
    // What is left is what the transaction wrote.
    #expect(cluster[1].bench.host.node.database!.pointee.count == 1)
    #expect(cluster.ask(1, links[0], "EXISTS other") == ":1")
  }

  @Test func theNegotiatorsSeedIsAWordOfItsOwn() {
    let one = Node.negotiatorSeed(of: SipKey(k0: 1, k1: 2))
    #expect(one != Node.negotiatorSeed(of: SipKey(k0: 3, k1: 0)))
    #expect(one == Node.negotiatorSeed(of: SipKey(k0: 1, k1: 2)))
  }

  /// Nobody has agreed to the FLUSHALL yet: what reads in the same turn does not see its effect.
  @Test(arguments: ["GET a\r\n", "WATCH a\r\nGET a\r\n"])
  func aReadInTheTurnOfAFlushallWaitsForItsDecision(command: String) {
    let cluster = ClusterBench()
    let links = (0..<2).map { _ in cluster.connect(1) }
    #expect(cluster.ask(1, links[0], "SET a 1") == "+OK")
    cluster.advance(millis: 10)
    cluster.drops = { _, _ in true }
    cluster[1].bench.host.link.events.append((.received(links[0]), Array("FLUSHALL\r\n".utf8)))
    cluster[1].bench.host.link.events.append((.received(links[1]), Array(command.utf8)))
    cluster.run()
    for _ in 0..<5 { cluster.advance(millis: 10) }
    #expect(!cluster.take(1, links[1]).contains("$-1"))
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 10) }
    #expect(cluster.take(1, links[0]) == "+OK")
    #expect(cluster.take(1, links[1]).hasSuffix("$-1"))
  }

  /// The open round ends before a key that is due goes, and then holds the id that it seals.
  @Test func anIdThatIsBeingSealedIsHeldThoughAKeyIsDue() {
    let cluster = ClusterBench()
    let links = (0..<2).map { _ in cluster.connect(1) }
    #expect(cluster.ask(1, links[0], "SET k v PX 50") == "+OK")
    let id = cluster.id
    let instant = cluster[1].bench.host.link.moment.instant
    cluster[1].bench.host.link.moment.instant = instant + .millis(99)
    cluster[1].bench.host.link.moment.wallNanos += 99_000_000
    for (link, text) in zip(links, ["OUTCOME \(id) SEAL\r\n", "ONCE \(id) SET k w\r\n"]) {
      cluster[1].bench.host.link.events.append((.received(link), Array(text.utf8)))
    }
    cluster.settle()
    #expect(cluster.take(1, links[0]) == "$7;aborted")
    #expect(cluster.take(1, links[1]).hasPrefix("-ABORTED the id was sealed"))
  }

  @Test func aSealWaitsForAnOlderTransactionThatWaitsItself() {
    let cluster = ClusterBench()
    let links = (1...2).map { cluster.connect($0) }
    let late = cluster.connect(2)
    let id = cluster.id
    cluster.drops = { from, _ in from == 1 }
    cluster.put(1, links[0], "FLUSHALL\r\n")
    cluster.drops = { from, to in from == 2 && to == 1 || from == 1 && to == 2 }
    cluster.advance(millis: 1)
    cluster.put(2, links[1], "SET a 1\r\n")
    cluster.drops = { from, to in from == 2 && to == 1 }
    for _ in 0..<40 { cluster.advance(millis: 10) }
    cluster.put(2, late, "OUTCOME \(id) SEAL\r\n")
    #expect(cluster.take(2, late) == "")
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 10) }
    #expect(cluster.take(2, late) == "$7;aborted")
  }

  /// All changes of a round have one version: one that was told is that of no other value.
  @Test func aVersionThatWasToldIsThatOfOneValue() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    cluster.put(1, link, "SET a 1\r\nGETV a\r\nSET a 2\r\nGETV a\r\n")
    let parts = cluster.take(1, link).split(separator: ";")
    #expect(parts.count == 10 && parts[4] != parts[9])
  }

  /// The round ends in the middle of a pipeline and is refused at once: in its place among the replies.
  @Test func aRoundThatIsRefusedAtOnceIsAnsweredInOrder() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    #expect(cluster.ask(1, link, "SET a 1") == "+OK")
    cluster[1].bench.host.node.noSpace = true
    cluster.put(1, link, "MULTI\r\nDEL a\r\nGETV a\r\nEXEC\r\nPING\r\n")
    #expect(cluster.take(1, link).hasSuffix(";+PONG"))
  }

  /// The wait is that of the message, and says nothing of what the removal has done.
  @Test(arguments: [
    "MEMBERS REMOVE 63 FORCE\r\nMGET k j\r\n", "MGET k j\r\nMEMBERS REMOVE 63 FORCE\r\n",
  ])
  func `A removal in a message that waits is not said to be done for that`(text: String) {
    let cluster = ClusterBench()
    let link = LinkID(slot: 5_000, generation: 1)
    cluster.drops = { _, to in to == 1 }
    cluster.put(1, cluster.connect(1), "SET k 1\r\n")
    cluster[2].bench.host.link.events.append(
      (
        .request(link, Endpoint(ipv4: 0x7F00_0001, port: 6_000), id: .none, plain: false),
        Array(text.utf8)
      ))
    cluster.run()
    #expect(cluster[2].bench.take(link) == "")
    cluster.drops = { _, _ in false }
    cluster.settle()
    let reply = cluster[2].bench.take(link)
    #expect(reply.contains("*2;$1;1;$-1;") && reply.contains("-ERR "), "\(reply)")
    #expect(!reply.contains("is removed by force"))
  }

  @Test func `A removal over UDP may come behind what changes nothing, and not behind a change`() {
    let cluster = ClusterBench()
    let link = LinkID(slot: 5_000, generation: 1)
    for (text, reply) in [
      ("PING\r\nMEMBERS REMOVE 63\r\n", "+PONG;-ERR "),
      ("SET a 1\nMEMBERS REMOVE 63", "+OK;-ERR MEMBERS REMOVE is a UDP message of its own"),
    ] {
      cluster[2].bench.host.link.events.append(
        (
          .request(link, Endpoint(ipv4: 0x7F00_0001, port: 6_000), id: .none, plain: true),
          Array(text.utf8)
        ))
      cluster.settle()
      let said = cluster[2].bench.take(link)
      #expect(said.hasPrefix(reply), "\(said)")
    }
  }
}
