"""Three members under load while each is killed or stopped in turn: nothing is lost, nothing done twice.

Bank transfers keep the sum; counters under ids, retried at any member until the answer is certain, are
exact; afterwards all members hold the same and nothing is in doubt.
"""

import os
import random
import signal
import threading
import time

import processes
import pytest
import serve_runs
from test_serve_members import Cluster

ACCOUNTS = [f"account{number}" for number in range(8)]
START = 1_000


def new_id(chance):
    """An id in UUIDv7 layout."""
    words = int(time.time() * 1000) << 80 | 0x7 << 76 | chance.getrandbits(12) << 64
    return f"{words | 0x2 << 62 | chance.getrandbits(62):032x}"


class Client(threading.Thread):
    """Transfers and counts until told to stop; goes to another member when one fails."""

    def __init__(self, cluster, seed, stop):
        super().__init__()
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.stop = stop
        self.link = None
        self.counted = 0
        self.transfers = 0
        self.errors = []

    def run(self):
        try:
            while not self.stop.is_set():
                self.transfer() if self.chance.random() < 0.5 else self.count()
        except Exception as error:  # Shown by the test, which fails.
            self.errors.append(repr(error))
        finally:
            self.drop()

    def drop(self):
        if self.link:
            self.link.close()
        self.link = None

    def ask(self, commands):
        """The replies, or None when the link broke: the outcome is then unknown."""
        try:
            if self.link is None:
                self.link = processes.Link(self.chance.choice(list(self.cluster.ports.values())), 20)
            for command in commands:
                self.link.send(*command)
            return [self.link.reply() for _ in commands]
        except OSError:
            self.drop()
            time.sleep(0.05)
            return None

    def transfer(self):
        source, target = self.chance.sample(ACCOUNTS, 2)
        amount = self.chance.randrange(1, 50)
        replies = self.ask([("MULTI",), ("DECRBY", source, amount), ("INCRBY", target, amount), ("EXEC",)])
        if replies and isinstance(replies[-1], list):
            self.transfers += 1
        elif replies:
            self.check(replies[-1])

    def count(self):
        """Once, however often it has to be sent."""
        name = new_id(self.chance)
        while True:
            replies = self.ask([("ONCE", name, "INCR", "counter")])
            if replies and isinstance(replies[0], int):
                self.counted += 1
                return
            if replies:
                self.check(replies[0])

    def check(self, reply):
        """An error names what kept the change, and the client goes on elsewhere."""
        word = str(reply).split(" ")[0]
        assert isinstance(reply, processes.ServerError), reply
        assert word in ("UNAVAILABLE", "ABORTED", "BUSY", "UNKNOWN", "LOADING"), reply
        self.drop()
        time.sleep(0.05)


def everything(cluster, number):
    with processes.Link(cluster.ports[number]) as link:
        keys = sorted(link.command("KEYS", "*"))
        return dict(zip(keys, link.command("MGET", *keys), strict=True))


@pytest.mark.parametrize("flags", [[], ["-t", "-u"]], ids=["tcp", "both"])
def test_each_member_is_killed_and_stopped_under_load(launch, folder, flags):
    rounds = int(os.environ.get("CLUSTER_KILL_ROUNDS", "1"))
    cluster = Cluster(launch, folder, flags=flags)
    cluster.wait_until_whole()
    with processes.Link(cluster.ports[1]) as link:
        for account in ACCOUNTS:
            assert link.command("SET", account, START) == "OK"
    stop = threading.Event()
    clients = [Client(cluster, seed, stop) for seed in range(6)]
    for client in clients:
        client.start()
    try:
        for turn in range(rounds):
            for number in cluster.ports:
                time.sleep(0.7)
                cluster.runs[number].kill()
                time.sleep(0.3)
                cluster.start(number)
                cluster.wait_until_whole()
            stopped = turn % 3 + 1
            cluster.runs[stopped].signal(signal.SIGSTOP)
            time.sleep(3)
            cluster.runs[stopped].signal(signal.SIGCONT)
            cluster.wait_until_whole()
        time.sleep(0.5)
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    stuck = [client for client in clients if client.is_alive()]
    assert not stuck, "\n".join(str(cluster.info(number)) for number in cluster.ports)
    assert [client.errors for client in clients] == [[]] * len(clients)
    begin = time.monotonic()
    serve_runs.wait_until(
        lambda: all(int(cluster.info(number)["transactions_in_doubt"]) == 0 for number in cluster.ports))
    resolved = time.monotonic() - begin
    assert resolved < 3, f"in doubt for {resolved:.1f} s"
    states = [everything(cluster, number) for number in cluster.ports]
    assert states[0] == states[1] == states[2]
    assert sum(int(states[0][account.encode()]) for account in ACCOUNTS) == START * len(ACCOUNTS)
    counted = sum(client.counted for client in clients)
    assert int(states[0].get(b"counter", 0)) == counted > 20
    transfers = sum(client.transfers for client in clients)
    assert transfers > 20
    print(f"figure: {transfers} transfers and {counted} increments exact through {3 * rounds} kills")
