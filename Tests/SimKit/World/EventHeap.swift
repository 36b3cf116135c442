import Base

/// What is to happen, ordered by (instant, serial): equal instants happen in the order in which they
/// were planned, so a seed decides everything.
struct EventHeap {
  /// What is compared and moved: no references, which a move would have to count.
  private struct Item {
    var instant: Instant
    var serial: UInt64
    /// The place of its body.
    var slot: Int

    func comes(before other: Item) -> Bool {
      instant != other.instant ? instant < other.instant : serial < other.serial
    }
  }

  private var items: [Item] = []
  private var bodies: [(() -> Void)?] = []
  private var freeSlots: [Int] = []
  private var serial: UInt64 = 0

  var isEmpty: Bool { items.isEmpty }
  var count: Int { items.count }
  var first: Instant? { items.first?.instant }

  /// Plans `body` for `instant`.
  ///
  /// - Complexity: O(log n).
  mutating func add(_ instant: Instant, _ body: @escaping () -> Void) {
    serial += 1
    let slot = freeSlots.popLast() ?? bodies.count
    if slot == bodies.count { bodies.append(body) } else { bodies[slot] = body }
    items.append(Item(instant: instant, serial: serial, slot: slot))
    siftUp()
  }

  /// Takes the earliest event.
  ///
  /// - Complexity: O(log n).
  mutating func pop() -> (Instant, () -> Void)? {
    guard let first = items.first, let body = bodies[first.slot] else { return nil }
    bodies[first.slot] = nil
    freeSlots.append(first.slot)
    let last = items.removeLast()
    if !items.isEmpty {
      items[0] = last
      siftDown()
    }
    return (first.instant, body)
  }

  private mutating func siftUp() {
    var child = items.count - 1
    while child > 0 {
      let parent = (child - 1) / 2
      guard items[child].comes(before: items[parent]) else { return }
      items.swapAt(child, parent)
      child = parent
    }
  }

  private mutating func siftDown() {
    var parent = 0
    while true {
      var child = 2 * parent + 1
      guard child < items.count else { return }
      if child + 1 < items.count, items[child + 1].comes(before: items[child]) { child += 1 }
      guard items[child].comes(before: items[parent]) else { return }
      items.swapAt(parent, child)
      parent = child
    }
  }
}
