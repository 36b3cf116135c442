"""Datagrams that would make a careless server grow or answer the wrong one."""

import os
import random
import socket
import struct
import time

import pytest
from processes import Server, encode

MIB = 1 << 20
TABLE = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = _value >> 1 ^ (0x82F63B78 if _value & 1 else 0)
    TABLE.append(_value)


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ TABLE[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def datagram(payload=b"", kind=1, flags=0, index=0, count=1, stride=0, id_=None, token=0,
             message=None, echo=0, damage=0):
    """A datagram with the header of docs/udp.md."""
    millis = int(time.time() * 1000)
    high, low = id_ or (millis << 16 | 0x7000, 1 << 63 | random.getrandbits(62))
    message = len(payload) if message is None else message
    fields = [b"\xf52P\x01", kind, flags, index, count, stride, 0, high, low, token, message, echo]
    fields[6] = crc32c(struct.pack("<4sBBHHHIQQQII", *fields) + payload) ^ damage
    return struct.pack("<4sBBHHHIQQQII", *fields) + payload


@pytest.fixture(scope="module")
def server():
    with Server("--durability", "never", udp=True) as server:
        with server.link() as link:
            link.command("SET", "k", "v")
            link.command("SET", "large", b"l" * MIB)
        for _ in range(50):
            assert ask(server.port, encode("GET", "k"))[48:] == b"$1\r\nv\r\n"
        yield server
        assert server.is_alive(), server.log()
        assert server.stop() == 0


@pytest.fixture
def bounded(server):
    """Fails when memory is not back within 8 MiB half a minute after the attack."""
    before = server.resident()
    yield before
    end = time.monotonic() + 30
    while server.resident() > before + 8 * MIB and time.monotonic() < end:
        time.sleep(0.5)
    grown = server.resident() - before
    print(f"figure: {grown / MIB:.1f} MiB more resident after the attack")
    assert grown <= 8 * MIB
    assert ask(server.port, encode("GET", "k"))[48:] == b"$1\r\nv\r\n"


def ask(port, command, **fields):
    """One request of one datagram; the reply's bytes, or None."""
    with socket.socket(type=socket.SOCK_DGRAM) as link:
        link.settimeout(5)
        link.connect(("127.0.0.1", port))
        link.send(datagram(command, **fields))
        try:
            return link.recv(65_536)
        except TimeoutError:
            return None


def paced(link, datagrams):
    """Sends with pauses, so that the kernel's buffer does not drop what the test is about."""
    for number, one in enumerate(datagrams):
        link.send(one)
        if number % 50 == 49:
            time.sleep(0.001)


def test_messages_that_are_never_finished_are_forgotten(server, bounded):
    """Thousands of first fragments of 1 MiB messages: 64 MiB may be held for 10 s, no more."""
    peak = bounded
    with socket.socket(type=socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", server.port))
        piece = b"x" * 1_000
        for _ in range(30):
            paced(link, (datagram(piece, count=1_048, stride=1_000, message=1_048_000)
                         for _ in range(100)))
            peak = max(peak, server.resident())
    assert peak <= bounded + 64 * MIB + 16 * MIB, f"{(peak - bounded) / MIB:.0f} MiB"


def test_replies_that_are_never_acknowledged_are_given_up(server, bounded):
    peak = bounded
    links = [socket.socket(type=socket.SOCK_DGRAM) for _ in range(100)]
    for link in links:
        link.connect(("127.0.0.1", server.port))
        link.send(datagram(encode("GET", "large")))
    end = time.monotonic() + 3
    while time.monotonic() < end:
        peak = max(peak, server.resident())
        time.sleep(0.05)
    for link in links:
        link.close()
    assert peak <= bounded + 64 * MIB + 32 * MIB, f"{(peak - bounded) / MIB:.0f} MiB"


def test_nonsense_is_dropped_without_an_answer(server, bounded):
    chance = random.Random(1)
    with socket.socket(type=socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", server.port))
        good = datagram(encode("GET", "k"))
        bad = [b"\xf5" + os.urandom(chance.randrange(100)) for _ in range(2_000)]
        bad += [good[:cut] for cut in range(1, len(good))]
        bad += [datagram(encode("GET", "k"), damage=1 << bit) for bit in range(32)]
        bad += [datagram(encode("GET", "k"), message=message) for message in (0, 1, 1 << 31)]
        bad += [datagram(encode("GET", "k"), count=0), datagram(encode("GET", "k"), index=1),
                datagram(encode("GET", "k"), count=5_000, stride=256, message=1_280_000),
                datagram(encode("GET", "k"), id_=(0, 0)), datagram(encode("GET", "k"), kind=99)]
        bad += [bytes(flipped) for flipped in flips(good, chance)]
        paced(link, bad)
        link.settimeout(1)
        with pytest.raises(TimeoutError):
            print("answered with", link.recv(65_536))


def flips(good, chance):
    for _ in range(1_000):
        copy = bytearray(good)
        copy[chance.randrange(len(copy))] ^= 1 << chance.randrange(8)
        if copy[0] == 0xF5:
            yield copy


def test_one_id_sent_a_thousand_times_changes_once(server, bounded):
    identity = (int(time.time() * 1000) << 16 | 0x7000, 1 << 63 | 77)
    with socket.socket(type=socket.SOCK_DGRAM) as link:
        link.connect(("127.0.0.1", server.port))
        paced(link, [datagram(encode("INCR", "hits"), flags=1, id_=identity)] * 1_000)
        link.settimeout(5)
        assert link.recv(2_048)[48:] == b":1\r\n"
    with server.link() as tcp:
        assert tcp.command("GET", "hits") == b"1"


def test_what_needs_a_session_is_refused(server, bounded):
    for command in (("SUBSCRIBE", "a"), ("WATCH", "k"), ("SELECT", "0"), ("HELLO", "3"),
                    ("CLIENT", "REPLY", "OFF"), ("MONITOR",), ("MULTI",)):
        answer = ask(server.port, encode(*command))[48:]
        assert b"-ERR" in answer, (command, answer)
    whole = encode("MULTI") + encode("INCR", "n") + encode("EXEC")
    assert ask(server.port, whole)[48:] == b"+OK\r\n+QUEUED\r\n*1\r\n:1\r\n"


def test_a_stranger_gets_no_more_bytes_than_he_sent():
    """With --udp-prove-loopback every address is a stranger until it returns its cookie."""
    with Server("--udp-prove-loopback", udp=True) as server:
        with server.link() as link:
            link.command("SET", "large", b"l" * 1_000)
        for command in (encode("GET", "large"), encode("PING"), encode("INFO")):
            request = datagram(command)
            with socket.socket(type=socket.SOCK_DGRAM) as link:
                link.connect(("127.0.0.1", server.port))
                link.settimeout(1)
                link.send(request)
                got = link.recv(65_536)
                assert len(got) <= len(request) and got[4] == 5, "a challenge and nothing else"
                with pytest.raises(TimeoutError):
                    link.recv(65_536)
                cookie = struct.unpack_from("<Q", got, 32)[0]
                link.send(datagram(command, token=cookie))
                assert link.recv(65_536)[4] == 2, "the reply after the cookie"
        for wrong in (1, 1 << 63, 0xDEADBEEF):
            assert ask(server.port, encode("PING"), token=wrong)[4] == 5
