/// First in, first out: a ring of plain values (nothing to release) that grows to the most it ever
/// held.
///
/// Its owner bounds what is in it; here that is one entry a socket or a link's end.
struct WorkQueue<Element>: ~Copyable {
  private var slots: UnsafeMutablePointer<Element>
  /// A power of two.
  private var capacity = 64
  private var head = 0
  private(set) var count = 0

  init() { slots = .allocate(capacity: capacity) }

  deinit { slots.deallocate() }

  var isEmpty: Bool { count == 0 }

  mutating func append(_ element: Element) {
    if count == capacity { grow() }
    (slots + ((head + count) & (capacity - 1))).initialize(to: element)
    count += 1
  }

  /// Takes the oldest.
  mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let element = slots[head]
    head = (head + 1) & (capacity - 1)
    count -= 1
    return element
  }

  private mutating func grow() {
    let fresh = UnsafeMutablePointer<Element>.allocate(capacity: capacity * 2)
    for index in 0..<count {
      (fresh + index).initialize(to: slots[(head + index) & (capacity - 1)])
    }
    slots.deallocate()
    slots = fresh
    head = 0
    capacity *= 2
  }
}
