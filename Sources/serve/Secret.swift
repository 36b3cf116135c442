import Base
import Glibc
import Node

/// The cluster's secret and HMAC-SHA256 of libcrypto, opened at run time, so that the server starts
/// where it is absent and says so only when a secret file asks for it.
struct Secret: MessageAuthenticator, @unchecked Sendable {
  private typealias DigestFunction = @convention(c) () -> OpaquePointer?
  private typealias CodeFunction =
    @convention(c) (
      OpaquePointer?, UnsafeRawPointer?, Int32, UnsafeRawPointer?, Int, UnsafeMutableRawPointer?,
      UnsafeMutablePointer<UInt32>?
    ) -> UnsafeMutableRawPointer?

  /// A shorter secret could be guessed from a recorded handshake.
  static let byteCountMin = 16
  static let byteCountMax = 4_096
  /// Bytes of HMAC-SHA256.
  private static let codeByteCount = 32

  private var key: [UInt8]
  private let makeCode: CodeFunction
  private let digest: OpaquePointer

  /// Reads the file, opens the library, and checks that it computes what RFC 4231 says.
  init(file: String) throws(Failure) {
    key = try Self.read(file)
    (makeCode, digest) = try Self.openLibrary()
    var sample = self
    sample.key = Array("Jefe".utf8)
    let code = Array("what do ya want for nothing?".utf8).withUnsafeBytes { sample.code(of: $0) }
    guard code == Self.sampleCode else {
      throw Failure(.configuration, "the installed libcrypto computes a wrong HMAC-SHA256")
    }
  }

  /// The corresponding C function is `HMAC`.
  func code(of message: UnsafeRawBufferPointer) -> [UInt8] {
    // Room for the longest digest that there is.
    var code = [UInt8](repeating: 0, count: 64)
    var count: UInt32 = 0
    let result = code.withUnsafeMutableBytes { place in
      key.withUnsafeBytes { key in
        makeCode(
          digest, key.baseAddress, Int32(key.count), message.baseAddress, message.count,
          place.baseAddress, &count)
      }
    }
    invariant(result != nil && count == Self.codeByteCount, "libcrypto computes HMAC-SHA256")
    return Array(code.prefix(Self.codeByteCount))
  }

  private static func openLibrary() throws(Failure) -> (CodeFunction, OpaquePointer) {
    for name in ["libcrypto.so.3", "libcrypto.so.1.1"] {
      guard let library = dlopen(name, RTLD_NOW | RTLD_LOCAL) else { continue }
      guard let code = dlsym(library, "HMAC"), let digest = dlsym(library, "EVP_sha256"),
        let sha256 = unsafeBitCast(digest, to: DigestFunction.self)()
      else { continue }
      return (unsafeBitCast(code, to: CodeFunction.self), sha256)
    }
    throw Failure(
      .configuration,
      "--secret-file needs libcrypto (libcrypto.so.3 or libcrypto.so.1.1), which is not installed "
        + "here")
  }

  /// All bytes of the file but line ends at its end.
  private static func read(_ path: String) throws(Failure) -> [UInt8] {
    guard var bytes = Machine.readBytes(path, byteCountMax: byteCountMax + 3) else {
      throw Failure(.configuration, "cannot read the secret file \(path): \(errnoText(errno))")
    }
    while let last = bytes.last, last == 10 || last == 13 { bytes.removeLast() }
    guard (byteCountMin...byteCountMax).contains(bytes.count) else {
      throw Failure(
        .configuration,
        "the secret in \(path) must have \(byteCountMin) to \(byteCountMax) bytes; make one with: "
          + "openssl rand -base64 32")
    }
    return bytes
  }

  /// Test case 2 of RFC 4231, section 4.3.
  private static let sampleCode: [UInt8] = [
    0x5b, 0xdc, 0xc1, 0x46, 0xbf, 0x60, 0x75, 0x4e, 0x6a, 0x04, 0x24, 0x26, 0x08, 0x95, 0x75, 0xc7,
    0x5a, 0x00, 0x3f, 0x08, 0x9d, 0x27, 0x39, 0x83, 0x9d, 0xec, 0x58, 0xb9, 0x64, 0xec, 0x38, 0x43,
  ]
}
