import Base
import NetKit
import Store
import TPC

// What a member says of operation ids (DESIGN, guarantee 4).
extension Node {
  /// What became of an id; raises the horizon first where its age demands it. That is a record of
  /// its own: not while the round at hand has to stay open, where an aged id counts as any other.
  mutating func standing(of id: OperationID, _ session: SessionPointer) -> Admission {
    let database = database.unsafelyUnwrapped
    if case .aged = database.pointee.standing(of: id, wallMillis: clockMillis) {
      if let cluster, !mayCloseRound(session, cluster) {
        guard
          case .recorded(let status, let reply) = database.pointee.standing(of: id, wallMillis: nil)
        else { return .new }
        return .duplicate(status, reply)
      }
      closeRound()
    }
    guard case .expired(let mark) = database.pointee.admit(id, wallMillis: clockMillis) else {
      return database.pointee.admit(id, wallMillis: clockMillis)
    }
    if let mark, mark > durable {
      replyWaits = true
      database.pointee.log.hurry()
    }
    return .expired(mark)
  }

  /// `OUTCOME id [SEAL]`: every transaction is prepared here before it commits anywhere, so this
  /// member knows what has become of an id, or that it is not decided yet.
  mutating func outcomeInCluster(_ session: SessionPointer, _ cluster: ClusterPointer) {
    guard let id = OperationID(text: parser.arguments[1]), id != .none else {
      return fail("ERR an operation id is 32 hexadecimal digits in UUIDv7 layout")
    }
    let seals = parser.arguments.count > 2
    if seals, parser.arguments.count > 3 || !parser.arguments[2].isWord("seal") {
      return failSyntax()
    }
    if let refusal = clusterRefusal(Access(changes: false, isWhole: false), cluster) {
      return fail(refusal.text(hasID: false))
    }
    // Without the others nothing is sealed, but what is known here is told.
    let refusal = seals ? clusterRefusal(Access(changes: true, isWhole: false), cluster) : nil
    let isOpen = cluster.pointee.open?.operations.contains(id) ?? false
    var isKnown = false
    if case .recorded = database.unsafelyUnwrapped.pointee.standing(of: id, wallMillis: nil) {
      isKnown = true
    }
    let waits = seals && refusal == nil && !isKnown
    let holder =
      waits
      ? cluster.pointee.negotiator.blocker(of: id, .write, for: waiter(session, cluster))
        ?? cluster.pointee.holderOfAll(
          Access(changes: true, isWhole: false), joins: true, for: waiter(session, cluster))
      : cluster.pointee.negotiator.holder(operation: id)
    if let holder {
      if waits { return block(on: holder, session, cluster) }
      return output.reply(bulk: "in-doubt")
    }
    if isInOpenRound(session, cluster), !isRenewing(cluster),
      case .aged = database.unsafelyUnwrapped.pointee.standing(of: id, wallMillis: clockMillis)
    {
      if waitsForOwnRound(session, cluster) {
        return deferUnit(behind: .round, session, cluster)
      }
      return output.reply(bulk: "expired")
    }
    if isOpen {
      // A request cannot wait for the round that it is in.
      guard cluster.pointee.unit.hasJoined else { return deferBehindRound(session, cluster) }
      return output.reply(bulk: "in-doubt")
    }
    switch standing(of: id, session) {
    case .duplicate(.aborted, _): output.reply(bulk: "aborted")
    case .duplicate: output.reply(bulk: "committed")
    case .expired: output.reply(bulk: "expired")
    case .future where seals:
      fail("IDFUTURE the id is over 60 s ahead of this node's clock (not-applied)")
    case .new, .future:
      guard seals else { return output.reply(bulk: "never-seen") }
      if let refusal { return fail(refusal.text(hasID: false)) }
      let round = openRound(cluster)
      let nothing = UnsafeRawBufferPointer(start: nil, count: 0)
      guard database.unsafelyUnwrapped.pointee.addOutcome(of: id, reply: nothing, failed: true)
      else { return fail(text(of: .transactionTooLarge)) }
      round.operations.append(id)
      keepAge(session, round, cluster)
      cluster.pointee.unit.hasJoined = true
      cluster.pointee.unit.sealed.append(id)
      output.reply(bulk: "aborted")
    }
  }

  /// True when the id was never executed and may be; otherwise the answer has been given.
  mutating func admitInCluster(
    _ id: OperationID, _ session: SessionPointer, _ cluster: ClusterPointer
  ) -> Bool {
    if let open = cluster.pointee.open, open.operations.contains(id) {
      if cluster.pointee.unit.request != nil, cluster.pointee.unit.sealed.contains(id) {
        fail("ERR an id is sealed and used in one UDP message (not-applied)")
        return false
      }
      deferBehindRound(session, cluster)
      return false
    }
    return answerUnlessNew(standing(of: id, session))
  }

  /// Answers the command at hand, or defers its unit, where its id is known: as it was answered
  /// then, whoever is away and whatever is locked now. False: there is none, or it is new.
  mutating func settlesID(_ session: SessionPointer, _ cluster: ClusterPointer) -> Bool {
    guard let id = operationID, let database else { return false }
    cluster.pointee.unit.isTouched = true
    cluster.pointee.unit.hasID = true
    guard clusterRefusal(Access(changes: false, isWhole: false), cluster) == nil,
      !isUndecided(id, cluster)
    else { return false }
    switch database.pointee.standing(of: id, wallMillis: clockMillis) {
    case .recorded, .expired:
      // Not within the round of earlier commands, which may come to nothing.
      if waitsForOwnRound(session, cluster), !isRenewing(cluster) {
        deferUnit(behind: .round, session, cluster)
        return true
      }
      return !answerUnlessNew(standing(of: id, session))
    case .aged:
      guard isInOpenRound(session, cluster), !isRenewing(cluster) else {
        return !answerUnlessNew(standing(of: id, session))
      }
      guard waitsForOwnRound(session, cluster) else {
        fail("ABORTED the id is older than --outcomes-age (unknown)")
        return true
      }
      deferUnit(behind: .round, session, cluster)
      return true
    case .new, .future: return false
    }
  }

  /// Whether a transaction that is under way has taken the id.
  private func isUndecided(_ id: OperationID, _ cluster: ClusterPointer) -> Bool {
    cluster.pointee.negotiator.holder(operation: id) != nil
      || cluster.pointee.open?.operations.contains(id) ?? false
  }
}
