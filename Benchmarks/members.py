#!/usr/bin/env python3
"""What being a member costs: CPU of a GET on each of three members beside a node alone, and how long writes
are refused while the members of a cluster with many keys are restarted one after the other.

All servers run at the same time and take turns under load; medians of the repeats.
"""

import argparse
import contextlib
import json
import shutil
import socket
import statistics
import subprocess
import sys
import threading
import time

from commit import ROOT, Bench, info, wait_until
from compare import cpu_nanos


def load(options, port, verb, depth, *flags):
    done = subprocess.run(
        ["taskset", "-c", "1", options.loadgen, "--port", str(port), "-o", verb, "-P", str(depth), *flags],
        capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def gets(bench, options):
    print("Server CPU per GET of 3 B over TCP, 50 connections, us\n")
    ports = [bench.one(), *bench.three()]
    pids = [process.process.pid for process in bench.running]
    for pid in pids:
        subprocess.run(["taskset", "-a", "-c", "-p", "0", str(pid)], check=True, capture_output=True)
    for port in ports[:2]:
        load(options, port, "set", 100, "-n", "1000", "--populate")
    print("| P | a node alone | member 1 | member 2 | member 3 | greatest ratio |")
    print("|---|---|---|---|---|---|")
    for depth in (1, 16, 100):
        runs = [[] for _ in ports]
        for _ in range(options.repeats):
            for index, (port, pid) in enumerate(zip(ports, pids)):
                before = cpu_nanos(pid)
                figures = load(options, port, "get", depth, "--seconds", "1")
                runs[index].append((cpu_nanos(pid) - before) / 1000 / figures["requests"])
        medians = [statistics.median(each) for each in runs]
        print(f"| {depth} " + "".join(f"| {each:.3f} " for each in medians)
              + f"| {max(medians[1:]) / medians[0]:.2f} |", flush=True)


class Writer(threading.Thread):
    """Sets a key all the time at whichever member answers; notes when a write was acknowledged."""

    def __init__(self, ports):
        super().__init__(daemon=True)
        self.ports, self.acknowledged, self.isOver, self.refusals = ports, [], False, set()

    def run(self):
        turn = 0
        while not self.isOver:
            turn += 1
            with contextlib.suppress(OSError):
                with socket.create_connection(("127.0.0.1", self.ports[turn % 3]), timeout=1) as link:
                    self.use(link)
            time.sleep(0.005)

    def use(self, link):
        while not self.isOver:
            link.sendall(b"SET written 1\r\n")
            reply = link.recv(4_096)
            if not reply:
                return
            if reply != b"+OK\r\n":
                self.refusals.add(reply.split(b" ")[0].decode())
                return
            self.acknowledged.append(time.monotonic())

    def longest_gap(self, since):
        times = [since] + [at for at in self.acknowledged if at >= since]
        return max(later - earlier for earlier, later in zip(times, times[1:]))


def restarts(bench, options):
    ports = bench.three()
    processes = bench.running[-3:]
    commands = [list(process.process.args) for process in processes]
    load(options, ports[0], "set", 100, "-d", "100", "-r", str(options.keys), "-n", "1000", "--populate")
    print(f"\nRolling restart of three members with {options.keys} keys (SIGTERM, start, ready)\n")
    writer = Writer(ports)
    writer.start()
    time.sleep(1)
    print("| member | ready after | longest time without an acknowledged write |")
    print("|---|---|---|")
    for index, (process, command, port) in enumerate(zip(processes, commands, ports)):
        began = time.monotonic()
        process.stop()
        # Its directory is absolute in the command.
        bench.start(command)
        wait_until(lambda: info(port)["members_reachable"] == "3", f"member {index + 1}", 120)
        ready = time.monotonic() - began
        time.sleep(1)
        print(f"| {index + 1} | {ready:.2f} s | {writer.longest_gap(began):.2f} s |", flush=True)
    writer.isOver = True
    writer.join()
    print(f"\nRefusals in between: {', '.join(sorted(writer.refusals)) or 'none'}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--serve", default=f"{ROOT}/.build/release/serve")
    parser.add_argument("--loadgen", default=f"{ROOT}/.build/release/loadgen")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--keys", type=int, default=1_000_000)
    parser.add_argument("--directory", default="/var/tmp", help="for data; not on a tmpfs")
    options = parser.parse_args()
    for part in (gets, restarts):
        bench = Bench(options)
        try:
            part(bench, options)
        finally:
            bench.close()
    return 0


if __name__ == "__main__":
    if not shutil.which("taskset"):
        raise SystemExit("needs taskset (util-linux)")
    sys.exit(main())
