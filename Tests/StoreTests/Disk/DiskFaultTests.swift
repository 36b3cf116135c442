import Base
import Testing

@testable import Store

@Suite struct DiskFaultTests {
  /// A run with everything in it; returns what was durable when a call failed, or nil if none did.
  private func run(_ medium: MemoryMedium) -> (durable: Mark, states: [UInt64: DiskRig.State])? {
    var durable = Mark.zero
    var states: [UInt64: DiskRig.State] = [0: [:]]
    do {
      try write(medium, &durable, &states)
      return nil
    } catch {
      return (durable, states)
    }
  }

  private func write(
    _ medium: MemoryMedium, _ durable: inout Mark, _ states: inout [UInt64: DiskRig.State]
  ) throws {
    var chance = Random(seed: 9)
    var rig = try DiskRig(medium)
    for step in 0..<25 {
      for _ in 0..<2 { rig.commit(drawnFrom: &chance) }
      states = rig.states
      if step == 8 { try rig.beginCheckpoint() }
      durable = max(durable, try rig.flush().durable)
      _ = try rig.worker.idle()
    }
    try rig.worker.close(clean: true)
  }

  @Test func `when the n-th call fails nothing durable is lost for any n`() throws {
    var failures: Set<DiskCall> = []
    for call in 1... {
      let medium = MemoryMedium()
      medium.failingCall = call
      guard let (durable, states) = run(medium) else { break }
      failures.insert(medium.calls[call - 1])
      var chance = Random(seed: UInt64(call))
      if call % 2 == 0 { medium.losePower(&chance) } else { medium.restart() }
      let (state, mark) = try recovered(medium)
      let newest = try #require(states.keys.max())
      #expect(mark >= durable, "call \(call)")
      #expect(state == states[min(mark.number, newest)], "call \(call)")
    }
    #expect(failures.isSuperset(of: [.create, .write, .force, .rename, .remove, .forceDirectory]))
  }

  @Test func `when the n-th call of recovery fails the next recovery finds everything`() throws {
    let medium = MemoryMedium()
    _ = run(medium)
    let expected = try recovered(medium)
    for call in 1... {
      let copy = medium.copy()
      copy.names["log-0000000000000077.tmp"] = MemoryMedium.File()
      copy.failingCall = call
      guard let error = failure(copy) else {
        #expect(call > 10)
        break
      }
      guard case .fault(let fault) = error else {
        Issue.record("call \(call): \(error)")
        break
      }
      #expect(fault.errno == 5)
      copy.restart()
      #expect(try recovered(copy) == expected)
    }
  }

  /// Why recovery of the medium itself fails.
  private func failure(_ medium: MemoryMedium) -> RecoveryError? {
    do {
      _ = try DiskRig(medium)
      return nil
    } catch {
      return error
    }
  }
}
