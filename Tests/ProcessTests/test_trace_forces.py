"""The trace of system calls: no reply tells of a change before the force that covers it returned."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading

import pytest
import syscall_trace
from processes import Server, ServerError, binary

CLIENTS = 8
CHANGES = 60
# Slows every force by this many microseconds, so that a reply that does not wait is surely early.
DELAY = "inject=fdatasync,fsync:delay_enter=4000"


def strace_or_fail():
    path = shutil.which("strace")
    assert path, "needs strace (apt-get install strace)"
    return path


class Workload:
    """Clients that change, and a reader that looks at what they change meanwhile."""

    def __init__(self, port):
        self.port = port
        self.acknowledged = {}
        self.failures = []

    def stream_client(self, number):
        from processes import Link
        try:
            with Link(self.port) as link:
                mine = link.socket.getsockname()[1]
                self.acknowledged[mine] = []
                for index in range(CHANGES):
                    token = f"token-s{number:02}-{index:04}-end"
                    self.acknowledged[mine].append(token)
                    if link.command("SET", f"key{number}", token) != "OK":
                        self.failures.append(f"{token} not acknowledged")
        except (OSError, ServerError) as error:
            self.failures.append(f"client {number}: {error}")

    def datagram_client(self, number):
        with socket.socket(type=socket.SOCK_DGRAM) as plain:
            plain.settimeout(20)
            plain.connect(("127.0.0.1", self.port))
            mine = plain.getsockname()[1]
            self.acknowledged[mine] = []
            try:
                for index in range(CHANGES):
                    token = f"token-d{number:02}-{index:04}-end"
                    self.acknowledged[mine].append(token)
                    plain.send(f"SET udp{number} {token}\r\n".encode())
                    if plain.recv(2048) != b"+OK\r\n":
                        self.failures.append(f"{token} not acknowledged")
            except OSError as error:
                self.failures.append(f"datagram client {number}: {error}")

    def reader(self, stop):
        from processes import Link
        with Link(self.port) as link:
            while not stop.is_set():
                for number in range(CLIENTS):
                    link.command("GET", f"key{number}")

    def run(self, datagrams):
        stop = threading.Event()
        watching = threading.Thread(target=self.reader, args=(stop,))
        watching.start()
        threads = [threading.Thread(target=self.stream_client, args=(n,)) for n in range(CLIENTS)]
        if datagrams:
            threads += [threading.Thread(target=self.datagram_client, args=(n,)) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        stop.set()
        watching.join()
        assert not self.failures, self.failures[:5]


def traced_run(tmp_path, durability, datagrams=True):
    """Runs the workload under strace; the problems found and the replies checked."""
    trace = str(tmp_path / "trace")
    wrapper = syscall_trace.command(trace, "-e", DELAY)
    wrapper[0] = strace_or_fail()
    with Server("--durability", durability, wrapper=wrapper, udp=datagrams) as server:
        workload = Workload(server.port)
        workload.run(datagrams)
        stop_traced(server)
        calls = syscall_trace.read_calls(trace)
        data = os.path.realpath(server.data)
    return syscall_trace.Checker(calls, data).find_early_replies(workload.acknowledged)


def stop_traced(server):
    """Ends the traced server, not strace, which then ends by itself."""
    children = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(server.pid)], capture_output=True, text=True).stdout
    for pid in children.split():
        os.kill(int(pid), 15)
    server.process.wait(timeout=30)


def test_no_reply_tells_of_a_change_before_its_force_returned(tmp_path):
    problems, checked = traced_run(tmp_path, "always")
    assert not problems, "\n".join(problems[:10])
    assert checked >= (CLIENTS + 3) * CHANGES
    print(f"figure: {checked} replies came after their force")


@pytest.mark.parametrize("durability", ["never", "every-second"])
def test_the_check_finds_early_replies_where_forcing_is_off(tmp_path, durability):
    problems, checked = traced_run(tmp_path, durability)
    assert len(problems) > CHANGES, f"{len(problems)} problems in {checked} replies"
    assert re.search("forced", problems[0])


def test_a_force_that_fails_is_final(tmp_path):
    """Nothing is acknowledged after it, the process ends with 74, and the acknowledged is there."""
    trace = str(tmp_path / "trace")
    wrapper = syscall_trace.command(trace, "-e", "inject=fdatasync:error=EIO:when=40+")
    wrapper[0] = strace_or_fail()
    acknowledged = 0
    with Server("--durability", "always", wrapper=wrapper) as server:
        with server.link() as link:
            try:
                for index in range(1000):
                    assert link.command("SET", f"k{index}", index) == "OK"
                    acknowledged = index + 1
            except (ConnectionError, ServerError):
                pass
        assert acknowledged < 1000, "no force failed"
        assert server.process.wait(timeout=20) == 74, server.log()
        again = Server("--durability", "always", data=server.data)
        with again:
            with again.link() as link:
                for index in range(acknowledged):
                    assert link.command("GET", f"k{index}") == str(index).encode()


def test_a_start_forces_and_drops_what_is_cached_before_it_reads(tmp_path):
    """Else a start after a failed force would believe what is only in the system's cache."""
    trace = str(tmp_path / "trace")
    with Server("--durability", "always") as server:
        with server.link() as link:
            assert link.command("SET", "k", "v") == "OK"
        data = server.data
        server.kill()
        wrapper = [strace_or_fail(), "-f", "-y", "-e", "trace=pread64,fdatasync,fadvise64",
                   "-o", trace]
        with Server("--durability", "always", data=data, wrapper=wrapper) as again:
            with again.link() as link:
                assert link.command("GET", "k") == b"v"
            assert "cache" not in again.log(), again.log()
        seen = {}
        with open(trace, errors="replace") as file:
            for line in file:
                match = re.match(r"^\d+ +(\w+)\(\d+<[^>]*/((?:log|checkpoint)-\d+)>(.*)", line)
                if match:
                    name, path, rest = match.groups()
                    assert name != "fadvise64" or "POSIX_FADV_DONTNEED" in rest
                    seen.setdefault(path, []).append(name)
        assert seen, "the trace shows no file of the data"
        for path, calls in seen.items():
            assert calls[:3] == ["fdatasync", "fadvise64", "pread64"], (path, calls[:10])


def test_a_force_that_fails_at_the_start_ends_it(tmp_path):
    with Server("--durability", "always") as server:
        with server.link() as link:
            assert link.command("SET", "k", "v") == "OK"
        data = server.data
        server.kill()
        arguments = ["-e", "trace=fdatasync", "-e", "inject=fdatasync:error=EIO:when=1"]
        run = subprocess.run(
            [strace_or_fail(), "-f", "-o", str(tmp_path / "trace"), *arguments, binary("serve"),
             "-p", "0", "--data", data], capture_output=True, text=True, timeout=20)
        assert run.returncode == 74, run.stderr
        assert "Input/output error" in run.stderr, run.stderr
        with Server("--durability", "always", data=data) as again, again.link() as link:
            assert link.command("GET", "k") == b"v"


def test_a_start_says_when_the_cache_cannot_be_dropped():
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        for _ in range(2):
            with Server("--durability", "always", data=os.path.join(folder, "data")) as server:
                with server.link() as link:
                    link.command("SET", "k", "v")
                log = server.log()
        assert "read from the system's cache, not from the disk" in log, log
