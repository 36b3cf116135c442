#!/usr/bin/env python3
"""What a commit on three members costs: durable SETs on one node, on three members, on three of etcd.

All servers of one kind run on both cores, with their data on one disk, and take turns with the others in
one run; medians of the repeats. etcd is asked over gRPC by its own tools/benchmark (etcd_benchmark.sh
builds it, --etcd-benchmark names it); without that, over its JSON gateway by ab (apache2-utils), which
costs it more: its rates are then a lower bound of what it can do. In the same minute a probe without any
server times what a commit is made of: a round trip over loopback, a force, three forces at once, and
bare threads that send, force and answer like members.
"""

import argparse
import base64
import contextlib
import json
import os
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
CLIENTS = (1, 16, 64)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Process:
    def __init__(self, command, home):
        self.log = open(os.path.join(home, "log"), "ab")
        self.process = subprocess.Popen(command, cwd=home, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=self.log)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(30)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def info(port):
    with socket.create_connection(("127.0.0.1", port), timeout=5) as link:
        link.sendall(b"INFO\r\n")
        text = b""
        while not text.endswith(b"\r\n") or len(text) < int(text[1:text.index(b"\r\n")]):
            text += link.recv(1 << 16)
        return dict(re.findall(r"^([a-z0-9_]+):(.*?)\r$", text.decode(), re.M))


def wait_until(condition, what, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with contextlib.suppress(OSError, KeyError, ValueError):
            if condition():
                return
        time.sleep(0.05)
    raise SystemExit(f"{what} is not ready within {seconds} s")


class Bench:
    def __init__(self, options):
        self.options = options
        self.base = tempfile.mkdtemp(prefix="tuppence-commit.", dir=options.directory)
        self.running = []
        self.etcd_rates = {}

    def close(self):
        for process in self.running:
            process.stop()
        shutil.rmtree(self.base, ignore_errors=True)

    def start(self, command):
        home = tempfile.mkdtemp(dir=self.base)
        self.running.append(Process([part.replace("HOME", home) for part in command], home))

    def one(self):
        port = free_port()
        self.start([self.options.serve, "-p", str(port), "--data", "HOME/data"])
        wait_until(lambda: "mode" in info(port), "serve")
        return port

    def three(self):
        ports = [free_port() for _ in range(3)]
        members = ",".join(f"{number}=127.0.0.1:{port}" for number, port in enumerate(ports, 1))
        for number, port in enumerate(ports, 1):
            self.start([self.options.serve, "--id", str(number), "--cluster", members, "-p", str(port),
                        "--data", "HOME/data"])
        for port in ports:
            wait_until(lambda: info(port)["members_reachable"] == "3", "the cluster")
        return ports

    def etcd(self):
        clients, peers = [free_port() for _ in range(3)], [free_port() for _ in range(3)]
        members = ",".join(f"m{i}=http://127.0.0.1:{port}" for i, port in enumerate(peers))
        for i in range(3):
            client, peer = f"http://127.0.0.1:{clients[i]}", f"http://127.0.0.1:{peers[i]}"
            self.start(["etcd", "--name", f"m{i}", "--data-dir", "HOME/data", "--initial-cluster",
                        members, "--initial-advertise-peer-urls", peer, "--listen-peer-urls", peer,
                        "--advertise-client-urls", client, "--listen-client-urls", client,
                        "--initial-cluster-state", "new", "--log-level", "error"])
        wait_until(lambda: self.leader(clients) is not None, "etcd")
        return self.leader(clients)

    def leader(self, clients):
        for port in clients:
            request = urllib.request.Request(
                f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}")
            with urllib.request.urlopen(request, timeout=5) as answer:
                status = json.load(answer)
            if status.get("leader") == status["header"]["member_id"]:
                return port
        return None

    def load_serve(self, port, clients):
        done = subprocess.run(
            [self.options.loadgen, "--port", str(port), "--seconds", str(self.options.seconds), "-o",
             "set", "-d", "100", "-c", str(clients)], capture_output=True, text=True, check=True)
        figures = json.loads(done.stdout)
        return figures["per_second"], figures["p50_us"] / 1000

    def load_etcd(self, port, clients):
        if self.options.etcd_benchmark:
            return self.load_etcd_by_grpc(port, clients)
        body = os.path.join(self.base, "put.json")
        with open(body, "w") as file:
            json.dump({"key": base64.b64encode(b"key").decode(),
                       "value": base64.b64encode(b"v" * 100).decode()}, file)
        done = subprocess.run(
            ["ab", "-k", "-q", "-t", str(self.options.seconds), "-n", "10000000", "-c", str(clients), "-p",
             body, "-T", "application/json", f"http://127.0.0.1:{port}/v3/kv/put"],
            capture_output=True, text=True, check=True)
        assert "Non-2xx" not in done.stdout, done.stdout
        rate = float(re.search(r"Requests per second:\s+([0-9.]+)", done.stdout).group(1))
        return rate, 1000 * clients / rate

    def load_etcd_by_grpc(self, port, clients):
        total = max(200, int(self.etcd_rates.get(clients, 300) * self.options.seconds))
        done = subprocess.run(
            [self.options.etcd_benchmark, f"--endpoints=127.0.0.1:{port}", f"--conns={clients}",
             f"--clients={clients}", "put", "--key-size=10", "--val-size=100",
             "--key-space-size=10000", f"--total={total}"], capture_output=True, text=True, check=True)
        assert "Error distribution" not in done.stdout, done.stdout
        rate = float(re.search(r"Requests/sec:\s+([0-9.]+)", done.stdout).group(1))
        self.etcd_rates[clients] = rate  # so that the next run takes as long as the others'
        half = float(re.search(r"50% in ([0-9.]+) secs", done.stdout).group(1))
        return rate, 1000 * half

    def probe(self):
        done = subprocess.run([self.options.loadgen, "--probe", self.base], capture_output=True,
                              text=True, check=True)
        return json.loads(done.stdout)

    def increments(self, port, *flags):
        done = subprocess.run(
            ["redis-benchmark", "-p", str(port), "-c", "64", "-n", str(self.options.increments), "-t",
             "incr", "-q", "--csv", *flags], capture_output=True, text=True, check=True)
        return float(done.stdout.strip().splitlines()[-1].split(",")[1].strip('"'))


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--serve", default=f"{ROOT}/.build/release/serve")
    parser.add_argument("--loadgen", default=f"{ROOT}/.build/release/loadgen")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=2, help="of each run")
    parser.add_argument("--increments", type=int, default=20_000)
    parser.add_argument("--directory", default="/var/tmp", help="for data; not on a tmpfs")
    parser.add_argument("--etcd-benchmark", default="", help="the program of etcd_benchmark.sh")
    options = parser.parse_args()
    for tool in ("etcd", options.etcd_benchmark or "ab", "redis-benchmark"):
        if not shutil.which(tool):
            parser.error(f"needs {tool} (apt-get install etcd-server apache2-utils redis-tools)")
    bench = Bench(options)
    try:
        run(bench, options)
    finally:
        bench.close()
    return 0


def run(bench, options):
    alone, members, etcd = bench.one(), bench.three(), bench.etcd()
    print("Durable SETs of 100 B: a second, and the wait of a client: median, of etcd mean\n")
    print("| clients | one node | three members | three of etcd | members/node wait | members/etcd rate |")
    print("|---|---|---|---|---|---|")
    probes = []
    for clients in CLIENTS:
        runs = {"one": [], "three": [], "etcd": []}
        for _ in range(options.repeats):
            if clients == 1:
                probes.append(bench.probe())
            runs["one"].append(bench.load_serve(alone, clients))
            runs["three"].append(bench.load_serve(members[0], clients))
            runs["etcd"].append(bench.load_etcd(etcd, clients))
        rate = {name: statistics.median(run[0] for run in list_) for name, list_ in runs.items()}
        wait = {name: statistics.median(run[1] for run in list_) for name, list_ in runs.items()}
        print(f"| {clients} " + "".join(f"| {rate[name]:.0f}/s {wait[name]:.2f} ms " for name in runs)
              + f"| {wait['three'] / wait['one']:.2f} | {rate['three'] / rate['etcd']:.2f} |", flush=True)
        if clients == 1:
            added = 1000 * (wait["three"] - wait["one"])
    probe = {key: statistics.median(each[key] for each in probes) for key in probes[0]}
    least = probe["round_trip_us"] + probe["slowest_of_three_us"] - probe["force_us"]
    bare = probe["bare_commit_us"] - probe["force_us"]
    print(f"\nOne client waits {added:.0f} us longer for three members. Probe: round trip "
          f"{probe['round_trip_us']:.0f} us between two cores ({probe['one_core_us']:.0f} on one), force "
          f"{probe['force_us']:.0f} us, slowest of three at once {probe['slowest_of_three_us']:.0f} us, so at least {least:.0f} us: {added / least:.2f} times. Bare "
          f"threads that send, force and answer in the same way wait {bare:.0f} us longer than for one "
          f"force: {added / bare:.2f} times")
    before = info(members[0])
    hot = statistics.median(bench.increments(members[0]) for _ in range(options.repeats))
    distinct = statistics.median(
        bench.increments(members[0], "-r", "100000") for _ in range(options.repeats))
    after = info(members[0])
    print(f"\nINCR by 64 clients on three members: one key {hot:.0f}/s, distinct keys {distinct:.0f}/s: "
          f"{hot / distinct:.2f}")
    spent = {key: int(after[key]) - int(before[key]) for key in (
        "transactions_committed", "commands_in_transactions", "messages_sent", "messages_received")}
    commits = max(1, spent["transactions_committed"])
    print(f"{spent['commands_in_transactions'] / commits:.1f} commands a transaction, "
          f"{(spent['messages_sent'] + spent['messages_received']) / commits:.1f} messages of the "
          "coordinator a transaction")


if __name__ == "__main__":
    sys.exit(main())
