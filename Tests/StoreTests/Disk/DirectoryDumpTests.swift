import Base
import Testing

@testable import Store

@Suite struct DirectoryDumpTests {
  private func dump(_ medium: MemoryMedium) throws -> [String] {
    var fileSystem = MemoryFileSystem(medium)
    var text = ""
    try dumpDirectory(&fileSystem) { text += String(decoding: $0, as: UTF8.self) }
    return text.split(separator: "\n").map(String.init)
  }

  @Test func `a log is printed as one line a change`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": Array("say \"hi\"\n\u{1}".utf8)])
    rig.commit(put: ["b": [0xFF, 0x00, 0x10, 0x80]], remove: ["a"])
    try rig.flush()
    try rig.worker.close(clean: true)
    let file = #""file":"log-0000000000000001","offset""#
    let lines = try dump(medium)
    #expect(
      lines == [
        #"{\#(file):512,"record":1,"change":"put","key":"a","value":"say \"hi\"\n\u0001","#
          + #""versionNanos":1700000000000001000}"#,
        #"{\#(file):584,"record":2,"change":"put","key":"b","valueBase64":"/wAQgA==","#
          + #""versionNanos":1700000000000002000}"#,
        #"{\#(file):584,"record":2,"change":"delete","key":"a","#
          + #""versionNanos":1700000000000002000}"#,
        #"{\#(file):1024,"record":3,"close":true}"#,
      ])
  }

  @Test func `what is staged is printed a line a change, under its id`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    var other = TestDatabase()
    let changes = other.changes([.put("a", "b"), .delete("a")])
    let versions = #","versionNanos":1000000000000}"#
    let id: [UInt8] = [0x01, 0xAB]
    try id.withUnsafeBytes { id in
      try Array("vote".utf8).withUnsafeBytes { note in
        try changes.withUnsafeBytes { _ = try rig.database.stage(id, note: note, changes: $0) }
        _ = rig.database.settle(id, committed: true, note: note)
        _ = rig.database.note(id, note)
        _ = rig.database.unnote(id)
        try changes.withUnsafeBytes { _ = try rig.database.stage(id, note: note, changes: $0) }
        _ = rig.database.settle(id, committed: false, note: nil)
      }
    }
    try rig.flush()
    let lines = try dump(medium).map { $0.drop { $0 != "," }.dropFirst().drop { $0 != "," } }
    #expect(
      lines == [
        #","record":1,"change":"stage","id":"01ab","stagedBy":1,"note":"vote"}"#,
        #","record":1,"staged":"01ab","change":"put","key":"a","value":"b"\#(versions)"#,
        #","record":1,"staged":"01ab","change":"delete","key":"a"\#(versions)"#,
        #","record":2,"change":"settle","id":"01ab","stagedBy":1,"decision":"commit","note":"vote"}"#,
        #","record":3,"change":"note","id":"01ab","note":"vote"}"#,
        #","record":4,"change":"unnote","id":"01ab"}"#,
        #","record":5,"change":"stage","id":"01ab","stagedBy":5,"note":"vote"}"#,
        #","record":5,"staged":"01ab","change":"put","key":"a","value":"b"\#(versions)"#,
        #","record":5,"staged":"01ab","change":"delete","key":"a"\#(versions)"#,
        #","record":6,"change":"settle","id":"01ab","stagedBy":5,"decision":"abort"}"#,
      ])
  }

  @Test func `a stage of what may not be staged is damage to a start, a check and a dump`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    let id = Array("t".utf8)
    var horizon = ByteBuffer()
    horizon.appendHorizon(millis: 5)
    rig.database.log.begin()
    id.withUnsafeBytes {
      rig.database.log.body.appendStage(id: $0, mark: Mark(1), note: $0, changes: horizon.bytes)
    }
    _ = rig.database.log.finish()
    try rig.flush()
    let reason = "no change: stages a change that is none that may be staged"
    let refused = try #require(refusal(medium))
    #expect("\(refused)".contains(reason))
    var fileSystem = MemoryFileSystem(medium)
    #expect(try checkDirectory(&fileSystem).map(\.reason) == [reason])
    #expect(try dump(medium).contains { $0.contains(reason) })
  }

  @Test func `a checkpoint is printed before the log`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    rig.commit(put: ["a": [0x31]])
    try rig.flush()
    try rig.writeCheckpoint()
    let lines = try dump(medium)
    #expect(lines.first?.contains(#""checkpoint":1,"through":1"#) == true)
    #expect(lines.contains { $0.contains("checkpoint-") && $0.contains(#""key":"a""#) })
    #expect(lines.contains { $0.contains(#""logLast":1"#) })
    #expect(lines.last?.contains(#""record":1"#) == true)
  }

  @Test func `what cannot be read is named and passed over`() throws {
    let medium = MemoryMedium()
    var rig = try DiskRig(medium)
    for index in 0..<3 {
      rig.commit(put: ["key \(index)": [0x31]])
      try rig.flush()
    }
    medium.names["log-0000000000000001"]!.live[1024 + 40] ^= 1
    let lines = try dump(medium)
    #expect(lines.count == 3)
    #expect(lines[1].contains(#""offset":1024,"error":"the record does not match its checksum""#))
    #expect(lines[2].contains(#""record":3"#))
  }

  @Test func `base64 ends as it should for every length`() {
    for (bytes, text) in [([0xFF], "/w=="), ([0xFF, 0xFE], "//4="), ([0xFF, 0xFE, 0xFD], "//79")] {
      var line = JSONLine()
      let bytes = bytes.map { UInt8($0) }
      bytes.withUnsafeBytes { line.field("x", bytes: $0) }
      var out = ""
      line.finish { out = String(decoding: $0, as: UTF8.self) }
      #expect(out == "{\"xBase64\":\"\(text)\"}\n")
    }
  }
}
