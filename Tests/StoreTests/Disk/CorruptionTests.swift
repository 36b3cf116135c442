import Base
import Glibc
import Testing

@testable import Store

@Suite struct CorruptionTests {
  /// A directory with a checkpoint, several segments and a spare one.
  private struct Fixture {
    let medium = MemoryMedium()
    var states: [UInt64: DiskRig.State] = [:]
    var last = Mark.zero
    var firstOfLastGroup = Mark.zero

    init(clean: Bool) throws {
      var options = smallOptions
      options.segmentByteCountMin = 2048
      options.segmentByteCountMax = 2048
      var rig = try DiskRig(medium, options: options)
      var chance = Random(seed: 6)
      for _ in 0..<12 {
        rig.commit(drawnFrom: &chance, valueByteCountMax: 100)
        try rig.flush()
      }
      try rig.writeCheckpoint()
      for _ in 0..<8 {
        for _ in 0..<2 { rig.commit(drawnFrom: &chance, valueByteCountMax: 100) }
        firstOfLastGroup = Mark(rig.appended.number - 1)
        try rig.flush()
      }
      try rig.settle()
      states = rig.states
      last = rig.appended
      if clean {
        firstOfLastGroup = last.next
        states[last.number + 1] = rig.state
        last = last.next
      }
      try rig.worker.close(clean: clean)
    }
  }

  private func check(_ medium: MemoryMedium) throws -> [Finding] {
    var fileSystem = MemoryFileSystem(medium)
    return try checkDirectory(&fileSystem)
  }

  @Test(arguments: [false, true])
  func `a directory as it was written has no findings`(clean: Bool) throws {
    let fixture = try Fixture(clean: clean)
    #expect(try check(fixture.medium) == [])
  }

  private func bits(_ index: Int) -> [UInt8] {
    if getenv("TUPPENCE_LONG") != nil { return Array(0..<8) }
    return [UInt8((index &* 7 &+ index / 8) % 8)]
  }

  private func outcome(
    _ medium: MemoryMedium
  ) -> Result<(DiskRig.State, Mark), RecoveryError> {
    do { return .success(try recovered(medium)) } catch { return .failure(error) }
  }

  /// Flips a bit of every byte, with `TUPPENCE_LONG` set each of them in turn: the check must place
  /// it, and recovery must stop there or cut only what nothing proves to have been durable.
  @Test(arguments: [false, true])
  func `every flipped byte is found and never served`(clean: Bool) throws {
    let fixture = try Fixture(clean: clean)
    let medium = fixture.medium
    var stops = 0
    var cuts = 0
    for name in medium.names.keys.sorted() {
      let file = medium.names[name]!
      for flip in file.live.indices.lazy.flatMap({ index in bits(index).map { (index, $0) } }) {
        let index = flip.0
        file.live[index] ^= 1 << flip.1
        defer { file.live[index] ^= 1 << flip.1 }
        let findings = try check(medium)
        #expect(
          findings.contains { $0.file == name && $0.offset <= index && $0.kind != .leftover },
          "\(name) at \(index)")
        switch outcome(medium) {
        case .success(let (state, mark)):
          #expect(mark == fixture.last || mark.next >= fixture.firstOfLastGroup)
          #expect(state == fixture.states[mark.number], "\(name) at \(index)")
          if mark < fixture.last { cuts += 1 }
        case .failure(.damaged(let place, let offset, _, _)):
          stops += 1
          #expect(place == name && offset <= index, "\(name) at \(index): \(place) \(offset)")
        case .failure(let error):
          Issue.record("\(name) at \(index): \(error)")
        }
      }
    }
    #expect(stops > 1000)
    #expect(cuts > 0)
  }

  /// Records that wait for a checkpoint while those before them are forced are of a later group: as
  /// soon as one of them is written, damage before them is told and not cut.
  @Test(arguments: 0...3)
  func `a record held back proves that what was forced meanwhile is durable`(held: Int) throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["first": [1]])
    try rig.flush(force: false)
    for number in 0..<held { rig.commit(put: ["held \(number)": [2]]) }
    #expect(try rig.flush(holding: true).durable == Mark(1))
    rig.commit(put: ["last": [3]])
    #expect(try rig.flush().durable == rig.appended)
    let (state, mark) = try recovered(medium)
    #expect(state == rig.state && mark == rig.appended)
    let name = try #require(medium.names.keys.sorted().first { $0.hasPrefix("log") })
    let file = medium.names[name]!
    // A bit of the first record's payload.
    file.live[LogFormat.sectorByteCount + LogFormat.recordHeaderByteCount] ^= 1
    let found = try #require(refusal(medium))
    guard case .damaged = found else {
      Issue.record("\(found)")
      return
    }
  }

  @Test func `the check says which byte was changed`() throws {
    let fixture = try Fixture(clean: true)
    let medium = fixture.medium
    var named = 0
    var tried = 0
    for name in medium.names.keys.sorted() {
      let file = medium.names[name]!
      for index in stride(from: 64, to: file.live.count, by: 7) where file.live[index] != 0 {
        file.live[index] ^= UInt8(1 + index % 255)
        defer { file.live[index] ^= UInt8(1 + index % 255) }
        let reason = try check(medium).first?.reason ?? ""
        tried += 1
        if reason.hasSuffix("one changed byte at offset \(index) would explain it") { named += 1 }
      }
    }
    #expect(tried > 100 && named == tried)
  }

  @Test func `a file cut short anywhere stops recovery and is found`() throws {
    let fixture = try Fixture(clean: true)
    let medium = fixture.medium
    for name in medium.names.keys.sorted() {
      let whole = medium.names[name]!.live
      for count in whole.indices {
        medium.names[name]!.live = Array(whole[0..<count])
        #expect(refusal(medium) != nil, "\(name) of \(count)")
        guard count % 16 == 0 else { continue }
        #expect(try check(medium).contains { $0.file == name }, "\(name) of \(count)")
      }
      medium.names[name]!.live = whole
    }
  }

  @Test func `segments that are swapped or stale stop recovery`() throws {
    let fixture = try Fixture(clean: true)
    let medium = fixture.medium
    let names = medium.names.keys.sorted().filter { $0.hasPrefix("log") }
    for (one, other) in zip(names, names.dropFirst()) {
      let copy = medium.copy()
      copy.names[one] = medium.names[other]
      copy.names[other] = medium.names[one]
      #expect(refusal(copy) != nil)
      copy.names[one] = medium.names[other]
      copy.names[other] = medium.names[other]
      #expect(refusal(copy) != nil)
    }
  }

  @Test func `a record that holds copies of records does not mislead recovery`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [1]])
    try rig.flush()
    // A client stores the log itself as a value, and the machine dies while that is written.
    let log = medium.names["log-0000000000000001"]!.live
    rig.commit(put: ["copy": Array(log[512..<1024])])
    try rig.flush()
    medium.names["log-0000000000000001"]!.live[1024] ^= 1
    #expect(try recovered(medium).0 == ["a": [1]])
  }

  @Test func `files that are not needed are named and removed`() throws {
    let fixture = try Fixture(clean: false)
    let medium = fixture.medium
    medium.names["log-0000000000000099.tmp"] = MemoryMedium.File()
    medium.names["notes"] = MemoryMedium.File()
    let findings = try check(medium)
    #expect(findings.map(\.kind) == [.leftover])
    _ = try DiskRig(medium)
    #expect(medium.names["log-0000000000000099.tmp"] == nil)
    #expect(medium.names["notes"] != nil)
  }
}
