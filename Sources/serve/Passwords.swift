import Base
import Glibc
import Node
import Synchronization

/// Checks passwords against one crypt(3) hash on a thread of its own, since a check takes 20 to
/// 50 ms, which the loop must not spend.
///
/// A password that was accepted once is kept in memory and compared directly from then on: over UDP
/// every message carries its password. `start` and `poll` are the loop's; the queue is bounded, so
/// a flood of wrong passwords costs one thread and no more.
final class Passwords: PasswordChecker, Sendable {
  /// Checks under way at once, finished ones that were not polled included.
  static let ticketCountMax = 64

  private struct State: ~Copyable {
    var waiting: [(ticket: UInt64, password: [UInt8])] = []
    var finished: [(ticket: UInt64, accepted: Bool)] = []
    var underWay = 0
    var accepted: [UInt8]?
  }

  private let state = Mutex(State())
  private let finishedCount = Atomic<Int>(0)
  private let bell = Bell()
  private let wake: @Sendable () -> Void

  /// Reads the file, checks that its hash can be used, and starts the thread. `wake` is called from
  /// that thread when an answer can be polled.
  init(file: String, wake: @escaping @Sendable () -> Void) throws(Failure) {
    self.wake = wake
    let hash = try readPasswordHash(file)
    let hasher = try PasswordHasher()
    guard hasher.knows(hash) else {
      throw Failure(
        .configuration,
        "the first line of the password file \(file) is not a crypt(3) hash that libcrypt knows; "
          + "make one with: openssl passwd -6")
    }
    startThread { [self] in work(hasher, hash) }
  }

  func start(ticket: UInt64, password: [UInt8]) -> Bool {
    let outcome = state.withLock { state -> StartOutcome in
      guard state.underWay < Self.ticketCountMax else { return .refused }
      state.underWay += 1
      if let known = state.accepted, equalInConstantTime(password, known) {
        state.finished.append((ticket, true))
        return .finished
      }
      state.waiting.append((ticket, password))
      return .waiting
    }
    switch outcome {
    case .refused: return false
    case .waiting: bell.ring()
    case .finished:
      finishedCount.add(1, ordering: .releasing)
      wake()
    }
    return true
  }

  func poll() -> (ticket: UInt64, accepted: Bool)? {
    guard finishedCount.load(ordering: .acquiring) > 0 else { return nil }
    finishedCount.subtract(1, ordering: .relaxed)
    return state.withLock { state in
      state.underWay -= 1
      return state.finished.removeFirst()
    }
  }

  private enum StartOutcome { case refused, waiting, finished }

  /// The thread: one password after the other, in order of arrival.
  private func work(_ hasher: PasswordHasher, _ hash: [UInt8]) -> Never {
    while true {
      bell.wait()
      let next = state.withLock { state in
        state.waiting.isEmpty ? nil : state.waiting.removeFirst()
      }
      guard let next else { continue }
      let accepted = hasher.accepts(next.password, hash: hash)
      state.withLock { state in
        if accepted { state.accepted = next.password }
        state.finished.append((next.ticket, accepted))
      }
      finishedCount.add(1, ordering: .releasing)
      wake()
    }
  }
}

/// A counting semaphore. The corresponding C functions are `sem_post` and `sem_wait`.
private final class Bell: @unchecked Sendable {
  private let semaphore = UnsafeMutablePointer<sem_t>.allocate(capacity: 1)

  init() {
    let result = sem_init(semaphore, 0, 0)
    invariant(result == 0, "a semaphore of zero can be made")
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  func ring() { sem_post(semaphore) }

  func wait() {
    while sem_wait(semaphore) != 0 {}
  }
}
