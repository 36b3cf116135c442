import Base

/// What a checker answers about one history.
enum Verdict: Equatable {
  case passed
  /// A sentence, the calls around it and the states.
  case failed(String)
  /// The search grew over its bound; counted, and more than a few fail the run.
  case undecided
}

/// A death of the node after which what it did since `floor` may be gone: all of it, or the part
/// behind some moment. What had been answered before `floor` is not.
struct Loss: Hashable {
  var instant: Instant
  var floor: Instant
}

/// Decides whether a history is linearizable: whether each call can be thought to happen at one
/// instant between its ends so that the model answers what the clients saw.
///
/// The calls' ends are visited in the order of time (Wing and Gong 1993, with Lowe's just-in-time
/// order, 2017): only when a call returns must it have had its effect, so calls are given theirs
/// there and not earlier. What has been decided at a moment is a *configuration*: the state, and which
/// of the calls under way have had their effect. The search goes into the depth, so that a right
/// history is told by the first order found, and goes nowhere twice: configurations are remembered,
/// states are numbered, and what a call does to a state is worked out once.
///
/// A call whose outcome is unknown may have had its effect, or none, until its end. Calls that one
/// client pipelined on one stream are kept in their order. A read that fits is taken at once, since it
/// stands in nobody's way; an unknown call that would change nothing is not taken at all, and of two
/// configurations that differ only in unknown calls the one that has had fewer can do all that the
/// other can.
///
/// With weak durability a death of the node takes the state back to one of those since its floor: to
/// a prefix of what was done, never to anything else. Then the states since are part of the
/// configuration (`Trail`).
struct Linearizability {
  /// Configurations looked at before the search gives up.
  var configurationCountMax = 3_000_000

  /// Answers at once when an order is found without the unknown calls whose values nobody has seen:
  /// each of them may have had no effect. Otherwise all of them are tried.
  func check(_ history: History, losses: [Loss] = []) -> Verdict {
    let sight = Sight(history.calls)
    let unseen = Set(history.calls.indices.filter { sight.hides(history.calls[$0]) })
    if !unseen.isEmpty,
      search(history, losses, without: unseen, configurationCountMax / 4)?.0 == .found
    {
      return .passed
    }
    guard let (answer, search) = search(history, losses, without: [], configurationCountMax) else {
      return .undecided
    }
    switch answer {
    case .found: return .passed
    case .none: return .failed(explain(history, search))
    case .gaveUp: return .undecided
    }
  }

  /// Nil when too many calls are under way at once.
  private func search(
    _ history: History, _ losses: [Loss], without unseen: Set<Int>, _ countMax: Int
  ) -> (LinearizabilitySearch.Answer, LinearizabilitySearch)? {
    guard let timeline = Timeline(history.calls, losses, without: unseen) else { return nil }
    var search = LinearizabilitySearch(
      calls: history.calls, timeline: timeline, keyCount: history.keyCount,
      configurationCountMax: countMax)
    let answer = search.run()
    return (answer, search)
  }

  private func explain(_ history: History, _ search: LinearizabilitySearch) -> String {
    let step = search.timeline.steps[search.furthest]
    let open = step.pending.map(\.call).sorted()
    var text = "no order of the calls on group \(history.name) explains\n  "
    switch step.action {
    case .end(let call, _): text += history.calls[call].text
    case .loss: text += "what follows a death of the node"
    case .floor: text += "what follows a force"
    }
    text += "\n under way:"
    for call in open { text += "\n  " + history.calls[call].text }
    text += "\n before it, by time of end:"
    let earlier = history.calls.filter { $0.ended <= step.instant }
      .sorted { ($0.ended, $0.serial) < ($1.ended, $1.serial) }
    for call in earlier.suffix(12) { text += "\n  " + call.text }
    text += "\n states that were possible, some:"
    for state in search.statesAtFurthest { text += "\n  " + state.text }
    return text
  }
}
