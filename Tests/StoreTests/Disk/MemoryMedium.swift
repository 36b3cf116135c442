import Base

@testable import Store

/// A data directory in memory that keeps apart what is written and what a loss of power leaves.
///
/// Small on purpose: the simulator has a richer one. Shared by the file systems of successive runs.
final class MemoryMedium {
  /// One file; `dirty` holds the sectors written since the last force.
  final class File {
    var live: [UInt8] = []
    var durable: [UInt8] = []
    var dirty: Set<Int> = []
  }

  static let sectorByteCount = 512

  var names: [String: File] = [:]
  /// Every state that a name had since the last force of the directory, the durable one first.
  private var pastNames: [String: [File?]] = [:]

  /// Bytes that all files together may have.
  var capacity = Int.max
  /// Calls so far, and what each one was; which one fails, and with what.
  var calls: [DiskCall] = []
  var failingCall: Int?
  var failureNumber: Int32 = 5
  /// Calls that change something, so far, and the one during which the machine dies.
  var effectCount = 0
  var deadlyEffect: Int?
  private(set) var isDead = false

  var byteCount: Int { names.values.reduce(0) { $0 + $1.live.count } }

  // MARK: Faults

  /// Notes a call; throws if it is to fail.
  func enter(_ call: DiskCall, _ file: String) throws(DiskFault) {
    if isDead { throw DiskFault(call: call, file: file, errno: -1) }
    calls.append(call)
    if calls.count == failingCall {
      throw DiskFault(call: call, file: file, errno: failureNumber)
    }
  }

  /// Notes an effect; true if the machine dies during it, which then may be half done.
  func diesNow() -> Bool {
    effectCount += 1
    guard effectCount == deadlyEffect else { return false }
    isDead = true
    return true
  }

  func remember(_ name: String) {
    if pastNames[name] == nil { pastNames[name] = [names[name]] }
  }

  func noteName(_ name: String) { pastNames[name]?.append(names[name]) }

  func forceNames() { pastNames = [:] }

  /// The process ended, the machine did not.
  func restart() {
    isDead = false
    deadlyEffect = nil
    failingCall = nil
    calls = []
    effectCount = 0
  }

  /// The machine ended: unforced sectors and names are kept, dropped or torn, as drawn.
  func losePower(_ chance: inout Random) {
    for name in pastNames.keys.sorted() {
      let states = pastNames[name]!
      names[name] = states[chance.below(states.count)]
    }
    pastNames = [:]
    for name in names.keys.sorted() { losePower(names[name]!, &chance) }
    restart()
  }

  private func losePower(_ file: File, _ chance: inout Random) {
    let style = chance.below(4)
    let size = max(file.durable.count, file.live.count)
    if file.live.count != file.durable.count, chance.chance(1, in: 2) || style == 0 {
      file.durable.append(contentsOf: repeatElement(0, count: size - file.durable.count))
    }
    for sector in file.dirty.sorted() {
      let start = sector * Self.sectorByteCount
      let end = min(start + Self.sectorByteCount, file.durable.count, file.live.count)
      guard start < end else { continue }
      switch style {
      case 0: file.durable.replaceSubrange(start..<end, with: file.live[start..<end])
      case 1: break
      default:
        switch chance.below(4) {
        case 0: break
        case 1, 2: file.durable.replaceSubrange(start..<end, with: file.live[start..<end])
        default:
          for index in start..<end {
            file.durable[index] = UInt8(truncatingIfNeeded: chance.next())
          }
        }
      }
    }
    file.live = file.durable
    file.dirty = []
  }

  /// An independent copy, all of it forced.
  func copy() -> MemoryMedium {
    let other = MemoryMedium()
    for (name, file) in names {
      let twin = File()
      twin.live = file.live
      twin.durable = file.live
      other.names[name] = twin
    }
    return other
  }
}

/// The calls of one run on a `MemoryMedium`.
struct MemoryFileSystem: FileSystem, ~Copyable {
  let medium: MemoryMedium
  private var open: [(name: String, file: MemoryMedium.File)?] = []

  init(_ medium: MemoryMedium) { self.medium = medium }

  mutating func list() throws(DiskFault) -> [String] {
    try medium.enter(.list, "")
    return medium.names.keys.sorted()
  }

  mutating func open(_ name: String, create: Bool) throws(DiskFault) -> FileHandle {
    try medium.enter(create ? .create : .open, name)
    if create {
      guard medium.names[name] == nil else { throw DiskFault(call: .create, file: name, errno: 17) }
      try change(.create, name) { $0.names[name] = MemoryMedium.File() }
    }
    guard let file = medium.names[name] else {
      throw DiskFault(call: .open, file: name, errno: 2)
    }
    open.append((name, file))
    return FileHandle(raw: Int32(open.count - 1))
  }

  mutating func close(_ file: FileHandle) {
    precondition(medium.isDead || open[Int(file.raw)] != nil, "closed twice")
    open[Int(file.raw)] = nil
  }

  mutating func size(of file: FileHandle) throws(DiskFault) -> UInt64 {
    try medium.enter(.size, name(file))
    return UInt64(self.file(file).live.count)
  }

  mutating func read(
    _ file: FileHandle, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) -> Int {
    try medium.enter(.read, name(file))
    let bytes = self.file(file).live
    let count = max(0, min(buffer.count, bytes.count - Int(offset)))
    guard count > 0 else { return 0 }
    bytes.withUnsafeBytes {
      buffer.copyMemory(
        from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)..<Int(offset) + count]))
    }
    return count
  }

  mutating func write(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    try medium.enter(.write, name(file))
    let target = self.file(file)
    let growth = Int(offset) + bytes.count - target.live.count
    if growth > 0, medium.byteCount + growth > medium.capacity {
      throw DiskFault(call: .write, file: name(file), errno: 28)
    }
    // A machine that dies may have done half.
    let dies = medium.diesNow()
    put(bytes, at: Int(offset), into: target, count: dies ? bytes.count / 2 : bytes.count)
    if dies { throw DiskFault(call: .write, file: name(file), errno: -1) }
  }

  private func put(
    _ bytes: UnsafeRawBufferPointer, at offset: Int, into file: MemoryMedium.File, count: Int
  ) {
    guard count > 0 else { return }
    let end = offset + count
    if file.live.count < end {
      file.live.append(contentsOf: repeatElement(0, count: end - file.live.count))
    }
    file.live.replaceSubrange(offset..<end, with: bytes[0..<count])
    let sector = MemoryMedium.sectorByteCount
    file.dirty.formUnion(offset / sector...(end - 1) / sector)
  }

  /// With the zeroes that the real one may write behind the bytes.
  mutating func writeSectors(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    var padded = ByteBuffer(capacity: bytes.count + LogFormat.sectorByteCount)
    padded.append(bytes)
    padded.append(zeroes: -bytes.count & (LogFormat.sectorByteCount - 1))
    try write(file, padded.bytes, at: offset)
  }

  mutating func force(_ file: FileHandle) throws(DiskFault) {
    try medium.enter(.force, name(file))
    if medium.diesNow() { throw DiskFault(call: .force, file: name(file), errno: -1) }
    let target = self.file(file)
    target.durable = target.live
    target.dirty = []
  }

  mutating func dropCache(of file: FileHandle) throws(DiskFault) -> UInt64 { 0 }

  /// Some file systems have no room for a hole either.
  mutating func truncate(_ file: FileHandle, to size: UInt64) throws(DiskFault) {
    try medium.enter(.truncate, name(file))
    let target = self.file(file)
    let growth = Int(size) - target.live.count
    precondition(growth >= 0, "files only grow")
    if medium.byteCount + growth > medium.capacity {
      throw DiskFault(call: .truncate, file: name(file), errno: 28)
    }
    try change(.truncate, name(file)) { _ in
      target.live.append(contentsOf: repeatElement(0, count: growth))
    }
  }

  mutating func rename(_ from: String, to: String) throws(DiskFault) {
    try medium.enter(.rename, to)
    medium.remember(to)
    try change(.rename, from) {
      $0.names[to] = $0.names[from]
      $0.names[from] = nil
    }
    medium.noteName(to)
  }

  mutating func remove(_ name: String) throws(DiskFault) {
    try medium.enter(.remove, name)
    guard medium.names[name] != nil else {
      throw DiskFault(call: .remove, file: name, errno: 2)
    }
    try change(.remove, name) { $0.names[name] = nil }
  }

  mutating func forceDirectory() throws(DiskFault) {
    try medium.enter(.forceDirectory, "")
    if medium.diesNow() { throw DiskFault(call: .forceDirectory, file: "", errno: -1) }
    medium.forceNames()
  }

  private func change(
    _ call: DiskCall, _ name: String, _ body: (MemoryMedium) -> Void
  ) throws(DiskFault) {
    if medium.diesNow() { throw DiskFault(call: call, file: name, errno: -1) }
    medium.remember(name)
    body(medium)
    medium.noteName(name)
  }

  private func file(_ handle: FileHandle) -> MemoryMedium.File { open[Int(handle.raw)]!.file }
  private func name(_ handle: FileHandle) -> String { open[Int(handle.raw)]!.name }
}
