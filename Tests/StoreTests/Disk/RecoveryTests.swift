import Base
import Testing

@testable import Store

@Suite struct RecoveryTests {
  @Test func `a new directory is empty and has one segment`() throws {
    let medium = MemoryMedium()
    let rig = try DiskRig(medium)
    #expect(rig.state.isEmpty)
    #expect(rig.appended == .zero)
    #expect(medium.names.keys.sorted() == ["log-0000000000000001"])
  }

  @Test func `what was committed is there after a restart`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [1], "b": Array(repeating: 2, count: 1000)])
    rig.commit(put: ["a": [3]], remove: ["b"])
    rig.commit(put: ["c": []])
    let report = try rig.flush()
    #expect(report.durable == Mark(3))
    let (state, mark) = try recovered(medium)
    #expect(state == ["a": [3], "c": []])
    #expect(mark == Mark(3))
  }

  @Test func `a log of many segments and restarts comes back whole`() throws {
    let medium = MemoryMedium()
    var chance = Random(seed: 3)
    var expected = DiskRig.State()
    for run in 0..<20 {
      var rig = try DiskRig(medium)
      #expect(rig.state == expected)
      for _ in 0..<10 {
        for _ in 0...chance.below(8) { rig.commit(drawnFrom: &chance) }
        try rig.flush()
        if chance.chance(1, in: 3) { try rig.settle() }
      }
      expected = rig.state
      try rig.worker.close(clean: run % 2 == 0)
    }
    #expect(medium.names.count > 10)
  }

  @Test func `a record larger than a segment gets one of its own`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    let large = (0..<100_000).map { UInt8(truncatingIfNeeded: $0 &* 7) }
    rig.commit(put: ["small": [1]])
    try rig.flush()
    try rig.settle()
    rig.commit(put: ["large": large])
    rig.commit(put: ["after": [2]])
    try rig.flush()
    try rig.settle()
    let (state, _) = try recovered(medium)
    #expect(state == ["small": [1], "large": large, "after": [2]])
  }

  @Test func `a group larger than a segment is split between records`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    for index in 0..<200 { rig.commit(put: ["key \(index)": Array(repeating: 1, count: 300)]) }
    try rig.flush()
    let (state, mark) = try recovered(medium)
    #expect(state.count == 200)
    #expect(mark == Mark(200))
  }

  @Test func `a checkpoint replaces the log before it`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    var chance = Random(seed: 4)
    for _ in 0..<100 {
      rig.commit(drawnFrom: &chance)
      try rig.flush()
    }
    let before = medium.byteCount
    try rig.writeCheckpoint()
    try rig.settle()
    #expect(medium.byteCount < before)
    #expect(medium.names["log-0000000000000001"] == nil)
    let expected = rig.state
    let (state, mark) = try recovered(medium)
    #expect(state == expected)
    #expect(mark == rig.appended)
  }

  @Test func `writes go on while a checkpoint is written`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    var chance = Random(seed: 5)
    for _ in 0..<300 {
      for _ in 0...chance.below(3) { rig.commit(drawnFrom: &chance) }
      if !rig.isWritingCheckpoint, chance.chance(1, in: 20) { try rig.beginCheckpoint() }
      try rig.flush(force: chance.chance(3, in: 4))
      if chance.chance(1, in: 2) { _ = try rig.worker.idle() }
      let (state, mark) = try recovered(medium)
      #expect(state == rig.states[mark.number])
      #expect(mark == rig.appended)
    }
  }

  @Test func `a newer format is refused`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [1]])
    try rig.flush()
    try rig.writeCheckpoint()
    for name in medium.names.keys.sorted() where !name.hasSuffix(".tmp") {
      let copy = medium.copy()
      let file = copy.names[name]!
      var header = ByteBuffer()
      header.append(Array(file.live[0..<64]))
      header.store(little: UInt32(2), at: 8)
      FileHeader.seal(&header, byteCount: 64)
      file.live.replaceSubrange(0..<64, with: header.bytes)
      #expect(refusal(copy) == .newerFormat(file: name, version: 2))
    }
  }

  @Test func `a segment that is missing stops recovery`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    for index in 0..<100 { rig.commit(put: ["key \(index)": Array(repeating: 1, count: 300)]) }
    try rig.flush()
    try rig.writeCheckpoint()
    for index in 0..<100 { rig.commit(put: ["key \(index)": Array(repeating: 2, count: 300)]) }
    try rig.flush()
    try rig.settle()
    for name in medium.names.keys.sorted().dropLast() where name.hasPrefix("log") {
      let copy = medium.copy()
      copy.names[name] = nil
      #expect(refusal(copy) != nil, "\(name)")
    }
  }

  @Test func `a segment of another directory stops recovery`() throws {
    let medium = MemoryMedium()
    let other = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [1]])
    try rig.flush()
    try rig.settle()
    var stranger = try DiskRig(other, identity: 7)
    stranger.commit(put: ["b": [1]])
    try stranger.flush()
    try stranger.settle()
    medium.names["log-0000000000000002"] = other.names["log-0000000000000002"]
    #expect(refusal(medium) != nil)
  }
}
