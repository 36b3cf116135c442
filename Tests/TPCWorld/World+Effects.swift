import Base
import TPC

/// One turn of a member: a call, or several, the flush, the effects in order.
extension World {
  func run(
    _ node: WorldNode,
    _ call: (inout Negotiator, Instant, inout ToyResource, inout Effects) -> Void
  ) {
    var effects = Effects()
    let before = node.members
    call(&node.negotiator, node.now, &node.resource, &effects)
    note(changeOf: node, since: before)
    if !leavesTurnOpen { node.negotiator.flush(stamp: Stamp(nanos: 1), at: node.now, &effects) }
    violations += node.resource.violations
    node.resource.violations = []
    carryOut(effects, node)
  }

  /// Ends the turn that a member is in.
  public func endTurn(_ node: WorldNode) {
    if node.isUp { run(node) { _, _, _, _ in } }
  }

  /// The first member that applies a change shows what has become of it.
  private func note(changeOf node: WorldNode, since before: MemberSet) {
    let (come, gone) = (node.members.subtracting(before), before.subtracting(node.members))
    if come.isEmpty, gone.isEmpty { return }
    write(
      "node \(node.member): members are \(node.members.map(\.number)), epoch \(node.resource.epoch)"
    )
    outsiders = outsiders.subtracting(come)
    departed = departed.subtracting(come).union(gone)
  }

  private func carryOut(_ effects: borrowing Effects, _ node: WorldNode) {
    var renewals: [TransactionID] = []
    for effect in effects.list {
      // What is written of a run does not move its crashes.
      if case .step(let step) = effect {
        write("\(step)")
        continue
      }
      if let left = effectsBeforeCrash {
        effectsBeforeCrash = left > 0 ? left - 1 : nil
        if left == 0 {
          crash(node, keeping: node.resource.forcedCount)
          return
        }
      }
      switch effect {
      case .send(let to, let range, let isGated):
        let bytes = Array(UnsafeRawBufferPointer(rebasing: effects.bytes.bytes[range]))
        if isGated {
          hold(.message(to: to, bytes), node)
        } else {
          network.append(Message(from: node.member, to: to, bytes: bytes))
        }
      case .notify(let ticket): hold(.ticket(ticket), node)
      case .committed(let id): tell(id, true, node)
      case .aborted(let id, _): tell(id, false, node)
      case .unknown(let id):
        write("node \(node.member): outcome of \(id) unknown")
        calledUnknown.insert(id)
      case .renew(let id, let attempt):
        node.attempts[id] = attempt
        renewals.append(id)
      case .unlocked:
        renewals += node.renewing
        node.renewing = []
      case .step: break
      case .refusal(_, _, _, let range):
        details.append(Array(UnsafeRawBufferPointer(rebasing: effects.bytes.bytes[range])))
      case .urgent, .result: break
      }
    }
    for id in renewals where node.isUp { renew(id, node) }
  }

  private func hold(_ what: WorldNode.Held.What, _ node: WorldNode) {
    node.held.append(WorldNode.Held(mark: node.resource.log.count, what: what))
    if node.resource.forcedCount == node.resource.log.count { force(node) }
  }

  private func tell(_ id: TransactionID, _ isCommit: Bool, _ node: WorldNode) {
    write("node \(node.member): tells \(isCommit ? "committed" : "aborted") of \(id)")
    node.sessions[id] = nil
    if let before = told[id], before != isCommit {
      violations.append("\(id) was told to be committed and to be aborted")
    }
    told[id] = isCommit
  }

  private func renew(_ id: TransactionID, _ node: WorldNode) {
    guard let request = node.sessions[id] else { return }
    nextStamp += 1
    let work = node.body(request, version: nextStamp).work()
    var outcome = Beginning.notReady
    run(node) {
      outcome = $0.renew(id, work, at: $1, &$2, &$3)
      if case .started = outcome { self.give(request, id, node.attempts[id] ?? .first, $2) }
    }
    if outcome == .conflict { node.renewing.append(id) }
  }
}
