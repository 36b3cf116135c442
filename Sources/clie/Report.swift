import Base
import Client

/// Writes what happened, for a person or as JSON. Pure: makes bytes.
struct Report {
  let form: OutputForm
  /// The flags with which this server is reached, for the command that asks for an outcome.
  let route: String

  /// For mistakes that precede an invocation.
  init(form: OutputForm) {
    self.form = form
    route = ""
  }

  init(_ invocation: Invocation) {
    form = invocation.output
    let defaults = ClientOptions()
    var route = ""
    if invocation.client.host != defaults.host { route += " -s \(invocation.client.host)" }
    if invocation.client.port != defaults.port { route += " -p \(invocation.client.port)" }
    if invocation.client.transport == .udp { route += " -u" }
    if let file = invocation.passwordFile { route += " --password-file \(file)" }
    self.route = route
  }

  // MARK: Results

  /// For standard output: what an order gave. `id` is that of a change.
  func result(_ result: OrderResult, of order: Order, line: Int?, id: OperationID?) -> [UInt8] {
    guard form == .json else { return result.text(raw: form == .raw) }
    var json = JSONText()
    json.object { json in
      json.name("ok")
      json.value(true)
      describe(order, line: line, to: &json)
      result.write(to: &json)
      guard let id else { return }
      json.name("outcome")
      json.value(Outcome.applied.rawValue)
      json.name("id")
      json.value(id.description)
    }
    return json.bytes + [10]
  }

  // MARK: Errors

  /// For standard error: why an order was not carried out.
  func failure(_ error: ClientError, of order: Order, line: Int?) -> [UInt8] {
    let code = ExitCode(error)
    guard form != .json else {
      return failureAsJSON(error, code, of: order, line: line)
    }
    var text = "clie: \(place(line))\(error)\n"
    if let command = askCommand(error) {
      text += "clie: to learn what became of it: \(command)\n"
    }
    return Array(text.utf8)
  }

  /// For standard error: a mistake in the command line or in a line of standard input.
  func usage(_ error: UsageError, line: Int? = nil) -> [UInt8] {
    guard form != .json else {
      return message(error.sentence, name: "usage", .usage, .notApplied, line: line)
    }
    let hint = line == nil ? "\ntry: clie --help" : ""
    return Array("clie: \(place(line))\(error.sentence) (not-applied)\(hint)\n".utf8)
  }

  /// For standard error: our own failure after an order was carried out.
  func internalError(_ sentence: String, _ outcome: Outcome) -> [UInt8] {
    guard form != .json else {
      return message(sentence, name: "internal", .internalError, outcome, line: nil)
    }
    return Array("clie: \(sentence) (\(outcome.rawValue))\n".utf8)
  }

  // MARK: Parts

  private func place(_ line: Int?) -> String { line.map { "line \($0): " } ?? "" }

  /// The command that asks what became of a change, when that is not known.
  private func askCommand(_ error: ClientError) -> String? {
    guard error.outcome == .unknown, let id = error.id else { return nil }
    return "clie\(route) -o outcome -k \(id) -v seal"
  }

  private func failureAsJSON(
    _ error: ClientError, _ code: ExitCode, of order: Order, line: Int?
  ) -> [UInt8] {
    var json = JSONText()
    json.object { json in
      json.name("ok")
      json.value(code == .done)
      describe(order, line: line, to: &json)
      Self.write(error.message, Self.name(error.reason), code, error.outcome, to: &json)
      if let code = error.serverError?.code {
        json.name("code")
        json.value(code)
      }
      guard let id = error.id else { return }
      json.name("id")
      json.value(id.description)
      guard let command = askCommand(error) else { return }
      json.name("ask")
      json.value(command)
    }
    return json.bytes + [10]
  }

  private func message(
    _ sentence: String, name: String, _ code: ExitCode, _ outcome: Outcome, line: Int?
  ) -> [UInt8] {
    var json = JSONText()
    json.object { json in
      json.name("ok")
      json.value(false)
      if let line {
        json.name("line")
        json.value(Int64(line))
      }
      Self.write(sentence, name, code, outcome, to: &json)
    }
    return json.bytes + [10]
  }

  private static func write(
    _ sentence: String, _ name: String, _ code: ExitCode, _ outcome: Outcome,
    to json: inout JSONText
  ) {
    json.name("error")
    json.value(name)
    json.name("exit")
    json.value(Int64(code.rawValue))
    json.name("outcome")
    json.value(outcome.rawValue)
    json.name("message")
    json.value(sentence)
  }

  private func describe(_ order: Order, line: Int?, to json: inout JSONText) {
    if let line {
      json.name("line")
      json.value(Int64(line))
    }
    json.name("operation")
    json.value(order.operation.rawValue)
    if let key = order.key {
      json.name("key")
      json.value(key)
    }
    if case .outcome(let id, _) = order {
      json.name("asked")
      json.value(id.description)
    }
  }

  /// The name of a reason in JSON; part of the interface.
  static func name(_ reason: ClientError.Reason) -> String {
    switch reason {
    case .unresolved: "unresolved"
    case .unreachable: "unreachable"
    case .noAnswer: "no-answer"
    case .malformedReply: "malformed-reply"
    case .tooLarge: "too-large"
    case .missing: "missing"
    case .aborted: "aborted"
    case .refused: "refused"
    case .replyNotKept: "reply-not-kept"
    case .server: "server"
    }
  }
}
