import Base
import Testing

@Suite struct FlagsTests {
  let table = FlagTable(
    [
      Flag("host", short: "s", value: "ADDRESS", repeats: true, help: "where to listen"),
      Flag("port", short: "p", value: "PORT", help: "which port\n(default 9099)"),
      Flag("tcp", short: "t", help: "use TCP"),
      Flag("udp", short: "u", help: "use UDP"),
      Flag("max-value", value: "SIZE", help: "the largest value"),
      Flag("outcomes-age", value: "TIME", help: "how long"),
    ], environmentPrefix: "SERVE_")

  func parse(
    _ arguments: [String], environment: [String: String] = [:]
  ) throws(UsageError) -> FlagValues {
    try table.parse(arguments.map { Array($0.utf8) }) { environment[$0].map { Array($0.utf8) } }
  }

  func sentence(_ arguments: [String], environment: [String: String] = [:]) -> String? {
    do throws(UsageError) {
      _ = try parse(arguments, environment: environment)
      return nil
    } catch {
      return error.sentence
    }
  }

  @Test(arguments: [["--port", "1"], ["--port=1"], ["-p", "1"], ["-p1"], ["-tup1"]])
  func `Every spelling of a value is understood`(arguments: [String]) throws {
    #expect(try parse(arguments).text("port") == "1")
  }

  @Test func `Switches may stand together and are absent otherwise`() throws {
    let values = try parse(["-tu"])
    #expect(values.has("tcp") && values.has("udp"))
    #expect(try parse([]).has("tcp") == false)
  }

  @Test func `A value may begin with a hyphen or be empty`() throws {
    #expect(try parse(["-p", "-5"]).text("port") == "-5")
    #expect(try parse(["--port="]).text("port") == "")
    #expect(try parse(["-p", ""]).text("port") == "")
  }

  @Test func `The last value wins unless the flag repeats`() throws {
    let values = try parse(["-p", "1", "-p", "2", "-s", "a", "-s", "b"])
    #expect(values.text("port") == "2")
    #expect(values.texts("host") == ["a", "b"])
  }

  @Test func `Operands are kept in order and a double hyphen ends the flags`() throws {
    let values = try parse(["check", "-t", "dir", "--", "-u"])
    #expect(values.operands.map { String(decoding: $0, as: UTF8.self) } == ["check", "dir", "-u"])
    #expect(!values.has("udp"))
  }

  @Test func `A value keeps bytes that are not text`() throws {
    let values = try table.parse([Array("-p".utf8), [0xFF, 0x00, 0x80]])
    #expect(values.bytes("port") == [0xFF, 0x00, 0x80])
  }

  @Test func `Flags precede the environment`() throws {
    let environment = ["SERVE_PORT": "7", "SERVE_HOST": "a,b", "SERVE_MAX_VALUE": "1kb"]
    let values = try parse(["-p", "1"], environment: environment)
    #expect(values.text("port") == "1")
    #expect(values.texts("host") == ["a", "b"])
    #expect(try values.byteCount("max-value") == 1024)
  }

  @Test func `A switch in the environment is yes or no`() throws {
    #expect(try parse([], environment: ["SERVE_UDP": "yes"]).has("udp"))
    #expect(try !parse([], environment: ["SERVE_UDP": "0"]).has("udp"))
    #expect(sentence([], environment: ["SERVE_UDP": "x"]) == "SERVE_UDP must be yes or no")
  }

  @Test func `What is wrong is said in one sentence`() {
    #expect(sentence(["--prot", "1"]) == "unknown flag --prot")
    #expect(sentence(["-x"]) == "unknown flag -x")
    #expect(sentence(["-p"]) == "-p needs a value")
    #expect(sentence(["--port"]) == "--port needs a value")
    #expect(sentence(["--tcp=1"]) == "--tcp takes no value")
  }

  @Test func `Numbers, sizes and times out of form are refused`() throws {
    let values = try parse(["-p", "70000", "--max-value", "1xb", "--outcomes-age", "soon"])
    #expect(throws: UsageError.self) { try values.integer("port", in: 0...65_535) }
    #expect(throws: UsageError.self) { try values.byteCount("max-value") }
    #expect(throws: UsageError.self) { try values.interval("outcomes-age") }
    #expect(try parse(["-p", "0"]).integer("port", in: 0...65_535) == 0)
  }

  @Test(arguments: [
    ("0", 0), ("12", 12), ("3b", 3), ("2k", 2000), ("2kb", 2048), ("1M", 1_000_000),
    ("1MB", 1 << 20), ("4g", 4_000_000_000), ("4gb", 4 << 30),
  ])
  func `Sizes have the suffixes of Redis`(text: String, count: Int) {
    #expect(parseByteCount(text) == count)
  }

  @Test(arguments: ["", "b", "-1", "1.5mb", "1 kb", "99999999999999999999", "9999999999999gb"])
  func `Other sizes are refused`(text: String) {
    #expect(parseByteCount(text) == nil)
  }

  @Test(arguments: [
    ("500ms", 500), ("2", 2_000), ("2s", 2_000), ("3m", 180_000), ("1h", 3_600_000),
    ("2d", 172_800_000),
  ])
  func `Times have a unit`(text: String, millis: UInt64) {
    #expect(parseInterval(text) == .millis(millis))
  }

  @Test(arguments: [
    (UInt64(0), "0 B"), (1023, "1023 B"), (1024, "1 KiB"), (1536, "1.5 KiB"),
    (16 << 20, "16 MiB"), (3 << 40, "3 TiB"),
  ])
  func `Sizes are shown for a person`(count: UInt64, text: String) {
    #expect(renderByteCount(count) == text)
  }

  @Test func `Help shows every flag in two columns`() {
    #expect(
      table.renderHelp(column: 22) == """
          -s, --host ADDRESS  where to listen
          -p, --port PORT     which port
                              (default 9099)
          -t, --tcp           use TCP
          -u, --udp           use UDP
              --max-value SIZE
                              the largest value
              --outcomes-age TIME
                              how long

        """)
  }
}
