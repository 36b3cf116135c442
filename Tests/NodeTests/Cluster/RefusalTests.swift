import Base
import NetKit
import Store
import Testing

@testable import Node
@testable import TPC

/// What a cluster says of a command that it refuses, and what it answers while a member is away.
@Suite struct RefusalTests {
  @Test(arguments: ["SET a 1", "ONCE * SET a 1"])
  func `Only what came under an id is answered that an id is too old`(command: String) {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    cluster[3].bench.host.node.cluster!.pointee.negotiator.coordinators[0].mark = 1_000
    cluster[3].bench.host.node.cluster!.pointee.negotiator.coordinators[0].horizon = 1_000
    cluster.put(1, link, command.replacing("*", with: "\(cluster.id)") + "\r\n")
    cluster.settle()
    let reply = cluster.take(1, link)
    if command.hasPrefix("ONCE") {
      #expect(reply.hasPrefix("-IDEXPIRED") && reply.hasSuffix("(unknown)"))
    } else {
      #expect(reply == "-ABORTED a member takes the transaction for a finished one (not-applied)")
    }
    for member in cluster.members {
      #expect(member.bench.host.node.cluster!.pointee.negotiator.lockCount == 0)
      #expect(member.bench.host.node.database!.pointee.count == 0)
    }
  }

  @Test(arguments: [
    ([2, 3], "a member went away before it had prepared"),
    ([2], "member 3 went away before it had prepared"),
    ([], "members 2, 3 went away before all had prepared"),
  ])
  func `Who went away is named`(reachable: [Int], words: String) {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    cluster[3].isCut = true
    cluster.put(1, link, "SET a 1\r\n")
    var peers = Peers(peerOptions(1, of: 3))
    peers.start(at: cluster[1].bench.host.link.moment)
    for other in peers.others.indices {
      let number = Int(peers.others[other].member.id.number)
      peers.others[other].isReachable = reachable.contains(number)
    }
    cluster[1].bench.host.node.peers = consume peers
    cluster[1].bench.host.node.memberUnreachable(MemberID(3))
    cluster.run()
    #expect(cluster.take(1, link) == "-ABORTED \(words) (not-applied)")
  }

  /// Each member removes it by itself: nobody has to agree.
  @Test func `A key that has expired goes by a logged delete while a member is away`() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    #expect(cluster.ask(1, link, "SET k v PX 50") == "+OK")
    cluster.settle()
    cluster[3].isCut = true
    cluster[1].bench.host.node.memberUnreachable(MemberID(3))
    let before = cluster[1].bench.host.node.database!.pointee.log.appended
    let instant = cluster[1].bench.host.link.moment.instant
    cluster[1].bench.host.link.moment.instant = instant + .millis(60)
    cluster[1].bench.host.link.moment.wallNanos += 60_000_000
    cluster[1].bench.host.disk.isHeld = true
    #expect(cluster.ask(1, link, "GET k") == "")
    #expect(cluster[1].bench.host.node.database!.pointee.count == 0)
    #expect(cluster[1].bench.host.node.database!.pointee.log.appended > before)
    cluster[1].bench.host.disk.isHeld = false
    cluster.run()
    #expect(cluster.take(1, link) == "$-1")
  }

  @Test func `A transaction that only reads is answered while a member is away`() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    #expect(cluster.ask(1, link, "SET k v") == "+OK")
    cluster.settle()
    var peers = Peers(peerOptions(1, of: 3))
    peers.start(at: cluster[1].bench.host.link.moment)
    cluster[1].bench.host.node.peers = consume peers
    cluster.advance(millis: 2_100)
    #expect(cluster.ask(1, link, "SET k w").hasPrefix("-UNAVAILABLE member 2"))
    let reads = ["MULTI", "GET k", "GET other", "EXEC"].map { cluster.ask(1, link, $0) }
    #expect(reads == ["+OK", "+QUEUED", "+QUEUED", "*2;$1;v;$-1"])
    let once = ["MULTI", "GET k", "ONCE \(cluster.id) EXEC"].map { cluster.ask(1, link, $0) }
    #expect(once[2].hasPrefix("-UNAVAILABLE member 2") && once[2].hasSuffix("(unknown)"))
  }
}
