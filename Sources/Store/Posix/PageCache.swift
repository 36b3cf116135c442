import Base
import Glibc

/// What the system keeps in memory of a file's bytes.
enum PageCache {
  /// Asks the system to forget the clean pages of a file. It is advice: pages that another process
  /// has mapped or locked stay, and so does everything on a file system that lives in memory. The
  /// corresponding C function is `posix_fadvise` with `POSIX_FADV_DONTNEED`.
  static func drop(_ file: Int32) {
    _ = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED)
  }

  /// How many of the file's first `byteCount` bytes are in memory, in whole pages; all of them if
  /// the system does not tell. The corresponding C function is `mincore`.
  static func cachedByteCount(of file: Int32, byteCount: UInt64) -> UInt64 {
    guard byteCount > 0 else { return 0 }
    let length = Int(byteCount)
    guard let base = mmap(nil, length, PROT_READ, MAP_SHARED, file, 0), base != MAP_FAILED else {
      return byteCount
    }
    defer { munmap(base, length) }
    let pageByteCount = sysconf(Int32(_SC_PAGESIZE))
    var pages = [UInt8](repeating: 0, count: pageCountAtOnce)
    var cached = 0
    for offset in stride(from: 0, to: length, by: pageCountAtOnce * pageByteCount) {
      let run = min(pageCountAtOnce * pageByteCount, length - offset)
      guard mincore(base + offset, run, &pages) == 0 else { return byteCount }
      let count = (run + pageByteCount - 1) / pageByteCount
      cached += pages[..<count].reduce(0) { $0 + Int($1 & 1) }
    }
    return UInt64(cached * pageByteCount)
  }

  /// How many pages are asked about in one call.
  private static let pageCountAtOnce = 1 << 16
}
