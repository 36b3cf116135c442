/// A binary heap: the least element is first.
struct MinHeap<Element: Comparable> {
  private var items: [Element] = []

  var count: Int { items.count }
  var first: Element? { items.first }

  /// - Complexity: O(log n), and O(1) for elements that arrive in rising order.
  mutating func push(_ element: Element) {
    var at = items.count
    items.append(element)
    while at > 0 {
      let parent = (at - 1) / 2
      guard element < items[parent] else { break }
      items[at] = items[parent]
      at = parent
    }
    items[at] = element
  }

  /// - Complexity: O(log n).
  mutating func pop() -> Element? {
    guard let least = items.first, let last = items.popLast() else { return nil }
    guard !items.isEmpty else { return least }
    var at = 0
    while true {
      var child = 2 * at + 1
      guard child < items.count else { break }
      if child + 1 < items.count, items[child + 1] < items[child] { child += 1 }
      guard items[child] < last else { break }
      items[at] = items[child]
      at = child
    }
    items[at] = last
    return least
  }
}
