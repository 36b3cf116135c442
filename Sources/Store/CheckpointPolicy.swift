public import Base

/// When a checkpoint is started and how fast it is written; pure, for the loop.
///
/// One is due when the log since the last one exceeds max(64 MiB, three quarters of the last one),
/// and while it is written the log grows by a quarter of it at most: records wait for entries where
/// needed, for up to half a second at a time. So the last checkpoint, the log and the next one take
/// three times the data at most, and recovery reads about twice the data. When the disk is full one
/// is due earlier, as it makes room: whenever the log has grown by `fullGrowthByteCount` since the
/// last one or the last try, for then deletes may have made the data small enough.
public struct CheckpointPolicy: Sendable {
  /// The log below which no checkpoint is due, while there is room.
  public var logByteCountMin: UInt64 = 64 << 20
  /// How much the log grows between two tries on a full disk.
  public var fullGrowthByteCount: UInt64 = 256 << 10
  /// The least bytes of one slice.
  public var sliceByteCountMin: Int = 256 << 10
  /// The most bytes of one slice.
  public var sliceByteCountMax: Int = 4 << 20

  private var logByteCountAtTry: UInt64 = 0
  /// The log as of the last report.
  private var logByteCount: UInt64 = 0
  /// By how many bytes of entries the checkpoint under way is behind four times the log's growth.
  private var owedByteCount = 0
  private var wasUnderWay = false

  /// Has not tried yet.
  public init() {}

  /// True when a checkpoint should be started now; asked only while none is under way.
  public func isDue(_ report: DiskReport) -> Bool {
    if report.noSpace {
      return report.logByteCount >= logByteCountAtTry + fullGrowthByteCount
    }
    return report.logByteCount > max(logByteCountMin, report.checkpointByteCount / 4 * 3)
      && report.logByteCount >= logByteCountAtTry + fullGrowthByteCount
  }

  /// Called with each report. `sliceByteCount`: the entries that went with that group;
  /// `isUnderWay`: a checkpoint is being written, also after it.
  public mutating func note(_ report: DiskReport, sliceByteCount: Int, isUnderWay: Bool) {
    if report.checkpointFinished || report.checkpointFailed {
      logByteCountAtTry = report.logByteCount
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
