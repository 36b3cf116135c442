import Base
import NetKit
import TPC
import Testing

@testable import Node

/// `Host` with a cluster: links of peers reach `Peers`, and what it wants is done.
@Suite struct PeerHostTests {
  private static let stranger = Endpoint(ipv4: 0x7F00_0001, port: 40_000)

  private func open(_ bench: inout NodeBench, slot: Int = 900) -> LinkID {
    let link = LinkID(slot: slot, generation: 1)
    bench.host.link.events.append((.opened(link, .peer, Self.stranger), []))
    bench.run()
    return link
  }

  private func info(_ bench: inout NodeBench) -> String {
    let client = bench.connect()
    return bench.ask("INFO cluster", on: client)
  }

  private func cluster(_ id: UInt16, secret: String? = "open sesame") -> NodeOptions {
    var options = NodeOptions()
    options.cluster = peerOptions(id, of: 2, secret: secret)
    return options
  }

  /// Leads a session as member 1 with the node as member 2; answers the header of its messages.
  private func shakeHands(_ bench: inout NodeBench, on link: LinkID) throws -> PeerHeader {
    var own = ByteBuffer()
    PeerHello(
      versions: 1...1, hasSecret: true, sender: MemberID(1), receiver: MemberID(2), clusterID: 77,
      epoch: Epoch(1), incarnation: 9, stamp: Stamp(nanos: 5), nonce: PeerNonce(first: 1, last: 2),
      answered: PeerNonce()
    ).append(to: &own)
    let hello = Array(own.bytes)
    let answer = bench.hear(hello, on: link)
    let greeting = try #require(answer.withUnsafeBytes { PeerHello($0) })
    let header = PeerHeader(version: 1, sender: MemberID(1), session: greeting.nonce.first ^ 1)
    var proof = ByteBuffer()
    header.append(.proof, to: &proof)
    proof.append(
      PeerProof.code(
        by: .caller, caller: hello, answerer: answer, TestAuthenticator(secret: "open sesame")))
    let said = bench.hear(Array(proof.bytes), on: link)
    // Welcome and the first ping.
    #expect(said.count == 44 + 36 && said.first == PeerMessageKind.welcome.rawValue)
    return header
  }

  @Test func aNodeAloneHasNoPeers() {
    var bench = NodeBench()
    let link = open(&bench)
    #expect(bench.host.link.closed == [link])
    #expect(info(&bench).hasSuffix("# Cluster;cluster_enabled:0;"))
    #expect(bench.host.link.called == [])
  }

  @Test func aMemberProvesItselfAndIsShownUntilItFallsSilent() throws {
    var bench = NodeBench(options: cluster(2))
    let link = open(&bench)
    #expect(bench.host.link.closed == [])
    #expect(info(&bench).contains(";members_reachable:1;"))
    let header = try shakeHands(&bench, on: link)
    #expect(info(&bench).contains(";member1:address=m1:7000,state=reachable,"))
    var payload = ByteBuffer()
    header.append(.payload, to: &payload)
    payload.append("anything")
    #expect(bench.hear(Array(payload.bytes), on: link) == [])
    #expect(info(&bench).contains(";peer_messages_received:1;"))
    for _ in 0..<21 { bench.advance(millis: 100) }
    #expect(info(&bench).contains(";member1:address=m1:7000,state=unreachable,"))
    #expect(info(&bench).contains(";members_reachable:1;"))
    for _ in 0..<30 { bench.advance(millis: 100) }
    #expect(bench.host.link.closed == [link])
  }

  @Test func theMemberWithTheLowerIdCallsAndCallsAgain() {
    var bench = NodeBench(options: cluster(1))
    bench.run()
    #expect(bench.host.link.called == [peerEndpoint(2)])
    let link = LinkID(slot: 500, generation: 1)
    bench.host.link.events.append((.closed(link, .refused), []))
    bench.run()
    for _ in 0..<4 { bench.advance(millis: 100) }
    #expect(bench.host.link.called == [peerEndpoint(2), peerEndpoint(2)])
  }

  @Test func theLoopWakesForPeersInTime() throws {
    var bench = NodeBench(options: cluster(2))
    let link = open(&bench)
    _ = try shakeHands(&bench, on: link)
    let left = bench.host.link.lastDeadline - bench.host.link.moment.instant
    #expect(left == .millis(500))
  }

  @Test func clientsAreServedWhilePeersCome() throws {
    var bench = NodeBench(options: cluster(2))
    let client = bench.connect()
    let link = open(&bench)
    _ = try shakeHands(&bench, on: link)
    #expect(bench.ask("PING", on: client) == "+PONG")
  }
}
