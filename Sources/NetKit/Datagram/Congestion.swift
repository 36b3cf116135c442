import Base

/// How much may be under way on one path, and when to think it lost: slow start and AIMD after
/// RFC 5681, counted in bytes, with the timer of RFC 6298.
///
/// Each fragment sent gets the next sequence number, repetitions too, so an acknowledgement says
/// what was sent before it. A fragment is lost when one sent three or more after it has arrived and
/// it has been under way for longer than usual: on a path that reorders, the first alone would send
/// everything again at each acknowledgement.
struct Congestion {
  /// What is known of the time there and back.
  var roundTrip: RoundTrip
  /// Bytes that may be under way. A small datagram counts as `costMin`, because the network counts
  /// datagrams too.
  private(set) var window: Int
  /// Bytes under way: sent, and neither acknowledged nor thought lost.
  private(set) var inFlight = 0
  /// The greatest sequence acknowledged.
  private(set) var highestAcknowledged: UInt64 = 0
  /// Timeouts in a row.
  private(set) var backoffs = 0
  /// When everything under way is thought lost.
  private(set) var timer = Instant.never

  private var threshold = Int.max
  private var lastSequence: UInt64 = 0
  /// The window was halved when this was the last sequence; losses up to here are the same event.
  private var recoveryEnd: UInt64 = 0
  private let unit: Int
  private let windowMax: Int

  /// `unit` is the payload of a full datagram.
  init(roundTrip: RoundTrip, unit: Int, options: DatagramOptions) {
    self.roundTrip = roundTrip
    self.unit = unit
    windowMax = max(options.windowByteCountMax, 4 * unit)
    window = Self.initialWindow(unit)
  }

  /// Ten datagrams (RFC 6928), but no more than 64 KiB where datagrams are large.
  static func initialWindow(_ unit: Int) -> Int { unit * max(4, min(10, 65_536 / unit)) }

  /// Whether `byteCount` more may be sent now. Something may always be under way.
  func allows(_ byteCount: Int) -> Bool { inFlight == 0 || inFlight + cost(byteCount) <= window }

  /// Counts a fragment sent and gives its sequence.
  mutating func sent(_ byteCount: Int, at now: Instant) -> UInt64 {
    inFlight += cost(byteCount)
    lastSequence += 1
    if timer == .never { restartTimer(at: now) }
    return lastSequence
  }

  /// A fragment under way has arrived.
  mutating func acknowledged(_ sequence: UInt64, byteCount: Int, at now: Instant) {
    inFlight -= cost(byteCount)
    highestAcknowledged = max(highestAcknowledged, sequence)
    if sequence > recoveryEnd { grow(cost(byteCount)) }
    progressed(at: now)
  }

  /// Whether a fragment under way must be lost by now: RFC 9002 section 6.1, but both thresholds.
  func isLost(_ sequence: UInt64, sentAt: Instant, at now: Instant) -> Bool {
    guard sequence + 3 <= highestAcknowledged else { return false }
    return (now - sentAt).nanos >= roundTrip.smoothed.nanos / 8 * 9
  }

  /// A fragment under way is thought lost; halves the window once for all that was under way.
  mutating func lost(_ sequence: UInt64, byteCount: Int) {
    inFlight -= cost(byteCount)
    guard sequence > recoveryEnd else { return }
    recoveryEnd = lastSequence
    window = max(window / 2, 2 * unit)
    threshold = window
  }

  /// What was under way will not be waited for; not a sign of congestion.
  mutating func forgotten(byteCount: Int) { inFlight -= cost(byteCount) }

  /// The timer ran out: everything under way is lost (the caller has said so by `forgotten`), and
  /// the next wait is twice as long.
  mutating func timedOut() {
    backoffs += 1
    threshold = max(window / 2, 2 * unit)
    window = unit
    recoveryEnd = lastSequence
    timer = .never
  }

  /// The other side lives: waits anew.
  mutating func progressed(at now: Instant) {
    backoffs = 0
    if inFlight > 0 { restartTimer(at: now) } else { timer = .never }
  }

  /// Starts with one datagram, until the other side has been heard.
  mutating func startCautiously() { window = unit }

  /// The other side has been heard for the first time.
  mutating func startInEarnest() { window = max(window, Self.initialWindow(unit)) }

  private static var costMin: Int { 256 }

  private func cost(_ byteCount: Int) -> Int { max(byteCount, Self.costMin) }

  private mutating func restartTimer(at now: Instant) {
    timer = now + roundTrip.timeout(backoffs: backoffs)
  }

  private mutating func grow(_ byteCount: Int) {
    let step = window < threshold ? byteCount : max(1, unit * byteCount / window)
    window = min(window + step, windowMax)
  }
}
