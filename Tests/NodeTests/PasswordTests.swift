import Base
import NetKit
import Testing

@testable import Node

/// Accepts "secret", and answers only when a test says so.
private final class SlowChecker: PasswordChecker {
  var waiting: [(ticket: UInt64, accepted: Bool)] = []
  var isHeld = true

  func start(ticket: UInt64, password: [UInt8]) -> Bool {
    waiting.append((ticket, password == Array("secret".utf8)))
    return true
  }

  func poll() -> (ticket: UInt64, accepted: Bool)? {
    isHeld || waiting.isEmpty ? nil : waiting.removeFirst()
  }
}

@Suite struct PasswordTests {
  private func bench(_ checker: SlowChecker) -> NodeBench {
    var options = NodeOptions()
    options.requiresPassword = true
    return NodeBench(options: options, passwords: checker)
  }

  @Test func nothingIsServedBeforeAuthentication() {
    let checker = SlowChecker()
    var bench = bench(checker)
    let link = bench.connect()
    #expect(bench.ask("GET a", on: link) == "-NOAUTH Authentication required.")
    #expect(bench.ask("PING", on: link) == "-NOAUTH Authentication required.")
    #expect(bench.ask("HELLO 3", on: link).hasPrefix("-NOAUTH HELLO must be called"))
    bench.put("AUTH secret\r\nPING\r\n", on: link)
    #expect(bench.take(link) == "")
    checker.isHeld = false
    bench.run()
    #expect(bench.take(link) == "+OK;+PONG;")
    #expect(bench.ask("AUTH default wrong", on: link).hasPrefix("-WRONGPASS"))
    #expect(bench.ask("AUTH other secret", on: link).hasPrefix("-WRONGPASS"))
    #expect(bench.ask("HELLO 3 AUTH default secret", on: link).hasPrefix("%7;"))
  }

  @Test func overUDPThePasswordComesFirstInEachMessage() {
    let checker = SlowChecker()
    checker.isHeld = false
    var bench = bench(checker)
    #expect(bench.request("GET a\r\n") == "-NOAUTH Authentication required.;")
    #expect(bench.request("AUTH secret\r\nSET a 1\r\nGET a\r\n") == "+OK;+OK;$1;1;")
    #expect(bench.request("AUTH no\r\nSET a 2\r\n").hasPrefix("-WRONGPASS"))
    #expect(bench.request("AUTH other secret\r\nSET a 2\r\n").hasPrefix("-WRONGPASS"))
    #expect(bench.request("AUTH\r\nSET a 2\r\n").hasPrefix("-ERR wrong number"))
    #expect(bench.request("AUTH default secret\r\nGET a\r\n") == "+OK;$1;1;")
    #expect(bench.request("GET a\r\n") == "-NOAUTH Authentication required.;")
    #expect(bench.request("GET a\r\n", plain: true) == "-NOAUTH Authentication required.;")
  }

  @Test func theAnswerToAPasswordStaysBehindRepliesThatWaitForTheDisk() {
    let checker = SlowChecker()
    checker.isHeld = false
    var bench = bench(checker)
    let link = bench.connect()
    #expect(bench.ask("AUTH secret", on: link) == "+OK")
    bench.host.disk.isHeld = true
    bench.put("INCR n\r\nAUTH wrong\r\nPING\r\n", on: link)
    #expect(bench.take(link) == "")
    bench.host.disk.isHeld = false
    bench.run()
    #expect(bench.take(link).hasPrefix(":1;-WRONGPASS"))
  }

  @Test func aClientThatLeavesWhileItsPasswordIsCheckedIsForgotten() {
    let checker = SlowChecker()
    var bench = bench(checker)
    let link = bench.connect()
    bench.put("AUTH secret\r\n", on: link)
    bench.host.link.events.append((.closed(link, .closed), []))
    bench.run()
    checker.isHeld = false
    bench.run()
    #expect(bench.take(link) == "")
  }
}
