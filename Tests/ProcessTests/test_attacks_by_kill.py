"""kill -9 at any moment under load: everything acknowledged is there after the restart, nothing twice.

It says nothing about forcing (the page cache survives it; see test_trace_forces), but a lot about
recovery: torn tails, checkpoints, ids.
"""

import os
import random
import threading
import time
import uuid

import pytest
from processes import Server, ServerError


def new_id(chance):
    """A UUIDv7 of now."""
    number = int(time.time() * 1000) << 80 | chance.getrandbits(76)
    return str(uuid.UUID(int=number & ~(0xF << 76) & ~(3 << 62) | 7 << 76 | 2 << 62))


class Writer(threading.Thread):
    """Sets keys of its own and increments a counter under ids, one after another, until the server dies.

    `acknowledged` maps keys to the values the server said OK to; `attempted` holds the one request
    that was under way.
    """

    def __init__(self, port, number, seed, state):
        super().__init__()
        self.port, self.number, self.state = port, number, state
        self.chance = random.Random(seed)

    def run(self):
        from processes import Link
        try:
            with Link(self.port) as link:
                while True:
                    self.step(link)
        except (OSError, ValueError):
            pass  # The server was killed.
        except ServerError as error:
            self.state.failures.append(f"writer {self.number}: {error}")

    def step(self, link):
        state = self.state
        if self.chance.random() < 0.3:
            mine = state.pending.get(self.number)
            if mine is None:
                mine = state.pending[self.number] = new_id(self.chance)
            link.command("ONCE", mine, "INCR", f"counter:{self.number}")
            state.pending[self.number] = None
            state.increments[self.number] += 1
            return
        key = f"key:{self.number}:{self.chance.randrange(50)}"
        size = self.chance.choice((1, 10, 100, 1000, 20_000))
        value = b"%d:" % self.chance.getrandbits(60) + b"v" * size
        state.attempted[key] = value
        if self.chance.random() < 0.1:
            link.command("DEL", key)
            state.acknowledged[key] = None
        else:
            link.command("SET", key, value)
            state.acknowledged[key] = value
        del state.attempted[key]


class State:
    def __init__(self, writers):
        self.acknowledged, self.attempted, self.failures = {}, {}, []
        self.pending = {}
        self.increments = [0] * writers


def check(link, state):
    """The state must be what was acknowledged, or what was under way when the server died."""
    for key, value in state.acknowledged.items():
        have = link.command("GET", key)
        allowed = [value]
        if key in state.attempted:
            allowed += [state.attempted[key], None]
        assert have in allowed, f"{key}: {have and have[:40]} of {len(have or b'')} bytes"
        state.acknowledged[key] = have
    state.attempted.clear()


def settle(link, state, writers):
    """Sends what has no answer again, under its id; then the counters are exact."""
    for number in range(writers):
        if state.pending.get(number):
            link.command("ONCE", state.pending[number], "INCR", f"counter:{number}")
            state.pending[number] = None
            state.increments[number] += 1
        have = int(link.command("GET", f"counter:{number}") or 0)
        assert have == state.increments[number], f"counter {number}: {have}"


def kill_loop(rounds, seed, writers=8):
    chance = random.Random(seed)
    state = State(writers)
    with Server("--durability", "always") as server:
        for round_ in range(rounds):
            threads = [Writer(server.port, number, chance.getrandbits(32), state)
                       for number in range(writers)]
            for thread in threads:
                thread.start()
            time.sleep(chance.uniform(0.05, 0.5))
            server.kill()
            for thread in threads:
                thread.join()
            assert not state.failures, state.failures
            server.start()
            with server.link() as link:
                check(link, state)
                settle(link, state, writers)
        print(f"figure: {rounds} kills under load, {len(state.acknowledged)} keys and "
              f"{sum(state.increments)} increments exact")


def test_five_kills_lose_nothing_acknowledged():
    kill_loop(5, seed=int(os.environ.get("KILL_SEED", "1")))


@pytest.mark.slow
def test_a_hundred_kills_lose_nothing_acknowledged():
    kill_loop(100, seed=int(os.environ.get("KILL_SEED", "2")))
