import Base
import NetKit
import TPC

/// The last steps of the protocol that this member took, for `TRACE`.
///
/// Bound: `stepCountMax` steps.
struct StepRing {
  static var stepCountMax: Int { 4_096 }

  private var steps: [(wallNanos: UInt64, step: TraceStep)] = []
  private var next = 0

  mutating func append(_ step: TraceStep, at now: Moment) {
    let entry = (wallNanos: now.wallNanos, step: step)
    if steps.count < Self.stepCountMax {
      steps.append(entry)
    } else {
      steps[next] = entry
      next = (next + 1) % Self.stepCountMax
    }
  }

  /// Calls `body` for each step, oldest first.
  func visit(_ body: (UInt64, TraceStep) -> Void) {
    for index in steps.indices {
      let entry = steps[(next + index) % steps.count]
      body(entry.wallNanos, entry.step)
    }
  }
}
