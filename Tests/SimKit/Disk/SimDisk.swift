import Base
import Store

/// The `Disk` of a simulated node: the real `DiskWorker` over a `SimFileSystem`, in virtual time.
///
/// A group is carried out either when it is handed over or when its time has come, as the seed says;
/// it is reported when its time has come. The machine may end at any call within. After that nothing
/// is reported: the world takes the node down.
struct SimDisk: Disk, ~Copyable {
  private let directory: SimDirectory
  private let timing: SimDiskTiming
  private let prefix: LogPrefix
  private var worker: DiskWorker<SimFileSystem>
  private var stage = Stage.fresh
  private var due = Instant.never
  private var idleDue = Instant.never
  private var group: DiskGroup?
  private var report: Result<DiskReport, DiskFault>?
  private var toldNoSpace = false

  private enum Stage {
    case fresh, recovering, ready, failed
  }

  /// How long the disk waits before it tries again what had no room.
  private static let retryInterval = Interval.millis(50)

  init(
    directory: SimDirectory, timing: SimDiskTiming, prefix: LogPrefix, options: DiskOptions,
    limits: DatabaseLimits, hashKey: SipKey, freshIdentity: UInt64
  ) {
    self.directory = directory
    self.timing = timing
    self.prefix = prefix
    worker = DiskWorker(
      fileSystem: SimFileSystem(directory: directory), options: options, databaseLimits: limits,
      hashKey: hashKey, freshIdentity: freshIdentity)
  }

  private var now: Instant { timing.scheduler.now }

  var isIdle: Bool { stage == .ready && group == nil }

  mutating func recover() {
    invariant(stage == .fresh, "recovery is begun once")
    stage = .recovering
    due = plan(timing.latency())
  }

  mutating func start(_ group: consuming DiskGroup) {
    invariant(isIdle, "a group is handed over when the disk is idle")
    timing.activity += 1
    prefix.hand(group, at: now)
    self.group = consume group
    due = plan(timing.latency())
    if timing.runsEarly { perform() }
  }

  /// What the loop waits for is done when it goes on, and wakes nobody.
  mutating func performNow(_ group: consuming DiskGroup) -> Bool {
    guard !worker.hasNoSpace, !worker.hasIdleWork else {
      start(group)
      return false
    }
    invariant(isIdle, "a group is performed when the disk is idle")
    timing.activity += 1
    prefix.hand(group, at: now)
    self.group = consume group
    due = now
    perform()
    return true
  }

  mutating func poll() -> DiskEvent? {
    guard !directory.isDead, let event = nextEvent(), !directory.isDead else { return nil }
    timing.activity += 1
    return event
  }

  mutating func shutDown(clean: Bool) -> DiskFault? {
    guard stage == .ready else { return nil }
    do {
      if group != nil {
        if report == nil { perform() }
        if case .failure(let fault) = report { return fault }
      }
      try worker.close(clean: clean)
      return nil
    } catch {
      return error
    }
  }

  // MARK: Steps

  private func plan(_ interval: Interval) -> Instant {
    let due = now + interval
    timing.scheduler.at(due) { [timing] in timing.wake() }
    return due
  }

  private mutating func nextEvent() -> DiskEvent? {
    switch stage {
    case .fresh, .failed: return nil
    case .recovering: return due <= now ? finishRecovery() : nil
    case .ready: return group != nil ? finishGroup() : workAhead()
    }
  }

  private mutating func finishRecovery() -> DiskEvent {
    do {
      let database = try worker.recover { _, _ in }
      if let breach = prefix.recover(through: database.log.appended, at: now) {
        timing.breach(breach)
      }
      stage = .ready
      idleDue = plan(timing.latency())
      return .recovered(database)
    } catch {
      prefix.fail()
      stage = .failed
      return .unrecoverable(error)
    }
  }

  private mutating func perform() {
    do {
      let done = try worker.perform(&group!)
      prefix.finish(done)
      report = .success(done)
    } catch {
      prefix.fail()
      report = .failure(error)
    }
  }

  private mutating func finishGroup() -> DiskEvent? {
    guard due <= now else { return nil }
    if report == nil { perform() }
    switch report.take()! {
    case .failure(let fault):
      stage = .failed
      return .failed(fault)
    case .success(let report):
      toldNoSpace = report.noSpace
      if report.groupBlockedByNoSpace {
        due = plan(Self.retryInterval)
        return .finished(DiskGroup(), report)
      }
      due = .never
      idleDue = plan(timing.latency())
      return .finished(group.take()!, report)
    }
  }

  /// Does one slice of what can be done between groups.
  private mutating func workAhead() -> DiskEvent? {
    guard idleDue <= now else { return nil }
    do {
      let hasMore = try worker.idle()
      timing.activity += 1
      idleDue = hasMore ? plan(timing.latency()) : .never
      if worker.hasNoSpace { idleDue = plan(Self.retryInterval) }
      guard worker.hasNoSpace != toldNoSpace else { return nil }
      toldNoSpace = worker.hasNoSpace
      return .room(noSpace: toldNoSpace)
    } catch {
      prefix.fail()
      stage = .failed
      return .failed(error)
    }
  }
}
