import Base

/// How the list of members changes; a seed draws one, mostly none.
struct MembershipFaults {
  /// Machines besides those of the first members, on which nothing runs at first.
  var spareCount = 0
  /// The mean pause between two changes; 0: the list stays as it is.
  var millisBetweenChanges = 0
  /// A member may be stopped for good and removed by force, once.
  var removesByForce = false

  var areOn: Bool { millisBetweenChanges > 0 }
}

extension Swarm {
  /// Draws changes of the member list for some clusters. They have a source of their own: the other
  /// worlds are what they are without them.
  mutating func drawMembership() {
    var chance = Random(seed: seed ^ 0x4D45_4D42_4552_0000)
    guard chance.chance(1, in: 4) else { return }
    // Only links tell members who they are.
    mesh.isLinked = true
    membership.spareCount = chance.within(1...2)
    membership.millisBetweenChanges = chance.within(200...2_000)
    membership.removesByForce = chance.chance(2, in: 3)
    safetySeconds = chance.within(8...16)
    patienceMillis = max(patienceMillis, 200)
    secondsBetweenDeaths *= 2
  }
}
