import Base
import Store
import TPC

extension Swarm {
  /// Draws a cluster or none, and its troubles.
  mutating func drawCluster(_ chance: inout Random, _ fixed: Int?) {
    let drawn = chance.chance(1, in: 2) ? [2, 3, 3, 4][chance.below(4)] : 1
    memberCount = fixed ?? drawn
    guard memberCount > 1 else { return }
    durability = .always
    // Writes need every member.
    secondsBetweenDeaths *= memberCount * chance.within(1...2)
    if chance.chance(2, in: 3) { drawPatience(&chance) }
    if chance.chance(2, in: 3) { drawConflicts(&chance) }
    drawMesh(&chance)
    drawNegotiator(&chance)
    if chance.chance(3, in: 4) { lastWordsInThousand = chance.within(300...1_000) }
    if chance.chance(1, in: 3) { drawStorm(&chance) }
    if chance.chance(1, in: 2) {
      negotiator.decisionDelay = .micros(UInt64(chance.within(50...5_000)))
    }
    drawMembership()
  }

  /// Members that are soon up again and die with nearly every word, and a bad network: what many short
  /// lives do to the agreement alone.
  private mutating func drawStorm(_ chance: inout Random) {
    drawConflicts(&chance)
    mesh.isLinked = false
    mesh.latencyMicrosMax = [50, 500, 5_000][chance.below(3)]
    mesh.lossInThousand = chance.within(10...200)
    mesh.oldAtStartMax = chance.within(1...60)
    mesh.millisBetweenCuts = chance.within(100...1_000)
    mesh.cutMillisMax = [50, 500, 1_000][chance.below(3)]
    diskMicrosMax = [50, 1_000, 10_000][chance.below(3)]
    patienceMillis = UInt64(chance.within(100...400))
    lastWordsInThousand = 1_000
    downMillisMax = 20
    stallsInThousand = 0
    clientPatienceMillisMax = 200
  }

  /// Bounds that are soon met, and members that ask and repeat themselves at once.
  private mutating func drawNegotiator(_ chance: inout Random) {
    if chance.chance(1, in: 2) { negotiator.counterStep = 16 }
    if chance.chance(1, in: 2) { negotiator.forgetStep = 4 }
    if chance.chance(1, in: 2) { negotiator.resend = .millis(UInt64(chance.within(5...250))) }
    guard chance.chance(1, in: 2) else { return }
    negotiator.inquiry = .millis(UInt64(chance.within(5...100)))
    negotiator.inquiryOfAll = .millis(UInt64(chance.within(10...300)))
  }

  /// How long a round waits. With less than a few forces take, nothing would ever be committed.
  private mutating func drawPatience(_ chance: inout Random) {
    let drawn: UInt64 = [20, 200, 1_000][chance.below(3)]
    patienceMillis = max(drawn, UInt64(10 * diskMicrosMax / 1_000))
  }

  /// Many clients at few keys, who do not wait long: attempts die, and transactions are aborted.
  private mutating func drawConflicts(_ chance: inout Random) {
    streamClientCount = chance.within(4...9)
    groupCount = chance.within(1...3)
    thinkMicrosMax = [500, 5_000, 20_000][chance.below(3)]
    watchesInThousand = min(watchesInThousand, 60)
    if chance.chance(1, in: 2) { secondsBetweenDeaths = max(1, secondsBetweenDeaths / 4) }
    if chance.chance(1, in: 2) { downMillisMax = 20 }
  }

  private mutating func drawMesh(_ chance: inout Random) {
    mesh.isLinked = chance.chance(1, in: 2)
    mesh.isOrdered = chance.chance(1, in: 2)
    mesh.latencyMicrosMax = [50, 500, 5_000, 30_000][chance.below(4)]
    if chance.chance(1, in: 2) { mesh.lateInThousand = chance.within(1...200) }
    if chance.chance(1, in: 2) { mesh.lossInThousand = chance.within(1...200) }
    if chance.chance(1, in: 2) { mesh.repeatInThousand = chance.within(1...300) }
    if chance.chance(1, in: 2) { mesh.oldInThousand = chance.within(1...100) }
    if chance.chance(2, in: 3) { mesh.oldAtStartMax = chance.within(1...60) }
    if chance.chance(1, in: 2) { mesh.cutAtStartInThousand = chance.within(200...900) }
    if chance.chance(1, in: 2) {
      mesh.millisBetweenCuts = chance.within(200...4_000)
      mesh.cutMillisMax = [50, 500, 3_000][chance.below(3)]
    }
  }
}
