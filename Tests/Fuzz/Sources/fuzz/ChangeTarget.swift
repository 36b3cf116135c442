@testable import Base
@testable import Store

/// Changes of log records and checkpoints: what is decoded encodes to the same bytes, and applying it
/// to a database does no harm, twice neither.
func fuzzChange(_ input: UnsafeRawBufferPointer) {
  withHeapCopy(input) { copy in
    let bytes = UnsafeRawBufferPointer(copy)
    var reader = ChangeReader(bytes)
    var encoded = ByteBuffer()
    var database = Database(
      hashKey: SipKey(k0: 1, k1: 2), limits: DatabaseLimits(),
      log: LogWriter(after: .zero, chain: 0, identity: 0))
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
  }
}

/// Splices far behind the end would make values of gigabytes; the writer never makes such.
private func isSmall(_ change: Change) -> Bool {
  if case .splice(_, let offset, let bytes, _, _) = change {
    return offset + bytes.count < 1 << 20
  }
  return true
}
