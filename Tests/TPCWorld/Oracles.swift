import Base
import TPC

/// What must hold at the end, when all is quiet.
extension World {
  /// Everybody up, no more faults: runs until nothing is left to do. Returns what is wrong then.
  public func comeToRest() {
    for node in nodes where !removed.contains(node.member) { start(node) }
    for round in 0..<400 {
      // Who was to join, and is not in doubt, asks somebody that is there; its copy begins again
      // when the list of that one changes.
      for node in nodes where outsiders.contains(node.member) && node.resource.staged.isEmpty {
        guard node.isUp,
          let donor = live.max(by: { !$1.resource.epoch.isCovered(by: $0.resource.epoch) })
        else { continue }
        if round == 0 || node.resource.epoch != donor.resource.epoch { enter(node, by: donor) }
      }
      for node in actors { learnOfRemovals(node) }
      for node in actors { force(node) }
      for _ in 0..<20_000 where !network.isEmpty {
        let message = network.removeFirst()
        deliver(message)
        nodes[Int(message.to.number) - 1].isUp ? force(nodes[Int(message.to.number) - 1]) : ()
      }
      if isQuiet { break }
      for node in live { start(node) }
      for node in actors { wake(node) }
      // By force is removed, too, who has left, stopped, and is missed by one that does not know
      // it.
      for gone in departed where !nodes[Int(gone.number) - 1].isUp {
        for node in live { remove(gone, at: node) }
      }
    }
    checkRest()
  }

  private var isQuiet: Bool {
    network.isEmpty
      && live.allSatisfy {
        $0.negotiator.openCount == 0 && $0.negotiator.inDoubt.isEmpty && $0.held.isEmpty
      }
  }

  private func checkRest() {
    for node in live {
      if node.negotiator.lockCount > 0 { fail("member \(node.member) keeps locks") }
      if !node.negotiator.inDoubt.isEmpty { fail("member \(node.member) is left in doubt") }
      if node.negotiator.openCount > 0 { fail("member \(node.member) has open transactions") }
      if !node.resource.staged.isEmpty { fail("member \(node.member) keeps staged work") }
      if node.negotiator.counters.contradictions > 0 {
        fail("member \(node.member) heard a contradiction")
      }
      if node.negotiator.counters.malformed > 0 { fail("member \(node.member) heard nonsense") }
    }
    checkOutcomes()
    checkTables()
    checkMembers()
  }

  private func checkMembers() {
    let members = MemberSet(live.map(\.member))
    for node in live {
      if node.members != members { fail("member \(node.member) has another list") }
      if node.resource.epoch != live[0].resource.epoch {
        fail("member \(node.member) is in another epoch")
      }
    }
  }

  private func checkOutcomes() {
    for (id, request) in begun.sorted(by: { $0.key < $1.key }) {
      let parties = live.filter { request.participants?.contains($0.member) ?? true }
      let appliers = parties.filter { $0.resource.applied.contains(id) }
      if !appliers.isEmpty, appliers.count < parties.count {
        fail("\(id) is committed at \(appliers.map(\.member)) only")
      }
      guard let told = told[id], !parties.isEmpty else { continue }
      if told != !appliers.isEmpty {
        fail("\(id) was told to be \(told ? "committed" : "aborted") and is not")
      }
    }
  }

  private func checkTables() {
    guard let first = live.first else { return }
    for node in live {
      for key in Set(node.resource.table.keys).union(first.resource.table.keys) where key < 100 {
        if node.resource.table[key] != first.resource.table[key] {
          fail("key \(key) differs at members \(first.member) and \(node.member)")
        }
      }
      for (key, value) in node.resource.table {
        let writers = node.resource.applied.filter { begun[$0]?.writes.contains(key) ?? false }
        if value.number != writers.count { fail("key \(key) has lost a change") }
      }
    }
    var operations: [OperationID: TransactionID] = [:]
    for node in live {
      for id in node.resource.applied {
        guard let operation = begun[id]?.operation, operation != .none else { continue }
        if let other = operations[operation], other != id { fail("operation done twice") }
        operations[operation] = id
      }
    }
  }

  func fail(_ sentence: String) { violations.append(sentence) }
}
