import Client

/// What an order that was carried out gave.
enum OrderResult {
  /// A word such as `Added`.
  case text(String)
  case value([UInt8])
  case integer(Int64)
  case keys([[UInt8]])
  case fields([(name: String, value: String)])
  /// A reply of names and values by turns for each member.
  case members(Reply)
  /// A reply of lines.
  case lines(Reply)
  case outcome(OutcomeState)
  /// A reply for each step.
  case results([TransactionStep], [Reply])
  /// The server's own reply to a raw command.
  case reply(Reply)

  /// How the process ends on it.
  var exitCode: ExitCode {
    guard case .outcome(let state) = self else { return .done }
    switch state {
    case .committed: return .done
    case .neverSeen: return .missing
    case .aborted: return .aborted
    case .inDoubt, .expired: return .unknown
    }
  }
}

// MARK: Text

extension OrderResult {
  /// The bytes for standard output; `raw` leaves the line end after a value away.
  func text(raw: Bool) -> [UInt8] {
    let end: [UInt8] = raw ? [] : [10]
    switch self {
    case .text(let word): return Array(word.utf8) + [10]
    case .value(let value): return value + end
    case .integer(let number): return Array(String(number).utf8) + end
    case .keys(let keys): return keys.reduce(into: []) { $0 += $1 + [10] }
    case .fields(let fields):
      return fields.reduce(into: []) { $0 += Array("\($1.name): \($1.value)\n".utf8) }
    case .members(let reply):
      return Self.records(reply).reduce(into: []) { text, fields in
        text += Array(fields.map { "\($0.name)=\($0.value)" }.joined(separator: " ").utf8) + [10]
      }
    case .lines(let reply): return Self.lines(reply)
    case .outcome(let state): return Array(state.word.utf8) + [10]
    case .results(let steps, let replies):
      return zip(steps, replies).reduce(into: []) { $0 += Self.text($1.0, $1.1) + [10] }
    case .reply(let reply):
      if raw, let bytes = reply.bytes { return bytes }
      return Self.lines(reply)
    }
  }

  /// The members that a reply lists.
  fileprivate static func records(_ reply: Reply) -> [[(name: String, value: String)]] {
    (reply.elements ?? []).map { element in
      let words = (element.elements ?? []).map { String(decoding: $0.bytes ?? [], as: UTF8.self) }
      return stride(from: 0, to: words.count - 1, by: 2).map {
        (name: words[$0], value: words[$0 + 1])
      }
    }
  }

  /// One line for a step of a transaction.
  private static func text(_ step: TransactionStep, _ reply: Reply) -> [UInt8] {
    switch step {
    case .get, .increment: lines(reply).dropLast()
    default: Array(word(for: step, reply).utf8)
    }
  }

  /// The text of old for a step that answers no value.
  fileprivate static func word(for step: TransactionStep, _ reply: Reply) -> String {
    switch step {
    case .put: "Added"
    case .update: "updated"
    case .delete: reply.integer == 0 ? "key does not exist" : "deleted"
    case .checkVersion, .checkAbsent, .checkValue: "checked"
    case .get, .increment: "read"
    }
  }

  /// A reply as lines: one for each value, `(nil)` for none, `(error) ...` within arrays.
  private static func lines(_ reply: Reply) -> [UInt8] {
    switch reply {
    case .simple(let bytes), .bytes(let bytes), .double(let bytes): bytes + [10]
    case .integer(let number): Array("\(number)\n".utf8)
    case .boolean(let truth): Array("\(truth)\n".utf8)
    case .null: Array("(nil)\n".utf8)
    case .error(let error): Array("(error) \(error.text)\n".utf8)
    case .array(let elements), .map(let elements): elements.reduce(into: []) { $0 += lines($1) }
    }
  }
}

// MARK: JSON

extension OrderResult {
  /// Adds the members that say what came out.
  func write(to json: inout JSONText) {
    switch self {
    case .text(let word):
      json.name("result")
      json.value(word)
    case .value(let value):
      json.name("value")
      json.value(value)
    case .integer(let number):
      json.name("value")
      json.value(number)
    case .keys(let keys):
      json.name("keys")
      json.array { for key in keys { $0.value(key) } }
    case .fields(let fields):
      json.name("status")
      json.object { Self.write(fields, to: &$0) }
    case .members(let reply):
      json.name("members")
      json.array { json in
        for fields in Self.records(reply) { json.object { Self.write(fields, to: &$0) } }
      }
    case .lines(let reply):
      json.name("trace")
      Self.write(reply, to: &json)
    case .outcome(let state):
      json.name("state")
      json.value(state.word)
    case .results(let steps, let replies):
      json.name("results")
      json.array { json in
        for (step, reply) in zip(steps, replies) { Self.write(step, reply, to: &json) }
      }
    case .reply(let reply):
      json.name("reply")
      Self.write(reply, to: &json)
    }
  }

  private static func write(
    _ fields: [(name: String, value: String)], to json: inout JSONText
  ) {
    for field in fields {
      json.name(field.name)
      if let number = Int64(field.value), String(number) == field.value {
        json.value(number)
      } else {
        json.value(field.value)
      }
    }
  }

  private static func write(
    _ step: TransactionStep, _ reply: Reply, to json: inout JSONText
  ) {
    switch step {
    case .get, .increment: write(reply, to: &json)
    default: json.value(word(for: step, reply))
    }
  }

  /// Strings, numbers, null, true, false and arrays as they are; an error as `{"error": text}`; a
  /// map as an array of pairs, because its keys need not be text.
  private static func write(_ reply: Reply, to json: inout JSONText) {
    switch reply {
    case .simple(let bytes), .bytes(let bytes), .double(let bytes): json.value(bytes)
    case .integer(let number): json.value(number)
    case .boolean(let truth): json.value(truth)
    case .null: json.null()
    case .error(let error):
      json.object {
        $0.name("error")
        $0.value(error.text)
      }
    case .array(let elements): json.array { for element in elements { write(element, to: &$0) } }
    case .map(let elements):
      json.array { json in
        for index in stride(from: 0, to: elements.count - 1, by: 2) {
          json.array {
            write(elements[index], to: &$0)
            write(elements[index + 1], to: &$0)
          }
        }
      }
    }
  }
}
