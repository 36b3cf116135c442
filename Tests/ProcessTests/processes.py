"""Starts real servers for tests and speaks RESP to them byte by byte.

The binaries come from TUPPENCE_BIN, else from the newest build. Everything started here is ended by its own
process id. Nothing here depends on a Redis library, so that tests decide what is sent and when.
"""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def newest_build():
    """The folder, debug or release, in which serve was built last."""
    folders = [os.path.join(ROOT, ".build", name) for name in ("debug", "release")]
    built = [folder for folder in folders if os.path.exists(os.path.join(folder, "serve"))]
    times = [(os.path.getmtime(os.path.join(folder, "serve")), folder) for folder in built]
    return max(times)[1] if times else folders[0]


BINARIES = os.environ.get("TUPPENCE_BIN") or newest_build()


def binary(name):
    """The path of a built program; a clear failure when it is not there."""
    path = os.path.join(BINARIES, name)
    if not os.access(path, os.X_OK):
        raise FileNotFoundError(f"no {path}: run swift build, or set TUPPENCE_BIN")
    return path


def free_port():
    """A port that was free for TCP and UDP a moment ago."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind(("127.0.0.1", 0))
            port = tcp.getsockname()[1]
            with contextlib.suppress(OSError):
                udp.bind(("127.0.0.1", port))
                return port


class ServerError(Exception):
    """An error reply."""


class Link:
    """One TCP connection speaking RESP2."""

    def __init__(self, port, timeout=20, host="127.0.0.1"):
        self.socket = socket.create_connection((host, port), timeout=timeout)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.reader = self.socket.makefile("rb", buffering=1 << 16)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        with contextlib.suppress(OSError):
            self.reader.close()
        self.socket.close()

    def send(self, *words):
        self.socket.sendall(encode(*words))

    def ask(self, *words):
        self.send(*words)
        return self.reply()

    def reply(self):
        """One reply; an error reply comes back as ServerError."""
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise ConnectionError("the connection ended within a reply")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode()
        if kind == b"-":
            return ServerError(rest.decode())
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self.exactly(int(rest) + 2)[:-2]
        if kind == b"*":
            return None if rest == b"-1" else [self.reply() for _ in range(int(rest))]
        raise ConnectionError(f"not RESP2: {line!r}")

    def exactly(self, count):
        data = self.reader.read(count)
        if len(data) != count:
            raise ConnectionError("the connection ended within a reply")
        return data

    def command(self, *words):
        """Sends one command and returns its reply; raises for an error reply."""
        self.send(*words)
        answer = self.reply()
        if isinstance(answer, ServerError):
            raise answer
        return answer


def encode(*words):
    """A command as an array of bulk strings."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        word = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(word), word))
    return b"".join(parts)


class Server:
    """A `serve` of its own port and directory, as a context manager.

    `wrapper` is put before the command (strace); `flags` come after the usual ones.
    """

    def __init__(self, *flags, data=None, port=None, wrapper=(), udp=False, cwd=None):
        self.port = port or free_port()
        self.home = tempfile.mkdtemp(prefix="tuppence-test.", dir=os.environ.get("TMPDIR"))
        self.data = data or os.path.join(self.home, "data")
        self.log_path = os.path.join(self.home, "serve.log")
        links = ["--tcp", "--udp"] if udp else []
        self.command = [*wrapper, binary("serve"), "--host", "127.0.0.1", "--port", str(self.port),
                        "--data", self.data, *links, *flags]
        self.cwd = cwd or self.home
        self.process = None

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        if self.process:
            # A group of its own: killing strace alone would leave its child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
        shutil.rmtree(self.home, ignore_errors=True)

    def start(self, seconds=60):
        """Starts the process and waits until its data is loaded."""
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command, cwd=self.cwd, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True)
        end = time.monotonic() + seconds
        while True:
            if self.process.poll() is not None:
                raise AssertionError(
                    f"serve ended with {self.process.returncode}: {self.log()}")
            with contextlib.suppress(OSError, ServerError):
                with Link(self.port, timeout=2) as link:
                    link.command("DBSIZE")
                    return self
            if time.monotonic() > end:
                raise AssertionError(f"serve did not answer within {seconds} s: {self.log()}")
            time.sleep(0.01)

    @property
    def pid(self):
        return self.process.pid

    def link(self, timeout=20):
        return Link(self.port, timeout)

    def log(self):
        with open(self.log_path, errors="replace") as file:
            return file.read()[-4000:]

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self, seconds=30):
        """SIGTERM; returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=seconds)

    def is_alive(self):
        return self.process.poll() is None

    def resident(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.pid}/status") as file:
            for line in file:
                if line.startswith("VmRSS"):
                    return int(line.split()[1]) * 1024
        raise AssertionError("no VmRSS")

    def descriptor_count(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))

    def info(self):
        """INFO as a dictionary."""
        with self.link() as link:
            text = link.command("INFO").decode()
        return dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
