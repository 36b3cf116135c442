#!/usr/bin/env python3
"""Runs the program `embed` on free ports and checks what it says: check.py PROGRAM"""

import contextlib
import socket
import subprocess
import sys
import tempfile


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


members = ",".join(f"{n}=127.0.0.1:{port}" for n, port in enumerate(free_ports(3), 1))
with tempfile.TemporaryDirectory(prefix="embed-") as folder:
    done = subprocess.run(
        [sys.argv[1], folder, members], capture_output=True, text=True, timeout=60)
assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
assert "member 2 (127.0.0.1:" in done.stdout and "not-applied" in done.stdout, done.stdout
print(f"embed: 1 passed, 0 failed: {done.stdout.strip()}")
