import Base
import Glibc
import Testing

@testable import Store

@Suite struct CrashTests {
  /// What one run of the machine did before it ended.
  private struct Run {
    var durable = Mark.zero
    var states: [UInt64: DiskRig.State]
  }

  /// Recovers, writes groups and checkpoints until the machine dies or enough is done, and notes
  /// what was reported durable. Recovery itself may be where it dies: then nil.
  private func run(_ medium: MemoryMedium, seed: UInt64) throws -> Run? {
    var run: Run?
    do {
      try work(medium, seed: seed, &run)
    } catch {
      if !medium.isDead { throw error }
    }
    return run
  }

  private func work(_ medium: MemoryMedium, seed: UInt64, _ run: inout Run?) throws {
    var chance = Random(seed: seed)
    var rig = try DiskRig(medium, options: seed & 1 == 0 ? smallOptions : lazyOptions)
    run = Run(durable: rig.appended, states: rig.states)
    for _ in 0..<45 {
      for _ in 0..<chance.below(5) {
        if chance.chance(1, in: 3) {
          rig.agree(drawnFrom: &chance)
        } else {
          rig.commit(drawnFrom: &chance)
        }
      }
      run?.states = rig.states
      if !rig.isWritingCheckpoint, chance.chance(1, in: 12) { try rig.beginCheckpoint() }
      let isForced = chance.chance(3, in: 4)
      let report = try rig.flush(force: isForced)
      run?.durable = report.durable
      for _ in 0..<chance.below(3) { _ = try rig.worker.idle() }
    }
    if chance.chance(1, in: 2) { try rig.worker.close(clean: chance.chance(1, in: 2)) }
  }

  /// Every crash is followed by a recovery that must find a state the machine had, at or after what
  /// was durable; generations follow one another on the same medium.
  private func live(seed: UInt64, generations: Int) throws {
    var chance = Random(seed: seed)
    let medium = MemoryMedium()
    var before = Run(states: [0: [:]])
    for generation in 0..<generations {
      medium.deadlyEffect = 1 + chance.below(chance.chance(1, in: 4) ? 12 : 250)
      let after = try run(medium, seed: chance.next())
      if let after {
        try check(after.states, follows: before, seed: seed, generation: generation)
        before = after
      }
      if chance.chance(1, in: 4) { medium.restart() } else { medium.losePower(&chance) }
    }
    let rig = try DiskRig(medium)
    try check(rig.states, follows: before, seed: seed, generation: generations)
  }

  /// The first state of a run must be one of the run before, not older than what was durable. A
  /// close record takes a number of its own and changes nothing.
  private func check(
    _ states: [UInt64: DiskRig.State], follows before: Run, seed: UInt64, generation: Int
  ) throws {
    let mark = try #require(states.keys.min())
    let newest = try #require(before.states.keys.max())
    #expect(mark >= before.durable.number, "seed \(seed), generation \(generation)")
    #expect(mark <= newest + 1, "seed \(seed), generation \(generation)")
    #expect(
      states[mark] == before.states[min(mark, newest)], "seed \(seed), generation \(generation)")
  }

  @Test(arguments: 0..<8)
  func `what was durable outlives a crash at any effect`(part: Int) throws {
    let count = getenv("TUPPENCE_LONG") == nil ? 12 : 400
    for seed in 0..<count { try live(seed: UInt64(part * 1000 + seed), generations: 8) }
  }

  @Test(arguments: [10, 11])
  func `a crash at each effect of one run in turn loses nothing durable`(seed: UInt64) throws {
    var effect = 1
    while true {
      let medium = MemoryMedium()
      medium.deadlyEffect = effect
      let run = try run(medium, seed: seed)
      let isDead = medium.isDead
      var chance = Random(seed: UInt64(effect))
      medium.losePower(&chance)
      let rig = try DiskRig(medium)
      try check(
        rig.states, follows: run ?? Run(states: [0: [:]]), seed: seed, generation: effect)
      if !isDead { break }
      effect += 1
    }
    #expect(effect > 100)
  }

  @Test func `a torn tail is cut once and the log goes on`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [1]])
    try rig.flush()
    rig.commit(put: ["b": Array(repeating: 2, count: 1000)])
    rig.commit(put: ["c": [3]])
    try rig.flush()
    // The first sector of the second group never arrived.
    let file = medium.names["log-0000000000000001"]!
    for index in 1024..<1536 { file.live[index] = 0 }
    var again = try DiskRig(medium)
    #expect(again.state == ["a": [1]])
    let cut = again.worker.summary.cutOffset
    #expect(cut >= 1536)
    let findings = try checkDirectory(&again.worker.fileSystem)
    #expect(findings.isEmpty)
    again.commit(put: ["d": [4]])
    try again.flush()
    #expect(try recovered(medium).0 == ["a": [1], "d": [4]])
  }

  @Test func `groups that are not forced count as one with the next that is`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [1]])
    try rig.flush(force: false)
    rig.commit(put: ["b": [2]])
    let report = try rig.flush(force: false)
    #expect(report.durable == .zero && report.through == Mark(2))
    // The first group was lost, the second was not: no proof that the first had been durable.
    let file = medium.names["log-0000000000000001"]!
    for index in 512..<1024 { file.live[index] = 0 }
    #expect(try recovered(medium).0.isEmpty)
  }
}
