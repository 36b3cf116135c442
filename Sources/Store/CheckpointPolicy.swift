/// When a checkpoint is started and how fast it is written; pure, for the loop.
///
/// One is due when the log since the last one exceeds max(64 MiB, the size of the last one), so
/// that recovery reads at most about twice the data, and writing checkpoints costs at most as much
/// as writing the log. When the disk is full one is due earlier, as it makes room: whenever the log
/// has grown by `fullGrowthByteCount` since the last one or the last try, for then deletes may have
/// made the data small enough.
public struct CheckpointPolicy: Sendable {
  /// The log below which no checkpoint is due, while there is room.
  public var logByteCountMin: UInt64 = 64 << 20
  /// How much the log grows between two tries on a full disk.
  public var fullGrowthByteCount: UInt64 = 256 << 10
  /// The least bytes of one slice.
  public var sliceByteCountMin: Int = 256 << 10
  /// The most bytes of one slice.
  public static var sliceByteCountMax: Int { 4 << 20 }

  private var logByteCountAtTry: UInt64 = 0

  /// Has not tried yet.
  public init() {}

  /// True when a checkpoint should be started now; asked only while none is under way.
  public func isDue(_ report: DiskReport) -> Bool {
    if report.noSpace {
      return report.logByteCount >= logByteCountAtTry + fullGrowthByteCount
    }
    return report.logByteCount > max(logByteCountMin, report.checkpointByteCount)
      && report.logByteCount >= logByteCountAtTry + fullGrowthByteCount
  }

  /// Notes what became of a checkpoint: called with each report.
  public mutating func note(_ report: DiskReport) {
    if report.checkpointFinished || report.checkpointFailed {
      logByteCountAtTry = report.logByteCount
    }
  }

  /// How many bytes of entries to collect for the next group: four times its log, so that the log
  /// grows by at most a quarter of the checkpoint while it is written.
  public func sliceByteCount(logByteCount: Int) -> Int {
    min(max(sliceByteCountMin, 4 * logByteCount), Self.sliceByteCountMax)
  }
}
