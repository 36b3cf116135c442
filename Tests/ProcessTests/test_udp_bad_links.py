"""Requests over UDP through a network that loses, repeats, reorders and damages datagrams."""

import os
import re
import socket
import subprocess
import sys

from processes import ROOT, Server, binary
from udp_proxy import STORM, UdpProxy, Weather


def clie(port, *arguments, stdin=b"", seconds=60):
    return subprocess.run(
        [binary("clie"), "-u", "-p", str(port), "--timeout", f"{seconds}", *arguments],
        input=stdin, capture_output=True, timeout=2 * seconds)


def done(port, *arguments, stdin=b""):
    run = clie(port, *arguments, stdin=stdin)
    assert run.returncode == 0, (arguments, run.returncode, run.stderr)
    return run.stdout


def test_each_increment_happens_once_through_a_storm():
    with Server(udp=True) as server, UdpProxy(server.port, STORM, seed=7) as proxy:
        for count in range(1, 61):
            assert done(proxy.port, "-o", "incr", "-k", "counter").strip() == b"%d" % count
        with server.link() as link:
            assert link.command("GET", "counter") == b"60"
        assert proxy.counters["lost"] > 5 and proxy.counters["repeated"] > 5


def test_large_values_survive_a_storm():
    weather = Weather(loss=0.05, repetition=0.05, damage=0.02, delay=0.005)
    with Server(udp=True) as server, UdpProxy(server.port, weather, seed=8) as proxy:
        for size in (1_000, 20_000, 300_000, 1 << 20):
            value = os.urandom(size)
            done(proxy.port, "-o", "put", "-k", "large", "--val-stdin", stdin=value)
            got = done(proxy.port, "-o", "get", "-k", "large", "--output", "raw")
            assert got == value, size


def test_an_address_proves_itself_with_a_cookie():
    with Server("--udp-prove-loopback", udp=True) as server:
        done(server.port, "-o", "put", "-k", "a", "-v", "1")
        assert done(server.port, "-o", "get", "-k", "a") == b"1\n"
        # A stranger's request gets a challenge of 48 bytes and nothing else.
        with UdpProxy(server.port, Weather(), seed=9) as proxy:
            assert done(proxy.port, "-o", "get", "-k", "a") == b"1\n"
            assert proxy.counters["up"] == proxy.counters["down"] == 2


def test_without_an_answer_a_read_is_not_applied_and_a_change_is_unknown():
    with socket.socket(type=socket.SOCK_DGRAM) as silent:
        silent.bind(("127.0.0.1", 0))
        port = silent.getsockname()[1]
        read = clie(port, "-o", "get", "-k", "a", seconds=1)
        assert read.returncode == 3, read.stderr
        change = clie(port, "-o", "put", "-k", "a", "-v", "1", seconds=1)
        assert change.returncode == 5, change.stderr
        assert re.search(rb"[0-9a-f]{8}-[0-9a-f]{4}-7", change.stderr)


def test_the_client_of_the_document_works():
    with open(os.path.join(ROOT, "docs", "udp.md")) as file:
        program = re.search(r"```python\n(.*?)```", file.read(), re.S).group(1)
    for flags in ([], ["--udp-prove-loopback"]):
        with Server(*flags, udp=True) as server:
            run = subprocess.run(
                [sys.executable, "-c", program.replace("9099", str(server.port))],
                capture_output=True, timeout=60)
            assert run.stdout == b"b'+OK\\r\\n' b'$5\\r\\nhello\\r\\n'\n", run.stderr
