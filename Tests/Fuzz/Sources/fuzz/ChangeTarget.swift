@testable import Base
@testable import Store

/// Changes of log records and checkpoints: what is decoded encodes to the same bytes, and applying
/// it to a database does no harm, twice neither. What may be staged comes to the same when it is
/// staged and settled.
func fuzzChange(_ input: UnsafeRawBufferPointer) {
  withHeapCopy(input) { copy in
    let bytes = UnsafeRawBufferPointer(copy)
    var reader = ChangeReader(bytes)
    var encoded = ByteBuffer()
    var database = emptyDatabase()
    do throws(ChangeError) {
      while let change = try reader.next() {
        encoded.append(change)
        if isSmall(change) {
          database.apply(change)
          database.apply(change)
        }
        if case .outcome(_, let status, _) = change {
          plantedMistake(when: status == .aborted)
        }
      }
    } catch {
      expect(error.offset <= bytes.count, "an error behind the end")
    }
    let decoded = UnsafeRawBufferPointer(rebasing: bytes[..<encoded.count])
    expect(encoded.bytes.elementsEqual(decoded), "encoding differs")
    database.finishRecovery()
    fuzzStaging(bytes)
  }
}

/// Stages the input and settles it, if it may be staged, and compares with applying it.
private func fuzzStaging(_ bytes: UnsafeRawBufferPointer) {
  var settled = emptyDatabase()
  var applied = emptyDatabase()
  let id = [UInt8]("id".utf8)
  id.withUnsafeBytes { id in
    do throws(ChangeError) {
      var reader = ChangeReader(bytes)
      var hasFlush = false
      while let change = try reader.next() {
        guard isSmall(change) else { return }
        if case .flush = change { hasFlush = true }
      }
      _ = try settled.stage(id, note: bytes, changes: bytes)
      _ = settled.settle(id, committed: true, note: nil)
      expect(settled.ledgerCount == 0, "a settled id without a note is still there")
      reader = ChangeReader(bytes)
      while let change = try reader.next() { applied.apply(change) }
      applied.finishRecovery()
      // A flush takes what is newer along; there is none where the table was locked.
      guard !hasFlush else { return }
      expect(state(of: settled) == state(of: applied), "settling differs from applying")
      expect(settled.lastStamp == applied.lastStamp, "another stamp")
    } catch {}
  }
}

private func emptyDatabase() -> Database {
  Database(
    hashKey: SipKey(k0: 1, k1: 2), limits: DatabaseLimits(),
    log: LogWriter(after: .zero, chain: 0, identity: 0))
}

private func state(of database: borrowing Database) -> [String] {
  var state: [String] = []
  database.visit {
    state.append("\(Array($0.key)) \(Array($0.value)) \($0.version.nanos) \($0.expiry)")
  }
  return state.sorted()
}

/// Splices far behind the end would make values of gigabytes; the writer never makes such.
func isSmall(_ change: Change) -> Bool {
  switch change {
  case .splice(_, let offset, let bytes, _, _): return offset + bytes.count < 1 << 20
  case .stage(_, _, _, let changes): return isSmall(changes)
  default: return true
  }
}

/// The same for a run of changes, up to where it cannot be read.
func isSmall(_ changes: UnsafeRawBufferPointer) -> Bool {
  var reader = ChangeReader(changes)
  while let change = try? reader.next() {
    if !isSmall(change) { return false }
  }
  return true
}
