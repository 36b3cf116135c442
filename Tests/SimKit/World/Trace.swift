import Base

/// Everything that happens in a world, folded into one hash; printed line by line on request.
///
/// Two runs of one seed must end with equal hashes: what is not traced is not known to be
/// deterministic, so bytes that pass a wire or reach the disk are folded in too.
final class Trace {
  /// The hash of all that happened so far.
  private(set) var hash: UInt64 = 0xCBF2_9CE4_8422_2325
  /// How many things were traced; the step that a failure names.
  private(set) var step: UInt64 = 0

  private let prints: Bool

  init(prints: Bool) {
    self.prints = prints
  }

  /// Folds one happening in; `detail` is made only when lines are printed.
  func note(
    _ kind: StaticString, at instant: Instant, _ a: UInt64 = 0, _ b: UInt64 = 0,
    _ detail: @autoclosure () -> String = ""
  ) {
    step += 1
    fold(kind)
    fold(instant.nanos)
    fold(a)
    fold(b)
    guard prints else { return }
    print("\(step) \(Self.text(instant)) \(kind) \(a) \(b) \(detail())")
  }

  /// Folds bytes in without counting a step.
  func fold(_ bytes: UnsafeRawBufferPointer) {
    var index = 0
    while index + 8 <= bytes.count {
      fold(bytes.loadUnaligned(fromByteOffset: index, as: UInt64.self))
      index += 8
    }
    while index < bytes.count {
      fold(UInt64(bytes[index]))
      index += 1
    }
  }

  /// Folds one word in: a rotation and a multiplication by an odd constant.
  func fold(_ word: UInt64) {
    let mixed = (hash ^ word) &* 0x9E37_79B9_7F4A_7C15
    hash = mixed ^ (mixed >> 29)
  }

  private func fold(_ kind: StaticString) {
    fold(UnsafeRawBufferPointer(start: kind.utf8Start, count: kind.utf8CodeUnitCount))
  }

  /// Seconds with six places.
  static func text(_ instant: Instant) -> String {
    let micros = instant.nanos / 1_000
    let fraction = String(micros % 1_000_000)
    return "\(micros / 1_000_000)." + String(repeating: "0", count: 6 - fraction.count) + fraction
  }
}
