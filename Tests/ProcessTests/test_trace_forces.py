"""The trace of system calls: no reply tells of a change before the force that covers it returned."""

import os
import re
import shutil
import socket
import subprocess
import threading

import pytest
import syscall_trace
from processes import Server, ServerError

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
