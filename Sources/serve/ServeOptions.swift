import Base
import Node
import Store

/// What the command line and the environment ask of the server, checked.
struct ServeOptions {
  var hosts: [String] = []
  var port: UInt16 = 9099
  var tcp = true
  var udp = false
  var logLevel = LogLevel.info
  var logFile: String?
  var dataDirectory = "./tuppence-data"
  var durability = Durability.always
  var passwordFile: String?
  var valueByteCountMax = 16 << 20
  /// Nil: three quarters of what the machine has.
  var memoryByteCountMax: Int?
  var connectionCountMax = 10_000
  var outputByteCountMax = 256 << 20
  var outcomesAgeMillis: Int64 = 24 * 3_600_000
  var insecure = false
  var udpPlain = false
  var udpProveLoopback = false
  /// Nil: a node alone.
  var membership: MemberStart?
  var secretFile: String?

  /// A value is at most this, whatever `--max-value` says, as in Redis.
  static let valueByteCountCeiling = 512 << 20

  /// Reads and checks the values. What a flag alone makes wrong is a usage error.
  init(_ values: FlagValues) throws(UsageError) {
    hosts = values.texts("host")
    if hosts.contains("") { throw UsageError("--host needs an address or a name") }
    secretFile = values.text("secret-file")
    if let directory = values.text("data") {
      guard !directory.isEmpty else { throw UsageError("--data needs a directory") }
      dataDirectory = directory
    }
    try readMembership(values)
    if let port = try values.integer("port", in: 0...65_535) { self.port = UInt16(port) }
    udp = values.has("udp")
    tcp = values.has("tcp") || !udp
    insecure = values.has("insecure")
    udpPlain = values.has("udp-plain")
    udpProveLoopback = values.has("udp-prove-loopback")
    passwordFile = values.text("password-file")
    logFile = values.text("log-file")
    try readWords(values)
    try readBounds(values)
  }

  /// A member listens where the others look for it, unless it is told otherwise.
  private mutating func readMembership(_ values: FlagValues) throws(UsageError) {
    membership = try MemberStart(values, directory: dataDirectory)
    guard let own = membership.flatMap({ $0.own }) else { return }
    port = own.port
    if hosts.isEmpty { hosts = ["localhost", own.host] }
  }

  private mutating func readWords(_ values: FlagValues) throws(UsageError) {
    if let word = values.text("log") {
      guard let level = LogLevel(text: word) else {
        throw UsageError("--log must be error, info or debug (or 0, 1, 2), not \"\(word)\"")
      }
      logLevel = level
    }
    if let word = values.text("durability") {
      guard let durability = Durability(rawValue: word) else {
        throw UsageError("--durability must be always, every-second or never, not \"\(word)\"")
      }
      self.durability = durability
    }
    if membership != nil, durability != .always {
      throw UsageError(
        "--durability \(durability.rawValue) is for a node alone: a member that forgot what it had "
          + "prepared would refuse what the others have committed")
    }
  }

  private mutating func readBounds(_ values: FlagValues) throws(UsageError) {
    if let count = try values.byteCount("max-value") {
      guard (1...Self.valueByteCountCeiling).contains(count) else {
        throw UsageError("--max-value must be from 1 to 512mb")
      }
      valueByteCountMax = count
    }
    if let count = try values.byteCount("max-memory") {
      guard count >= 1 << 20 else { throw UsageError("--max-memory must be at least 1mb") }
      memoryByteCountMax = count
    }
    if let count = try values.integer("max-connections", in: 1...1_000_000) {
      connectionCountMax = count
    }
    if let count = try values.byteCount("max-output") {
      guard count >= 64 << 10 else { throw UsageError("--max-output must be at least 64kb") }
      outputByteCountMax = count
    }
    if let age = try values.interval("outcomes-age") {
      guard age >= .seconds(1), age <= .seconds(365 * 86_400) else {
        throw UsageError("--outcomes-age must be from 1s to 365d")
      }
      outcomesAgeMillis = Int64(age.millis)
    }
  }

  // MARK: Flags

  /// Every flag of `serve`, in the order of the help.
  static let flags = FlagTable(
    [
      Flag(
        "host", short: "s", value: "ADDRESS", repeats: true,
        help: "address or name to listen on; may be given several times\n"
          + "(default: loopback, 127.0.0.1 and ::1)"),
      Flag("port", short: "p", value: "PORT", help: "port, 0 for any free one (default 9099)"),
      Flag("tcp", short: "t", help: "listen on TCP (the default when neither is given)"),
      Flag("udp", short: "u", help: "listen on UDP; -t -u listens on both"),
      Flag(
        "data", value: "DIR", help: "data directory, made when absent (default ./tuppence-data)"),
      Flag(
        "durability", value: "WHEN",
        help: "when a write is acknowledged: always (when it is forced to\n"
          + "disk, the default), every-second, never"),
      Flag(
        "password-file", value: "FILE",
        help: "file whose first line is a crypt(3) hash; clients must AUTH\n"
          + "(make one with: openssl passwd -6)"),
      Flag(
        "id", value: "N",
        help: "which member of the cluster this process is, at its first start;\n"
          + "later the directory knows"),
      Flag(
        "cluster", value: "LIST",
        help: "all members at the first start, as 1=HOST:PORT,2=HOST:PORT,...;\n"
          + "the same list for each. They talk over UDP with -u alone,\notherwise TCP"),
      Flag(
        "mhost", short: "m", value: "HOST",
        help: "join the cluster of the member at this host: take its data, then\n"
          + "be a member; the data directory is empty, or that of such a start"),
      Flag("qport", short: "q", value: "PORT", help: "and that member's port"),
      Flag(
        "advertise", value: "HOST:PORT",
        help: "with --mhost: where the members reach this process\n"
          + "(default: where it listens)"),
      Flag(
        "secret-file", value: "FILE",
        help: "the cluster's secret, the same for all members; needed unless\n"
          + "all are on loopback (make one with: openssl rand -base64 32)"),
      Flag(
        "insecure",
        help: "listen on other addresses than loopback without a password"),
      Flag("max-value", value: "SIZE", help: "largest value (default 16mb, at most 512mb)"),
      Flag(
        "max-memory", value: "SIZE",
        help: "memory for data; above it growing writes get -OOM\n"
          + "(default 75 % of the machine's or the control group's)"),
      Flag("max-connections", value: "N", help: "TCP connections at once (default 10000)"),
      Flag(
        "max-output", value: "SIZE",
        help: "replies kept for a client that does not read\n(default 256mb)"),
      Flag(
        "outcomes-age", value: "TIME",
        help: "how long the outcome of an operation id is remembered\n(default 24h)"),
      Flag(
        "udp-plain",
        help: "answer bare datagrams (reads only) from other addresses\n"
          + "than loopback; not with a password"),
      Flag(
        "udp-prove-loopback",
        help: "ask loopback clients for a cookie like all others (tests)"),
      Flag("log", short: "l", value: "LEVEL", help: "error, info or debug; 0, 1, 2 (default info)"),
      Flag("log-file", value: "FILE", help: "log there, not to stderr; SIGHUP opens it anew"),
      Flag("help", short: "h", help: "show this help"),
      Flag("version", help: "show the version"),
    ], environmentPrefix: "SERVE_")

  /// The text of `serve --help`.
  static var help: String {
    """
    serve: a transactional key-value node that Redis clients can talk to

    usage: serve [flags]
           serve check DIR    verify a data directory without writing; exit 0 when it is whole
           serve dump DIR     print checkpoint and log as JSON lines

    \(flags.renderHelp())
    SIZE has the suffixes k, m, g (thousands) and kb, mb, gb (1024s); TIME has ms, s, m, h, d.
    Every flag can also be set as SERVE_NAME in the environment (SERVE_MAX_VALUE=32mb);
    flags precede the environment.

    examples:
      serve                             TCP on localhost, data in ./tuppence-data
      serve -t -u -p 7000               TCP and UDP on port 7000
      serve -s 0.0.0.0 --password-file /etc/tuppence/password
      serve -m 127.0.0.1 -q 7001 -p 7004 --data ./m4     joins that cluster
      serve --id 1 --cluster 1=127.0.0.1:7001,2=127.0.0.1:7002,3=127.0.0.1:7003 --data ./m1

    signals: TERM or INT drains, forces and exits (a second one ends at once); HUP reopens the log.
    exit codes: 0 done; 2 usage; 65 damaged data; 66 data of a newer version; 71 address;
      73 data directory in use; 74 disk error; 78 configuration

    """
  }
}
