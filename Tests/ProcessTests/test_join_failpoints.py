"""A member ends hard at chosen points of the transaction that takes a fourth one in: the one that joins,
the one that gives its data and coordinates, and another one, over TCP and UDP. Started again with the same
flags all end as members with the same data, and nothing stays locked.

Needs a `serve` with fail points; see test_cluster_failpoints.py.
"""

import signal

import processes
import pytest
import serve_runs
from test_cluster_failpoints import POINTS, members, program
from test_serve_members import SECRET, Cluster

KEYS = [f"key{number}" for number in range(200)]
DONOR, OTHER, JOINER = 1, 2, 4


class Joining(Cluster):
    """Three members, and a fourth that joins in each test and is removed after it."""

    def __init__(self, launch, folder, flags):
        super().__init__(launch, folder, flags=flags)
        self.count = 0
        self.wait_until_whole()
        words = [word for key in KEYS for word in (key, f"value of {key}")]
        assert self.way(1)("-o", "exec", "MSET", *words).returncode == 0

    def start(self, number, secret=SECRET, **options):
        """Starts a member, or the one that joins: with the same flags each time."""
        if number != JOINER:
            return super().start(number, secret, **options)
        (self.folder / "secret4").write_text(secret)
        self.runs[number] = self.launch(
            "--data", self.folder / f"data4.{self.count}", "-p", self.ports[number],
            "-m", "127.0.0.1", "-q", self.ports[DONOR], "--secret-file", self.folder / "secret4",
            *self.flags, **options).listening()

    def join(self, victim, point):
        """The fourth begins to join; `victim` ends at the point."""
        self.count += 1
        armed = {"environment": {"SERVE_FAIL_AT": point}}
        if victim != JOINER:
            assert self.runs[victim].stop() == 0
            self.start(victim, **armed)
            self.wait_until_whole()
        self.ports[JOINER] = processes.free_port()
        self.start(JOINER, **(armed if victim == JOINER else {}))
        assert self.runs[victim].wait(20) == -signal.SIGKILL

    def reachable(self, number):
        """0 before it knows of members."""
        return int(self.info(number).get("members_reachable", 0))

    def values(self, number):
        return self.way(number)("--timeout", "9s", "-o", "exec", "MGET", *KEYS, "after").stdout

    def leave(self, number):
        """The fourth, member `number`, leaves, so that the next one finds three."""
        done = self.way(DONOR)("--timeout", "9s", "-o", "remove", "--node", number)
        assert done.returncode == 0, done.stderr
        self.runs[JOINER].kill()
        del self.ports[JOINER]
        self.wait_until_whole()


@pytest.fixture(scope="module")
def cluster(request, program):
    with members(program, FLAGS[request.param], Joining) as cluster:
        yield cluster


FLAGS = {"tcp": [], "udp": ["-u"]}
VICTIMS = {"joiner": JOINER, "donor": DONOR, "other": OTHER}
CASES = [
    *(("tcp", point, victim) for point in POINTS for victim in VICTIMS),
    ("udp", "after-prepared", "joiner"),
    ("udp", "before-decision", "donor"),
]


@pytest.mark.parametrize("cluster, point, victim", CASES, indirect=["cluster"], scope="module")
def test_all_end_as_members(cluster, point, victim):
    victim = VICTIMS[victim]
    cluster.join(victim, point)
    cluster.start(victim)
    cluster.wait_until_whole()
    # Another id where the first one is still in doubt when it asks again.
    found = cluster.runs[JOINER].wait_for(r"joined the cluster as member (\d)|member (\d) of 4 in cluster")
    serve_runs.wait_until(cluster.is_resolved)
    assert cluster.way(OTHER)("--timeout", "9s", "-o", "put", "-k", "after", "-v", point).returncode == 0
    states = {cluster.values(number) for number in cluster.ports}
    assert len(states) == 1 and point.encode() in states.pop()
    cluster.leave(found.group(1) or found.group(2))


@pytest.mark.parametrize("cluster", ["tcp"], indirect=True, scope="module")
def test_a_newcomer_that_has_voted_and_lost_its_directory_is_removed_by_force(cluster):
    cluster.join(DONOR, "before-decision")
    cluster.runs[JOINER].kill()
    cluster.start(DONOR)
    serve_runs.wait_until(lambda: "waits_for=4" in cluster.info(DONOR).get("in_doubt0", ""))
    cluster.count += 1
    cluster.start(JOINER)
    # It speaks for nobody who may have voted, nor takes his place.
    cluster.runs[JOINER].wait_for("another one is joining there")
    assert "waits_for=4" in cluster.info(DONOR).get("in_doubt0", "")
    words = ["-o", "remove", "--node", "4", "--force", "--i-have-stopped-it"]
    serve_runs.wait_until(lambda: cluster.way(DONOR)("--timeout", "9s", *words).returncode == 0)
    found = cluster.runs[JOINER].wait_for(r"joined the cluster as member (\d)")
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved)
    assert len({cluster.values(number) for number in cluster.ports}) == 1
    cluster.leave(found.group(1))
