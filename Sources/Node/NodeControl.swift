import Base
import NetKit
import Store

/// What Host does on behalf of commands.
struct NodeControl {
  var memoryByteCountMax = Int.max
  /// `SHUTDOWN` was called.
  var stopRequested = false
  /// `SAVE` or `BGSAVE` was called.
  var checkpointRequested = false
  var checkpointRunning = false
  /// Unix seconds of the last finished checkpoint, or of the start.
  var lastSaveSeconds: Int64 = 0
  /// Sessions whose password is being checked.
  var passwordWaiters: [(ticket: UInt64, link: LinkID)] = []
  /// Sessions that wait for a force (`SAVE`).
  var saveWaiters: [LinkID] = []
  /// Bytes of the log since the last checkpoint, and of that checkpoint.
  var logByteCount: UInt64 = 0
  var checkpointByteCount: UInt64 = 0
  /// Connections closed because a web page or the like spoke to the port, not yet logged.
  var securityWarnings = 0
}

/// Counts since the start or `CONFIG RESETSTAT`.
struct NodeCounters {
  var connections: UInt64 = 0
  var commands: UInt64 = 0
  var requests: UInt64 = 0
  var errors: UInt64 = 0
  var protocolErrors: UInt64 = 0
  var closedForInput: UInt64 = 0
  var hits: UInt64 = 0
  var misses: UInt64 = 0
  var expired: UInt64 = 0
  var inputBytes: UInt64 = 0
  var outputBytes: UInt64 = 0
  var groups: UInt64 = 0
  var forces: UInt64 = 0
  var checkpoints: UInt64 = 0
  var duplicates: UInt64 = 0
  var turns: UInt64 = 0
}

/// Checks passwords off the loop, because one check takes 20 to 50 ms.
public protocol PasswordChecker: AnyObject {
  /// Begins a check; false when too many are under way.
  func start(ticket: UInt64, password: [UInt8]) -> Bool
  /// The next finished check, or nil. The loop is woken when there is one.
  func poll() -> (ticket: UInt64, accepted: Bool)?
}

/// A UDP request whose AUTH is being checked.
struct WaitingRequest {
  var ticket: UInt64
  var link: LinkID
  var endpoint: Endpoint
  var id: OperationID
  var plain: Bool
  var bytes: [UInt8]
}
