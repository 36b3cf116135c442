import Base
import Glibc
import SimKit

/// Runs seeds of the simulator: `simulate --help`.
@main enum Simulate {
  static let help = """
    usage: simulate [--seeds A-B | --seed N [--trace] | --minutes M | --mutants] [--members N]

      --seeds A-B   run these seeds (default 1-200)
      --seed N      run one; with --trace every step is a line
      --minutes M   run seeds from a start taken of the clock, as many as fit
      --members N   clusters of N; 1: one node. Otherwise the seed draws which, and runs the
                    negotiator alone besides
      --mutants     in a build with -Xswiftc -DMUTANTS: find each planted bug within seeds 1-200
      --mutant X    run with the planted bug X (same build)

    A failure prints the seed, the step and what was expected and found; the exit status is 1.
    The same seed and build always give the same run: simulate --seed N --trace shows it.
    """

  static func main() {
    guard let command = Command(Array(CommandLine.arguments.dropFirst())) else {
      refuse(help)
    }
    #if MUTANTS
      if let name = command.mutant {
        guard let mutant = Mutant(rawValue: name) else {
          refuse("no such mutant: \(name)")
        }
        Mutant.active = mutant
      }
    #else
      if command.mutant != nil || command.mode == .mutants {
        refuse("this build has no mutants; build with -Xswiftc -DMUTANTS")
      }
    #endif
    switch command.mode {
    case .help: print(help)
    case .seeds(let seeds): run(seeds, command)
    case .minutes(let minutes): run(minutes: minutes, command)
    case .mutants: exit(Mutants.findAll(command.program) ? 0 : 1)
    }
  }

  private static func refuse(_ text: String) -> Never {
    let line = Array((text + "\n").utf8)
    _ = write(2, line, line.count)
    exit(2)
  }

  private static func run(_ seeds: ClosedRange<UInt64>, _ command: Command) {
    var total = SimulationStatistics()
    for seed in seeds { runOne(seed, command, &total) }
    checkDecided(total)
    print("seeds \(seeds.lowerBound)-\(seeds.upperBound) passed\n\(total.text)")
  }

  private static func run(minutes: Int, _ command: Command) {
    var total = SimulationStatistics()
    let start = time(nil)
    let first = UInt64(start) * 1_000
    var seed = first
    while time(nil) < start + minutes * 60 {
      runOne(seed, command, &total)
      seed += 1
    }
    checkDecided(total)
    print("\(seed - first) seeds from \(first) on passed\n\(total.text)")
  }

  /// Ends the process when too many histories were given up.
  private static func checkDecided(_ total: SimulationStatistics) {
    guard total.givesUpTooOften else { return }
    print("FAILED: too many histories were given up\n\(total.text)")
    exit(1)
  }

  /// Runs one seed; ends the process when it fails. The seed is said first, for a trap says nothing.
  private static func runOne(
    _ seed: UInt64, _ command: Command, _ total: inout SimulationStatistics
  ) {
    print("seed \(seed)", terminator: command.traces ? "\n" : " ")
    fflush(nil)
    var result = Simulation.run(seed: seed, members: command.members, prints: command.traces)
    if result.failure == nil, command.members == nil {
      result.failure = ShortRuns.failure(of: seed)
      result.statistics.shortRuns += Int(ShortRuns.countPerSeed)
    }
    total += result.statistics
    guard let failure = result.failure else {
      let undecided = result.statistics.undecidedHistories
      return print(
        "passed, trace \(String(result.hash, radix: 16))"
          + (undecided > 0 ? ", \(undecided) histories given up" : ""))
    }
    print("FAILED, trace \(String(result.hash, radix: 16))\n\(failure)")
    exit(1)
  }
}

/// The command line.
struct Command {
  enum Mode: Equatable {
    case help, mutants
    case seeds(ClosedRange<UInt64>)
    case minutes(Int)
  }

  var mode = Mode.seeds(1...200)
  var traces = false
  var mutant: String?
  var members: Int?
  var program = CommandLine.arguments[0]

  /// Nil when it is not understood.
  init?(_ words: [String]) {
    var rest = words[...]
    while let word = rest.popFirst() {
      switch word {
      case "--help", "-h": mode = .help
      case "--trace": traces = true
      case "--mutants": mode = .mutants
      case "--members":
        guard let count = rest.popFirst().flatMap({ Int($0) }), (1...8).contains(count) else {
          return nil
        }
        members = count
      case "--mutant":
        guard let name = rest.popFirst() else { return nil }
        mutant = name
      case "--seed":
        guard let seed = rest.popFirst().flatMap({ UInt64($0) }) else { return nil }
        mode = .seeds(seed...seed)
      case "--seeds":
        guard let range = rest.popFirst().flatMap(Self.range) else { return nil }
        mode = .seeds(range)
      case "--minutes":
        guard let minutes = rest.popFirst().flatMap({ Int($0) }), minutes > 0 else { return nil }
        mode = .minutes(minutes)
      default: return nil
      }
    }
  }

  private static func range(_ text: String) -> ClosedRange<UInt64>? {
    let ends = text.split(separator: "-").compactMap { UInt64($0) }
    guard ends.count == 2, ends[0] <= ends[1] else { return nil }
    return ends[0]...ends[1]
  }
}
