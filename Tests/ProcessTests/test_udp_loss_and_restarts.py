"""A lossy, reordering, repeating network and a server that is killed in between: counters are exact."""

import concurrent.futures
import subprocess
import time

import pytest
from processes import Server, binary
from udp_proxy import UdpProxy, Weather

STORM = Weather(loss=0.2, repetition=0.2, damage=0.02, delay=0.03)


def increment(port, key):
    """One `clie` that has half a minute to get its answer."""
    return subprocess.run(
        [binary("clie"), "-u", "-s", "127.0.0.1", "-p", str(port), "--timeout", "30s", "-o", "incr",
         "-k", key], capture_output=True, stdin=subprocess.DEVNULL, timeout=60)


def storm(increments, kills):
    with Server("--durability", "always", udp=True) as server, \
            UdpProxy(server.port, STORM, seed=11) as proxy, \
            concurrent.futures.ThreadPoolExecutor(16) as pool:
        runs = [pool.submit(increment, proxy.port, f"counter:{i % 4}") for i in range(increments)]
        for _ in range(kills):
            time.sleep(0.7)
            server.kill()
            time.sleep(0.3)
            server.start()
        for run in runs:
            done = run.result()
            assert done.returncode == 0, (done.returncode, done.stderr)
        with server.link() as link:
            counts = [int(link.command("GET", f"counter:{i}")) for i in range(4)]
        assert sum(counts) == increments, counts
        lost, repeated = proxy.counters["lost"], proxy.counters["repeated"]
        assert lost and repeated
        print(f"figure: {increments} increments exact through {lost} lost and {repeated} repeated "
              f"datagrams and {kills} kills")


def test_counters_are_exact_after_losses_and_two_kills():
    storm(increments=100, kills=2)


@pytest.mark.slow
def test_counters_are_exact_after_many_losses_and_kills():
    storm(increments=2_000, kills=15)
