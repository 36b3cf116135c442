import Base

/// Whether the loop of a member may wait for the disk instead of being woken by it, which saves two
/// changes of thread in each group.
///
/// It may where nobody would notice: at a member that only votes, while the disk is quick and
/// nothing comes in during a group that could be worked on meanwhile. Where clients are served the
/// loop stays free: reads do not wait for forces.
struct Quiet {
  /// A group that takes longer is the last one that was waited for.
  static var quickGroup: Interval { .millis(1) }
  /// So many groups in a row, quick and without any other work, come before one is waited for.
  static var groupCountMin: Int { 32 }
  /// How long no client may have sent a command.
  static var commandPause: Interval { .millis(200) }

  private var groupCount = 0
  private var commandCount: UInt64 = 0
  private var lastCommand = Instant.zero
  private var voteCount: UInt64 = 0

  /// A group is started, after so many commands of clients and votes; whether to wait for it.
  mutating func mayWait(commandCount: UInt64, voteCount: UInt64, at now: Instant) -> Bool {
    note(commandCount, at: now)
    self.voteCount = voteCount
    return groupCount >= Self.groupCountMin && now >= lastCommand + Self.commandPause
  }

  /// That group has ended within `interval`; the counts are those after what came in meanwhile was
  /// taken.
  mutating func ended(
    after interval: Interval, commandCount: UInt64, voteCount: UInt64, at now: Instant
  ) {
    note(commandCount, at: now)
    let isQuiet = interval < Self.quickGroup && voteCount == self.voteCount
    groupCount = isQuiet ? min(groupCount + 1, Self.groupCountMin) : 0
  }

  private mutating func note(_ commandCount: UInt64, at now: Instant) {
    guard commandCount != self.commandCount else { return }
    self.commandCount = commandCount
    lastCommand = now
  }
}
