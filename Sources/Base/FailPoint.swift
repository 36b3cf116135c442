#if MUTANTS
  /// Places of the protocol between members at which a member ends hard, like by `kill -9`, for
  /// tests with real processes.
  ///
  /// They exist only in builds with `-Xswiftc -DMUTANTS`. One is chosen at the start by
  /// `SERVE_FAIL_AT`; it counts what this member does as coordinator or participant. Used from the
  /// loop's thread only.
  public enum FailPoint: String, CaseIterable, Sendable {
    /// The attempt is prepared and its prepares have left; its record is not forced, no vote sent.
    case beforeVote = "before-vote"
    /// The record of the prepared attempt is forced; the vote is neither sent nor counted.
    case afterPrepared = "after-prepared"
    /// The decision is about to be recorded; nobody has heard of it from here.
    case beforeDecision = "before-decision"
    /// The decision is recorded and all that may leave unforced has left, the client's reply among
    /// it; the record is not forced.
    case afterDecision = "after-decision"

    /// The one that is at work; nil: none.
    nonisolated(unsafe) private static var active: FailPoint?
    /// How often it is still to be reached.
    nonisolated(unsafe) private static var left = 0
    /// It was reached for the last time with the record of this mark.
    nonisolated(unsafe) private static var reached: Mark?
    nonisolated(unsafe) private static var end: () -> Void = {}

    /// What is wrong with a text that `arm` does not take.
    public static let usage =
      "SERVE_FAIL_AT must be before-vote, after-prepared, before-decision or after-decision, "
      + "with :N behind it for the N-th time"

    /// Chooses the point by its name, `:N` behind it for the N-th time; `end` ends the process.
    /// False when the text is none.
    public static func arm(_ text: String, end: @escaping () -> Void) -> Bool {
      let parts = text.split(separator: ":", omittingEmptySubsequences: false)
      guard (1...2).contains(parts.count), let point = FailPoint(rawValue: String(parts[0])),
        let count = parts.count == 2 ? Int(parts[1]) : 1, count > 0
      else { return false }
      active = point
      left = count
      self.end = end
      return true
    }

    /// The process is here with the record of `mark`. Ends it when nothing else is to come first.
    public static func reach(_ point: FailPoint, _ mark: Mark = .zero) {
      guard point == active, left > 0 else { return }
      left -= 1
      guard left == 0 else { return }
      if point == .beforeDecision { end() }
      reached = mark
    }

    /// Ends the process if the point was reached and its record is durable. To be called before
    /// anything is done with what has become durable.
    public static func passDurable(_ durable: Mark) {
      if active == .afterPrepared, let reached, reached <= durable { end() }
    }

    /// True when the process is to end once the messages of this turn have left, before its records
    /// go to the disk.
    public static var isAtHandOver: Bool {
      reached != nil && (active == .beforeVote || active == .afterDecision)
    }

    /// Ends the process.
    public static func strike() { end() }
  }
#endif
