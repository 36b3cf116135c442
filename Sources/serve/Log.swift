import Base
import Glibc
import NetKit
import Node
import Synchronization

extension LogLevel {
  /// Understands the words and their numbers 0, 1, 2.
  init?(text: String) {
    switch text {
    case "error", "0": self = .error
    case "info", "1": self = .info
    case "debug", "2": self = .debug
    default: return nil
    }
  }
}

/// Writes lines to standard error or to a file: time in UTC, level, text.
///
/// Any thread may call. A line never makes the caller wait: when standard error is a pipe that
/// nobody reads, lines are dropped and counted, and the count is written when there is room again.
final class Log: Sendable {
  /// A longer text is cut, so that one line is at most one atomic write to a pipe.
  static let lineByteCountMax = 3_900

  private struct Output: ~Copyable {
    var descriptor: Int32 = STDERR_FILENO
    var droppedCount = 0
  }

  private let path: String?
  private let level: LogLevel
  private let output: Mutex<Output>

  /// Opens the file, if there is one. Throws when it cannot be opened.
  init(path: String?, level: LogLevel) throws(Failure) {
    self.path = path
    self.level = level
    output = Mutex(Output())
    if let reason = reopen() { throw Failure(.configuration, reason) }
  }

  /// Writes a line if its level is within the log's.
  func line(_ level: LogLevel, _ text: String) {
    if level <= self.level { write(level, text) }
  }

  /// Writes whatever the level: the start line and warnings about weak settings.
  func notice(_ text: String) { write(.info, text) }

  /// Opens the log file by its name again, after it was moved away. Returns what went wrong; the
  /// file that was open stays in use then.
  func reopen() -> String? {
    guard let path else { return nil }
    let fresh = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o640)
    guard fresh >= 0 else { return "cannot open the log file \(path): \(errnoText(errno))" }
    output.withLock { output in
      if output.descriptor != STDERR_FILENO { close(output.descriptor) }
      output.descriptor = fresh
    }
    return nil
  }

  private func write(_ level: LogLevel, _ text: String) {
    let stamp = renderTimestamp(unixNanos: systemMoment().wallNanos)
    output.withLock { output in
      guard Self.hasRoom(output.descriptor) else {
        output.droppedCount += 1
        return
      }
      if output.droppedCount > 0 {
        Self.put("\(stamp) error \(output.droppedCount) log lines dropped\n", output.descriptor)
        output.droppedCount = 0
        guard Self.hasRoom(output.descriptor) else { return }
      }
      Self.put("\(stamp) \(level) \(Self.printable(text))\n", output.descriptor)
    }
  }

  /// One line: control characters, which a client may have put into a name, become `?`.
  private static func printable(_ text: String) -> String {
    let clean = text.utf8.prefix(lineByteCountMax).map { $0 < 32 || $0 == 127 ? 63 : $0 }
    return String(decoding: clean, as: UTF8.self)
  }

  private static func hasRoom(_ descriptor: Int32) -> Bool {
    var question = pollfd(fd: descriptor, events: Int16(POLLOUT), revents: 0)
    return poll(&question, 1, 0) == 1 && question.revents & Int16(POLLOUT) != 0
  }

  /// A line that cannot be written (a full disk, a closed pipe) is lost: the server goes on.
  private static func put(_ line: String, _ descriptor: Int32) {
    var line = line
    line.withUTF8 { _ = Glibc.write(descriptor, $0.baseAddress, $0.count) }
  }
}

/// What the C library says about an errno. The corresponding C function is `strerror`.
func errnoText(_ code: Int32) -> String {
  strerror(code).map { String(cString: $0) } ?? "error \(code)"
}
