import Base
import Glibc

/// Looks for each planted bug with a process of its own, because some end in a trap; as many at once
/// as there are processors.
enum Mutants {
  private static let seeds = "1-200"

  /// Prints a table; true when each was found within seeds 1-200 and the unchanged node passes them.
  static func findAll(_ program: String) -> Bool {
    #if MUTANTS
      var waiting = Mutant.allCases.map { Optional($0.rawValue) }
      waiting.insert(nil, at: 0)
      waiting.reverse()
      var running: [pid_t: Search] = [:]
      var isGood = true
      while !waiting.isEmpty || !running.isEmpty {
        while running.count < processorCount, let mutant = waiting.popLast() {
          let (process, search) = start(program, mutant)
          running[process] = search
        }
        var status: Int32 = 0
        let process = waitpid(-1, &status, 0)
        guard let search = running.removeValue(forKey: process) else {
          fatalError("waitpid failed")
        }
        if !report(search, hasFailed: status != 0) { isGood = false }
      }
      return isGood
    #else
      return false
    #endif
  }

  /// A run of the seeds; its output is in a file without a name.
  private struct Search {
    /// Nil: the unchanged node.
    var mutant: String?
    var output: UnsafeMutablePointer<FILE>
  }

  private static var processorCount: Int { max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))) }

  private static func start(_ program: String, _ mutant: String?) -> (pid_t, Search) {
    var words = [program, "--seeds", seeds]
    if let mutant { words += ["--mutant", mutant] }
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    guard let output = tmpfile() else { fatalError("no temporary file") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, fileno(output), 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    defer { posix_spawn_file_actions_destroy(&actions) }
    var child: pid_t = 0
    guard posix_spawn(&child, program, &actions, nil, arguments, environ) == 0 else {
      fatalError("cannot start \(program)")
    }
    return (child, Search(mutant: mutant, output: output))
  }

  /// True when the run came to what it should.
  private static func report(_ search: Search, hasFailed: Bool) -> Bool {
    defer { fclose(search.output) }
    let end = hasFailed ? place(of: readAll(search.output)) : nil
    defer { fflush(nil) }
    guard let mutant = search.mutant else {
      print("no mutant: " + (end.map { "FAILS at seed \($0)" } ?? "passes seeds \(seeds)"))
      return !hasFailed
    }
    print("\(mutant): " + (end.map { "found at seed \($0)" } ?? "NOT FOUND"))
    return hasFailed
  }

  private static func readAll(_ output: UnsafeMutablePointer<FILE>) -> [UInt8] {
    rewind(output)
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&block, 1, block.count, output)
      if count == 0 { return bytes }
      bytes += block[..<count]
    }
  }

  /// The number in the last line that begins with `seed`, and which oracle objected.
  private static func place(of output: [UInt8]) -> String {
    let lines = String(decoding: output, as: UTF8.self).split(separator: "\n")
    guard let at = lines.lastIndex(where: { $0.hasPrefix("seed ") }) else { return "?" }
    let words = lines[at].split(separator: " ")
    let isTold = words.count > 2 && words[2].hasPrefix("FAILED") && at + 1 < lines.count
    let oracle = isTold ? lines[at + 1].prefix { $0 != "," } : "a trap"
    return "\(words[1]) by \(oracle)"
  }
}
