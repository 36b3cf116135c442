import Base
import Glibc
import Node

/// The server as a command: flags to options, then one of serving, checking or dumping.
enum Serve {
  /// Does what the command line asks and returns the process's exit code.
  static func run() -> Int32 {
    Machine.occupyStandardDescriptors()
    do throws(UsageError) {
      let values = try ServeOptions.flags.parse(arguments(), environment: environment)
      if values.has("help") { return show(ServeOptions.help) }
      if values.has("version") { return show("serve \(tuppenceVersion)\n") }
      let options = try ServeOptions(values)
      #if MUTANTS
        if let text = environment("SERVE_FAIL_AT") {
          let isKnown = FailPoint.arm(String(decoding: text, as: UTF8.self)) {
            kill(getpid(), SIGKILL)
          }
          guard isKnown else { throw UsageError(FailPoint.usage) }
        }
      #endif
      return try dispatch(values.operands, options)
    } catch {
      complain("\(error.sentence) (serve --help shows the flags)")
      return ExitCode.usage.rawValue
    }
  }

  private static func dispatch(
    _ operands: [[UInt8]], _ options: ServeOptions
  ) throws(UsageError) -> Int32 {
    let words = operands.map { String(decoding: $0, as: UTF8.self) }
    switch words.first {
    case nil:
      return outcome { () throws(Failure) in try Server(options).run() }
    case "check" where words.count == 2:
      return outcome { () throws(Failure) in try Inspection(directory: words[1]).check() }
    case "dump" where words.count == 2:
      return outcome { () throws(Failure) in try Inspection(directory: words[1]).dump() }
    case "check", "dump": throw UsageError("\(words[0]) needs one directory")
    default: throw UsageError("unknown command \"\(words[0])\"")
    }
  }

  private static func outcome(_ body: () throws(Failure) -> ExitCode) -> Int32 {
    do throws(Failure) {
      return try body().rawValue
    } catch {
      complain(error.sentence)
      return error.code.rawValue
    }
  }

  // MARK: The process's surroundings

  /// The arguments as bytes: those that are not UTF-8 stay what they are.
  private static func arguments() -> [[UInt8]] {
    (1..<max(1, Int(CommandLine.argc))).compactMap { bytes(CommandLine.unsafeArgv[$0]) }
  }

  private static func environment(_ name: String) -> [UInt8]? { bytes(getenv(name)) }

  private static func bytes(_ text: UnsafeMutablePointer<CChar>?) -> [UInt8]? {
    text.map { Array(UnsafeRawBufferPointer(start: $0, count: strlen($0))) }
  }

  private static func show(_ text: String) -> Int32 {
    print(text, terminator: "")
    return ExitCode.done.rawValue
  }

  private static func complain(_ sentence: String) {
    var line = "serve: \(sentence)\n"
    line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
  }
}
