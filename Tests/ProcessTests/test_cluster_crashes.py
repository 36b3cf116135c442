"""Three members under load while each is killed or stopped in turn: nothing is lost, nothing done twice.

Over TCP, over UDP, and over UDP through a proxy that loses, repeats, delays and damages what members
send each other. Bank transfers keep the sum; counters under ids, sent again at any member until the
answer is certain, are exact; afterwards all members hold the same and nothing is in doubt.
"""

import contextlib
import json
import random
import signal
import threading
import time

import pytest
import redis
import redis.backoff
import redis.retry
import serve_runs
from test_serve_members import Cluster
from udp_proxy import UdpProxy, Weather

ACCOUNTS = [f"account{number}" for number in range(8)]
START = 1_000
RESOLVED_SECONDS = 3
STORM = Weather(loss=0.1, repetition=0.1, damage=0.02, delay=0.01)


def new_id(chance):
    """An id in UUIDv7 layout."""
    words = int(time.time() * 1000) << 80 | 0x7 << 76 | chance.getrandbits(12) << 64
    return f"{words | 0x2 << 62 | chance.getrandbits(62):032x}"


class Client(threading.Thread):
    """Transfers and counts until told to stop; each time at a member by chance."""

    def __init__(self, cluster, seed, stop):
        super().__init__()
        self.cluster = cluster
        self.chance = random.Random(seed)
        self.stop = stop
        self.counted = 0
        self.transfers = 0
        self.errors = []

    def run(self):
        try:
            while not self.stop.is_set():
                self.transfer() if self.chance.random() < 0.5 else self.count()
        except Exception as error:  # Shown by the test, which fails.
            self.errors.append(repr(error))

    def member(self):
        return self.chance.choice(list(self.cluster.ports))

    def order(self):
        """What is transferred: two accounts and an amount."""
        return *self.chance.sample(ACCOUNTS, 2), self.chance.randrange(1, 50)


class RedisClient(Client):
    """redis-py, without its own repetitions."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        never = redis.retry.Retry(redis.backoff.NoBackoff(), 0)
        self.links = {
            number: redis.Redis(port=port, socket_timeout=20, retry=never)
            for number, port in self.cluster.ports.items()}

    def ask(self, question):
        """The reply; None where it was refused or is unknown."""
        try:
            return question(self.links[self.member()])
        except redis.ResponseError as error:
            word = str(error).split(" ")[0]
            # redis-py takes the code word of an EXEC's error off in some versions.
            assert word in ("UNAVAILABLE", "ABORTED", "BUSY", "UNKNOWN", "LOADING"), error
        except redis.ConnectionError:
            pass
        time.sleep(0.05)
        return None

    def transfer(self):
        source, target, amount = self.order()

        def move(link):
            with link.pipeline(transaction=True) as steps:
                return steps.decrby(source, amount).incrby(target, amount).execute()

        self.transfers += self.ask(move) is not None

    def count(self):
        """Once, however often it has to be sent."""
        name = new_id(self.chance)
        while self.ask(lambda link: link.execute_command("ONCE", name, "INCR", "counter")) is None:
            pass
        self.counted += 1


class ClieClient(Client):
    """A process of clie for each order, whose word is believed."""

    def ask(self, *arguments):
        done = self.cluster.way(self.member())("--output", "json", "--timeout", "4s", *arguments)
        said = json.loads(done.stdout or done.stderr)
        assert done.returncode in (0, 3, 4, 5, 6), said
        if done.returncode != 0:
            time.sleep(0.05)
        return said

    def transfer(self):
        source, target, amount = self.order()
        steps = f"incr {source} -{amount}\nincr {target} {amount}"
        self.transfers += self.ask("-o", "txn", "-v", steps)["ok"]

    def count(self):
        said = self.ask("-o", "incr", "-k", "counter")
        outcome = said["outcome"]
        while outcome == "unknown":
            answer = self.ask("-o", "outcome", "-k", said["id"], "-v", "seal")
            words = {"committed": "applied", "aborted": "not-applied"}
            outcome = words.get(answer.get("state"), "unknown")
        self.counted += outcome == "applied"


@contextlib.contextmanager
def under_load(cluster, kinds):
    """Clients of these kinds at work; they are shown afterwards to have come to an end."""
    stop = threading.Event()
    clients = [kind(cluster, seed, stop) for seed, kind in enumerate(kinds)]
    for client in clients:
        client.start()
    try:
        yield clients
    finally:
        stop.set()
        for client in clients:
            client.join(30)
    stuck = [client for client in clients if client.is_alive()]
    assert not stuck, "\n".join(str(cluster.info(number)) for number in cluster.ports)
    assert [client.errors for client in clients] == [[]] * len(clients)


def kill_and_start(cluster, number):
    time.sleep(0.7)
    cluster.runs[number].kill()
    time.sleep(0.3)
    cluster.start(number)


def stop_for_seconds(cluster, number):
    cluster.runs[number].signal(signal.SIGSTOP)
    time.sleep(3)
    cluster.runs[number].signal(signal.SIGCONT)
    cluster.wait_until_whole()


def everything(cluster, number):
    names = sorted([*ACCOUNTS, "counter"])
    done = cluster.way(number)("--output", "json", "-o", "exec", "MGET", *names)
    assert done.returncode == 0, done.stderr
    return dict(zip(names, json.loads(done.stdout)["reply"], strict=True))


def run(cluster, kinds, turns, least=20):
    """The whole story: load, kills and stops, the end, and what is there then."""
    cluster.wait_until_whole()
    put = cluster.way(1)("-o", "txn", "-v", "\n".join(f"put {name} {START}" for name in ACCOUNTS))
    assert put.returncode == 0, put.stderr
    with under_load(cluster, kinds) as clients:
        for turn in range(turns):
            for number in cluster.ports:
                kill_and_start(cluster, number)
                cluster.wait_until_whole()
            stop_for_seconds(cluster, turn % 3 + 1)
        kill_and_start(cluster, turns % 3 + 1)
        ready = time.monotonic()
        for client in clients:
            client.stop.set()
        serve_runs.wait_until(cluster.is_resolved)
        resolved = time.monotonic() - ready
    assert resolved < RESOLVED_SECONDS, f"open or in doubt for {resolved:.1f} s"
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved)
    states = [everything(cluster, number) for number in cluster.ports]
    assert states[0] == states[1] == states[2]
    assert sum(int(states[0][account]) for account in ACCOUNTS) == START * len(ACCOUNTS)
    counted = sum(client.counted for client in clients)
    transfers = sum(client.transfers for client in clients)
    assert int(states[0]["counter"]) == counted > least
    assert transfers > least
    print(f"figure: {transfers} transfers and {counted} increments exact through {3 * turns + 1} "
          f"kills; all resolved {resolved:.1f} s after the last start")


MIXED = [RedisClient] * 4 + [ClieClient] * 2


def over_tcp(launch, folder, turns):
    run(Cluster(launch, folder), MIXED, turns)


def over_udp(launch, folder, turns):
    run(Cluster(launch, folder, flags=["-u"]), [ClieClient] * 4, turns)


def over_a_bad_link(launch, folder, turns):
    with contextlib.ExitStack() as stack:
        proxies = []

        def via(port):
            proxies.append(stack.enter_context(UdpProxy(port, STORM, seed=port)))
            return proxies[-1].port

        run(Cluster(launch, folder, flags=["-u"], via=via), [ClieClient] * 4, turns, least=10)
        # All that members say to each other has gone through it.
        assert all(proxy.counters["lost"] > 10 and proxy.counters["repeated"] > 10
                   for proxy in proxies[1:])


WAYS = [over_tcp, over_udp, over_a_bad_link]


@pytest.mark.parametrize("way", WAYS)
def test_each_member_is_killed_and_stopped_under_load(launch, folder, way):
    way(launch, folder, turns=1)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_each_member_is_killed_and_stopped_many_times(launch, folder, way):
    way(launch, folder, turns=25)
