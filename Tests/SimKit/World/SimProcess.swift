import Base
import NetKit
import Node
import Store

/// How a node's process stands after a turn.
enum ProcessState {
  case running
  /// It ended by itself, with its reason in words.
  case stopped(StopKind, String)
}

/// Why a node ended by itself.
enum StopKind {
  case requested, damaged, diskFailed, refused, other
}

/// One life of a node, as the world drives it: the real `Host`, or a stand-in for tests of the world.
protocol SimProcess: AnyObject {
  func turn(at now: Moment) -> ProcessState
  func requestStop()
  /// A message of another member, counted from 0.
  func take(_ message: [UInt8], from sender: Int)
  /// Nil for a node alone.
  var memberView: MemberView? { get }
  /// Nil as long as it knows no list.
  var membershipView: MembershipView? { get }
}

/// What a process is made of.
struct ProcessParts {
  var port: SimPort
  var directory: SimDirectory
  var logPrefix: LogPrefix
  var diskTiming: SimDiskTiming
  var swarm: Swarm
  var seed: UInt64
  var secret: UInt64
  /// Nil for a node alone.
  var member: MemberParts?
  /// Takes the lines of its log.
  var log: (String) -> Void
}

/// How the simulated disk spends time; shared by the world and the disk of one life.
final class SimDiskTiming {
  unowned let scheduler: any Scheduler
  var chance: Random
  var microsMax: Int
  var slowInThousand: Int
  var runsEarly: Bool
  /// Wakes the node.
  var wake: () -> Void = {}
  /// Told when what recovery found is not what must be there.
  var breach: (String) -> Void = { _ in }
  /// Events taken and groups started; tells the node whether a turn did something.
  var activity: UInt64 = 0

  init(scheduler: any Scheduler, seed: UInt64, swarm: Swarm) {
    self.scheduler = scheduler
    chance = Random(seed: seed)
    microsMax = swarm.diskMicrosMax
    slowInThousand = swarm.slowDiskInThousand
    runsEarly = swarm.runsGroupsEarly
  }

  /// How long the next request takes: now and then a second and more.
  func latency() -> Interval {
    if chance.chance(slowInThousand, in: 1_000) {
      return .micros(UInt64(chance.below(2_000_000)))
    }
    return .micros(UInt64(10 + chance.below(microsMax)))
  }
}
