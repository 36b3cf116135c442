#!/usr/bin/env python3
"""Measures serve beside redis-server and memcached, in the same minutes, and prints ratios and goals.

The servers run on core 0, the load generator on core 1; servers alternate within each repeat and the
medians are compared, because single figures on a shared machine move by a factor of two. The measure
is the server's CPU time per request (schedstat of all its threads, kernel time included); requests
per second are printed beside it and decide nothing, except where the disk is what is measured.

Never gates CI: it prints what it found and exits 0, unless --strict is given.

Usage: compare.py [cpu] [durable] [udp] [recovery] [start] [idle] [--repeats N] [--seconds N] ...
"""

import argparse
import contextlib
import glob
import json
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SECTIONS = ["cpu", "durable", "udp", "recovery", "start", "idle"]
# Server CPU per request as a part of Redis's, by requests in the pipeline.
CPU_GOALS = {1: 0.95, 16: 0.7, 100: 0.5}


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def cpu_nanos(pid):
    """CPU time of all threads of a process, user and kernel."""
    total = 0
    for path in glob.glob(f"/proc/{pid}/task/*/schedstat"):
        with contextlib.suppress(OSError), open(path) as file:
            total += int(file.read().split()[0])
    return total


def machine_busy_nanos():
    """CPU time that anybody used, from /proc/stat."""
    with open("/proc/stat") as file:
        fields = [int(word) for word in file.readline().split()[1:]]
    idle = fields[3] + fields[4]
    return (sum(fields[:8]) - idle) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")


def resident_kib(pid):
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            if line.startswith("VmRSS"):
                return int(line.split()[1])
    return 0


def resp(port, *words, timeout=5):
    """One command, the first line of its reply."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as link:
        request = f"*{len(words)}\r\n" + "".join(f"${len(w)}\r\n{w}\r\n" for w in words)
        link.sendall(request.encode())
        return link.makefile("rb").readline().decode(errors="replace").strip()


class Server:
    """A server process on core 0 with a directory of its own."""

    def __init__(self, name, command, port, directory, ready="resp"):
        self.name = name
        self.port = port
        self.directory = directory
        self.log = open(os.path.join(directory, f"{name}.log"), "ab")
        self.process = subprocess.Popen(
            ["taskset", "-c", "0"] + command, cwd=directory, stdin=subprocess.DEVNULL,
            stdout=self.log, stderr=self.log)
        self.pid = self.process.pid
        self.await_ready(ready)

    def await_ready(self, ready, seconds=120):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise SystemExit(f"{self.name} ended with {self.process.returncode}; "
                                 f"see {self.log.name}")
            try:
                if ready != "resp":
                    socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                    return
                if resp(self.port, "PING", timeout=1) == "+PONG":
                    return
            except OSError:
                pass
            time.sleep(0.002)
        raise SystemExit(f"{self.name} did not answer within {seconds} s")

    def stop(self, how=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(how)
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Bench:
    def __init__(self, options):
        self.options = options
        self.base = tempfile.mkdtemp(prefix="tuppence-compare.", dir=options.directory)
        self.results = {}
        self.missed = []

    def close(self):
        shutil.rmtree(self.base, ignore_errors=True)

    # Servers

    def serve(self, *flags, directory=None, udp=False):
        port = free_port()
        home = directory or tempfile.mkdtemp(dir=self.base)
        links = ["--tcp", "--udp"] if udp else []
        command = [self.options.serve, "--port", str(port), "--host", "127.0.0.1", "--data",
                   os.path.join(home, "data"), *links, *flags]
        return Server("serve", command, port, home)

    def redis(self, *flags, name="redis"):
        port = free_port()
        home = tempfile.mkdtemp(dir=self.base)
        command = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--save", "",
                   "--dir", home, *flags]
        return Server(name, command, port, home)

    def memcached(self):
        port = free_port()
        command = ["memcached", "-u", "root" if os.geteuid() == 0 else os.environ["USER"], "-t", "1",
                   "-m", "512", "-p", str(port), "-U", str(port), "-l", "127.0.0.1"]
        return Server("memcached", command, port, tempfile.mkdtemp(dir=self.base), ready="tcp")

    # Load

    def load(self, server, *flags, seconds=None):
        """Runs the generator once; returns its figures with CPU microseconds per request."""
        command = ["taskset", "-c", "1", self.options.loadgen, "--port", str(server.port),
                   "--seconds", str(seconds or self.options.seconds), *map(str, flags)]
        before, busy = cpu_nanos(server.pid), machine_busy_nanos()
        mine = os.times()
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise SystemExit(f"loadgen against {server.name}: {done.stderr.strip()}")
        figures = json.loads(done.stdout)
        used = cpu_nanos(server.pid) - before
        now = os.times()
        ours = used + int((now.children_user + now.children_system - mine.children_user
                           - mine.children_system) * 1e9)
        figures["cpu_us"] = used / 1000 / figures["requests"]
        figures["foreign"] = max(0.0, (machine_busy_nanos() - busy - ours)
                                 / (figures["seconds"] * 1e9))
        return figures

    def alternate(self, servers, *flags):
        """Each server once a repeat, in turn first; medians of CPU per request and rate."""
        for server in servers:
            self.load(server, *flags, "--populate", seconds=1)
        runs = {server.name: [] for server in servers}
        for repeat in range(self.options.repeats):
            order = servers if repeat % 2 == 0 else servers[::-1]
            for server in order:
                figures = self.load(server, *flags)
                if figures["foreign"] > 0.15:  # somebody else used the machine: once more
                    second = self.load(server, *flags)
                    figures = min(figures, second, key=lambda run: run["foreign"])
                runs[server.name].append(figures)
        return {name: {key: statistics.median(run[key] for run in list_)
                       for key in ("cpu_us", "per_second", "p50_us", "p99_us", "foreign", "lost")}
                for name, list_ in runs.items()}

    def judge(self, what, value, goal, at_most):
        met = value <= goal if at_most else value >= goal
        if not met:
            self.missed.append(what)
        word = "at most" if at_most else "at least"
        return f"{value:.2f} (goal {word} {goal:g}: {'met' if met else 'MISSED'})"

    # Sections

    def cpu(self):
        print("\nServer CPU per request over TCP, 50 connections\n")
        print("GET: redis without its append-only file, serve --durability never\n")
        self.cpu_table("cpu", "get", ("--appendonly", "no"), "never", CPU_GOALS)
        for what, fsync, durability in (("never forced", "no", "never"),
                                        ("forced each second", "everysec", "every-second")):
            print(f"\nSET, both writing a log, {what}: redis appendfsync {fsync}, "
                  f"serve --durability {durability}\n")
            self.cpu_table(f"cpu/{durability}", "set", ("--appendonly", "yes", "--appendfsync", fsync),
                           durability, CPU_GOALS)
        print("\nSET beside a redis that writes nothing to disk; serve writes its log all the same:"
              " no goal\n")
        self.cpu_table("cpu/unlogged", "set", ("--appendonly", "no"), "never", {})

    def cpu_table(self, section, verb, redis, durability, goals):
        print("| value | op | P | redis us | serve us | serve/redis | redis k/s | serve k/s |"
              " p99 ms redis / serve |")
        print("|---|---|---|---|---|---|---|---|---|")
        servers = [self.redis(*redis), self.serve("--durability", durability)]
        self.cpu_rows(section, servers, (verb,), goals)

    def cpu_rows(self, section, servers, verbs, goals):
        """A table row a size, verb and depth; stops the servers, redis first in the list."""
        try:
            for size in (3, 1024):
                for verb in verbs:
                    for depth in (1, 16, 100):
                        got = self.alternate(servers, "-o", verb, "-d", size, "-P", depth)
                        redis, ours = got["redis"], got["serve"]
                        ratio = ours["cpu_us"] / redis["cpu_us"]
                        key = f"{section}/{verb}/{size}/{depth}"
                        self.results[key] = got
                        verdict = (self.judge(key, ratio, goals[depth], True) if goals
                                   else f"{ratio:.2f}")
                        print(f"| {size} B | {verb} | {depth} | {redis['cpu_us']:.3f} "
                              f"| {ours['cpu_us']:.3f} | {verdict} "
                              f"| {redis['per_second'] / 1e3:.0f} | {ours['per_second'] / 1e3:.0f} "
                              f"| {redis['p99_us'] / 1e3:.1f} / {ours['p99_us'] / 1e3:.1f} |",
                              flush=True)
        finally:
            for server in servers:
                server.stop()

    def durable(self):
        print("\nForced SETs of 100 B per second, 64 clients, P=1 (redis: appendfsync always)\n")
        servers = [self.redis("--appendonly", "yes", "--appendfsync", "always"),
                   self.serve("--durability", "always")]
        try:
            got = self.alternate(servers, "-o", "set", "-d", 100, "-c", 64)
        finally:
            for server in servers:
                server.stop()
        self.results["durable"] = got
        ratio = got["serve"]["per_second"] / got["redis"]["per_second"]
        print(f"redis {got['redis']['per_second']:.0f}/s, serve {got['serve']['per_second']:.0f}/s, "
              f"serve/redis {self.judge('durable', ratio, 1.2, False)}; "
              f"p99 {got['redis']['p99_us'] / 1e3:.1f} and {got['serve']['p99_us'] / 1e3:.1f} ms")

    def udp(self):
        print("\nRequests per server CPU second over UDP, 4 sockets with 64 under way\n")
        servers = [self.memcached(), self.serve("--durability", "never", udp=True)]
        try:
            for size in (3, 1024):
                for server, wire in zip(servers, ("memcached", "udp")):
                    self.load(server, "-w", wire, "-c", 4, "-P", 64, "-d", size, "--populate",
                              seconds=1)
                runs = {"memcached": [], "serve": []}
                for repeat in range(self.options.repeats):
                    pairs = list(zip(servers, ("memcached", "udp")))
                    for server, wire in pairs if repeat % 2 == 0 else pairs[::-1]:
                        runs[server.name].append(
                            self.load(server, "-w", wire, "-c", 4, "-P", 64, "-d", size))
                got = {name: {key: statistics.median(run[key] for run in list_)
                              for key in ("cpu_us", "per_second", "lost", "foreign")}
                       for name, list_ in runs.items()}
                self.results[f"udp/{size}"] = got
                ratio = got["memcached"]["cpu_us"] / got["serve"]["cpu_us"]
                print(f"GET {size} B: memcached {1e6 / got['memcached']['cpu_us']:.0f}/CPU s "
                      f"(lost {got['memcached']['lost']:.0f}), serve "
                      f"{1e6 / got['serve']['cpu_us']:.0f}/CPU s (lost {got['serve']['lost']:.0f}), "
                      f"serve/memcached {self.judge(f'udp/{size}', ratio, 1.4, False)}", flush=True)
        finally:
            for server in servers:
                server.stop()

    def recovery(self):
        count = self.options.records
        print(f"\nRecovery of {count} records of 100 B after kill -9\n")
        home = tempfile.mkdtemp(dir=self.base)
        server = self.serve("--durability", "every-second", directory=home)
        self.load(server, "-o", "set", "-d", 100, "-P", 100, "-r", count, "--populate", seconds=1)
        time.sleep(2.5)
        server.stop(signal.SIGKILL)
        byte_count = sum(os.path.getsize(os.path.join(folder, name))
                         for folder, _, names in os.walk(home) for name in names)
        rates = []
        for _ in range(self.options.repeats):
            start = time.monotonic()
            server = self.serve("--durability", "every-second", directory=home)
            taken = time.monotonic() - start
            held = int(resp(server.port, "DBSIZE")[1:])
            server.stop(signal.SIGKILL)
            if held != count:
                raise SystemExit(f"recovery: {held} keys of {count}")
            rates.append(count / taken)
        rate = statistics.median(rates)
        self.results["recovery"] = {"records_per_second": rate, "bytes": byte_count}
        print(f"{rate / 1e3:.0f} k records/s from {byte_count / 2**20:.0f} MiB, "
              f"{self.judge('recovery', rate / 500e3, 1, False)} times 500 k/s")

    def start(self):
        print("\nWall time of one get: clie beside redis-cli (hyperfine -N)\n")
        server = self.serve("--durability", "never")
        redis = self.redis()
        try:
            resp(server.port, "SET", "a", "1")
            resp(redis.port, "SET", "a", "1")
            report = os.path.join(self.base, "start.json")
            subprocess.run(
                ["taskset", "-c", "1", "hyperfine", "-N", "--warmup", "20", "--runs", "300",
                 "--export-json", report, "--style", "none",
                 f"redis-cli -p {redis.port} get a",
                 f"{self.options.clie} -s 127.0.0.1 -p {server.port} -o 1 -k a"],
                check=True, stdout=subprocess.DEVNULL)
            with open(report) as file:
                theirs, ours = [run["median"] for run in json.load(file)["results"]]
        finally:
            server.stop()
            redis.stop()
        self.results["start"] = {"redis_cli_ms": theirs * 1e3, "clie_ms": ours * 1e3}
        print(f"redis-cli {theirs * 1e3:.2f} ms, clie {ours * 1e3:.2f} ms, "
              f"clie/redis-cli {self.judge('start', ours / theirs, 0.5, True)}")

    def idle(self):
        print("\nIdle for 10 s, empty, no client\n")
        for name, server in (("serve", self.serve(udp=True)), ("redis", self.redis())):
            time.sleep(1)
            before = cpu_nanos(server.pid)
            time.sleep(10)
            share = (cpu_nanos(server.pid) - before) / 10e9 * 100
            memory = resident_kib(server.pid) / 1024
            self.results[f"idle/{name}"] = {"cpu_percent": share, "resident_mib": memory}
            print(f"{name}: {share:.3f} % of a core, {memory:.1f} MiB resident")
            server.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    parser.add_argument("--serve", default=f"{ROOT}/.build/release/serve")
    parser.add_argument("--clie", default=f"{ROOT}/.build/static-clie/release/clie")
    parser.add_argument("--loadgen", default=f"{ROOT}/.build/release/loadgen")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each run")
    parser.add_argument("--records", type=int, default=1_000_000, help="for recovery")
    parser.add_argument("--directory", default="/var/tmp", help="for data; not on a tmpfs")
    parser.add_argument("--json", help="file for all figures")
    parser.add_argument("--strict", action="store_true", help="exit 1 when a goal is missed")
    options = parser.parse_args()
    unknown = set(options.sections) - set(SECTIONS)
    if unknown:
        parser.error(f"unknown section {', '.join(sorted(unknown))}; known: {', '.join(SECTIONS)}")
    for name in ("serve", "clie", "loadgen"):
        path = os.path.abspath(getattr(options, name))
        setattr(options, name, path)
        if not os.access(path, os.X_OK):
            parser.error(f"no {path}: swift build -c release and ./clie --version build it; "
                         f"or give --{name}")
    for tool in ("taskset", "redis-server", "redis-cli", "memcached", "hyperfine"):
        if not shutil.which(tool):
            parser.error(f"needs {tool}")
    if (os.cpu_count() or 1) < 2:
        parser.error("needs two cores: one for the server, one for the load")

    bench = Bench(options)
    try:
        for section in SECTIONS:
            if not options.sections or section in options.sections:
                getattr(bench, section)()
    finally:
        bench.close()
        if options.json:
            with open(options.json, "w") as file:
                json.dump(bench.results, file, indent=1)
    print(f"\n{len(bench.missed)} goals missed" + (": " + ", ".join(bench.missed)
                                                  if bench.missed else ""))
    return 1 if options.strict and bench.missed else 0


if __name__ == "__main__":
    sys.exit(main())
