"""A member ends hard at chosen points of a transaction, as coordinator and as participant, over TCP and
over UDP: all keys or none, the client is told the truth, and nothing stays locked.

Needs a `serve` with fail points, in the folder that TUPPENCE_MUTANTS_BIN names:
swift build -c release --scratch-path .build-mutants --product serve -Xswiftc -DMUTANTS
"""

import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

import pytest
import serve_runs
from test_serve_members import Cluster

POINTS = ["before-vote", "after-prepared", "before-decision", "after-decision"]
RESOLVED_SECONDS = 3


@pytest.fixture(scope="module")
def program():
    folder = os.environ.get("TUPPENCE_MUTANTS_BIN")
    if not folder or not os.access(pathlib.Path(folder) / "serve", os.X_OK):
        pytest.fail(f"no serve with fail points: TUPPENCE_MUTANTS_BIN is {folder!r}; {__doc__}")
    return str(pathlib.Path(folder) / "serve")


@contextlib.contextmanager
def members(program, flags, kind=Cluster):
    """Three members, reaped with all that was launched besides."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="tuppence-test."))
    runs = []

    def launch(*arguments, **options):
        runs.append(serve_runs.Run(arguments, program=program, **options))
        return runs[-1]

    try:
        cluster = kind(launch, folder, flags=flags)
        cluster.wait_until_whole()
        yield cluster
    finally:
        for run in runs:
            run.clean_up()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module", params=[[], ["-u"]], ids=["tcp", "udp"])
def cluster(request, program):
    """The same over all tests of a transport: each test restarts the one that it kills."""
    with members(program, request.param) as cluster:
        yield cluster


def arm(cluster, number, point):
    """Restarts a member with a fail point; in order, so that it finds nothing undecided first."""
    assert cluster.runs[number].stop() == 0
    cluster.start(number, environment={"SERVE_FAIL_AT": point})
    cluster.wait_until_whole()


def put_all(cluster, number, keys, value):
    """One transaction by clie, which sends it again under its id; the word that the client gets, and
    the id."""
    steps = "\n".join(f"put {key} {value}" for key in keys)
    done = cluster.way(number)("--output", "json", "--timeout", "12s", "-o", "txn", "-v", steps)
    said = json.loads(done.stdout or done.stderr)
    assert done.returncode in (0, 3, 4, 5, 6), said
    return said["outcome"], said["id"]


def values(cluster, number, keys):
    done = cluster.way(number)("--output", "json", "-o", "exec", "MGET", *keys)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["reply"]


def outcome(cluster, number, identity):
    done = cluster.way(number)("--output", "json", "-o", "outcome", "-k", identity)
    return json.loads(done.stdout or done.stderr)["state"]


@pytest.mark.parametrize("role", ["coordinator", "participant"])
@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_transaction_is_all_or_nothing(cluster, point, number, role):
    keys = [f"{point}.{number}.{role}.{index}" for index in range(3)]
    coordinator = number if role == "coordinator" else number % 3 + 1
    arm(cluster, number, point)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        told = pool.submit(put_all, cluster, coordinator, keys, "x")
        assert cluster.runs[number].wait(20) == -signal.SIGKILL
        cluster.start(number)
        ready = time.monotonic()
        serve_runs.wait_until(cluster.is_resolved, 20)
        resolved = time.monotonic() - ready
        word, identity = told.result(30)
    assert resolved < RESOLVED_SECONDS, f"{resolved:.1f} s"
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved)
    states = [values(cluster, member, keys) for member in cluster.ports]
    assert states[0] == states[1] == states[2]
    assert states[0] in (["x"] * 3, [None] * 3)
    is_applied = states[0] == ["x"] * 3
    assert word in ("applied" if is_applied else "not-applied", "unknown")
    if role == "coordinator" and point == "after-decision":
        assert word == "applied"
    for member in cluster.ports:
        known = outcome(cluster, member, identity)
        assert known == "committed" if is_applied else known in ("never-seen", "aborted")
    # Nothing is locked: all members can change the keys.
    for member in cluster.ports:
        assert put_all(cluster, member, keys, member)[0] == "applied"
    assert values(cluster, number, keys) == ["3"] * 3


@pytest.mark.parametrize("point", ["before-decision", "after-decision"])
def test_a_transaction_that_is_given_up_is_all_or_nothing_too(cluster, point):
    """Member 1 aborts because 3 does not vote, and ends at that; 3 finds the prepare afterwards."""
    keys = [f"given-up.{point}.{index}" for index in range(3)]
    arm(cluster, 1, point)
    cluster.runs[3].signal(signal.SIGSTOP)
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        told = pool.submit(put_all, cluster, 1, keys, "x")
        try:
            assert cluster.runs[1].wait(20) == -signal.SIGKILL
        finally:
            cluster.runs[3].signal(signal.SIGCONT)
        cluster.start(1)
        word, _ = told.result(30)
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved, RESOLVED_SECONDS)
    states = [values(cluster, member, keys) for member in cluster.ports]
    assert states[0] == states[1] == states[2]
    assert states[0] in (["x"] * 3, [None] * 3)
    assert word in ("applied" if states[0][0] else "not-applied", "unknown")


def test_keys_are_in_doubt_while_their_coordinator_is_away(cluster):
    keys = ["doubt.0", "doubt.1"]
    assert put_all(cluster, 2, [*keys, "free"], "before")[0] == "applied"
    arm(cluster, 1, "before-decision")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        told = pool.submit(put_all, cluster, 1, keys, "after")
        assert cluster.runs[1].wait(20) == -signal.SIGKILL
        info = cluster.info(2)
        assert info["transactions_in_doubt"] == "1" and info["keys_locked"] != "0"
        assert "coordinator=1,waits_for=1" in info["in_doubt0"]
        assert values(cluster, 3, ["free"]) == ["before"]
        begin = time.monotonic()
        done = cluster.way(2)("--timeout", "9s", "-o", "get", "-k", keys[0])
        waited = time.monotonic() - begin
        assert done.returncode != 0 and b"BUSY a key is held by transaction" in done.stderr
        assert 4 < waited < 8, f"{waited:.1f} s"
        cluster.start(1)
        word, identity = told.result(30)
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved, RESOLVED_SECONDS)
    # All were prepared: that is a commit, and the client is told nothing else.
    assert word in ("applied", "unknown")
    assert [values(cluster, number, keys) for number in cluster.ports] == [["after"] * 2] * 3
    assert outcome(cluster, 3, identity) == "committed"


def test_a_fail_point_counts(cluster):
    arm(cluster, 2, "after-prepared:3")
    assert [put_all(cluster, 1, [f"count{n}"], n)[0] for n in range(2)] == ["applied"] * 2
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        told = pool.submit(put_all, cluster, 1, ["count2"], 2)
        assert cluster.runs[2].wait(20) == -signal.SIGKILL
        cluster.start(2)
        told.result(30)
    cluster.wait_until_whole()
    serve_runs.wait_until(cluster.is_resolved)


@pytest.mark.parametrize("text", ["", "nowhere", "before-vote:", "before-vote:0", "before-vote:1:1"])
def test_an_unknown_fail_point_is_refused(program, text):
    done = subprocess.run(
        [program, "-p", "0"], capture_output=True, text=True, timeout=20,
        env={**os.environ, "SERVE_FAIL_AT": text})
    assert done.returncode == 2 and "SERVE_FAIL_AT must be before-vote" in done.stderr
