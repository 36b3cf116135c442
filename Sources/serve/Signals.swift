import Base
import Glibc
import NetKit
import Synchronization

/// Turns signals into two facts for the loop: stop was asked for, the log file was moved.
///
/// All signals of interest are blocked in every thread and taken by one thread with `sigwait`, so
/// no code ever runs inside a signal handler.
final class Signals: Sendable {
  /// Signals that come within this time of the first one are the same request.
  private static let together = Interval.millis(50)

  private let stopAsked = Atomic<Bool>(false)

  /// True once SIGTERM or SIGINT came. Any thread may ask.
  var isStopAsked: Bool { stopAsked.load(ordering: .acquiring) }

  /// Blocks the signals for this thread and all that it starts; before any other thread exists.
  static func block() {
    var set = handled()
    pthread_sigmask(SIG_BLOCK, &set, nil)
    signal(SIGPIPE, SIG_IGN)
  }

  /// Starts the thread that takes them. `wake` makes the loop turn once; `reopen` is SIGHUP's.
  ///
  /// The first SIGTERM or SIGINT asks for a stop; the second ends the process at once with the exit
  /// code 143 or 130. What was acknowledged is durable either way. Two that come together are one:
  /// `timeout` signals both the process and its group.
  func start(wake: @escaping @Sendable () -> Void, reopen: @escaping @Sendable () -> Void) {
    startThread { [self] in
      var set = Signals.handled()
      var askedAt: Instant?
      while true {
        var number: Int32 = 0
        guard sigwait(&set, &number) == 0 else { continue }
        let now = systemInstant()
        if number == SIGHUP {
          reopen()
        } else if let askedAt {
          if now - askedAt > Signals.together { _exit(128 + number) }
        } else {
          askedAt = now
          stopAsked.store(true, ordering: .releasing)
          wake()
        }
      }
    }
  }

  private static func handled() -> sigset_t {
    var set = sigset_t()
    sigemptyset(&set)
    for number in [SIGTERM, SIGINT, SIGHUP] { sigaddset(&set, number) }
    return set
  }
}
