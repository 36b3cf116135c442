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
    /// Recovery cuts where a record is broken, though others prove that it had been durable.
    case cutDurable = "cut-what-was-durable"
    /// Commands are executed before the password was given.
    case openDoor = "open-the-door"

    // In a member of a cluster, found by the clusters of `simulate`.

    /// Reads at the coordinator do not wait for its own prepared transactions.
    case readAtCoordinator = "read-not-waiting-at-the-coordinator"
    /// A read of one key goes by whom the one before it waited for.
    case awaitedIsKept = "read-passes-who-was-prepared-before-it"
    /// Who waited for keys keeps its place in line for ever.
    case placeIsKept = "place-in-line-is-kept"
    /// A round is answered when it is begun.
    case replyBeforeDecision = "reply-before-decision"
    /// The ids of a round's commands are neither locked nor compared.
    case operationNotInWork = "operation-id-not-in-work"
    /// Keys that are only read are not locked.
    case readsNotLocked = "reads-not-locked"
    /// Messages that claim a force leave without it.
    case memberGateOpen = "gate-to-members-open"
    /// After a restart the negotiator gets none of its notes back.
    case forgetNotes = "forget-notes-at-restart"

    // In TPC, found by `explore` as well.

    /// Votes and answers do not wait until what they say is durable.
    case voteUngated = "send-before-durable"
    /// The coordinator decides when one vote is still missing.
    case commitBeforeAllVotes = "reply-before-all-votes"
    /// A no is counted as if it were a yes.
    case ignoreNo = "ignore-a-no"
    /// The final abort is told before it is durable.
    case abortSentUnforced = "abort-sent-before-its-force"
    /// The next attempt begins before the death of the last is durable.
    case attemptGivenUpUnforced = "attempt-given-up-without-a-force"
    /// Recovery counts members that are prepared for another attempt.
    case attemptsMixed = "attempts-mixed-in-recovery"
    /// Votes, decisions and answers are taken for whatever attempt is known.
    case attemptMissing = "attempt-missing-in-answers"
    /// A refusal is told before it is durable.
    case refusalUnforced = "refusal-unforced"
    /// The coordinator counts its own vote before it is durable.
    case ownVoteUngated = "own-vote-ungated"
    /// A commit is acknowledged before its record is durable.
    case acknowledgeAtAppend = "commit-acknowledged-at-append"
    /// A commit is forgotten after some time, whoever has not acknowledged it.
    case forgetByAge = "outcome-forgotten-by-age-alone"
    /// The horizon is kept in memory only.
    case horizonUnforced = "horizon-not-recorded"
    /// A restarted coordinator aborts what nobody answers about in time.
    case restartedCoordinatorTimesOut = "coordinator-aborts-by-timeout-after-restart"
    /// A prepare that waited is granted without a further check.
    case queuedGrantedUnchecked = "queued-prepare-granted-unchecked"
    /// Unlocking a name takes the locks of others on it too.
    case unlockByKey = "unlock-by-key-instead-of-by-transaction"
    /// Operation ids are not locked.
    case operationNotInPrepare = "operation-id-not-in-prepare"
    /// Prepares, votes and answers of an old epoch count.
    case acceptOldEpoch = "message-of-an-old-epoch-accepted"
    /// An inquiry leaves before the asker's own record is durable.
    case inquiryUngated = "inquiry-before-own-record-is-durable"
    /// A change of members does not wait until nothing else is prepared.
    case joinPastLock = "joiner-admitted-past-a-lock"
    /// What is in doubt with a removed member is aborted.
    case removedCountsAsRefused = "removed-member-counted-as-refused"
    /// What waited for the locks of a change of members goes on in the new epoch.
    case epochChangesLate = "queued-prepare-granted-in-the-next-epoch"

    /// Those that stand in TPC.
    public static let ofAgreement: [Mutant] = [
      .voteUngated, .commitBeforeAllVotes, .ignoreNo, .abortSentUnforced,
      .attemptGivenUpUnforced, .attemptsMixed, .attemptMissing, .refusalUnforced,
      .ownVoteUngated, .acknowledgeAtAppend, .forgetByAge, .horizonUnforced,
      .restartedCoordinatorTimesOut, .queuedGrantedUnchecked, .unlockByKey,
      .operationNotInPrepare, .acceptOldEpoch, .inquiryUngated, .joinPastLock,
      .removedCountsAsRefused, .epochChangesLate,
    ]

    /// The one that is at work; nil: none. Set before anything runs.
    nonisolated(unsafe) public static var active: Mutant?
  }
#endif
