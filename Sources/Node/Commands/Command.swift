/// The commands by number.
enum Command: UInt8, CaseIterable {
  // Connection.
  case ping, echo, hello, auth, select, quit, reset, client
  // Server.
  case command, config, info, time, dbsize, flushdb, flushall, save, bgsave, lastsave, wait,
    shutdown
  // Strings.
  case get, set, setnx, setex, psetex, getset, getdel, getex, mget, mset, msetnx, append, strlen
  case getrange, substr, setrange, incr, decr, incrby, decrby, incrbyfloat
  // Keys.
  case del, unlink, exists, touch, type, expire, pexpire, expireat, pexpireat, ttl, pttl
  case expiretime, pexpiretime, persist, keys, scan, randomkey, rename, renamenx, copy
  // Transactions.
  case multi, exec, discard, watch, unwatch
  // Answered for clients that ask; there are no functions.
  case function
  // Ours.
  case update, once, outcome, cas, getv, check, trace, members
}

/// What kind of command it is and when it is refused.
struct CommandFlags: OptionSet {
  let rawValue: UInt16
  /// Changes data: runs in a transaction of the database.
  static let write = CommandFlags(rawValue: 1)
  /// Reads data.
  static let readOnly = CommandFlags(rawValue: 2)
  /// Grows the data: refused above the memory limit and on a full disk.
  static let denyOOM = CommandFlags(rawValue: 4)
  /// Allowed before authentication.
  static let noAuth = CommandFlags(rawValue: 8)
  /// Allowed while the data is being loaded.
  static let loading = CommandFlags(rawValue: 16)
  /// Cost grows with the number of keys.
  static let slow = CommandFlags(rawValue: 32)
  static let fast = CommandFlags(rawValue: 64)
  static let admin = CommandFlags(rawValue: 128)
  /// Executed at once between MULTI and EXEC, not queued.
  static let notQueued = CommandFlags(rawValue: 256)
  /// Not over UDP: it would need a connection's state.
  static let noDatagram = CommandFlags(rawValue: 512)
  /// Refused between MULTI and EXEC.
  static let noMulti = CommandFlags(rawValue: 1_024)
  /// Its second word is one of `Subcommands`.
  static let container = CommandFlags(rawValue: 2_048)
}

/// What is known of a command without executing it.
struct CommandSpec {
  var name: StaticString
  var command: Command
  /// Arguments including the name; negative: at least so many.
  var arity: Int
  var flags: CommandFlags
  /// First and last key argument (negative counts from the end) and the step between keys.
  var firstKey = 0
  var lastKey = 0
  var step = 0
  var group: StaticString
  var since: StaticString
  var summary: StaticString
}

extension CommandSpec {
  /// True when so many arguments are allowed.
  @inline(__always) func accepts(argumentCount: Int) -> Bool {
    arity >= 0 ? argumentCount == arity : argumentCount >= -arity
  }
}
