import Base

extension Negotiator {
  /// Appends what decides its behaviour, but for times and chance: equal bytes, equal futures. For
  /// explorers that must know a state when they see it again.
  public func digest(into bytes: inout ByteBuffer) {
    bytes.append(little: members.bits)
    bytes.append(little: epoch.number)
    for slot in entries.sorted(where: { _ in true }) { digest(entries[slot], into: &bytes) }
    for waiting in awaited[awaitedHead...] {
      bytes.append(little: lastTicket.number - waiting.ticket.number)
      digest(waiting.what, into: &bytes)
    }
    for value in [nextCounter, ceiling, durableCeiling, lowWater, durableLowWater] {
      bytes.append(little: value)
    }
    for member in members {
      bytes.append(little: coordinator(member).horizon)
      bytes.append(little: coordinator(member).mark)
    }
  }

  private func digest(_ entry: Entry, into bytes: inout ByteBuffer) {
    entry.id.encode(into: &bytes)
    bytes.append(little: entry.attempt.number)
    bytes.append(entry.stage.rawValue)
    bytes.append(little: entry.participants.bits)
    bytes.append(little: entry.heard.bits)
    bytes.append(little: entry.lower.number)
    bytes.append(entry.lock >= 0 ? 1 : 0)
    bytes.append(entry.wasCalledUnknown ? 1 : 0)
    bytes.append(entry.reason.rawValue)
  }

  private func digest(_ what: Awaited.What, into bytes: inout ByteBuffer) {
    switch what {
    case .ownVote(let id, let attempt), .death(let id, let attempt):
      id.encode(into: &bytes)
      bytes.append(little: attempt.number)
    case .finalAbort(let id): id.encode(into: &bytes)
    case .ceiling(let value), .lowWater(let value): bytes.append(little: value)
    }
  }
}
