import Base
import TPC

/// Makes durable books of books: the `Resource` that a negotiator works with.
///
/// Each of its verbs appends one line to the journal, with the change and the negotiator's note
/// together, and nothing else changes the books. So whatever prefix of the journal a crash leaves,
/// replaying it makes the state that belonged to it.
struct Desk<Content: Books>: Resource, ~Copyable {
  /// What was committed.
  private(set) var books: Content
  private var journal: Journal
  private var staged: [TransactionID: Order] = [:]
  private var notes: [[UInt8]: [UInt8]] = [:]

  /// Replays the journal, and writes it anew without what is void.
  init(_ books: Content, _ journal: consuming Journal) {
    self.books = books
    self.journal = journal
    for line in self.journal.read() where !replay(line) {
      stop("the journal holds a line that it cannot hold here: \(line)")
    }
    self.journal.replace(with: lines)
  }

  /// The transactions that are prepared here and undecided.
  var undecided: [TransactionID] { Array(staged.keys) }

  func isUndecided(_ id: TransactionID) -> Bool { staged[id] != nil }

  /// Calls `body` with each note, in no order.
  func forEachNote(_ body: (UnsafeRawBufferPointer, UnsafeRawBufferPointer) -> Void) {
    for (key, note) in notes {
      key.withUnsafeBytes { key in note.withUnsafeBytes { body(key, $0) } }
    }
  }

  // MARK: Durability

  /// Something was appended that is not on disk yet.
  var hasPending: Bool { journal.hasPending }

  /// Returns when all that was appended is on disk.
  mutating func force() {
    journal.force()
    if journal.isOverlong { journal.replace(with: lines) }
  }

  /// The shortest journal that makes this state.
  private var lines: [Line] {
    var lines = books.facts.map { Line(.fact, body: Array($0.utf8)) }
    var rest = notes
    for (id, order) in staged {
      let key = id.bytes
      lines.append(
        Line(.prepare, key: key, body: Array("\(order)".utf8), note: rest.removeValue(forKey: key)))
    }
    return lines + rest.map { Line(.note, key: $0.key, note: $0.value) }
  }

  // MARK: The verbs

  mutating func prepare(
    _ id: TransactionID, _ attempt: Attempt, body: UnsafeRawBufferPointer,
    record: UnsafeRawBufferPointer
  ) -> Verdict {
    guard let order = Order(String(decoding: body, as: UTF8.self)) else { return .no(.invalid) }
    let verdict = stage(order, id)
    if case .yes = verdict {
      append(Line(.prepare, key: id.bytes, body: Array(body), note: Array(record)))
    }
    return verdict
  }

  mutating func commit(_ id: TransactionID, record: UnsafeRawBufferPointer) {
    apply(id)
    append(Line(.commit, key: id.bytes, note: Array(record)))
  }

  mutating func abort(_ id: TransactionID, record: UnsafeRawBufferPointer?) {
    drop(id)
    append(Line(.abort, key: id.bytes, note: record.map { Array($0) }))
  }

  mutating func note(_ key: UnsafeRawBufferPointer, record: UnsafeRawBufferPointer?) {
    append(Line(.note, key: Array(key), note: record.map { Array($0) }))
  }

  private mutating func append(_ line: Line) {
    notes[line.key] = line.note
    journal.append(line)
  }

  // MARK: What they do, now and in a replay

  /// Sets aside what the order needs. What a lower attempt had set aside is given back first.
  private mutating func stage(_ order: Order, _ id: TransactionID) -> Verdict {
    let earlier = staged[id]
    if let earlier { books.release(earlier) }
    let verdict = books.reserve(order)
    if case .yes = verdict {
      staged[id] = order
    } else if let earlier {
      _ = books.reserve(earlier)
    }
    return verdict
  }

  private mutating func apply(_ id: TransactionID) {
    guard let order = staged.removeValue(forKey: id) else {
      invariantFailed("\(id) is committed, so it was prepared")
    }
    books.release(order)
    books.apply(order, as: id)
  }

  private mutating func drop(_ id: TransactionID) {
    if let order = staged.removeValue(forKey: id) { books.release(order) }
  }

  private mutating func replay(_ line: Line) -> Bool {
    let text = String(decoding: line.body, as: UTF8.self)
    if line.kind == .fact {
      return books.restore(text.split(separator: " ", omittingEmptySubsequences: false))
    }
    notes[line.key] = line.note
    if line.kind == .note { return true }
    guard let id = line.key.withUnsafeBytes({ TransactionID($0) }) else { return false }
    switch line.kind {
    case .prepare: return Order(text).map { stage($0, id) == .yes([]) } ?? false
    case .commit where staged[id] == nil: return false
    case .commit: apply(id)
    case .abort: drop(id)
    case .owner: return false
    case .note, .fact: break
    }
    return true
  }
}

extension TransactionID {
  /// The 18 bytes under which its note is kept.
  var bytes: [UInt8] {
    var buffer = ByteBuffer()
    encode(into: &buffer)
    return Array(buffer.bytes)
  }
}
