import Base
import Glibc

/// The real disk: a thread around a `DiskWorker`.
///
/// Used by the loop's thread only; it never waits, except in `performNow` and `shutDown`.
public struct ThreadedDisk: Disk, ~Copyable {
  private let mailbox: DiskMailbox
  /// The worker before its thread is started by `recover`.
  private var worker: DiskWorker<PosixFileSystem>?
  private var thread: pthread_t?
  private var runner: DiskThread?
  private var isRecovered = false
  private var isInFlight = false

  /// `wake` is called, mostly by the disk thread, when `poll` has something new; it may be called
  /// once too often, and must not wait.
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
    self.runner = runner
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

  /// Performs a group in the caller's thread while the other one sleeps; hands it over otherwise.
  public mutating func performNow(_ group: consuming DiskGroup) -> Bool {
    guard let runner, runner.claim() else {
      start(group)
      return false
    }
    invariant(isIdle, "a group is started only when the disk is idle")
    isInFlight = true
    runner.performClaimed(group)
    return true
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
    // With the thread's end the directory is free.
    runner = nil
    mailbox.sendStop(clean: clean)
    guard isRecovered else {
      pthread_detach(thread)
      return nil
    }
    pthread_join(thread, nil)
    return mailbox.lastFault()
  }
}
