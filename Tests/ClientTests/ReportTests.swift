import Base
import Testing

@testable import Client
@testable import clie

@Suite struct ReportTests {
  let key = Array("k".utf8)
  let id = OperationID(high: 0x0192_0000_0000_7000, low: 0x8000_0000_0000_0001)
  let idText = "01920000-0000-7000-8000-000000000001"

  func text(_ bytes: [UInt8]) -> String { String(decoding: bytes, as: UTF8.self) }

  func result(_ form: OutputForm, _ result: OrderResult, of order: Order, id: OperationID? = nil)
    -> String
  {
    text(Report(form: form).result(result, of: order, line: nil, id: id))
  }

  @Test func `A value is followed by one line end, raw by none`() {
    let value = OrderResult.value([65, 10, 66])
    #expect(result(.text, value, of: .get(key: key)) == "A\nB\n")
    #expect(result(.raw, value, of: .get(key: key)) == "A\nB")
  }

  @Test func `JSON holds any bytes`() {
    #expect(
      result(.json, .value(Array("a\"\\\n\u{1}é".utf8)), of: .get(key: key))
        == #"{"ok":true,"operation":"get","key":"k","value":"a\"\\\n\u0001é"}"# + "\n")
    #expect(
      result(.json, .value([0xFF, 0]), of: .get(key: [0x80]))
        == #"{"ok":true,"operation":"get","key":{"base64":"gA=="},"value":{"base64":"/wA="}}"#
        + "\n")
  }

  @Test func `A change is reported with its id`() {
    #expect(
      result(.json, .text("Added"), of: .put(key: key, value: []), id: id)
        == #"{"ok":true,"operation":"put","key":"k","result":"Added","outcome":"applied","id":""#
        + idText + "\"}\n")
  }

  @Test func `Replies of any kind have a text and a JSON form`() {
    let reply = Reply.array([
      .integer(1), .null, .bytes([97]), .array([.boolean(true)]), .error(ServerError("ERR x")),
      .map([.bytes([97]), .double(Array("1.5".utf8))]),
    ])
    let order = Order.execute(Command("X"))
    #expect(result(.text, .reply(reply), of: order) == "1\n(nil)\na\ntrue\n(error) ERR x\na\n1.5\n")
    #expect(
      result(.json, .reply(reply), of: order)
        == #"{"ok":true,"operation":"exec","#
        + #""reply":[1,null,"a",[true],{"error":"ERR x"},[["a","1.5"]]]}"# + "\n")
    #expect(result(.raw, .reply(.bytes([97])), of: order) == "a")
  }

  @Test func `A transaction that only reads has no id, one that checks has`() {
    let get = TransactionStep.get(key: key)
    #expect(TransactionStep.effect(of: [get, get]) == .read)
    #expect(!Order.transact([get, get]).isChange)
    for step in [TransactionStep.checkAbsent(key: key), .delete(key: key)] {
      #expect(TransactionStep.effect(of: [get, step, get]) == .change)
      #expect(Order.transact([get, step, get]).isChange)
    }
  }

  @Test func `A transaction has a line for each step`() {
    let steps: [TransactionStep] = [
      .put(key: key, value: []), .update(key: key, value: []), .delete(key: key),
      .delete(key: key), .increment(key: key, by: 1), .get(key: key), .checkAbsent(key: key),
    ]
    let ok = Reply.simple(Array("OK".utf8))
    let replies = [ok, ok, .integer(1), .integer(0), .integer(5), .null, ok]
    #expect(
      result(.text, .results(steps, replies), of: .transact(steps))
        == "Added\nupdated\ndeleted\nkey does not exist\n5\n(nil)\nchecked\n")
    #expect(
      result(.json, .results(steps, replies), of: .transact(steps)).contains(
        #""results":["Added","updated","deleted","key does not exist",5,null,"checked"]"#))
  }

  @Test func `An error carries its outcome, and an unknown one the command that asks`() {
    var invocation = Report(form: .text)
    let missing = ClientError(.missing, .notApplied, "key does not exist")
    #expect(
      text(invocation.failure(missing, of: .get(key: key), line: nil))
        == "clie: key does not exist (not-applied)\n")
    #expect(
      text(invocation.failure(missing, of: .get(key: key), line: 3))
        == "clie: line 3: key does not exist (not-applied)\n")
    let unknown = ClientError(.noAnswer, .unknown, "no answer within 5 s", id: id)
    #expect(
      text(invocation.failure(unknown, of: .delete(key: key), line: nil))
        == """
        clie: no answer within 5 s (unknown)
        clie: to learn what became of it: clie -o outcome -k \(idText) -v seal

        """)
    invocation = Report(form: .json)
    #expect(
      text(invocation.failure(unknown, of: .delete(key: key), line: nil))
        == #"{"ok":false,"operation":"delete","key":"k","error":"no-answer","exit":5,"#
        + #""outcome":"unknown","message":"no answer within 5 s","id":"\#(idText)","#
        + #""ask":"clie -o outcome -k \#(idText) -v seal"}"# + "\n")
    #expect(
      text(invocation.usage(UsageError("No key specified")))
        == #"{"ok":false,"error":"usage","exit":2,"outcome":"not-applied","#
        + #""message":"No key specified"}"# + "\n")
  }

  @Test(arguments: [
    (ClientError.Reason.unresolved, Outcome.notApplied, ExitCode.notApplied),
    (.unreachable, .notApplied, .notApplied), (.noAnswer, .notApplied, .notApplied),
    (.noAnswer, .unknown, .unknown), (.malformedReply, .unknown, .unknown),
    (.refused, .unknown, .unknown), (.refused, .notApplied, .refused),
    (.missing, .notApplied, .missing), (.aborted, .notApplied, .aborted),
    (.tooLarge, .notApplied, .usage), (.server, .notApplied, .serverError),
    (.replyNotKept, .applied, .done),
  ])
  func `Every failure has its exit code`(
    reason: ClientError.Reason, outcome: Outcome, code: ExitCode
  ) {
    #expect(ExitCode(ClientError(reason, outcome, "x")) == code)
  }

  @Test(arguments: [
    ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg=="),
    ("fooba", "Zm9vYmE="), ("foobar", "Zm9vYmFy"),
  ])
  func `Base 64 is that of RFC 4648`(plain: String, encoded: String) {
    #expect(encodeBase64(Array(plain.utf8)) == encoded)
  }
}
