#if MUTANTS
  import Base
  import Glibc

  /// Looks for each planted bug in a process of its own, because some end in a trap.
  enum Mutants {
    /// Prints a table: how many runs each needed.
    static func findAll(_ seeds: ClosedRange<UInt64>) -> Bool {
      var foundAll = true
      for mutant in Mutant.ofAgreement {
        let seed = firstFailure(mutant, seeds)
        print("\(mutant.rawValue): " + (seed.map { "found at seed \($0)" } ?? "NOT FOUND"))
        if seed == nil { foundAll = false }
      }
      return foundAll
    }

    private static func firstFailure(_ mutant: Mutant, _ seeds: ClosedRange<UInt64>) -> UInt64? {
      let range = "\(seeds.lowerBound)-\(seeds.upperBound)"
      let words = [
        CommandLine.arguments[0], "--mutant", mutant.rawValue, "--seeds", range, "--search",
      ]
      var arguments: [UnsafeMutablePointer<CChar>?] = words.map { strdup($0) }
      arguments.append(nil)
      defer { for argument in arguments { free(argument) } }
      var ends: [Int32] = [0, 0]
      guard pipe(&ends) == 0 else { fatalError("pipe failed") }
      var actions = posix_spawn_file_actions_t()
      posix_spawn_file_actions_init(&actions)
      posix_spawn_file_actions_adddup2(&actions, ends[1], 1)
      posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0)
      posix_spawn_file_actions_addclose(&actions, ends[0])
      defer { posix_spawn_file_actions_destroy(&actions) }
      var child: pid_t = 0
      guard posix_spawn(&child, words[0], &actions, nil, arguments, environ) == 0 else {
        fatalError("cannot start \(words[0])")
      }
      close(ends[1])
      let last = lastNumber(ends[0])
      close(ends[0])
      var status: Int32 = 0
      waitpid(child, &status, 0)
      return status == 0 ? nil : last
    }

    /// The number in the last line of what the child prints.
    private static func lastNumber(_ descriptor: Int32) -> UInt64? {
      var tail: [UInt8] = []
      var block = [UInt8](repeating: 0, count: 65_536)
      while true {
        let count = read(descriptor, &block, block.count)
        if count <= 0 { break }
        tail = Array((tail + block[..<count]).suffix(64))
      }
      let lines = tail.split(separator: UInt8(ascii: "\n"))
      return lines.last.flatMap { UInt64(String(decoding: $0, as: UTF8.self)) }
    }
  }
#endif
