import Base
import Glibc

/// Looks for each planted bug with a process of its own, because some end in a trap.
enum Mutants {
  /// Prints a table; true when each was found within seeds 1-200 and the unchanged node passes them.
  static func findAll(_ program: String) -> Bool {
    #if MUTANTS
      var foundAll = true
      let clean = firstFailure(program, mutant: nil)
      print("no mutant: " + (clean.map { "FAILS at seed \($0)" } ?? "passes seeds 1-200"))
      if clean != nil { foundAll = false }
      let left = Mutant.ofAgreement + Mutant.notFoundYet
      for mutant in Mutant.allCases where !left.contains(mutant) {
        let seed = firstFailure(program, mutant: mutant.rawValue)
        print("\(mutant.rawValue): " + (seed.map { "found at seed \($0)" } ?? "NOT FOUND"))
        if seed == nil { foundAll = false }
      }
      return foundAll
    #else
      return false
    #endif
  }

  /// The seed at which a run of seeds 1-200 ends with anything but success; nil: it does not.
  private static func firstFailure(_ program: String, mutant: String?) -> UInt64? {
    var words = [program, "--seeds", "1-200"]
    if let mutant { words += ["--mutant", mutant] }
    var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
    arguments.append(nil)
    defer { for argument in arguments { free(argument) } }
    var pipeEnds: [Int32] = [0, 0]
    guard pipe(&pipeEnds) == 0 else { fatalError("pipe failed") }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, pipeEnds[1], 1)
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
    posix_spawn_file_actions_addclose(&actions, pipeEnds[0])
    defer { posix_spawn_file_actions_destroy(&actions) }
    var child: pid_t = 0
    guard posix_spawn(&child, program, &actions, nil, arguments, environ) == 0 else {
      fatalError("cannot start \(program)")
    }
    close(pipeEnds[1])
    let output = readAll(pipeEnds[0])
    close(pipeEnds[0])
    var status: Int32 = 0
    waitpid(child, &status, 0)
    return status == 0 ? nil : lastSeed(output)
  }

  private static func readAll(_ descriptor: Int32) -> [UInt8] {
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = read(descriptor, &block, block.count)
      if count <= 0 { return bytes }
      bytes += block[..<count]
    }
  }

  /// The number in the last line that begins with `seed`.
  private static func lastSeed(_ output: [UInt8]) -> UInt64? {
    var last: UInt64?
    for line in output.split(separator: 10) {
      let words = line.split(separator: 32)
      guard words.count > 1, String(decoding: words[0], as: UTF8.self) == "seed" else { continue }
      last = UInt64(String(decoding: words[1], as: UTF8.self)) ?? last
    }
    return last
  }
}
