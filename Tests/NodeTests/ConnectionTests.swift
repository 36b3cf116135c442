import Base
import NetKit
import Testing

@testable import Node

/// What concerns a client's connection and not its data.
@Suite struct ConnectionTests {
  @Test func clientKillTakesOnlyWhomAllFiltersName() {
    var bench = NodeBench()
    let links = [bench.connect(), bench.connect()]
    #expect(bench.ask("CLIENT KILL TYPE pubsub USER default", on: links[0]) == ":0")
    #expect(bench.ask("CLIENT KILL LADDR 1.2.3.4:1 TYPE normal", on: links[0]) == ":0")
    #expect(bench.ask("PING", on: links[1]) == "+PONG")
  }

  /// Replies that waited for the disk count with what the client has not taken yet.
  @Test func aClientThatTakesNoRepliesStallsAlsoWhenTheyWaited() {
    var options = NodeOptions()
    options.outputByteCountMax = 1_000
    var bench = NodeBench(options: options)
    let link = bench.connect()
    bench.host.disk.isHeld = true
    bench.put("SET a 1\r\n", on: link)
    #expect(bench.take(link).isEmpty)
    bench.host.link.unsentByteCount = 2_000
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(link) == "+OK;")
    #expect(bench.ask("PING", on: link).isEmpty)
    bench.host.link.unsentByteCount = 0
    bench.host.link.events.append((.drained(link), []))
    bench.run()
    #expect(bench.take(link) == "+PONG;")
  }
}
