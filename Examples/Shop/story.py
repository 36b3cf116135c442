#!/usr/bin/env python3
"""Tells the story of a shop, and asserts it: two warehouses and a ledger, each its own process.

First what becomes of single orders, then a crowd of clients with random orders while the processes
are killed with SIGKILL and started again. After each burst of kills, once nothing is undecided, the
ledger's balance must be the value of all stock, and its log must hold what clients were told.

Usage: story.py [--udp] [--seconds 8] [--seed N] [--shop PROGRAM]
Prints one line at the end; exit code 0 when all of it held.
"""

import argparse
import collections
import contextlib
import os
import pathlib
import random
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
NAMES = ["north", "south", "ledger"]
DONE, REFUSED, USAGE, UNREACHABLE, ABORTED, UNKNOWN = 0, 1, 2, 3, 4, 5
DISK = 74
# How long members are killed before all is checked, and how many orders must be done meanwhile.
BURST_SECONDS, DONE_MIN = 2, 5


class Shop:
    """The processes of a shop and its clients."""

    def __init__(self, program, folder, udp):
        self.program = program
        self.folder = pathlib.Path(folder)
        ports = free_ports(len(NAMES), udp)
        members = ",".join(f"{n}=127.0.0.1:{p}" for n, p in zip(NAMES, ports))
        self.environment = dict(
            os.environ, SHOP_MEMBERS=members, SHOP_UDP="yes" if udp else "no")
        self.processes = {}
        self.kills = 0

    def start(self, name):
        log = open(self.folder / f"{name}.log", "ab")
        self.processes[name] = subprocess.Popen(
            [self.program, "serve", "--name", name, "--data", self.folder / name],
            env=self.environment, stdout=log, stderr=log)
        log.close()

    def serve_in_vain(self, code, name, data, *flags):
        """Starts a member that must refuse to serve; gives what it says."""
        done = subprocess.run(
            [self.program, "serve", "--name", name, "--data", data, *flags],
            env=self.environment, capture_output=True, text=True, timeout=10)
        assert done.returncode == code, (name, flags, done.returncode, done.stderr)
        return done.stderr

    def kill(self, name):
        process = self.processes[name]
        if process.poll() is not None:
            raise AssertionError(f"{name} ended by itself: {self.last_words(name)}")
        process.kill()
        process.wait()
        self.kills += 1

    def signal(self, name, number):
        self.processes[name].send_signal(number)

    def stop(self):
        for process in self.processes.values():
            process.kill()
            process.wait()

    def last_words(self, name):
        return (self.folder / f"{name}.log").read_text(errors="replace")[-2000:]

    def popen(self, *words, at=None):
        place = ["--at", at] if at else []
        return subprocess.Popen(
            [self.program, *map(str, words), *place], env=self.environment,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *words, at=None):
        """Runs the client; gives its exit code and what it printed."""
        process = self.popen(*words, at=at)
        out, err = process.communicate(timeout=60)
        assert process.returncode in range(6), (words, process.returncode, out, err)
        return process.returncode, out.strip()

    def do(self, *words, at=None):
        """Runs an order that must be done; gives the name of its transaction."""
        code, out = self.run(*words, at=at)
        assert code == DONE and out.startswith("committed "), (words, at, code, out)
        return out.split()[1]

    def refuse(self, *words, at=None):
        code, out = self.run(*words, at=at)
        assert code == REFUSED and out.startswith("refused"), (words, at, code, out)

    def ask(self, *words, at=None):
        """Asks until there is an answer: members may have been started just now."""
        end = time.monotonic() + 30
        while True:
            code, out = self.run(*words, at=at)
            if code == DONE:
                return out
            assert time.monotonic() < end, (words, code, out)
            time.sleep(0.1)

    def stock(self):
        """The amounts by (warehouse, goods)."""
        amounts = {}
        for line in self.ask("stock").splitlines():
            warehouse, amount, goods = line.split()
            amounts[warehouse, goods] = int(amount)
        return amounts

    def balance(self):
        return int(self.ask("balance"))

    def log(self):
        return [entry(line) for line in self.ask("log").splitlines()]

    def status(self, name):
        words = self.ask("status", at=name).split()
        return {key: int(value) for key, value in zip(words[1::2], words[2::2])}

    def wait_for_doubt(self, name):
        """Until a process has an order in doubt."""
        end = time.monotonic() + 4
        while self.status(name)["in-doubt"] == 0:
            assert time.monotonic() < end, "no order came so far"

    def settle(self):
        """Waits until every member is there and nothing is undecided."""
        end = time.monotonic() + 40
        while True:
            all_status = [self.status(name) for name in NAMES]
            if all(s["in-doubt"] == 0 and s["open"] == 0 for s in all_status):
                assert all(s["contradictions"] == 0 for s in all_status), all_status
                return
            assert time.monotonic() < end, all_status
            time.sleep(0.05)

    def check(self):
        """What must hold whenever nothing is undecided."""
        self.settle()
        stock, balance, log = self.stock(), self.balance(), self.log()
        worth = sum(amount * value_of(goods) for (_, goods), amount in stock.items())
        assert worth == balance, f"stock is worth {worth}, the ledger says {balance}"
        assert all(amount > 0 for amount in stock.values()), stock
        assert moved(log) == stock, (moved(log), stock)
        check_once(log)
        return log


Entry = collections.namedtuple("Entry", "name verb subject move undone_by redone_by")


def entry(line):
    """Reads a line of the log: 3.1 undo 1.7 gain 5 shoes@42 north, redone by 2.2"""
    what, *notes = line.split(", ")
    name, *words = what.split()
    verb, subject = "do", None
    if words[0] in ("undo", "redo"):
        verb, subject, *words = words
    by = dict(note.split(" by ") for note in notes)
    return Entry(name, verb, subject, words, by.get("undone"), by.get("redone"))


def value_of(goods):
    return int(goods.split("@")[1])


def moved(log):
    """The stock that the log's transactions make, by (warehouse, goods)."""
    stock = collections.Counter()
    for one in log:
        verb, amount, goods, *places = one.move
        amount = -int(amount) if one.verb == "undo" else int(amount)
        source = None if verb == "gain" else places[0]
        target = None if verb == "loss" else places[-1]
        if source:
            stock[source, goods] -= amount
        if target:
            stock[target, goods] += amount
    return {key: amount for key, amount in stock.items() if amount != 0}


def check_once(log):
    """Nothing was undone or redone twice, and each of the two knows of the other."""
    names = [one.name for one in log]
    assert len(set(names)) == len(names), "a transaction is in the log twice"
    for verb in ("undo", "redo"):
        subjects = collections.Counter(one.subject for one in log if one.verb == verb)
        assert not subjects or max(subjects.values()) == 1, (verb, subjects.most_common(3))
    by_name = {one.name: one for one in log}
    for one in log:
        if one.verb == "undo":
            assert by_name[one.subject].undone_by == one.name, one
        if one.verb == "redo":
            assert by_name[one.subject].redone_by == one.name, one


# --- The chapters ---------------------------------------------------------------------------------


def single_orders(shop):
    """Anybody coordinates; what cannot be is refused; undo and redo work once each."""
    shop.do("gain", 255, "stonk@9000", "north", at="north")
    shop.do("gain", 255, "stonk@9000", "south", at="ledger")
    transfer = shop.do("transfer", 50, "stonk@9000", "north", "south", at="north")
    shoes = shop.do("gain", 10, "shoes@42", "north", at="south")
    shop.do("loss", 5, "shoes@42", "north", at="south")
    assert shop.stock() == {
        ("north", "stonk@9000"): 205, ("north", "shoes@42"): 5, ("south", "stonk@9000"): 305}
    assert shop.balance() == 510 * 9000 + 5 * 42

    retried = sum(shop.status(name)["retried"] for name in NAMES)
    for name in NAMES:
        shop.refuse("transfer", 9999, "stonk@9000", "north", "south", at=name)
        shop.refuse("loss", 1, "hats@3", "south", at=name)
        shop.refuse("gain", 1, "hats@3", "west", at=name)
        shop.refuse("undo", "1.999999999", at=name)
    assert sum(shop.status(name)["retried"] for name in NAMES) == retried, "invalid was retried"

    shop.refuse("redo", transfer)
    undo = shop.do("undo", transfer, at="ledger")
    assert shop.stock()["north", "stonk@9000"] == 255
    shop.refuse("undo", transfer, at="south")
    shop.refuse("undo", undo)
    redo = shop.do("redo", transfer, at="south")
    shop.refuse("redo", transfer)
    shop.refuse("undo", transfer)
    shop.do("undo", redo)
    # Five of the ten pairs are lost: the gain of ten cannot be taken back, until there are more.
    shop.refuse("undo", shoes)
    shop.do("gain", 5, "shoes@42", "north")
    shop.do("undo", shoes)
    shop.do("redo", shoes)
    shop.do("loss", 5, "shoes@42", "north")
    assert shop.stock()["north", "stonk@9000"] == 255
    return shop.check()


def conflict(shop):
    """Who needs what another order has reserved, or will bring, tries again until it is decided."""
    shop.signal("ledger", signal.SIGSTOP)
    gain = shop.popen("gain", 8, "pens@1", "north", at="north")
    shop.wait_for_doubt("north")
    end = time.monotonic() + 4
    before = shop.status("south")["retried"]
    transfer = shop.popen("transfer", 3, "pens@1", "north", "south", at="south")
    while shop.status("south")["retried"] == before:
        assert time.monotonic() < end, "the transfer was not tried again"
    shop.signal("ledger", signal.SIGCONT)
    for process in (gain, transfer):
        out, err = process.communicate(timeout=30)
        assert process.returncode == DONE, (out, err)
    stock = shop.stock()
    assert (stock["north", "pens@1"], stock["south", "pens@1"]) == (5, 3)
    # Ten pens are there at no place: refused, not tried again.
    shop.refuse("transfer", 6, "pens@1", "north", "south", at="north")
    return shop.check()


def questions(shop):
    """A question waits for what was undecided when it came, an undo for what it undoes alone."""
    gain = shop.do("gain", 3, "rings@5", "south", at="south")
    balance = shop.balance()
    shop.signal("north", signal.SIGSTOP)
    first = shop.popen("gain", 1, "hats@3", "north", at="south")
    shop.wait_for_doubt("ledger")
    shop.do("undo", gain, at="south")
    assert first.poll() is None, "the undo has waited for another order"
    time.sleep(1)
    reader = shop.popen("balance")
    time.sleep(1)
    second = shop.popen("gain", 1, "hats@3", "north", at="south")
    # The first is given up after its five seconds. The second is undecided for longer.
    out, err = reader.communicate(timeout=30)
    assert (reader.returncode, out.strip()) == (DONE, str(balance - 15)), (out, err)
    out, err = first.communicate(timeout=30)
    assert first.returncode == ABORTED, (first.returncode, out, err)
    assert second.poll() is None, "the question has waited for a later order"
    shop.signal("north", signal.SIGCONT)
    out, err = second.communicate(timeout=30)
    assert second.returncode == DONE, (out, err)
    return shop.check()


def no_answer(shop):
    """Whose coordinator dies under its order has a name to look for in the log."""
    shop.signal("ledger", signal.SIGSTOP)
    client = shop.popen("gain", 1, "hats@3", "south", at="north")
    shop.wait_for_doubt("north")
    shop.kill("north")
    out, err = client.communicate(timeout=30)
    assert client.returncode == UNKNOWN and out.startswith("unknown 1."), (out, err)
    shop.signal("ledger", signal.SIGCONT)
    shop.start("north")
    log = shop.check()
    found = [one.move for one in log if one.name == out.split()[1]]
    assert found in ([], ["gain 1 hats@3 south".split()]), found
    assert shop.status("north")["open"] == 0
    return log


def same_undo_at_once(shop):
    """Many undo one transaction at the same time, at all members: one of them does it."""
    name = shop.do("gain", 4, "caps@7", "south")
    for verb in ("undo", "redo"):
        clients = [shop.popen(verb, name, at=NAMES[n % 3]) for n in range(9)]
        codes = collections.Counter()
        for client in clients:
            client.communicate(timeout=60)
            codes[client.returncode] += 1
        assert codes[DONE] == 1 and codes[REFUSED] == 8, (verb, codes)
    return shop.check()


def journals(shop):
    """A member takes no journal but its own; a torn end is cut off, other damage is not touched."""
    for _ in range(5):
        shop.do("gain", 1, "rings@5", "north", at="north")
    stock = shop.stock()
    shop.kill("north")
    journal = shop.folder / "north" / "journal"
    intact = journal.read_bytes()

    members = shop.environment["SHOP_MEMBERS"].split(",")
    reordered = ",".join(members[1:] + members[:1])
    assert "is the journal of north" in shop.serve_in_vain(USAGE, "south", journal.parent)
    assert "1 of north,south,ledger" in shop.serve_in_vain(
        USAGE, "north", journal.parent, "--members", reordered)

    # No byte before the last page can change unnoticed; none was changed by who noticed.
    last = intact.rindex(b"page")
    damaged = []
    for at in range(0, last, 1 + last // 40):
        damaged.append(intact[:at] + bytes([intact[at] ^ 16]) + intact[at + 1:])
    # Only the first page, which was on disk before it had its name, and not all of it.
    damaged += [b"", intact[:intact.index(b"page", 9) - 1]]
    unknown = page(len(intact), bytes([99, 0, 0, 0, 0, 0, 0]))
    for content in damaged + [intact + unknown]:
        journal.write_bytes(content)
        shop.serve_in_vain(DISK, "north", journal.parent)
        assert journal.read_bytes() == content, "a damaged journal was changed"

    journal.write_bytes(intact + unknown[:-1])
    shop.start("north")
    log = shop.check()
    assert shop.stock() == stock
    return log


def page(place, line):
    """A page of a journal that begins there and holds one line."""
    content = struct.pack("<I", len(line)) + line
    checksum = crc32c(struct.pack("<Q", place) + content)
    return b"page" + struct.pack("<II", len(content), checksum) + content


def crc32c(content):
    checksum = 0xFFFFFFFF
    for byte in content:
        checksum ^= byte
        for _ in range(8):
            checksum = checksum >> 1 ^ (0x82F63B78 if checksum & 1 else 0)
    return checksum ^ 0xFFFFFFFF


def killed(shop, chance, seconds):
    """Random orders of a crowd, and random members killed at random moments, in several bursts.

    After each burst, what was told of every order is held against the log.
    """
    crowd = Crowd(shop, chance)
    earlier = {one.name for one in shop.log()}
    for _ in range(max(1, round(seconds / BURST_SECONDS))):
        done = crowd.outcomes_by_code()[DONE]
        with crowd:
            end = time.monotonic() + BURST_SECONDS
            while time.monotonic() < end and not crowd.failures:
                time.sleep(chance.uniform(0.1, 0.8))
                victims = chance.sample(NAMES, chance.choice([1, 1, 1, 2, 3]))
                for name in victims:
                    shop.kill(name)
                time.sleep(chance.choice([0, 0, chance.uniform(0, 0.4)]))
                for name in victims:
                    shop.start(name)
        log = shop.check()
        crowd.check([one for one in log if one.name not in earlier])
        done = crowd.outcomes_by_code()[DONE] - done
        assert done >= DONE_MIN, f"only {done} orders were done in a burst"
    return log, crowd.outcomes_by_code()


class Crowd:
    """Clients with random orders. No amount is ordered twice, so each order is known in the log."""

    def __init__(self, shop, chance):
        self.shop = shop
        self.chance = chance
        self.amounts = iter(chance.sample(range(1, 100_001), 100_000))
        self.lock = threading.Lock()
        self.stop = threading.Event()
        # By order, as a line of the log gives it: how often each exit code was told.
        self.outcomes = collections.defaultdict(collections.Counter)
        # By the transaction's name, when it was told: what is done, and what may be.
        self.told = {}
        self.unknown = {}
        self.known = []
        self.failures = []

    def __enter__(self):
        self.stop.clear()
        seeds = [self.chance.random() for _ in range(4)]
        self.clients = [threading.Thread(target=self.order_on, args=[seed]) for seed in seeds]
        for client in self.clients:
            client.start()

    def __exit__(self, *_):
        self.stop.set()
        for client in self.clients:
            client.join()
        if self.failures:
            raise self.failures[0]

    def order_on(self, seed):
        chance = random.Random(seed)
        while not self.stop.is_set():
            with self.lock:
                words = random_order(chance, self.known[-20:], next(self.amounts))
            try:
                code, out = self.shop.run(*words, at=chance.choice(NAMES))
            except Exception as error:  # Told by the main thread.
                self.failures.append(error)
                return
            with self.lock:
                self.outcomes[words][code] += 1
                if code == UNKNOWN and out:
                    self.unknown[out.split()[1]] = words
                if code == DONE:
                    self.told[out.split()[1]] = words
                    if words[0] in ("transfer", "gain", "loss"):
                        self.known.append(out.split()[1])

    def check(self, log):
        """What was told done is in the log, as often; nothing else is, but what is not known."""
        logged = {one.name: ordered(one) for one in log}
        for name, words in self.told.items():
            assert logged.get(name) == words, f"{name} told done: {words}, log: {logged.get(name)}"
        for name, words in self.unknown.items():
            assert logged.get(name, words) == words, f"{name} is {logged[name]}, not {words}"
        counts = collections.Counter(logged.values())
        for words in set(self.outcomes) | set(counts):
            codes, count = self.outcomes[words], counts[words]
            assert codes[DONE] <= count <= codes[DONE] + codes[UNKNOWN], (
                f"{' '.join(words)} is in the log {count} times; told, by exit code: {dict(codes)}")

    def outcomes_by_code(self):
        return sum(self.outcomes.values(), collections.Counter())


def random_order(chance, known, amount):
    goods = chance.choice(["stonk@9000", "shoes@42", "pens@1"])
    a, b = chance.sample(["north", "south"], 2)
    kind = chance.random()
    if known and kind < 0.25:
        return (chance.choice(["undo", "redo"]), chance.choice(known))
    if kind < 0.6:
        return ("transfer", str(amount), goods, a, b)
    return (chance.choice(["gain", "loss"]), str(amount), goods, a)


def ordered(one):
    """The words with which a client ordered what is in the log."""
    return tuple(one.move) if one.verb == "do" else (one.verb, one.subject)


# --- The telling ----------------------------------------------------------------------------------


def free_ports(count, udp):
    with contextlib.ExitStack() as stack:
        kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
        sockets = [stack.enter_context(socket.socket(socket.AF_INET, kind)) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--udp", action="store_true", help="UDP instead of TCP")
    parser.add_argument("--seconds", type=float, default=8, help="how long members are killed")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32))
    parser.add_argument("--shop", default=HERE.parent / ".build/debug/shop", help="the program")
    options = parser.parse_args()
    transport = "UDP" if options.udp else "TCP"
    print(f"shop over {transport}: seed {options.seed}", flush=True)
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory(prefix="shop-") as folder:
        shop = Shop(options.shop, folder, options.udp)
        try:
            for name in NAMES:
                shop.start(name)
            shop.settle()
            single_orders(shop)
            conflict(shop)
            same_undo_at_once(shop)
            questions(shop)
            no_answer(shop)
            journals(shop)
            log, by_code = killed(shop, chance, options.seconds)
        except BaseException:
            for name in shop.processes:
                print(f"-- {name}: {shop.last_words(name)}", file=sys.stderr)
            raise
        finally:
            shop.stop()
    print(
        f"figure: shop over {transport}: {len(log)} transactions in the log, {shop.kills} kills; "
        f"of the crowd's orders {by_code[DONE]} done, {by_code[REFUSED]} refused, "
        f"{by_code[ABORTED]} aborted, {by_code[UNKNOWN]} unknown, "
        f"{by_code[UNREACHABLE]} unanswered; the balance held")


if __name__ == "__main__":
    main()
