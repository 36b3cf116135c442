import Base
import Glibc

/// The disk thread's body. Between its tasks the loop's thread may take the worker and perform a
/// group itself.
///
/// In a file of its own: a closure of main.swift would belong to the main actor and trap here.
final class DiskThread: @unchecked Sendable {
  private var worker: DiskWorker<PosixFileSystem>
  private let mailbox: DiskMailbox
  /// Held by whose thread uses anything but the mailbox.
  private let owner = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  /// The worker has thrown: nothing more may be asked of it.
  private var isBroken = false
  /// The group that waits for room.
  private var blocked: DiskGroup?
  private var toldNoSpace = false

  /// How long to wait before the full disk is tried again.
  private static let retryMillis = 200

  init(worker: consuming DiskWorker<PosixFileSystem>, mailbox: DiskMailbox) {
    self.worker = consume worker
    self.mailbox = mailbox
    pthread_mutex_init(owner, nil)
  }

  deinit {
    pthread_mutex_destroy(owner)
    owner.deallocate()
  }

  func run() {
    blockSignals()
    pthread_mutex_lock(owner)
    defer { pthread_mutex_unlock(owner) }
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
      isBroken = true
      mailbox.post(error)
    }
  }

  /// Takes tasks until the end. Between two groups one slice is done ahead; when none is waiting,
  /// all there is to do.
  private func work() throws(DiskFault) {
    var more = true
    while true {
      let task = nextTask(millisMax: more ? 0 : needsRetry ? Self.retryMillis : nil)
      if isBroken { return }
      switch consume task {
      case .group(let group): try perform(group)
      case .stop(let clean): return try worker.close(clean: clean)
      case .none: if let group = blocked.take() { try perform(group) }
      }
      more = try worker.idle()
      tellRoom()
    }
  }

  /// The worker is anybody's while this thread sleeps.
  private func nextTask(millisMax: Int?) -> DiskMailbox.Task {
    pthread_mutex_unlock(owner)
    defer { pthread_mutex_lock(owner) }
    return mailbox.task(millisMax: millisMax)
  }

  // MARK: The loop's thread

  /// Takes the worker, if the disk thread does nothing with it now and has nothing to do.
  func claim() -> Bool {
    guard pthread_mutex_trylock(owner) == 0 else { return false }
    if !isBroken, !needsRetry, !worker.hasIdleWork { return true }
    pthread_mutex_unlock(owner)
    return false
  }

  /// Performs a group after `claim` and gives the worker back.
  func performClaimed(_ group: consuming DiskGroup) {
    defer { pthread_mutex_unlock(owner) }
    do {
      try perform(group, wakesLoop: false)
    } catch {
      isBroken = true
      mailbox.post(error)
    }
    if isBroken || needsRetry || worker.hasIdleWork { mailbox.nudge() }
  }

  // MARK: Parts

  private var needsRetry: Bool { blocked != nil || worker.hasNoSpace }

  private func perform(
    _ group: consuming DiskGroup, wakesLoop: Bool = true
  ) throws(DiskFault) {
    var group = consume group
    let report = try worker.perform(&group)
    toldNoSpace = report.noSpace
    if report.groupBlockedByNoSpace {
      blocked = consume group
      mailbox.post(FinishedGroup(group: DiskGroup(), report: report), wakes: wakesLoop)
    } else {
      mailbox.post(FinishedGroup(group: group, report: report), wakes: wakesLoop)
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
