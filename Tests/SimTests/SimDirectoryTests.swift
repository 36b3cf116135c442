import Base
import Store
import Testing

@testable import SimKit

/// The simulated disk forgets what was not forced and keeps what was.
@Suite struct SimDirectoryTests {
  private func bytes(_ byte: UInt8, _ count: Int) -> [UInt8] {
    Array(repeating: byte, count: count)
  }

  private func write(
    _ directory: SimDirectory, _ file: FileHandle, _ bytes: [UInt8], at offset: UInt64
  ) throws {
    try bytes.withUnsafeBytes { b in try directory.write(file, b, at: offset) }
  }

  private func read(_ directory: SimDirectory, _ name: String) throws -> [UInt8] {
    let file = try directory.open(name, create: false)
    var bytes = [UInt8](repeating: 0, count: Int(try directory.size(of: file)))
    _ = try bytes.withUnsafeMutableBytes { b in
      try directory.read(file, into: b, at: 0)
    }
    return bytes
  }

  @Test(arguments: Survival.allCases)
  func `What was forced survives every loss of power`(survival: Survival) throws {
    for seed in 0..<20 as Range<UInt64> {
      let directory = SimDirectory(seed: seed)
      let file = try directory.open("log", create: true)
      try write(directory, file, bytes(1, 2_000), at: 0)
      try directory.force(file)
      try directory.forceDirectory()
      directory.losePower(survival)
      #expect(try read(directory, "log") == bytes(1, 2_000))
    }
  }

  @Test func `A failed force shows only once the cache is dropped`() throws {
    var vanished = 0
    for seed in 0..<20 as Range<UInt64> {
      let directory = SimDirectory(seed: seed)
      let file = try directory.open("log", create: true)
      try write(directory, file, bytes(1, 4_096), at: 0)
      try directory.force(file)
      try directory.forceDirectory()
      try write(directory, file, bytes(2, 2_048), at: 0)
      directory.callsUntilFailure = 1
      #expect(throws: DiskFault.self) { try directory.force(file) }
      directory.restart()
      let again = try directory.open("log", create: false)
      try directory.force(again)
      #expect(try read(directory, "log") == bytes(2, 2_048) + bytes(1, 2_048))
      _ = try directory.dropCache(of: again)
      let found = try read(directory, "log")
      #expect(found[2_048...] == bytes(1, 2_048)[...])
      if found[..<2_048] != bytes(2, 2_048)[...] { vanished += 1 }
      directory.losePower(.nothing)
      #expect(try read(directory, "log") == found)
    }
    #expect(vanished > 5)
  }

  @Test func `Unforced sectors are kept, dropped or torn, others stay whole`() throws {
    var kept = 0
    var dropped = 0
    var torn = 0
    for seed in 0..<50 as Range<UInt64> {
      let directory = SimDirectory(seed: seed)
      let file = try directory.open("log", create: true)
      try write(directory, file, bytes(1, 4_096), at: 0)
      try directory.force(file)
      try directory.forceDirectory()
      try write(directory, file, bytes(2, 1_024), at: 1_024)
      directory.losePower(.each)
      let found = try read(directory, "log")
      #expect(found[..<1_024] == bytes(1, 1_024)[...])
      #expect(found[2_048...] == bytes(1, 2_048)[...])
      for sector in [found[1_024..<1_536], found[1_536..<2_048]] {
        if sector.allSatisfy({ $0 == 2 }) {
          kept += 1
        } else if sector.allSatisfy({ $0 == 1 }) {
          dropped += 1
        } else {
          torn += 1
        }
      }
    }
    #expect(kept > 10 && dropped > 10 && torn > 10)
  }

  @Test func `A name lives from the directory's force on`() throws {
    let directory = SimDirectory(seed: 1)
    let file = try directory.open("log", create: true)
    try write(directory, file, bytes(1, 100), at: 0)
    try directory.force(file)
    directory.losePower(.nothing)
    #expect(try directory.list() == [])
  }

  @Test func `A renamed file is under its old or new name, and the target old or new`() throws {
    var found: Set<[String]> = []
    for seed in 0..<64 as Range<UInt64> {
      let directory = SimDirectory(seed: seed)
      for name in ["new", "old"] {
        let file = try directory.open(name, create: true)
        try write(directory, file, bytes(name == "new" ? 9 : 3, 10), at: 0)
        try directory.force(file)
      }
      try directory.forceDirectory()
      try directory.rename("new", to: "old")
      directory.losePower(.each)
      let content = try read(directory, "old")
      #expect(content == bytes(9, 10) || content == bytes(3, 10))
      found.insert(try directory.list() + ["\(content[0])"])
    }
    #expect(found.count == 4)
  }

  @Test func `A failed force proves nothing, not even when it is tried again`() throws {
    var lost = 0
    for seed in 0..<20 as Range<UInt64> {
      let directory = SimDirectory(seed: seed)
      let file = try directory.open("log", create: true)
      try directory.forceDirectory()
      try write(directory, file, bytes(1, 5_120), at: 0)
      directory.callsUntilFailure = 1
      #expect(throws: DiskFault.self) { try directory.force(file) }
      try directory.force(file)
      directory.losePower(.nothing)
      if try read(directory, "log") != bytes(1, 5_120) { lost += 1 }
    }
    #expect(lost > 10)
  }

  @Test func `The machine ends at the effect that was asked for, and every later call fails`()
    throws
  {
    let directory = SimDirectory(seed: 3)
    directory.effectsUntilDeath = 2
    let file = try directory.open("log", create: true)
    #expect(throws: DiskFault(call: .force, file: "", errno: -1)) { try directory.force(file) }
    #expect(directory.isDead)
    #expect(throws: DiskFault.self) { try directory.list() }
    directory.losePower(.all)
    #expect(try directory.list() == ["log"])
  }

  @Test func `A full disk refuses what grows and takes what does not`() throws {
    let directory = SimDirectory(seed: 4)
    let file = try directory.open("log", create: true)
    try write(directory, file, bytes(1, 1_000), at: 0)
    directory.capacity = 1_200
    #expect(throws: DiskFault.self) { try write(directory, file, bytes(2, 500), at: 1_000) }
    try write(directory, file, bytes(3, 1_000), at: 0)
    #expect(directory.fullCount == 1)
  }

  @Test func `A flipped bit differs in one place`() throws {
    let directory = SimDirectory(seed: 5)
    let file = try directory.open("log", create: true)
    try write(directory, file, bytes(7, 600), at: 0)
    try directory.force(file)
    try directory.forceDirectory()
    let copy = directory.copy(seed: 6)
    let place = try #require(copy.flipBit())
    var expected = bytes(7, 600)
    expected[place.byte] ^= 1 << UInt8(place.bit)
    #expect(try read(copy, "log") == expected)
    directory.losePower(.all)
    #expect(try read(directory, "log") == bytes(7, 600))
  }
}
