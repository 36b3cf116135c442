import Base

/// What is to happen, ordered by (instant, serial): equal instants happen in the order in which they
/// were planned, so a seed decides everything.
struct EventHeap {
  private struct Item {
    var instant: Instant
    var serial: UInt64
    var body: () -> Void

    func comes(before other: Item) -> Bool {
      instant != other.instant ? instant < other.instant : serial < other.serial
    }
  }

  private var items: [Item] = []
  private var serial: UInt64 = 0

  var isEmpty: Bool { items.isEmpty }
  var count: Int { items.count }
  var first: Instant? { items.first?.instant }

  /// Plans `body` for `instant`.
  ///
  /// - Complexity: O(log n).
  mutating func add(_ instant: Instant, _ body: @escaping () -> Void) {
    serial += 1
    items.append(Item(instant: instant, serial: serial, body: body))
    siftUp()
  }

  /// Takes the earliest event.
  ///
  /// - Complexity: O(log n).
  mutating func pop() -> (Instant, () -> Void)? {
    guard let first = items.first else { return nil }
    let last = items.removeLast()
    if !items.isEmpty {
      items[0] = last
      siftDown()
    }
    return (first.instant, first.body)
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
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2] where child < items.count {
        if items[child].comes(before: items[least]) { least = child }
      }
      if least == parent { return }
      items.swapAt(parent, least)
      parent = least
    }
  }
}
