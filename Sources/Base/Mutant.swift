#if MUTANTS
  /// Bugs planted on purpose, so that the simulator can show that it finds such bugs.
  ///
  /// They exist only in builds with `-Xswiftc -DMUTANTS`, never in what is shipped, and one is
  /// chosen at run time. docs/simulator.md tells where each stands.
  public enum Mutant: String, CaseIterable, Sendable {
    /// Groups are written and reported durable without a force.
    case skipForce = "skip-the-force"
    /// Replies to changes do not wait at the gate.
    case replyBeforeDurable = "reply-before-durable"
    /// Recovery drops the recorded outcomes.
    case forgetOutcomes = "forget-outcomes-at-restart"
    /// Recovery believes a record whose checksum is wrong.
    case serveTornRecord = "serve-a-torn-record"
    /// A full table of outcomes drops the oldest and leaves the horizon where it is.
    case evictSilently = "evict-an-outcome-without-raising-the-horizon"
    /// Recovery reads what the system's cache holds, after a failed force too.
    case believeTheCache = "believe-the-cache"
    /// The disk reports as forced what is only written.
    case claimForce = "claim-a-force"
    /// With durability `every-second`, nothing is forced.
    case forgetSecond = "forget-the-second"
    /// A watched key that is gone counts as unchanged.
    case overlookAbsence = "overlook-absence"

    /// The one that is at work; nil: none. Set before anything runs.
    nonisolated(unsafe) public static var active: Mutant?
  }
#endif
