import Base
import Testing

@testable import Node

@Suite struct KeyPreviewTests {
  /// The keys seen, and where the preview ended.
  private func keys(_ text: String, from offset: Int = 0) -> (found: [String], end: Int) {
    Array(text.utf8).withUnsafeBytes { bytes in
      var preview = KeyPreview(bytes, from: offset)
      var found: [String] = []
      while let key = preview.next() { found.append(String(decoding: key, as: UTF8.self)) }
      return (found, preview.offset)
    }
  }

  private let get = "*2\r\n$3\r\nGET\r\n$2\r\nk1\r\n"
  private let set = "*3\r\n$3\r\nSET\r\n$3\r\nkey\r\n$5\r\nvalue\r\n"

  @Test func keysOfWholeCommandsAreSeen() {
    let ping = "*1\r\n$4\r\nPING\r\n"
    #expect(keys(get + ping + set + get).found == ["k1", "key", "k1"])
    #expect(keys(get + set, from: get.utf8.count).found == ["key"])
    #expect(keys(get + set).end == get.utf8.count + set.utf8.count)
  }

  @Test func everyCutEndsThePreviewAtTheLastWholeCommand() {
    let whole = get + set
    for count in 0..<whole.utf8.count {
      let seen = keys(String(whole.utf8.prefix(count))!)
      #expect(seen.found == (count >= get.utf8.count ? ["k1"] : []), "\(count)")
      #expect(seen.end == (count >= get.utf8.count ? get.utf8.count : 0))
    }
  }

  @Test(arguments: [
    "GET k\r\n", "*-1\r\n", "*99999999999\r\n", "*2\r\n$-1\r\n$1\r\na\r\n", "*2\r\n:1\r\n",
    "*2\r\n$999999999\r\nx", "*17\r\n$1\r\na\r\n", "*", "", "\r\n",
  ])
  func whatItDoesNotUnderstandEndsIt(text: String) {
    #expect(keys(text).found.isEmpty)
    #expect(keys(get + text).found == ["k1"])
  }
}
