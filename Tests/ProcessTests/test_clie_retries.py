"""clie sends a change again under its id when an answer is lost, and it happens once."""

import re

import pytest
from clie_runs import StreamServer, Way, exchange, losing_first_answers
from serve_runs import Client


@pytest.fixture(params=["-t", "-u"], ids=["tcp", "udp"])
def flag(request):
    return request.param


@pytest.fixture
def server(serve):
    return serve("-t", "-u")


def port_of(server, flag):
    return server.tcp_port if flag == "-t" else server.udp_port


def test_a_change_whose_answer_is_lost_happens_once(server, flag):
    with losing_first_answers(flag, port_of(server, flag), count=2) as way:
        run = way("-o", "incr", "-k", "n")
    assert (run.returncode, run.stdout) == (0, b"1\n"), run.stderr
    with Client(server.tcp_port) as link:
        assert link("GET", "n") == b"1"


def test_a_transaction_whose_answer_is_lost_happens_once(server, flag):
    with losing_first_answers(flag, port_of(server, flag)) as way:
        run = way("-o", "txn", "-v", "incr n\nput k v\nincr n")
    assert (run.returncode, run.stdout) == (0, b"1\nAdded\n2\n"), run.stderr
    with Client(server.tcp_port) as link:
        assert link("GET", "n") == b"2"


def test_a_read_whose_answer_is_lost_is_repeated(server, flag):
    with Client(server.tcp_port) as link:
        link("SET", "a", "1")
    with losing_first_answers(flag, port_of(server, flag)) as way:
        assert way("-o", "get", "-k", "a").stdout == b"1\n"


def test_a_deletion_whose_answer_is_lost_is_not_reported_as_absent(server, flag):
    with Client(server.tcp_port) as link:
        link("SET", "a", "1")
    with losing_first_answers(flag, port_of(server, flag)) as way:
        assert way("-o", "delete", "-k", "a").stdout == b"deleted\n"


def test_a_large_reply_that_was_not_kept_is_reported_as_applied(server):
    with Client(server.tcp_port) as link:
        link("SET", "a", b"x" * 100_000)
    with losing_first_answers("-t", server.tcp_port) as way:
        run = way("-o", "exec", "GETSET", "a", "new")
    assert run.returncode == 0 and run.stdout == b""
    assert run.stderr.startswith(b"clie: DUPLICATE applied") and b"(applied)\n" in run.stderr
    with Client(server.tcp_port) as link:
        assert link("GET", "a") == b"new"


def test_a_refusal_is_believed_only_after_the_stray_copy_was_made_harmless(server):
    """The first copy of an update vanishes on its way and comes late: it must do nothing then."""
    swallowed = []

    def swallow_first(connection, number):
        while request := connection.recv(1 << 16):
            if number == 0:
                swallowed.append(request)
                return
            connection.sendall(exchange(server.tcp_port, request))

    with StreamServer(swallow_first) as proxy:
        run = Way("-t", proxy.port)("-o", "update", "-k", "a", "-v", "late")
    assert (run.returncode, run.stderr) == (1, b"clie: key does not exist (not-applied)\n")
    with Client(server.tcp_port) as link:
        link("SET", "a", "early")
    assert b"UPDATE" in swallowed[0]
    # The refusal was recorded under the id, or the id was sealed: either way nothing happens now.
    late = exchange(server.tcp_port, swallowed[0])
    assert late.startswith((b"-NOTFOUND ", b"-ABORTED ")), late
    with Client(server.tcp_port) as link:
        assert link("GET", "a") == b"early"


def test_a_server_that_restarts_between_two_copies_answers_the_second(launch, folder):
    """The change is executed, its answer lost, the server killed and started again."""
    first = launch("-t").ready()
    runs = [first]

    def serve_once_then_restart(connection, number):
        while request := connection.recv(1 << 16):
            answer = exchange(runs[-1].tcp_port, request)
            if number == 0:
                runs[-1].kill()
                runs.append(launch("-t").ready())
                return
            connection.sendall(answer)

    with StreamServer(serve_once_then_restart) as proxy:
        run = Way("-t", proxy.port)("-o", "incr", "-k", "n", "--timeout", "15s")
    assert (run.returncode, run.stdout) == (0, b"1\n"), run.stderr
    with Client(runs[-1].tcp_port) as link:
        assert link("GET", "n") == b"1"


def test_every_copy_carries_the_same_id():
    seen = []

    def note(connection, _number):
        seen.append(connection.recv(1 << 16))

    with StreamServer(note) as server:
        run = Way("-t", server.port)("-o", "put", "-k", "a", "-v", "1", "--retries", "3")
    assert run.returncode == 5
    ids = {re.search(rb"ONCE\r\n\$36\r\n(\S+)", request).group(1) for request in seen}
    assert len(seen) == 4 and len(ids) == 1
    assert ids.pop() in run.stderr


def test_a_stray_copy_makes_a_later_refusal_uncertain():
    """A refusal that does not look at the id says nothing about the copy before."""

    def lose_then_refuse(connection, number):
        connection.recv(1 << 16)
        if number > 0:
            connection.sendall(b"-NOAUTH Authentication required.\r\n")

    with StreamServer(lose_then_refuse) as server:
        run = Way("-t", server.port)("-o", "put", "-k", "a", "-v", "1")
    assert run.returncode == 5 and b"(unknown)" in run.stderr
