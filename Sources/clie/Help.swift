import Base

/// The version of clie; the server's own is shown by `clie -o status`.
let version = "0.1.0"

/// What `clie --help` prints. Golden-tested: Tests/ClientTests/Golden/help.txt.
func renderHelp() -> String {
  """
  clie asks a Tuppence server for one thing and says for certain what became of it.

  Usage:
    clie [flags] -o OPERATION [-k KEY] [-v VALUE]
    clie [flags] < FILE          (one operation a line)

  Flags:
  \(Invocation.table.renderHelp())
  Each flag can also be set in the environment, as CLIE_HOST, CLIE_PORT, CLIE_UDP=yes and
  so on; the command line precedes it.

  Operations, each with an example:
    3, put      insert or replace             clie -o 3 -k fruit -v apple
    1, get      print the value               clie -o 1 -k fruit
    0, update   replace; the key must exist   clie -o 0 -k fruit -v pear
    2, delete   remove; the key must exist    clie -o 2 -k fruit
       incr     add to an integer             clie -o incr -k visits -v 5
       expire   remove after a time           clie -o expire -k fruit -v 30
       list     print keys, with a pattern    clie -o list -k 'user:*'
       txn      all steps or none             printf 'put a 1\\nincr n 2\\n' | clie -o txn
       exec     any command of the server     clie -o exec -- SETRANGE fruit 0 A
       outcome  what became of a change       clie -o outcome -k ID
                (seal: and forbid it, if it has not arrived)
                                              clie -o outcome -k ID -v seal
       ping     is the server there?          clie -u -o ping
       status   how is the server?            clie --output json -o status
       members  who is in the cluster?        clie -o members
       remove   take a member out             clie -o remove --node 3
                (one that is gone for ever: --force --i-have-stopped-it)
       trace    the last protocol steps       clie -o trace 2.71

  Steps of a transaction, one a line:
    put KEY VALUE    update KEY VALUE    delete KEY    get KEY    incr KEY [N]
    check KEY version N    check KEY absent    check KEY = VALUE
  Lines of standard input: an operation's word or number, then key and value:
    printf 'put a 1\\nget a\\n' | clie
  Words with blanks stand in '...' or "..."; within the latter \\n \\t \\r \\0 \\\\ \\" \\xHH.

  Exit codes:
    0 done                        1 key absent or condition failed    2 usage
    3 certainly not applied: no server there, or a read got no answer
    4 transaction aborted         5 outcome of a change unknown
    6 refused: authentication, rights, no space, loading, member down
    7 another error of the server                                    70 internal

  """
}
