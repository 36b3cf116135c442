import Base
import Node

/// Once all is up and nothing is under way: no lock, no place in line, no doubt, nobody waits, and
/// all members hold the same keys, values, versions and expiries.
enum EqualMembers {
  /// What still is open, or nil when all members are at rest.
  static func unrest(_ views: [MemberView?]) -> String? {
    for (index, view) in views.enumerated() {
      guard let view else { return "member \(index + 1) is not up" }
      if view.lockCount > 0 || view.doubtCount > 0 || view.openCount > 0 || !view.isIdle {
        return "member \(index + 1): \(view.lockCount) locks, \(view.doubtCount) in doubt, "
          + "\(view.openCount) open, \(view.isIdle ? "nobody" : "somebody") waits"
      }
      if view.reservationCount > 0 {
        return "member \(index + 1): \(view.reservationCount) places in line are left"
      }
    }
    return nil
  }

  /// The first difference, or nil. Keys that expire are left out: their moment differs with the clocks.
  static func difference(_ views: [MemberView?]) -> String? {
    let all = views.map { ($0?.entries ?? []).filter { $0.expiryMillis == .max } }
    for index in all.indices.dropFirst() where all[index] != all[0] {
      let place = zip(all[0], all[index]).enumerated().first { $0.element.0 != $0.element.1 }?
        .offset
      let at = place ?? min(all[0].count, all[index].count)
      return "members 1 and \(index + 1) differ: \(text(all[0], at)) and \(text(all[index], at))"
    }
    return nil
  }

  private static func text(_ entries: [MemberView.Entry], _ at: Int) -> String {
    guard at < entries.count else { return "nothing" }
    let entry = entries[at]
    return Reply.text(of: entry.key) + " = " + Reply.text(of: entry.value)
      + " version \(entry.version.nanos)"
  }
}
