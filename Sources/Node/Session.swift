import Base
import NetKit
import Store
import TPC

/// What one connected client has said and is owed.
struct Session {
  var link: LinkID
  /// Never used again; what `CLIENT ID` answers.
  var clientID: UInt64
  var endpoint: Endpoint
  var openedAt: Instant
  var activeAt: Instant
  /// The RESP version it negotiated: 2 or 3.
  var resp: UInt8 = 2
  var authenticated: Bool
  var name: [UInt8] = []
  var libraryName: [UInt8] = []
  var libraryVersion: [UInt8] = []
  var replies = ReplyMode.on
  /// A failing command leaves the others of its transaction standing, as in Redis.
  var redisTransactions = false
  /// Close once what it is owed has left.
  var closing = false
  /// It has sent all it will send: close once that is executed and answered.
  var ended = false
  /// No further command is executed before this is over.
  var stall = Stall.none
  /// The transport reads it.
  var isRead = true
  /// Waits for its turn to go on with commands that it has sent already.
  var isReady = false
  /// Runs of its replies that wait at the gate.
  var heldCount = 0
  var heldByteCount = 0
  var commandCount: UInt64 = 0
  var lastCommand: Command = .ping

  /// Bytes received and not yet executed: the start of an unfinished command, or what its turn
  /// left.
  var tail = ByteBufferBox()
  var progress = ParseProgress.none

  var queue: TransactionQueue?
  var watches: [Watch] = []

  /// The round that holds commands of it (`Round.number`); 0: none.
  var round: UInt64 = 0
  /// How its next command waits for keys.
  var wait: Wait?
  /// So many of its next commands go each in a round of its own.
  var aloneCount = 0

  /// What of its queue and watches is counted in `Node.queuedByteCount`.
  var countedByteCount = 0
  var countedWatchCount = 0
  private var watchByteCount = 0

  /// Counts queue and watches anew; returns by how many bytes they have grown.
  mutating func recount() -> Int {
    if watches.count != countedWatchCount {
      countedWatchCount = watches.count
      watchByteCount = watches.reduce(0) { $0 + $1.key.count + Watch.overheadByteCount }
    }
    let byteCount = (queue?.byteCount ?? 0) + watchByteCount
    defer { countedByteCount = byteCount }
    return byteCount - countedByteCount
  }

  /// Without a further event there is something to do for it: commands, or its end.
  var hasMore: Bool { tail.buffer.count > 0 || !isRead || ended }

  /// Nothing of what it sent is still to be executed or answered.
  var isIdle: Bool { heldCount == 0 && !isReady && stall == .none }

  /// Commands may be executed when they arrive; otherwise they are kept.
  var mayExecute: Bool { stall == .none && !isReady && !closing }

  init(link: LinkID, clientID: UInt64, endpoint: Endpoint, at now: Instant, authenticated: Bool) {
    self.link = link
    self.clientID = clientID
    self.endpoint = endpoint
    openedAt = now
    activeAt = now
    self.authenticated = authenticated
  }
}

/// Which replies a client wants (`CLIENT REPLY`).
enum ReplyMode {
  case on, off
  /// Not the reply to this command nor to the next one.
  case skipNext
  /// Not the reply to this command.
  case skipThis
}

/// Why a session does not execute.
enum Stall: Equatable {
  case none
  /// Its waiting output passed the bound.
  case output
  /// A password is being checked.
  case password(ticket: UInt64, hello: UInt8)
  /// `SAVE` waits for the mark to be forced.
  case save(Mark)
  /// Its commands are in a round that is not decided yet.
  case round
  /// Its next command waits for a key that a transaction holds.
  case lock

  /// The command that stalls the session is answered when the stall is over.
  var answersLate: Bool {
    switch self {
    case .none, .output, .round, .lock: false
    case .password, .save: true
    }
  }
}

/// A key that must not change before EXEC, and the version it had; nil: it was absent.
struct Watch {
  /// What a watch costs besides its key's bytes.
  static var overheadByteCount: Int { 64 }

  var key: [UInt8]
  var version: Stamp?
}

/// Commands queued between MULTI and EXEC.
///
/// Bounds: `DatabaseLimits.transactionOperationCountMax` commands of
/// `DatabaseLimits.transactionByteCountMax` bytes.
struct TransactionQueue {
  /// Lengths of all arguments, command by command.
  var argumentCounts: [Int32] = []
  var argumentLengths: [Int32] = []
  var bytes: [UInt8] = []
  /// A command was refused while queueing: EXEC discards all.
  var failed = false

  /// What counts against the bound: an argument without bytes costs memory too.
  var byteCount: Int { bytes.count + argumentLengths.count * 4 }
}

/// A `ByteBuffer` that a copyable struct can hold: sessions live behind pointers, one owner each.
struct ByteBufferBox {
  private let pointer: UnsafeMutablePointer<ByteBuffer>

  init() {
    pointer = .allocate(capacity: 1)
    pointer.initialize(to: ByteBuffer())
  }

  /// To be called once, by the owner.
  func free() {
    pointer.deinitialize(count: 1)
    pointer.deallocate()
  }

  /// Puts bytes in front of what is there.
  func prepend(_ bytes: UnsafeRawBufferPointer) {
    var joined = ByteBuffer(capacity: bytes.count + pointer.pointee.count)
    joined.append(bytes)
    joined.append(pointer.pointee.bytes)
    swap(&joined, &pointer.pointee)
  }

  @inline(__always) var buffer: ByteBuffer {
    unsafeAddress { UnsafePointer(pointer) }
    nonmutating unsafeMutableAddress { pointer }
  }
}

typealias SessionPointer = UnsafeMutablePointer<Session>

/// The sessions by the slot of their link.
struct SessionTable: ~Copyable {
  private var slots: [SessionPointer?] = []
  private(set) var count = 0

  subscript(link: LinkID) -> SessionPointer? {
    let slot = link.slot
    guard slot < slots.count, let session = slots[slot], session.pointee.link == link else {
      return nil
    }
    return session
  }

  mutating func insert(_ session: consuming Session) -> SessionPointer {
    let slot = session.link.slot
    while slots.count <= slot { slots.append(nil) }
    invariant(slots[slot] == nil, "a slot is free before a new link takes it")
    let pointer = SessionPointer.allocate(capacity: 1)
    pointer.initialize(to: session)
    slots[slot] = pointer
    count += 1
    return pointer
  }

  mutating func remove(_ link: LinkID) {
    guard let session = self[link] else { return }
    slots[link.slot] = nil
    count -= 1
    session.pointee.tail.free()
    session.deinitialize(count: 1)
    session.deallocate()
  }

  func visit(_ body: (SessionPointer) -> Void) {
    for case .some(let session) in slots { body(session) }
  }

  deinit {
    for case .some(let session) in slots {
      session.pointee.tail.free()
      session.deinitialize(count: 1)
      session.deallocate()
    }
  }
}
