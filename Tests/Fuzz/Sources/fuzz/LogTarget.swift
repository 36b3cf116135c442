@testable import Base
@testable import Store

/// Log and checkpoint files: recovery never traps, and what it answers is a state that there was.
///
/// The first byte chooses: flip bytes of a real directory (runs of file, two bytes of offset and a
/// byte to combine), put the input in the place of one of its files, or log the input as the
/// payload of a record with a right checksum.
func fuzzLog(_ input: UnsafeRawBufferPointer) {
  guard let first = input.first else { return }
  let body = UnsafeRawBufferPointer(rebasing: input[1...])
  switch first % 4 {
  case 0, 1: fuzzFlips(body)
  case 2: fuzzFile(Int(first / 4), body)
  default: fuzzPayload(body)
  }
}

private func fuzzFlips(_ body: UnsafeRawBufferPointer) {
  var files = sample.files
  var at = 0
  var isChanged = false
  while at + 4 <= body.count {
    let name = sample.names[Int(body[at]) % sample.names.count]
    let offset = Int(body[at + 1]) | Int(body[at + 2]) << 8
    if offset < files[name]!.count {
      files[name]![offset] ^= body[at + 3]
      isChanged = isChanged || body[at + 3] != 0
    }
    at += 4
  }
  switch recover(files) {
  case .failure: expect(isChanged, "recovery of the directory as it was")
  case .success(let state):
    expect(sample.states.contains(state), "a state that never was: \(state)")
    plantedMistake(when: isChanged)
  }
}

private func fuzzFile(_ index: Int, _ body: UnsafeRawBufferPointer) {
  var files = sample.files
  let name = sample.names[index % sample.names.count]
  files[name] = [UInt8](body)
  _ = recover(files)
}

private func fuzzPayload(_ body: UnsafeRawBufferPointer) {
  guard isSmall(body) else { return }
  var writer = Sample.Writer([:])
  writer.database.log.begin()
  writer.database.log.body.append(body)
  _ = writer.database.log.finish()
  writer.write()
  _ = recover(writer.close())
}

/// The keys and values after recovery, as text, or why there was none.
private func recover(_ files: [String: [UInt8]]) -> Result<[String], RecoveryError> {
  var worker = Sample.worker(files)
  do throws(RecoveryError) {
    let database = try worker.recover { _, _ in }
    return .success(Sample.state(of: database))
  } catch {
    return .failure(error)
  }
}

// MARK: A real directory

/// Made once: some records in several groups, a checkpoint, and more records.
private let sample = Sample()

private struct Sample {
  var files: [String: [UInt8]]
  var names: [String]
  /// The state after each group.
  var states: Set<[String]>

  init() {
    var states: Set<[String]> = [[]]
    var writer = Writer([:])
    for number in 0..<12 {
      writer.put("key \(number % 5)", "value \(number)")
      writer.write()
      states.insert(Self.state(of: writer.database))
      writer.agree(number)
      writer.write()
      states.insert(Self.state(of: writer.database))
      if number == 6 { writer.checkpoint() }
    }
    files = writer.files
    names = files.keys.sorted()
    self.states = states
  }

  static func worker(_ files: [String: [UInt8]]) -> DiskWorker<MemoryFiles> {
    var options = DiskOptions()
    options.segmentByteCountMin = 2_048
    options.segmentByteCountMax = 8_192
    options.sliceByteCount = 1_024
    options.unforcedByteCountMax = 2_048
    return DiskWorker(
      fileSystem: MemoryFiles(files), options: options, databaseLimits: DatabaseLimits(),
      hashKey: SipKey(k0: 1, k1: 2), freshIdentity: 0x1DE7)
  }

  static func state(of database: borrowing Database) -> [String] {
    var state: [String] = []
    database.visit {
      state.append(
        String(decoding: $0.key, as: UTF8.self) + "=" + String(decoding: $0.value, as: UTF8.self))
    }
    return state.sorted()
  }

  /// Loop and disk thread in one.
  struct Writer: ~Copyable {
    var worker: DiskWorker<MemoryFiles>
    var database: Database
    private var group = DiskGroup()
    private var wallNanos: UInt64 = 1_700_000_000_000_000_000

    init(_ files: [String: [UInt8]]) {
      var worker = Sample.worker(files)
      guard let database = try? worker.recover(progress: { _, _ in }) else {
        fatalError("a new directory")
      }
      self.database = database
      self.worker = worker
    }

    var files: [String: [UInt8]] { worker.fileSystem.files }

    mutating func put(_ key: String, _ value: String) {
      wallNanos += 1_000
      database.observe(wallNanos: wallNanos)
      database.begin(multi: false)
      Array(key.utf8).withUnsafeBytes { key in
        Array(value.utf8).withUnsafeBytes { value in
          _ = database.execute(.put(key: key, value: value, .plain))
        }
      }
      _ = database.commit()
    }

    /// Stages a put, settles what was staged before, or notes.
    mutating func agree(_ number: Int) {
      var changes = ByteBuffer()
      let id = Array("transaction".utf8)
      id.withUnsafeBytes { id in
        switch number % 4 {
        case 0, 1:
          database.begin(multi: true)
          _ = database.execute(.put(key: id, value: id, .plain))
          _ = database.takeChanges(into: &changes)
          guard (try? database.stage(id, note: id, changes: changes.bytes)) != nil else {
            fatalError("changes that were taken")
          }
        case 2: _ = database.settle(id, committed: number % 8 == 2, note: id)
        default: _ = database.unnote(id)
        }
      }
    }

    /// Writes and forces what is pending as one group.
    mutating func write() {
      database.log.take(into: &group)
      guard (try? worker.perform(&group)) != nil else { fatalError("the memory is full") }
      while (try? worker.idle()) == true {}
    }

    mutating func checkpoint() {
      group.checkpoint = .begin(through: database.log.appended)
      write()
      var cursor = CheckpointCursor()
      while database.checkpointSlice(&cursor, into: &group.checkpointBytes, byteCountMax: 64) {
        group.checkpoint = .entries
        write()
      }
      group.checkpoint = .finish(stamp: database.lastStamp, horizonMillis: database.horizonMillis)
      write()
      group.checkpoint = .none
    }

    mutating func close() -> [String: [UInt8]] { worker.fileSystem.files }
  }
}
