import Base
import Glibc

/// A group that the disk thread is done with, or that is blocked (then without buffers).
struct FinishedGroup: ~Copyable {
  var group: DiskGroup
  var report: DiskReport
}

/// What passes between the loop and the disk thread: at most one thing of each kind.
///
/// Every field is used under the mutex only.
final class DiskMailbox: @unchecked Sendable {
  // To the disk thread.
  private var request: DiskGroup?
  /// True: close the log in order; false: only end.
  private var stop: Bool?

  /// The disk thread is to look for work ahead.
  private var isNudged = false

  // To the loop.
  /// How much there is for it, at most.
  private var newsCount = 0
  private var progress: (done: UInt64, of: UInt64)?
  private var recovered: Database?
  private var found = RecoverySummary()
  private var unrecoverable: RecoveryError?
  private var finished: FinishedGroup?
  private var room: Bool?
  private var failed: DiskFault?

  private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private let arrival = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
  private let wake: @Sendable () -> Void

  /// `wake` is called after something was put in for the loop, unless that looks by itself.
  init(wake: @escaping @Sendable () -> Void) {
    self.wake = wake
    pthread_mutex_init(mutex, nil)
    var attributes = pthread_condattr_t()
    pthread_condattr_init(&attributes)
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC)
    pthread_cond_init(arrival, &attributes)
    pthread_condattr_destroy(&attributes)
  }

  deinit {
    pthread_cond_destroy(arrival)
    pthread_mutex_destroy(mutex)
    arrival.deallocate()
    mutex.deallocate()
  }

  // MARK: The loop's side

  /// Hands a group over; there is none that was not taken.
  func send(_ group: consuming DiskGroup) {
    pthread_mutex_lock(mutex)
    request = consume group
    pthread_mutex_unlock(mutex)
    // Not before: the thread would wake only to wait for the mutex.
    pthread_cond_signal(arrival)
  }

  /// Lets the disk thread look for what can be done ahead.
  func nudge() {
    pthread_mutex_lock(mutex)
    isNudged = true
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(arrival)
  }

  /// Asks the disk thread to end.
  func sendStop(clean: Bool) {
    pthread_mutex_lock(mutex)
    stop = clean
    pthread_mutex_unlock(mutex)
    pthread_cond_signal(arrival)
  }

  /// False: there is no event.
  var hasNews: Bool {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return newsCount > 0
  }

  /// The next event, or nil. A failure comes after all else.
  func receive() -> DiskEvent? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    if newsCount > 0 { newsCount -= 1 }
    if let (done, total) = progress {
      progress = nil
      return .recovering(done: done, of: total)
    }
    if let database = recovered.take() { return .recovered(database) }
    if let error = unrecoverable.take() { return .unrecoverable(error) }
    if let done = finished.take() { return done.event() }
    if let noSpace = room.take() { return .room(noSpace: noSpace) }
    if let fault = failed.take() { return .failed(fault) }
    newsCount = 0
    return nil
  }

  /// What recovery found.
  func summary() -> RecoverySummary {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return found
  }

  /// The failure, if the loop was not told of it.
  func lastFault() -> DiskFault? {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    return failed
  }

  // MARK: The disk thread's side

  /// What the disk thread finds.
  enum Task: ~Copyable {
    case none
    case group(DiskGroup)
    case stop(clean: Bool)
  }

  /// The next task, a group before the end. Waits for it, but not longer than `millisMax`, if that
  /// is not nil.
  func task(millisMax: Int?) -> Task {
    pthread_mutex_lock(mutex)
    defer { pthread_mutex_unlock(mutex) }
    let deadline = millisMax.map { Self.instant(afterMillis: $0) }
    while true {
      if let group = request.take() { return .group(group) }
      if let clean = stop { return .stop(clean: clean) }
      if isNudged {
        isNudged = false
        return .none
      }
      if millisMax == 0 { return .none }
      guard var deadline else {
        pthread_cond_wait(arrival, mutex)
        continue
      }
      if pthread_cond_timedwait(arrival, mutex, &deadline) == ETIMEDOUT { return .none }
    }
  }

  func post(progress done: UInt64, of total: UInt64) { post { progress = (done, total) } }

  func post(_ error: RecoveryError) { post { unrecoverable = error } }

  func post(_ fault: DiskFault) { post { failed = fault } }

  func post(noSpace: Bool) { post { room = noSpace } }

  func post(_ database: consuming Database, _ summary: RecoverySummary) {
    pthread_mutex_lock(mutex)
    found = summary
    recovered = consume database
    newsCount += 1
    pthread_mutex_unlock(mutex)
    wake()
  }

  func post(_ done: consuming FinishedGroup, wakes: Bool) {
    pthread_mutex_lock(mutex)
    finished = consume done
    newsCount += 1
    pthread_mutex_unlock(mutex)
    if wakes { wake() }
  }

  private func post(_ body: () -> Void) {
    pthread_mutex_lock(mutex)
    body()
    newsCount += 1
    pthread_mutex_unlock(mutex)
    wake()
  }

  private static func instant(afterMillis millis: Int) -> timespec {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let nanos = now.tv_nsec + millis % 1000 * 1_000_000
    return timespec(
      tv_sec: now.tv_sec + millis / 1000 + nanos / 1_000_000_000, tv_nsec: nanos % 1_000_000_000)
  }
}

extension FinishedGroup {
  /// The event that tells the loop.
  consuming func event() -> DiskEvent { .finished(group, report) }
}
