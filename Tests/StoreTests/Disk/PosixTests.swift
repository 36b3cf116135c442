import Base
import Glibc
import Synchronization
import Testing

@testable import Store

/// A directory of its own that goes away with the value.
private final class TemporaryDirectory {
  let path: String

  init(in parent: String = "/tmp") {
    var template = Array("\(parent)/tup-store.XXXXXX".utf8CString)
    path = String(cString: mkdtemp(&template)) + "/data"
  }

  deinit {
    guard let stream = opendir(path) else { return }
    while let entry = readdir(stream) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(cString: $0.baseAddress!.assumingMemoryBound(to: CChar.self))
      }
      unlink(path + "/" + name)
    }
    closedir(stream)
    rmdir(path)
    rmdir(String(path.dropLast("/data".count)))
  }

  func mode(_ name: String = "") -> UInt32 {
    var status = stat()
    return stat(path + "/" + name, &status) == 0 ? status.st_mode & 0o777 : 0
  }
}

@Suite struct PosixFileSystemTests {
  @Test func `a directory and its files are for their owner only`() throws {
    let directory = TemporaryDirectory()
    var fileSystem = try PosixFileSystem(serving: directory.path)
    let file = try fileSystem.open("a", create: true)
    fileSystem.close(file)
    #expect(directory.mode() == 0o700)
    #expect(directory.mode("a") == 0o600)
    #expect(directory.mode("lock") == 0o600)
    let names = try fileSystem.list()
    #expect(names == ["a", "lock"])
  }

  @Test func `what is written is read, and reading ends at the end`() throws {
    let directory = TemporaryDirectory()
    var fileSystem = try PosixFileSystem(serving: directory.path)
    let file = try fileSystem.open("a.tmp", create: true)
    var bytes = ByteBuffer()
    bytes.append(Array(0..<200))
    try fileSystem.write(file, bytes.bytes, at: 100)
    try fileSystem.force(file)
    try fileSystem.rename("a.tmp", to: "a")
    try fileSystem.forceDirectory()
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 400, alignment: 1)
    defer { buffer.deallocate() }
    let count = try fileSystem.read(file, into: buffer, at: 50)
    let size = try fileSystem.size(of: file)
    #expect(count == 250 && size == 300)
    #expect(Array(buffer[0..<250]) == Array(repeating: 0, count: 50) + Array(0..<200))
    try fileSystem.truncate(file, to: 10)
    let shorter = try fileSystem.size(of: file)
    #expect(shorter == 10)
    try fileSystem.remove("a")
    let names = try fileSystem.list()
    #expect(names == ["lock"])
  }

  @Test func `a dropped cache is gone, and reading shows what the disk holds`() throws {
    // Unlike /tmp, never in memory.
    let directory = TemporaryDirectory(in: "/var/tmp")
    var fileSystem = try PosixFileSystem(serving: directory.path)
    let file = try fileSystem.open("a", create: true)
    var bytes = ByteBuffer()
    bytes.append(Array(repeating: 7, count: 1_000_001))
    try fileSystem.write(file, bytes.bytes, at: 0)
    try fileSystem.force(file)
    let before = PageCache.cachedByteCount(of: file.raw, byteCount: 1_000_001)
    #expect(before >= 1_000_001)
    let left = try fileSystem.dropCache(of: file)
    #expect(left == 0)
    #expect(PageCache.cachedByteCount(of: file.raw, byteCount: 1_000_001) == 0)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1_000_001, alignment: 1)
    defer { buffer.deallocate() }
    _ = try fileSystem.read(file, into: buffer, at: 0)
    #expect(buffer.allSatisfy { $0 == 7 })
  }

  @Test func `pages that the system keeps are told`() throws {
    let directory = TemporaryDirectory()
    var fileSystem = try PosixFileSystem(serving: directory.path)
    let file = try fileSystem.open("a", create: true)
    var bytes = ByteBuffer()
    bytes.append(Array(repeating: 7, count: 100_000))
    try fileSystem.write(file, bytes.bytes, at: 0)
    try fileSystem.force(file)
    // A page that somebody has mapped is not let go.
    let mapped = mmap(nil, 4096, PROT_READ, MAP_SHARED, file.raw, 0)!
    defer { munmap(mapped, 4096) }
    #expect(mapped.load(as: UInt8.self) == 7)
    let left = try fileSystem.dropCache(of: file)
    #expect(left >= 4096)
  }

  /// In memory the file system may refuse to write past the cache.
  @Test(arguments: ["/tmp", "/var/tmp", "/dev/shm"])
  func `sectors are written from any memory, and mixed with other calls`(parent: String) throws {
    let directory = TemporaryDirectory(in: parent)
    var fileSystem = try PosixFileSystem(serving: directory.path)
    let file = try fileSystem.open("a", create: true)
    let size = 2 << 20
    try fileSystem.truncate(file, to: UInt64(size))
    var expected = [UInt8](repeating: 0, count: size)
    let memory = UnsafeMutableRawBufferPointer.allocate(byteCount: size, alignment: 4096)
    defer { memory.deallocate() }
    var chance = Random(seed: 3)
    for index in 0..<(size / 8) {
      memory.storeBytes(of: chance.next(), toByteOffset: index * 8, as: UInt64.self)
    }
    var offset = 0
    for (start, count) in [
      (0, 4096), (512, 700), (1024, 100), (8, 513), (3, 1), (16, 300_000), (4096, 400_001),
    ] {
      let bytes = UnsafeRawBufferPointer(rebasing: memory[start..<(start + count)])
      try fileSystem.writeSectors(file, bytes, at: UInt64(offset))
      expected.replaceSubrange(offset..<(offset + count), with: bytes)
      if count == 513 {
        // Through the cache, in the sector just written, and then past it again.
        let few = UnsafeRawBufferPointer(rebasing: memory[0..<77])
        try fileSystem.write(file, few, at: UInt64(offset + 1))
        expected.replaceSubrange((offset + 1)..<(offset + 78), with: few)
      }
      offset += (count + 511) & ~511
    }
    try fileSystem.force(file)
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: size + 1, alignment: 1)
    defer { buffer.deallocate() }
    let count = try fileSystem.read(file, into: buffer, at: 0)
    #expect(count == size)
    #expect(Array(buffer[..<size]) == expected)
  }

  @Test func `a fault names the call, the file and the number`() throws {
    let directory = TemporaryDirectory()
    var fileSystem = try PosixFileSystem(serving: directory.path)
    var fault: DiskFault?
    do throws(DiskFault) { _ = try fileSystem.open("absent", create: false) } catch {
      fault = error
    }
    #expect(fault == DiskFault(call: .open, file: "absent", errno: ENOENT))
    do throws(DiskFault) { _ = try fileSystem.open("lock", create: true) } catch { fault = error }
    #expect(fault == DiskFault(call: .create, file: "lock", errno: EEXIST))
  }

  @Test func `a directory in use is refused to servers and inspectors`() throws {
    let directory = TemporaryDirectory()
    func refusal(_ open: (String) throws(RecoveryError) -> Void) -> RecoveryError? {
      do throws(RecoveryError) { try open(directory.path) } catch { return error }
      return nil
    }
    let serve = { (path: String) throws(RecoveryError) in _ = try PosixFileSystem(serving: path) }
    let inspect = { (path: String) throws(RecoveryError) in
      _ = try PosixFileSystem(inspecting: path)
    }
    let fileSystem = try PosixFileSystem(serving: directory.path)
    #expect(refusal(serve) == .inUse)
    #expect(refusal(inspect) == .inUse)
    _ = consume fileSystem
    #expect(refusal(inspect) == nil)
    #expect(refusal(serve) == nil)
  }
}

@Suite struct ThreadedDiskTests {
  /// Polls until an event comes; the thread wakes nobody here.
  private func next(_ disk: inout ThreadedDisk) -> DiskEvent {
    while true {
      if let event = disk.poll() { return event }
      sched_yield()
    }
  }

  private func open(
    _ path: String, options: DiskOptions = DiskOptions(),
    wake: @escaping @Sendable () -> Void = {}
  ) throws -> ThreadedDisk {
    let worker = DiskWorker(
      fileSystem: try PosixFileSystem(serving: path), options: options,
      databaseLimits: DatabaseLimits(), hashKey: SipKey(k0: 1, k1: 2), freshIdentity: 99)
    return ThreadedDisk(worker: worker, wake: wake)
  }

  private func recover(_ disk: inout ThreadedDisk) -> Database? {
    disk.recover()
    while true {
      switch next(&disk) {
      case .recovered(let database): return database
      case .recovering: continue
      default: return nil
      }
    }
  }

  @Test func `groups become durable and come back after a restart`() throws {
    let directory = TemporaryDirectory()
    var disk = try open(directory.path)
    guard var database = recover(&disk) else {
      Issue.record("not recovered")
      return
    }
    var group = DiskGroup()
    for round in 1...5 {
      database.observe(wallNanos: UInt64(round) * 1_000_000_000)
      database.begin(multi: false)
      Array("key \(round)".utf8).withUnsafeBytes {
        _ = database.execute(.put(key: $0, value: $0, .plain))
      }
      let mark = database.commit()
      database.log.take(into: &group)
      disk.start(group)
      guard case .finished(let back, let report) = next(&disk) else {
        Issue.record("not finished")
        return
      }
      group = back
      #expect(report.durable == mark)
      let isEmpty = group.log.isEmpty
      #expect(isEmpty)
    }
    let fault = disk.shutDown(clean: true)
    #expect(fault == nil)
    _ = consume disk
    var again = try open(directory.path)
    let recovered = recover(&again)
    let count = recovered?.count
    #expect(count == 5)
    _ = again.shutDown(clean: false)
  }

  /// The log is small, so that the disk thread prepares segments and removes none meanwhile.
  @Test func `who waits for groups is not woken, and they are as durable`() throws {
    let directory = TemporaryDirectory()
    var options = DiskOptions()
    options.segmentByteCountMin = 16 << 10
    options.segmentByteCountMax = 16 << 10
    let wakes = Atomic(0)
    var disk = try open(directory.path, options: options) {
      wakes.add(1, ordering: .relaxed)
    }
    guard var database = recover(&disk) else {
      Issue.record("not recovered")
      return
    }
    var group = DiskGroup()
    var awaited = 0
    let before = wakes.load(ordering: .relaxed)
    for round in 1...300 {
      database.begin(multi: false)
      Array("key \(round)".utf8).withUnsafeBytes {
        _ = database.execute(.put(key: $0, value: $0, .plain))
      }
      let mark = database.commit()
      database.log.take(into: &group)
      let isDone = disk.performNow(group)
      let hasNews = disk.hasNews
      #expect(hasNews || !isDone)
      if isDone { awaited += 1 }
      guard case .finished(let back, let report) = next(&disk) else {
        Issue.record("not finished")
        return
      }
      group = back
      #expect(report.durable == mark)
    }
    // Besides those of the disk thread the wake of the recovery may come late.
    let woken = wakes.load(ordering: .relaxed) - before
    #expect(awaited > 1 && woken <= 301 - awaited)
    let fault = disk.shutDown(clean: true)
    #expect(fault == nil)
    _ = consume disk
    var again = try open(directory.path, options: options)
    let recovered = recover(&again)
    let count = recovered?.count
    #expect(count == 300)
    _ = again.shutDown(clean: false)
  }

  @Test func `damage is told as what it is`() throws {
    let directory = TemporaryDirectory()
    var disk = try open(directory.path)
    _ = recover(&disk)
    _ = disk.shutDown(clean: true)
    _ = consume disk
    let file = Glibc.open(directory.path + "/log-0000000000000001", O_RDWR)
    pwrite(file, "x", 1, 20)
    close(file)
    var again = try open(directory.path)
    again.recover()
    guard case .unrecoverable(let error) = next(&again) else {
      Issue.record("recovered from damage")
      return
    }
    guard case .damaged("log-0000000000000001", 0, _, _) = error else {
      Issue.record("\(error)")
      return
    }
    _ = again.shutDown(clean: false)
  }
}
