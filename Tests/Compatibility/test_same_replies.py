"""Random commands to serve and to redis-server: the replies are the same, byte by byte.

Sequences are drawn from a seed: right and wrong arguments, edge values, expiry, transactions. What may
differ is taken out by `normalize`.
"""

import contextlib
import os
import random
import shutil

import processes
import pytest
from conftest import RedisServer

# Not the empty key, which Redis has and we refuse.
KEYS = [b"a", b"b", b"c", b"n", b"f", b"long", b"\x00\xff", b"k" * 300]
INTEGERS = [b"0", b"1", b"-1", b"5", b"10", b"9223372036854775807", b"-9223372036854775808",
            b"9223372036854775808", b"007", b"+1", b" 1", b"1.0", b"x", b"", b"-0", b"3600",
            b"-9223372036854775809", b"1e3"]
FLOATS = [b"0.1", b"-1.5", b"1e5", b"1e400", b"nan", b"inf", b"-inf", b"0x10", b"3.0", b"1e-20", b"",
          b".5", b"5.", b"abc", b" 1", b"1_0", b"1e5000", b"123456789012345678901234567890"]
VALUES = [b"", b"v", b"hello world", b"\x00\r\n\xff", b"12", b"-7", b"3.25", b"x" * 100]
PATTERNS = [b"*", b"a*", b"?", b"[a-c]", b"[^a]", b"lon*", b"\\a", b"[c-a]", b"[", b"**a", b""]


class Drawer:
    """Draws commands."""

    def __init__(self, seed):
        self.chance = random.Random(seed)

    def key(self):
        return self.chance.choice(KEYS)

    def integer(self):
        if self.chance.random() < 0.6:
            return b"%d" % self.chance.randrange(-20, 100)
        return self.chance.choice(INTEGERS)

    def expiry(self):
        """Far enough that nothing expires while the test runs, or at once, or wrong."""
        return self.chance.choice([b"100", b"1000", b"5000", b"-1", b"0", b"x", b"",
                                   b"9223372036854775", b"1.5"])

    def value(self):
        return self.chance.choice(VALUES) if self.chance.random() < 0.7 else self.integer()

    def set_options(self):
        options = []
        words = [b"NX", b"XX", b"GET", b"KEEPTTL", b"EX", b"PX", b"EXAT", b"PXAT", b"BAD"]
        for word in self.chance.choices(words, k=self.chance.choice([0, 0, 0, 1, 1, 2, 3])):
            options.append(word)
            if word in (b"EX", b"EXAT"):  # Not in the past: when Redis drops such a key is chance.
                options.append(self.chance.choice([b"99999999999", b"0", b"-5", b"x"]))
            if word in (b"PX", b"PXAT"):
                options.append(self.chance.choice([b"99999999999999", b"0", b"x"]))
        return options

    def command(self):
        choice, key, value, integer = self.chance.choice, self.key, self.value, self.integer
        made = choice([
            lambda: [b"GET", key()], lambda: [b"SET", key(), value(), *self.set_options()],
            lambda: [b"SETNX", key(), value()], lambda: [b"SETEX", key(), self.expiry(), value()],
            lambda: [b"PSETEX", key(), choice([b"1000000", b"0", b"-1", b"x"]), value()],
            lambda: [b"GETSET", key(), value()], lambda: [b"GETDEL", key()],
            lambda: [b"GETEX", key(), *choice([[], [b"PERSIST"], [b"EX", b"1000"], [b"KEEPTTL"],
                                               [b"PX", b"10000000"], [b"EXAT", b"99999999999"], [b"NX"],
                                               [b"EX"], [b"PERSIST", b"EX", b"5"], [b"EX", b"x"],
                                               [b"PX", b"0"], [b"EX", b"x", b"EX", b"1000"],
                                               [b"PERSIST", b"PERSIST"]])],
            lambda: [b"MGET", *[key() for _ in range(choice([1, 2, 3]))]],
            lambda: [b"MSET", *[w for _ in range(choice([1, 1, 2])) for w in (key(), value())],
                     *choice([[], [], [key()]])],
            lambda: [b"MSETNX", key(), value(), key(), value()],
            lambda: [b"APPEND", key(), value()], lambda: [b"STRLEN", key()],
            lambda: [b"GETRANGE", key(), integer(), integer()],
            lambda: [b"SUBSTR", key(), integer(), integer()],
            lambda: [b"SETRANGE", key(), choice([b"0", b"3", b"-1", b"x", b"536870912", b"200"]),
                     value()],
            lambda: [choice([b"INCR", b"DECR"]), choice([b"n", key()])],
            lambda: [choice([b"INCRBY", b"DECRBY"]), choice([b"n", key()]), integer()],
            lambda: [b"INCRBYFLOAT", choice([b"f", key()]), choice(FLOATS)],
            lambda: [choice([b"DEL", b"UNLINK", b"EXISTS", b"TOUCH"]),
                     *[key() for _ in range(choice([1, 1, 2]))]],
            lambda: [b"TYPE", key()], lambda: [choice([b"TTL", b"PERSIST"]), key()],
            lambda: [choice([b"EXPIRETIME", b"PEXPIRETIME", b"PTTL"]), key()],
            lambda: [choice([b"EXPIRE", b"PEXPIRE", b"EXPIREAT", b"PEXPIREAT"]), key(),
                     choice([b"99999999999", b"99999999999999", b"-1", b"0", b"x", b"", b"1.5"]),
                     *choice([[], [], [b"NX"], [b"XX"], [b"GT"], [b"LT"], [b"NX", b"GT"],
                              [b"GT", b"LT"], [b"BAD"], [b"XX", b"LT"]])],
            lambda: [b"KEYS", choice(PATTERNS)], lambda: [b"DBSIZE"],
            lambda: [b"SCAN", choice([b"0", b"0", b"x", b"", b"-1", b"+0", b"-", b"-18446744073709551616"]), b"COUNT", choice([b"1000", b"0", b"x"]),
                     *choice([[], [b"MATCH", choice(PATTERNS)], [b"TYPE", b"string"],
                              [b"TYPE", b"list"], [b"BAD"]])],
            lambda: [b"RENAME", key(), key()], lambda: [b"RENAMENX", key(), key()],
            lambda: [b"COPY", key(), key(), *choice([[], [b"REPLACE"], [b"BAD"], [b"DB", b"0"]])],
            lambda: [b"MULTI"], lambda: [b"EXEC"], lambda: [b"DISCARD"], lambda: [b"WATCH", key()],
            lambda: [b"UNWATCH"], lambda: [b"PING", *choice([[], [b"hi"], [b"a", b"b"]])],
            lambda: [b"ECHO", value()], lambda: [b"SELECT", choice([b"0", b"0", b"x"])],
            lambda: [b"NONSENSE", value()], lambda: [b"FLUSHALL", *choice([[], [b"ASYNC"]])]
            if self.chance.random() < 0.05 else [b"PING"],
            lambda: [b"CLIENT", *choice([[b"GETNAME"], [b"GETNAME", b"x"], [b"NONSENSE"], [b"KILL"], []])],
            lambda: [choice([b"CONFIG", b"COMMAND"]), choice([b"NONSENSE", b"get", b"COUNT"]), b"a", b"b"],
            lambda: [b"CLIENT", b"SETNAME", choice([b"me", b"with space", b""])],
        ])()
        if self.chance.random() < 0.03:  # A wrong number of arguments.
            made = made[:-1] or made if self.chance.random() < 0.5 else made + [b"a"]
        if self.chance.random() < 0.1:
            made[0] = made[0].lower()
        return made


def normalize(command, reply):
    """Takes out what is allowed to differ."""
    name = command[0].upper()
    if isinstance(reply, processes.ServerError):
        # Of two mistakes in one command each names another one first; the kind must be the same.
        return "-" + str(reply).split(" ")[0]
    if name == b"KEYS" and isinstance(reply, list):
        return sorted(reply)
    if name == b"SCAN" and isinstance(reply, list) and len(reply) == 2:
        is_whole = reply[0] == b"0" and command[1] in (b"0", b"+0", b"")
        return [reply[0], sorted(reply[1])] if is_whole else "a part"
    if name in (b"TTL", b"PTTL", b"EXPIRETIME", b"PEXPIRETIME") and isinstance(reply, int):
        scale = 1000 if name.startswith(b"P") else 1
        return reply if reply < 0 else Around(reply / scale)
    return reply


class Around:
    """A moment in seconds, equal to another one that is at most `SLACK` away: both servers read a clock of
    their own, at a moment of their own."""

    SLACK = 20

    def __init__(self, seconds):
        self.seconds = seconds

    def __eq__(self, other):
        return isinstance(other, Around) and abs(self.seconds - other.seconds) <= self.SLACK

    def __repr__(self):
        return f"around {self.seconds}"


def run_both(serve_port, redis_port, seed, count, transactions):
    drawer = Drawer(seed)
    history = []
    with processes.Link(serve_port) as ours, processes.Link(redis_port) as theirs:
        if transactions:
            ours.command("CLIENT", "TXMODE", "redis")
        for link in (ours, theirs):
            link.command("FLUSHALL")
        queued = []
        for number in range(count):
            command = drawer.command()
            name = command[0].upper()
            if name in (b"MULTI", b"EXEC", b"DISCARD", b"WATCH", b"UNWATCH") and not transactions:
                continue
            history.append(command)
            ours.send(*command)
            theirs.send(*command)
            mine, other = ours.reply(), theirs.reply()
            if name == b"EXEC" and isinstance(mine, list) and isinstance(other, list):
                mine = [normalize(c, r) for c, r in zip(queued, mine, strict=True)]
                other = [normalize(c, r) for c, r in zip(queued, other, strict=True)]
            else:
                mine, other = normalize(command, mine), normalize(command, other)
            if other == "QUEUED":
                queued.append(command)
            elif name in (b"EXEC", b"DISCARD"):
                queued = []
            assert mine == other, (
                f"seed {seed}, command {number}: {command}\nserve: {mine!r}\nredis: {other!r}\n"
                f"before: {history[-8:]}")


@pytest.fixture(scope="module")
def both():
    assert shutil.which("redis-server"), "needs redis-server (apt-get install redis-server)"
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(RedisServer())
        serve = stack.enter_context(processes.Server("--durability", "never"))
        yield serve.port, redis.port


SEEDS = int(os.environ.get("SAME_REPLIES_SEEDS", "20"))


@pytest.mark.ours
@pytest.mark.parametrize("seed", range(SEEDS))
def test_random_commands_are_answered_alike(both, seed):
    run_both(*both, seed, 1500, transactions=False)


@pytest.mark.ours
@pytest.mark.parametrize("seed", range(100, 100 + SEEDS // 2))
def test_random_transactions_are_answered_alike(both, seed):
    """With CLIENT TXMODE redis, in which a failing command leaves the others' effects."""
    run_both(*both, seed, 1500, transactions=True)


def test_moments_are_compared_by_their_distance():
    """A bound between two slots of time must not part two moments that are a second apart."""
    assert normalize([b"EXPIRETIME"], 29) == normalize([b"EXPIRETIME"], 31)
    assert normalize([b"EXPIRETIME"], 29) != normalize([b"EXPIRETIME"], 60)
    assert normalize([b"TTL"], -1) != normalize([b"TTL"], 1)
