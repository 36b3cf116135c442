import Base
import Client

/// How results and errors are written.
enum OutputForm: String, CaseIterable {
  case text, json, raw
}

/// How much is written to standard error besides errors.
enum Verbosity: Int {
  case error, info, debug

  init?(text: String) {
    switch text {
    case "error", "0": self = .error
    case "info", "1": self = .info
    case "debug", "2": self = .debug
    default: return nil
    }
  }
}

/// Where a key or value comes from.
enum Source: Equatable {
  case none
  case given([UInt8])
  /// Standard input, to its end.
  case standardInput
}

/// What the command line and the environment ask for, read but not yet carried out.
struct Invocation {
  enum Task: Equatable {
    case help
    case version
    /// Each line of standard input is an order.
    case lines
    case single(
      Operation, key: Source, value: Source, removal: Removal?, arguments: [[UInt8]])
  }

  var task: Task
  var client = ClientOptions()
  var passwordFile: String?
  var output = OutputForm.text
  var verbosity = Verbosity.error
}

extension Invocation {
  /// All that clie understands.
  static let table = FlagTable(
    [
      Flag("host", short: "s", value: "HOST", help: "server's name or address (localhost)"),
      Flag("port", short: "p", value: "PORT", help: "server's port (9099)"),
      Flag("tcp", short: "t", help: "use TCP (the default)"),
      Flag("udp", short: "u", help: "use UDP"),
      Flag("oprtn", short: "o", value: "OPERATION", help: "what to do, see below"),
      Flag("key", short: "k", value: "KEY", help: "the key"),
      Flag("val", short: "v", value: "VALUE", help: "the value"),
      Flag("node", value: "N", help: "the member that -o remove takes out"),
      Flag("force", help: "without asking it: it is gone for ever"),
      Flag("i-have-stopped-it", help: "needed with --force"),
      Flag("key-stdin", help: "read the key from standard input, to its end"),
      Flag("val-stdin", help: "read the value from standard input, to its end"),
      Flag("output", value: "FORM", help: "text, json or raw (text)"),
      Flag("timeout", value: "TIME", help: "longest wait, such as 500ms (5s; remove: 10s)"),
      Flag(
        "retries", value: "N",
        help: "how often to send again after a lost\nconnection (until the timeout)"),
      Flag("password-file", value: "FILE", help: "the password is the first line of FILE"),
      Flag("log", short: "l", value: "LEVEL", help: "error, info, debug or 0, 1, 2 (error)"),
      Flag("version", help: "print the version"),
      Flag("help", short: "h", help: "print this help"),
    ], environmentPrefix: "CLIE_")

  /// Reads a command line. `isInteractive` says whether standard input is a terminal.
  init(
    _ arguments: [[UInt8]], environment: (String) -> [UInt8]?, isInteractive: Bool
  ) throws(UsageError) {
    let flags = try Self.parse(arguments, environment)
    task = .help
    if flags.has("help") { return }
    task = .version
    if flags.has("version") { return }
    client = try Self.clientOptions(flags)
    passwordFile = flags.text("password-file")
    if let text = flags.text("output") {
      guard let form = OutputForm(rawValue: text) else {
        throw UsageError("--output must be text, json or raw, not \"\(text)\"")
      }
      output = form
    }
    if let text = flags.text("log") {
      guard let level = Verbosity(text: text) else {
        throw UsageError("--log must be error, info, debug, 0, 1 or 2, not \"\(text)\"")
      }
      verbosity = level
    }
    task = try Self.task(flags, isInteractive: isInteractive)
    // The server says after five seconds how far a removal has come.
    if case .single(.remove, _, _, _, _) = task, !flags.has("timeout") {
      client.timeout = .seconds(10)
    }
  }

  /// What was given for one of two flags that exclude each other hides both in the environment.
  private static func parse(
    _ arguments: [[UInt8]], _ environment: (String) -> [UInt8]?
  ) throws(UsageError) -> FlagValues {
    let given = try table.parse(arguments)
    let pairs = [("tcp", "udp"), ("key", "key-stdin"), ("val", "val-stdin")]
    var hidden: [String] = []
    for (one, other) in pairs where given.has(one) || given.has(other) {
      for name in [one, other] {
        guard let flag = table.flags.first(where: { $0.name == name }) else { continue }
        hidden.append(table.environmentName(of: flag))
      }
    }
    return try table.parse(arguments) { hidden.contains($0) ? nil : environment($0) }
  }

  private static func clientOptions(_ flags: FlagValues) throws(UsageError) -> ClientOptions {
    var options = ClientOptions()
    if let host = flags.text("host") {
      guard !host.isEmpty else { throw UsageError("--host must not be empty") }
      let isBracketed = host.hasPrefix("[") && host.hasSuffix("]")
      options.host = isBracketed ? String(host.dropFirst().dropLast()) : host
    }
    if let port = try flags.integer("port", in: 1...65_535) { options.port = UInt16(port) }
    options.transport = flags.has("udp") ? .udp : .tcp
    if let timeout = try flags.interval("timeout") {
      guard timeout > .zero else { throw UsageError("--timeout must not be 0") }
      options.timeout = timeout
    }
    if let retries = try flags.integer("retries", in: 0...1_000_000) {
      options.retryCountMax = retries
    }
    return options
  }

  private static func task(_ flags: FlagValues, isInteractive: Bool) throws(UsageError) -> Task {
    let key = try source(flags, "key")
    let value = try source(flags, "val")
    guard let text = flags.text("oprtn") else {
      let isBare = key == .none && value == .none && flags.operands.isEmpty
      guard isBare, !isInteractive else { throw UsageError("No operation specified") }
      return .lines
    }
    guard let operation = Operation(text: text) else {
      if Int(text) != nil { throw UsageError("Operation out of range") }
      let words = Operation.allCases.map(\.rawValue).joined(separator: ", ")
      throw UsageError("Operation should be an integer from 0 to 3 or one of \(words)")
    }
    guard !(key == .standardInput && value == .standardInput) else {
      throw UsageError("standard input can be the key or the value, not both")
    }
    let readsScript = operation == .txn && value == .none
    return .single(
      operation, key: key, value: readsScript ? .standardInput : value,
      removal: try removal(flags), arguments: flags.operands)
  }

  private static func removal(_ flags: FlagValues) throws(UsageError) -> Removal? {
    let removal = Removal(
      node: try flags.integer("node", in: 1...64), isForced: flags.has("force"),
      isStopped: flags.has("i-have-stopped-it"))
    return removal == Removal() ? nil : removal
  }

  private static func source(_ flags: FlagValues, _ name: String) throws(UsageError) -> Source {
    guard flags.has("\(name)-stdin") else { return flags.bytes(name).map { .given($0) } ?? .none }
    guard !flags.has(name) else {
      throw UsageError("--\(name) and --\(name)-stdin exclude each other")
    }
    return .standardInput
  }
}
