import Base
import CLinux
import Glibc

/// Writes to files past the system's cache, which saves copying the bytes and the memory for them.
///
/// The kernel takes whole sectors from memory that begins at a multiple of them only; what does not
/// goes through a buffer of bounded size. Not every file system can do it, and not every disk has
/// sectors as small as ours: what it refuses is `refused` once a file, and left to who asked.
struct DirectWriting: ~Copyable {
  enum Outcome {
    case done
    /// Nothing was written.
    case refused
    /// The C error number.
    case failed(Int32)
  }

  /// Files that were switched to it; false: it was refused.
  private var files: [Int32: Bool] = [:]
  private let bounce = UnsafeMutableRawPointer.allocate(
    byteCount: bounceByteCount, alignment: 4096)

  private static var bounceByteCount: Int { 128 << 10 }
  private static var sector: Int { LogFormat.sectorByteCount }

  deinit { bounce.deallocate() }

  /// Writes all bytes, and zeroes up to the next multiple of a sector.
  mutating func write(
    _ file: Int32, _ bytes: UnsafeRawBufferPointer, at offset: UInt64
  ) -> Outcome {
    invariant(offset % UInt64(Self.sector) == 0, "sectors are written at a sector")
    guard begin(file) else { return .refused }
    var done = 0
    while done < bytes.count {
      let count = writeSome(
        file, UnsafeRawBufferPointer(rebasing: bytes[done...]), at: Int(offset) + done)
      if count < 0 {
        let number = errno
        if number == EINTR { continue }
        guard number == EINVAL, done == 0 else { return .failed(number) }
        refuse(file)
        return .refused
      }
      // The rest of a sector that was written in part is written again.
      let whole = count & ~(Self.sector - 1)
      guard whole > 0 else { return .failed(EIO) }
      done += whole
    }
    return .done
  }

  /// Has the file written through the cache again.
  mutating func end(_ file: Int32) {
    guard files[file] == true else { return }
    refuse(file)
  }

  /// The file is closed.
  mutating func forget(_ file: Int32) { files[file] = nil }

  // MARK: Parts

  /// One call: from where the bytes are if that is possible, else a piece by way of `bounce`. The
  /// count may go beyond the bytes by what fills their last sector.
  private func writeSome(
    _ file: Int32, _ bytes: UnsafeRawBufferPointer, at offset: Int
  ) -> Int {
    guard let base = bytes.baseAddress, Int(bitPattern: base) % Self.sector == 0 else {
      let piece = UnsafeRawBufferPointer(rebasing: bytes.prefix(Self.bounceByteCount))
      return pwrite(file, bounce, fill(piece), off_t(offset))
    }
    let whole = bytes.count & ~(Self.sector - 1)
    let rest = UnsafeRawBufferPointer(rebasing: bytes[whole...])
    guard rest.count > 0 else { return pwrite(file, base, whole, off_t(offset)) }
    guard whole > 0 else { return pwrite(file, bounce, fill(rest), off_t(offset)) }
    var parts = (
      iovec(iov_base: UnsafeMutableRawPointer(mutating: base), iov_len: whole),
      iovec(iov_base: bounce, iov_len: fill(rest))
    )
    return withUnsafePointer(to: &parts) {
      $0.withMemoryRebound(to: iovec.self, capacity: 2) { pwritev(file, $0, 2, off_t(offset)) }
    }
  }

  /// Copies bytes to `bounce`, with zeroes to the end of the sector; how many that is.
  private func fill(_ bytes: UnsafeRawBufferPointer) -> Int {
    let padded = (bytes.count + Self.sector - 1) & ~(Self.sector - 1)
    if let base = bytes.baseAddress { bounce.copyMemory(from: base, byteCount: bytes.count) }
    (bounce + bytes.count).initializeMemory(
      as: UInt8.self, repeating: 0, count: padded - bytes.count)
    return padded
  }

  private mutating func begin(_ file: Int32) -> Bool {
    if let state = files[file] { return state }
    let flags = fcntl(file, F_GETFL)
    let can = flags >= 0 && fcntl(file, F_SETFL, flags | cl_o_direct) == 0
    files[file] = can
    return can
  }

  private mutating func refuse(_ file: Int32) {
    files[file] = false
    let flags = fcntl(file, F_GETFL)
    if flags >= 0 { _ = fcntl(file, F_SETFL, flags & ~cl_o_direct) }
  }
}
