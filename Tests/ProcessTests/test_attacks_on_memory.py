"""Clients that would make a careless server grow: after each, its memory is back within 8 MiB plus
the buffers that the documentation allows, and it still answers."""

import contextlib
import os
import resource
import select
import socket
import struct
import time

import pytest
from processes import Link, Server, encode

MIB = 1 << 20
# What may stay above the figure before an attack.
ALLOWED = 8 * MIB


@pytest.fixture(scope="module")
def server():
    with Server("--durability", "never") as server:
        with server.link() as link:  # Grow what any use grows: read and reply buffers, the log's pages.
            for index in range(200):
                link.command("SET", f"warm:{index}", b"w" * 1000)
            link.command("SET", "value100", b"v" * 100)
            link.command("SET", "large", b"l" * (4 * MIB))
            assert len(link.command("GET", "large")) == 4 * MIB
        yield server
        assert server.is_alive(), server.log()
        assert server.stop() == 0


@pytest.fixture
def bounded(server):
    """Fails when the memory is not back within ALLOWED some seconds after the attack."""
    before = server.resident()
    yield
    end = time.monotonic() + 20
    while server.resident() > before + ALLOWED and time.monotonic() < end:
        time.sleep(0.2)
    after = server.resident()
    print(f"figure: resident before {before / MIB:.1f} MiB, after {after / MIB:.1f} MiB")
    assert after <= before + ALLOWED, f"{(after - before) / MIB:.1f} MiB more than before"
    with server.link() as link:
        assert link.command("PING") == "PONG"


def raise_descriptor_limit(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.fail(f"needs {count} open files, the hard limit is {hard}: ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def write_all_before_reading(link, data, seconds=120):
    """Writes everything without reading a byte; fails when the server stops taking it."""
    link.socket.setblocking(False)
    view, sent = memoryview(data), 0
    end = time.monotonic() + seconds
    while sent < len(view):
        _, writable, _ = select.select([], [link.socket], [], max(0, end - time.monotonic()))
        assert writable, f"the server took {sent} of {len(view)} bytes and no more"
        with contextlib.suppress(BlockingIOError):
            sent += link.socket.send(view[sent:sent + (1 << 20)])
    link.socket.settimeout(seconds)


def test_a_million_gets_written_before_the_first_read_are_all_answered(server, bounded):
    count = 1_000_000
    expected = b"$100\r\n" + b"v" * 100 + b"\r\n"
    with server.link(timeout=120) as link:
        request = encode("GET", "value100")
        write_all_before_reading(link, request * count)
        for _ in range(count // 1000):
            assert link.exactly(len(expected) * 1000) == expected * 1000
        assert link.command("PING") == "PONG"


@pytest.mark.parametrize("opening", [
    b"*1048577\r\n", b"*2147483647\r\n", b"*9223372036854775807\r\n", b"*99999999999999999999\r\n",
    b"*2\r\n$3\r\nGET\r\n$2147483647\r\n", b"*2\r\n$3\r\nGET\r\n$9223372036854775807\r\n",
    b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$-1\r\n", b"*2\r\n$18446744073709551617\r\n",
])
def test_a_giant_declared_length_is_refused_at_once(server, bounded, opening):
    with server.link() as link:
        link.socket.sendall(opening)
        assert link.reader.readline().startswith(b"-ERR Protocol error: invalid")
        assert link.reader.read() == b""


def test_declared_lengths_within_bounds_reserve_nothing_until_bytes_come(server, bounded):
    before = server.resident()
    links = [server.link() for _ in range(100)]
    for link in links:
        link.socket.sendall(b"*3\r\n$3\r\nSET\r\n$1\r\na\r\n$16777216\r\nonly this")
    time.sleep(1)
    assert server.resident() <= before + ALLOWED
    for link in links:
        link.close()


def test_many_arguments_declared_reserve_nothing_until_bytes_come(server, bounded):
    before = server.resident()
    links = [server.link() for _ in range(100)]
    for link in links:
        link.socket.sendall(b"*1048576\r\n$4\r\nMGET\r\n")
    time.sleep(1)
    assert server.resident() <= before + ALLOWED
    for link in links:
        link.close()


def test_an_endless_line_is_cut_off_at_64_kib(server, bounded):
    with server.link() as link:
        with contextlib.suppress(ConnectionError):
            for _ in range(64):
                link.socket.sendall(b"A" * 65_536)
        with contextlib.suppress(ConnectionError):
            assert b"Protocol error" in link.reader.readline()


def test_slow_readers_of_large_values_do_not_stop_the_others(server, bounded):
    slow = [server.link() for _ in range(20)]
    for index, link in enumerate(slow):
        if index >= 5:
            link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        link.socket.sendall(encode("GET", "large") * 3)
    with server.link() as quick:
        for _ in range(200):
            started = time.monotonic()
            assert quick.command("PING") == "PONG"
            assert time.monotonic() - started < 2
    for link in slow[:5]:  # They get every byte when they do read.
        link.socket.settimeout(60)
        for _ in range(3):
            assert link.reply() == b"l" * (4 * MIB)
    for link in slow:
        link.close()


def test_a_reader_that_never_reads_is_held_below_the_output_bound(server, bounded):
    """--max-output is 256 MiB: 100,000 GETs of 4 MiB may not become 400 GB."""
    before = server.resident()
    peak = 0
    with server.link() as link:
        link.socket.setblocking(False)
        request = encode("GET", "large") * 1000
        end = time.monotonic() + 8
        while time.monotonic() < end:
            with contextlib.suppress(BlockingIOError, ConnectionError):
                link.socket.send(request)
            peak = max(peak, server.resident())
            with server.link() as other:
                assert other.command("PING") == "PONG"
            time.sleep(0.05)
    assert peak <= before + 256 * MIB + 32 * MIB, f"{(peak - before) / MIB:.0f} MiB"


def test_half_open_connections_cost_little_and_are_let_go(server, bounded):
    before = server.descriptor_count()
    links = []
    for _ in range(1000):
        link = server.link()
        link.socket.sendall(b"*2\r\n$3\r\nGET\r\n$100")
        links.append(link)
    with server.link() as other:
        assert other.command("PING") == "PONG"
    for link in links:  # Vanish with a reset, in the middle of a command.
        link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
    end = time.monotonic() + 10
    while server.descriptor_count() > before and time.monotonic() < end:
        time.sleep(0.1)
    assert server.descriptor_count() <= before


def test_a_client_that_vanishes_while_replies_are_written_hurts_nobody(server, bounded):
    for _ in range(200):
        link = server.link()
        link.socket.sendall(encode("GET", "large") * 5)
        link.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        link.close()
    with server.link() as other:
        assert other.command("PING") == "PONG"


def test_transactions_without_end_are_bounded(server, bounded):
    """100,000 operations is the limit of a transaction; its error names it and EXEC fails."""
    with server.link(timeout=60) as link:
        link.command("MULTI")
        chunk = encode("SET", "k", "v") * 1000
        refused = False
        for _ in range(110):
            link.socket.sendall(chunk)
            for _ in range(1000):
                answer = link.reply()
                refused = refused or answer != "QUEUED"
        assert refused
        link.send("EXEC")
        assert str(link.reply()).startswith("EXECABORT")
        assert link.command("PING") == "PONG"


def test_random_bytes_do_no_harm(server, bounded):
    for seed in range(200):
        with server.link() as link, contextlib.suppress(OSError):
            link.socket.settimeout(0.05)
            link.socket.sendall(os.urandom(1 + seed * 37 % 3000))
            link.socket.recv(4096)
    with server.link() as other:
        assert other.command("PING") == "PONG"


@pytest.mark.slow
def test_ten_thousand_connections_are_served():
    raise_descriptor_limit(10_200)
    with Server("--durability", "never") as server:
        before = server.resident()
        links = []
        for index in range(9_990):
            # Loopback has 28,000 ports an address; several source addresses leave room.
            plain = socket.socket()
            plain.settimeout(20)
            plain.bind((f"127.0.0.{2 + index % 8}", 0))
            plain.connect(("127.0.0.1", server.port))
            links.append(plain)
        for round_ in range(3):
            for plain in links:
                plain.sendall(b"PING\r\n")
            for plain in links:
                assert plain.recv(64) == b"+PONG\r\n"
        with server.link() as other:
            assert other.command("PING") == "PONG"
        per_link = (server.resident() - before) / len(links)
        print(f"figure: {len(links)} connections, {per_link:.0f} bytes of memory each")
        for plain in links:
            plain.close()
        end = time.monotonic() + 20
        while server.resident() > before + ALLOWED + 10_000 * 1024 and time.monotonic() < end:
            time.sleep(0.2)
        assert server.resident() <= before + ALLOWED + 10_000 * 1024
        assert server.stop() == 0


@pytest.mark.slow
def test_connections_over_the_limit_are_refused_and_the_others_live():
    with Server("--durability", "never", "--max-connections", "50") as server:
        time.sleep(0.2)  # The connection that saw it ready is gone by then.
        links = [server.link() for _ in range(50)]
        for link in links:
            assert link.command("PING") == "PONG"
        with contextlib.suppress(OSError):
            extra = Link(server.port)
            extra.send("PING")
            line = extra.reader.readline()
            assert line == b"" or line.startswith(b"-ERR max number of clients reached")
        for link in links:
            assert link.command("PING") == "PONG"
        links.pop().close()
        time.sleep(0.2)
        with server.link() as again:
            assert again.command("PING") == "PONG"
        for link in links:
            link.close()
