import Base
import Node

/// Checks passwords in virtual time, a few at once.
final class SimPasswords: PasswordChecker {
  static let right = Array("correct horse".utf8)
  private static let waitingCountMax = 3

  private let timing: SimDiskTiming
  private var chance: Random
  private var waitingCount = 0
  private var finished: [(ticket: UInt64, accepted: Bool)] = []

  /// Wakes the node as its disk does.
  init(timing: SimDiskTiming, seed: UInt64) {
    self.timing = timing
    chance = Random(seed: seed)
  }

  func start(ticket: UInt64, password: [UInt8]) -> Bool {
    guard waitingCount < Self.waitingCountMax else { return false }
    waitingCount += 1
    let scheduler = timing.scheduler
    scheduler.at(scheduler.now + .micros(UInt64(chance.below(50_000)))) { [self] in
      waitingCount -= 1
      finished.append((ticket, password == Self.right))
      timing.wake()
    }
    return true
  }

  func poll() -> (ticket: UInt64, accepted: Bool)? {
    guard !finished.isEmpty else { return nil }
    timing.activity += 1
    return finished.removeFirst()
  }
}
