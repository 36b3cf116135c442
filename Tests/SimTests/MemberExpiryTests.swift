import Base
import Testing

@testable import SimKit

/// How far the checker lets the members' clocks differ: for the moment of an expiry and no further.
///
/// The key is set at 0 with 500 ms to live; each later call has the bounds of all clocks.
@Suite struct MemberExpiryTests {
  private struct Step {
    var verb: SimCommand.Verb
    var clocks: ClosedRange<Int64>
    var reply: Reply
  }

  private static let value = Payload(Array("x".utf8))
  private static let seen = Reply.bulk(Array("x".utf8))

  private func verdict(_ steps: [Step], isAmongMembers: Bool = true) -> Verdict {
    let history = History(name: "g", keyCount: 1)
    let first = Step(
      verb: .set(Self.value, expiryMillis: 500), clocks: 0...1, reply: .status("OK"))
    for (index, step) in ([first] + steps).enumerated() {
      var call = Call(
        serial: index, client: 0, commands: [SimCommand(slot: 0, verb: step.verb)],
        isTransaction: false, invoked: Script.instant(UInt64(index * 10)),
        clockMillis: step.clocks)
      call.isAmongMembers = isAmongMembers
      let place = history.begin(call)
      history.finish(
        place, .replied([step.reply]), at: Script.instant(UInt64(index * 10 + 1)))
    }
    return Linearizability().check(history)
  }

  private func isRefused(_ verdict: Verdict) -> Bool {
    if case .failed = verdict { return true }
    return false
  }

  @Test func `One member may still show what another no longer does`() {
    let steps = [
      Step(verb: .get, clocks: 300...800, reply: .null),
      Step(verb: .get, clocks: 300...800, reply: Self.seen),
    ]
    #expect(verdict(steps) == .passed)
    #expect(isRefused(verdict(steps, isAmongMembers: false)))
  }

  @Test func `Before the first clock comes to it, and after the last one has, all agree`() {
    #expect(isRefused(verdict([Step(verb: .get, clocks: 100...400, reply: .null)])))
    #expect(isRefused(verdict([Step(verb: .get, clocks: 600...900, reply: Self.seen)])))
  }

  @Test func `What a transaction has put in its place is there at all members`() {
    let other = Payload(Array("y".utf8))
    let steps = [
      Step(verb: .setIfAbsent(other), clocks: 300...800, reply: .integer(1)),
      Step(verb: .get, clocks: 300...800, reply: Self.seen),
    ]
    #expect(isRefused(verdict(steps)))
  }

  @Test func `What was deleted before it expired does not come back`() {
    let steps = [
      Step(verb: .delete, clocks: 300...800, reply: .integer(1)),
      Step(verb: .get, clocks: 300...800, reply: Self.seen),
    ]
    #expect(isRefused(verdict(steps)))
  }

  @Test func `A delete that found nothing leaves it to the others`() {
    let steps = [
      Step(verb: .delete, clocks: 300...800, reply: .integer(0)),
      Step(verb: .get, clocks: 300...800, reply: Self.seen),
    ]
    #expect(verdict(steps) == .passed)
  }
}
