import Base
import Store
import TPC

/// Everything about one run that its seed decides: which faults there are and how often, what the
/// clients do, and how tight the node's bounds are.
///
/// Rates differ from seed to seed, and each kind of trouble is absent from many: mild faults drawn
/// alike every time hide what only one kind alone, or a great deal of it, brings out.
struct Swarm {
  var seed: UInt64

  // Clients.
  var streamClientCount = 3
  var datagramClientCount = 1
  var thinkMicrosMax = 20_000
  var pipelineCountMax = 1
  var safetySeconds = 12
  var groupCount = 4
  var callsPerGroupMax = 100
  var largeValueByteCountMax = 0
  var flushInThousand = 0
  var usesExpiry = true
  var watchesInThousand = 0
  var requiresPassword = false
  var forgetfulInThousand = 50
  var clientPatienceMillisMax = 4_000

  // Network.
  var network = NetworkFaults()

  /// How often a message over UDP asks for more than one call.
  var companyInThousand = 0

  // Disk.
  var diskMicrosMax = 2_000
  var slowDiskInThousand = 0
  var runsGroupsEarly = false
  var callsBetweenFailures = 0
  var failsForcesOnly = false
  var fullDiskEverySeconds = 0

  /// When a write is acknowledged. With a weak one a death takes back what was not handed over or
  /// forced, so copies that come later may rightly be executed again: there are none.
  var durability = Store.Durability.always
  var isWeak: Bool { durability != .always }

  // Deaths of the node.
  var secondsBetweenDeaths = 3
  var deathsAtEffects = true
  var losesPower = true
  var killsProcess = true
  var stopsCleanly = true
  var diesInRecoveryInThousand = 0
  var downMillisMax = 500
  var stallsInThousand = 0
  var flipsBits = false

  // Clock.
  var driftPartsPerMillion = 0
  var secondsBetweenSteps = 0
  var stepSecondsMax = 0
  var clientSkewMillisMax = 0

  // Members of a cluster, if there are more than one.
  var memberCount = 1
  var mesh = MeshFaults()
  var negotiator = NegotiatorOptions()
  var patienceMillis: UInt64 = 5_000
  /// How often a life is to end right after a word to another member.
  var lastWordsInThousand = 0
  var membership = MembershipFaults()

  // The node's bounds.
  var memoryByteCountMax = 64 << 20
  var outcomeByteCountMax = 1 << 20
  var outcomesAgeMillis: Int64 = 24 * 3_600 * 1_000
  var checkpointLogByteCount: UInt64 = 64 << 20
  var segmentByteCountMin = 1 << 20
  var checkpointSliceByteCountMax = 4 << 20

  /// Draws everything from the seed.
  ///
  /// - Parameter memberCount: nil: drawn as well.
  init(seed: UInt64, memberCount: Int? = nil) {
    self.seed = seed
    var chance = Random(seed: seed ^ 0x5357_4152_4D00_0000)
    drawClients(&chance)
    drawNetwork(&chance)
    drawDisk(&chance)
    drawDeaths(&chance)
    drawClock(&chance)
    drawBounds(&chance)
    drawDurability(&chance)
    if chance.chance(1, in: 2) { watchesInThousand = chance.within(20...300) }
    if chance.chance(1, in: 6) {
      requiresPassword = true
      datagramClientCount = 0
    }
    drawCluster(&chance, memberCount)
    drawMessages()
  }

  /// Draws by itself, so that what was drawn before stays as it is.
  private mutating func drawMessages() {
    var chance = Random(seed: seed ^ 0x4D45_5353_4147_4500)
    if chance.chance(1, in: 2) { companyInThousand = chance.within(50...600) }
    // More than all units of a round together may change.
    if datagramClientCount > 0, chance.chance(1, in: 40) {
      largeValueByteCountMax = 700_000
      network.windowByteCount = max(network.windowByteCount, largeValueByteCountMax / 200)
    }
  }

  private mutating func drawClients(_ chance: inout Random) {
    streamClientCount = chance.within(1...5)
    datagramClientCount = chance.chance(2, in: 3) ? chance.within(1...3) : 0
    thinkMicrosMax = [2_000, 20_000, 100_000][chance.below(3)]
    pipelineCountMax = chance.chance(1, in: 2) ? 1 : chance.within(2...6)
    safetySeconds = chance.within(6...16)
    groupCount = chance.within(2...8)
    callsPerGroupMax = chance.within(30...140)
    if chance.chance(1, in: 3) {
      largeValueByteCountMax = [2_000, 20_000, 200_000][chance.below(3)]
    }
    if chance.chance(1, in: 6) { flushInThousand = chance.within(1...10) }
    usesExpiry = chance.chance(2, in: 3)
    forgetfulInThousand = [0, 50, 300][chance.below(3)]
  }

  private mutating func drawNetwork(_ chance: inout Random) {
    network.latencyMicrosMax = [50, 500, 5_000, 30_000][chance.below(4)]
    if chance.chance(1, in: 2) { network.prefix = 0x0A00_0000 }
    if chance.chance(1, in: 2) { network.lateInThousand = chance.within(1...200) }
    if chance.chance(1, in: 2) { network.shortInThousand = chance.within(10...900) }
    if chance.chance(1, in: 2) { network.resetInThousand = chance.within(1...20) }
    if chance.chance(1, in: 4) { network.windowByteCount = chance.within(1...4_096) }
    // Large values through a window of a few bytes take hours and show nothing that small ones do not.
    network.windowByteCount = max(network.windowByteCount, largeValueByteCountMax / 200)
    if chance.chance(2, in: 3) { network.lossInThousand = chance.within(1...300) }
    if chance.chance(1, in: 2) { network.repeatInThousand = chance.within(1...300) }
    if chance.chance(1, in: 3) { network.damageInThousand = chance.within(1...100) }
  }

  private mutating func drawDisk(_ chance: inout Random) {
    diskMicrosMax = [50, 1_000, 10_000, 50_000][chance.below(4)]
    if chance.chance(1, in: 3) { slowDiskInThousand = chance.within(1...30) }
    runsGroupsEarly = chance.chance(1, in: 2)
    if chance.chance(1, in: 4) { callsBetweenFailures = [300, 2_000, 10_000][chance.below(3)] }
    failsForcesOnly = chance.chance(1, in: 2)
    if chance.chance(1, in: 4) { fullDiskEverySeconds = chance.within(2...6) }
  }

  private mutating func drawDeaths(_ chance: inout Random) {
    secondsBetweenDeaths = chance.within(1...6)
    deathsAtEffects = chance.chance(3, in: 4)
    losesPower = chance.chance(5, in: 6)
    killsProcess = chance.chance(1, in: 2)
    stopsCleanly = chance.chance(1, in: 3)
    if chance.chance(1, in: 2) { diesInRecoveryInThousand = chance.within(50...500) }
    downMillisMax = [20, 500, 4_000][chance.below(3)]
    if chance.chance(1, in: 4) { stallsInThousand = chance.within(1...10) }
    flipsBits = chance.chance(1, in: 6)
  }

  private mutating func drawClock(_ chance: inout Random) {
    if chance.chance(1, in: 2) { driftPartsPerMillion = chance.within(-500...500) }
    if chance.chance(1, in: 3) {
      secondsBetweenSteps = chance.within(1...6)
      stepSecondsMax = [1, 60, 3_600][chance.below(3)]
    }
    if chance.chance(1, in: 3) { clientSkewMillisMax = [100, 5_000, 90_000][chance.below(3)] }
  }

  private mutating func drawBounds(_ chance: inout Random) {
    if chance.chance(1, in: 4) { memoryByteCountMax = chance.within(20_000...200_000) }
    if chance.chance(1, in: 2) { outcomeByteCountMax = chance.within(500...20_000) }
    if chance.chance(1, in: 4) { outcomesAgeMillis = Int64(chance.within(500...20_000)) }
    if chance.chance(2, in: 3) {
      checkpointLogByteCount = UInt64([8, 64, 256][chance.below(3)] << 10)
    }
    segmentByteCountMin = [2, 8, 32, 128][chance.below(4)] << 10
    checkpointSliceByteCountMax = [1, 16, 4_096][chance.below(3)] << 10
  }

  private mutating func drawDurability(_ chance: inout Random) {
    guard chance.chance(1, in: 4) else { return }
    durability = chance.chance(2, in: 3) ? .everySecond : .never
    datagramClientCount = 0
  }
}
