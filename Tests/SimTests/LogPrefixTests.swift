import Base
import Store
import Testing

@testable import SimKit

@Suite struct LogPrefixTests {
  private let prefix = LogPrefix()

  private func hand(through number: UInt64, at millis: UInt64) {
    var group = DiskGroup()
    group.last = Mark(number)
    prefix.hand(group, at: Script.instant(millis))
  }

  private func finish(through: UInt64, durable: UInt64) {
    prefix.finish(
      DiskReport(
        through: Mark(through), durable: Mark(durable), logByteCount: 0, checkpointByteCount: 0))
  }

  /// Three groups handed over: the first forced, the second written, the third under way.
  private func begin() {
    _ = prefix.recover(through: .zero, at: .zero)
    hand(through: 3, at: 10)
    finish(through: 3, durable: 3)
    hand(through: 5, at: 20)
    finish(through: 5, durable: 3)
    hand(through: 9, at: 30)
  }

  @Test(arguments: [(2, false), (3, true), (7, true), (9, true), (11, false)])
  func `A loss of power leaves what was forced and no more than there was`(
    mark: UInt64, isRight: Bool
  ) {
    begin()
    #expect(prefix.age(at: Script.instant(50)) == .millis(30))
    #expect(prefix.losePower() == Script.instant(10))
    #expect((prefix.recover(through: Mark(mark), at: .zero) == nil) == isRight)
  }

  @Test(arguments: [(4, false), (5, true), (9, true)])
  func `A dead process leaves what was written`(mark: UInt64, isRight: Bool) {
    begin()
    #expect(prefix.loseProcess() == Script.instant(20))
    #expect((prefix.recover(through: Mark(mark), at: .zero) == nil) == isRight)
  }

  @Test(arguments: [(8, false), (9, true), (10, true)])
  func `An orderly stop leaves everything`(mark: UInt64, isRight: Bool) {
    begin()
    prefix.close()
    #expect((prefix.recover(through: Mark(mark), at: .zero) == nil) == isRight)
  }

  @Test func `Power that fails in the recovery after a kill takes what the kill left`() {
    begin()
    _ = prefix.loseProcess()
    #expect(prefix.age(at: Script.instant(50)) == .zero)
    _ = prefix.losePower()
    #expect(prefix.recover(through: Mark(3), at: .zero) == nil)
  }

  @Test func `After a failed force only what had been forced is left`() {
    begin()
    prefix.fail()
    #expect(prefix.loseProcess() == Script.instant(10))
  }
}
