import Base
import TPC
import Testing

@Suite struct IdentifierTests {
  @Test func `An id survives its encoding`() {
    let id = TransactionID(age: Stamp(nanos: 77), node: MemberID(64), counter: .max)
    var buffer = ByteBuffer()
    id.encode(into: &buffer)
    #expect(buffer.count == TransactionID.byteCount)
    #expect(TransactionID(buffer.bytes) == id)
    buffer.append(0)
    #expect(TransactionID(buffer.bytes) == nil)
  }

  @Test func `Rule 5: ids are ordered by age, then coordinator, then counter`() {
    func id(_ age: UInt64, _ node: UInt16, _ counter: UInt64) -> TransactionID {
      TransactionID(age: Stamp(nanos: age), node: MemberID(node), counter: counter)
    }
    #expect(id(1, 2, 9) < id(2, 1, 1))
    #expect(id(1, 1, 9) < id(1, 2, 1))
    #expect(id(1, 1, 1) < id(1, 1, 2))
  }

  @Test func `A set of members is walked in rising order`() {
    let set = MemberSet([MemberID(64), MemberID(1), MemberID(7)])
    #expect(set.map(\.number) == [1, 7, 64])
    #expect(!set.contains(MemberID(0)) && !set.contains(MemberID(65)))
  }
}
