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
      #if MUTANTS
        case "--mutant":
          guard let mutant = words.popFirst().flatMap({ Mutant(rawValue: $0) }) else { usage() }
          Mutant.active = mutant
        case "--mutants": exit(findMutants(seeds) ? 0 : 1)
      #endif
      default: usage()
      }
    }
    if let seed = firstFailure(seeds) { show(seed) }
    print("seeds \(seeds.lowerBound)-\(seeds.upperBound): nothing found")
  }

  static func usage() -> Never {
    print("usage: explore [--mutant NAME] [--seeds A-B | --seed N | --mutants]")
    exit(2)
  }

  static func firstFailure(_ seeds: ClosedRange<UInt64>) -> UInt64? {
    seeds.first {
      var explorer = Explorer(seed: $0)
      return !explorer.run().isEmpty
    }
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

  #if MUTANTS
    /// A line a planted bug.
    static func findMutants(_ seeds: ClosedRange<UInt64>) -> Bool {
      let clean = firstFailure(seeds)
      print("no mutant: " + (clean.map { "FAILS at seed \($0)" } ?? "passes"))
      var foundAll = clean == nil
      for mutant in Mutant.ofAgreement {
        Mutant.active = mutant
        let seed = firstFailure(seeds)
        print("\(mutant.rawValue): " + (seed.map { "found at seed \($0)" } ?? "NOT FOUND"))
        if seed == nil { foundAll = false }
      }
      return foundAll
    }
  #endif
}
