import Base
import TPC

extension World {
  /// Appends what decides the future of the world, but for times and chance.
  func digest(into bytes: inout ByteBuffer) {
    for node in nodes { digest(node, into: &bytes) }
    for line in network.map(Self.words).sorted() { bytes.append(string: line) }
    for (id, isCommit) in told.sorted(by: { $0.key < $1.key }) {
      bytes.append(string: "\(id) \(isCommit)")
    }
  }

  private func digest(_ node: WorldNode, into bytes: inout ByteBuffer) {
    node.negotiator.digest(into: &bytes)
    node.resource.digest(into: &bytes)
    for held in node.held {
      bytes.append(little: node.resource.log.count - held.mark)
      switch held.what {
      case .message(let to, let message):
        bytes.append(little: to.number)
        bytes.append(message)
      case .ticket: bytes.append(UInt8(0))
      }
    }
    for id in node.sessions.keys.sorted() { id.encode(into: &bytes) }
    for id in node.renewing { id.encode(into: &bytes) }
  }

  private static func words(_ message: Message) -> String {
    "\(message.from)-\(message.to) \(message.bytes)"
  }
}

extension ToyResource {
  /// What is on disk, as the state that it means, and what is not, record by record.
  func digest(into bytes: inout ByteBuffer) {
    var durable = self
    durable.crash(keeping: forcedCount)
    durable.digestState(into: &bytes)
    digestState(into: &bytes)
    for record in log[forcedCount...] { bytes.append(string: "\(record)") }
    bytes.append(hasConflict ? 1 : 0)
  }

  private func digestState(into bytes: inout ByteBuffer) {
    for (key, value) in table.sorted(by: { $0.key < $1.key }) {
      bytes.append(key)
      bytes.append(little: value.number)
      bytes.append(little: value.version)
    }
    for (id, body) in staged.sorted(by: { $0.key < $1.key }) {
      id.encode(into: &bytes)
      bytes.append(body)
    }
    for (key, note) in notes.sorted(by: { $0.key.lexicographicallyPrecedes($1.key) }) {
      bytes.append(key)
      bytes.append(note)
    }
    for id in applied { id.encode(into: &bytes) }
    bytes.append(little: members.bits)
    bytes.append(little: epoch.number)
  }
}
