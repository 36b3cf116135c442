import Base

/// What a checker answers about one history.
enum Verdict: Equatable {
  case passed
  /// A sentence, the calls around it and the two states.
  case failed(String)
  /// The search grew over its bound; counted, and rare enough to say so.
  case undecided
}

/// Decides whether a history is linearizable: whether each call can be thought to happen at one
/// instant between its ends so that the model answers what the clients saw.
///
/// The calls' ends are visited in the order of time (Wing and Gong 1993, with Lowe's just-in-time
/// order and memoisation, 2017). At each moment the checker holds all *configurations*: a state, and
/// which of the calls under way have had their effect. Only when a call returns must it have had it,
/// so calls are given their effect there and not earlier; configurations reached twice are kept once.
/// A call whose outcome is unknown may have had its effect, or none, until its end. Calls that one
/// client pipelined on one stream are kept in their order, which spares most of the search.
struct Linearizability {
  /// Configurations held at once before the search gives up.
  var configurationCountMax = 10_000
  /// Steps of the model over the whole history before it gives up; large values count for more.
  var stepCountMax = 60_000

  private struct Configuration: Hashable {
    var state: GroupState
    /// Calls under way that have had their effect: a bit for each place in `open`.
    var done: UInt64
  }

  private struct Moment {
    var instant: Instant
    var call: Int
    var isEnd: Bool
  }

  func check(_ history: History) -> Verdict {
    let calls = history.calls
    // Which call has which bit while it is under way.
    var open: [Int?] = []
    var frontier = [
      Configuration(
        state: GroupState(keys: Array(repeating: .absent, count: history.keyCount)), done: 0)
    ]
    var stepsLeft = stepCountMax
    for moment in moments(calls) {
      if !moment.isEnd {
        let place = open.firstIndex { $0 == nil } ?? open.count
        guard place < 64 else { return .undecided }
        if place == open.count { open.append(moment.call) } else { open[place] = moment.call }
        continue
      }
      let place = open.firstIndex { $0 == moment.call }!
      let before = frontier
      guard let after = finish(place, open, calls, frontier, &stepsLeft) else { return .undecided }
      if after.isEmpty { return .failed(explain(history, moment.call, open, before)) }
      frontier = after
      open[place] = nil
    }
    return .passed
  }

  /// Begins and ends of calls by time; at one instant begins come first, so that calls which only
  /// touch count as concurrent.
  private func moments(_ calls: [Call]) -> [Moment] {
    var moments: [Moment] = []
    for (index, call) in calls.enumerated() {
      if case .notApplied = call.outcome { continue }
      // A read that nobody saw the answer of says nothing.
      if call.outcome == .unknown, !call.commands.contains(where: \.changes) { continue }
      moments.append(Moment(instant: call.invoked, call: index, isEnd: false))
      moments.append(Moment(instant: call.ended, call: index, isEnd: true))
    }
    return moments.sorted { a, b in
      if a.instant != b.instant { return a.instant < b.instant }
      if a.isEnd != b.isEnd { return b.isEnd }
      return a.call < b.call
    }
  }

  /// All configurations in which the call at `place` has had its effect (or, if its outcome is
  /// unknown, may have), with its bit cleared; nil when there are too many.
  private func finish(
    _ place: Int, _ open: [Int?], _ calls: [Call], _ frontier: [Configuration],
    _ stepsLeft: inout Int
  ) -> [Configuration]? {
    let bit: UInt64 = 1 << UInt64(place)
    let isUnknown = calls[open[place]!].outcome == .unknown
    let earlier = open.map { predecessors(of: $0, open, calls) }
    // If it never has an effect, nothing else need happen on its account.
    var finished = isUnknown ? frontier.filter { $0.done & bit == 0 } : []
    var isFinished = Set(finished)
    var pending = frontier
    var seen = Set(frontier)
    while let configuration = pending.popLast() {
      if configuration.done & bit != 0 {
        var closed = configuration
        closed.done &= ~bit
        if isFinished.insert(closed).inserted { finished.append(closed) }
        continue
      }
      for (index, call) in open.enumerated() {
        guard let call, configuration.done >> UInt64(index) & 1 == 0 else { continue }
        guard configuration.done & earlier[index] == earlier[index] else { continue }
        stepsLeft -= 1 + calls[call].byteCount >> 10
        for state in Model.steps(configuration.state, calls[call]) {
          let next = Configuration(
            state: state, done: configuration.done | 1 << UInt64(index))
          guard seen.insert(next).inserted else { continue }
          pending.append(next)
        }
      }
      if seen.count > configurationCountMax || stepsLeft < 0 { return nil }
    }
    return finished
  }

  /// The places of the calls under way that must have their effect before `call`.
  private func predecessors(of call: Int?, _ open: [Int?], _ calls: [Call]) -> UInt64 {
    guard let call, calls[call].stream != 0 else { return 0 }
    var places: UInt64 = 0
    for (place, other) in open.enumerated() {
      guard let other, calls[other].stream == calls[call].stream,
        calls[other].outcome != .unknown,
        calls[other].serial < calls[call].serial
      else { continue }
      places |= 1 << UInt64(place)
    }
    return places
  }

  private func explain(
    _ history: History, _ call: Int, _ open: [Int?], _ before: [Configuration]
  ) -> String {
    var text = "no order of the calls on group \(history.name) explains\n  "
    text += history.calls[call].text + "\n under way:"
    for case let index? in open where index != call { text += "\n  " + history.calls[index].text }
    text += "\n before it, by time of end:"
    let earlier = history.calls.filter { $0.ended <= history.calls[call].ended }
      .sorted { ($0.ended, $0.serial) < ($1.ended, $1.serial) }
    for call in earlier.suffix(12) { text += "\n  " + call.text }
    text += "\n states that were possible (\(before.count)):"
    for configuration in before.prefix(6) { text += "\n  " + configuration.state.text }
    return text
  }
}
