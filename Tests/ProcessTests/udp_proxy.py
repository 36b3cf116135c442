"""A bad network in user space: a UDP proxy on loopback that loses, repeats, delays, reorders and
damages datagrams, in both directions, as a seed decides.

Each client gets an upstream socket of its own, so the server tells them apart. Clients and datagrams
on their way are bounded. Also a program: `udp_proxy.py --to 9099 --seed 1 --loss 0.1`.
"""

import argparse
import collections
import dataclasses
import heapq
import random
import selectors
import socket
import threading
import time


@dataclasses.dataclass
class Weather:
    """Chances from 0 to 1, and seconds."""

    loss: float = 0.0
    repetition: float = 0.0
    damage: float = 0.0
    delay: float = 0.0


STORM = Weather(loss=0.15, repetition=0.1, damage=0.05, delay=0.01)


class UdpProxy:
    """Carries datagrams between its port and a server's while the context is open."""

    CLIENT_COUNT_MAX = 256
    FLIGHT_COUNT_MAX = 10_000

    def __init__(self, server_port, weather=STORM, seed=1):
        self.server = ("127.0.0.1", server_port)
        self.weather = weather
        self.chance = random.Random(seed)
        self.counters = collections.Counter()
        self.front = socket.socket(type=socket.SOCK_DGRAM)
        self.front.bind(("127.0.0.1", 0))
        self.front.setblocking(False)
        self.port = self.front.getsockname()[1]
        self.upstream = collections.OrderedDict()
        # Addresses of clients from and to which nothing passes.
        self.cuts = set()
        self.flights = []
        self.selector = selectors.DefaultSelector()
        self.selector.register(self.front, selectors.EVENT_READ, None)
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ending.set()
        self.thread.join()
        for link in [self.front, *self.upstream.values()]:
            link.close()
        self.selector.close()

    # The thread

    def run(self):
        while not self.ending.is_set():
            wait = 0.05
            if self.flights:
                wait = min(wait, max(0.0, self.flights[0][0] - time.monotonic()))
            for key, _ in self.selector.select(wait):
                self.receive(key.fileobj, key.data)
            self.land()

    def receive(self, link, client):
        """Takes what waits at the front, or at the upstream socket of a client."""
        while True:
            try:
                data, source = link.recvfrom(65536)
            except (BlockingIOError, ConnectionRefusedError):
                return
            if (client or source) in self.cuts:
                continue
            if client is None:
                self.carry(data, self.upstream_of(source), self.server, "up")
            else:
                self.carry(data, self.front, client, "down")

    def upstream_of(self, client):
        link = self.upstream.pop(client, None)
        if link is None:
            link = socket.socket(type=socket.SOCK_DGRAM)
            link.bind(("127.0.0.1", 0))
            link.setblocking(False)
            self.selector.register(link, selectors.EVENT_READ, client)
        self.upstream[client] = link
        if len(self.upstream) > self.CLIENT_COUNT_MAX:
            _, oldest = self.upstream.popitem(last=False)
            self.selector.unregister(oldest)
            oldest.close()
        return link

    def carry(self, data, link, target, direction):
        self.counters[direction] += 1
        if self.chance.random() < self.weather.loss or len(self.flights) >= self.FLIGHT_COUNT_MAX:
            self.counters["lost"] += 1
            return
        copies = 1
        if self.chance.random() < self.weather.repetition:
            self.counters["repeated"] += 1
            copies = 2
        for _ in range(copies):
            sent = data
            if data and self.chance.random() < self.weather.damage:
                self.counters["damaged"] += 1
                place = self.chance.randrange(len(data) * 8)
                changed = bytearray(data)
                changed[place // 8] ^= 1 << place % 8
                sent = bytes(changed)
            due = time.monotonic() + self.chance.random() * self.weather.delay
            heapq.heappush(self.flights, (due, self.chance.random(), sent, link, target))

    def land(self):
        now = time.monotonic()
        while self.flights and self.flights[0][0] <= now:
            _, _, data, link, target = heapq.heappop(self.flights)
            try:
                link.sendto(data, target)
                self.counters["delivered"] += 1
            except OSError:
                self.counters["undeliverable"] += 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=int, required=True, help="the server's port on 127.0.0.1")
    parser.add_argument("--seed", type=int, default=1)
    for name in ("loss", "repetition", "damage", "delay"):
        parser.add_argument(f"--{name}", type=float, default=getattr(STORM, name))
    given = parser.parse_args()
    weather = Weather(given.loss, given.repetition, given.damage, given.delay)
    with UdpProxy(given.to, weather, given.seed) as proxy:
        print(f"listening on 127.0.0.1:{proxy.port}", flush=True)
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            print(dict(proxy.counters))


if __name__ == "__main__":
    main()
