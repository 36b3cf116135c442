import TPCWorld

/// Each seed of the default swarm runs the negotiator of two-phase commit alone besides: short runs
/// with a toy resource, in which faults are a hundred times denser than a whole server bears. Some
/// planted bugs need an order of events that comes about once in ten thousand of them.
enum ShortRuns {
  static let countPerSeed: UInt64 = 300

  /// The first of a seed's runs that goes wrong, in words; nil: none does. It is shown by
  /// `explore --seed` with its number.
  static func failure(of seed: UInt64) -> String? {
    let first = (seed &- 1) &* countPerSeed &+ 1
    for index in 0..<countPerSeed {
      let run = first &+ index
      var explorer = Explorer(seed: run)
      let violations = explorer.run()
      if !violations.isEmpty {
        return "short run, of explore --seed \(run): \(violations.joined(separator: "; "))"
      }
    }
    return nil
  }
}
