import SimKit
import Testing

/// A few seeds of the default swarm with every change; thousands run elsewhere (docs/simulator.md).
@Suite struct SeedTests {
  @Test(arguments: 1...5 as ClosedRange<UInt64>)
  func `A world of faults keeps its promises`(seed: UInt64) {
    let result = Simulation.run(seed: seed)
    #expect(result.failure == nil, "seed \(seed)")
  }

  @Test(arguments: [11, 12] as [UInt64])
  func `One seed gives one trace`(seed: UInt64) {
    let first = Simulation.run(seed: seed)
    let second = Simulation.run(seed: seed)
    #expect(first.hash == second.hash)
    #expect(first.statistics == second.statistics)
  }

  @Test func `Two seeds give two traces`() {
    #expect(Simulation.run(seed: 14).hash != Simulation.run(seed: 15).hash)
  }
}
