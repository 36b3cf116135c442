import Base

/// The second words of CLIENT, COMMAND, CONFIG and FUNCTION.
enum Subcommands {
  private typealias Entry = (command: Command, name: StaticString, arity: Int)

  /// Arguments including both words; negative: at least so many.
  private static let all: [Entry] = [
    (.client, "id", 2), (.client, "getname", 2), (.client, "setname", 3), (.client, "setinfo", 4),
    (.client, "info", 2), (.client, "list", -2), (.client, "kill", -3), (.client, "reply", 3),
    (.client, "no-evict", 3), (.client, "txmode", 3), (.command, "count", 2),
    (.command, "info", -2), (.command, "docs", -2), (.config, "get", -3), (.config, "set", -4),
    (.config, "resetstat", 2), (.function, "flush", -2),
  ]

  /// Whether a command has such a second word, and with so many arguments.
  enum Verdict: Equatable {
    case right, unknown, wrongCount
  }

  static func judge(
    _ word: UnsafeRawBufferPointer, of command: Command, argumentCount: Int
  ) -> Verdict {
    guard let found = all.first(where: { $0.command == command && word.isWord($0.name) }) else {
      return .unknown
    }
    let isRight =
      found.arity >= 0 ? argumentCount == found.arity : argumentCount >= -found.arity
    return isRight ? .right : .wrongCount
  }
}

extension Node {
  /// True when the second word is there and right; otherwise the error has been given, before the
  /// command could be queued.
  mutating func checkSubcommand(
    _ spec: UnsafePointer<CommandSpec>, _ session: SessionPointer
  ) -> Bool {
    let count = parser.arguments.count
    guard count > 1 else { return true }
    let word = parser.arguments[1]
    let name = Self.lowerName(spec)
    switch Subcommands.judge(word, of: spec.pointee.command, argumentCount: count) {
    case .right: return true
    case .unknown:
      fail("ERR unknown subcommand '\(word.text())'. Try \(name.uppercased()) HELP.")
    case .wrongCount:
      fail("ERR wrong number of arguments for '\(name)|\(word.text().lowercased())' command")
    }
    session.pointee.queue?.failed = true
    return false
  }
}
