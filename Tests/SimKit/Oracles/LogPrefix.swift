import Base
import Store

/// What a node's disk was given, and how much of it must be there after a death.
///
/// Recovery must find a prefix of the records that were handed over: after a loss of power through the
/// last one that the disk had reported as forced, after the death of the process alone through the
/// last one that it had written, after an orderly stop all. The log's chain makes it a prefix; this
/// counts it. Survives the lives of its node.
final class LogPrefix {
  private struct Group {
    var through: Mark
    var instant: Instant
  }

  /// Groups from the one that the durable mark stands in on.
  private var groups: [Group] = []
  private var handed = Mark.zero
  /// The first records of the last groups, those that were not to be forced counted as one with the next
  /// that was.
  private var units = [Mark(1)]
  private static let unitCountMax = 256
  private var written = Mark.zero
  private var durable = Mark.zero
  /// What recovery must find after the ends since the last one; nil: none.
  private var floor: Mark?

  // MARK: What the disk does

  func hand(_ group: borrowing DiskGroup, at now: Instant) {
    handed = group.last
    if group.force, units.last! <= handed { units.append(handed.next) }
    if units.count > Self.unitCountMax { units.removeFirst() }
    // One without records, while these are held back, says nothing of what was appended before it.
    if groups.last?.through != handed { groups.append(Group(through: handed, instant: now)) }
  }

  func finish(_ report: DiskReport) {
    written = max(written, report.through)
    durable = max(durable, report.durable)
    while groups.count > 1, groups[1].through <= durable { groups.removeFirst() }
  }

  /// Recovery is complete through `mark`; says what is wrong with that.
  func recover(through mark: Mark, at now: Instant) -> String? {
    // An orderly stop adds the record that closes the log.
    let least = floor ?? .zero
    let isPrefix = least <= mark && mark <= handed.next
    let text = "recovered through \(mark.number), not from \(least.number) to \(handed.number)"
    handed = mark
    written = mark
    durable = mark
    floor = nil
    units.removeAll { $0 > mark }
    units.append(mark.next)
    groups = [Group(through: mark, instant: now)]
    return isPrefix ? nil : text
  }

  /// A call failed. After a force that does, the system forgets what was written since the last one.
  func fail() { written = durable }

  /// The first record of the group that holds `mark`.
  func firstOfUnit(with mark: Mark) -> Mark { units.last { $0 <= mark } ?? .zero }

  // MARK: What ends a life

  /// The process is gone and the page cache is not. Answers since when nothing need be there.
  func loseProcess() -> Instant { lose(to: written) }

  /// The machine lost power. Answers since when nothing need be there.
  func losePower() -> Instant { lose(to: durable) }

  /// The disk was never given anything.
  var isEmpty: Bool { handed == .zero }

  /// The node stopped as asked: everything is there.
  func close() { floor = min(floor ?? handed, handed) }

  /// How long the oldest record that is not durable has been with the disk; none is between a death and
  /// the recovery after it.
  func age(at now: Instant) -> Interval {
    if floor != nil { return .zero }
    return groups.first { $0.through > durable }.map { now - $0.instant } ?? .zero
  }

  private func lose(to mark: Mark) -> Instant {
    floor = min(floor ?? mark, mark)
    return groups.last { $0.through <= mark }?.instant ?? .zero
  }
}
