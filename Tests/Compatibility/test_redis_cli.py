"""redis-cli and redis-benchmark as a person would type them."""

import shutil
import subprocess

import pytest


@pytest.fixture
def cli(port):
    assert shutil.which("redis-cli"), "needs redis-cli (apt-get install redis-tools)"

    def run(*words, stdin=None, status=0):
        done = subprocess.run(
            ["redis-cli", "-p", str(port), *words], input=stdin, capture_output=True, timeout=60)
        assert done.returncode == status, done.stderr
        return (done.stderr if status else done.stdout).decode()

    return run


def test_set_and_get(cli):
    assert cli("set", "a", "1") == "OK\n"
    assert cli("get", "a") == "1\n"
    assert cli("--no-raw", "get", "absent") == "(nil)\n"
    assert cli("--no-raw", "incr", "a") == "(integer) 2\n"
    assert cli("-n", "0", "get", "a") == "2\n"


def test_value_from_stdin_with_zero_bytes(cli):
    cli("-x", "set", "binary", stdin=b"\x00\x01\xff")
    assert cli("strlen", "binary") == "3\n"
    assert cli("--no-raw", "get", "binary") == '"\\x00\\x01\\xff"\n'


def test_resp3(cli):
    answer = cli("-3", "--no-raw", "hello", "3")
    assert '"proto" => (integer) 3' in answer
    assert cli("-3", "--no-raw", "get", "absent") == "(nil)\n"


def test_errors_set_the_exit_status(cli):
    assert "ERR" in cli("-e", "nonsense", status=1)


def test_lines_of_a_transaction(cli):
    lines = b"multi\nset a 1\nincr a\nexec\nget a\n"
    assert cli(stdin=lines).split() == ["OK", "QUEUED", "QUEUED", "OK", "2", "2"]


def test_scan(cli):
    cli("mset", *(word for i in range(100) for word in (f"key:{i}", "v")))
    assert len(cli("--scan", "--pattern", "key:*").split()) == 100


def test_mass_insertion(cli):
    commands = b"".join(
        b"*3\r\n$3\r\nSET\r\n$%d\r\n%b\r\n$1\r\nx\r\n" % (len(key), key)
        for key in (b"mass:%d" % i for i in range(20_000)))
    assert "errors: 0, replies: 20000" in cli("--pipe", stdin=commands)
    assert cli("dbsize") == "20000\n"


def test_repetition_and_csv_and_json(cli):
    assert cli("-r", "3", "incr", "n").split() == ["1", "2", "3"]
    cli("mset", "x", "1", "y", "2")
    assert cli("--csv", "mget", "x", "y", "absent") == '"1","2",NULL\n'
    assert cli("--json", "mget", "x", "y") == '["1","2"]\n'


def test_info_has_the_sections_that_people_look_at(cli):
    text = cli("info")
    for line in ("redis_version:7.0.", "used_memory:", "connected_clients:", "uptime_in_seconds:",
                 "cluster_enabled:0", "role:master"):
        assert line in text, line


def test_bigkeys_goes_through(cli):
    cli("mset", "small", "x", "big", "x" * 1000)
    assert 'Biggest string found \'"big"\' has 1000 bytes' in cli("--bigkeys")


@pytest.mark.parametrize("depth", [1, 16])
def test_benchmark_runs(port, depth):
    assert shutil.which("redis-benchmark"), "needs redis-benchmark (apt-get install redis-tools)"
    done = subprocess.run(
        ["redis-benchmark", "-p", str(port), "-q", "-n", "2000", "-r", "100", "-P", str(depth),
         "-t", "ping,set,get,incr,mset"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "ERR" not in done.stdout + done.stderr
    for name in ("PING_INLINE", "PING_MBULK", "SET", "GET", "INCR", "MSET"):
        assert name in done.stdout
