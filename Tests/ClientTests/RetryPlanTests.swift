import Base
import Testing

@testable import Client

@Suite struct RetryPlanTests {
  let start = Instant(nanos: 1_000_000_000)
  let id = OperationID(high: 7, low: 0)

  func plan(_ effect: Command.Effect, retries: Int = .max) -> RetryPlan {
    RetryPlan(
      effect: effect, id: id, retryCountMax: retries, timeout: .seconds(5), at: start)
  }

  func failed(_ decision: RetryDecision) -> ClientError? {
    if case .fail(let error) = decision { error } else { nil }
  }

  @Test func `A server that was never there is not asked again`() {
    var plan = plan(.change)
    let error = failed(plan.decide(after: .notConnected("refused"), at: start))
    #expect(error?.reason == .unreachable && error?.outcome == .notApplied)
  }

  @Test func `A change that was lost is sent again under its id until the deadline`() {
    var plan = plan(.change)
    #expect(plan.decide(after: .lost("x"), at: start) == .retry(at: start + .millis(10)))
    #expect(plan.decide(after: .notConnected("x"), at: start) == .retry(at: start + .millis(20)))
    let error = failed(plan.decide(after: .notConnected("x"), at: plan.deadline))
    #expect(error?.reason == .noAnswer && error?.outcome == .unknown && error?.id == id)
  }

  @Test func `A read that got no answer was certainly not applied`() {
    var plan = plan(.read)
    _ = plan.decide(after: .lost("x"), at: start)
    let error = failed(plan.decide(after: .expired(wasSent: true), at: plan.deadline))
    #expect(error?.outcome == .notApplied && error?.id == nil)
    #expect(error?.message == "no answer within 5 s")
  }

  @Test func `A change that never left as a whole was not applied`() {
    var plan = plan(.change)
    #expect(failed(plan.decide(after: .incomplete("x"), at: start)) == nil)
    let error = failed(plan.decide(after: .expired(wasSent: false), at: plan.deadline))
    #expect(error?.outcome == .notApplied)
  }

  @Test func `A command of unknown effect is sent once`() {
    var plan = plan(.other)
    let error = failed(plan.decide(after: .lost("x"), at: start))
    #expect(error?.outcome == .unknown && error?.id == nil)
  }

  @Test func `Retries are counted`() {
    var plan = plan(.change, retries: 1)
    #expect(failed(plan.decide(after: .lost("x"), at: start)) == nil)
    #expect(failed(plan.decide(after: .lost("x"), at: start))?.outcome == .unknown)
  }

  @Test func `Loading is waited for until the deadline`() {
    var plan = plan(.change)
    let loading = Reply.error(ServerError("LOADING reading the log"))
    #expect(plan.decide(about: loading, at: start) == .retry(at: start + .millis(50)))
    #expect(plan.decide(about: loading, at: plan.deadline) == .accept)
  }

  @Test func `What is not decided is asked for again until the deadline, and is unknown then`() {
    let undecided = ServerError("UNKNOWN transaction 1.2 is not decided yet (unknown)")
    var plan = plan(.change)
    #expect(plan.decide(about: .error(undecided), at: start) == .retry(at: start + .millis(50)))
    // Other answers say nothing of the transaction.
    let busy = Reply.error(ServerError("BUSY a key is held (not-applied)"))
    #expect(plan.decide(about: busy, at: start) == .retry(at: start + .millis(50)))
    #expect(plan.decide(about: busy, at: plan.deadline) == .settle)
    let aborted = Reply.error(ServerError("ABORTED other transactions (not-applied)"))
    #expect(plan.decide(about: aborted, at: start) == .settle)
    #expect(plan.decide(about: .error(undecided), at: plan.deadline) == .accept)
    let error = ClientError(undecided)
    #expect(error.description == "UNKNOWN transaction 1.2 is not decided yet (unknown)")
    // What has no id is not sent twice, and a first refusal is believed.
    plan = self.plan(.other)
    #expect(plan.decide(about: .error(undecided), at: start) == .accept)
    plan = self.plan(.change)
    #expect(plan.decide(about: busy, at: start) == .accept)
  }

  @Test(arguments: [
    Reply.error(ServerError("IDEXPIRED too old")), .error(ServerError("OOM full")), .integer(0),
    .null, .array([.integer(0), .null]),
  ])
  func `A refusal is not believed while an earlier copy is under way`(reply: Reply) {
    var plan = plan(.change)
    #expect(plan.decide(about: reply, at: start) == .accept)
    _ = plan.decide(after: .lost("x"), at: start)
    #expect(plan.decide(about: reply, at: start) == .settle)
    #expect(plan.decide(about: .simple(Array("OK".utf8)), at: start) == .accept)
    #expect(plan.unsettled(reply).outcome == .unknown)
  }

  @Test func `A read's empty answer is believed after repetitions`() {
    var plan = plan(.read)
    plan.noteRepetition()
    #expect(plan.decide(about: .null, at: start) == .accept)
  }

  @Test(arguments: [
    ("NOTFOUND key does not exist", ClientError.Reason.missing, Outcome.notApplied),
    ("EXECABORT Transaction discarded because of: x", .aborted, .notApplied),
    ("NOAUTH Authentication required.", .refused, .notApplied),
    ("WRONGPASS invalid", .refused, .notApplied), ("OOM x", .refused, .notApplied),
    ("NOSPACE x", .refused, .notApplied), ("UNAVAILABLE x", .refused, .notApplied),
    ("TOOLARGE applied; x", .server, .applied), ("TOOLARGE unknown; x", .server, .unknown),
    ("TOOLARGE not-applied; x", .server, .notApplied), ("TOOLARGE", .server, .unknown),
    ("DUPLICATE applied; x", .replyNotKept, .applied), ("UNKNOWN x", .noAnswer, .unknown),
    ("UNAVAILABLE x (unknown)", .refused, .unknown), ("BUSY x (not-applied)", .server, .notApplied),
    ("IDEXPIRED x", .server, .unknown), ("WRONGTYPE x", .server, .notApplied),
    ("ERR syntax error", .server, .notApplied),
  ])
  func `Every code word has a meaning`(
    text: String, reason: ClientError.Reason, outcome: Outcome
  ) {
    let error = ClientError(ServerError(text))
    #expect(error.reason == reason && error.outcome == outcome)
  }

  @Test func `An id made for the request and refused as too old was not applied`() {
    let id = OperationID(unixMillis: 1, random: 2, 3)
    let error = ClientError(ServerError("IDEXPIRED the id is old (unknown)"), id: id)
    #expect(error.description == "IDEXPIRED the id is old (not-applied)" && error.id == id)
  }

  @Test func `An outcome said by the server is not said twice`() {
    let error = ClientError(ServerError("NOTFOUND key does not exist (not-applied)"))
    #expect(error.description == "key does not exist (not-applied)")
    #expect(
      ClientError(ServerError("IDEXPIRED the id is old (not-applied)")).message
        == "IDEXPIRED the id is old")
  }

  @Test func `Of what OUTCOME answers only the five words are understood`() {
    func state(_ reply: Reply) -> OutcomeState? { OutcomeState(reply) }
    #expect(state(.simple(Array("never-seen".utf8))) == .neverSeen)
    #expect(state(.bytes(Array("in-doubt".utf8))) == .inDoubt)
    #expect(state(.bytes(Array("aborted".utf8))) == .aborted)
    #expect(state(.bytes(Array("committed".utf8))) == .committed)
    #expect(state(.bytes(Array("expired".utf8))) == .expired)
    #expect(state(.integer(1)) == nil)
    #expect(state(.simple(Array("what".utf8))) == nil)
  }
}
