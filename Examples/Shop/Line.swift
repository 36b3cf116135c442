import Base

/// One line of the journal: what one call of the negotiator changed.
struct Line: Equatable {
  enum Kind: UInt8 {
    case prepare = 1
    case commit, abort, note
    /// A fact of the books, in the journal's first part, which was written at a start.
    case fact
    /// Whose journal it is: the first line.
    case owner
  }

  var kind: Kind
  /// The transaction, or the key of a note.
  var key: [UInt8] = []
  /// The order that is prepared, the fact, or the owner.
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
