@testable import Store

/// The files of a data directory, in memory; copied as a value for each run.
struct MemoryFiles: FileSystem, ~Copyable {
  private(set) var files: [String: [UInt8]]
  private var handles: [String] = []

  init(_ files: [String: [UInt8]]) { self.files = files }

  mutating func list() -> [String] { files.keys.sorted() }

  mutating func open(_ name: String, create: Bool) throws(DiskFault) -> FileHandle {
    guard (files[name] == nil) == create else {
      throw DiskFault(call: create ? .create : .open, file: name, errno: create ? 17 : 2)
    }
    if create { files[name] = [] }
    handles.append(name)
    return FileHandle(raw: Int32(handles.count - 1))
  }

  mutating func close(_ file: FileHandle) {}

  mutating func size(of file: FileHandle) -> UInt64 { UInt64(bytes(file).count) }

  mutating func read(
    _ file: FileHandle, into buffer: UnsafeMutableRawBufferPointer, at offset: UInt64
  ) -> Int {
    let bytes = bytes(file)
    guard offset < UInt64(bytes.count) else { return 0 }
    let count = min(buffer.count, bytes.count - Int(offset))
    bytes.withUnsafeBytes {
      buffer.copyMemory(from: UnsafeRawBufferPointer(rebasing: $0[Int(offset)...].prefix(count)))
    }
    return count
  }

  mutating func write(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    let end = Int(offset) + bytes.count
    guard end <= 64 << 20 else { throw DiskFault(call: .write, file: "", errno: 28) }
    // A removed file may still be open, and is written to no end.
    guard var content = files.removeValue(forKey: handles[Int(file.raw)]) else { return }
    if content.count < end {
      content.append(contentsOf: repeatElement(0, count: end - content.count))
    }
    content.withUnsafeMutableBytes {
      UnsafeMutableRawBufferPointer(rebasing: $0[Int(offset)..<end]).copyMemory(from: bytes)
    }
    files[handles[Int(file.raw)]] = content
  }

  mutating func writeSectors(
    _ file: FileHandle, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) throws(DiskFault) {
    try write(file, bytes, at: offset)
  }

  mutating func force(_ file: FileHandle) {}

  mutating func dropCache(of file: FileHandle) -> UInt64 { 0 }

  mutating func truncate(_ file: FileHandle, to size: UInt64) {
    let name = handles[Int(file.raw)]
    guard let have = files[name]?.count else { return }
    if have > Int(size) {
      files[name]!.removeLast(have - Int(size))
    } else {
      files[name]!.append(contentsOf: repeatElement(0, count: Int(size) - have))
    }
  }

  mutating func rename(_ from: String, to: String) {
    files[to] = files.removeValue(forKey: from)
    for index in handles.indices where handles[index] == from { handles[index] = to }
  }

  mutating func remove(_ name: String) { files[name] = nil }
  mutating func forceDirectory() {}

  private func bytes(_ file: FileHandle) -> [UInt8] { files[handles[Int(file.raw)]] ?? [] }
}
