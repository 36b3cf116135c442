import Base

/// A bounded table of values that stay where they are, found by slot and generation.
///
/// Memory is reserved for all of `capacity` at once but touched only as slots come into use. Freed
/// slots are used again last in, first out.
struct Slab<Element: ~Copyable>: ~Copyable {
  /// The most elements.
  let capacity: Int
  /// Elements present.
  private(set) var count = 0
  /// Slots from here on were never used.
  private(set) var usedSlotCount = 0

  private let elements: UnsafeMutablePointer<Element>
  /// Even: free; odd: occupied. Half of it, plus one when odd, is the generation.
  private let turns: UnsafeMutablePointer<UInt32>
  /// Of free slots: the next free one, -1 at the end.
  private let links: UnsafeMutablePointer<Int32>
  private var free: Int32 = -1

  init(capacity: Int) {
    self.capacity = capacity
    elements = .allocate(capacity: max(capacity, 1))
    turns = .allocate(capacity: max(capacity, 1))
    links = .allocate(capacity: max(capacity, 1))
  }

  deinit {
    for slot in 0..<usedSlotCount where turns[slot] & 1 == 1 {
      (elements + slot).deinitialize(count: 1)
    }
    elements.deallocate()
    turns.deallocate()
    links.deallocate()
  }

  @inline(__always) var isFull: Bool { count == capacity }
  @inline(__always) var isEmpty: Bool { count == 0 }

  /// The slot that the next `insert` takes.
  var nextSlot: Int { free >= 0 ? Int(free) : usedSlotCount }

  /// Puts an element into a free slot. Must not be full.
  @inline(__always)
  mutating func insert(_ element: consuming Element) -> Int {
    let slot: Int
    if free >= 0 {
      slot = Int(free)
      free = links[slot]
    } else {
      invariant(usedSlotCount < capacity, "a slab has room")
      slot = usedSlotCount
      usedSlotCount += 1
      turns[slot] = 0
    }
    turns[slot] &+= 1
    (elements + slot).initialize(to: element)
    count += 1
    return slot
  }

  /// Takes the element out of an occupied slot.
  @inline(__always)
  @discardableResult
  mutating func remove(at slot: Int) -> Element {
    invariant(isOccupied(slot), "a slot removed is occupied")
    turns[slot] &+= 1
    links[slot] = free
    free = Int32(truncatingIfNeeded: slot)
    count -= 1
    return (elements + slot).move()
  }

  /// The element in an occupied slot; stays valid until it is removed.
  @inline(__always)
  func pointer(at slot: Int) -> UnsafeMutablePointer<Element> { elements + slot }

  /// True for a slot in use; any number may be asked.
  @inline(__always)
  func isOccupied(_ slot: Int) -> Bool {
    slot >= 0 && slot < usedSlotCount && turns[slot] & 1 == 1
  }

  /// The generation of an occupied slot, from 1 on. It comes round after 2^31 uses of the slot,
  /// far more than happen while anybody remembers the first.
  @inline(__always)
  func generation(of slot: Int) -> UInt32 { turns[slot] / 2 + 1 }
}
