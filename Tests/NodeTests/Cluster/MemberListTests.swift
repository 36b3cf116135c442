import Base
import TPC
import Testing

@testable import Node

@Suite struct MemberListTests {
  @Test func idsHostsAndPortsAreRead() throws {
    let list = try MemberList("2=db2.example:9100,1=10.0.0.1:9099,3=[fe80::1%2]:7,9=localhost:1")
    #expect(list.entries.map(\.id.number) == [1, 2, 3, 9])
    #expect(list.entries.map(\.host) == ["10.0.0.1", "db2.example", "fe80::1%2", "localhost"])
    #expect(list.entries.map(\.port) == [9_099, 9_100, 7, 1])
    #expect(list.text == "1=10.0.0.1:9099,2=db2.example:9100,3=[fe80::1%2]:7,9=localhost:1")
    #expect(list.entry(of: MemberID(9))?.text == "localhost:1")
    #expect(list.entry(of: MemberID(4)) == nil)
  }

  @Test(arguments: [
    "", ",", "1", "1=", "=a:1", "1=a", "1=a:", "1=:1", "1=a:0", "1=a:65536", "0=a:1", "01=a:1",
    "65=a:1", "65536=a:1", "-1=a:1", "+1=a:1", "1=a:1,", "1=a b:1", "1=::1:1", "1=[::1:1",
    "1=[a]:1",
    "1=[]:1",
    "1=[127.0.0.1]:1", "1=a:+1", "x=a:1", "1=a:1 ,2=b:1",
  ])
  func whatIsNoListIsRefusedWithTheWholeForm(text: String) {
    #expect {
      try MemberList(text)
    } throws: { error in
      (error as? UsageError)?.sentence.hasPrefix("--cluster must be ID=HOST:PORT") == true
    }
  }

  @Test func doublesAndTooManyAreNamed() {
    #expect(throws: UsageError("--cluster names member 1 twice")) { try MemberList("1=a:1,1=b:1") }
    #expect(throws: UsageError("--cluster gives members 1 and 2 one address")) {
      try MemberList("1=a:1,2=A:1")
    }
    let many = (1...65).map { "\($0)=a:\($0)" }.joined(separator: ",")
    #expect(throws: UsageError.self) { try MemberList(many) }
    let most = (1...64).map { "\($0)=a:\($0)" }.joined(separator: ",")
    #expect((try? MemberList(most))?.entries.count == 64)
  }

  @Test func theClusterIsKnownByNameAndMembersWhateverTheirOrder() throws {
    let id = try MemberList("1=a:1,2=b:2").clusterID(name: "tuppence")
    #expect(try MemberList("2=B:2,1=a:1").clusterID(name: "tuppence") == id)
    #expect(try MemberList("1=a:1,2=b:3").clusterID(name: "tuppence") != id)
    #expect(try MemberList("1=a:1").clusterID(name: "tuppence") != id)
    #expect(try MemberList("1=a:1,2=b:2").clusterID(name: "other") != id)
    // Written into no file, but members of two builds must agree.
    #expect(String(id, radix: 16) == "bcd2b95be0ed98ac")
  }
}
