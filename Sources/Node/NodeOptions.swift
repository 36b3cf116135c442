import Base
import Store

/// What one node is told at its start: bounds, durability, who may speak.
public struct NodeOptions: Sendable {
  /// Bounds of the database.
  public var database = DatabaseLimits()
  /// When checkpoints are written.
  public var checkpoints = CheckpointPolicy()
  /// When a write is acknowledged.
  public var durability = Durability.always
  /// Client connections at once; further ones are refused by the transport. For `CONFIG GET`.
  public var connectionCountMax = 10_000
  /// Pending output of one connection, in bytes, above which its commands wait.
  public var outputByteCountMax = 256 << 20
  /// Unfinished input of all connections together, in bytes; above it the connection that passes it
  /// is closed.
  public var inputByteCountMax = 1 << 30
  /// Commands queued between MULTI and EXEC, and watched keys, of all connections together, in
  /// bytes; above it no more are taken.
  public var queuedByteCountMax = 1 << 30
  /// True when clients must authenticate first.
  public var requiresPassword = false
  /// Bare datagrams are served from anywhere (reads only); otherwise from loopback only.
  public var udpPlain = false
  /// The cluster that the node is a member of; nil for a node alone.
  public var cluster: ClusterOptions?
  /// Where the data lies, for `INFO` and `CONFIG GET dir`.
  public var dataDirectory = ""
  /// The port, for `INFO`.
  public var port: UInt16 = 0
  /// The process id, for `INFO`.
  public var processID: Int32 = 0

  public init() {}

  /// Commands that one connection may execute in a turn before the next one's.
  static let commandsPerTurnMax = 1_000
  /// Bytes of replies that one connection may produce in a turn before the next one's.
  static let replyBytesPerTurnMax = 1 << 20
  /// Events taken from the transport in a turn.
  static let eventsPerTurnMax = 1_024
  /// Bytes received and not yet executed above which a connection is not read further for now.
  static let unexecutedByteCountMax = 256 << 10
  /// A line of an inline command, in bytes.
  static let inlineByteCountMax = 64 << 10
  /// Arguments of one command.
  static let argumentCountMax = 1 << 20
  /// Arguments of a command, and bytes of each, before authentication.
  static let argumentCountMaxBeforeAuth = 10
  static let argumentByteCountMaxBeforeAuth = 16 << 10
  /// Keys that one SCAN looks at: 256 MiB of the longest ones. COUNT is a hint, in Redis too.
  static let scanCountMax: Int64 = 4_096
  /// Keys that one connection may watch.
  static let watchCountMax = 10_000
  /// Bytes of records not handed to the disk yet above which no more commands are executed: the
  /// disk is slower than the clients, or held up. One command's records may come on top.
  static let pendingLogByteCountMax = 2 << 20
  /// Replies waiting at the gate, in bytes, above which no more commands are executed until some
  /// have left. One turn's replies may come on top.
  static let gateByteCountMax = 512 << 20
  /// UDP requests that wait for a password check at once.
  static let waitingRequestCountMax = 64
  /// A key, in bytes.
  static let keyByteCountMax = 65_535
}

/// This project's version, as `INFO`, `HELLO` and `--version` show it.
public let tuppenceVersion = "0.1.0"
/// The version of Redis whose commands' semantics are followed.
public let redisVersion = "7.0.15"
