import Base
import Glibc
import TPCWorld

/// `explore`: random runs of the two-phase-commit negotiator, for as many seeds as wanted.
@main enum Explore {
  static func main() {
    var seeds: ClosedRange<UInt64> = 1...20_000
    var words = CommandLine.arguments.dropFirst()
    while let word = words.popFirst() {
      switch word {
      case "--seeds":
        let ends = (words.popFirst() ?? "").split(separator: "-").compactMap { UInt64($0) }
        guard let first = ends.first, let last = ends.last, first <= last else { usage() }
        seeds = first...last
      case "--seed":
        guard let seed = words.popFirst().flatMap({ UInt64($0) }) else { usage() }
        show(seed)
      case "--cost":
        Cost.show()
        exit(0)
      case "--script": script(words.popFirst() ?? "")
      case "--small":
        let count = words.popFirst().flatMap { Int($0) } ?? 100_000
        exit(exploreSmall(count) ? 0 : 1)
      #if MUTANTS
        case "--mutant":
          guard let mutant = words.popFirst().flatMap({ Mutant(rawValue: $0) }) else { usage() }
          Mutant.active = mutant
        case "--mutants": exit(Mutants.findAll(seeds) ? 0 : 1)
        case "--search": search(seeds)
      #endif
      default: usage()
      }
    }
    if let seed = firstFailure(seeds) { show(seed) }
    print("seeds \(seeds.lowerBound)-\(seeds.upperBound): nothing found")
  }

  static func usage() -> Never {
    print("usage: explore [--mutant NAME] [--seeds A-B | --seed N | --mutants]")
    print("       explore --small STATES     all orders of small worlds, to a number of states")
    print("       explore --cost             what the negotiator itself costs")
    print("       explore --script FILE      runs a script and prints what follows")
    exit(2)
  }

  /// Prints the file with what really follows its steps.
  static func script(_ path: String) -> Never {
    guard let file = fopen(path, "r") else { usage() }
    var bytes: [UInt8] = []
    var block = [UInt8](repeating: 0, count: 65_536)
    while true {
      let count = fread(&block, 1, block.count, file)
      if count == 0 { break }
      bytes += block[..<count]
    }
    print(Script.run(String(decoding: bytes, as: UTF8.self)), terminator: "")
    exit(0)
  }

  /// Every order of the two small worlds.
  static func exploreSmall(_ stateCountMax: Int) -> Bool {
    var isRight = true
    for kind in [SmallWorld.Kind.oneTransaction, .twoTransactions] {
      let report = SmallWorld.explore(kind, stateCountMax: stateCountMax)
      let end = report.isComplete ? "complete" : "all up to depth \(report.depth)"
      print("\(kind): \(report.stateCount) states, \(end)")
      for line in report.path { print("  \(line)") }
      for violation in report.violations { print("  WRONG: \(violation)") }
      if !report.violations.isEmpty { isRight = false }
    }
    return isRight
  }

  static func firstFailure(_ seeds: ClosedRange<UInt64>) -> UInt64? {
    seeds.first {
      var explorer = Explorer(seed: $0)
      return !explorer.run().isEmpty
    }
  }

  /// Prints each seed before it runs and stops at the first that fails, by a trap too.
  static func search(_ seeds: ClosedRange<UInt64>) -> Never {
    for seed in seeds {
      var line = "\(seed)\n"
      line.withUTF8 { _ = write(1, $0.baseAddress, $0.count) }
      var explorer = Explorer(seed: seed)
      if !explorer.run().isEmpty { exit(1) }
    }
    exit(0)
  }

  /// Prints a run.
  static func show(_ seed: UInt64) -> Never {
    var explorer = Explorer(seed: seed, keepsJournal: true)
    let violations = explorer.run()
    for line in explorer.world.journal { print(line) }
    print("seed \(seed): " + (violations.isEmpty ? "nothing found" : ""))
    for violation in violations { print("  \(violation)") }
    exit(violations.isEmpty ? 0 : 1)
  }
}
