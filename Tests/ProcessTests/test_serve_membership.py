"""The list of members outlives restarts, and changes: real processes over TCP and UDP."""

import json
import re
import signal
import socket
import subprocess
import time

import processes
import pytest
import serve_runs
import test_serve_members


class Cluster(test_serve_members.Cluster):
    """Members that are started again without flags about their cluster."""

    def start_again(self, number, *more):
        flags = ["--data", self.folder / f"data{number}", "-p", self.ports[number], *self.flags]
        flags += ["--secret-file", self.folder / f"secret{number}", *more]
        self.runs[number] = self.launch(*flags)
        return self.runs[number]

    def call(self, number, line):
        """The reply to an inline command, as it came."""
        if "-u" in self.flags:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.sendto(line.encode() + b"\r\n", ("127.0.0.1", self.ports[number]))
                return client.recv(1 << 16).decode()
        with socket.create_connection(("127.0.0.1", self.ports[number]), timeout=20) as client:
            client.sendall(line.encode() + b"\r\nQUIT\r\n")
            text = b""
            while not text.endswith(b"+OK\r\n") or text == b"+OK\r\n":
                got = client.recv(1 << 16)
                if not got:
                    break
                text += got
            return text.decode().removesuffix("+OK\r\n")

    def set_until_done(self, number, key, value, seconds=20):
        serve_runs.wait_until(
            lambda: self.call(number, f"SET {key} {value}") == "+OK\r\n", seconds)

    def get(self, number, key):
        """The value, once the member reads again."""
        reply = ""

        def answers():
            nonlocal reply
            reply = self.call(number, f"GET {key}")
            return reply.startswith("$")

        serve_runs.wait_until(answers, 20)
        return reply.split("\r\n")[1] if reply != "$-1\r\n" else None

    def wait_for_members(self, numbers, count):
        for number in numbers:
            serve_runs.wait_until(
                lambda: self.info(number).get("members_reachable") == str(count)
                and self.info(number).get("confirmed") == "1", 20)

    def clie(self, number, *arguments):
        links = ["-u"] if "-u" in self.flags else []
        return subprocess.run(
            [processes.binary("clie"), *links, "-p", str(self.ports[number]), *arguments],
            capture_output=True, text=True, timeout=60)


@pytest.fixture(params=[[], ["-u"]], ids=["tcp", "udp"])
def cluster(request, launch, folder):
    made = Cluster(launch, folder, flags=request.param)
    made.wait_until_whole()
    return made


def test_a_member_goes_on_from_its_directory_alone(cluster):
    cluster.set_until_done(1, "a", "1")
    cluster.runs[2].kill()
    run = cluster.start_again(2).ready()
    assert re.search(r"member 2 of 3 in cluster [0-9a-f]+: epoch 1, members 1=127", run.log)
    cluster.wait_for_members((1, 2, 3), 3)
    assert cluster.get(2, "a") == "1"
    cluster.set_until_done(2, "b", "2")


def test_a_member_finds_its_port_in_its_directory(launch, folder):
    made = Cluster(launch, folder, count=2)
    made.wait_until_whole()
    assert made.runs[2].stop() == 0
    made.runs[2] = serve_runs.Run(
        ["--data", folder / "data2", "--secret-file", folder / "secret2"])
    try:
        assert made.runs[2].ready().tcp_port == made.ports[2]
        made.wait_for_members((1, 2), 2)
    finally:
        made.runs[2].clean_up()


def test_a_member_is_removed_by_agreement_and_stops(cluster):
    cluster.set_until_done(1, "a", "1")
    done = cluster.clie(1, "-o", "remove", "--node", "3")
    assert done.returncode == 0, done.stderr
    assert "member 3 is removed: epoch 2" in done.stdout
    assert cluster.runs[3].wait() == 0
    assert "this member was removed from its cluster and stops" in cluster.runs[3].log
    cluster.wait_for_members((1, 2), 2)
    cluster.set_until_done(2, "b", "2")
    assert cluster.get(1, "b") == "2"
    for number in (1, 2):
        cluster.runs[number].kill()
        cluster.start_again(number).ready()
    cluster.wait_for_members((1, 2), 2)
    assert cluster.info(1)["cluster_epoch"] == "2"
    assert cluster.get(1, "a") == "1"
    cluster.set_until_done(1, "c", "3")
    run = cluster.start_again(3)
    assert run.wait() == 78
    assert "member 3 was removed from its cluster" in run.log


def test_a_killed_member_is_removed_by_force_and_cannot_come_back(cluster):
    cluster.set_until_done(3, "a", "1")
    refused = cluster.call(1, "MEMBERS REMOVE 3 FORCE")
    assert "member 3 answers" in refused and "not-applied" in refused
    cluster.runs[3].kill()

    def removed():
        done = cluster.clie(1, "-o", "remove", "--node", "3", "--force", "--i-have-stopped-it")
        return done.returncode == 0 and "epoch 1.1" in done.stdout and "; known to all;" in done.stdout

    serve_runs.wait_until(removed, 20)
    # The reply came when the other one had it on its disk.
    assert "member 3 is removed by force: epoch 1.1" in cluster.runs[2].log
    cluster.wait_for_members((1, 2), 2)
    cluster.set_until_done(2, "b", "2")
    cluster.runs[2].kill()
    cluster.start_again(2).ready()
    cluster.wait_for_members((1, 2), 2)
    assert cluster.get(2, "b") == "2"
    # It does not know, and the others do not call it: it asks them.
    cluster.start_again(3).ready()
    assert "UNAVAILABLE" in cluster.call(3, "GET a")
    assert cluster.runs[3].wait() == 0
    assert "this member was removed from its cluster and stops" in cluster.runs[3].log
    run = cluster.start_again(3)
    assert run.wait() == 78
    assert "member 3 was removed from its cluster" in run.log
    assert cluster.info(1)["members"] == "2"


def test_who_was_away_learns_of_a_removal_by_force(cluster):
    cluster.set_until_done(1, "a", "1")
    cluster.runs[2].kill()
    cluster.runs[3].kill()
    reply = ""

    def removed():
        nonlocal reply
        reply = cluster.call(1, "MEMBERS REMOVE 3 FORCE")
        return "is removed by force: epoch" in reply

    serve_runs.wait_until(removed, 20)
    assert "; not known yet to 2;" in reply
    cluster.start_again(2).ready()
    cluster.runs[2].wait_for(r"member 3 is removed by force: epoch 1.1")
    cluster.wait_for_members((1, 2), 2)
    assert cluster.get(2, "a") == "1"
    cluster.set_until_done(2, "b", "2")


def test_what_is_in_doubt_with_a_removed_coordinator_is_decided(cluster):
    """Member 1 coordinates; the others prepare and never hear its decision."""
    cluster.set_until_done(1, "k", "0")
    writers = []
    stop = time.monotonic() + 1.5
    with processes.Link(cluster.ports[1]) if "-u" not in cluster.flags else _Datagrams(
            cluster.ports[1]) as link:
        count = 0
        while time.monotonic() < stop:
            count += 1
            link.send("SET", "k", count)
            writers.append(count)
            if count == 200:
                break
    cluster.runs[1].kill()
    serve_runs.wait_until(
        lambda: "is removed by force: epoch" in cluster.call(2, "MEMBERS REMOVE 1 FORCE"), 20)
    cluster.runs[3].wait_for(r"member 1 is removed by force")
    cluster.wait_for_members((2, 3), 2)
    values = {cluster.get(number, "k") for number in (2, 3)}
    assert len(values) == 1
    for number in (2, 3):
        assert cluster.info(number)["transactions_in_doubt"] == "0"
    cluster.set_until_done(3, "k", "after")
    assert cluster.get(2, "k") == "after"


class _Datagrams:
    """Sends and does not listen."""

    def __init__(self, port):
        self.address = ("127.0.0.1", port)

    def __enter__(self):
        self.socket = socket.socket(type=socket.SOCK_DGRAM)
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *words):
        self.socket.sendto(" ".join(map(str, words)).encode() + b"\r\n", self.address)


def test_members_and_status_tell_who_is_there(cluster):
    text = cluster.clie(1, "-o", "members").stdout
    lines = text.splitlines()
    assert len(lines) == 3 and "role=self" in lines[0] and "state=reachable" in lines[2]
    report = json.loads(cluster.clie(2, "--output", "json", "-o", "members").stdout)
    assert [member["id"] for member in report["members"]] == [1, 2, 3]
    assert {member["epoch"] for member in report["members"]} == {1}
    status = cluster.clie(1, "-o", "status").stdout
    assert "cluster_epoch: 1" in status and "member3: address=127.0.0.1" in status
    cluster.set_until_done(1, "a", "1")
    trace = cluster.clie(1, "-o", "trace").stdout
    assert "decides commit" in trace


def test_remove_by_force_takes_both_words(cluster):
    for words in (["--force"], ["--i-have-stopped-it"]):
        done = cluster.clie(1, "-o", "remove", "--node", "3", *words)
        assert done.returncode == 2 and "takes both" in done.stderr


# Directories that are not the right ones.


def test_the_data_of_a_node_alone_is_no_member(launch, run_serve, folder):
    run = launch("--data", folder / "alone").ready()
    with run.connect() as client:
        client("SET", "a", "1")
    assert run.stop() == 0
    done = run_serve(
        "--data", folder / "alone", "--id", "1", "--cluster",
        f"1=127.0.0.1:{processes.free_port()}")
    assert done.returncode == 78 and "holds the data of a node alone" in done.stderr
    run = launch("--data", folder / "alone").ready()
    assert run.stop() == 0


def test_a_directory_of_another_id_or_cluster_is_refused(launch, run_serve, folder):
    made = Cluster(launch, folder, count=2)
    made.wait_until_whole()
    assert made.runs[2].stop() == 0
    secret = ["--secret-file", folder / "secret2"]
    other = run_serve(
        "--data", folder / "data2", "--id", "1", "--cluster", made.list, "-p", "0", *secret)
    assert other.returncode == 78 and "that of member 2, not of --id 1" in other.stderr
    lists = f"1=127.0.0.1:{processes.free_port()},2=127.0.0.1:{made.ports[2]}"
    other = run_serve(
        "--data", folder / "data2", "--id", "2", "--cluster", lists, "-p", "0", *secret)
    assert other.returncode == 78 and "a member of another cluster" in other.stderr
    (folder / "data2" / "member").unlink()
    other = run_serve("--data", folder / "data2", "-p", "0")
    assert other.returncode == 78 and "give --id 2 --cluster 1=127" in other.stderr
    made.start(2)
    made.wait_until_whole()


def test_a_member_keeps_always_as_its_durability(launch, run_serve, folder):
    made = Cluster(launch, folder, count=1)
    assert made.runs[1].stop() == 0
    done = run_serve(
        "--data", folder / "data1", "--durability", "never", "--secret-file", folder / "secret1")
    assert done.returncode == 2 and "is for a node alone" in done.stderr
