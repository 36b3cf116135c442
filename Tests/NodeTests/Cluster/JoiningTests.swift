import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// What a process does and answers while it joins, and members while one does.
@Suite struct JoiningTests {
  /// The id that it was to get becomes another one's, at any moment of its handshake.
  @Test(arguments: 1...15)
  func anotherOneBecomesAMemberMeanwhile(after millis: Int) throws {
    let world = JoinCallWorld(member: peerOptions(2, of: 3))
    world.run(millis: 50)
    world.call("j9:7000")
    world.run(millis: millis)
    world.follow(try MemberList("1=m1:7000,2=m2:7000,3=m3:7000,4=j4:7000"))
    world.run(millis: 5_000)
    #expect(world.refusal == nil && world.welcome?.id == MemberID(5))
  }

  private func joiner() -> NodeBench {
    var cluster = ClusterOptions(
      nonceKey: SipKey(k0: 1, k1: 2), authenticator: TestAuthenticator(secret: "open sesame"))
    cluster.joining = JoinTarget(
      host: "m1", port: 7_000, endpoints: [peerEndpoint(1)], id: nil, address: "j4:7000")
    var options = NodeOptions()
    options.cluster = cluster
    return NodeBench(options: options)
  }

  @Test func `A joiner records nothing under an id`() {
    var bench = joiner()
    let client = bench.connect()
    let id = OperationID(unixMillis: 1_700_000_000_000, random: 1, 2)
    #expect(bench.ask("MULTI", on: client) == "+OK")
    #expect(
      bench.ask("ONCE \(id) EXEC", on: client) == "-LOADING Tuppence is joining a cluster")
    #expect(bench.ask("MULTI", on: client) == "+OK")
    #expect(bench.ask("SET a 1", on: client).hasPrefix("-LOADING"))
    #expect(bench.ask("ONCE \(id) EXEC", on: client).hasPrefix("-LOADING"))
    let outcomeCount = bench.host.node.database!.pointee.outcomeCount
    #expect(outcomeCount == 0)
  }

  @Test func `A joiner answers what needs no data`() {
    var bench = joiner()
    let client = bench.connect()
    #expect(bench.ask("ECHO x", on: client) == "$1;x")
    #expect(bench.ask("SELECT 0", on: client) == "+OK")
    #expect(bench.ask("PING", on: client).hasPrefix("-LOADING"))
  }

  @Test func `A joiner whose id was given to another process asks anew`() throws {
    var bench = joiner()
    bench.host.node.welcomed(
      JoinWelcome(
        id: MemberID(4), donor: MemberID(1), endpoint: peerEndpoint(1), clusterID: 77,
        stamp: .zero))
    bench.run()
    for (text, asks) in [("1=m1:7000,4=j4:7000", false), ("1=m1:7000,4=x:1", true)] {
      var bytes = ByteBuffer()
      Membership(clusterID: 77, list: try MemberList(text)).encode(into: &bytes)
      bench.host.node.receiveList(bytes.bytes, from: MemberID(1))
      let isAsking = bench.host.node.joining.call != nil
      #expect(isAsking == asks, "\(text)")
    }
  }

  @Test func `A joiner whom its donor knows no more asks anew`() {
    var bench = joiner()
    bench.host.node.welcomed(
      JoinWelcome(
        id: MemberID(4), donor: MemberID(1), endpoint: peerEndpoint(1), clusterID: 77,
        stamp: .zero))
    for (member, asks) in [(MemberID(2), false), (MemberID(1), true)] {
      bench.host.node.disowned(by: member)
      let isAsking = bench.host.node.joining.call != nil
      #expect(isAsking == asks)
    }
  }

  /// A donor that was restarted in between answers, but has forgotten whom it welcomed.
  @Test func `A joiner whose donor begins no copy asks anew`() {
    var bench = joiner()
    bench.host.node.welcomed(
      JoinWelcome(
        id: MemberID(4), donor: MemberID(1), endpoint: peerEndpoint(1), clusterID: 77,
        stamp: .zero))
    for round in 0..<3 {
      let greeting = PeerGreeting(
        member: MemberID(1), incarnation: 9, epoch: Epoch(1), stamp: .zero)
      bench.host.node.donorReachable(greeting)
      bench.advance(millis: 2_000)
      let isAsking = bench.host.node.joining.call != nil
      #expect(isAsking == (round == 2))
      bench.host.node.donorUnreachable(MemberID(1))
    }
  }

  @Test func `A copy that begins again is told from the one before, though nothing was written`() {
    var bench = NodeBench(clusterMember: MemberID(1), count: 2)
    let database = bench.host.node.database!
    let donor = Donor(
      to: MemberID(4), note: [], after: 0, &database.pointee, at: .zero,
      into: &bench.host.node.copyEffects)
    bench.host.node.joining.donor = donor
    // The joiner was told of an earlier list.
    bench.host.node.joining.toldEpoch = Epoch(9)
    bench.host.node.workAsDonor(database)
    let copy = bench.host.node.joining.donor?.copy
    #expect(copy == donor.copy + 1)
  }

  @Test func `Who was removed reads nothing any more, though it goes on for a moment`() throws {
    let cluster = ClusterBench()
    let client = cluster.connect(3)
    #expect(cluster.ask(1, cluster.connect(1), "SET a 1") == "+OK")
    #expect(cluster.ask(3, client, "GET a") == "$1;1")
    var theirs = cluster[1].bench.host.node.cluster!.pointee.state.present
    theirs.remove(MemberID(3))
    var bytes = ByteBuffer()
    theirs.encode(into: &bytes)
    cluster[3].bench.host.node.receiveList(bytes.bytes, from: MemberID(1))
    #expect(cluster.ask(3, client, "GET a").hasPrefix("-UNAVAILABLE this member was removed"))
  }

  /// It may have removed others since, on the word of somebody who took it for a member.
  @Test func `The list of who was removed by agreement is not adopted`() throws {
    let cluster = ClusterBench()
    var theirs = cluster[3].bench.host.node.cluster!.pointee.state.present
    #expect(
      cluster.ask(1, cluster.connect(1), "MEMBERS REMOVE 3").hasPrefix("$")
    )
    cluster.settle()
    theirs.remove(MemberID(2))
    var bytes = ByteBuffer()
    theirs.encode(into: &bytes)
    cluster[1].bench.host.node.receiveList(bytes.bytes, from: MemberID(3))
    let present = cluster[1].bench.host.node.cluster!.pointee.state.present
    #expect(present.list.text == "1=member:1,2=member:2" && present.epoch.description == "2")
  }

  @Test func `A removal whose client has gone waits for the locks all the same`() {
    let cluster = ClusterBench()
    let (one, two) = (cluster.connect(1), cluster.connect(2))
    // Older, prepared at member 2 alone: the removal meets it there.
    cluster.drops = { from, _ in from == 2 }
    cluster.put(2, two, "SET a 1\r\n")
    cluster.advance(millis: 2)
    cluster.put(1, one, "MEMBERS REMOVE 3\r\n")
    cluster[1].bench.host.link.events.append((.closed(one, .reset), []))
    // It is prepared at member 1 too, and not decided, when the removal's next attempt is due.
    cluster.drops = { from, to in from != 2 && to == 2 }
    for _ in 0..<60 { cluster.advance(millis: 20) }
    cluster.drops = { _, _ in false }
    for _ in 0..<60 { cluster.advance(millis: 50) }
    #expect(cluster.take(2, two) == "+OK")
    let isIdle = cluster[1].bench.host.isClusterIdle
    #expect(isIdle)
    let state = cluster[1].bench.host.node.cluster!.pointee.state
    #expect(state.present.list.text == "1=member:1,2=member:2")
  }
}
