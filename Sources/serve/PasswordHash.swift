import Base
import Glibc

/// `crypt_r` of libcrypt, opened at run time, so that the server starts where it is absent and says
/// so only when a password file asks for it.
struct PasswordHasher: @unchecked Sendable {
  private typealias CryptFunction =
    @convention(c) (
      UnsafePointer<CChar>?, UnsafePointer<CChar>?, UnsafeMutableRawPointer?
    ) -> UnsafeMutablePointer<CChar>?

  /// Bytes of libxcrypt's longest password (`CRYPT_MAX_PASSPHRASE_SIZE`), the final zero included.
  static let passwordByteCountMax = 511
  /// Room for `struct crypt_data` of every libcrypt (glibc's was 131,232 bytes).
  private static let workspaceByteCount = 256 << 10

  private let crypt: CryptFunction

  /// Opens the library. Throws when it is absent.
  init() throws(Failure) {
    for name in ["libcrypt.so.1", "libcrypt.so.2", "libcrypt.so"] {
      guard let library = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { continue }
      guard let symbol = dlsym(library, "crypt_r") else { continue }
      crypt = unsafeBitCast(symbol, to: CryptFunction.self)
      return
    }
    throw Failure(
      .configuration,
      "--password-file needs libcrypt (libcrypt.so.1), which is not installed here")
  }

  /// True when `hash` is a whole hash in a form that this libcrypt knows.
  ///
  /// Those without `$` are not taken: a plain password in the file would pass for one, and they
  /// look at eight characters only.
  func knows(_ hash: [UInt8]) -> Bool {
    guard hash.first == UInt8(ascii: "$"), let probe = digest(of: Array("probe".utf8), like: hash)
    else { return false }
    return probe.count == hash.count
  }

  /// True when `password` is the one that `hash` was made from. Takes tens of milliseconds.
  func accepts(_ password: [UInt8], hash: [UInt8]) -> Bool {
    guard password.count <= Self.passwordByteCountMax, !password.contains(0),
      let digest = digest(of: password, like: hash)
    else { return false }
    return equalInConstantTime(digest, hash)
  }

  private func digest(of password: [UInt8], like hash: [UInt8]) -> [UInt8]? {
    let workspace = UnsafeMutableRawPointer.allocate(
      byteCount: Self.workspaceByteCount, alignment: 64)
    workspace.initializeMemory(as: UInt8.self, repeating: 0, count: Self.workspaceByteCount)
    defer {
      workspace.initializeMemory(as: UInt8.self, repeating: 0, count: Self.workspaceByteCount)
      workspace.deallocate()
    }
    let phrase = (password + [0]).map { CChar(bitPattern: $0) }
    let setting = (hash + [0]).map { CChar(bitPattern: $0) }
    guard let text = crypt(phrase, setting, workspace) else { return nil }
    let digest = UnsafeRawBufferPointer(start: text, count: strlen(text))
    // Failure tokens are "*0" and "*1".
    guard digest.count >= 13, digest[0] != UInt8(ascii: "*") else { return nil }
    return Array(digest)
  }
}

/// Reads a password file: its first line is a crypt(3) hash.
func readPasswordHash(_ path: String) throws(Failure) -> [UInt8] {
  guard let text = Machine.readText(path, byteCountMax: 4096) else {
    throw Failure(.configuration, "cannot read the password file \(path): \(errnoText(errno))")
  }
  let line = text.split(separator: "\n", omittingEmptySubsequences: false).first ?? ""
  let hash = Array(line.utf8.filter { $0 != UInt8(ascii: "\r") && $0 != UInt8(ascii: " ") })
  guard !hash.isEmpty else {
    throw Failure(.configuration, "the first line of the password file \(path) is empty")
  }
  return hash
}
