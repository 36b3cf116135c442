"""Every exit code of clie, over TCP and over UDP, with its text and its outcome word."""

import json
import re
import signal
import subprocess
import time

import pytest
from clie_runs import Way, clie, staged
from processes import binary, free_port

ID = rb"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


@pytest.fixture(params=["-t", "-u"], ids=["tcp", "udp"])
def flag(request):
    return request.param


@pytest.fixture
def way(flag, serve):
    """clie on a real server."""
    run = serve("-t", "-u")
    return Way(flag, run.tcp_port if flag == "-t" else run.udp_port)


def check(run, code, stdout=b"", stderr=b""):
    """Compares all that a run left behind."""
    assert (run.returncode, run.stdout, run.stderr) == (code, stdout, stderr)


# --- 0 and 1 ----------------------------------------------------------------------------------


def test_the_numbered_operations_have_the_texts_of_old(way):
    absent = b"clie: key does not exist (not-applied)\n"
    check(way("-o", 1, "-k", "a"), 1, stderr=absent)
    check(way("-o", 0, "-k", "a", "-v", "x"), 1, stderr=absent)
    check(way("-o", 2, "-k", "a"), 1, stderr=absent)
    check(way("-o", 3, "-k", "a", "-v", "1"), 0, b"Added\n")
    check(way("-o", 3, "-k", "a", "-v", "2"), 0, b"Added\n")
    check(way("-o", 1, "-k", "a"), 0, b"2\n")
    check(way("-o", 0, "-k", "a", "-v", "3"), 0, b"updated\n")
    check(way("--oprtn", "get", "--key", "a"), 0, b"3\n")
    check(way("-o", 2, "-k", "a"), 0, b"deleted\n")
    check(way("-o", "get", "-k", "a"), 1, stderr=absent)


def test_the_other_operations_end_with_0_or_1(way):
    check(way("-o", "ping"), 0, b"PONG\n")
    check(way("-o", "incr", "-k", "n"), 0, b"1\n")
    check(way("-o", "incr", "-k", "n", "-v", "-5"), 0, b"-4\n")
    check(way("-o", "expire", "-k", "n", "-v", "100"), 0, b"expires\n")
    check(way("-o", "expire", "-k", "none", "-v", "1"), 1, b"",
          b"clie: key does not exist (not-applied)\n")
    check(way("-o", "list"), 0, b"n\n")
    check(way("-o", "list", "-k", "x*"), 0, b"")
    check(way("-o", "exec", "--", "STRLEN", "n"), 0, b"2\n")
    status = way("-o", "status")
    assert status.returncode == 0 and b"\ndurability: always\n" in status.stdout


def test_help_and_version_end_with_0():
    assert clie("--help").stdout.startswith(b"clie asks a Tuppence server")
    assert clie("-h").returncode == 0
    assert re.fullmatch(rb"clie \d+\.\d+\.\d+\n", clie("--version").stdout)


# --- 2 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments, sentence", [
    ((), b"No operation specified"),
    (("-o", "1"), b"No key specified"),
    (("-o", "3", "-k", "a"), b"Value required for this operation type"),
    (("-o", "7", "-k", "a"), b"Operation out of range"),
    (("-o", "fetch"), b"Operation should be an integer from 0 to 3 or one of"),
    (("--prot", "1"), b"unknown flag --prot"),
    (("-o", "ping", "-p", "99999"), b"--port must be a whole number"),
    (("-o", "txn", "-v", "put a"), b"line 1 of the transaction"),
    (("-o", "ping", "--password-file", "/nonexistent"), b"cannot read /nonexistent"),
])
def test_a_mistake_in_the_command_line_ends_with_2(arguments, sentence):
    run = clie(*arguments)
    assert run.returncode == 2 and run.stdout == b""
    assert run.stderr.startswith(b"clie: " + sentence)
    assert run.stderr.endswith(b" (not-applied)\ntry: clie --help\n")


def test_a_request_too_large_for_udp_ends_with_2_and_names_tcp(serve):
    run = serve("-u")
    big = b"x" * (2 << 20)
    answer = Way("-u", run.udp_port)("-o", "put", "-k", "a", "--val-stdin", stdin=big)
    assert answer.returncode == 2 and b"use TCP (not-applied)" in answer.stderr


# --- 3 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [("put", "-v", "1"), ("get",)])
def test_nobody_there_ends_with_3(flag, operation):
    run = Way(flag, free_port())("-o", *operation, "-k", "a")
    assert run.returncode == 3
    assert re.search(rb"refused \(not-applied\)\n$", run.stderr)


def test_a_name_without_an_address_ends_with_3(flag):
    run = clie(flag, "-s", "nobody.invalid", "-o", "put", "-k", "a", "-v", "1")
    assert run.returncode == 3
    assert run.stderr.startswith(b"clie: cannot resolve nobody.invalid: ")


def test_a_read_without_an_answer_ends_with_3(flag):
    with staged(flag) as way:
        start = time.monotonic()
        run = way("-o", "get", "-k", "a", "--timeout", "300ms")
        assert 0.3 <= time.monotonic() - start < 3
    check(run, 3, stderr=b"clie: no answer within 300 ms (not-applied)\n")


def test_an_answer_that_is_none_ends_with_3_for_a_read_and_with_5_for_a_change(flag):
    with staged(flag, b"what\r\n") as way:
        assert way("-o", "get", "-k", "a").returncode == 3
        assert way("-o", "put", "-k", "a", "-v", "1").returncode == 5


# --- 4 ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("script, reason", [
    (b"put a 2\ncheck a absent\n", b"check of the key does not hold"),
    (b"put a 2\nupdate none 1\n", b"key does not exist"),
    (b"put a 2\nput t text\nincr t\n", b"not an integer"),
])
def test_an_aborted_transaction_ends_with_4_and_changes_nothing(way, script, reason):
    way("-o", "put", "-k", "a", "-v", "1")
    run = way("-o", "txn", stdin=script)
    assert run.returncode == 4 and run.stdout == b""
    assert reason in run.stderr and run.stderr.endswith(b" (not-applied)\n")
    check(way("-o", "get", "-k", "a"), 0, b"1\n")
    assert way("-o", "get", "-k", "t").returncode == 1


def test_a_transaction_answers_each_step(way):
    script = b"""
      # all at one instant
      put a 1
      update a "two words"
      check a = "two words"
      get a
      incr n 7
      delete a
      delete a
      check a absent
    """
    run = way("-o", "txn", stdin=script)
    check(run, 0, b"Added\nupdated\nchecked\ntwo words\n7\ndeleted\nkey does not exist\nchecked\n")
    version = way("-o", "exec", "GETV", "n").stdout.split()[1].decode()
    check(way("-o", "txn", "-v", f"check n version {version}\nincr n"), 0, b"checked\n8\n")
    assert way("-o", "txn", "-v", f"check n version {version}\nincr n").returncode == 4


# --- 5 ----------------------------------------------------------------------------------------


def test_a_change_without_an_answer_ends_with_5_and_says_how_to_ask(flag):
    with staged(flag) as way:
        run = way("-o", "put", "-k", "a", "-v", "1", "--timeout", "300ms")
    assert run.returncode == 5
    route = rb" -s 127\.0\.0\.1 -p \d+" + (rb" -u" if flag == "-u" else rb"")
    assert re.fullmatch(
        rb"clie: no answer within 300 ms \(unknown\)\n"
        rb"clie: to learn what became of it: clie" + route + rb" -o outcome -k " + ID
        + rb" -v seal\n", run.stderr)


def test_the_command_that_asks_settles_the_outcome(way):
    with staged(way.flag) as nowhere:
        run = nowhere("--output", "json", "-o", "put", "-k", "a", "-v", "1", "--timeout", "200ms")
    error = json.loads(run.stderr)
    assert (error["exit"], error["outcome"], error["error"]) == (5, "unknown", "no-answer")
    check(way("-o", "outcome", "-k", error["id"]), 1, b"never-seen\n")
    check(way("-o", "outcome", "-k", error["id"], "-v", "seal"), 4, b"aborted\n")
    check(way("-o", "outcome", "-k", error["id"]), 4, b"aborted\n")
    done = json.loads(way("--output", "json", "-o", "put", "-k", "a", "-v", "1").stdout)
    check(way("-o", "outcome", "-k", done["id"]), 0, b"committed\n")
    check(way("-o", "outcome", "-k", "01" + "0" * 30), 5, b"expired\n")


def test_a_change_whose_connection_is_lost_without_a_retry_ends_with_5():
    from clie_runs import StreamServer

    with StreamServer(lambda connection, _: connection.recv(100)) as server:
        run = Way("-t", server.port)("-o", "delete", "-k", "a", "--retries", "0")
    assert run.returncode == 5 and b"connection lost" in run.stderr


# --- 6 ----------------------------------------------------------------------------------------


def test_a_missing_or_wrong_password_ends_with_6(flag, serve, folder):
    hashed = subprocess.run(
        ["openssl", "passwd", "-6", "secret"], capture_output=True, check=True).stdout
    (folder / "hash").write_bytes(hashed)
    (folder / "right").write_text("secret\n")
    (folder / "wrong").write_text("guess\n")
    run = serve("-t", "-u", "--password-file", folder / "hash")
    way = Way(flag, run.tcp_port if flag == "-t" else run.udp_port)
    put = ("-o", "put", "-k", "a", "-v", "1")
    missing = way(*put)
    assert missing.returncode == 6 and missing.stderr.startswith(b"clie: NOAUTH ")
    wrong = way("--password-file", folder / "wrong", *put)
    assert wrong.returncode == 6 and wrong.stderr.startswith(b"clie: WRONGPASS ")
    check(way("--password-file", folder / "right", *put), 0, b"Added\n")
    check(way("--password-file", folder / "right", "-o", "get", "-k", "a"), 0, b"1\n")


@pytest.mark.parametrize("code", [b"OOM", b"NOSPACE", b"READONLY", b"UNAVAILABLE", b"NOPERM"])
def test_a_refusal_ends_with_6(flag, code):
    with staged(flag, b"-" + code + b" because (not-applied)\r\n") as way:
        run = way("-o", "put", "-k", "a", "-v", "1")
    check(run, 6, stderr=b"clie: " + code + b" because (not-applied)\n")


def test_loading_is_waited_for_and_ends_with_6_at_the_deadline(flag):
    loading = b"-LOADING reading the log\r\n"
    with staged(flag, loading, loading, b"+OK\r\n") as way:
        check(way("-o", "put", "-k", "a", "-v", "1"), 0, b"Added\n")
    with staged(flag, loading) as way:
        run = way("-o", "put", "-k", "a", "-v", "1", "--timeout", "400ms")
    check(run, 6, stderr=b"clie: LOADING reading the log (not-applied)\n")


# --- 7, 70 and signals ------------------------------------------------------------------------


def test_another_error_ends_with_7(way):
    way("-o", "put", "-k", "t", "-v", "text")
    run = way("-o", "incr", "-k", "t")
    assert run.returncode == 7
    assert run.stderr == b"clie: ERR value is not an integer or out of range (not-applied)\n"
    assert way("-o", "exec", "NONSENSE").returncode == 7


@pytest.mark.parametrize("code", [b"IDEXPIRED", b"IDFUTURE"])
def test_a_refused_id_ends_with_7_and_was_not_applied(flag, code):
    with staged(flag, b"-" + code + b" the id (not-applied)\r\n") as way:
        run = way("-o", "put", "-k", "a", "-v", "1")
    check(run, 7, stderr=b"clie: " + code + b" the id (not-applied)\n")


def test_an_id_of_ones_own_refused_as_too_old_ends_with_5(way):
    """The server has forgotten what became of it; who made the id may have sent it before."""
    old = "0" * 11 + "17" + "abc8def0123456789ab"
    run = way("-o", "exec", "ONCE", old, "SET", "a", "1")
    assert run.returncode == (5 if way.flag == "-t" else 7), run.stderr
    if way.flag == "-t":
        assert run.stderr.startswith(b"clie: IDEXPIRED ") and b"(unknown)\n" in run.stderr


def test_an_output_that_takes_nothing_ends_with_70_and_the_outcome(way):
    with open("/dev/full", "wb") as full:
        change = way("-o", "put", "-k", "a", "-v", "1", stdout=full)
        read = way("-o", "get", "-k", "a", stdout=full)
    assert (change.returncode, read.returncode) == (70, 70)
    assert change.stderr == b"clie: cannot write to standard output (applied)\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_as_a_shell_expects(flag, number):
    with staged(flag) as way:
        process = subprocess.Popen(
            [binary("clie"), flag, "-s", "127.0.0.1", "-p", str(way.port), "-l", "debug", "-o",
             "get", "-k", "a"], stderr=subprocess.PIPE)
        assert b"connecting" in process.stderr.readline()
        process.send_signal(number)
        assert process.wait(10) == -number  # 130 and 143 in a shell
        process.stderr.close()
