"""Runs of `serve` for tests about the process itself: flags, start line, signals, exit codes.

`processes.Server` is a server that serves; a `Run` is one process of which nothing is assumed, not
even that it starts.
"""

import os
import pathlib
import re
import select
import signal
import subprocess
import tempfile
import time

from processes import Link, ServerError, binary, encode

START_SECONDS = 30


class Client(Link):
    """A connection that can be called like a command, and knows RESP3's maps."""

    def __call__(self, *words):
        return self.command(*words)

    def pipeline(self, *commands):
        """Sends all commands at once and returns the replies, errors among them."""
        self.socket.sendall(b"".join(encode(*words) for words in commands))
        return [self.reply() for _ in commands]

    def reply(self):
        if self.reader.peek(1)[:1] != b"%":
            return super().reply()
        count = int(self.reader.readline()[1:])
        return {self.reply(): self.reply() for _ in range(count)}

    def next_reply(self):
        """One reply; raises for an error."""
        answer = self.reply()
        if isinstance(answer, ServerError):
            raise answer
        return answer


class Run:
    """One process of `serve`, its log in a file."""

    def __init__(self, arguments, environment=None, prefix=(), program=None):
        descriptor, path = tempfile.mkstemp(prefix="tuppence-test.log.")
        self.log_path = pathlib.Path(path)
        # A group of its own, so that strace and its child can be killed together.
        self.process = subprocess.Popen(
            [*prefix, program or binary("serve"), *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=descriptor,
            stderr=descriptor,
            env={**os.environ, **(environment or {})},
            start_new_session=True,
        )
        os.close(descriptor)
        self.tcp_port = self.udp_port = None

    @property
    def pid(self):
        return self.process.pid

    @property
    def log(self):
        return self.log_path.read_text(errors="replace")

    def wait_for(self, pattern, seconds=START_SECONDS):
        """Waits until the log matches; fails when the server ends first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            has_ended = self.process.poll() is not None
            found = re.search(pattern, self.log)
            if found:
                return found
            assert not has_ended, f"ended with {self.process.returncode}:\n{self.log}"
            time.sleep(0.005)
        raise AssertionError(f"no {pattern!r} in:\n{self.log}")

    def listening(self):
        """Waits for the start line and notes the ports."""
        line = self.wait_for(r"listening on (.*?); data in").group(1)
        for port, kind in re.findall(r":(\d+) (tcp|udp)", line):
            setattr(self, f"{kind}_port", int(port))
        return self

    def ready(self):
        """Waits until the server serves."""
        self.listening()
        self.wait_for(r" ready after ")
        return self

    def connect(self, **options):
        return Client(self.tcp_port, **options)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, seconds=START_SECONDS):
        """The exit code."""
        return self.process.wait(timeout=seconds)

    def stop(self, seconds=START_SECONDS):
        """SIGTERM and the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(seconds)

    def kill(self):
        """SIGKILL to the whole group, reaped."""
        if self.process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.process.wait()

    def clean_up(self):
        self.kill()
        self.log_path.unlink(missing_ok=True)


def run_to_end(*arguments, environment=None, folder=None, seconds=START_SECONDS):
    """Runs `serve` until it ends by itself; its output as text."""
    return subprocess.run(
        [binary("serve"), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=seconds,
        cwd=folder,
        env={**os.environ, **(environment or {})},
    )


def wait_until(condition, seconds=START_SECONDS):
    """Waits until `condition()` holds; fails when the time is over."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def readable(client, seconds):
    """True when bytes (or the end) can be read within the time."""
    return bool(select.select([client.socket], [], [], seconds)[0])
