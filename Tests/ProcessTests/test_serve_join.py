"""A fourth member joins three under load: real processes over TCP and UDP."""

import io
import json
import random
import re
import signal
import socket
import threading
import time

import processes
import pytest
import serve_runs
from clie_runs import Way
from test_cluster_crashes import new_id
from test_serve_members import SECRET, Cluster


class Datagrams(processes.Link):
    """The same over UDP: a datagram is one inline command, of words without blanks, and one its reply. What
    gets no reply is sent again, so commands are such as may be repeated."""

    def __init__(self, port):
        self.port = port
        self.open()

    def open(self):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        self.socket.settimeout(2)
        self.socket.connect(("127.0.0.1", self.port))

    def close(self):
        self.socket.close()

    def command(self, *words):
        line = " ".join(word.decode() if isinstance(word, bytes) else str(word) for word in words)
        for _ in range(10):
            try:
                self.socket.send(line.encode() + b"\r\n")
                self.reader = io.BytesIO(self.socket.recv(1 << 16))
            except OSError:
                # A late reply is not taken for another one's.
                self.close()
                self.open()
                continue
            answer = self.reply()
            if isinstance(answer, processes.ServerError):
                raise answer
            return answer
        raise ConnectionError(f"no reply to {line[:60]}")


class Writer(threading.Thread):
    """Sets random keys at a member, one after the other, and notes the longest wait."""

    def __init__(self, link, seed, key_count):
        super().__init__(daemon=True)
        self.link = link
        self.chance = random.Random(seed)
        self.key_count = key_count
        self.stop = threading.Event()
        self.count = 0
        self.longest = 0.0
        self.refusals = []
        self.error = None

    def run(self):
        try:
            with self.link as link:
                while not self.stop.is_set():
                    self.write(link)
        except Exception as error:  # Shown by the test, which fails.
            self.error = error

    def write(self, link):
        key = f"key:{self.chance.randrange(self.key_count)}"
        begin = time.monotonic()
        try:
            if self.chance.random() < 0.1:
                link.command("DEL", key)
            else:
                link.command("SET", key, self.chance.randbytes(self.chance.randrange(1, 100)).hex())
            self.count += 1
        except processes.ServerError as error:
            self.refusals.append(str(error))
        self.longest = max(self.longest, time.monotonic() - begin)

    def end(self):
        self.stop.set()
        self.join(30)
        assert self.error is None, self.error
        return self


class Join:
    """Three members, and one that is to be the fourth."""

    def __init__(self, launch, folder, flags=()):
        self.cluster = Cluster(launch, folder, flags=flags)
        self.link = Datagrams if "-u" in flags else processes.Link
        self.launch = launch
        self.folder = folder
        self.flags = list(flags)
        self.port = processes.free_port()
        self.cluster.wait_until_whole()

    def start(self, donor=1, *arguments, secret=SECRET, data="data4", port=None):
        flags = ["--data", self.folder / data, "-p", port or self.port]
        if secret:
            (self.folder / "secret4").write_text(secret)
            flags += ["--secret-file", self.folder / "secret4"]
        flags += ["-m", "127.0.0.1", "-q", self.cluster.ports[donor]]
        self.run = self.launch(*flags, *arguments, *self.cluster.flags)
        return self.run

    def fill(self, count, size=100):
        for first in range(0, count, 1_500):
            words = ["MSET"]
            for number in range(first, min(count, first + 1_500)):
                words += [f"key:{number}", random.Random(number).randbytes(size // 2).hex()]
            self.ask(self.cluster.ports[1], *words)

    def ask(self, port, *words):
        """A command by clie, whose replies over UDP may be long."""
        way = Way("-u" if self.flags else "-t", port)
        done = way("--timeout", "20s", "--output", "json", "-o", "exec", *words)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)["reply"]

    def copied(self):
        """How many entries the joiner has by now."""
        with processes.Link(self.port) as link:
            found = re.search(rb"copy_entries:(\d+)", link.command("INFO", "cluster"))
        return int(found[1]) if found else 0

    def writer(self, number, key_count):
        return Writer(self.link(self.cluster.ports[number]), number, key_count)

    def contents(self, port):
        """All keys with values and expiry."""
        keys = sorted(self.ask(port, "KEYS", "*"))
        found = {}
        for first in range(0, len(keys), 4_000):
            part = keys[first : first + 4_000]
            found.update(zip(part, self.ask(port, "MGET", *part)))
        return found

    def assert_equal(self, numbers=(1, 2, 3)):
        ports = [self.cluster.ports[number] for number in numbers] + [self.port]
        # KEYS tells what is committed there by now: the last decisions may be on their way.
        deadline = time.monotonic() + 10
        while True:
            found = [self.contents(port) for port in ports]
            if all(each == found[0] for each in found):
                return len(found[0])
            assert time.monotonic() < deadline, [len(each) for each in found]


@pytest.fixture(params=[[], ["-u"]], ids=["tcp", "udp"])
def join(request, launch, folder):
    return Join(launch, folder, request.param)


def test_a_fourth_member_joins_under_load(join):
    join.fill(20_000)
    large = 100_000
    join.ask(join.cluster.ports[2], "SET", "large", "x" * large)
    if not join.flags:
        large = 3_000_000
        with processes.Link(join.cluster.ports[2]) as link:
            link.command("SET", "large", "x" * large)
    with join.link(join.cluster.ports[2]) as link:
        link.command("SET", "soon", "gone", "PX", "400")
        link.command("SET", "later", "here", "EX", "1000")
    writers = [join.writer(number, 25_000) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    join.start(donor=2)
    join.run.wait_for(r"joined the cluster as member 4: .* entries, .*B in \S+ s", 60)
    join.cluster.runs[2].wait_for(r"member 4 has joined")
    for number in (1, 2, 3):
        info = join.cluster.info(number)
        assert "127.0.0.1:%d" % join.port in info["member4"]
    # The newcomer answers once all have told it that they know of it.
    with join.link(join.port) as link:
        serve_runs.wait_until(lambda: answers(link, "GET", "later"))
    fourth = Writer(join.link(join.port), 4, 25_000)
    fourth.start()
    time.sleep(1)
    for writer in [*writers, fourth]:
        writer.end()
        assert writer.count > 0
        assert not writer.refusals, writer.refusals[:3]
    print("longest wait", max(writer.longest for writer in writers))
    assert join.assert_equal() > 15_000
    with join.link(join.port) as link:
        assert link.command("GET", "soon") is None
        assert 0 < link.command("TTL", "later") <= 1000
        assert link.command("STRLEN", "large") == large
    # It is a member like the others after a restart, also with the flags of the join.
    join.run.kill()
    join.start(donor=2).ready()
    serve_runs.wait_until(lambda: join.cluster.reachable(1) == 4)
    with join.link(join.port) as link:
        serve_runs.wait_until(lambda: answers(link, "SET", "after", "restart"))
    join.assert_equal()


def answers(link, *words):
    try:
        link.command(*words)
        return True
    except processes.ServerError:
        return False


def test_ids_from_before_the_join_are_known_at_the_joiner(launch, folder):
    join = Join(launch, folder)
    chance = random.Random(7)
    ids = [new_id(chance) for _ in range(50)]
    with join.link(join.cluster.ports[1]) as link:
        for name in ids:
            link.command("ONCE", name, "INCR", "counter")
    join.start(donor=3)
    join.run.wait_for(r"joined the cluster as member 4", 60)
    with join.link(join.port) as link:
        serve_runs.wait_until(lambda: answers(link, "GET", "counter"))
        for name in ids:
            assert link.command("OUTCOME", name) == b"committed"
            link.command("ONCE", name, "INCR", "counter")
        assert link.command("GET", "counter") == b"50"


def test_the_joiner_is_killed_in_the_middle(join):
    join.fill(60_000, 200)
    writers = [join.writer(number, 60_000) for number in (1, 2)]
    for writer in writers:
        writer.start()
    for pause in (0.05, 0.2, 0.4):
        join.start(donor=1)
        join.cluster.runs[1].wait_for(r"asks to join")
        time.sleep(pause)
        join.run.kill()
    join.start(donor=1)
    # Where the last kill came too late, it had joined before and goes on as the member that it is.
    join.run.wait_for(r"joined the cluster as member 4|member 4 of 4 in cluster", 90)
    for writer in writers:
        writer.end()
    assert join.assert_equal() > 40_000


def test_the_donor_is_killed_in_the_middle(join):
    join.fill(60_000, 200)
    join.start(donor=1)
    join.cluster.runs[1].wait_for(r"asks to join")
    time.sleep(0.2)
    join.cluster.runs[1].kill()
    join.cluster.start(1)
    join.run.wait_for(r"joined the cluster as member 4", 90)
    with join.link(join.port) as link:
        serve_runs.wait_until(lambda: answers(link, "SET", "a", "b"), 60)
    assert join.assert_equal() == 60_001


def test_a_second_joiner_waits_for_the_first(launch, folder):
    join = Join(launch, folder)
    join.fill(100_000, 300)
    join.start(donor=1)
    join.cluster.runs[1].wait_for(r"asks to join")
    other = Join.__new__(Join)
    other.__dict__.update(join.__dict__)
    other.port = processes.free_port()
    other.start(donor=1, data="data5")
    other.run.wait_for(r"cannot join at 127.0.0.1:\d+ yet: another one is joining there", 30)
    join.run.wait_for(r"joined the cluster as member 4", 90)
    other.run.wait_for(r"joined the cluster as member 5", 90)
    serve_runs.wait_until(lambda: join.cluster.reachable(1) == 5)


def test_while_it_joins_it_answers_loading(launch, folder):
    join = Join(launch, folder)
    join.start(donor=1, secret=SECRET)
    join.run.kill()
    # A donor that is not there.
    port = processes.free_port()
    (folder / "secret9").write_text(SECRET)
    run = launch(
        "--data", folder / "data9", "-p", port, "-m", "127.0.0.1", "-q", processes.free_port(),
        "--secret-file", folder / "secret9")
    run.wait_for(r"cannot join at 127.0.0.1:\d+ yet: it cannot be reached", 30)
    with processes.Link(port) as link:
        with pytest.raises(processes.ServerError, match="LOADING"):
            link.command("GET", "a")
        assert b"joining:1" in link.command("INFO", "cluster")
    assert run.stop() == 0


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["-m", "localhost"], "--mhost and --qport go together"),
        (["-q", "7000"], "--mhost and --qport go together"),
        (["-m", "localhost", "-q", "0"], "--qport must be a whole number from 1 to 65535"),
        (["-m", "localhost", "-q", "7000", "--cluster", "1=a:1", "--id", "1"],
         "--mhost joins a cluster that is there, --cluster begins one"),
        (["--advertise", "a:1"], "--advertise is for a process that joins"),
        (["-m", "localhost", "-q", "7000", "--advertise", "nowhere"],
         "--advertise must be HOST:PORT"),
        (["-m", "localhost", "-q", "7000", "--durability", "never"], "is for a node alone"),
    ],
)
def test_wrong_flags_exit_2(run_serve, arguments, phrase):
    done = run_serve(*arguments)
    assert done.returncode == 2
    assert phrase in done.stderr and done.stderr.count("\n") == 1


def test_a_directory_with_data_is_refused(launch, folder):
    join = Join(launch, folder)
    alone = launch("--data", folder / "data4").ready()
    with alone.connect() as link:
        link.command("SET", "a", "1")
    assert alone.stop() == 0
    assert join.start(donor=1).wait() == 78
    assert "holds data of a node alone" in join.run.log


def test_a_wrong_or_missing_secret_is_refused(launch, folder):
    join = Join(launch, folder)
    assert join.start(donor=1, secret="quite another secret, and long").wait() == 78
    assert "refuses to let this process join: its cluster secret is another one" in join.run.log
    join.cluster.runs[1].wait_for(r"refused who wants to join as 127.0.0.1:\d+")
    assert join.start(donor=1, secret="").wait() == 78
    assert "it has no cluster secret, this cluster has one" in join.run.log


def test_the_id_of_a_member_is_refused(launch, folder):
    join = Join(launch, folder)
    assert join.start(1, "--id", 2).wait() == 78
    assert "its --id is that of a member" in join.run.log
    join.start(1, "--id", 9)
    join.run.wait_for(r"joined the cluster as member 9", 60)


@pytest.mark.parametrize("way", ["agreed", "forced"])
def test_the_id_of_a_removed_member_joins_again(launch, folder, way):
    join = Join(launch, folder)
    join.fill(1_000)
    if way == "agreed":
        command = ["MEMBERS", "REMOVE", "3"]
    else:
        join.cluster.runs[3].kill()
        command = ["MEMBERS", "REMOVE", "3", "FORCE"]
    with processes.Link(join.cluster.ports[1]) as link:
        serve_runs.wait_until(lambda: answers(link, *command))
    join.cluster.runs[3].process.wait(20)
    join.start(1, "--id", 3)
    join.run.wait_for(r"joined the cluster as member 3")
    for port in (join.cluster.ports[2], join.port):
        with processes.Link(port) as link:
            serve_runs.wait_until(lambda: answers(link, "SET", "from", port))
    join.assert_equal(numbers=(1, 2))
    # The directory of before is of no use, and does not get in the way.
    flags = ["--data", folder / "data3", "-p", join.cluster.ports[3], "--secret-file", folder / "secret3"]
    if way == "forced":
        # It does not know yet: a member tells it, on a link that is not that of member 3.
        told = launch(*flags)
        assert told.wait() == 0
        assert "this member was removed from its cluster and stops" in told.log
    former = launch(*flags)
    assert former.wait() == 78 and "member 3 was removed from its cluster" in former.log
    for port in (join.cluster.ports[1], join.port):
        with processes.Link(port) as link:
            link.command("SET", "after", port)
    assert join.assert_equal(numbers=(1, 2)) == 1_002


def test_an_unfinished_join_without_its_flags_is_refused(launch, folder):
    join = Join(launch, folder)
    join.fill(100_000, 300)
    # A member that stands still does not let the joiner in: its join cannot end.
    join.cluster.runs[3].signal(signal.SIGSTOP)
    join.start(donor=1)
    join.cluster.runs[1].wait_for(r"asks to join")
    serve_runs.wait_until(lambda: join.copied() > 50_000)
    join.run.kill()
    join.cluster.runs[3].signal(signal.SIGCONT)
    assert "joined the cluster" not in join.run.log
    alone = launch("--data", folder / "data4")
    assert alone.wait() == 78
    assert "a join that has not ended" in alone.log
