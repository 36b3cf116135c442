public import Base

/// When a checkpoint is started and how fast it is written; pure, for the loop.
///
/// One is due when the log since the last one exceeds max(64 MiB, three quarters of the last one),
/// and while it is written the log grows by a quarter of it at most: records wait for entries where
/// needed, for up to half a second at a time. So the last checkpoint, the log and the next one take
/// three times the data at most, and recovery reads about twice the data. When the disk is full one
/// is due earlier, as it makes room: whenever the log has grown since the last one or the last try
/// began, for then deletes may have made the data small enough. A try that found no room is
/// followed by the next one after `retryInterval` at the earliest.
public struct CheckpointPolicy: Sendable {
  /// The log below which no checkpoint is due, while there is room.
  public var logByteCountMin: UInt64 = 64 << 20
  /// How much the log grows between two tries while there is room for it.
  public var fullGrowthByteCount: UInt64 = 256 << 10
  /// The least bytes of one slice.
  public var sliceByteCountMin: Int = 256 << 10
  /// The most bytes of one slice.
  public var sliceByteCountMax: Int = 4 << 20
  /// How long to wait after a try when the disk is full or it found no room.
  public var retryInterval = Interval.seconds(1)
  /// The same on a full disk while the log has not grown since: somebody else may have made room.
  public var quietRetryInterval = Interval.seconds(10)

  private var lastTry: Try?
  /// The log when the checkpoint under way began.
  private var logByteCountAtBegin: UInt64 = 0
  /// The log as of the last report.
  private var logByteCount: UInt64 = 0
  /// By how many bytes of entries the checkpoint under way is behind four times the log's growth.
  private var owedByteCount = 0
  private var wasUnderWay = false

  /// A checkpoint that was finished, or had no room.
  private struct Try {
    var end: Instant
    var hadRoom: Bool
    /// The log that it does away with, as counted now.
    var logByteCount: UInt64
  }

  /// Has not tried yet.
  public init() {}

  /// When a checkpoint should be started; asked only while none is under way.
  public func due(_ report: DiskReport) -> Instant {
    if report.noSpace {
      guard let lastTry else { return .zero }
      if report.logByteCount > lastTry.logByteCount { return lastTry.end + retryInterval }
      return lastTry.hadRoom ? .never : lastTry.end + quietRetryInterval
    }
    let growthBegin = lastTry?.logByteCount ?? 0
    guard report.logByteCount > max(logByteCountMin, report.checkpointByteCount / 4 * 3),
      report.logByteCount >= growthBegin + fullGrowthByteCount
    else { return .never }
    guard let lastTry, !lastTry.hadRoom else { return .zero }
    return lastTry.end + retryInterval
  }

  /// Called with each report. `sliceByteCount`: the entries that went with that group;
  /// `isUnderWay`: a checkpoint is being written, also after it.
  public mutating func note(
    _ report: DiskReport, sliceByteCount: Int, isUnderWay: Bool, at now: Instant
  ) {
    if isUnderWay, !wasUnderWay { logByteCountAtBegin = report.logByteCount }
    if report.checkpointFinished {
      // What the report counts has come since it began.
      lastTry = Try(end: now, hadRoom: true, logByteCount: 0)
    } else if report.checkpointFailed {
      let begin = wasUnderWay ? logByteCountAtBegin : report.logByteCount
      lastTry = Try(end: now, hadRoom: false, logByteCount: begin)
    }
    // What came with the group that began it is before it.
    if isUnderWay, wasUnderWay {
      let growth = Int(clamping: report.logByteCount) - Int(clamping: logByteCount)
      owedByteCount = max(0, owedByteCount + 4 * growth - sliceByteCount)
    } else {
      owedByteCount = 0
    }
    wasUnderWay = isUnderWay
    logByteCount = report.logByteCount
  }

  /// The next groups are to hold entries only, until the checkpoint under way has caught up or
  /// records have waited for `holdMax`.
  public var holdsRecords: Bool { owedByteCount > 0 }

  /// The longest that records wait for entries: meanwhile nothing is acknowledged, and with a full
  /// log nobody is heard.
  public static var holdMax: Interval { .millis(500) }

  /// How many bytes of entries to collect for the next group: what is owed, and four times its log.
  public func sliceByteCount(logByteCount: Int) -> Int {
    min(max(sliceByteCountMin, owedByteCount + 4 * logByteCount), sliceByteCountMax)
  }
}
