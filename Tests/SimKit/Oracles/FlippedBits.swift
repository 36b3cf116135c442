import Base
import Store

/// One bit flips in a copy of what a node left on its disk: recovery must find it, or give exactly the
/// data that it gives without the flip, or cut no more than the format cannot tell from a torn tail.
///
/// That is the last group that is there (with weak durability the groups since the last force, which
/// count as one): with nothing valid behind it, nothing proves that it had been durable. What is left
/// of it must be a prefix, record by record. A flip anywhere else in what recovery reads is damage.
struct FlippedBits {
  /// What a recovery of a directory came to.
  private enum Finding {
    case refused
    case failed(String)
    case recovered(Contents)
  }

  private struct Contents {
    var through: Mark
    /// All that the database holds, as a checkpoint would.
    var bytes: [UInt8]
    var cut: (file: String, offset: Int)?
  }

  let directory: SimDirectory
  let logPrefix: LogPrefix
  private static let trialCount = 3

  /// Tries a few bits; answers how many, and what is wrong.
  func run(_ chance: inout Random) -> (count: Int, breach: String?) {
    let seed = chance.next()
    guard case .recovered(let right) = Self.recover(directory.copy(seed: seed)) else {
      return (0, nil)
    }
    for trial in 1...Self.trialCount {
      let copy = directory.copy(seed: chance.next())
      guard let place = copy.flipBit() else { return (trial - 1, nil) }
      if let breach = judge(Self.recover(copy), right, seed: seed) {
        let text = "bit \(place.bit) of byte \(place.byte) of \(place.file) flipped: \(breach)"
        return (trial, text)
      }
    }
    return (Self.trialCount, nil)
  }

  private func judge(_ finding: Finding, _ right: Contents, seed: UInt64) -> String? {
    switch finding {
    case .refused: return nil
    case .failed(let text): return text
    case .recovered(let found):
      if found.through == right.through {
        return found.bytes == right.bytes ? nil : "wrong data was served"
      }
      let first = logPrefix.firstOfUnit(with: right.through)
      guard found.through < right.through, found.through.next >= first, let cut = found.cut else {
        return "recovered through \(found.through.number); without the flip through "
          + "\(right.through.number), whose group begins with \(first.number)"
      }
      let shorter = directory.copy(seed: seed)
      shorter.blank(cut.file, from: cut.offset)
      guard case .recovered(let prefix) = Self.recover(shorter), prefix.bytes == found.bytes else {
        return "what is left is no prefix"
      }
      return nil
    }
  }

  private static func recover(_ directory: SimDirectory) -> Finding {
    var worker = DiskWorker(
      fileSystem: SimFileSystem(directory: directory), databaseLimits: DatabaseLimits(),
      hashKey: SipKey(k0: 1, k1: 2), freshIdentity: 3)
    do throws(RecoveryError) {
      var database = try worker.recover { _, _ in }
      var cursor = CheckpointCursor()
      var bytes = ByteBuffer()
      while database.checkpointSlice(&cursor, into: &bytes, byteCountMax: .max) {}
      let summary = worker.summary
      let cut = summary.cutByteCount > 0 ? (summary.cutFile, Int(summary.cutOffset)) : nil
      return .recovered(
        Contents(through: database.log.appended, bytes: Array(bytes.bytes), cut: cut))
    } catch {
      switch error {
      case .damaged, .newerFormat: return .refused
      case .fault, .inUse: return .failed(error.description)
      }
    }
  }
}
