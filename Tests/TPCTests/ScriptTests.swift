import Glibc
import TPCWorld
import Testing

/// Whole runs as text: the golden files hold the steps and what follows each.
@Suite struct ScriptTests {
  @Test func `Rule 1: all vote durably, then the coordinator decides`() { check("commit") }
  @Test func `Rule 1: one operation id at two coordinators is done once`() {
    check("one_operation")
  }
  @Test func `Rule 2: a client hears of an abort that two have durably`() { check("refusal") }
  @Test func `Rule 2: past the deadline the outcome is unknown until two have it`() {
    check("timeout")
  }
  @Test func `Rule 2: the coordinator aborts when a voter cannot be reached`() {
    check("unreachable")
  }
  @Test func `Rule 3: a coordinator that stopped asks all`() { check("coordinator_crash") }
  @Test func `Rule 3: a participant that stopped asks`() { check("participant_crash") }
  @Test func `Rule 3: without the coordinator all wait, locked and in doubt`() {
    check("in_doubt")
  }
  @Test func `Rule 3: who is not prepared refuses durably first`() { check("refused_inquiry") }
  @Test func `Rule 4: the only participant decides alone`() { check("one_phase") }
  @Test func `Rule 5: the younger dies and tries again, the older waits`() { check("conflict") }
  @Test func `Rule 5: a prepare that waited is checked from the start`() { check("queue") }
  @Test func `Rule 6: a turn says all to a member in one message`() { check("batching") }
  @Test func `Rule 7: what was forgotten stays refused, whatever comes again`() {
    check("old_duplicates")
  }
  @Test func `Rule 10: survivors conclude with the removed member counted as prepared`() {
    check("removal")
  }
  @Test func `Rule 10: who joins has all that was committed, and is asked from then on`() {
    check("join")
  }
  @Test func `Rule 10: who joins is asked last, when all members are prepared`() {
    check("join_asked_last")
  }
  @Test func `Rule 10: a change in doubt is concluded after a removal by force`() {
    check("join_in_doubt")
  }
  @Test func `Rule 10: who was to join by a change that came to nothing is told so`() {
    check("join_given_up")
  }
  @Test func `Rule 10: who is removed by agreement says yes to it`() { check("agreed_removal") }

  /// With `TUPPENCE_REWRITE_GOLDEN` set the file is written anew.
  private func check(_ name: String) {
    let path = #filePath.dropLast("ScriptTests.swift".count) + "Golden/\(name).txt"
    let golden = Self.read(String(path))
    let actual = Script.run(golden)
    if getenv("TUPPENCE_REWRITE_GOLDEN") != nil, let file = fopen(String(path), "w") {
      fputs(actual, file)
      fclose(file)
    }
    #expect(!actual.contains("WRONG") && !actual.contains("? "))
    #expect(actual == golden, "rewrite it with TUPPENCE_REWRITE_GOLDEN=1 if this is meant")
  }

  private static func read(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&block, 1, block.count, file)
      if count == 0 { return String(decoding: bytes, as: UTF8.self) }
      bytes += block[..<count]
    }
  }
}
