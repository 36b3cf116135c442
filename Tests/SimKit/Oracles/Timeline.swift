import Base

/// The moments of a history at which something must be decided, in the order of time.
struct Timeline {
  /// A bit for each place of a call under way.
  typealias Places = UInt128
  static let placeCountMax = 128

  enum Action {
    /// The call returns: it must have had its effect, if it has one.
    case end(call: Int, place: Places)
    /// What outlives the loss with this number is had from here on.
    case floor(Int)
    case loss(Int)
  }

  /// A call under way.
  struct Pending {
    var call: Int
    var place: Places
    /// The places of those that must have had their effect before it.
    var earlier: Places = 0
    var isUnknown: Bool
    /// It reads, changes nothing whatever the state, and its reply is known.
    var isRead: Bool
  }

  struct Step {
    var instant: Instant
    var action: Action
    /// The calls that can have their effect now, those that return first in front.
    var pending: [Pending]
    /// The places of calls whose outcome is unknown.
    var unknown: Places
  }

  private(set) var steps: [Step] = []

  private struct Moment {
    var instant: Instant
    /// At one instant begins come first, so that calls which only touch count as concurrent; a call
    /// that has returned was executed before a force or death at that instant.
    var rank: Int
    var number: Int
  }

  /// Leaves out the calls `left`. Nil when more calls are under way at once than there are places.
  init?(_ calls: [Call], _ losses: [Loss], without left: Set<Int> = []) {
    var open: [Pending?] = []
    for moment in Self.moments(calls, losses, left) {
      switch moment.rank {
      case 0:
        let index = open.firstIndex { $0 == nil } ?? open.count
        guard index < Self.placeCountMax else { return nil }
        if index == open.count { open.append(nil) }
        open[index] = Pending(
          call: moment.number, place: 1 << Places(index),
          isUnknown: calls[moment.number].outcome == .unknown,
          isRead: calls[moment.number].onlyReads)
      case 1:
        let index = open.firstIndex { $0?.call == moment.number }!
        add(.end(call: moment.number, place: 1 << Places(index)), moment.instant, open, calls)
        open[index] = nil
      case 2: add(.floor(moment.number), moment.instant, open, calls)
      default: add(.loss(moment.number), moment.instant, open, calls)
      }
    }
  }

  private static func moments(
    _ calls: [Call], _ losses: [Loss], _ left: Set<Int>
  ) -> [Moment] {
    var moments: [Moment] = []
    for (index, call) in calls.enumerated() where !left.contains(index) {
      if case .notApplied = call.outcome { continue }
      // A read that nobody saw the answer of says nothing.
      if call.outcome == .unknown, !call.commands.contains(where: \.changes) { continue }
      moments.append(Moment(instant: call.invoked, rank: 0, number: index))
      moments.append(Moment(instant: call.ended, rank: 1, number: index))
    }
    for (index, loss) in losses.enumerated() {
      moments.append(Moment(instant: loss.floor, rank: 2, number: index))
      moments.append(Moment(instant: loss.instant, rank: 3, number: index))
    }
    return moments.sorted { ($0.instant, $0.rank, $0.number) < ($1.instant, $1.rank, $1.number) }
  }

  private mutating func add(
    _ action: Action, _ instant: Instant, _ open: [Pending?], _ calls: [Call]
  ) {
    var pending = open.compactMap { $0 }
    pending.sort {
      let (a, b) = (calls[$0.call], calls[$1.call])
      if $0.isUnknown != $1.isUnknown { return b.outcome == .unknown }
      return (a.ended, a.serial) < (b.ended, b.serial)
    }
    var unknown: Places = 0
    for index in pending.indices {
      pending[index].earlier = Self.predecessors(of: pending[index], pending, calls)
      if pending[index].isUnknown { unknown |= pending[index].place }
    }
    steps.append(Step(instant: instant, action: action, pending: pending, unknown: unknown))
  }

  private static func predecessors(
    of one: Pending, _ pending: [Pending], _ calls: [Call]
  ) -> Places {
    let call = calls[one.call]
    guard call.stream != 0 else { return 0 }
    var places: Places = 0
    for other in pending where !other.isUnknown {
      let earlier = calls[other.call]
      if earlier.stream == call.stream, earlier.serial < call.serial { places |= other.place }
    }
    return places
  }
}
