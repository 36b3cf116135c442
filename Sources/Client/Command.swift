public import Base

/// What can stand for a key, a value or an argument: text, or any bytes.
public protocol ByteConvertible {
  /// The bytes to send.
  var byteArray: [UInt8] { get }
}

extension String: ByteConvertible {
  /// The text in UTF-8.
  public var byteArray: [UInt8] { Array(utf8) }
}

extension [UInt8]: ByteConvertible {
  /// The bytes themselves.
  public var byteArray: [UInt8] { self }
}

extension ArraySlice<UInt8>: ByteConvertible {
  /// A copy of the slice.
  public var byteArray: [UInt8] { Array(self) }
}

/// One command with its arguments, as it is sent to the server.
public struct Command: Hashable, Sendable {
  /// The name and what follows it; never empty.
  public let arguments: [[UInt8]]

  /// A command, such as `Command("SET", "key", "value")`.
  public init(_ name: String, _ arguments: any ByteConvertible...) {
    self.arguments = [Array(name.utf8)] + arguments.map(\.byteArray)
  }

  /// A command of bytes, the name first; nil for none.
  public init?(arguments: [[UInt8]]) {
    guard !arguments.isEmpty else { return nil }
    self.arguments = arguments
  }

  /// The same command under an operation id, for a byte stream.
  func once(_ id: OperationID) -> Command {
    Command(prefix: [Array("ONCE".utf8), Array(id.description.utf8)], arguments)
  }

  private init(prefix: [[UInt8]], _ rest: [[UInt8]]) { arguments = prefix + rest }

  /// What repeating a command does.
  public enum Effect: Hashable, Sendable {
    /// Changes nothing: may be repeated freely.
    case read
    /// Changes data: is sent under an operation id, so that it is executed once however often it
    /// arrives.
    case change
    /// Unknown to this client, or about the connection or the server: is sent once.
    case other
  }

  /// What is known of the command by its name.
  public var effect: Effect {
    let name = String(decoding: arguments[0].prefix(32), as: UTF8.self).uppercased()
    if Self.reads.contains(name) { return .read }
    return Self.changes.contains(name) ? .change : .other
  }

  private static let reads: Set<String> = [
    "PING", "ECHO", "TIME", "DBSIZE", "INFO", "GET", "MGET", "STRLEN", "GETRANGE", "SUBSTR",
    "EXISTS", "TYPE", "TTL", "PTTL", "EXPIRETIME", "PEXPIRETIME", "KEYS", "SCAN", "RANDOMKEY",
    "GETV", "LASTSAVE", "COMMAND", "TOUCH",
  ]

  private static let changes: Set<String> = [
    "SET", "SETNX", "SETEX", "PSETEX", "GETSET", "GETDEL", "GETEX", "MSET", "MSETNX", "APPEND",
    "SETRANGE", "INCR", "DECR", "INCRBY", "DECRBY", "INCRBYFLOAT", "DEL", "UNLINK", "EXPIRE",
    "PEXPIRE", "EXPIREAT", "PEXPIREAT", "PERSIST", "RENAME", "RENAMENX", "COPY", "FLUSHDB",
    "FLUSHALL", "UPDATE", "CAS",
  ]
}

extension ByteBuffer {
  /// Appends a command as RESP: an array of bulk strings.
  public mutating func append(_ command: Command) {
    append(UInt8(ascii: "*"))
    append(decimal: Int64(command.arguments.count))
    append("\r\n")
    for argument in command.arguments {
      append(UInt8(ascii: "$"))
      append(decimal: Int64(argument.count))
      append("\r\n")
      append(argument)
      append("\r\n")
    }
  }
}
