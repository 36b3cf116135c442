import Base
import NetKit
import Store
import TPC
import Testing

@testable import Node

/// Reads of a key that is written all the time, so that it is never free between two turns.
@Suite struct HotKeyTests {
  /// A transaction that writes `k` is decided at member 1, and member 2 hears of it with the prepare
  /// of the next one.
  private final class World {
    let cluster = ClusterBench()
    /// Votes that member 1 still gets from member 2.
    private var voteCount = 0

    init() {
      let link = cluster.connect(1)
      _ = cluster.ask(1, link, "MSET k a other a")
      cluster.settle()
      cluster.drops = { [unowned self] from, to in
        guard from == 2, to == 1 else { return false }
        voteCount -= 1
        return voteCount < 0
      }
      cluster.put(1, link, "SET k b\r\n")
    }

    /// Commits what waits for the vote of member 2, which gets the prepare of the next at once.
    func replaceHolder() {
      cluster.put(1, cluster.connect(1), "SET k c\r\n")
      let before = holder
      voteCount = 1
      for _ in 0..<100 where holder == before { cluster.advance(millis: 10) }
      #expect(holder != nil && holder != before)
    }

    private var holder: TransactionID? {
      Array("k".utf8).withUnsafeBytes {
        cluster[2].bench.host.node.cluster!.pointee.negotiator.holder($0)
      }
    }

    func end() {
      cluster.drops = { _, _ in false }
      cluster.settle()
    }
  }

  @Test func `A read waits for what was prepared before it came and not for what came since`() {
    let world = World()
    let reader = world.cluster.connect(2)
    world.cluster.put(2, reader, "GET k\r\n")
    #expect(world.cluster.take(2, reader) == "")
    world.replaceHolder()
    #expect(world.cluster.take(2, reader) == "$1;b")
    // The next one comes after that prepare.
    world.cluster.put(2, reader, "GET k\r\n")
    #expect(world.cluster.take(2, reader) == "")
    world.end()
    #expect(world.cluster.take(2, reader) == "$1;c")
  }

  @Test(arguments: [("GET k\r\n", "$1;b;"), ("GET k\r\nGET k\r\n", "")])
  func `So does a message over UDP that is one read`(text: String, reply: String) {
    let world = World()
    let link = LinkID(slot: 5_000, generation: 1)
    let endpoint = Endpoint(ipv4: 0x7F00_0001, port: 6_000)
    world.cluster[2].bench.host.link.events.append(
      (.request(link, endpoint, id: .none, plain: false), Array(text.utf8)))
    world.cluster.run()
    world.replaceHolder()
    #expect(world.cluster[2].bench.take(link) == reply)
    world.end()
    if reply == "" { #expect(world.cluster[2].bench.take(link) == "$1;c;$1;c;") }
  }

  /// What it sees of the other key may come after the transaction that it would not see.
  @Test(arguments: ["MGET k other", "MULTI\r\nGET k\r\nEXEC", "WATCH k"])
  func `What must be of one moment waits until the key is free`(text: String) {
    let world = World()
    let reader = world.cluster.connect(2)
    world.cluster.put(2, reader, text + "\r\n")
    let before = world.cluster.take(2, reader)
    world.replaceHolder()
    #expect(world.cluster.take(2, reader) == "")
    world.end()
    #expect(world.cluster.take(2, reader) != "")
    #expect(!before.contains("$"))
  }

  @Test func `What one command waited for says nothing of the next`() {
    let world = World()
    let reader = world.cluster.connect(2)
    world.cluster.put(2, reader, "GET k\r\nGET k\r\n")
    world.replaceHolder()
    #expect(world.cluster.take(2, reader) == "$1;b")
    world.replaceHolder()
    #expect(world.cluster.take(2, reader) == "$1;c")
    world.end()
  }
}
