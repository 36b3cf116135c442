import Base
import Glibc

/// The real disk: a thread around a `DiskWorker`.
///
/// Used by the loop's thread only; it never waits, except in `shutDown`.
public struct ThreadedDisk: Disk, ~Copyable {
  private let mailbox: DiskMailbox
  /// The worker before its thread is started by `recover`.
  private var worker: DiskWorker<PosixFileSystem>?
  private var thread: pthread_t?
  private var isRecovered = false
  private var isInFlight = false

  /// `wake` is called by the disk thread when `poll` has something new; it may be called once too
  /// often, and must not wait.
  public init(
    worker: consuming DiskWorker<PosixFileSystem>, wake: @escaping @Sendable () -> Void
  ) {
    self.worker = consume worker
    mailbox = DiskMailbox(wake: wake)
  }

  /// True when no group is in flight and recovery is over.
  public var isIdle: Bool { isRecovered && !isInFlight }

  /// What recovery found; known once `recovered` was polled.
  public var recoverySummary: RecoverySummary { mailbox.summary() }

  /// Starts the thread, which begins with recovery. Once.
  public mutating func recover() {
    guard let worker = worker.take() else {
      invariantFailed("recovery is begun once")
    }
    let runner = DiskThread(worker: worker, mailbox: mailbox)
    var thread = pthread_t()
    let result = pthread_create(
      &thread, nil,
      { context in
        guard let context else { return nil }
        Unmanaged<DiskThread>.fromOpaque(context).takeRetainedValue().run()
        return nil
      }, Unmanaged.passRetained(runner).toOpaque())
    invariant(result == 0, "the disk thread can be started: error number \(result)")
    self.thread = thread
  }

  /// Hands a group to the thread. Only when `isIdle`.
  public mutating func start(_ group: consuming DiskGroup) {
    invariant(isIdle, "a group is started only when the disk is idle")
    isInFlight = true
    mailbox.send(group)
  }

  /// False: `poll` has nothing now.
  public var hasNews: Bool { mailbox.hasNews }

  /// The next event, or nil.
  public mutating func poll() -> DiskEvent? {
    guard let event = mailbox.receive() else { return nil }
    switch consume event {
    case .recovered(let database):
      isRecovered = true
      return .recovered(database)
    case .finished(let group, let report):
      isInFlight = report.groupBlockedByNoSpace
      return .finished(group, report)
    case .recovering(let done, let total): return .recovering(done: done, of: total)
    case .unrecoverable(let error): return .unrecoverable(error)
    case .room(let noSpace): return .room(noSpace: noSpace)
    case .failed(let fault): return .failed(fault)
    }
  }

  /// Waits for the group in flight, closes the log and ends the thread.
  ///
  /// While recovery is under way nothing is waited for: it changes nothing that the next one would
  /// not do again.
  public mutating func shutDown(clean: Bool) -> DiskFault? {
    guard let thread else { return nil }
    self.thread = nil
    mailbox.sendStop(clean: clean)
    guard isRecovered else {
      pthread_detach(thread)
      return nil
    }
    pthread_join(thread, nil)
    return mailbox.lastFault()
  }
}

/// The thread's body, in a file of its own: a closure of main.swift would belong to the main actor
/// and trap here.
private final class DiskThread {
  private var worker: DiskWorker<PosixFileSystem>
  private let mailbox: DiskMailbox
  /// The group that waits for room.
  private var blocked: DiskGroup?
  private var toldNoSpace = false

  /// How long to wait before the full disk is tried again.
  private static let retryMillis = 200

  init(worker: consuming DiskWorker<PosixFileSystem>, mailbox: DiskMailbox) {
    self.worker = consume worker
    self.mailbox = mailbox
  }

  func run() {
    blockSignals()
    do {
      let mailbox = mailbox
      let database = try worker.recover { mailbox.post(progress: $0, of: $1) }
      mailbox.post(database, worker.summary)
    } catch {
      mailbox.post(error)
      return
    }
    do {
      try work()
    } catch {
      mailbox.post(error)
    }
  }

  /// Takes tasks until the end. Between two groups one slice is done ahead; when none is waiting,
  /// all there is to do.
  private func work() throws(DiskFault) {
    var more = true
    while true {
      switch mailbox.task(millisMax: more ? 0 : needsRetry ? Self.retryMillis : nil) {
      case .group(let group): try perform(group)
      case .stop(let clean): return try worker.close(clean: clean)
      case .none: if let group = blocked.take() { try perform(group) }
      }
      more = try worker.idle()
      tellRoom()
    }
  }

  private var needsRetry: Bool { blocked != nil || worker.hasNoSpace }

  private func perform(_ group: consuming DiskGroup) throws(DiskFault) {
    var group = consume group
    let report = try worker.perform(&group)
    toldNoSpace = report.noSpace
    if report.groupBlockedByNoSpace {
      blocked = consume group
      mailbox.post(FinishedGroup(group: DiskGroup(), report: report))
    } else {
      mailbox.post(FinishedGroup(group: group, report: report))
    }
  }

  private func tellRoom() {
    guard worker.hasNoSpace != toldNoSpace else { return }
    toldNoSpace = worker.hasNoSpace
    mailbox.post(noSpace: toldNoSpace)
  }

  /// Signals are the main thread's.
  private func blockSignals() {
    var all = sigset_t()
    sigfillset(&all)
    pthread_sigmask(SIG_BLOCK, &all, nil)
  }
}
