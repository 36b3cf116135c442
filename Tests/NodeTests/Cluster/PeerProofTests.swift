import Base
import NetKit
import TPC
import Testing

@testable import Node

/// One member, and a stranger who says to it whatever a test likes.
private struct StrangerBench: ~Copyable {
  var peers: Peers
  var effects = PeerEffects()
  var now = Moment(instant: Instant(nanos: 1_000_000_000), wallNanos: 1_700_000_000_000_000_000)
  private(set) var log: [String] = []
  private(set) var closed: [LinkID] = []
  private(set) var reachable: [MemberID] = []
  private(set) var called: [LinkID] = []
  private var linkCount: UInt64 = 0

  init(_ options: ClusterOptions) {
    peers = Peers(options)
    peers.start(at: now)
  }

  mutating func open(from endpoint: Endpoint = peerEndpoint(99)) -> LinkID {
    linkCount += 1
    let link = LinkID(raw: 5 << 32 | linkCount)
    peers.opened(link, from: endpoint, at: now, into: &effects)
    return link
  }

  /// Says something on a link; what is answered, link by link.
  @discardableResult
  mutating func say(_ message: [UInt8], on link: LinkID) -> [[UInt8]] {
    let delivery = message.withUnsafeBytes {
      peers.receive($0, on: link, at: now, into: &effects)
    }
    #expect(delivery == nil)
    return take()
  }

  /// Lets time pass, opens the member's calls, and takes what it says.
  mutating func wake(after millis: UInt64) -> [[UInt8]] {
    now.instant = now.instant + .millis(millis)
    now.wallNanos += millis * 1_000_000
    peers.wake(at: now, into: &effects)
    return take()
  }

  mutating func take() -> [[UInt8]] {
    var said: [[UInt8]] = []
    var at = 0
    while at < effects.list.count {
      switch effects.list[at] {
      case .send(_, let place): said.append(Array(effects.bytes.bytes[place]))
      case .close(let link, _): closed.append(link)
      case .reachable(let greeting): reachable.append(greeting.member)
      case .connect(let member, let endpoint):
        linkCount += 1
        let link = LinkID(raw: 5 << 32 | linkCount)
        called.append(link)
        peers.called(member, as: link, at: now)
        peers.opened(link, from: endpoint, at: now, into: &effects)
      case .trust, .unreachable, .guest, .knock, .epoch, .outdated, .disowned, .resolve,
        .resolveDonor, .met:
        break
      }
      at += 1
    }
    log += effects.lines.map(\.text)
    effects.removeAll()
    return said
  }
}

private func bytes(_ append: (inout ByteBuffer) -> Void) -> [UInt8] {
  var buffer = ByteBuffer()
  append(&buffer)
  return Array(buffer.bytes)
}

private func hello(
  from sender: UInt16, to receiver: UInt16, _ change: (inout PeerHello) -> Void = { _ in }
) -> [UInt8] {
  var hello = PeerHello(
    versions: 1...1, hasSecret: true, sender: MemberID(sender), receiver: MemberID(receiver),
    clusterID: 77, epoch: Epoch(1), incarnation: 9, stamp: Stamp(nanos: 5),
    nonce: PeerNonce(first: 11, last: 12), answered: PeerNonce())
  change(&hello)
  return bytes { hello.append(to: &$0) }
}

private func parsed(_ message: [UInt8]?) -> PeerMessage? {
  message.flatMap { $0.withUnsafeBytes { PeerMessage($0) } }
}

private func greeting(_ message: [UInt8]?) -> PeerHello? {
  if case .hello(let hello) = parsed(message) { hello } else { nil }
}

private func refusal(_ message: [UInt8]?) -> PeerRefusal? {
  if case .refusal(_, let reason) = parsed(message) { reason } else { nil }
}

/// The proof of a caller who knows `secret`.
private func proof(
  _ kind: PeerMessageKind = .proof, role: PeerProof.Role = .caller, caller: [UInt8],
  answerer: [UInt8], sender: UInt16, secret: String = "open sesame"
) -> [UInt8] {
  let session = greeting(caller)!.nonce.first ^ greeting(answerer)!.nonce.first
  let code = PeerProof.code(
    by: role, caller: caller, answerer: answerer, TestAuthenticator(secret: secret))
  return bytes {
    PeerHeader(version: 1, sender: MemberID(sender), session: session).append(kind, to: &$0)
    $0.append(code)
  }
}

@Suite struct PeerProofTests {
  @Test func whoKnowsTheSecretGetsInAndOnlyThenSeesAProof() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    let link = bench.open()
    #expect(bench.take() == [])
    let own = hello(from: 1, to: 2)
    let answer = bench.say(own, on: link)
    #expect(answer.count == 1 && greeting(answer.first)?.answered == PeerNonce(first: 11, last: 12))
    let said = bench.say(
      proof(caller: own, answerer: answer[0], sender: 1), on: link)
    guard case .welcome(_, let code) = parsed(said.first) else {
      Issue.record("no welcome")
      return
    }
    let expected = PeerProof.code(
      by: .answerer, caller: own, answerer: answer[0], TestAuthenticator(secret: "open sesame"))
    #expect(Array(said[0][code]) == expected)
    #expect(bench.reachable == [MemberID(1)])
  }

  @Test func aWrongSecretIsRefusedToldAndLoggedOnce() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    for _ in 0..<3 {
      let link = bench.open()
      let own = hello(from: 1, to: 2)
      let answer = bench.say(own, on: link)
      let said = bench.say(
        proof(caller: own, answerer: answer[0], sender: 1, secret: "sesame"), on: link)
      #expect(said.count == 1 && refusal(said.first) == .badSecret)
      #expect(bench.closed.last == link)
      #expect(bench.say(own, on: link) == [])
    }
    #expect(bench.reachable == [])
    #expect(
      bench.log == [
        "refused member 1 (127.0.0.99:7000): its cluster secret is another one"
      ])
    #expect(bench.peers.counters.refusals == 3)
  }

  @Test func theCallerChecksTheSecretOfWhoAnswers() {
    var bench = StrangerBench(peerOptions(1, of: 2))
    let own = bench.wake(after: 1)[0]
    let link = bench.called[0]
    let answer = hello(from: 2, to: 1) { $0.answered = greeting(own)!.nonce }
    let said = bench.say(answer, on: link)
    guard case .proof = parsed(said.first) else {
      Issue.record("no proof")
      return
    }
    let welcome = proof(
      .welcome, role: .answerer, caller: own, answerer: answer, sender: 2, secret: "sesame")
    #expect(refusal(bench.say(welcome, on: link).first) == .badSecret)
    #expect(bench.reachable == [] && bench.closed == [link])
  }

  @Test func aProofCannotBeReflected() {
    var bench = StrangerBench(peerOptions(1, of: 2))
    let own = bench.wake(after: 1)[0]
    let link = bench.called[0]
    let answer = hello(from: 2, to: 1) { $0.answered = greeting(own)!.nonce }
    let said = bench.say(answer, on: link)
    guard case .proof(_, let code) = parsed(said.first) else {
      Issue.record("no proof")
      return
    }
    // Its own code comes back as the welcome.
    var welcome = proof(.welcome, role: .answerer, caller: own, answerer: answer, sender: 2)
    welcome.replaceSubrange(code, with: said[0][code])
    #expect(refusal(bench.say(welcome, on: link).first) == .badSecret)
    #expect(bench.reachable == [])
  }

  @Test func aMemberDoesNotTalkToItself() {
    var bench = StrangerBench(peerOptions(1, of: 2))
    let own = bench.wake(after: 1)[0]
    let link = bench.open()
    #expect(refusal(bench.say(own, on: link).first) == .sameMember)
    // Nor takes its own hello for the answer to it.
    #expect(bench.say(own, on: bench.called[0]) == [])
    #expect(bench.peers.counters.stale == 1)
  }

  @Test func aRecordedHandshakeProvesNothing() {
    var first = StrangerBench(peerOptions(2, of: 2))
    let link = first.open()
    let own = hello(from: 1, to: 2)
    let answer = first.say(own, on: link)
    let recorded = proof(caller: own, answerer: answer[0], sender: 1)
    first.say(recorded, on: link)
    #expect(first.reachable == [MemberID(1)])
    // On a new link to the same run: the session's number is another one, and so is the code.
    let second = first.open()
    let fresh = first.say(own, on: second)
    #expect(greeting(fresh.first)?.nonce != greeting(answer.first)?.nonce)
    #expect(first.say(recorded, on: second) == [])
    var renumbered = recorded
    renumbered.replaceSubrange(
      4..<12, with: proof(caller: own, answerer: fresh[0], sender: 1)[4..<12])
    #expect(refusal(first.say(renumbered, on: second).first) == .badSecret)
    #expect(first.reachable == [MemberID(1)])
    // The session that was there goes on.
    #expect(first.peers.reachableCount == 2)
  }

  @Test func whatAHelloSaysCannotBeChangedOnTheWay() {
    for change: (inout PeerHello) -> Void in [
      { $0.incarnation = 10 }, { $0.epoch = Epoch(2) }, { $0.stamp = Stamp(nanos: 1 << 60) },
      { $0.nonce.last = 13 }, { $0.versions = 0...1 },
    ] {
      var bench = StrangerBench(peerOptions(2, of: 2))
      let link = bench.open()
      let said = hello(from: 1, to: 2)
      let changed = hello(from: 1, to: 2, change)
      let answer = bench.say(changed, on: link)
      let reply = bench.say(proof(caller: said, answerer: answer[0], sender: 1), on: link)
      #expect(refusal(reply.first) == .badSecret)
      #expect(bench.reachable == [])
    }
  }

  @Test func aRepeatedHelloGetsTheSameAnswerAndAnotherOneNone() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    let link = bench.open()
    let answer = bench.say(hello(from: 1, to: 2), on: link)
    #expect(bench.say(hello(from: 1, to: 2), on: link) == answer)
    #expect(bench.say(hello(from: 1, to: 2) { $0.nonce.first = 1 }, on: link) == [])
    #expect(bench.peers.counters.stale == 1)
  }

  @Test func whoDoesNotBelongIsToldWhy() {
    let cases: [(PeerRefusal, (inout PeerHello) -> Void)] = [
      (.otherCluster, { $0.clusterID = 78 }),
      (.unknownMember, { $0.sender = MemberID(9) }),
      (.sameMember, { $0.sender = MemberID(2) }),
      (.otherMember, { $0.receiver = MemberID(3) }),
      (.wrongDirection, { $0.sender = MemberID(3) }),
      (.secretMissing, { $0.hasSecret = false }),
      (.version, { $0.versions = 2...3 }),
    ]
    for (reason, change) in cases {
      var bench = StrangerBench(peerOptions(2, of: 3))
      let link = bench.open()
      let said = bench.say(hello(from: 1, to: 2, change), on: link)
      #expect(said.count == 1 && refusal(said.first) == reason)
      #expect(bench.closed == [link])
      // A member that asks is told to wait for a call, and that is all.
      let lines = reason == .wrongDirection ? [] : [": \(reason)"]
      #expect(bench.log.map { $0.suffix(reason.description.count + 2) } == lines.map { $0[...] })
    }
    var open = StrangerBench(peerOptions(2, of: 3, secret: nil))
    let link = open.open()
    #expect(refusal(open.say(hello(from: 1, to: 2), on: link).first) == .secretUnexpected)
  }

  @Test func withoutASecretOnlyLoopbackIsTalkedTo() {
    var bench = StrangerBench(peerOptions(2, of: 2, secret: nil))
    let link = bench.open(from: Endpoint(ipv4: 0x0A00_0001, port: 9))
    #expect(bench.take().compactMap { refusal($0) } == [.notLoopback])
    #expect(bench.closed == [link])
    var secret = StrangerBench(peerOptions(2, of: 2))
    let other = secret.open(from: Endpoint(ipv4: 0x0A00_0001, port: 9))
    #expect(secret.say(hello(from: 1, to: 2), on: other).count == 1)
    #expect(secret.closed == [])
  }

  @Test func whoIsRefusedLogsItOnceAndCallsAgainSlowly() {
    var bench = StrangerBench(peerOptions(1, of: 2))
    let no = bytes {
      PeerHeader(version: 1, sender: MemberID(2), session: 0).append(.refusal, to: &$0)
      $0.append(PeerRefusal.otherCluster.rawValue)
    }
    var calls = 0
    _ = bench.wake(after: 1)
    for _ in 0..<100 {
      if bench.called.count > calls {
        calls = bench.called.count
        bench.say(no, on: bench.called.last!)
      }
      _ = bench.wake(after: 100)
    }
    #expect((5...11).contains(calls))
    #expect(
      bench.log == [
        "member 2 (127.0.0.2:7000) refused this one: it belongs to another cluster "
          + "(another --cluster list)"
      ])
    #expect(bench.peers.statuses(at: bench.now.instant)[0].state == .refused)
  }

  // MARK: Versions

  @Test(
    arguments: [
      (1...2, 2...3, 2 as UInt8?), (2...3, 1...2, 2), (2...3, 2...3, 3), (1...1, 1...2, 1),
      (1...2, 3...4, nil), (1...1, 2...3, nil),
    ] as [(ClosedRange<UInt8>, ClosedRange<UInt8>, UInt8?)])
  func theNewestCommonVersionIsSpoken(
    one: ClosedRange<UInt8>, two: ClosedRange<UInt8>, expected: UInt8?
  ) {
    var options = [peerOptions(1, of: 2), peerOptions(2, of: 2)]
    options[0].versions = one
    options[1].versions = two
    let world = PeerWorld(options)
    world.run(millis: 100)
    #expect(world.isWhole == (expected != nil))
    #expect(world.status(of: 2, at: 0).version == expected ?? 0)
    #expect(world.status(of: 1, at: 1).version == expected ?? 0)
    if expected == nil {
      #expect(
        world.nodes[0].log == [
          "member 2 (127.0.0.2:7000) refused this one: no version of the protocol in common"
        ])
    }
  }

  // MARK: Bounds

  @Test func beforeTheProofNothingElseIsTaken() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    let link = bench.open()
    let payload = bytes {
      PeerHeader(version: 0, sender: MemberID(1), session: 0).append(.payload, to: &$0)
      $0.append("SET a 1")
    }
    #expect(bench.say(payload, on: link) == [])
    let answer = bench.say(hello(from: 1, to: 2), on: link)
    let session = 11 ^ greeting(answer.first)!.nonce.first
    let numbered = bytes {
      PeerHeader(version: 1, sender: MemberID(1), session: session).append(.payload, to: &$0)
      $0.append("SET a 1")
    }
    #expect(bench.say(numbered, on: link) == [])
    #expect(bench.peers.counters.delivered == 0 && bench.reachable == [])
  }

  @Test func aStrangerMaySayLittleAndNotForLong() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    let talker = bench.open()
    for _ in 0..<Peers.strangerMessageCountMax { bench.say(hello(from: 1, to: 2), on: talker) }
    #expect(bench.closed == [])
    bench.say(hello(from: 1, to: 2), on: talker)
    #expect(bench.closed == [talker])
    let noise = bench.open()
    bench.say([200, 1, 2], on: noise)
    #expect(bench.closed == [talker, noise])
    let silent = bench.open()
    _ = bench.wake(after: 2_900)
    #expect(bench.closed == [talker, noise])
    _ = bench.wake(after: 200)
    #expect(bench.closed == [talker, noise, silent])
    // It asks whom it is to be called by.
    #expect(bench.peers.sessions.allSatisfy { $0.isCaller })
  }

  @Test func theOldestStrangerGivesWayToTheNext() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    let links = (0..<100).map { _ in bench.open() }
    _ = bench.take()
    #expect(bench.peers.sessions.count == Peers.strangerCountMax)
    #expect(bench.closed == Array(links.prefix(100 - Peers.strangerCountMax)))
  }

  @Test func strangersCannotFillTheLog() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    for sender in 100..<200 as Range<UInt16> {
      bench.say(hello(from: sender, to: 2), on: bench.open())
    }
    #expect(bench.log.count == 1)
    _ = bench.wake(after: 61_000)
    bench.say(hello(from: 300, to: 2), on: bench.open())
    #expect(bench.log.count == 2)
  }

  @Test func aStaleSessionsMessagesAreDropped() {
    var bench = StrangerBench(peerOptions(2, of: 2))
    let link = bench.open()
    let own = hello(from: 1, to: 2)
    let answer = bench.say(own, on: link)
    bench.say(proof(caller: own, answerer: answer[0], sender: 1), on: link)
    let session = 11 ^ greeting(answer.first)!.nonce.first
    for (version, sender, number) in [
      (1 as UInt8, 1 as UInt16, session ^ 1), (1, 3, session), (2, 1, session),
    ] {
      let stale = bytes {
        PeerHeader(version: version, sender: MemberID(sender), session: number)
          .append(.payload, to: &$0)
      }
      bench.say(stale, on: link)
    }
    #expect(bench.peers.counters.stale == 3 && bench.peers.counters.delivered == 0)
  }
}
