/// Finds a command's specification by its name, in any case, without making a string.
///
/// A closed hash table over the first 16 bytes of the lower-case name, built once.
struct CommandTable: ~Copyable {
  private struct Slot {
    var low: UInt64
    var high: UInt64
    var spec: Int32
  }

  private static let slotCount = 512
  private let slots: UnsafeMutablePointer<Slot>
  private let specs: UnsafeMutablePointer<CommandSpec>
  private let specCount: Int
  /// Specification index by command number.
  private let byCommand: UnsafeMutablePointer<Int32>

  init() {
    let all = CommandSpec.all
    specCount = all.count
    specs = .allocate(capacity: all.count)
    slots = .allocate(capacity: Self.slotCount)
    slots.initialize(repeating: Slot(low: 0, high: 0, spec: -1), count: Self.slotCount)
    byCommand = .allocate(capacity: 256)
    byCommand.initialize(repeating: -1, count: 256)
    for (index, spec) in all.enumerated() {
      (specs + index).initialize(to: spec)
      byCommand[Int(spec.command.rawValue)] = Int32(index)
      let name = UnsafeRawBufferPointer(
        start: spec.name.utf8Start, count: spec.name.utf8CodeUnitCount)
      let (low, high) = Self.words(name)
      var slot = Self.hash(low, high)
      while slots[slot].spec >= 0 { slot = (slot + 1) & (Self.slotCount - 1) }
      slots[slot] = Slot(low: low, high: high, spec: Int32(index))
    }
  }

  deinit {
    specs.deinitialize(count: specCount)
    specs.deallocate()
    slots.deallocate()
    byCommand.deallocate()
  }

  /// The specification of a name, or nil when there is no such command.
  @inline(__always) func find(_ name: UnsafeRawBufferPointer) -> UnsafePointer<CommandSpec>? {
    guard name.count > 0, name.count <= 16 else { return nil }
    let (low, high) = Self.words(name)
    var slot = Self.hash(low, high)
    while slots[slot].spec >= 0 {
      if slots[slot].low == low, slots[slot].high == high {
        return UnsafePointer(specs + Int(slots[slot].spec))
      }
      slot = (slot + 1) & (Self.slotCount - 1)
    }
    return nil
  }

  func spec(of command: Command) -> UnsafePointer<CommandSpec> {
    UnsafePointer(specs + Int(byCommand[Int(command.rawValue)]))
  }

  @inline(__always) private static func words(_ name: UnsafeRawBufferPointer) -> (UInt64, UInt64) {
    var low: UInt64 = 0
    var high: UInt64 = 0
    var index = 0
    while index < name.count {
      let byte = name[index]
      let lower = UInt64(byte &- 65 < 26 ? byte | 0x20 : byte)
      if index < 8 {
        low |= lower << UInt64(truncatingIfNeeded: index * 8)
      } else {
        high |= lower << UInt64(truncatingIfNeeded: (index - 8) * 8)
      }
      index += 1
    }
    return (low, high)
  }

  @inline(__always) private static func hash(_ low: UInt64, _ high: UInt64) -> Int {
    let mixed = (low ^ (high &* 0x9E37_79B9_7F4A_7C15)) &* 0xD6E8_FEB8_6659_FD93
    return Int(truncatingIfNeeded: mixed >> 55)
  }
}
