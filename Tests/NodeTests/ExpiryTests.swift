import Base
import Testing

@testable import Node

/// Commands that tell of an expiry, or meet an expired key before the turn's housekeeping has
/// removed it.
@Suite struct ExpiryTests {
  /// Puts commands in at the very turn in which the clock has passed their keys' expiry.
  private func reply(to command: String, after setup: [String]) -> String {
    var bench = NodeBench()
    let link = bench.connect()
    for each in setup { _ = bench.ask(each, on: link) }
    bench.host.link.moment.instant = bench.host.link.moment.instant + .millis(20)
    bench.host.link.moment.wallNanos += 20_000_000
    return bench.ask(command, on: link)
  }

  @Test(arguments: [
    ("GETDEL k", "$-1"), ("GETEX k PERSIST", "$-1"), ("GETSET k w", "$-1"),
    ("SET k w GET", "$-1"), ("MSETNX k w other w", ":1"), ("RENAME k other", "-ERR no such key"),
    ("RENAMENX lasting k", ":1"), ("COPY lasting k", ":1"), ("CAS k 5 w", "$-1"),
    ("CHECK k ABSENT", "+OK"), ("EXPIRE k 10 XX LT", ":0"), ("SETRANGE k 0 \"\"", ":0"),
    ("UPDATE k w", "-NOTFOUND key does not exist (not-applied)"), ("DEL k", ":0"),
    ("ONCE 018bcfe568007000800000000000000a GETDEL k", "$-1"),
  ])
  func `A change that meets a key just expired finds it absent`(command: String, wanted: String) {
    let setup = ["SET lasting v", "SET k v PX 10"]
    #expect(reply(to: command, after: setup) == wanted)
  }

  @Test func `An absolute expiry is rounded to seconds`() {
    var bench = NodeBench()
    let link = bench.connect()
    #expect(bench.ask("SET k v PXAT 1900000000600", on: link) == "+OK")
    #expect(bench.ask("EXPIRETIME k", on: link) == ":1900000001")
    #expect(bench.ask("PEXPIRETIME k", on: link) == ":1900000000600")
  }
}
