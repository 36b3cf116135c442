import Base
import NetKit
import Node
import TPC
import Tuppence

/// What `--id` and `--cluster` ask for: which member this process is, and of which cluster.
struct Membership {
  /// The member that this process is.
  var id: MemberID
  /// All members, this one included.
  var list: MemberList

  /// Where this member is reached.
  var own: MemberAddress {
    guard let own = list.entry(of: id) else { invariantFailed("the own id is in the list") }
    return own
  }

  /// Reads the two flags, which go together; nil when neither is given.
  init?(_ values: FlagValues) throws(UsageError) {
    let text = values.text("cluster")
    let number = try values.integer("id", in: 1...Int(MemberID.numberMax))
    guard let text, let number else {
      if text != nil { throw UsageError("--cluster needs --id, the member that this process is") }
      if number != nil { throw UsageError("--id needs --cluster, the list of all members") }
      if values.has("secret-file") {
        throw UsageError("--secret-file is for the members of a cluster: give --id and --cluster")
      }
      return nil
    }
    list = try MemberList(text)
    id = MemberID(UInt16(number))
    guard list.entry(of: id) != nil else {
      throw UsageError("--id \(number) is not among the members of --cluster (\(list.text))")
    }
  }

  /// The cluster as the node is told it. Names are resolved here, before the loop exists, so this
  /// may block.
  func options(secretFile: String?) throws(Failure) -> ClusterOptions {
    var secret: Secret?
    if let secretFile { secret = try Secret(file: secretFile) }
    let cluster: ClusterOptions
    do throws(OpenFailure) {
      cluster = try ClusterOptions(ownID: id, list: list, authenticator: secret)
    } catch {
      throw Failure(error)
    }
    if secret == nil, let far = cluster.members.first(where: { !$0.endpoint.isLoopback }) {
      throw Failure(
        .configuration,
        "member \(far.id) (\(far.address)) is not on a loopback address: give all members one "
          + "--secret-file")
    }
    return cluster
  }
}
