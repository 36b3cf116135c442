import Base
import NetKit
import TPC
import Testing

@testable import Node

/// What `TOOLARGE` says of the changes of a UDP message.
@Suite struct RequestOutcomeTests {
  /// Two of them fit no message.
  private static let half = 600_000

  private static func put(
    _ text: String, id: OperationID = .none, slot: Int = 5_000, _ cluster: ClusterBench
  ) -> LinkID {
    let link = LinkID(slot: slot, generation: 1)
    let endpoint = Endpoint(ipv4: 0x7F00_0001, port: 6_000)
    cluster[1].bench.host.link.events.append(
      (.request(link, endpoint, id: id, plain: false), Array(text.utf8)))
    return link
  }

  @Test func `A copy of what was applied is not called not applied`() {
    var bench = NodeBench()
    let id = OperationID(unixMillis: Int64(bench.host.link.moment.wallMillis), random: 1, 2)
    #expect(bench.request("SETRANGE k \(Self.half - 1) x\r\n") == ":\(Self.half);")
    let text = "MULTI\r\nINCR n\r\nGET k\r\nEXEC\r\nGET k\r\nGET k\r\n"
    #expect(bench.request(text, id: id).hasPrefix("-TOOLARGE unknown; "))
    #expect(bench.request("GET n\r\n") == "$1;1;")
    // Too large to be kept: `DUPLICATE applied`, which the reads behind it push out.
    #expect(bench.request(text, id: id).hasPrefix("-TOOLARGE unknown; "))
    #expect(bench.request("GET n\r\n") == "$1;1;")
  }

  @Test func `A copy that is cut short before its change knows nothing of the others`() {
    var bench = NodeBench()
    let id = OperationID(unixMillis: Int64(bench.host.link.moment.wallMillis), random: 1, 2)
    let text = "GET k\r\nGET k\r\nINCR n\r\n"
    #expect(bench.request(text, id: id) == "$-1;$-1;:1;")
    #expect(bench.request("SETRANGE k \(Self.half - 1) x\r\n") == ":\(Self.half);")
    #expect(bench.request(text, id: id).hasPrefix("-TOOLARGE unknown; "))
  }

  @Test(arguments: [
    ("SET a 1\r\nINCR text\r\n", "unknown"), ("INCR text\r\nSET a 1\r\n", "unknown"),
    ("MULTI\r\nMGET a a\r\nEXEC\r\n", "not-applied"),
    ("MULTI\r\nSET a 1\r\nEXEC\r\n", "applied"), ("OUTCOME ID SEAL\r\n", "applied"),
    ("OUTCOME ID\r\n", "not-applied"), ("CONFIG SET maxmemory 1gb\r\n", "applied"),
    ("CONFIG GET maxmemory\r\n", "not-applied"),
  ])
  func saysAppliedOfAllOrNone(commands: String, word: String) {
    var bench = NodeBench()
    let id = OperationID(unixMillis: Int64(bench.host.link.moment.wallMillis), random: 1, 2)
    #expect(
      bench.request("SETRANGE k \(Self.half - 1) x\r\nSET text x\r\n") == ":\(Self.half);+OK;")
    let text = "GET k\r\n" + commands.replacing("ID", with: id.description) + "GET k\r\n"
    #expect(bench.request(text).hasPrefix("-TOOLARGE \(word); "))
  }

  @Test func `A removal whose reply is lost is not called not applied`() {
    let cluster = ClusterBench()
    let text = "MEMBERS REMOVE 3\r\n" + String(repeating: "COMMAND\r\n", count: 1_000)
    let link = Self.put(text, cluster)
    cluster.settle()
    #expect(cluster.take(1, link).hasPrefix("-TOOLARGE unknown; "))
    let memberCount = cluster[1].bench.host.node.cluster!.pointee.state.members.count
    #expect(memberCount == 2)
  }

  @Test func `What has changed nothing is not called applied for the round it reads in`() {
    let cluster = ClusterBench()
    let client = cluster.connect(1)
    cluster[1].bench.host.link.events.append(
      (.received(client), Array("SETRANGE k \(Self.half - 1) x\r\n".utf8)))
    let link = Self.put("INCR k\r\nMGET k k\r\n", cluster)
    cluster.settle()
    #expect(cluster.take(1, client) == ":\(Self.half)")
    #expect(cluster.take(1, link).hasPrefix("-TOOLARGE not-applied; "))
  }

  @Test func `What waited for a key is not called applied for a change of another message`() {
    let cluster = ClusterBench()
    let other = cluster.connect(2)
    #expect(cluster.ask(2, other, "SETRANGE k \(Self.half - 1) x") == ":\(Self.half)")
    cluster[2].bench.host.disk.isHeld = true
    cluster.put(2, other, "APPEND k y\r\n")
    let reader = Self.put("MGET k k\r\n", cluster)
    cluster.run()
    let writer = Self.put("SET z 1\r\n", slot: 5_001, cluster)
    cluster.run()
    #expect(cluster.take(1, reader) == "")
    cluster[2].bench.host.disk.isHeld = false
    cluster.settle()
    #expect(cluster.take(1, writer) == "+OK")
    #expect(cluster.take(1, reader).hasPrefix("-TOOLARGE not-applied; "))
  }
}
