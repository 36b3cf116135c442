import Base
import Testing

@testable import Client
@testable import clie

@Suite struct InvocationTests {
  func read(
    _ arguments: [String], environment: [String: String] = [:], isInteractive: Bool = true
  ) throws(UsageError) -> Invocation {
    try Invocation(
      arguments.map { Array($0.utf8) }, environment: { environment[$0].map { Array($0.utf8) } },
      isInteractive: isInteractive)
  }

  /// The order that a command line amounts to.
  func order(_ arguments: String...) throws(UsageError) -> Order {
    guard case .single(let operation, let key, let value, _, let rest) = try read(arguments).task
    else { throw UsageError("no single order") }
    func bytes(_ source: Source) -> [UInt8]? {
      if case .given(let bytes) = source { bytes } else { nil }
    }
    return try Order(operation, key: bytes(key), value: bytes(value), arguments: rest)
  }

  func sentence(_ arguments: String...) -> String? {
    do throws(UsageError) {
      guard case .single(let operation, let key, let value, _, let rest) = try read(arguments).task
      else { return nil }
      func bytes(_ source: Source) -> [UInt8]? {
        if case .given(let bytes) = source { bytes } else { nil }
      }
      _ = try Order(operation, key: bytes(key), value: bytes(value), arguments: rest)
      return nil
    } catch {
      return error.sentence
    }
  }

  let a = Array("a".utf8)
  let b = Array("b".utf8)

  @Test func `The numbered operations are those of old`() throws {
    #expect(try order("-o", "0", "-k", "a", "-v", "b") == .update(key: a, value: b))
    #expect(try order("-o", "1", "-k", "a") == .get(key: a))
    #expect(try order("-o", "2", "-k", "a") == .delete(key: a))
    #expect(try order("-o", "3", "-k", "a", "-v", "b") == .put(key: a, value: b))
  }

  @Test func `Words name the same operations, and more`() throws {
    #expect(try order("--oprtn", "put", "--key", "a", "--val", "b") == .put(key: a, value: b))
    #expect(try order("--oprtn=put", "--key=a", "--val=") == .put(key: a, value: []))
    #expect(try order("-o", "incr", "-k", "a") == .increment(key: a, by: 1))
    #expect(try order("-o", "incr", "-k", "a", "-v", "-3") == .increment(key: a, by: -3))
    #expect(try order("-o", "expire", "-k", "a", "-v", "2") == .expire(key: a, after: .seconds(2)))
    #expect(try order("-o", "list") == .list(pattern: Array("*".utf8)))
    #expect(try order("-o", "list", "-k", "a") == .list(pattern: a))
    #expect(try order("-o", "exec", "--", "GET", "a") == .execute(Command("GET", "a")))
    #expect(try order("-o", "txn", "-v", "delete a") == .transact([.delete(key: a)]))
    let id = OperationID(high: 1, low: 2)
    #expect(try order("-o", "outcome", "-k", id.description) == .outcome(id, seal: false))
    #expect(
      try order("-o", "outcome", "-k", id.description, "-v", "SEAL") == .outcome(id, seal: true))
  }

  @Test func `Defaults are localhost, 9099, TCP and 5 seconds`() throws {
    let client = try read(["-o", "ping"]).client
    #expect(client.host == "localhost" && client.port == 9099)
    #expect(client.transport == .tcp && client.timeout == .seconds(5))
    let removal = ["-o", "remove", "--node", "3"]
    #expect(try read(removal).client.timeout == .seconds(10))
    #expect(try read(removal + ["--timeout", "5s"]).client.timeout == .seconds(5))
  }

  @Test func `UDP wins over TCP, and flags over the environment`() throws {
    #expect(try read(["-t", "-u", "-o", "ping"]).client.transport == .udp)
    let environment = ["CLIE_UDP": "yes", "CLIE_PORT": "7", "CLIE_OUTPUT": "json"]
    let plain = try read(["-o", "ping"], environment: environment)
    #expect(plain.client.transport == .udp && plain.client.port == 7 && plain.output == .json)
    let given = try read(["-t", "-p", "8", "-o", "ping"], environment: environment)
    #expect(given.client.transport == .tcp && given.client.port == 8)
  }

  @Test func `A value from standard input hides one in the environment`() throws {
    let invocation = try read(
      ["-o", "put", "-k", "a", "--val-stdin"], environment: ["CLIE_VAL": "x"])
    guard case .single(_, _, let value, _, _) = invocation.task else { return }
    #expect(value == .standardInput)
  }

  @Test func `Lines are read only from a pipe and without other requests`() throws {
    #expect(try read([], isInteractive: false).task == .lines)
    #expect(throws: UsageError("No operation specified")) { try read([]) }
    #expect(throws: UsageError("No operation specified")) {
      try read(["-k", "a"], isInteractive: false)
    }
  }

  @Test func `Help and version come before any other mistake`() throws {
    #expect(try read(["-h", "-o", "9"]).task == .help)
    #expect(try read(["--version"]).task == .version)
  }

  @Test func `Each mistake has its sentence`() {
    #expect(sentence("-o", "4", "-k", "a") == "Operation out of range")
    #expect(sentence("-o", "-1", "-k", "a") == "Operation out of range")
    #expect(sentence("-o", "fetch")?.hasPrefix("Operation should be an integer") == true)
    #expect(sentence("-o", "1") == "No key specified")
    #expect(sentence("-o", "1", "-k", "") == "No key specified")
    #expect(sentence("-o", "3", "-k", "a") == "Value required for this operation type")
    #expect(sentence("-o", "0", "-k", "a") == "Value required for this operation type")
    #expect(sentence("-o", "1", "-k", "a", "b") == "unexpected argument \"b\"")
    #expect(sentence("-o", "incr", "-k", "a", "-v", "x") == "\"x\" is not a whole number")
    #expect(sentence("-o", "outcome", "-k", "zz")?.contains("not an operation id") == true)
    #expect(
      sentence("-o", "1", "-k", String(repeating: "k", count: 65_536))?.contains("65535") == true)
    #expect(sentence("-o", "ping", "-p", "0")?.contains("--port") == true)
    #expect(sentence("-o", "ping", "--timeout", "0") == "--timeout must not be 0")
    #expect(sentence("-o", "ping", "--output", "xml")?.contains("text, json or raw") == true)
    #expect(sentence("-o", "ping", "-l", "loud")?.contains("--log") == true)
    #expect(sentence("-o", "exec")?.contains("exec needs a command") == true)
    #expect(
      sentence("-o", "put", "-k", "a", "-v", "b", "--val-stdin")
        == "--val and --val-stdin exclude each other")
    #expect(
      sentence("-o", "put", "--key-stdin", "--val-stdin")
        == "standard input can be the key or the value, not both")
  }

  // MARK: Lines and scripts

  func words(_ line: String) throws(UsageError) -> [String] {
    try splitWords(Array(line.utf8)[...]).map { String(decoding: $0, as: UTF8.self) }
  }

  @Test func `Words are split at blanks and joined by quotation marks`() throws {
    #expect(try words(" put  a\tb ") == ["put", "a", "b"])
    #expect(try words(#"put 'a b' "c \"d\"" "" e"f"g"#) == ["put", "a b", "c \"d\"", "", "efg"])
    #expect(try words(#"'it\'s \n'"#) == [#"it's \n"#])
    #expect(try words(#""\n\r\t\0\\\x41""#) == ["\n\r\t\0\\A"])
    #expect(try words("# a comment") == [])
    #expect(try words("a # b") == ["a", "#", "b"])
    #expect(try words("") == [])
  }

  @Test(arguments: [#""a"#, "'a", #""\q""#, #""\x4""#, #""a\"#])
  func `Words that don't end are refused`(line: String) {
    #expect(throws: UsageError.self) { try words(line) }
  }

  @Test func `A line is an order`() throws {
    func order(_ line: String) throws(UsageError) -> Order {
      try Order(words: try splitWords(Array(line.utf8)[...]))
    }
    #expect(try order("put a b") == .put(key: a, value: b))
    #expect(try order("3 a b") == .put(key: a, value: b))
    #expect(try order("get a") == .get(key: a))
    #expect(try order("exec get a") == .execute(Command("get", "a")))
    #expect(try order("GET a") == .execute(Command("GET", "a")))
    #expect(throws: UsageError("unexpected argument \"b\"")) { try order("get a b") }
    #expect(throws: UsageError("unknown operation \"fetch\"")) { try order("fetch a") }
    #expect(throws: UsageError.self) { try order("txn") }
  }

  @Test func `A script has a step a line`() throws {
    let script = """
      # move
      put a b
      update a b

      delete a
      get a
      incr a
      incr a -2
      check a version 7
      check a absent
      check a = "b"
      """
    #expect(
      try parseTransaction(Array(script.utf8)) == [
        .put(key: a, value: b), .update(key: a, value: b), .delete(key: a), .get(key: a),
        .increment(key: a, by: 1), .increment(key: a, by: -2), .checkVersion(key: a, version: 7),
        .checkAbsent(key: a), .checkValue(key: a, value: b),
      ])
  }

  @Test func `A mistake in a script names its line`() {
    var sentence = ""
    do { _ = try parseTransaction(Array("put a b\nput a\n".utf8)) } catch {
      sentence = error.sentence
    }
    #expect(sentence.hasPrefix("line 2 of the transaction: \"put\" is none of"))
    #expect(throws: UsageError.self) { try parseTransaction(Array("\n#\n".utf8)) }
  }
}
