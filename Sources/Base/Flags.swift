/// One flag of a command line.
public struct Flag: Sendable {
  /// The long name without hyphens; also what the value is asked for by.
  public var name: String
  /// The one-letter name, or nil.
  public var short: UInt8?
  /// What the value is called in the help, such as `PORT`; nil for a switch.
  public var value: String?
  /// True when the flag may be given several times and every value counts. In the environment the
  /// values are separated by commas. Otherwise the last one given wins.
  public var repeats: Bool
  /// One or more lines for the help, separated by line ends.
  public var help: String

  /// A flag that takes a value (`value` names it), or a switch (`value` nil).
  public init(
    _ name: String, short: Unicode.Scalar? = nil, value: String? = nil, repeats: Bool = false,
    help: String
  ) {
    self.name = name
    self.short = short.map { UInt8(ascii: $0) }
    self.value = value
    self.repeats = repeats
    self.help = help
  }
}

/// What is wrong with a command line, as one sentence for a person. Exit code 2.
public struct UsageError: Error, Equatable, Sendable {
  /// The sentence, without a full stop.
  public var sentence: String
  /// Makes the error from its sentence.
  public init(_ sentence: String) { self.sentence = sentence }
}

/// The flags of a command, and how they are read: the command line precedes the environment, which
/// precedes the defaults that the caller applies to what is absent.
///
/// Pure: arguments are bytes, because values need not be UTF-8, and the environment is a function.
public struct FlagTable: Sendable {
  /// The flags, in the order of the help.
  public var flags: [Flag]
  /// Put before the upper-cased long name (hyphens as underscores): `SERVE_` makes
  /// `SERVE_MAX_VALUE`.
  public var environmentPrefix: String

  /// Makes a table of flags; long and short names must differ.
  public init(_ flags: [Flag], environmentPrefix: String) {
    self.flags = flags
    self.environmentPrefix = environmentPrefix
  }

  /// Reads `arguments` (without the program's name).
  ///
  /// Understood: `--name value`, `--name=value`, `-n value`, `-nvalue`, switches together as in
  /// `-tu`, and `--` before operands that begin with a hyphen. A value may begin with a hyphen.
  public func parse(
    _ arguments: [[UInt8]], environment: (String) -> [UInt8]? = { _ in nil }
  ) throws(UsageError) -> FlagValues {
    var values = FlagValues()
    var cursor = ArgumentCursor(arguments)
    while let argument = cursor.next() {
      if argument == Array("--".utf8) {
        while let operand = cursor.next() { values.operands.append(operand) }
      } else if argument.starts(with: Array("--".utf8)) {
        try parseLong(argument, from: &cursor, into: &values)
      } else if argument.count > 1, argument[0] == UInt8(ascii: "-") {
        try parseShort(argument, from: &cursor, into: &values)
      } else {
        values.operands.append(argument)
      }
    }
    try addEnvironment(environment, to: &values)
    return values
  }

  /// The name under which `flag` is read from the environment.
  public func environmentName(of flag: Flag) -> String {
    environmentPrefix
      + String(decoding: flag.name.utf8.map { $0 == UInt8(ascii: "-") ? 95 : $0 }, as: UTF8.self)
      .uppercased()
  }

  // MARK: Help

  /// The flags as lines of help, in the order of the table, in two columns.
  public func renderHelp(column: Int = 28) -> String {
    var text = ""
    for flag in flags {
      var left = flag.short.map { "  -\(Character(Unicode.Scalar($0)))," } ?? "     "
      left += " --\(flag.name)"
      if let value = flag.value { left += " \(value)" }
      let lines = flag.help.split(separator: "\n", omittingEmptySubsequences: false)
      var first = true
      for line in lines {
        if first, left.utf8.count + 2 > column {
          text += left + "\n" + Self.pad("", to: column)
        } else {
          text += Self.pad(first ? left : "", to: column)
        }
        text += line + "\n"
        first = false
      }
    }
    return text
  }

  private static func pad(_ text: String, to width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.utf8.count))
  }

  // MARK: Parsing

  private func parseLong(
    _ argument: [UInt8], from cursor: inout ArgumentCursor, into values: inout FlagValues
  ) throws(UsageError) {
    let body = argument[2...]
    let equals = body.firstIndex(of: UInt8(ascii: "="))
    let name = String(decoding: body[..<(equals ?? body.endIndex)], as: UTF8.self)
    guard let flag = flags.first(where: { $0.name == name }) else {
      throw UsageError("unknown flag --\(name)")
    }
    guard flag.value != nil else {
      if equals != nil { throw UsageError("--\(name) takes no value") }
      values.add([], to: flag)
      return
    }
    if let equals {
      values.add(Array(body[(equals + 1)...]), to: flag)
    } else {
      values.add(try Self.value(of: "--\(name)", from: &cursor), to: flag)
    }
  }

  private func parseShort(
    _ argument: [UInt8], from cursor: inout ArgumentCursor, into values: inout FlagValues
  ) throws(UsageError) {
    var index = 1
    while index < argument.count {
      let letter = "-" + String(decoding: [argument[index]], as: UTF8.self)
      guard let flag = flags.first(where: { $0.short == argument[index] }) else {
        throw UsageError("unknown flag \(letter)")
      }
      index += 1
      guard flag.value != nil else {
        values.add([], to: flag)
        continue
      }
      if index < argument.count {
        values.add(Array(argument[index...]), to: flag)
      } else {
        values.add(try Self.value(of: letter, from: &cursor), to: flag)
      }
      return
    }
  }

  private static func value(
    of name: String, from cursor: inout ArgumentCursor
  ) throws(UsageError) -> [UInt8] {
    guard let value = cursor.next() else { throw UsageError("\(name) needs a value") }
    return value
  }

  private func addEnvironment(
    _ environment: (String) -> [UInt8]?, to values: inout FlagValues
  ) throws(UsageError) {
    for flag in flags where !values.has(flag.name) {
      let name = environmentName(of: flag)
      guard let bytes = environment(name) else { continue }
      if flag.value == nil {
        guard let on = Self.truth(of: bytes) else {
          throw UsageError("\(name) must be yes or no")
        }
        if on { values.add([], to: flag) }
      } else if flag.repeats {
        for part in bytes.split(separator: UInt8(ascii: ",")) { values.add(Array(part), to: flag) }
      } else {
        values.add(bytes, to: flag)
      }
    }
  }

  private static func truth(of bytes: [UInt8]) -> Bool? {
    switch String(decoding: bytes, as: UTF8.self).lowercased() {
    case "1", "yes", "true", "on": true
    case "", "0", "no", "false", "off": false
    default: nil
    }
  }
}

/// What a command line and its environment said.
public struct FlagValues: Sendable {
  /// What is neither a flag nor a flag's value, in order.
  public var operands: [[UInt8]] = []
  private var given: [(name: String, values: [[UInt8]])] = []

  /// Nothing given.
  public init() {}

  /// True when the flag was given, or its switch turned on.
  public func has(_ name: String) -> Bool { given.contains { $0.name == name } }

  /// The value of a flag, or nil when it was not given.
  public func bytes(_ name: String) -> [UInt8]? {
    given.first { $0.name == name }?.values.last
  }

  /// The value of a flag as text; bytes that are not UTF-8 are replaced.
  public func text(_ name: String) -> String? {
    bytes(name).map { String(decoding: $0, as: UTF8.self) }
  }

  /// All values of a flag that repeats, in order.
  public func texts(_ name: String) -> [String] {
    given.first { $0.name == name }?.values.map { String(decoding: $0, as: UTF8.self) } ?? []
  }

  /// The value of a flag as an integer within `range`, or nil when it was not given.
  public func integer(_ name: String, in range: ClosedRange<Int>) throws(UsageError) -> Int? {
    guard let text = text(name) else { return nil }
    guard let number = Int(text), range.contains(number) else {
      throw UsageError(
        "--\(name) must be a whole number from \(range.lowerBound) to \(range.upperBound), "
          + "not \"\(text)\"")
    }
    return number
  }

  /// The value of a flag as a size such as `16mb`, or nil when it was not given.
  public func byteCount(_ name: String) throws(UsageError) -> Int? {
    guard let text = text(name) else { return nil }
    guard let number = parseByteCount(text) else {
      throw UsageError("--\(name) must be a size such as 500kb, 64mb or 2gb, not \"\(text)\"")
    }
    return number
  }

  /// The value of a flag as a length of time such as `30s`, or nil when it was not given.
  public func interval(_ name: String) throws(UsageError) -> Interval? {
    guard let text = text(name) else { return nil }
    guard let interval = parseInterval(text) else {
      throw UsageError("--\(name) must be a time such as 500ms, 30s or 24h, not \"\(text)\"")
    }
    return interval
  }

  mutating func add(_ value: [UInt8], to flag: Flag) {
    if let index = given.firstIndex(where: { $0.name == flag.name }) {
      given[index].values.append(value)
    } else {
      given.append((flag.name, [value]))
    }
  }
}

/// Walks over the arguments.
private struct ArgumentCursor {
  let arguments: [[UInt8]]
  var index = 0

  init(_ arguments: [[UInt8]]) { self.arguments = arguments }

  mutating func next() -> [UInt8]? {
    guard index < arguments.count else { return nil }
    defer { index += 1 }
    return arguments[index]
  }
}
