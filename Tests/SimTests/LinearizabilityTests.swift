import Base
import Testing

@testable import SimKit

/// The checker is shown histories that are right and others into which a fault was planted.
///
/// A line is a call: client, first and last moment (ms; `-` for an unknown outcome, which may have
/// its effect until 1,000), the commands, and the replies.
@Suite struct LinearizabilityTests {
  @Test(arguments: [
    "a 0 1 set:x -> OK | b 2 3 get -> x",
    // Concurrent: the reader may come before or after.
    "a 0 9 set:x -> OK | b 1 2 get -> nil | b 3 4 get -> x",
    // Two writers at once, readers agree on one order.
    "a 0 9 set:x -> OK | b 0 9 set:y -> OK | c 10 11 get -> x | c 12 13 get -> x",
    // A write without an answer happens late, or never.
    "a 0 - set:x | b 1 2 get -> nil | b 3 4 get -> x",
    "a 0 - set:x | b 1 2 get -> nil | b 3 4 get -> nil",
    // The unknown write falls between two calls that overlap its end.
    "a 0 - set:x | b 999 1002 get -> nil | c 1003 1004 get -> x",
    "a 0 1 incr:2 -> 2 | b 0 1 incr:3 -> 5 | c 2 3 get -> 5",
    "a 0 1 set:x -> OK | b 2 3 incr:1 -> failed | c 4 5 get -> x",
  ])
  func `A history that has an order passes`(text: String) {
    #expect(Linearizability().check(Script.history(text)) == .passed)
  }

  @Test(arguments: [
    // A stale read.
    "a 0 1 set:x -> OK | b 2 3 get -> nil",
    // A value out of nowhere.
    "b 2 3 get -> z",
    // Reads go back in time.
    "a 0 9 set:x -> OK | b 1 2 get -> x | b 3 4 get -> nil",
    // Readers disagree on the order of two writers.
    "a 0 9 set:x -> OK | b 0 9 set:y -> OK | c 10 11 get -> x | c 12 13 get -> y",
    // A lost increment, and one done twice.
    "a 0 1 incr:1 -> 1 | b 2 3 incr:1 -> 1",
    "a 0 1 incr:1 -> 1 | b 2 3 get -> 2",
    // An effect after the last moment that it could come.
    "a 0 - set:x | b 1001 1002 get -> nil | b 1003 1004 get -> x",
    // Half a transaction.
    "a 0 - set:x;set2:x | b 1 2 get -> x | b 3 4 get2 -> nil",
    "a 0 1 set:x;incr:1 -> failed | b 2 3 get -> x",
    // A failure without a reason.
    "a 0 1 set:5 -> OK | b 2 3 incr:1 -> failed",
  ])
  func `A history that has none is found`(text: String) {
    guard case .failed = Linearizability().check(Script.history(text)) else {
      Issue.record("passed: \(text)")
      return
    }
  }

  @Test func `An entry that vanishes before its time is found`() {
    let early = history(expiryMillis: 500, readAt: 100, reply: .null)
    guard case .failed = Linearizability().check(early) else {
      Issue.record("an early expiry passed")
      return
    }
    let late = history(expiryMillis: 500, readAt: 900, reply: .bulk(Array("x".utf8)))
    guard case .failed = Linearizability().check(late) else {
      Issue.record("a late expiry passed")
      return
    }
    let right = history(expiryMillis: 500, readAt: 900, reply: .null)
    #expect(Linearizability().check(right) == .passed)
  }

  private func history(expiryMillis: Int64, readAt: Int64, reply: Reply) -> History {
    let history = History(name: "g", keyCount: 1)
    Script.add(
      history, client: 0, 0, 1,
      [SimCommand(slot: 0, verb: .set(Payload(Array("x".utf8)), expiryMillis: expiryMillis))],
      .replied([.status("OK")]))
    Script.add(
      history, client: 1, readAt, readAt + 1, [SimCommand(slot: 0, verb: .get)], .replied([reply]))
    return history
  }

  @Test func `Sixty calls at once are judged`() {
    let history = History(name: "g", keyCount: 1)
    for index in 0..<60 { Script.addSet(history, client: index, 0, 10, "<\(index)>") }
    #expect(Linearizability().check(history) == .passed)
  }

  /// What used to be given up: each unknown write doubles what may be.
  @Test func `Fifty writes without an answer are judged`() {
    let history = History(name: "g", keyCount: 1)
    for index in 0..<50 {
      Script.addSet(history, client: index, Int64(index), 1_000, "<\(index)>", .unknown)
    }
    for index in 20..<50 { Script.addGet(history, 10 * Int64(index), "<\(index)>") }
    #expect(Linearizability().check(history) == .passed)
    // None but the last was seen, and then one that no later write can have brought back.
    Script.addGet(history, 500, "<20>")
    guard case .failed = Linearizability().check(history) else {
      Issue.record("a value that came back passed")
      return
    }
  }

  /// `watch:1` watches the first key under ticket 1, `exec1-` is a transaction under it.
  @Test(arguments: [
    ("a 0 1 set:x -> OK | a 2 3 watch:1 -> OK | a 8 9 exec1-set:y -> OK | b 10 11 get -> y", true),
    // Somebody else wrote between: nil, and only then.
    ("a 2 3 watch:1 -> OK | b 4 5 set:x -> OK | a 8 9 exec1-set:y -> broken", true),
    ("a 2 3 watch:1 -> OK | b 4 5 set:x -> OK | a 8 9 exec1-set:y -> OK", false),
    ("a 2 3 watch:1 -> OK | a 8 9 exec1-set:y -> broken", false),
    ("b 0 1 set:x -> OK | a 2 3 watch:1 -> OK | a 8 9 exec1-set:y -> broken", false),
    // What was not executed is not seen.
    (
      "a 2 3 watch:1 -> OK | b 4 5 set:x -> OK | a 8 9 exec1-set:y -> broken | b 10 11 get -> y",
      false
    ),
    // The same value written again is a change; a write to another key is none.
    (
      "b 0 1 set:x -> OK | a 2 3 watch:1 -> OK | b 4 5 set:x -> OK | a 8 9 exec1-set:y -> OK",
      false
    ),
    ("a 2 3 watch:1 -> OK | b 4 5 set2:x -> OK | a 8 9 exec1-set:y -> OK", true),
    ("a 2 3 watch:1 -> OK | b 4 5 set2:x -> OK | a 8 9 exec1-set:y -> broken", false),
    // Absent, there for a while, absent: what the watch saw still holds.
    (
      "a 2 3 watch:1 -> OK | b 4 5 set:x -> OK | b 5 6 del -> 1 | a 8 9 exec1-set:y -> OK", true
    ),
    // Under way at the same time: either.
    ("a 2 3 watch:1 -> OK | b 4 20 set:x -> OK | a 8 9 exec1-set:y -> OK", true),
    ("a 2 3 watch:1 -> OK | b 4 20 set:x -> OK | a 8 9 exec1-set:y -> broken", true),
  ])
  func `A transaction under a watch is executed if nothing changed`(text: String, passes: Bool) {
    let verdict = Linearizability().check(Script.history(text))
    if case .failed = verdict { #expect(!passes) } else { #expect(passes && verdict == .passed) }
  }

  @Test(arguments: [(20, true), (900, false)])
  func `A watched key that expires has changed`(readAt: Int64, holds: Bool) {
    for (outcome, isRight) in [(CallOutcome.replied([.null]), holds), (.broken, !holds)] {
      let history = History(name: "g", keyCount: 2)
      let value = Payload(Array("x".utf8))
      Script.add(
        history, client: 0, 0, 1, [SimCommand(slot: 0, verb: .set(value, expiryMillis: 500))],
        .replied([.status("OK")]))
      Script.add(
        history, client: 1, 2, 3, [SimCommand(slot: 0, verb: .watch(ticket: 1))],
        .replied([.status("OK")]))
      Script.add(
        history, client: 1, readAt, readAt + 1, [SimCommand(slot: 1, verb: .get)], outcome,
        tickets: [1])
      let verdict = Linearizability().check(history)
      if case .failed = verdict { #expect(!isRight) } else { #expect(isRight) }
    }
  }

  @Test(arguments: [
    (1_001_000, "ERR transaction exceeds its bound of 1178624 bytes between members", true),
    (900_000, "ERR transaction exceeds its bound of 1178624 bytes between members", false),
    (1_001_000, "ERR value is not an integer or out of range", false),
  ])
  func `A transaction may be refused for its size if it is large`(
    byteCount: Int, text: String, passes: Bool
  ) {
    let history = History(name: "g", keyCount: 2)
    let half = Payload(Array(repeating: 120, count: byteCount / 2))
    let commands = (0..<2).map { SimCommand(slot: $0, verb: .set(half, expiryMillis: nil)) }
    Script.add(history, client: 0, 0, 1, commands, .failed(text))
    let verdict = Linearizability().check(history)
    if case .failed = verdict { #expect(!passes) } else { #expect(passes && verdict == .passed) }
  }

  /// A death at 50 that keeps what had ended before 20, and a prefix of the rest.
  @Test(arguments: [
    ("a 0 1 set:x -> OK | a 30 31 set:y -> OK | b 60 61 get -> x", true),
    ("a 0 1 set:x -> OK | a 30 31 set:y -> OK | b 60 61 get -> y", true),
    ("a 25 26 set:x -> OK | a 30 31 set:y -> OK | b 60 61 get -> nil", true),
    // What was handed over is kept.
    ("a 0 1 set:x -> OK | a 30 31 set:y -> OK | b 60 61 get -> nil", false),
    // Not a prefix: the later one without the earlier one.
    ("a 30 31 set:x -> OK | a 32 33 set2:y -> OK | b 60 61 get2 -> y | b 62 63 get -> nil", false),
    ("a 30 31 set:x -> OK | a 32 33 set2:y -> OK | b 60 61 get -> x | b 62 63 get2 -> nil", true),
    // What is lost is lost: it does not come back.
    ("a 30 31 set:x -> OK | b 60 61 get -> nil | b 62 63 get -> x", false),
    // Before the death all of it is seen.
    ("a 30 31 set:x -> OK | b 40 41 get -> nil", false),
    // Without an answer: done before the death and lost, or done after it.
    ("a 30 - set:x | b 40 41 get -> x | c 60 61 get -> nil | c 62 63 get -> x", true),
    // Written after the death, nothing takes it back.
    ("a 55 56 set:x -> OK | b 60 61 get -> nil", false),
    // A version that was told is that of a state of before, too; not that of what came later.
    ("a 0 1 set:x -> OK | b 40 41 getv -> x=7 | b 60 61 cas:7=y -> 9 | b 62 63 get -> y", true),
    ("a 0 1 set:x -> OK | b 40 41 getv -> x=7 | b 60 61 cas:8=y -> nil | b 62 63 get -> x", true),
    (
      "a 0 1 set:x -> OK | b 40 41 getv -> x=7 | a 55 56 set:z -> OK | b 60 61 cas:7=y -> 9",
      false
    ),
    // The answer was under way when the node died.
    ("a 30 52 set:x -> OK | b 60 61 get -> nil", true),
  ])
  func `A death takes a group back to a prefix`(text: String, passes: Bool) {
    let loss = Loss(instant: Script.instant(50), floor: Script.instant(20))
    let verdict = Linearizability().check(Script.history(text), losses: [loss])
    if case .failed = verdict { #expect(!passes) } else { #expect(passes && verdict == .passed) }
  }

  @Test func `Two deaths in a row take back no more than each may`() {
    // The process at 50, which keeps what ended before 40; in its recovery power, which keeps what
    // ended before 20.
    let losses = [
      Loss(instant: Script.instant(50), floor: Script.instant(40)),
      Loss(instant: Script.instant(52), floor: Script.instant(20)),
    ]
    let back = Script.history("a 30 31 set:x -> OK | b 60 61 get -> nil")
    #expect(Linearizability().check(back, losses: losses) == .passed)
    guard case .failed = Linearizability().check(back, losses: [losses[0]]) else {
      Issue.record("a write that was handed over was lost with the process, and passed")
      return
    }
    let far = Script.history("a 10 11 set:x -> OK | b 60 61 get -> nil")
    guard case .failed = Linearizability().check(far, losses: losses) else {
      Issue.record("a forced write was lost, and passed")
      return
    }
  }

  @Test func `A search over its bound is given up and says so`() {
    let history = History(name: "g", keyCount: 1)
    for index in 0..<12 { Script.addSet(history, client: index, 0, 10, "<\(index)>") }
    Script.addGet(history, 20, "<77>")
    #expect(Linearizability(configurationCountMax: 50).check(history) == .undecided)
    guard case .failed = Linearizability().check(history) else {
      Issue.record("a value out of nowhere passed")
      return
    }
  }

  @Test func `A run in which too many histories are given up fails`() {
    var statistics = SimulationStatistics()
    statistics.histories = 2_500
    statistics.undecidedHistories = 3
    #expect(!statistics.givesUpTooOften)
    statistics.undecidedHistories = 4
    #expect(statistics.givesUpTooOften)
  }
}

/// Histories as text.
enum Script {
  static func history(_ text: String) -> History {
    let history = History(name: "g", keyCount: 2)
    for line in text.split(separator: "|") {
      let sides = line.split(separator: " -> ", omittingEmptySubsequences: false).map(String.init)
      var words = sides[0].split(separator: " ").map(String.init)
      var tickets: [Int] = []
      if words[3].hasPrefix("exec1-") {
        words[3].removeFirst(6)
        tickets = [1]
      }
      let commands = words[3].split(separator: ";").map { command(String($0)) }
      let end = Int64(words[2]) ?? 1_000
      let outcome: CallOutcome
      switch sides.count > 1 ? sides[1].trimmed : "unknown" {
      case "unknown": outcome = .unknown
      case "broken": outcome = .broken
      case "failed": outcome = .failed("ERR")
      case let reply: outcome = .replied([self.reply(reply, to: commands[0])])
      }
      add(
        history, client: Int(words[0].utf8.first!), Int64(words[1])!, end, commands, outcome,
        tickets: tickets)
    }
    return history
  }

  static func add(
    _ history: History, client: Int, _ start: Int64, _ end: Int64, _ commands: [SimCommand],
    _ outcome: CallOutcome, tickets: [Int] = []
  ) {
    let call = Call(
      serial: history.calls.count, client: client, commands: commands,
      isTransaction: commands.count > 1, tickets: tickets, id: nil,
      invoked: Instant(nanos: UInt64(start) * 1_000_000), clockMillis: start...end)
    let index = history.begin(call)
    history.finish(index, outcome, at: Instant(nanos: UInt64(end) * 1_000_000))
  }

  static func instant(_ millis: UInt64) -> Instant { Instant(nanos: millis * 1_000_000) }

  static func addSet(
    _ history: History, client: Int, _ start: Int64, _ end: Int64, _ value: String,
    _ outcome: CallOutcome = .replied([.status("OK")])
  ) {
    let verb = SimCommand.Verb.set(Payload(Array(value.utf8)), expiryMillis: nil)
    add(history, client: client, start, end, [SimCommand(slot: 0, verb: verb)], outcome)
  }

  static func addGet(_ history: History, _ start: Int64, _ value: String) {
    add(
      history, client: 99, start, start + 1, [SimCommand(slot: 0, verb: .get)],
      .replied([.bulk(Array(value.utf8))]))
  }

  private static func command(_ text: String) -> SimCommand {
    let parts = text.split(separator: ":").map(String.init)
    let slot = parts[0].hasSuffix("2") ? 1 : 0
    switch parts[0] {
    case "set", "set2":
      return SimCommand(slot: slot, verb: .set(Payload(Array(parts[1].utf8)), expiryMillis: nil))
    case "del": return SimCommand(slot: slot, verb: .delete)
    case "getv": return SimCommand(slot: slot, verb: .getVersion)
    case "cas":
      let words = parts[1].split(separator: "=").map(String.init)
      let value = Payload(Array(words[1].utf8))
      return SimCommand(slot: slot, verb: .compareAndSet(version: words[0], value))
    case "watch": return SimCommand(slot: slot, verb: .watch(ticket: Int(parts[1])!))
    case "incr": return SimCommand(slot: slot, verb: .increment(Int64(parts[1])!))
    default: return SimCommand(slot: slot, verb: .get)
    }
  }

  private static func reply(_ text: String, to command: SimCommand) -> Reply {
    switch command.verb {
    case .increment, .delete: .integer(Int64(text)!)
    case .compareAndSet: text == "nil" ? .null : .integer(Int64(text)!)
    case .getVersion:
      .array([
        .bulk(Array(text.prefix { $0 != "=" }.utf8)),
        .integer(Int64(text.drop { $0 != "=" }.dropFirst())!),
      ])
    case .set, .watch: .status(text)
    default: text == "nil" ? .null : .bulk(Array(text.utf8))
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    String(self.drop { $0 == " " }.reversed().drop { $0 == " " }.reversed())
  }
}
