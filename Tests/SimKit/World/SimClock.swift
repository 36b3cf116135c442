import Base

/// The wall clock of the node's machine: drifts, and steps when the world says so.
///
/// Keeps what it showed, so that an oracle can ask between which bounds the node has judged.
struct SimClock {
  private struct Segment {
    var start: Instant
    var offsetNanos: Int64
  }

  private let partsPerMillion: Int64
  private let baseNanos: Int64 = 1_790_000_000_000_000_000
  private var segments: [Segment] = [Segment(start: .zero, offsetNanos: 0)]

  init(partsPerMillion: Int) {
    self.partsPerMillion = Int64(partsPerMillion)
  }

  /// What the clock shows now.
  func nanos(at instant: Instant) -> UInt64 {
    UInt64(nanos(at: instant, segments[segments.count - 1]))
  }

  /// The true Unix time in milliseconds: what a client's good clock shows.
  func trueMillis(at instant: Instant) -> Int64 {
    (baseNanos + Int64(instant.nanos)) / 1_000_000
  }

  mutating func step(by nanos: Int64, at instant: Instant) {
    let last = segments[segments.count - 1]
    segments.append(Segment(start: instant, offsetNanos: last.offsetNanos + nanos))
  }

  /// The least that the clock showed between two instants and the greatest that it had ever shown
  /// until the second, in milliseconds: the bounds of the node's hybrid clock between them.
  func bounds(from start: Instant, to end: Instant) -> ClosedRange<Int64> {
    var least = Int64.max
    var greatest = baseNanos
    for (index, segment) in segments.enumerated() {
      let next = index + 1 < segments.count ? segments[index + 1].start : Instant.never
      guard segment.start <= end else { break }
      greatest = max(greatest, nanos(at: min(end, next), segment))
      if next >= start { least = min(least, nanos(at: max(start, segment.start), segment)) }
    }
    greatest = max(greatest, least)
    return least / 1_000_000...greatest / 1_000_000 + 1
  }

  private func nanos(at instant: Instant, _ segment: Segment) -> Int64 {
    let elapsed = Int64(instant.nanos)
    return baseNanos + elapsed + elapsed / 1_000_000 * partsPerMillion + segment.offsetNanos
  }
}
