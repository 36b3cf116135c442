import Base
import Store

/// A data directory on a simulated medium; outlives the node that writes to it.
///
/// Counts effects (calls that change something) and can end the machine at any one of them, fail any
/// call, and run full. Names follow their own rule: until `forceDirectory` each name that was
/// created, renamed or removed may be found after a loss of power as it was at any moment since the
/// last one.
final class SimDirectory {
  /// The C error number of a call that the machine did not live to finish; no real one is negative.
  static let deadErrno: Int32 = -1

  private var names: [String: SimFile] = [:]
  private var durableNames: [String: SimFile] = [:]
  /// What each changed name stood for after each change since the last force; nil: nothing.
  private var history: [String: [SimFile?]] = [:]
  private var handles: [SimFile?] = []
  private var chance: Random

  /// Bytes that all files together may hold.
  var capacity = Int.max
  /// Effects until the machine loses power or the process is killed; nil: it goes on.
  var effectsUntilDeath: Int?
  /// Calls until one fails with `EIO`; nil: none does.
  var callsUntilFailure: Int?
  /// Only forces count and fail.
  var failsForcesOnly = false

  /// The machine is gone: every call fails until `restart`.
  private(set) var isDead = false
  private(set) var effectCount: UInt64 = 0
  private(set) var callCount: UInt64 = 0
  private(set) var failureCount = 0
  private(set) var fullCount = 0
  private(set) var forceCount = 0
  /// Told of each effect, for the trace.
  var observer: ((DiskCall, String, UInt64) -> Void)?

  init(seed: UInt64) {
    chance = Random(seed: seed)
  }

  var usedByteCount: Int {
    names.keys.sorted().reduce(0) { $0 + names[$1]!.live.count }
  }

  var sortedNames: [String] { names.keys.sorted() }

  // MARK: The machine's end

  /// Every call fails from now on.
  func die() {
    isDead = true
  }

  /// The process ended and the machine did not: the page cache stays.
  func restart() {
    isDead = false
    effectsUntilDeath = nil
    callsUntilFailure = nil
    handles.removeAll()
  }

  /// The machine lost power: what was not forced is as `survival` says.
  func losePower(_ survival: Survival) {
    for name in history.keys.sorted() {
      let states = [durableNames[name]] + history[name]!
      let index: Int
      switch survival {
      case .all: index = states.count - 1
      case .nothing: index = 0
      default: index = chance.below(states.count)
      }
      durableNames[name] = states[index]
    }
    history.removeAll()
    names = durableNames
    for name in names.keys.sorted() { names[name]!.losePower(survival, &chance) }
    restart()
  }

  /// A directory with the same files, all forced, for trying things out.
  func copy(seed: UInt64) -> SimDirectory {
    let other = SimDirectory(seed: seed)
    for name in names.keys.sorted() { other.names[name] = names[name]!.copy() }
    other.durableNames = other.names
    return other
  }

  /// Flips one bit of one file; answers where, or nil when all files are empty.
  func flipBit() -> (file: String, byte: Int, bit: Int)? {
    let filled = names.keys.sorted().filter { !names[$0]!.live.isEmpty }
    guard !filled.isEmpty else { return nil }
    let name = filled[chance.below(filled.count)]
    let file = names[name]!
    // Most of a segment is zeroes not yet used: aim at what was written.
    let used = 1 + (file.live.lastIndex { $0 != 0 } ?? 0)
    let byte = chance.below(chance.chance(7, in: 8) ? used : file.live.count)
    let bit = chance.below(8)
    file.flip(bit: byte * 8 + bit)
    return (name, byte, bit)
  }

  /// Leaves nothing of the log from a place on: zeroes there, and behind the header of later segments.
  func blank(_ name: String, from offset: Int) {
    for other in names.keys where other.hasPrefix("log-") && other >= name {
      names[other]!.blank(from: other == name ? offset : SimFile.sectorByteCount)
    }
  }

  // MARK: Calls

  func list() throws(DiskFault) -> [String] {
    try call(.list, ".")
    return names.keys.sorted()
  }

  func open(_ name: String, create: Bool) throws(DiskFault) -> FileHandle {
    if create {
      guard names[name] == nil else { throw fault(.create, name, 17) }
      try effect(.create, name) { [self] in
        let file = SimFile()
        names[name] = file
        history[name, default: []].append(file)
      }
    } else {
      try call(.open, name)
    }
    guard let file = names[name] else { throw fault(.open, name, 2) }
    handles.append(file)
    return FileHandle(raw: Int32(handles.count - 1))
  }

  func close(_ handle: FileHandle) {
    guard !isDead else { return }
    _ = file(handle)
    handles[Int(handle.raw)] = nil
  }

  func size(of handle: FileHandle) throws(DiskFault) -> UInt64 {
    try call(.size, "")
    return UInt64(file(handle).live.count)
  }

  func read(
    _ handle: FileHandle, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) -> Int {
    try call(.read, "")
    return file(handle).read(into: buffer, at: Int(offset))
  }

  func write(
    _ handle: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    try checkAlive(.write)
    let file = file(handle)
    let growth = max(0, Int(offset) + bytes.count - file.live.count)
    if growth > 0, usedByteCount + growth > capacity {
      fullCount += 1
      // The system writes what fits, then says that the rest did not.
      let fitting = min(bytes.count, max(0, capacity - usedByteCount))
      let written = chance.chance(1, in: 2) ? 0 : chance.below(fitting + 1)
      file.write(UnsafeRawBufferPointer(rebasing: bytes[..<written]), at: Int(offset))
      throw fault(.write, "", 28)
    }
    let partial = chance.below(bytes.count + 1)
    try effect(.write, "", amount: UInt64(bytes.count)) {
      file.write(bytes, at: Int(offset))
    } half: {
      file.write(UnsafeRawBufferPointer(rebasing: bytes[..<partial]), at: Int(offset))
    }
  }

  func force(_ handle: FileHandle) throws(DiskFault) {
    try checkAlive(.force)
    let file = file(handle)
    do {
      try effect(.force, "") { [self] in
        forceCount += 1
        file.force()
      }
    } catch {
      if error.errno != Self.deadErrno { file.failForce(&chance) }
      throw error
    }
  }

  func dropCache(of handle: FileHandle) throws(DiskFault) -> UInt64 {
    try checkAlive(.force)
    file(handle).dropCache(&chance)
    return 0
  }

  func truncate(_ handle: FileHandle, to size: UInt64) throws(DiskFault) {
    try checkAlive(.truncate)
    let file = file(handle)
    let growth = max(0, Int(size) - file.live.count)
    if growth > 0, usedByteCount + growth > capacity {
      fullCount += 1
      throw fault(.truncate, "", 28)
    }
    try effect(.truncate, "") { file.truncate(to: Int(size)) }
  }

  func rename(_ from: String, to: String) throws(DiskFault) {
    try checkAlive(.rename)
    guard let file = names[from] else { throw fault(.rename, from, 2) }
    try effect(.rename, to) { [self] in
      names[from] = nil
      names[to] = file
      history[from, default: []].append(nil)
      history[to, default: []].append(file)
    }
  }

  func remove(_ name: String) throws(DiskFault) {
    try checkAlive(.remove)
    guard names[name] != nil else { throw fault(.remove, name, 2) }
    try effect(.remove, name) { [self] in
      names[name] = nil
      history[name, default: []].append(nil)
    }
  }

  func forceDirectory() throws(DiskFault) {
    try effect(.forceDirectory, ".") { [self] in
      durableNames = names
      history.removeAll()
    }
  }

  // MARK: Faults

  private func file(_ handle: FileHandle) -> SimFile {
    let index = Int(handle.raw)
    invariant(
      index >= 0 && index < handles.count && handles[index] != nil,
      "a file is used only while it is open")
    return handles[index]!
  }

  private func fault(_ call: DiskCall, _ name: String, _ errno: Int32) -> DiskFault {
    DiskFault(call: call, file: name, errno: errno)
  }

  private func checkAlive(_ call: DiskCall) throws(DiskFault) {
    if isDead { throw fault(call, "", Self.deadErrno) }
  }

  private func call(_ call: DiskCall, _ name: String) throws(DiskFault) {
    try checkAlive(call)
    callCount += 1
    guard let left = callsUntilFailure, !failsForcesOnly || call == .force else { return }
    callsUntilFailure = left > 1 ? left - 1 : nil
    if left <= 1 {
      failureCount += 1
      throw fault(call, name, 5)
    }
  }

  /// Does one effect, unless the machine's end comes before it, within it (`half`) or just after it.
  private func effect(
    _ call: DiskCall, _ name: String, amount: UInt64 = 0, whole: () -> Void,
    half: (() -> Void)? = nil
  ) throws(DiskFault) {
    try self.call(call, name)
    effectCount += 1
    observer?(call, name, amount)
    if let left = effectsUntilDeath {
      effectsUntilDeath = left > 1 ? left - 1 : nil
      if left <= 1 {
        isDead = true
        switch chance.below(3) {
        case 0: break
        case 1: whole()
        default: half?()
        }
        throw fault(call, name, Self.deadErrno)
      }
    }
    whole()
  }
}
