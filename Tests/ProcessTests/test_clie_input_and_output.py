"""What clie reads from standard input and the environment, and what it writes."""

import base64
import json
import subprocess
import time

import pytest
from clie_runs import Way, clie
from processes import binary


@pytest.fixture(params=["-t", "-u"], ids=["tcp", "udp"])
def way(request, serve):
    run = serve("-t", "-u")
    return Way(request.param, run.tcp_port if request.param == "-t" else run.udp_port)


def test_keys_and_values_may_be_any_bytes(way):
    value = bytes(range(256)) * 20
    key = b"\xff\x00 k\n"
    assert way("-o", "put", "--key-stdin", "-v", "1", stdin=key).returncode == 0
    assert way("-o", "get", "--key-stdin", stdin=key).stdout == b"1\n"
    assert way("-o", "put", "-k", b"\x80", "--val-stdin", stdin=value).returncode == 0
    assert way("-o", "get", "-k", b"\x80").stdout == value + b"\n"
    assert way("--output", "raw", "-o", "get", "-k", b"\x80").stdout == value
    answer = json.loads(way("--output", "json", "-o", "get", "-k", b"\x80").stdout)
    assert base64.b64decode(answer["value"]["base64"]) == value
    assert answer["key"] == {"base64": "gA=="}


def test_an_empty_value_is_a_value(way):
    assert way("-o", "put", "-k", "a", "-v", "").stdout == b"Added\n"
    assert way("-o", "get", "-k", "a").stdout == b"\n"
    assert way("--output", "raw", "-o", "get", "-k", "a").stdout == b""


@pytest.mark.parametrize("size", [1, 1_100, 1_200, 65_536, 1 << 20])
def test_values_of_every_size_come_back(way, size):
    value = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    assert way("-o", "put", "-k", "a", "--val-stdin", stdin=value).returncode == 0
    assert way("--output", "raw", "-o", "get", "-k", "a").stdout == value


def test_results_and_errors_are_json_on_request(way):
    def ask(*arguments):
        run = way("--output", "json", *arguments)
        return run.returncode, json.loads(run.stdout or run.stderr), bool(run.stdout)

    code, put, on_stdout = ask("-o", "put", "-k", "ä", "-v", "1")
    assert (code, put["ok"], put["operation"], put["key"], put["outcome"], on_stdout) == (
        0, True, "put", "ä", "applied", True)
    assert ask("-o", "get", "-k", "ä")[1] == {
        "ok": True, "operation": "get", "key": "ä", "value": "1"}
    assert ask("-o", "incr", "-k", "ä")[1]["value"] == 2
    assert ask("-o", "list")[1]["keys"] == ["ä"]
    assert ask("-o", "txn", "-v", "get none\nincr n")[1]["results"] == [None, 1]
    assert ask("-o", "exec", "MGET", "n", "none")[1]["reply"] == ["1", None]
    assert ask("-o", "status")[1]["status"]["durability"] == "always"
    code, missing, on_stdout = ask("-o", "get", "-k", "none")
    assert (code, on_stdout) == (1, False)
    assert missing == {
        "ok": False, "operation": "get", "key": "none", "error": "missing", "exit": 1,
        "outcome": "not-applied", "message": "key does not exist"}
    code, usage, _ = ask("-o", "get")
    assert (code, usage["error"], usage["exit"]) == (2, "usage", 2)


def test_lines_are_operations_and_the_first_failure_decides(way):
    script = b"""# comment
put "a key" 'a value'
get "a key"
3 n 1
incr n 4
get none
nonsense
STRLEN "a key"
exec append n 0
list n
delete n
ping
"""
    run = way(stdin=script)
    assert run.returncode == 1
    assert run.stdout == b"Added\na value\nAdded\n5\n7\n2\nn\ndeleted\nPONG\n"
    assert run.stderr == (
        b"clie: line 6: key does not exist (not-applied)\n"
        b'clie: line 7: unknown operation "nonsense" (not-applied)\n')
    run = way("--output", "json", stdin=b"put a 1\nget b\n")
    assert json.loads(run.stdout)["line"] == 1
    assert json.loads(run.stderr)["line"] == 2


def test_each_line_is_answered_before_the_next_is_written(way):
    process = subprocess.Popen(
        [binary("clie"), way.flag, "-s", "127.0.0.1", "-p", str(way.port)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for number in range(3):
        process.stdin.write(b"incr n\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"%d\n" % (number + 1)
    process.stdin.close()
    assert process.wait(10) == 0
    process.stdout.close()


def test_lines_stop_where_the_server_is_out_of_reach():
    start = time.monotonic()
    run = clie("-s", "127.0.0.1", "-p", "1", stdin=b"put a 1\nput b 2\n")
    assert run.returncode == 3 and run.stderr.count(b"\n") == 1
    assert time.monotonic() - start < 3


def test_no_lines_at_all_are_a_mistake():
    assert clie(stdin=b"\n# nothing\n").returncode == 2


def test_flags_precede_the_environment(way):
    environment = {"CLIE_PORT": "1", "CLIE_UDP": "no", "CLIE_OUTPUT": "json"}
    run = way("--output", "text", "-o", "ping", environment=environment)
    assert run.stdout == b"PONG\n"
    port = {"CLIE_PORT": str(way.port), "CLIE_HOST": "127.0.0.1"}
    if way.flag == "-u":
        port["CLIE_UDP"] = "yes"
    assert clie("-o", "ping", environment=port).stdout == b"PONG\n"


def test_debug_says_what_is_done_on_stderr(way):
    run = way("-l", "debug", "-o", "put", "-k", "a", "-v", "1")
    kind = b"udp" if way.flag == "-u" else b"tcp"
    assert run.stdout == b"Added\n"
    assert b"connecting to 127.0.0.1:%d over %s\n" % (way.port, kind) in run.stderr
    assert b"sending" in run.stderr and b"answered with 1 reply" in run.stderr
    info = way("-l", "1", "-o", "get", "-k", "a")
    assert b"connecting" in info.stderr and b"sending" not in info.stderr


def test_many_keys_are_each_listed_once(way):
    script = b"".join(b"put key%d v\n" % number for number in range(500))
    assert way(stdin=script).returncode == 0
    keys = way("-o", "list", "-k", "key*").stdout.split()
    assert sorted(keys) == sorted(b"key%d" % number for number in range(500))
    assert way("-o", "list", "-k", "key49?").stdout.count(b"\n") == 10


def test_a_value_too_large_for_a_udp_reply_is_asked_for_over_tcp(serve):
    run = serve("-t", "-u")
    value = b"x" * (3 << 20)
    tcp, udp = Way("-t", run.tcp_port), Way("-u", run.udp_port)
    assert tcp("-o", "put", "-k", "a", "--val-stdin", stdin=value).returncode == 0
    answer = udp("-o", "get", "-k", "a")
    assert answer.returncode == 7 and b"ask over TCP" in answer.stderr
    assert len(tcp("-o", "get", "-k", "a").stdout) == len(value) + 1


def test_long_keys_are_listed_over_udp_too(serve):
    run = serve("-t", "-u")
    script = b"".join(b"put %s v\n" % (b"%03d" % number + b"k" * 60_000) for number in range(60))
    assert Way("-t", run.tcp_port)(stdin=script).returncode == 0
    assert Way("-u", run.udp_port)("-o", "list").stdout.count(b"\n") == 60


@pytest.mark.parametrize("flag", ["-t", "-u"])
def test_localhost_is_also_found_on_ipv6(serve, flag):
    run = serve(flag, "-s", "::1")
    port = run.tcp_port if flag == "-t" else run.udp_port
    assert clie(flag, "-p", port, "-o", "ping").stdout == b"PONG\n"
    assert clie(flag, "-s", "[::1]", "-p", port, "-o", "ping").stdout == b"PONG\n"


def test_a_server_that_wants_proof_of_the_address_gets_it(serve):
    run = serve("-u", "--udp-prove-loopback")
    way = Way("-u", run.udp_port)
    assert way("-o", "put", "-k", "a", "--val-stdin", stdin=b"x" * 50_000).returncode == 0
    assert len(way("-o", "get", "-k", "a").stdout) == 50_001
    assert way("-o", "update", "-k", "none", "-v", "1").returncode == 1
