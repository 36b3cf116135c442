import Base
import Testing

@testable import Store

@Suite struct FullDiskTests {
  @Test func `a full disk is told before records are blocked, and heals`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    try rig.settle()
    medium.capacity = medium.byteCount
    var report = try rig.flush()
    #expect(!report.noSpace)
    var count = 0
    while !report.groupBlockedByNoSpace {
      rig.commit(put: ["key": Array(repeating: UInt8(count), count: 200)])
      report = try rig.flush()
      _ = try rig.worker.idle()
      if rig.hasNoSpace { count += 1 }
    }
    // Room for deletes was left when it was told: a whole segment.
    #expect(count >= 8192 / 512 - 2)
    #expect(report.durable < rig.appended)
    #expect(try rig.perform().groupBlockedByNoSpace)
    medium.capacity = .max
    report = try rig.perform()
    #expect(!report.groupBlockedByNoSpace && !report.noSpace)
    #expect(report.durable == rig.appended)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test func `a full disk without room for a hole is told, and heals`() throws {
    let medium = MemoryMedium()
    var options = smallOptions
    options.fillsAhead = false
    var rig = try DiskRig(medium, options: options)
    medium.capacity = medium.byteCount + 100
    try rig.settle()
    #expect(rig.hasNoSpace == true)
    medium.capacity += 100_000
    try rig.settle()
    #expect(rig.hasNoSpace == false)
    rig.commit(put: ["key": Array(repeating: 1, count: 3000)])
    rig.commit(put: ["other": Array(repeating: 1, count: 3000)])
    #expect(try !rig.flush().groupBlockedByNoSpace)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test func `room that comes back is told without a group`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    medium.capacity = medium.byteCount + 3000
    try rig.settle()
    #expect(rig.hasNoSpace == true)
    #expect(try rig.flush().noSpace)
    medium.capacity += 100_000
    try rig.settle()
    #expect(rig.hasNoSpace == false)
    #expect(try !rig.flush().noSpace)
  }

  @Test func `a checkpoint without room is abandoned and leaves nothing`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    for index in 0..<50 { rig.commit(put: ["key \(index)": Array(repeating: 1, count: 200)]) }
    try rig.flush()
    try rig.settle()
    medium.capacity = medium.byteCount + 2000
    try rig.beginCheckpoint()
    var report = try rig.flush()
    while !report.checkpointFailed { report = try rig.flush() }
    #expect(!medium.names.keys.contains { $0.hasPrefix("checkpoint") })
    medium.capacity = .max
    try rig.writeCheckpoint()
    #expect(medium.names["checkpoint-0000000000000001"] != nil)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test func `deletes and a checkpoint make room on a full disk`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    medium.capacity = 60_000
    var index = 0
    while !rig.hasNoSpace {
      rig.commit(put: ["key \(index)": Array(repeating: 1, count: 400)])
      try rig.flush()
      try rig.settle()
      index += 1
    }
    for old in 0..<index where old % 10 != 0 { rig.commit(remove: ["key \(old)"]) }
    #expect(try !rig.flush().groupBlockedByNoSpace)
    try rig.writeCheckpoint()
    try rig.settle()
    #expect(rig.hasNoSpace == false)
    #expect(medium.byteCount < 50_000)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test func `a checkpoint takes the room of the half-made next segment`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    try rig.settle()
    // The prepared segment is used up and the next one begun when the checkpoint begins.
    rig.commit(put: ["key": Array(repeating: 1, count: 3000)])
    rig.commit(put: ["key": Array(repeating: 2, count: 3000)])
    try rig.flush()
    _ = try rig.worker.idle()
    rig.commit(remove: ["key"])
    try rig.beginCheckpoint()
    medium.capacity = medium.byteCount + 1024
    try rig.settle()
    #expect(rig.hasNoSpace && medium.byteCount == medium.capacity)
    var report = try rig.flush()
    while rig.isWritingCheckpoint { report = try rig.flush() }
    #expect(report.checkpointFinished)
    medium.capacity += 16384
    try rig.settle()
    #expect(rig.hasNoSpace == false)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test(arguments: [40_000, 41_100, 50_000, 60_000, 61_300, 80_000], [false, true])
  func `to delete everything heals a full disk`(capacity: Int, restarts: Bool) throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    medium.capacity = capacity
    var loop = FullDiskLoop()
    var count = 0
    while !rig.hasNoSpace {
      rig.commit(put: ["key \(count)": Array(repeating: 1, count: 400)])
      try loop.step(&rig)
      count += 1
    }
    for _ in 0..<400 { try loop.step(&rig) }
    #expect(rig.hasNoSpace == true)
    // A try a second at most, and none while nothing changes but one in ten seconds.
    #expect(loop.tryCount <= 8)
    for key in 0..<count { rig.commit(remove: ["key \(key)"]) }
    #expect(try !rig.flush().groupBlockedByNoSpace)
    if restarts {
      try rig.worker.close(clean: true)
      rig = try DiskRig(medium)
      loop = FullDiskLoop()
      try rig.settle()
      #expect(rig.hasNoSpace == true)
    }
    for _ in 0..<30 where rig.hasNoSpace { try loop.step(&rig) }
    #expect(rig.hasNoSpace == false)
    rig.commit(put: ["after": Array(repeating: 1, count: 400)])
    #expect(try !rig.flush().groupBlockedByNoSpace)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test func `a blocked group gives up the checkpoint under way`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    for index in 0..<40 { rig.commit(put: ["key \(index)": Array(repeating: 1, count: 400)]) }
    try rig.flush()
    try rig.settle()
    try rig.beginCheckpoint()
    try rig.flush()
    medium.capacity = medium.byteCount
    rig.commit(put: ["large": Array(repeating: 2, count: 30_000)])
    let report = try rig.flush()
    #expect(report.groupBlockedByNoSpace && report.checkpointFailed)
    medium.capacity = .max
    #expect(try rig.perform().durable == rig.appended)
    #expect(try recovered(medium).0 == rig.state)
  }

  @Test(arguments: 0..<4)
  func `a disk that fills and empties loses nothing`(part: Int) throws {
    for seed in 0..<10 {
      var chance = Random(seed: UInt64(part * 100 + seed))
      let medium = MemoryMedium()
      var rig = try DiskRig(medium, options: seed & 1 == 0 ? smallOptions : lazyOptions)
      var policy = CheckpointPolicy()
      for _ in 0..<60 {
        medium.capacity = chance.chance(1, in: 3) ? .max : medium.byteCount + chance.below(8000)
        rig.commit(drawnFrom: &chance, valueByteCountMax: 2000)
        if !rig.isWritingCheckpoint, chance.chance(1, in: 10) { try rig.beginCheckpoint() }
        var report = try rig.flush()
        while report.groupBlockedByNoSpace {
          medium.capacity += 20_000
          report = try rig.perform()
        }
        policy.note(report, sliceByteCount: 0, isUnderWay: false, at: .zero)
        #expect(report.durable == rig.appended)
        _ = try rig.worker.idle()
      }
      let (state, mark) = try recovered(medium)
      #expect(state == rig.state && mark == rig.appended)
    }
  }
}

/// What the loop does with a disk, a turn in a tenth of a second.
private struct FullDiskLoop {
  var policy = CheckpointPolicy()
  var now = Instant(nanos: 1_000_000_000)
  var tryCount = 0
  private var last = DiskReport(
    through: .zero, durable: .zero, logByteCount: 0, checkpointByteCount: 0)

  mutating func step(_ rig: inout DiskRig) throws {
    last.noSpace = rig.hasNoSpace
    if !rig.isWritingCheckpoint, policy.due(last) <= now {
      tryCount += 1
      note(try rig.beginCheckpoint(), rig.isWritingCheckpoint)
    }
    repeat {
      note(try rig.flush(), rig.isWritingCheckpoint)
      _ = try rig.worker.idle()
    } while rig.isWritingCheckpoint
    try rig.settle()
    now = now + .millis(100)
  }

  private mutating func note(_ report: DiskReport, _ isUnderWay: Bool) {
    last = report
    policy.note(report, sliceByteCount: 0, isUnderWay: isUnderWay, at: now)
  }
}

@Suite struct CheckpointPolicyTests {
  @Test func `a checkpoint without room is tried again when the log has grown, and spaced`() {
    var policy = CheckpointPolicy()
    func report(_ logByteCount: UInt64, failed: Bool = false) -> DiskReport {
      DiskReport(
        through: .zero, durable: .zero, logByteCount: logByteCount, checkpointByteCount: 0,
        noSpace: true, checkpointFailed: failed)
    }
    let start = Instant(nanos: 5_000_000_000)
    #expect(policy.due(report(1000)) == .zero)
    policy.note(report(1000), sliceByteCount: 0, isUnderWay: true, at: start)
    policy.note(report(1000, failed: true), sliceByteCount: 0, isUnderWay: false, at: start)
    #expect(policy.due(report(1000)) == start + .seconds(10))
    #expect(policy.due(report(1512)) == start + .seconds(1))
    // With room for the log but not for a checkpoint they are spaced too.
    var large = report(200 << 20)
    large.noSpace = false
    #expect(policy.due(large) == start + .seconds(1))
    var done = report(0)
    done.checkpointFinished = true
    policy.note(done, sliceByteCount: 0, isUnderWay: false, at: start)
    #expect(policy.due(report(0)) == .never)
    #expect(policy.due(report(512)) == start + .seconds(1))
    #expect(policy.due(large) == .zero)
  }

  @Test func `records wait while a checkpoint is behind the log's growth`() {
    var policy = CheckpointPolicy()
    func note(_ logByteCount: UInt64, slice: Int, isUnderWay: Bool = true) {
      let report = DiskReport(
        through: .zero, durable: .zero, logByteCount: logByteCount, checkpointByteCount: 0)
      policy.note(report, sliceByteCount: slice, isUnderWay: isUnderWay, at: .zero)
    }
    // The first report of a run: the log was there, and what the checkpoint begins with is before it.
    note(100 << 20, slice: 0)
    #expect(!policy.holdsRecords)
    note(103 << 20, slice: 4 << 20)
    #expect(policy.holdsRecords && policy.sliceByteCount(logByteCount: 0) == 4 << 20)
    note(103 << 20, slice: 4 << 20)
    #expect(policy.holdsRecords)
    note(103 << 20, slice: 4 << 20)
    #expect(!policy.holdsRecords)
    note(103 << 20 + 1, slice: 0)
    #expect(policy.holdsRecords)
    note(0, slice: 0, isUnderWay: false)
    #expect(!policy.holdsRecords)
  }
}
