import Base
import Glibc
import Testing

@testable import NetKit

@Suite struct OutputQueueTests {
  /// The bytes that the queue would give `sendmsg` at once.
  private static func front(_ queue: OutputQueue) -> [UInt8] {
    withUnsafeTemporaryAllocation(of: iovec.self, capacity: 16) { vectors in
      let count = queue.describe(vectors.baseAddress!, countMax: 16)
      var bytes = ByteBuffer()
      for vector in vectors[..<count] {
        bytes.append(UnsafeRawBufferPointer(start: vector.iov_base, count: vector.iov_len))
      }
      return Array(bytes.bytes)
    }
  }

  @Test(arguments: [1, 2, 3] as [UInt64])
  func `what goes in comes out in order, whatever the sizes`(seed: UInt64) {
    var chance = Random(seed: seed)
    var pool = ChunkPool()
    var queue = OutputQueue()
    var model: [UInt8] = []
    var next: UInt8 = 0
    for _ in 0..<60 {
      if chance.chance(1, in: 2) {
        let sizes = [1, 100, ChunkPool.smallByteCount, 2 * ChunkPool.largeByteCount]
        let count = chance.within(0...sizes[chance.below(4)])
        next &+= 1
        var bytes = [UInt8](repeating: next, count: count)
        if count > 1 { bytes[count - 1] = 0 }
        bytes.withUnsafeBytes { queue.append($0, &pool) }
        model += bytes
      } else {
        let front = Self.front(queue)
        #expect(front == Array(model.prefix(front.count)))
        #expect(!front.isEmpty || model.isEmpty)
        let count = chance.within(0...front.count)
        queue.consume(count, &pool)
        model.removeFirst(count)
      }
      #expect(queue.byteCount == model.count)
    }
    queue.clear(&pool)
    #expect(queue.isEmpty && Self.front(queue).isEmpty)
  }

  @Test func `a slot is never found under an earlier name`() {
    var table = LinkTable()
    var chance = Random(seed: 7)
    var open: [LinkID] = []
    var gone: Set<LinkID> = []
    for _ in 0..<2_000 {
      if open.count < 100, chance.chance(1, in: 2) || open.isEmpty {
        let link = table.open()
        table.find(opened: link).pointee.state = .stream
        #expect(!gone.contains(link))
        open.append(link)
      } else {
        let link = open.remove(at: chance.below(open.count))
        table.release(link)
        gone.insert(link)
      }
      #expect(table.openCount == open.count)
    }
    #expect(open.allSatisfy { table.find($0) != nil })
    #expect(gone.allSatisfy { table.find($0) == nil })
    #expect(table.find(.none) == nil)
  }

  @Test func `a work queue keeps the order while it grows`() {
    var queue = WorkQueue<Int>()
    var chance = Random(seed: 3)
    var (added, taken) = (0, 0)
    for _ in 0..<5_000 {
      if chance.chance(11, in: 20) {
        queue.append(added)
        added += 1
      } else if let element = queue.popFirst() {
        #expect(element == taken)
        taken += 1
      }
      #expect(queue.count == added - taken)
    }
  }
}
