import Base
import NetKit
import Store
import TPC

/// What one turn of a coordinator executes together: commands of any number of clients, which
/// commit as one transaction, with one reply each.
///
/// While it is open its commands run on the database in an open transaction, which nobody else
/// sees; closing it takes the changes out again and hands them to the negotiator. Kept until it is
/// decided, with what is needed to run the commands once more when it conflicts with another
/// member's.
///
/// Bounds: `Cluster.roundByteCountMax` and `roundUnitCountMax`, one command of the greatest size
/// above.
final class Round {
  /// Its place among the rounds of this run; what sessions remember.
  let number: UInt64
  /// The name under which the negotiator knows it; nil while it is open for the first time.
  var id: TransactionID?
  var units: [RoundUnit] = []
  /// The commands as they were received, unit by unit.
  var input = ByteBuffer()
  /// Their replies, unit by unit.
  var output = ByteBuffer()
  var keys: KeySet
  /// Ids of operations: locked like keys, with their outcomes among the changes.
  var operations: [OperationID] = []
  /// One of its commands changes all keys.
  var changesAll = false
  /// It changes the list of members, and does nothing else.
  var change: MembershipChange?
  /// The attempt that it is at.
  var attempt = Attempt.first
  /// A reply may name a version of the round's own, which all its changes get: no change may
  /// follow.
  var namesVersion = false
  /// One of its commands may grow the data.
  var grows = false
  /// The oldest of its commands came then; it is given up at `deadline`.
  var deadline: Instant
  /// The age of the oldest of its units that waited for keys.
  var waitAge: Stamp?
  /// It waits since then for the keys of its second attempt.
  var waitsSince: Instant?
  /// What keeps younger transactions from its keys while it waits for them.
  var reservation: Reservation?
  /// Run again, it changed nothing: once its earlier attempts are aborted for good, what it
  /// answered stands.
  var deliversOnAbort = false

  init(number: UInt64, hashKey: SipKey, deadline: Instant) {
    self.number = number
    self.deadline = deadline
    keys = KeySet(hashKey: hashKey)
  }

  /// Empties the round, to be run again; returns what it held.
  func restart(hashKey: SipKey) -> RoundContents {
    var taken = ByteBuffer()
    swap(&taken, &input)
    var former = KeySet(hashKey: hashKey)
    swap(&former, &keys)
    let contents = RoundContents(units: units, input: taken, keys: former)
    operations.removeAll(keepingCapacity: true)
    units.removeAll(keepingCapacity: true)
    output.removeAll()
    return contents
  }

  /// Takes the commands back that `restart` gave out; they were not run.
  func restore(_ contents: consuming RoundContents) {
    units = contents.units
    contents.giveBack(&input, &keys)
    output.removeAll()
  }

  func bytes(of unit: RoundUnit) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: input.bytes[unit.input])
  }

  func reply(of unit: RoundUnit) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(rebasing: output.bytes[unit.reply])
  }
}

/// One client's part of a round: a command of a stream, or a whole request over UDP.
struct RoundUnit {
  var link: LinkID
  /// Set for a request over UDP.
  var request: RequestHead?
  var input: Range<Int>
  var reply: Range<Int>
  /// What EXEC took from its session, to be given back when it is run again.
  var queue: TransactionQueue?
  var watches: [Watch] = []
  /// A command of it came under an id: what becomes of the round says nothing of other copies.
  var hasID = false
  /// Said of a request over UDP whose reply is too large, once the round is committed.
  var outcome = RequestOutcome.notApplied
}

/// The commands of a round.
struct RoundContents: ~Copyable {
  let units: [RoundUnit]
  private(set) var input: ByteBuffer
  private let keys: KeySet

  init(units: [RoundUnit], input: consuming ByteBuffer, keys: consuming KeySet) {
    self.units = units
    self.input = input
    self.keys = keys
  }

  consuming func giveBack(_ input: inout ByteBuffer, _ keys: inout KeySet) {
    input = self.input
    keys = self.keys
  }
}

/// What came with a request over UDP besides its bytes.
struct RequestHead {
  var endpoint: Endpoint
  var id: OperationID
  var plain: Bool
  var passwordAccepted: Bool?
}

/// A request over UDP that waits for a key to be unlocked, to be run from its beginning then.
struct BlockedRequest {
  var link: LinkID
  var head: RequestHead
  var bytes: [UInt8]
  /// It is to run in a round of its own.
  var isAlone: Bool
  /// Nil: it was run, and is to be run again.
  var wait: Wait?
}
