import Base
import Glibc

/// One line of the journal: what one call of the negotiator changed.
struct Line: Equatable {
  enum Kind: UInt8 {
    case prepare = 1
    case commit, abort, note
    /// A fact of the books, in the journal's first part, which was written at a start.
    case fact
  }

  var kind: Kind
  /// The transaction, or the key of a note.
  var key: [UInt8] = []
  /// The order that is prepared, or the fact.
  var body: [UInt8] = []
  /// What the negotiator keeps under `key` from now on; nil: nothing.
  var note: [UInt8]?

  /// u8 kind, u8 bytes of the key, u8 whether there is a note, u32 bytes of the body; then the key,
  /// the body and the note.
  func encode(into buffer: inout ByteBuffer) {
    buffer.append(kind.rawValue)
    buffer.append(UInt8(key.count))
    buffer.append(note == nil ? 0 : 1)
    buffer.append(little: UInt32(body.count))
    buffer.append(key)
    buffer.append(body)
    if let note { buffer.append(note) }
  }

  init(_ kind: Kind, key: [UInt8] = [], body: [UInt8] = [], note: [UInt8]? = nil) {
    self.kind = kind
    self.key = key
    self.body = body
    self.note = note
  }

  init?(_ bytes: UnsafeRawBufferPointer) {
    guard bytes.count >= 7, let kind = Kind(rawValue: bytes[0]), bytes[2] <= 1 else { return nil }
    let bodyStart = 7 + Int(bytes[1])
    let bodyCount = UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: 3, as: UInt32.self))
    let noteStart = bodyStart + Int(bodyCount)
    guard noteStart <= bytes.count, bytes[2] == 1 || noteStart == bytes.count else { return nil }
    let hasNote = bytes[2] == 1
    self.init(
      kind, key: Array(bytes[7..<bodyStart]), body: Array(bytes[bodyStart..<noteStart]),
      note: hasNote ? Array(bytes[noteStart...]) : nil)
  }
}

/// A file that lines are appended to, and forced to disk together.
///
/// Eight bytes say what it is. A line is u32 bytes, u32 CRC-32C of them chained to that of the line
/// before, then the bytes; little-endian. What does not check out at the end was not forced when
/// the machine stopped, so nobody was told of it: it is cut off. A failed write or force ends the
/// process, for what the disk then holds is known only after it has been read again.
struct Journal: ~Copyable {
  private let directory: String
  private var file: Int32 = -1
  private var checksum: UInt32 = 0
  private var pending = ByteBuffer()
  private var byteCount = 0
  /// The bytes of the journal when it was last written anew.
  private var freshByteCount = 0

  private static let magic = Array("SHOPLOG1".utf8)
  private static let lineByteCountMax = 16 << 20
  /// Below this it is not worth while to write it anew.
  private static let growthByteCountMin = 4 << 20

  private var path: String { "\(directory)/journal" }

  /// Opens the journal of a directory, which is made when it is absent and kept from others.
  init(directory: String) {
    self.directory = directory
    guard mkdir(directory, 0o700) == 0 || errno == EEXIST else { fail("mkdir", directory) }
    let lock = open("\(directory)/lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
    guard lock >= 0 else { fail("open", "\(directory)/lock") }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else { fail("flock", "\(directory)/lock") }
  }

  deinit { if file >= 0 { close(file) } }

  // MARK: Reading

  /// Every line that is there, in order.
  func read() -> [Line] {
    var bytes = Self.contents(of: path)
    guard !bytes.isEmpty else { return [] }
    guard bytes.starts(with: Self.magic) else { stop("\(path) is not a journal of a shop") }
    return bytes.withUnsafeMutableBytes { Self.lines(UnsafeRawBufferPointer($0)) }
  }

  private static func lines(_ bytes: UnsafeRawBufferPointer) -> [Line] {
    var lines: [Line] = []
    var at = magic.count
    var checksum: UInt32 = 0
    while bytes.count - at >= 8 {
      let count = Int(word(bytes, at))
      guard count <= lineByteCountMax, bytes.count - at - 8 >= count else { break }
      let content = UnsafeRawBufferPointer(rebasing: bytes[(at + 8)..<(at + 8 + count)])
      checksum = CRC32C.checksum(content, seed: checksum)
      guard word(bytes, at + 4) == checksum, let line = Line(content) else { break }
      lines.append(line)
      at += 8 + count
    }
    return lines
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt32 {
    UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
  }

  /// The bytes of a file; none when it is absent.
  private static func contents(of path: String) -> [UInt8] {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    if file < 0, errno == ENOENT { return [] }
    guard file >= 0 else { fail("open", path) }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: Int(lseek(file, 0, SEEK_END)))
    var filled = 0
    while filled < bytes.count {
      let count = bytes.withUnsafeMutableBytes {
        pread(file, $0.baseAddress! + filled, $0.count - filled, off_t(filled))
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { fail("pread", path) }
      filled += count
    }
    return bytes
  }

  // MARK: Writing

  /// Appends a line; nothing is written before `force`.
  mutating func append(_ line: Line) {
    var content = ByteBuffer()
    line.encode(into: &content)
    checksum = CRC32C.checksum(content.bytes, seed: checksum)
    pending.append(little: UInt32(content.count))
    pending.append(little: checksum)
    pending.append(content.bytes)
  }

  /// Something was appended and is not forced yet.
  var hasPending: Bool { !pending.isEmpty }

  /// Writes what was appended, at once, and returns when the disk has it.
  mutating func force() {
    guard hasPending else { return }
    Self.write(pending.bytes, to: file, path)
    guard fdatasync(file) == 0 else { fail("fdatasync", path) }
    byteCount += pending.count
    pending.removeAll()
  }

  /// It holds much that later lines have made void.
  var isOverlong: Bool { byteCount > max(Self.growthByteCountMin, 4 * freshByteCount) }

  /// Puts a journal of these lines in place of the one that is there. Everything was forced.
  mutating func replace(with lines: [Line]) {
    let fresh = "\(path).new"
    if file >= 0 { close(file) }
    file = open(fresh, O_CREAT | O_TRUNC | O_WRONLY | O_APPEND | O_CLOEXEC, 0o600)
    guard file >= 0 else { fail("open", fresh) }
    checksum = 0
    byteCount = 0
    pending.append(Self.magic)
    for line in lines { append(line) }
    force()
    freshByteCount = byteCount
    guard rename(fresh, path) == 0 else { fail("rename", path) }
    let folder = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard folder >= 0, fsync(folder) == 0 else { fail("fsync", directory) }
    close(folder)
  }

  private static func write(_ bytes: UnsafeRawBufferPointer, to file: Int32, _ path: String) {
    var written = 0
    while written < bytes.count {
      let count = Glibc.write(file, bytes.baseAddress! + written, bytes.count - written)
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { fail("write", path) }
      written += count
    }
  }
}

/// Ends the process because the machine did not do what it was asked; exit code 74.
private func fail(_ call: String, _ path: String) -> Never {
  stop("\(path): \(call): \(String(cString: strerror(errno)))")
}

/// Says why, and ends the process with the exit code 74.
func stop(_ sentence: String) -> Never {
  complain(sentence)
  exit(74)
}

/// Writes a line to standard error.
func complain(_ sentence: String) {
  var line = "shop: \(sentence)\n"
  line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
