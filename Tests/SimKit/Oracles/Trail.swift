/// A state that a later loss may take a group back to, and the calls of unknown outcome that had
/// had their effect in it.
struct TrailEntry: Hashable {
  var state: Int32
  var done: Timeline.Places
}

/// The states since the floors of the losses to come, oldest first; empty when none is to come.
struct Trail: Hashable {
  private(set) var entries: [TrailEntry] = []
  /// Where the floor of each loss to come stands.
  private var floors: [Int: Int] = [:]

  /// From here on states are kept for `loss`.
  func begun(_ loss: Int, at entry: TrailEntry) -> Trail {
    var next = self
    if next.entries.last != entry { next.entries.append(entry) }
    next.floors[loss] = next.entries.count - 1
    return next
  }

  func appending(_ entry: TrailEntry) -> Trail {
    guard !floors.isEmpty, entries.last != entry else { return self }
    var next = self
    next.entries.append(entry)
    return next
  }

  /// Without what is known of the call at `place`, which has returned.
  func without(_ place: Timeline.Places) -> Trail {
    guard entries.contains(where: { $0.done & place != 0 }) else { return self }
    var next = self
    for index in next.entries.indices { next.entries[index].done &= ~place }
    return next
  }

  /// The entries that `loss` may leave; the last one is the likeliest.
  func candidates(after loss: Int) -> Range<Int> { floors[loss]!..<entries.count }

  /// What is left after `loss` took the group back to the entry `index`.
  func cut(behind index: Int, ending loss: Int) -> Trail {
    var next = self
    next.floors[loss] = nil
    if next.floors.isEmpty { return Trail() }
    next.entries.removeSubrange((index + 1)...)
    for (other, floor) in next.floors { next.floors[other] = min(floor, index) }
    return next
  }
}
