import Base
import Glibc

/// A file that lines are appended to, and forced to disk together.
///
/// Eight bytes say what it is, then come pages. A page is what was forced together: the bytes
/// `page`, u32 bytes, u32 CRC-32C of the page's place in the file (as u64) and its bytes; then the
/// bytes, which are lines, each u32 bytes and the bytes. All little-endian. The first line says
/// whose journal it is.
///
/// A page is written when the one before it is on disk. So if the last one does not check out, it
/// was not on disk when the machine stopped, and nobody was told of it: it is cut off. If an intact
/// page follows, or there is no intact page, then somebody was told of what is lost: the process
/// ends, and the file stays as it is. A failed write or force ends it too, for what the disk then
/// holds is known only after it has been read again.
struct Journal: ~Copyable {
  private let directory: String
  private let owner: Line
  private var file: Int32 = -1
  private var pending = ByteBuffer()
  private var byteCount = 0
  /// The bytes of the journal when it was last written anew.
  private var freshByteCount = 0

  private static let magic = Array("SHOPLOG2".utf8)
  private static let pageMark = Array("page".utf8)
  private static let pageHeaderByteCount = 12
  /// Below this it is not worth while to write it anew.
  private static let growthByteCountMin = 4 << 20

  private var path: String { "\(directory)/journal" }

  /// Opens the journal of a directory, which is made when it is absent and kept from others. It
  /// is refused when it is not that of `owner`.
  init(directory: String, owner: String) {
    self.directory = directory
    self.owner = Line(.owner, body: Array(owner.utf8))
    guard mkdir(directory, 0o700) == 0 || errno == EEXIST else { fail("mkdir", directory) }
    // Also when it was there: who made it may have stopped before this.
    Self.forceNames(in: "\(directory)/..")
    let lock = open("\(directory)/lock", O_CREAT | O_RDWR | O_CLOEXEC, 0o600)
    guard lock >= 0 else { fail("open", "\(directory)/lock") }
    guard flock(lock, LOCK_EX | LOCK_NB) == 0 else { fail("flock", "\(directory)/lock") }
  }

  deinit { if file >= 0 { close(file) } }

  // MARK: Reading

  /// Every line that is there after the first, in order.
  func read() -> [Line] {
    guard let bytes = Self.contents(of: path) else { return [] }
    guard bytes.starts(with: Self.magic) else { stop("\(path) is not a journal of a shop") }
    let path = path
    let lines = bytes.withUnsafeBytes { Self.lines($0, path) }
    guard lines[0] == owner else {
      let other = String(decoding: lines[0].body, as: UTF8.self)
      let own = String(decoding: owner.body, as: UTF8.self)
      stop("\(path) is the journal of \(other), not of \(own)", 2)
    }
    return Array(lines.dropFirst())
  }

  /// The lines of all pages but a last one that is damaged; at least one.
  private static func lines(_ bytes: UnsafeRawBufferPointer, _ path: String) -> [Line] {
    var lines: [Line] = []
    var at = magic.count
    while let page = page(bytes, at) {
      guard append(linesOf: page, to: &lines) else {
        stop("\(path) holds a line that this program does not know, after byte \(at)")
      }
      at += pageHeaderByteCount + page.count
    }
    guard !lines.isEmpty, !(at..<bytes.count).contains(where: { page(bytes, $0) != nil }) else {
      stop("\(path) is damaged at byte \(at), in what was on disk; it stays as it is")
    }
    return lines
  }

  /// The bytes of the page that begins there; nil: none does, or it is damaged.
  private static func page(
    _ bytes: UnsafeRawBufferPointer, _ at: Int
  ) -> UnsafeRawBufferPointer? {
    let start = at + pageHeaderByteCount
    guard start <= bytes.count, bytes[at..<(at + 4)].elementsEqual(pageMark) else { return nil }
    let count = Int(word(bytes, at + 4))
    guard bytes.count - start >= count else { return nil }
    let page = UnsafeRawBufferPointer(rebasing: bytes[start..<(start + count)])
    return word(bytes, at + 8) == CRC32C.checksum(page, identity: UInt64(at)) ? page : nil
  }

  /// False: the page holds something else than lines.
  private static func append(
    linesOf page: UnsafeRawBufferPointer, to lines: inout [Line]
  ) -> Bool {
    var at = 0
    while at < page.count {
      guard page.count - at >= 4 else { return false }
      let end = at + 4 + Int(word(page, at))
      guard end <= page.count,
        let line = Line(UnsafeRawBufferPointer(rebasing: page[(at + 4)..<end]))
      else { return false }
      lines.append(line)
      at = end
    }
    return true
  }

  private static func word(_ bytes: UnsafeRawBufferPointer, _ at: Int) -> UInt32 {
    UInt32(littleEndian: bytes.loadUnaligned(fromByteOffset: at, as: UInt32.self))
  }

  /// The bytes of a file; nil when it is absent.
  private static func contents(of path: String) -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    if file < 0, errno == ENOENT { return nil }
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
    pending.append(little: UInt32(content.count))
    pending.append(content.bytes)
  }

  /// Something was appended and is not forced yet.
  var hasPending: Bool { !pending.isEmpty }

  /// Writes what was appended, as one page, and returns when the disk has it.
  mutating func force() {
    guard hasPending else { return }
    var page = ByteBuffer()
    page.append(Self.pageMark)
    page.append(little: UInt32(pending.count))
    page.append(little: CRC32C.checksum(pending.bytes, identity: UInt64(byteCount)))
    page.append(pending.bytes)
    Self.write(page.bytes, to: file, path)
    guard fdatasync(file) == 0 else { fail("fdatasync", path) }
    byteCount += page.count
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
    Self.magic.withUnsafeBytes { Self.write($0, to: file, fresh) }
    byteCount = Self.magic.count
    append(owner)
    for line in lines { append(line) }
    force()
    freshByteCount = byteCount
    guard rename(fresh, path) == 0 else { fail("rename", path) }
    Self.forceNames(in: directory)
  }

  /// Returns when the disk has the names of what was made or renamed in a directory.
  private static func forceNames(in directory: String) {
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

/// Says why, and ends the process; exit code 74: the disk or the machine is at fault.
func stop(_ sentence: String, _ code: Int32 = 74) -> Never {
  complain(sentence)
  exit(code)
}

/// Writes a line to standard error.
func complain(_ sentence: String) {
  var line = "shop: \(sentence)\n"
  line.withUTF8 { _ = write(STDERR_FILENO, $0.baseAddress, $0.count) }
}
