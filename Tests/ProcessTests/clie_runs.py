"""Runs of `clie`, and the small servers and proxies with which its failures are staged."""

import contextlib
import os
import socket
import struct
import subprocess
import threading

from processes import binary

SECONDS = 20


def clie(*arguments, stdin=None, environment=None, stdout=subprocess.PIPE):
    """Runs clie to its end; its output as bytes."""
    bare = {name: value for name, value in os.environ.items() if not name.startswith("CLIE_")}
    given = {"input": stdin} if stdin is not None else {"stdin": subprocess.DEVNULL}
    return subprocess.run(
        [binary("clie"), *(a if isinstance(a, bytes) else str(a) for a in arguments)],
        stdout=stdout,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        env={**bare, **(environment or {})},
        **given,
    )


class Way:
    """A transport and a port: `way("-o", "get", ...)` runs clie on it."""

    def __init__(self, flag, port):
        self.flag, self.port = flag, port

    def __call__(self, *arguments, **options):
        place = ["-s", "127.0.0.1", "-p", self.port]
        return clie(self.flag, *place, *arguments, **options)


# --- Servers of TCP ---------------------------------------------------------------------------


class StreamServer:
    """Accepts connections and hands each, with its number from 0, to `serve(link, number)`."""

    def __init__(self, serve):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.serve = serve
        self.count = 0
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                connection, _ = self.listener.accept()
                number, self.count = self.count, self.count + 1
                threading.Thread(
                    target=self._serve_one, args=(connection, number), daemon=True
                ).start()

    def _serve_one(self, connection, number):
        with contextlib.suppress(OSError), connection:
            self.serve(connection, number)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


def silent(connection, _number):
    """Reads and never answers."""
    while connection.recv(65536):
        pass


def answering(*replies):
    """Answers each run of bytes it reads with the next reply, the last one for ever."""

    def serve(connection, _number):
        rest = list(replies)
        while connection.recv(1 << 20):
            connection.sendall(rest[0])
            if len(rest) > 1:
                rest.pop(0)

    return serve


def exchange(port, request, until_quiet=0.2):
    """Sends bytes to a server and returns all that comes until it is quiet."""
    with socket.create_connection(("127.0.0.1", port)) as link:
        link.sendall(request)
        link.settimeout(until_quiet)
        received = b""
        with contextlib.suppress(TimeoutError):
            while piece := link.recv(1 << 20):
                received += piece
        return received


# --- Servers of UDP ---------------------------------------------------------------------------


class DatagramServer:
    """Hands each datagram, with its number from 0, to `serve(datagram, number)`; sends what that
    returns back."""

    def __init__(self, serve):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.bind(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.serve = serve
        self.count = 0
        self.ended = threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self):
        while not self.ended.is_set():
            with contextlib.suppress(OSError):
                datagram, sender = self.socket.recvfrom(65536)
                number, self.count = self.count, self.count + 1
                for answer in self.serve(datagram, number) or []:
                    self.socket.sendto(answer, sender)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ended.set()
        # Wakes the thread that receives.
        with socket.socket(type=socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", ("127.0.0.1", self.port))
        self.socket.close()


def crc32c(data):
    """CRC-32C, bit by bit: these datagrams are short."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def reply_datagram(request, payload):
    """The reply to a request of one datagram; Sources/NetKit/Datagram/DatagramHeader.swift."""
    high, low = struct.unpack_from("<QQ", request, 16)
    (echo,) = struct.unpack_from("<I", request, 44)
    head = struct.pack(
        "<4sBBHHHIQQQII",
        b"\xf52P\x01", 2, 0, 0, 1, 0, 0, high, low, 0, len(payload), echo,
    )
    checksum = crc32c(head + payload)
    return head[:12] + struct.pack("<I", checksum) + head[16:] + payload


def answering_datagrams(*replies):
    """Answers request number n with reply n, the last one for ever; None is no answer."""

    def serve(datagram, number):
        if datagram[:1] != b"\xf5" or datagram[4] != 1:
            return []
        reply = replies[min(number, len(replies) - 1)]
        return [] if reply is None else [reply_datagram(datagram, reply)]

    return serve


@contextlib.contextmanager
def staged(flag, *replies):
    """A way to a server that answers everything with these replies; without any it is silent."""
    if flag == "-t":
        server = StreamServer(answering(*replies) if replies else silent)
    else:
        server = DatagramServer(answering_datagrams(*(replies or (None,))))
    with server:
        yield Way(flag, server.port)


@contextlib.contextmanager
def losing_first_answers(flag, port, count=1):
    """A way to a real server on which the answers to the first `count` requests are lost."""
    if flag == "-t":

        def serve(connection, number):
            while request := connection.recv(1 << 20):
                answer = exchange(port, request)
                if number < count:
                    return
                connection.sendall(answer)

        server = StreamServer(serve)
    else:

        def serve(datagram, number):
            with socket.socket(type=socket.SOCK_DGRAM) as link:
                link.connect(("127.0.0.1", port))
                link.settimeout(2)
                link.send(datagram)
                answer = link.recv(65536)
            return [] if number < count else [answer]

        server = DatagramServer(serve)
    with server:
        yield Way(flag, server.port)
