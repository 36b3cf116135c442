import Base
import Testing

@testable import Store

@Suite struct ChangeCodingTests {
  static let key = Array("key".utf8)
  static let bytes = Array("some bytes".utf8)

  /// One change of each kind, encoded.
  static func samples() -> [[UInt8]] {
    key.withUnsafeBytes { key in
      bytes.withUnsafeBytes { bytes in
        let version = Stamp(nanos: 0x0102_0304_0506_0708)
        let id = OperationID(high: 0x1112_1314_1516_1718, low: 0x2122_2324_2526_2728)
        let short = UnsafeRawBufferPointer(rebasing: bytes[..<0])
        let all: [Change] = [
          .put(key: key, value: bytes, version: version, expiry: -7),
          .put(key: key, value: short, version: version, expiry: Change.noExpiry),
          .delete(key: key, version: version),
          .splice(key: key, offset: 70_000, bytes: bytes, version: version, expiry: 12),
          .expire(key: key, version: version, expiry: 99), .flush(version: version),
          .outcome(id: id, status: .committed, reply: bytes),
          .outcome(id: id, status: .aborted, reply: short), .horizon(millis: 1_700_000_000_000),
          .stage(id: key, mark: Mark(9), note: bytes, changes: short),
          .settle(id: key, mark: Mark(9), committed: true, note: bytes),
          .settle(id: key, mark: Mark(9), committed: false, note: nil),
          .note(id: key, note: bytes), .unnote(id: key),
        ]
        return all.map { change in
          var buffer = ByteBuffer()
          buffer.append(change)
          return Array(buffer.bytes)
        }
      }
    }
  }

  @Test func `every change comes back as it was`() throws {
    let all = Self.samples()
    let joined = all.flatMap { $0 }
    try joined.withUnsafeBytes { bytes in
      var reader = ChangeReader(bytes)
      var again = ByteBuffer()
      for sample in all {
        let change = try #require(try reader.next())
        again.append(change)
        #expect(again.bytes.suffix(sample.count).elementsEqual(sample))
      }
      #expect(try reader.next() == nil)
      #expect(again.bytes.elementsEqual(joined))
    }
  }

  @Test func `the layout is the one that is written down`() {
    #expect(
      Self.samples()[3] == [3, 3, 0, 0x70, 0x11, 1, 0, 10, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1, 12]
        + [0, 0, 0, 0, 0, 0, 0] + Self.key + Self.bytes)
    #expect(
      Self.samples()[6] == [6, 0x18, 0x17, 0x16, 0x15, 0x14, 0x13, 0x12, 0x11, 0x28, 0x27, 0x26]
        + [0x25, 0x24, 0x23, 0x22, 0x21, 1, 10, 0, 0, 0] + Self.bytes)
    #expect(
      Self.samples()[9] == [8, 3, 10, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0] + Self.key
        + Self.bytes)
    #expect(
      Self.samples()[10] == [9, 3, 3, 10, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0] + Self.key + Self.bytes)
    #expect(Self.samples()[13] == [11, 3] + Self.key)
  }

  @Test func `a change cut off anywhere is refused`() {
    for sample in Self.samples() {
      for count in 1..<sample.count {
        #expect(throws: ChangeError.self, "\(count) of \(sample)") {
          try Array(sample[..<count]).withUnsafeBytes { bytes in
            var reader = ChangeReader(bytes)
            _ = try reader.next()
          }
        }
      }
    }
  }

  @Test func `only changes of the data are staged, and only with versions that clocks reach`() {
    for (index, sample) in Self.samples().enumerated() {
      let isOfData = index < 8
      for count in 0...1 {
        let staged = Self.samples()[2] + Array(repeating: sample, count: count).flatMap { $0 }
        #expect((Self.reason(ofStaging: staged) == nil) == (isOfData || count == 0), "\(sample)")
      }
    }
    let late = Self.key.withUnsafeBytes { key in
      [Stamp.greatest, Stamp(nanos: Stamp.greatest.nanos + 1)].map { version in
        var buffer = ByteBuffer()
        buffer.appendDelete(key: key, version: version)
        return Array(buffer.bytes)
      }
    }
    #expect(Self.reason(ofStaging: late[0]) == nil)
    #expect(Self.reason(ofStaging: late[1])?.contains("no clock reaches") == true)
  }

  /// Why a stage with these changes is refused; nil if it is read.
  static func reason(ofStaging changes: [UInt8]) -> String? {
    key.withUnsafeBytes { key -> String? in
      changes.withUnsafeBytes { changes -> String? in
        var buffer = ByteBuffer()
        buffer.appendStage(id: key, mark: Mark(1), note: key, changes: changes)
        var reader = ChangeReader(buffer.bytes)
        do throws(ChangeError) {
          _ = try reader.next()
          return nil
        } catch {
          return error.reason
        }
      }
    }
  }

  @Test func `a stage is refused when its last change is cut off`() {
    for sample in Self.samples()[..<8] {
      for count in 1..<sample.count {
        #expect(Self.reason(ofStaging: sample + sample[..<count])?.contains("cut off") == true)
      }
    }
  }

  @Test func `an id of the ledger has 1 to 32 bytes`() {
    for count in 0...40 {
      let isRight = (1...32).contains(count)
      let unnote = [11, UInt8(count)] + [UInt8](repeating: 1, count: count)
      let isRead = unnote.withUnsafeBytes { bytes in
        var reader = ChangeReader(bytes)
        return (try? reader.next()) != nil
      }
      #expect(isRead == isRight)
    }
  }

  @Test func `any bytes are read or refused, and never read past their end`() {
    var chance = Random(seed: 4)
    for _ in 0..<20_000 {
      var bytes = (0..<chance.below(60)).map { _ in UInt8(truncatingIfNeeded: chance.next()) }
      if !bytes.isEmpty { bytes[0] = UInt8(chance.below(13)) }
      bytes.withUnsafeBytes { bytes in
        var reader = ChangeReader(bytes)
        while let change = try? reader.next() {
          var again = ByteBuffer()
          again.append(change)
          #expect(again.count <= bytes.count)
        }
        #expect(reader.offset <= bytes.count)
      }
    }
  }
}
