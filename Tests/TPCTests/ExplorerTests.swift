import TPCWorld
import Testing

/// Random and exhaustive runs; `explore` runs more of both.
@Suite struct ExplorerTests {
  @Test(arguments: 0..<8) func `Random runs end with everybody agreed`(block: UInt64) {
    for seed in (block * 250 + 1)...(block * 250 + 250) {
      var explorer = Explorer(seed: seed)
      let violations = explorer.run()
      #expect(violations.isEmpty, "explore --seed \(seed): \(violations)")
    }
  }

  @Test func `The same seed is the same run`() {
    var first = Explorer(seed: 7, keepsJournal: true)
    var second = Explorer(seed: 7, keepsJournal: true)
    _ = first.run()
    _ = second.run()
    #expect(first.world.journal == second.world.journal)
    #expect(first.world.journal.count > 10)
  }

  @Test(arguments: [SmallWorld.Kind.oneTransaction, .twoTransactions])
  func `Every order of a small world is right`(kind: SmallWorld.Kind) {
    let report = SmallWorld.explore(kind, stateCountMax: 1_500)
    #expect(report.violations.isEmpty, "\(report.path): \(report.violations)")
    #expect(report.isComplete || report.depth >= 4)
  }
}
