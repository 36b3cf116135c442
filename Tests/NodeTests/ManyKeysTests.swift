import Base
import Testing

@testable import Node

/// Commands of as many keys as a transaction has operations, and of one more.
@Suite struct ManyKeysTests {
  private static let countMax = 100_000
  private static let refusal =
    "-ERR transaction exceeds its bound of 100000 operations or 67108864 bytes (not-applied)"

  /// A command with names behind it, and a value behind each if there is one; without its last line
  /// end, which is one character.
  private static func command(_ name: String, _ count: Int, value: String? = nil) -> String {
    var text = "*\(1 + count * (value == nil ? 1 : 2))\r\n$\(name.utf8.count)\r\n\(name)\r\n"
    for index in 0..<count {
      let key = "k\(index)"
      text += "$\(key.utf8.count)\r\n\(key)\r\n"
      if let value { text += "$\(value.utf8.count)\r\n\(value)\r\n" }
    }
    return String(text.dropLast())
  }

  @Test func `A node alone`() {
    var bench = NodeBench()
    let link = bench.connect()
    let over = Self.countMax + 1
    for name in ["MSET", "MSETNX"] {
      #expect(bench.ask(Self.command(name, over, value: "v"), on: link) == Self.refusal)
    }
    #expect(bench.ask("DBSIZE", on: link) == ":0")
    #expect(bench.ask(Self.command("MSET", Self.countMax, value: "v"), on: link) == "+OK")
    #expect(bench.ask(Self.command("MSETNX", Self.countMax, value: "v"), on: link) == ":0")
    #expect(bench.ask(Self.command("EXISTS", over), on: link) == ":\(Self.countMax)")
    for name in ["DEL", "UNLINK"] {
      #expect(bench.ask(Self.command(name, over), on: link) == Self.refusal)
    }
    #expect(bench.ask("DBSIZE", on: link) == ":\(Self.countMax)")
    #expect(bench.ask(Self.command("DEL", Self.countMax), on: link) == ":\(Self.countMax)")
    #expect(bench.ask("DBSIZE", on: link) == ":0")
  }

  @Test func `A cluster`() {
    let cluster = ClusterBench()
    let link = cluster.connect(1)
    let other = cluster.connect(2)
    let set = cluster.ask(1, link, Self.command("MSET", Self.countMax, value: "v"))
    #expect(set == "+OK")
    #expect(cluster.ask(2, other, "DBSIZE") == ":\(Self.countMax)")
    let over = cluster.ask(2, other, Self.command("DEL", Self.countMax + 1))
    #expect(over == Self.refusal)
    #expect(cluster.ask(2, other, Self.command("DEL", Self.countMax)) == ":\(Self.countMax)")
    #expect(cluster.ask(1, link, "DBSIZE") == ":0")
  }
}
