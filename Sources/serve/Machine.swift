import CLinux
import Glibc

/// What the machine and its limits allow this process.
enum Machine {
  /// The default for `--max-memory`: three quarters of the smaller of the machine's memory and the
  /// tightest limit of the control groups that this process is in.
  static func defaultMemoryByteCountMax() -> Int {
    let pages = sysconf(Int32(_SC_PHYS_PAGES))
    let pageByteCount = sysconf(Int32(_SC_PAGESIZE))
    let physical = pages > 0 && pageByteCount > 0 ? pages * pageByteCount : 1 << 30
    let limit = controlGroupByteCountMax() ?? physical
    return min(physical, limit) / 4 * 3
  }

  /// Gives memory of large buffers back to the kernel as soon as they are freed, and keeps the disk
  /// thread and the loop in two heaps. The corresponding C function is `mallopt`.
  ///
  /// Small freed blocks are joined with their neighbours at once (no "fast bins"): otherwise the
  /// first large allocation after ten million deletes joins them all, which takes 140 ms.
  static func tuneAllocator() {
    mallopt(M_MXFAST, 0)
    mallopt(M_ARENA_MAX, 2)
    mallopt(M_MMAP_THRESHOLD, 1 << 20)
    mallopt(M_TRIM_THRESHOLD, 4 << 20)
  }

  /// Opens `/dev/null` in place of standard input, output and error where the caller closed them:
  /// otherwise a data file would get the number 2, and the log would be written into it.
  static func occupyStandardDescriptors() {
    while true {
      let descriptor = open("/dev/null", O_RDWR)
      guard descriptor >= 0, descriptor <= STDERR_FILENO else {
        if descriptor > STDERR_FILENO { close(descriptor) }
        return
      }
    }
  }

  /// The whole of a small text file, or nil.
  static func readText(_ path: String, byteCountMax: Int = 64 << 10) -> String? {
    readBytes(path, byteCountMax: byteCountMax).map { String(decoding: $0, as: UTF8.self) }
  }

  /// The first bytes of a file, or nil.
  static func readBytes(_ path: String, byteCountMax: Int) -> [UInt8]? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: byteCountMax)
    var filled = 0
    while filled < byteCountMax {
      let count = bytes.withUnsafeMutableBytes {
        read(file, $0.baseAddress! + filled, byteCountMax - filled)
      }
      if count < 0, errno == EINTR { continue }
      guard count > 0 else { break }
      filled += count
    }
    return Array(bytes[..<filled])
  }

  // MARK: Control groups

  /// The tightest memory limit on the way from this process's control group to the root, of version
  /// 1 and 2; nil when there is none.
  private static func controlGroupByteCountMax() -> Int? {
    guard let membership = readText("/proc/self/cgroup") else { return nil }
    var tightest: Int?
    for line in membership.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 2, omittingEmptySubsequences: false)
      guard parts.count == 3 else { continue }
      let controllers = parts[1].split(separator: ",")
      let root: String
      let file: String
      if parts[1].isEmpty {
        root = "/sys/fs/cgroup"
        file = "memory.max"
      } else if controllers.contains("memory") {
        root = "/sys/fs/cgroup/memory"
        file = "memory.limit_in_bytes"
      } else {
        continue
      }
      if let limit = tightestLimit(root: root, path: parts[2], file: file) {
        tightest = min(tightest ?? limit, limit)
      }
    }
    return tightest
  }

  private static func tightestLimit(root: String, path: Substring, file: String) -> Int? {
    var folders = path.split(separator: "/")
    var tightest: Int?
    while true {
      let place = ([root] + folders.map(String.init) + [file]).joined(separator: "/")
      if let text = readText(place, byteCountMax: 64),
        let limit = Int(text.prefix { $0 != "\n" }), limit > 0
      {
        tightest = min(tightest ?? limit, limit)
      }
      guard folders.popLast() != nil else { return tightest }
    }
  }
}
