"""What members of a cluster answer while another one is away, and how soon: the table of
docs/guarantees.md, as far as it needs no fail points."""

import contextlib
import json
import random
import signal
import threading
import time

import processes
import pytest
import serve_runs
from test_serve_members import Cluster
from udp_proxy import UdpProxy, Weather


def put(cluster, number, key, value="x"):
    """The word and the code of one copy of a write."""
    done = cluster.way(number)("--output", "json", "-o", "put", "-k", key, "-v", value)
    said = json.loads(done.stdout or done.stderr)
    return said["outcome"], said.get("code")


def get(cluster, number, key):
    done = cluster.way(number)("-o", "get", "-k", key)
    return done.stdout.decode().strip() if done.returncode in (0, 1) else done.stderr.decode()


@pytest.fixture
def members(launch, folder):
    cluster = Cluster(launch, folder)
    cluster.wait_until_whole()
    assert put(cluster, 1, "before") == ("applied", None)
    return cluster


class Writer(threading.Thread):
    """Writes without a pause at one member, and notes how long each reply took."""

    def __init__(self, port, key):
        super().__init__()
        self.port, self.key = port, key
        self.stop = threading.Event()
        self.replies = []

    def run(self):
        with processes.Link(self.port) as link:
            while not self.stop.is_set():
                begin = time.monotonic()
                link.send("SET", self.key, len(self.replies))
                self.replies.append((link.reply(), time.monotonic() - begin))


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_killed_member_is_noticed_at_once(members, number):
    others = [other for other in members.ports if other != number]
    writers = [Writer(members.ports[other], f"key{other}") for other in others]
    for writer in writers:
        writer.start()
    time.sleep(0.3)
    members.runs[number].kill()
    begin = time.monotonic()
    for other in others:
        serve_runs.wait_until(lambda: members.reachable(other) == 2)
    noticed = time.monotonic() - begin
    time.sleep(0.3)
    for writer in writers:
        writer.stop.set()
        writer.join(20)
    assert noticed < 1, f"{noticed:.1f} s"
    for writer in writers:
        # What was under way ends too: no write waits for its deadline of 5 s.
        slowest = max(seconds for _, seconds in writer.replies)
        assert slowest < 1, f"{slowest:.1f} s"
        errors = {str(reply).split(" ")[0] for reply, _ in writer.replies if reply != "OK"}
        assert errors <= {"UNAVAILABLE", "ABORTED"} and "UNAVAILABLE" in errors
        assert str(writer.replies[-1][0]).startswith(f"UNAVAILABLE member {number} (127.0.0.1:")
        # An error was no change, an OK was one: here the last of them is what is there.
        kept = max(index for index, (reply, _) in enumerate(writer.replies) if reply == "OK")
        assert get(members, others[0], writer.key) == get(members, others[1], writer.key) == str(kept)
    members.start(number)
    members.wait_until_whole()
    assert get(members, number, "before") == "x"


def test_a_stopped_member_is_noticed_by_its_silence(members):
    members.runs[3].signal(signal.SIGSTOP)
    begin = time.monotonic()
    # It is sent while nobody knows, and ends once somebody does.
    assert put(members, 1, "a") == ("not-applied", "ABORTED")
    waited = time.monotonic() - begin
    assert 1.4 <= waited < 4, f"{waited:.1f} s"
    begin = time.monotonic()
    assert put(members, 2, "a") == ("not-applied", "UNAVAILABLE")
    assert [get(members, number, "before") for number in (1, 2)] == ["x", "x"]
    assert [get(members, number, "a") for number in (1, 2)] == ["", ""]
    assert time.monotonic() - begin < 1
    members.runs[3].signal(signal.SIGCONT)
    members.wait_until_whole()
    serve_runs.wait_until(members.is_resolved)
    assert put(members, 3, "a") == ("applied", None)


def test_of_two_members_one_alone_cannot_say_what_became_of_a_write(launch, folder):
    cluster = Cluster(launch, folder, count=2)
    cluster.wait_until_whole()
    cluster.runs[2].signal(signal.SIGSTOP)
    begin = time.monotonic()
    with processes.Link(cluster.ports[1]) as link:
        link.send("SET", "a", "x")
        reply = str(link.reply())
    waited = time.monotonic() - begin
    assert reply.startswith("UNKNOWN transaction ") and reply.endswith("(unknown)"), reply
    assert 5 < waited < 7, f"{waited:.1f} s"
    cluster.runs[2].signal(signal.SIGCONT)
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved)
    # It had been aborted at member 1, which just was not allowed to say so.
    assert [get(cluster, number, "a") for number in (1, 2)] == ["", ""]


def operation_id():
    return f"{int(time.time() * 1000):012x}7{random.getrandbits(12):03x}8{random.getrandbits(60):015x}"


def test_what_became_of_an_id_is_told_while_a_member_is_away(members):
    done, whole, sealed, new = (operation_id() for _ in range(4))
    transaction = [["MULTI"], ["INCR", "m"], ["ONCE", whole, "EXEC"]]
    with processes.Link(members.ports[1]) as link:
        assert link.ask("ONCE", done, "INCR", "n") == 1
        assert [link.ask(*words) for words in transaction][-1] == [1]
        assert link.ask("OUTCOME", sealed, "SEAL") == b"aborted"
    members.runs[3].kill()
    serve_runs.wait_until(lambda: members.reachable(1) == members.reachable(2) == 2)
    for number in (1, 2):
        with processes.Link(members.ports[number]) as link:
            assert link.ask("ONCE", done, "INCR", "n") == 1
            assert [link.ask(*words) for words in transaction][-1] == [1]
            assert str(link.ask("ONCE", sealed, "INCR", "n")).startswith("ABORTED the id was sealed")
            told = [link.ask("OUTCOME", one, "SEAL") for one in (done, sealed, new)]
            assert told[:2] == [b"committed", b"aborted"], told
            assert str(told[2]).startswith("UNAVAILABLE") and "(not-applied)" in str(told[2]), told
            refusal = str(link.ask("ONCE", new, "INCR", "n"))
            assert refusal.startswith("UNAVAILABLE") and refusal.endswith("(unknown)"), refusal
            refusal = str(link.ask("INCR", "n"))
            assert refusal.startswith("UNAVAILABLE") and refusal.endswith("(not-applied)"), refusal
    members.start(3)
    members.wait_until_whole()
    with processes.Link(members.ports[3]) as link:
        assert (link.ask("GET", "n"), link.ask("GET", "m")) == (b"1", b"1")
        assert link.ask("ONCE", new, "INCR", "n") == 2


def test_clie_says_unknown_of_what_is_not_decided_and_learns_it_later(launch, folder):
    cluster = Cluster(launch, folder, count=2)
    cluster.wait_until_whole()
    cluster.runs[2].signal(signal.SIGSTOP)
    done = cluster.way(1)("--timeout", "7s", "-o", "incr", "-k", "n")
    first, asking = done.stderr.decode().splitlines()
    assert done.returncode == 5 and first.endswith("(unknown)"), done
    words = asking.partition("clie -o ")[2] or asking.partition(" -o ")[2]
    cluster.runs[2].signal(signal.SIGCONT)
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved)
    told = cluster.way(1)("-o", *words.split())
    value = get(cluster, 2, "n")
    assert (told.returncode, value) in ((0, "1"), (4, "")), (told, value)


def test_clie_waits_for_the_decision(launch, folder):
    cluster = Cluster(launch, folder, count=2)
    cluster.wait_until_whole()
    cluster.runs[2].signal(signal.SIGSTOP)
    waker = threading.Timer(7, cluster.runs[2].signal, [signal.SIGCONT])
    waker.start()
    done = cluster.way(1)("--timeout", "15s", "-o", "incr", "-k", "n")
    waker.join()
    assert (done.returncode, done.stdout) == (0, b"1\n"), done
    assert [get(cluster, number, "n") for number in (1, 2)] == ["1", "1"]


def test_a_member_that_starts_while_another_is_down_waits_for_it(members):
    members.runs[2].kill()
    members.runs[3].kill()
    members.start(3)
    serve_runs.wait_until(lambda: members.reachable(3) == 2)
    assert "UNAVAILABLE" in get(members, 3, "before")
    assert put(members, 3, "a") == ("not-applied", "UNAVAILABLE")
    # Who has been there all the time reads.
    assert get(members, 1, "before") == "x"
    members.start(2)
    members.wait_until_whole()
    assert get(members, 3, "before") == "x" and put(members, 3, "a") == ("applied", None)


def test_two_that_do_not_hear_each_other_and_a_third_that_hears_both(launch, folder):
    with contextlib.ExitStack() as stack:
        proxies = []

        def via(port):
            proxies.append(stack.enter_context(UdpProxy(port, Weather())))
            return proxies[-1].port

        cluster = Cluster(launch, folder, flags=["-u"], via=via)
        cluster.wait_until_whole()
        # Member 1 calls 2.
        proxies[1].cuts.add(("127.0.0.1", cluster.ports[1]))
        serve_runs.wait_until(lambda: [cluster.reachable(n) for n in cluster.ports] == [2, 2, 3])
        for number in (1, 2):
            assert put(cluster, number, "a") == ("not-applied", "UNAVAILABLE")
        assert put(cluster, 3, "a") == ("applied", None)
        assert [get(cluster, number, "a") for number in cluster.ports] == ["x"] * 3
        proxies[1].cuts.clear()
        cluster.wait_until_whole()
        assert put(cluster, 1, "a", "y") == ("applied", None)
