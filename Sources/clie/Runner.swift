import Base
import Client
import NetKit

/// Carries orders out and writes what came of them.
struct Runner: ~Copyable {
  private var client: Client
  private let report: Report

  init(_ invocation: Invocation, password: [UInt8]?) {
    var options = invocation.client
    options.password = password
    client = Client(options)
    report = Report(invocation)
    guard invocation.verbosity != .error else { return }
    let start = systemInstant()
    client.observe = { [verbosity = invocation.verbosity] event in
      guard let line = event.line(at: verbosity) else { return }
      let elapsed = systemInstant() - start
      _ = StandardStreams.writeError(
        Array("clie: \(line.level) +\(elapsed.nanos / 1000) us: \(line.text)\n".utf8))
    }
  }

  /// Carries one order out; `line` is where it stands on standard input.
  mutating func run(_ order: Order, line: Int? = nil) -> ExitCode {
    do {
      let result = try carryOut(order)
      let id = order.isChange ? client.lastID : nil
      guard StandardStreams.writeOutput(report.result(result, of: order, line: line, id: id)) else {
        return failToWrite(order.isChange ? .applied : .notApplied)
      }
      return result.exitCode
    } catch {
      _ = StandardStreams.writeError(report.failure(error, of: order, line: line))
      return ExitCode(error)
    }
  }

  /// Carries out each line of standard input; the first failure decides how the process ends.
  ///
  /// Goes on after answered failures and stops where the server is out of reach.
  mutating func runLines() -> ExitCode {
    var input = LineInput()
    var code = ExitCode.done
    var orderCount = 0
    do throws(UsageError) {
      while let line = try input.next() {
        guard let next = runLine(line, number: input.lineCount) else { continue }
        orderCount += 1
        if code == .done { code = next }
        if next == .notApplied || next == .unknown || next == .internalError { return code }
      }
    } catch {
      _ = StandardStreams.writeError(report.usage(error, line: input.lineCount))
      return code == .done ? .usage : code
    }
    guard orderCount > 0 else {
      _ = StandardStreams.writeError(report.usage(UsageError("No operation specified")))
      return .usage
    }
    return code
  }

  // MARK: Parts

  /// Nil for a line without words.
  private mutating func runLine(_ line: [UInt8], number: Int) -> ExitCode? {
    do throws(UsageError) {
      let words = try splitWords(line[...])
      return words.isEmpty ? nil : run(try Order(words: words), line: number)
    } catch {
      _ = StandardStreams.writeError(report.usage(error, line: number))
      return .usage
    }
  }

  private func failToWrite(_ outcome: Outcome) -> ExitCode {
    _ = StandardStreams.writeError(
      report.internalError("cannot write to standard output", outcome))
    return .internalError
  }

  private mutating func carryOut(_ order: Order) throws(ClientError) -> OrderResult {
    switch order {
    case .ping:
      try client.ping()
      return .text("PONG")
    case .get(let key):
      guard let value = try client.get(key) else { throw .absent(key) }
      return .value(value)
    case .put(let key, let value):
      try client.put(key, value)
      return .text("Added")
    case .update(let key, let value):
      guard try client.update(key, value) else { throw .absent(key) }
      return .text("updated")
    case .delete(let key):
      guard try client.delete(key) else { throw .absent(key) }
      return .text("deleted")
    case .increment(let key, let amount):
      return .integer(try client.increment(key, by: amount))
    case .expire(let key, let time):
      guard try client.expire(key, after: time) else { throw .absent(key) }
      return .text("expires")
    case .list(let pattern):
      var keys: [[UInt8]] = []
      try client.forEachKey(matching: pattern) { keys.append($0) }
      return .keys(keys)
    case .status: return .fields(essentials(try client.info()))
    case .members: return .members(try execute(Command("MEMBERS")))
    case .remove(let node, let byForce):
      let command = Command("MEMBERS", "REMOVE", String(node))
      return .reply(
        try execute(byForce ? Command("MEMBERS", "REMOVE", String(node), "FORCE") : command))
    case .trace(let id):
      return .lines(try execute(id.map { Command("TRACE", $0) } ?? Command("TRACE")))
    case .outcome(let id, let seal): return .outcome(try client.outcome(of: id, seal: seal))
    case .transact(let steps): return .results(steps, try client.transact(steps))
    case .execute(let command): return .reply(try execute(command))
    }
  }

  private mutating func execute(_ command: Command) throws(ClientError) -> Reply {
    let reply = try client.execute(command)
    guard let serverError = reply.error else { return reply }
    throw ClientError(serverError, id: command.effect == .change ? client.lastID : nil)
  }
}

extension ClientError {
  /// What is thrown for a key that must exist.
  fileprivate static func absent(_ key: [UInt8]) -> ClientError {
    ClientError(.missing, .notApplied, "key does not exist")
  }
}

extension Order {
  /// True when it is sent under an operation id.
  var isChange: Bool {
    switch self {
    case .update, .delete, .put, .increment, .expire: true
    case .transact(let steps): TransactionStep.effect(of: steps) == .change
    case .execute(let command): command.effect == .change
    case .get, .ping, .list, .outcome, .status, .members, .remove, .trace: false
    }
  }
}

extension ClientEvent {
  /// What a log of this verbosity says about it.
  fileprivate func line(at verbosity: Verbosity) -> (level: String, text: String)? {
    switch self {
    case .connecting(let endpoint, let transport):
      return ("info", "connecting to \(endpoint) over \(transport.rawValue)")
    case .retrying(let reason): return ("info", "sending again: \(reason)")
    case .sending(let byteCount, let id):
      guard verbosity == .debug else { return nil }
      return ("debug", "sending \(byteCount) bytes, id \(id)")
    case .answered(let replyCount):
      guard verbosity == .debug else { return nil }
      return ("debug", "answered with \(replyCount) \(replyCount == 1 ? "reply" : "replies")")
    }
  }
}
