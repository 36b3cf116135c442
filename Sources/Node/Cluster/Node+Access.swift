import Base
import Store

// What a command touches.
extension Node {
  /// What a command needs of the data.
  struct Access {
    /// It changes data.
    var changes: Bool
    /// It reads or changes all keys.
    var isWhole: Bool
    /// It changes all keys.
    var changesAll = false
  }

  /// Why the cluster does not take a command now. It is not recorded: all members would have to
  /// agree to that. So it says nothing of other copies under the same id, which may be under way.
  struct Refusal {
    private let words: String

    init(_ code: String, _ reason: String) { words = "\(code) \(reason)" }

    func text(hasID: Bool) -> String { words + (hasID ? " (unknown)" : " (not-applied)") }
  }

  /// Nil for a command that touches no data.
  func access(of spec: UnsafePointer<CommandSpec>, _ session: SessionPointer) -> Access? {
    let flags = spec.pointee.flags
    switch spec.pointee.command {
    case .exec:
      guard let queue = session.pointee.queue, !queue.failed else { return nil }
      var access = Access(changes: operationID != nil, isWhole: false)
      visitQueue(queue) { spec, _ in
        let changes = spec.pointee.flags.contains(.write)
        if changes { access.changes = true }
        if isWhole(spec) {
          access.isWhole = true
          if changes { access.changesAll = true }
        }
      }
      return access
    case .watch: return Access(changes: false, isWhole: false)
    default:
      guard !flags.isDisjoint(with: [.write, .readOnly]) else { return nil }
      return Access(
        changes: flags.contains(.write) || operationID != nil, isWhole: isWhole(spec),
        changesAll: flags.contains(.write) && isWhole(spec))
    }
  }

  private func isWhole(_ spec: UnsafePointer<CommandSpec>) -> Bool {
    spec.pointee.firstKey == 0 && !spec.pointee.flags.isDisjoint(with: [.write, .readOnly])
  }

  /// Calls `body` for each key of the command at hand; of EXEC those of what was queued and
  /// watched.
  func visitKeys(
    of spec: UnsafePointer<CommandSpec>, _ queue: TransactionQueue?, _ watches: [Watch],
    _ body: (UnsafeRawBufferPointer, _ isWritten: Bool) -> Void
  ) {
    if spec.pointee.command != .exec {
      return Self.visitKeys(
        of: spec, count: parser.arguments.count, argument: { parser.arguments[$0] }, body)
    }
    for watch in watches { watch.key.withUnsafeBytes { body($0, false) } }
    guard let queue else { return }
    visitQueue(queue) { spec, arguments in
      Self.visitKeys(of: spec, count: arguments.count, argument: { arguments[$0] }, body)
    }
  }

  private static func visitKeys(
    of spec: UnsafePointer<CommandSpec>, count: Int, argument: (Int) -> UnsafeRawBufferPointer,
    _ body: (UnsafeRawBufferPointer, _ isWritten: Bool) -> Void
  ) {
    guard spec.pointee.firstKey > 0 else { return }
    let last = spec.pointee.lastKey > 0 ? spec.pointee.lastKey : count + spec.pointee.lastKey
    let isWritten = spec.pointee.flags.contains(.write)
    for index in stride(from: spec.pointee.firstKey, through: last, by: spec.pointee.step) {
      body(argument(index), isWritten)
    }
  }

  /// Calls `body` for each queued command with its arguments.
  func visitQueue(
    _ queue: TransactionQueue,
    _ body: (UnsafePointer<CommandSpec>, [UnsafeRawBufferPointer]) -> Void
  ) {
    queue.bytes.withUnsafeBytes { bytes in
      var offset = 0
      var length = 0
      for count in queue.argumentCounts {
        var arguments: [UnsafeRawBufferPointer] = []
        for _ in 0..<count {
          let end = offset + Int(queue.argumentLengths[length])
          arguments.append(UnsafeRawBufferPointer(rebasing: bytes[offset..<end]))
          offset = end
          length += 1
        }
        guard let spec = commands.find(arguments[0]) else {
          invariantFailed("only known commands are queued")
        }
        body(spec, arguments)
      }
    }
  }
}
