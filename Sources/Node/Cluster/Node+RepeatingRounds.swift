import Base
import NetKit
import Store
import TPC

// Rounds that came to nothing: their units are run again, together or each alone.
extension Node {
  /// Refuses a round of one unit; the units of another one are each tried alone, once the turn's
  /// commands are done, as only some may be to blame.
  mutating func refuseOrPart(_ round: Round, _ text: String, _ cluster: ClusterPointer) {
    if round.units.count > 1 {
      cluster.pointee.parted.append(round)
    } else {
      refuse(round, text, cluster)
    }
  }

  /// Gives the units of such rounds back.
  mutating func partRounds(_ cluster: ClusterPointer) {
    while let round = cluster.pointee.parted.popLast() { giveBack(round, alone: true, cluster) }
  }

  /// Gives the units of a round that has come to nothing back to who sent them, to be run from
  /// their beginning; `alone`: each in a round of its own.
  mutating func giveBack(_ round: Round, alone: Bool, _ cluster: ClusterPointer) {
    for unit in round.units.reversed() {
      if let head = unit.request {
        cluster.pointee.blockedRequests.append(
          BlockedRequest(
            link: unit.link, head: head, bytes: [UInt8](round.bytes(of: unit)), isAlone: alone))
        cluster.pointee.blockedByteCount += unit.input.count
        continue
      }
      guard let session = sessions[unit.link] else { continue }
      session.pointee.tail.prepend(round.bytes(of: unit))
      session.pointee.progress = .none
      if unit.queue != nil { session.pointee.queue = unit.queue }
      if !unit.watches.isEmpty { session.pointee.watches = unit.watches }
      if alone { session.pointee.aloneCount += 1 }
      inputByteCount += unit.input.count
    }
    cluster.pointee.mayUnblock = true
    release(round)
  }

  /// An attempt has died of a conflict: the next one is due.
  mutating func renew(
    _ id: TransactionID, _ attempt: Attempt, _ cluster: ClusterPointer
  ) {
    guard let round = cluster.pointee.rounds.removeValue(forKey: id) else { return }
    round.attempt = attempt
    cluster.pointee.counters.conflicts &+= 1
    putOff(round, id, cluster)
    cluster.pointee.mayUnblock = true
  }

  /// Lets a round wait until something is unlocked.
  mutating func putOff(_ round: Round, _ id: TransactionID, _ cluster: ClusterPointer) {
    cluster.pointee.rounds[id] = nil
    if round.waitsSince == nil { round.waitsSince = now.instant }
    let at = cluster.pointee.renewals.firstIndex { id < $0.id.unsafelyUnwrapped }
    cluster.pointee.renewals.insert(round, at: at ?? cluster.pointee.renewals.count)
  }

  /// Runs those rounds again whose keys are free now.
  mutating func tryRenewals(_ cluster: ClusterPointer) {
    var index = 0
    while index < cluster.pointee.renewals.count {
      let round = cluster.pointee.renewals[index]
      if rerun(round, cluster) {
        leavePlace(round, cluster)
        cluster.pointee.renewals.remove(at: index)
        closeRound()
        // A change that has to wait after all stands where it stood.
        let rest = cluster.pointee.renewals
        if index < rest.count, rest[index] === round { index += 1 }
      } else {
        takePlace(round, cluster)
        index += 1
      }
    }
  }

  /// Runs a round's units once more. False, and nothing is done, when a key is not free.
  private mutating func rerun(_ round: Round, _ cluster: ClusterPointer) -> Bool {
    invariant(cluster.pointee.open == nil, "one round is open at a time")
    guard let database else { return false }
    // Its commands look for themselves, but there may be none, or their clients have gone.
    if round.change != nil,
      cluster.pointee.negotiator.blocker(of: Cluster.allKeys, .write, for: round.id) != nil
    {
      return false
    }
    let before = round.restart(hashKey: cluster.pointee.hashKey)
    cluster.pointee.open = round
    database.pointee.begin(multi: true)
    for unit in before.units {
      let bytes = UnsafeRawBufferPointer(rebasing: before.input.bytes[unit.input])
      guard rerun(unit, bytes, cluster) else {
        database.pointee.rollback()
        cluster.pointee.open = nil
        round.restore(before)
        return false
      }
      if before.units.count > 1, isOverBound(database) {
        database.pointee.rollback()
        cluster.pointee.open = nil
        round.restore(before)
        abandon(round, cluster)
        return true
      }
    }
    return true
  }

  /// What the units of a round change is more than before, as their keys hold more by now, and more
  /// than a transaction may: each is to be one.
  private func isOverBound(_ database: UnsafeMutablePointer<Database>) -> Bool {
    database.pointee.log.recordByteCount > options.database.transactionByteCountMax
  }

  private mutating func abandon(_ round: Round, _ cluster: ClusterPointer) {
    guard let database, let id = round.id else { return }
    cluster.pointee.rounds[id] = round
    var resource = storeResource(database)
    cluster.pointee.negotiator.abandon(
      id, .invalid, at: now.instant, &resource, &cluster.pointee.effects)
    carryOutEffects(cluster)
  }

  /// Runs one unit in the round that is open again. False when it would have to wait.
  private mutating func rerun(
    _ unit: RoundUnit, _ bytes: UnsafeRawBufferPointer, _ cluster: ClusterPointer
  ) -> Bool {
    if let head = unit.request {
      var wait: Wait?
      return runRequest(bytes, on: unit.link, head, &wait, cluster)
    }
    // Its client has gone: nobody waits for it.
    guard let session = sessions[unit.link] else { return true }
    // Of a session that waits for anything but its EXEC, what it watches is for a later one.
    let watches = session.pointee.watches
    if unit.queue != nil { session.pointee.watches = unit.watches }
    session.pointee.queue = unit.queue
    cluster.pointee.unit = UnitAtHand(bytes: bytes, queue: unit.queue, watches: unit.watches)
    var progress = ParseProgress.none
    guard case .command = parser.parse(bytes, &progress, authenticated: true) else {
      invariantFailed("a unit of a round is a whole command")
    }
    executeOne(session)
    session.pointee.queue = nil
    session.pointee.watches = watches
    return !cluster.pointee.unit.isDeferred
  }
}
