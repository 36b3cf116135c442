import Base
import Testing

@testable import Store

/// Copying a database to another one while it changes.
struct CopyTests {
  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func aCopyUnderChangesEndsEqual(seed: UInt64) throws {
    var chance = Random(seed: seed)
    var source = TestDatabase(seed: seed)
    var target = TestDatabase(seed: seed &+ 1_000)
    for index in 0..<chance.within(0...600) { source.put(index, &chance) }
    source.database.beginNotes()
    var cursor = CopyCursor()
    while !cursor.isDone {
      var buffer = ByteBuffer()
      _ = source.database.copySlice(
        &cursor, into: &buffer, byteCountMax: Database.copyByteCountMin)
      #expect(buffer.count <= Database.copyByteCountMin)
      try target.take(buffer)
      for _ in 0..<chance.below(20) { try source.change(&chance) }
      _ = source.database.step(budget: chance.below(8))
    }
    for pass in 0..<4 {
      var list = CopyList(source.database.takeNotes())
      while !list.isDone {
        var buffer = ByteBuffer()
        _ = source.database.copyNoted(
          &list, into: &buffer, byteCountMax: Database.copyByteCountMin)
        #expect(buffer.count <= Database.copyByteCountMin)
        try target.take(buffer)
        if pass < 3, chance.chance(1, in: 2) { try source.change(&chance) }
      }
    }
    #expect(source.noteCount == 0)
    #expect(source.dump() == target.dump())
    #expect(source.digest(entryCountMax: 7) == target.digest(entryCountMax: 100))
  }

  @Test func aDigestTellsEachPartOfAnEntry() throws {
    var digests: Set<CopyDigest> = []
    for (key, value, version, expiry) in [
      ("k", "v", 9, Change.noExpiry), ("l", "v", 9, Change.noExpiry), ("k", "w", 9, .max),
      ("k", "v", 8, .max), ("k", "v", 9, 5_000_000),
    ] {
      var one = TestDatabase(seed: 3)
      try one.apply(key, value, UInt64(version), expiry)
      digests.insert(one.digest(entryCountMax: 1))
    }
    #expect(digests.count == 5)
  }

  @Test func aDigestPassesOverWhatExpires() throws {
    var one = TestDatabase(seed: 3)
    var other = TestDatabase(seed: 4)
    for index in 0..<50 { try one.apply("k\(index)", "v", 9, .max) }
    for index in 0..<50 { try other.apply("k\(index)", "v", 9, .max) }
    try other.apply("due", "v", 9, 2_000_000)
    #expect(
      one.digest(entryCountMax: 3, aliveMillis: 2_000_000)
        == other.digest(entryCountMax: 3, aliveMillis: 2_000_000))
    #expect(one.digest(entryCountMax: 3) != other.digest(entryCountMax: 3))
  }

  @Test func notesHoldEachKeyAndIdOnceAndOnlyWhatIsCommitted() throws {
    var source = TestDatabase()
    source.database.beginNotes()
    try source.commit(1, [("a", "1"), ("b", "1")], id: 7)
    try source.commit(2, [("a", "2")], id: nil)
    try source.stage("open", source.changes([("c", "1")]))
    try source.stage("lost", source.changes([("d", "1")]))
    source.settle("lost", committed: false)
    let notes = source.database.takeNotes()
    #expect(notes.keys == [Array("a".utf8), Array("b".utf8)])
    #expect(notes.operations == [copyID(7)])
    #expect(source.noteCount == 0)
    source.settle("open", committed: true)
    #expect(source.noteCount == 1)
    source.database.endNotes()
    try source.commit(3, [("e", "1")], id: nil)
    #expect(source.noteCount == 0)
  }

  @Test func aFlushOverrunsTheNotes() throws {
    var source = TestDatabase()
    try source.commit(1, [("a", "1")], id: nil)
    source.database.beginNotes()
    source.database.begin(multi: true)
    _ = source.execute(.flush)
    var changes = ByteBuffer()
    _ = source.database.takeChanges(into: &changes)
    try source.stage("flush", Array(changes.bytes))
    source.settle("flush", committed: true)
    #expect(source.notesAreOverrun && source.noteCount == 0)
  }

  @Test func notesAreBounded() {
    var notes = CopyNotes()
    var key = [UInt8](repeating: 0, count: 65_000)
    for index in 0..<2_000 {
      key[0] = UInt8(truncatingIfNeeded: index)
      key[1] = UInt8(truncatingIfNeeded: index >> 8)
      key.withUnsafeBytes { notes.insert($0) }
    }
    #expect(notes.isOverrun && notes.count == 0)
  }

  @Test func clearingLeavesOutcomesAndHorizonAlone() throws {
    var target = TestDatabase()
    target.database.raiseHorizon(to: 900_000)
    try target.commit(1, [("a", "1")], id: 7)
    target.note("other", "1")
    target.note("mine", "1")
    Array("mine".utf8).withUnsafeBytes { target.database.clearForCopy(keeping: $0) }
    let left = target.dump()
    #expect(left.keys.sorted() == ["id \(copyID(7))", "ledger mine"])
    #expect(target.horizonMillis == 900_000)
    // And so it comes back from the log.
    var again = TestDatabase(seed: 9)
    for record in target.takeRecords() { try again.apply(record) }
    #expect(again.dump() == left && again.horizonMillis == 900_000)
  }

  @Test func whatIsNoCopyIsRefusedAsAWhole() throws {
    var target = TestDatabase()
    var bad = ByteBuffer()
    target.withText("k") {
      bad.appendPut(key: $0, value: $0, version: Stamp(nanos: 5), expiry: .max)
      bad.appendNote(id: $0, note: $0)
    }
    do {
      try target.take(bad)
      Issue.record("a note was taken")
    } catch let error as ChangeError {
      #expect(error.reason == "is none that may be staged")
    }
    #expect(target.dump().isEmpty && target.appended == .zero)
  }

  @Test func aCopyComesBackFromItsRecords() throws {
    var chance = Random(seed: 5)
    var source = TestDatabase(seed: 5)
    for index in 0..<300 { source.put(index, &chance) }
    var target = TestDatabase(seed: 6)
    var cursor = CopyCursor()
    while !cursor.isDone {
      var buffer = ByteBuffer()
      _ = source.database.copySlice(
        &cursor, into: &buffer, byteCountMax: Database.copyByteCountMin)
      try target.take(buffer)
    }
    var again = TestDatabase(seed: 7)
    for record in target.takeRecords() { try again.apply(record) }
    #expect(again.dump() == source.dump())
  }
}

/// An id of the time at which a test database begins.
private func copyID(_ low: UInt64) -> OperationID {
  OperationID(high: 1_000_000 << 16, low: low)
}

extension TestDatabase {
  // Copies, as `#expect` takes only what can be copied.
  var noteCount: Int { database.noteCount }
  var notesAreOverrun: Bool { database.notesAreOverrun }
  var horizonMillis: Int64 { database.horizonMillis }

  func withText<R>(_ text: String, _ body: (UnsafeRawBufferPointer) -> R) -> R {
    Array(text.utf8).withUnsafeBytes { body($0) }
  }

  mutating func apply(_ key: String, _ value: String, _ version: UInt64, _ expiry: Int64) throws {
    var change = ByteBuffer()
    withText(key) { key in
      withText(value) {
        change.appendPut(key: key, value: $0, version: Stamp(nanos: version), expiry: expiry)
      }
    }
    try apply(Array(change.bytes))
  }

  /// Adds an outcome to the open transaction.
  mutating func addOutcome(_ id: OperationID) {
    let done = Array("+OK".utf8).withUnsafeBytes { database.addOutcome(of: id, reply: $0) }
    precondition(done)
  }

  mutating func take(_ buffer: borrowing ByteBuffer) throws {
    guard !buffer.isEmpty else { return }
    _ = try database.applyCopied(buffer.bytes)
  }

  func digest(entryCountMax: Int, aliveMillis: Int64 = 0) -> CopyDigest {
    var cursor = DigestCursor(aliveMillis: aliveMillis)
    while database.digestSlice(&cursor, entryCountMax: entryCountMax) {}
    return cursor.digest
  }

  /// What puts of these would change.
  mutating func changes(_ pairs: [(String, String)], id: UInt64? = nil) -> [UInt8] {
    database.begin(multi: true)
    for (key, value) in pairs { _ = execute(.put(key, value)) }
    if let id { addOutcome(copyID(id)) }
    var changes = ByteBuffer()
    _ = database.takeChanges(into: &changes)
    return Array(changes.bytes)
  }

  /// Commits as a member does.
  mutating func commit(_ name: Int, _ pairs: [(String, String)], id: UInt64?) throws {
    try stage("tx \(name)", changes(pairs, id: id))
    settle("tx \(name)", committed: true)
  }

  mutating func put(_ index: Int, _ chance: inout Random) {
    let count = chance.chance(1, in: 60) ? chance.below(200_000) : chance.below(200)
    run(.put("key \(index)", String(repeating: "\(index % 10)", count: count)))
  }

  /// A random change of another member.
  mutating func change(_ chance: inout Random) throws {
    let key = "key \(chance.below(700))"
    database.begin(multi: true)
    switch chance.below(6) {
    case 0: _ = execute(.delete(key))
    case 1: _ = execute(.append(key, "more"))
    case 2:
      let count = chance.chance(1, in: 10) ? chance.below(150_000) : 20
      _ = execute(.put(key, String(repeating: "x", count: count)))
    default: _ = execute(.put(key, "\(chance.next())"))
    }
    addOutcome(copyID(UInt64(chance.below(200))))
    var changes = ByteBuffer()
    _ = database.takeChanges(into: &changes)
    try stage("change", Array(changes.bytes))
    settle("change", committed: true)
  }
}
