@testable import Base

/// Command lines, environments, and the words in them.
///
/// The input is arguments separated by zero bytes.
func fuzzFlags(_ input: UnsafeRawBufferPointer) {
  let arguments = input.split(separator: 0, omittingEmptySubsequences: false).map { [UInt8]($0) }
  let table = FlagTable(
    [
      Flag("host", short: "s", value: "ADDRESS", repeats: true, help: ""),
      Flag("port", short: "p", value: "PORT", help: ""),
      Flag("tcp", short: "t", help: ""),
      Flag("max-value", value: "SIZE", help: ""),
      Flag("timeout", value: "TIME", help: ""),
    ], environmentPrefix: "FUZZ_")
  let environment: (String) -> [UInt8]? = { name in
    name == "FUZZ_TCP" || name == "FUZZ_HOST" ? arguments.first : nil
  }
  do throws(UsageError) {
    let values = try table.parse(arguments, environment: environment)
    if let port = try values.integer("port", in: 1...65_535) {
      expect((1...65_535).contains(port), "port \(port)")
      plantedMistake(when: port == 9)
    }
    _ = try values.byteCount("max-value")
    _ = try values.interval("timeout")
    _ = values.texts("host")
    expect(
      values.operands.count <= arguments.count, "more operands than arguments")
  } catch {
    expect(!error.sentence.isEmpty, "an error without a sentence")
  }
  arguments.first.map(fuzzWords)
}

/// Numbers and ids within arguments: what is read prints to what is read again.
private func fuzzWords(_ word: [UInt8]) {
  word.withUnsafeBytes { bytes in
    if let number = parseDecimal(bytes) {
      var text = ByteBuffer()
      text.append(decimal: number)
      expect(parseDecimal(text.bytes) == number, "decimal \(number)")
    }
    if let id = OperationID(text: bytes) {
      expect(OperationID(id.description) == id, "id \(id)")
    }
    if let number = parseLongDouble(bytes), number.isFinite {
      var text = ByteBuffer()
      text.append(fixed17: number)
      expect(parseLongDouble(text.bytes) != nil, "a printed number is a number")
    }
  }
}
