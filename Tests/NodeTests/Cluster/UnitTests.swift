import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// What one client sent as a whole, and the others whose commands are in the same round.
@Suite struct UnitTests {
  private static func set(_ key: String, byteCount: Int) -> String {
    let value = String(repeating: "x", count: byteCount)
    return "*3\r\n$3\r\nSET\r\n$\(key.utf8.count)\r\n\(key)\r\n$\(byteCount)\r\n\(value)\r\n"
  }

  /// The replies to a UDP message at member 1.
  private static func request(
    _ text: String, id: OperationID = .none, _ cluster: ClusterBench
  ) -> String {
    let link = LinkID(slot: 5_000, generation: 1)
    cluster[1].bench.host.link.events.append(
      (
        .request(link, Endpoint(ipv4: 0x7F00_0001, port: 6_000), id: id, plain: false),
        Array(text.utf8)
      ))
    cluster.settle()
    return cluster.take(1, link)
  }

  /// Puts what several clients send into one turn of member 1.
  private static func together(_ inputs: [(LinkID, String)], _ cluster: ClusterBench) {
    for (link, text) in inputs {
      cluster[1].bench.host.link.events.append((.received(link), Array(text.utf8)))
    }
    cluster.settle()
  }

  // MARK: Requests over UDP

  @Test func `All commands of a large request are in one round`() {
    let cluster = ClusterBench()
    let client = cluster.connect(2)
    let text = Self.set("a", byteCount: 300_000) + Self.set("b", byteCount: 300_000)
    #expect(Self.request(text, cluster) == "+OK;+OK")
    #expect(cluster.ask(2, client, "STRLEN a") == ":300000")
    #expect(cluster.ask(2, client, "STRLEN b") == ":300000")
    let id = OperationID(
      unixMillis: Int64(cluster[1].bench.host.link.moment.wallMillis), random: 1, 2)
    #expect(
      Self.request(Self.set("c", byteCount: 600_000) + "GET d\r\n", id: id, cluster) == "+OK;$-1")
    #expect(cluster.ask(2, client, "STRLEN c") == ":600000")
    #expect(cluster.ask(2, client, "OUTCOME \(id)") == "$9;committed")
  }

  @Test(arguments: [
    ("SET a 1\r\nPING\r\n", "+OK;+PONG"),
    ("GET a\r\nECHO x\r\nSET b 1\r\nECHO y\r\n", "$-1;$1;x;+OK;$1;y"),
    ("SET a 1\r\nMULTI\r\nINCR a\r\nEXEC\r\n", "+OK;+OK;+QUEUED;*1;:2"),
    (
      "SET a 1\r\nMEMBERS REMOVE 3\r\n",
      "+OK;-ERR MEMBERS REMOVE is a UDP message of its own (not-applied)"
    ),
    (
      "SET a 1\r\nMEMBERS REMOVE 3 FORCE\r\n",
      "+OK;-ERR MEMBERS REMOVE is a UDP message of its own (not-applied)"
    ),
  ])
  func `A command without data may follow a change`(text: String, replies: String) {
    let cluster = ClusterBench()
    #expect(Self.request(text, cluster) == replies)
    let isIdle = cluster[1].bench.host.isClusterIdle
    #expect(isIdle)
    // The same when it had to wait for another member's transaction.
    let other = cluster.connect(2)
    cluster.put(2, other, "DEL a b\r\n")
    cluster.settle()
    _ = cluster.take(2, other)
    cluster.drops = { from, _ in from == 2 }
    cluster.put(2, other, "SET a 9\r\nDEL a\r\n")
    cluster.advance(millis: 2)
    cluster.drops = { _, _ in false }
    #expect(Self.request(text, cluster) == replies)
  }

  @Test func `An id of the same request is not decided yet`() {
    let cluster = ClusterBench()
    let id = OperationID(
      unixMillis: Int64(cluster[1].bench.host.link.moment.wallMillis), random: 1, 2)
    #expect(
      Self.request("SET a 1\r\nOUTCOME \(id)\r\n", id: id, cluster) == "+OK;$8;in-doubt")
  }

  @Test func `Nothing joins a change of the members`() {
    let cluster = ClusterBench()
    let replies = Self.request("MEMBERS REMOVE 3\r\nSET a 1\r\n", cluster)
    #expect(replies.contains("member 3 is removed"))
    #expect(replies.hasSuffix("-ERR MEMBERS REMOVE is a UDP message of its own (not-applied)"))
    #expect(cluster.ask(1, cluster.connect(1), "EXISTS a") == ":0")
  }

  @Test func `An id that the same request seals is not waited for`() {
    let cluster = ClusterBench()
    let id = OperationID(
      unixMillis: Int64(cluster[1].bench.host.link.moment.wallMillis), random: 1, 2)
    #expect(
      Self.request("OUTCOME \(id) SEAL\r\nSET a 1\r\n", id: id, cluster)
        == "$7;aborted;-ERR an id is sealed and used in one UDP message (not-applied)")
    let isIdle = cluster[1].bench.host.isClusterIdle
    #expect(isIdle)
  }

  @Test func `What a request reads of itself holds nobody else's reply`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    cluster[1].bench.host.disk.isHeld = true
    let link = LinkID(slot: 5_000, generation: 1)
    cluster[1].bench.host.link.events.append(
      (
        .request(link, Endpoint(ipv4: 0x7F00_0001, port: 6_000), id: .none, plain: false),
        Array("SET b 1\r\nGET b\r\n".utf8)
      ))
    cluster[1].bench.host.link.events.append((.received(client), Array("PING\r\n".utf8)))
    cluster.run()
    #expect(cluster.take(1, client) == "+PONG")
    cluster[1].bench.host.disk.isHeld = false
    cluster.settle()
    #expect(cluster.take(1, link) == "+OK;$1;1")
  }

  // MARK: Several clients

  @Test func `A large command waits for a key that the round before it locks`() {
    let cluster = ClusterBench()
    let (one, two) = (cluster.connect(1), cluster.connect(1))
    Self.together(
      [(one, "SET k x\r\n"), (two, Self.set("k", byteCount: 600_000))], cluster)
    #expect(cluster.take(1, one) == "+OK")
    #expect(cluster.take(1, two) == "+OK")
    #expect(cluster.ask(1, one, "STRLEN k") == ":600000")
  }

  @Test func `A protocol error is answered after what came before it`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    Self.together([(client, "SET a 1\r\nGET a\r\n*x\r\nGET a\r\n")], cluster)
    #expect(
      cluster.take(1, client) == "+OK;$1;1;-ERR Protocol error: invalid multibulk length")
    let closed = cluster[1].bench.host.link.closed
    #expect(closed == [client])
  }

  @Test func `The bounds of a transaction count for each client's own`() {
    let cluster = ClusterBench()
    let clients = [cluster.connect(1), cluster.connect(1)]
    for client in clients {
      let queue = String(repeating: "INCR \(client.slot)\r\n", count: 60_000)
      cluster.put(1, client, "MULTI\r\n" + queue)
      for _ in 0..<40 { cluster.run() }
      _ = cluster.take(1, client)
    }
    Self.together(clients.map { ($0, "EXEC\r\n") }, cluster)
    for client in clients { #expect(cluster.take(1, client).hasSuffix(";:60000")) }
  }

  /// Only together are they more than a message may hold.
  @Test func `Who is not to blame is not refused with another one`() {
    let cluster = ClusterBench()
    let (one, two) = (cluster.connect(1), cluster.connect(1))
    cluster[1].bench.host.link.peerLimit = 3_000
    Self.together([(one, "SET a 1\r\n"), (two, Self.set("b", byteCount: 3_000))], cluster)
    cluster.advance(millis: 100)
    #expect(cluster.take(1, one) == "+OK")
    #expect(cluster.take(1, two).hasPrefix("-"))
    #expect(cluster.ask(1, one, "EXISTS a b") == ":1")
  }

  /// Run again, small commands may have become large.
  @Test func `A round that has become too large is done in parts`() {
    let cluster = ClusterBench()
    let (one, two) = (cluster.connect(1), cluster.connect(2))
    #expect(cluster.ask(1, one, "SET k x") == "+OK")
    cluster.drops = { from, to in from == 1 || to == 1 }
    cluster.put(2, two, Self.set("k", byteCount: 6_000_000))
    cluster.put(1, one, String(repeating: "RENAME k t\r\nRENAME t k\r\n", count: 8))
    cluster.drops = { _, _ in false }
    for _ in 0..<100 { cluster.advance(millis: 20) }
    #expect(cluster.take(2, two) == "+OK")
    #expect(cluster.take(1, one) == Array(repeating: "+OK", count: 16).joined(separator: ";"))
    #expect(cluster.ask(1, one, "STRLEN k") == ":6000000")
  }

  /// The reply that waits at the gate is not that of the client whose round ends meanwhile.
  @Test func `Everybody gets his own replies`() {
    let cluster = ClusterBench()
    let clients = (1...3).map { _ in cluster.connect(1) }
    for key in ["c", "d"] { #expect(cluster.ask(1, clients[0], "SET \(key) 1 PX 50") == "+OK") }
    cluster[1].bench.host.link.peerLimit = 3_000
    cluster.run()
    cluster[1].bench.host.disk.isHeld = true
    cluster[1].bench.host.link.moment.wallNanos += 60_000_000
    // The removal of c is not durable; that of d ends the round, which is refused at once.
    Self.together(
      [
        (clients[2], "GET c\r\n"), (clients[0], Self.set("b", byteCount: 3_000)),
        (clients[1], "GET c\r\nGET d\r\n"),
      ], cluster)
    cluster[1].bench.host.disk.isHeld = false
    cluster.settle()
    #expect(cluster.take(1, clients[1]) == "$-1;$-1")
    #expect(cluster.take(1, clients[0]).hasPrefix("-ERR "))
    for client in clients.prefix(2) { #expect(cluster.ask(1, client, "PING") == "+PONG") }
  }
}
