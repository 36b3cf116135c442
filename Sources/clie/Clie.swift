import Base
import Client
import Glibc

/// The whole program: reads the command line, does what it says, and returns the exit code.
func runClie() -> ExitCode {
  let arguments = rawArguments()
  let invocation: Invocation
  do {
    invocation = try Invocation(
      arguments, environment: environmentValue, isInteractive: StandardStreams.isInteractive)
  } catch {
    return reportUsage(error, asJSON: asksForJSON(arguments))
  }
  do {
    return try run(invocation)
  } catch {
    return reportUsage(error, asJSON: invocation.output == .json)
  }
}

private func run(_ invocation: Invocation) throws(UsageError) -> ExitCode {
  switch invocation.task {
  case .help: return print(renderHelp())
  case .version: return print("clie \(version)\n")
  case .lines:
    var runner = Runner(invocation, password: try password(invocation))
    return runner.runLines()
  case .single(let operation, let key, let value, let removal, let arguments):
    let order = try Order(
      operation, key: try read(key), value: try read(value), removal: removal,
      arguments: arguments)
    var runner = Runner(invocation, password: try password(invocation))
    return runner.run(order)
  }
}

private func read(_ source: Source) throws(UsageError) -> [UInt8]? {
  switch source {
  case .none: nil
  case .given(let bytes): bytes
  case .standardInput: try StandardStreams.readInput()
  }
}

private func password(_ invocation: Invocation) throws(UsageError) -> [UInt8]? {
  guard let path = invocation.passwordFile else { return nil }
  let line = try StandardStreams.readFirstLine(of: path)
  guard !line.isEmpty else { throw UsageError("\(path) holds no password") }
  return line
}

private func print(_ text: String) -> ExitCode {
  StandardStreams.writeOutput(Array(text.utf8)) ? .done : .internalError
}

// MARK: The surroundings

/// The arguments as bytes, without the program's name: keys and values need not be UTF-8.
private func rawArguments() -> [[UInt8]] {
  (1..<max(1, Int(CommandLine.argc))).compactMap { index in
    CommandLine.unsafeArgv[index].map(bytes)
  }
}

private func environmentValue(_ name: String) -> [UInt8]? { getenv(name).map(bytes) }

private func bytes(_ text: UnsafeMutablePointer<CChar>) -> [UInt8] {
  Array(UnsafeRawBufferPointer(start: text, count: strlen(text)))
}

/// A command line with a mistake is not read to its end, but who asked for JSON gets it.
private func asksForJSON(_ arguments: [[UInt8]]) -> Bool {
  let json = Array("json".utf8)
  let environment = environmentValue("CLIE_OUTPUT") == json
  let joined = arguments.contains(Array("--output=json".utf8))
  let pairs = zip(arguments, arguments.dropFirst())
  return environment || joined || pairs.contains { $0 == Array("--output".utf8) && $1 == json }
}

private func reportUsage(_ error: UsageError, asJSON: Bool) -> ExitCode {
  let report = Report(form: asJSON ? .json : .text)
  _ = StandardStreams.writeError(report.usage(error))
  return .usage
}
