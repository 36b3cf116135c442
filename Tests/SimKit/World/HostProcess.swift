import Base
import NetKit
import Node
import Store
import TPC

/// One life of the real node: the same `Host` that `serve` runs, over the simulated ends.
final class HostProcess: SimProcess {
  private var host: Host<SimTransport, SimDisk>
  private let member: MemberParts?
  private let patience: Interval
  private let directory: SimDirectory
  private var inbox = MemberInbox()
  private var chance: Random

  init(_ parts: ProcessParts) {
    var options = NodeOptions()
    options.durability = parts.swarm.durability
    options.database.memoryByteCountMax = parts.swarm.memoryByteCountMax
    options.database.outcomeByteCountMax = parts.swarm.outcomeByteCountMax
    options.database.outcomesAgeMillis = parts.swarm.outcomesAgeMillis
    options.checkpoints.logByteCountMin = parts.swarm.checkpointLogByteCount
    options.checkpoints.fullGrowthByteCount = 4 << 10
    options.checkpoints.sliceByteCountMin = 512
    options.checkpoints.sliceByteCountMax = parts.swarm.checkpointSliceByteCountMax
    // Small segments bring every border of the log near.
    var diskOptions = DiskOptions()
    diskOptions.segmentByteCountMin = parts.swarm.segmentByteCountMin
    diskOptions.segmentByteCountMax = 4 * parts.swarm.segmentByteCountMin
    diskOptions.sliceByteCount = 4 << 10
    diskOptions.unforcedByteCountMax = 16 << 10
    diskOptions.fillsAhead = !parts.swarm.isWeak
    // In every other life: what is promised is the same.
    diskOptions.bypassesCache = parts.seed & 1 == 1
    var chance = Random(seed: parts.seed)
    let disk = SimDisk(
      directory: parts.directory, timing: parts.diskTiming, prefix: parts.logPrefix,
      options: diskOptions, limits: options.database,
      hashKey: SipKey(k0: chance.next(), k1: chance.next()),
      freshIdentity: chance.next())
    let link = SimTransport(
      port: parts.port, secret: SipKey(k0: parts.secret, k1: ~parts.secret), seed: chance.next())
    options.requiresPassword = parts.swarm.requiresPassword
    let passwords = SimPasswords(timing: parts.diskTiming, seed: parts.seed)
    member = parts.member
    let isLinked = parts.swarm.mesh.isLinked
    if isLinked, let member { options.cluster = member.options(&chance) }
    host = Host(
      link: link, disk: disk, options: options, seed: chance.next(), passwords: passwords)
    host.log = { [log = parts.log] _, line in log(line) }
    directory = parts.directory
    patience = .millis(parts.swarm.patienceMillis)
    if !isLinked, let member {
      host.join(
        as: MemberID(UInt16(member.index + 1)), of: member.count, seed: chance.next(),
        options: parts.swarm.negotiator, patience: patience)
    }
    self.chance = chance
  }

  func turn(at now: Moment) -> ProcessState {
    for (sender, message) in inbox.takeAll() {
      message.withUnsafeBytes {
        host.deliver($0, from: MemberID(UInt16(sender + 1)), at: now)
      }
    }
    let state = host.turn()
    // A member over links knows its cluster once it has recovered, a joiner when it is copied to.
    host.setPatience(patience)
    sendMessages()
    return self.state(of: state)
  }

  /// Of what is ready when the machine ends within the turn, some had left before.
  private func sendMessages() {
    guard let member else { return }
    while let (receiver, message) = host.nextMessage() {
      if directory.isDead, chance.chance(1, in: 2) { continue }
      member.mesh.send(message, from: member.index, to: Int(receiver.number) - 1)
    }
  }

  private func state(of host: HostState) -> ProcessState {
    switch host {
    case .loading, .running: .running
    case .stopped(.requested): .stopped(.requested, "as asked")
    case .stopped(.diskFailed(let fault)): .stopped(.diskFailed, fault.description)
    case .stopped(.unrecoverable(let error)): Self.unrecoverable(error)
    case .stopped(.refused(let sentence)): .stopped(.refused, sentence)
    }
  }

  private static func unrecoverable(_ error: RecoveryError) -> ProcessState {
    switch error {
    case .fault: .stopped(.diskFailed, error.description)
    case .damaged: .stopped(.damaged, error.description)
    case .newerFormat, .inUse: .stopped(.other, error.description)
    }
  }

  func requestStop() { host.requestStop() }

  func take(_ message: [UInt8], from sender: Int) { inbox.add(message, from: sender) }

  var memberView: MemberView? { host.memberView }

  var membershipView: MembershipView? { host.membershipView }
}
