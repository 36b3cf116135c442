import Base

/// The search of one history for an order of its calls; see `Linearizability`.
struct LinearizabilitySearch {
  enum Answer { case found, none, gaveUp }

  let calls: [Call]
  let timeline: Timeline
  let configurationCountMax: Int

  /// The last step that some configuration has reached, and states at its beginning, a few.
  private(set) var furthest = 0
  private(set) var statesAtFurthest: [GroupState] = []

  private struct Configuration: Hashable {
    var step: Int32
    var state: Int32
    var trail: Int32
    var done: Timeline.Places
  }

  private var states = Numbered<GroupState>()
  private var trails = Numbered<Trail>()
  /// What each call leaves of each state, by both numbers.
  private var results: [UInt64: [Int32]] = [:]
  /// The configurations looked at: of those that differ only in unknown calls, the sets of these.
  private var seen: [Configuration: [Timeline.Places]] = [:]
  private(set) var seenCount = 0
  private var stack: [Configuration] = []

  private static let statesShown = 6

  init(calls: [Call], timeline: Timeline, keyCount: Int, configurationCountMax: Int) {
    self.calls = calls
    self.timeline = timeline
    self.configurationCountMax = configurationCountMax
    let empty = GroupState(keys: Array(repeating: .absent, count: keyCount))
    visit(
      Configuration(
        step: 0, state: states.number(of: empty), trail: trails.number(of: Trail()), done: 0))
  }

  mutating func run() -> Answer {
    while let configuration = stack.popLast() {
      if configuration.step == timeline.steps.count { return .found }
      if seenCount > configurationCountMax { return .gaveUp }
      note(configuration)
      expand(configuration)
    }
    return .none
  }

  /// Remembers a configuration to be looked at, unless it can do no more than one before: the same but
  /// for unknown calls that have had their effect, which there need never have it.
  private mutating func visit(_ configuration: Configuration) {
    let step = Int(configuration.step)
    let unknown = step < timeline.steps.count ? timeline.steps[step].unknown : 0
    var key = configuration
    key.done &= ~unknown
    let done = configuration.done & unknown
    guard !seen[key, default: []].contains(where: { $0 & done == $0 }) else { return }
    seen[key, default: []].append(done)
    seenCount += 1
    stack.append(configuration)
  }

  private mutating func note(_ configuration: Configuration) {
    let step = Int(configuration.step)
    if step > furthest {
      furthest = step
      statesAtFurthest.removeAll()
    }
    guard step == furthest, statesAtFurthest.count < Self.statesShown else { return }
    let state = states[configuration.state]
    if !statesAtFurthest.contains(state) { statesAtFurthest.append(state) }
  }

  // MARK: One configuration

  /// Pushes all that can come next; what is tried first is pushed last.
  private mutating func expand(_ configuration: Configuration) {
    let step = timeline.steps[Int(configuration.step)]
    switch step.action {
    case .end(_, let place):
      if configuration.done & place != 0 { return close(configuration, place) }
      if takeRead(configuration, step) { return }
      let isUnknown = step.unknown & place != 0
      takeAny(configuration, step)
      // If it never has an effect, nothing else need happen on its account.
      if isUnknown { close(configuration, place) }
    case .floor(let loss):
      var next = configuration
      next.step += 1
      let entry = TrailEntry(state: next.state, done: next.done & step.unknown)
      next.trail = trails.number(of: trails[next.trail].begun(loss, at: entry))
      visit(next)
    case .loss(let loss):
      if takeRead(configuration, step) { return }
      takeAny(configuration, step)
      lose(configuration, step, loss)
    }
  }

  /// The call has returned: its place is free.
  private mutating func close(_ configuration: Configuration, _ place: Timeline.Places) {
    var next = configuration
    next.step += 1
    next.done &= ~place
    next.trail = trails.number(of: trails[next.trail].without(place))
    visit(next)
  }

  /// Takes a read that fits the state; true if there was one.
  private mutating func takeRead(_ configuration: Configuration, _ step: Timeline.Step) -> Bool {
    for pending in step.pending where pending.isRead && isReady(pending, configuration) {
      guard outcomes(of: pending.call, on: configuration.state).contains(configuration.state)
      else { continue }
      var next = configuration
      next.done |= pending.place
      visit(next)
      return true
    }
    return false
  }

  private mutating func takeAny(_ configuration: Configuration, _ step: Timeline.Step) {
    for pending in step.pending.reversed() where isReady(pending, configuration) {
      for state in outcomes(of: pending.call, on: configuration.state) {
        if pending.isUnknown, state == configuration.state { continue }
        var next = configuration
        next.state = state
        next.done |= pending.place
        let entry = TrailEntry(state: state, done: next.done & step.unknown)
        next.trail = trails.number(of: trails[next.trail].appending(entry))
        visit(next)
      }
    }
  }

  /// The node dies: the state is one of those since the floor. What was seen of a call stays seen; one
  /// of unknown outcome that is lost may yet be executed.
  private mutating func lose(_ configuration: Configuration, _ step: Timeline.Step, _ loss: Int) {
    let trail = trails[configuration.trail]
    for index in trail.candidates(after: loss) {
      var next = configuration
      next.step += 1
      next.state = states.number(of: states[trail.entries[index].state].restored)
      next.done = configuration.done & ~step.unknown | trail.entries[index].done
      next.trail = trails.number(of: trail.cut(behind: index, ending: loss))
      visit(next)
    }
  }

  private func isReady(_ pending: Timeline.Pending, _ configuration: Configuration) -> Bool {
    configuration.done & pending.place == 0
      && configuration.done & pending.earlier == pending.earlier
  }

  private mutating func outcomes(of call: Int, on state: Int32) -> [Int32] {
    let key = UInt64(call) << 32 | UInt64(state)
    if let known = results[key] { return known }
    let found = Model.steps(states[state], calls[call]).map { states.number(of: $0) }
    results[key] = found
    return found
  }
}

/// Gives values numbers, so that they are compared and kept once.
struct Numbered<Element: Hashable> {
  private var elements: [Element] = []
  private var numbers: [Element: Int32] = [:]

  subscript(number: Int32) -> Element { elements[Int(number)] }

  mutating func number(of element: Element) -> Int32 {
    if let number = numbers[element] { return number }
    let number = Int32(elements.count)
    elements.append(element)
    numbers[element] = number
    return number
  }
}
