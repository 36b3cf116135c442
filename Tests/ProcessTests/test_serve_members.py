"""Members of a cluster find each other: real processes over TCP and UDP."""

import re
import signal
import socket
import subprocess
import time

import processes
import pytest
import serve_runs
from clie_runs import Way

SECRET = "a secret that is long enough\n"


class Cluster:
    """Some `serve` processes with one member list.

    `via` answers the port that the list names for one that is listened on: that of a proxy.
    """

    def __init__(self, launch, folder, count=3, flags=(), secrets=None, via=lambda port: port):
        self.launch = launch
        self.folder = folder
        self.flags = list(flags)
        self.ports = {number: processes.free_port() for number in range(1, count + 1)}
        self.list = ",".join(f"{number}=127.0.0.1:{via(port)}" for number, port in self.ports.items())
        self.runs = {}
        for number in self.ports:
            self.start(number, (secrets or {}).get(number, SECRET))

    def start(self, number, secret=SECRET, **options):
        flags = ["--id", number, "--cluster", self.list, "--data", self.folder / f"data{number}"]
        if secret:
            path = self.folder / f"secret{number}"
            path.write_text(secret)
            flags += ["--secret-file", path]
        run = self.launch(*flags, "-p", self.ports[number], *self.flags, **options)
        self.runs[number] = run.ready()

    def info(self, number):
        """The section `Cluster` as a dictionary."""
        text = self.ask(number, b"INFO cluster\r\n").decode()
        return dict(re.findall(r"^([a-z0-9_]+):(.*?)\r$", text, re.M))

    def ask(self, number, request):
        address = ("127.0.0.1", self.ports[number])
        if "-u" in self.flags:
            with socket.socket(type=socket.SOCK_DGRAM) as client:
                client.settimeout(20)
                client.sendto(request, address)
                return client.recv(1 << 16)
        with processes.Link(self.ports[number]) as client:
            return client.command("INFO", "cluster")

    def reachable(self, number):
        return int(self.info(number)["members_reachable"])

    def wait_until_whole(self, numbers=None, seconds=20):
        for number in numbers or self.ports:
            serve_runs.wait_until(lambda: self.reachable(number) == len(self.ports), seconds)

    def way(self, number):
        """clie, talking to a member."""
        return Way("-u" if "-u" in self.flags else "-t", self.ports[number])

    def is_resolved(self):
        """No transaction is open or in doubt at any member, and no key is locked."""
        names = ("transactions_open", "transactions_in_doubt", "keys_locked")
        return all(info[name] == "0" for info in map(self.info, self.ports) for name in names)


@pytest.fixture(params=[[], ["-u"]], ids=["tcp", "udp"])
def cluster(request, launch, folder):
    return Cluster(launch, folder, flags=request.param)


def test_three_members_find_each_other(cluster):
    cluster.wait_until_whole()
    for number in cluster.ports:
        info = cluster.info(number)
        assert info["member_id"] == str(number) and info["members"] == "3"
        assert info["cluster_has_secret"] == "1" and info["clock_alarm"] == "0"
        for other in set(cluster.ports) - {number}:
            assert f"127.0.0.1:{cluster.ports[other]},state=reachable" in info[f"member{other}"]
    medium = "UDP" if "-u" in cluster.flags else "TCP"
    assert f"a member of a cluster, over {medium}" in cluster.runs[1].log
    assert f"member 1 of 3 in cluster {info['cluster_id']}: epoch 1, members 1=127" in cluster.runs[1].log


def test_a_stopped_member_is_unreachable_after_two_seconds_and_comes_back(cluster):
    cluster.wait_until_whole()
    cluster.runs[2].signal(signal.SIGSTOP)
    begin = time.monotonic()
    cluster.runs[1].wait_for(r"member 2 \(.*\) silent for \S+ s: unreachable", 20)
    silence = time.monotonic() - begin
    assert 1.4 <= silence < 6, f"{silence:.1f} s"
    assert "state=unreachable" in cluster.info(1)["member2"]
    cluster.runs[3].wait_for(r"member 2 \(.*\) silent for")
    cluster.runs[2].signal(signal.SIGCONT)
    cluster.wait_until_whole()
    cluster.runs[1].wait_for(r"member 2 \(.*\) is reachable")
    # Who was stopped does not hold the others for silent.
    assert "silent" not in cluster.runs[2].log


def test_a_killed_member_is_found_again_by_its_next_run(cluster):
    cluster.wait_until_whole()
    before = {number: cluster.info(1)[f"member{number}"] for number in (2, 3)}
    cluster.runs[2].kill()
    cluster.start(2)
    cluster.wait_until_whole()
    after = {number: cluster.info(1)[f"member{number}"] for number in (2, 3)}
    incarnation = re.compile(r"incarnation=(\w+)")
    assert incarnation.search(before[2]).group(1) != incarnation.search(after[2]).group(1)
    assert incarnation.search(before[3]).group(1) == incarnation.search(after[3]).group(1)


def test_clients_do_not_keep_members_out(launch, folder):
    cluster = Cluster(launch, folder, flags=["--max-connections", 2])
    cluster.wait_until_whole()
    with processes.Link(cluster.ports[1]) as client, processes.Link(cluster.ports[1]) as idle:
        assert client.command("SET", "a", 1) == "OK"
        assert idle.command("PING") == "PONG"
        with processes.Link(cluster.ports[1]) as third:
            with pytest.raises(processes.ServerError, match="max number of clients"):
                third.command("GET", "a")
        cluster.runs[3].kill()
        cluster.start(3)
        serve_runs.wait_until(
            lambda: b"members_reachable:3" in client.command("INFO", "cluster"))


def test_a_wrong_secret_is_refused_and_logged(launch, folder):
    cluster = Cluster(launch, folder, count=2, secrets={1: "another secret of some length"})
    refused = r"refused member 1 \(127.0.0.1:\d+\): its cluster secret is another one"
    cluster.runs[2].wait_for(refused)
    cluster.runs[1].wait_for(
        r"member 2 \(.*\) refused this one: its cluster secret is another one")
    assert cluster.reachable(1) == cluster.reachable(2) == 1
    assert "state=refused" in cluster.info(2)["member1"]
    serve_runs.wait_until(lambda: int(cluster.info(2)["peer_refusals"]) >= 2)
    assert len(re.findall(refused, cluster.runs[2].log)) == 1


def test_members_of_other_clusters_are_refused(launch, folder):
    one = Cluster(launch, folder, count=2)
    # Looks for member 2 at its place, with another list.
    lists = f"1=127.0.0.1:{processes.free_port()},2=127.0.0.1:{one.ports[2]}"
    (folder / "secret").write_text(SECRET)
    stray = launch(
        "--id", 1, "--cluster", lists, "--secret-file", folder / "secret",
        "--data", folder / "stray", "-p", 0)
    stray.wait_for(r"member 2 \(.*\) refused this one: it belongs to another cluster")
    one.runs[2].wait_for(r"refused member 1 \(.*\): it belongs to another cluster")
    one.wait_until_whole()


def test_without_a_secret_members_are_on_loopback(launch, folder, run_serve):
    Cluster(launch, folder, count=2, secrets={1: "", 2: ""}).wait_until_whole()
    done = run_serve("--id", "1", "--cluster", "1=127.0.0.1:1,2=192.0.2.1:9", "-p", "0")
    assert done.returncode == 78
    assert "member 2 (192.0.2.1:9) is not on a loopback address" in done.stderr


@pytest.mark.parametrize(
    "secret, phrase",
    [
        ("short", "must have 16 to 4096 bytes"),
        ("fifteen bytes..\n\n", "must have 16 to 4096 bytes"),
        ("x" * 5000, "must have 16 to 4096 bytes"),
        (None, "cannot read the secret file"),
    ],
)
def test_an_unusable_secret_file_exits_78(run_serve, folder, secret, phrase):
    if secret is not None:
        (folder / "secret").write_text(secret)
    done = run_serve(
        "--id", "1", "--cluster", "1=127.0.0.1:1", "-p", "0", "--secret-file", folder / "secret")
    assert done.returncode == 78 and phrase in done.stderr


def test_without_libcrypto_a_secret_file_exits_78(launch, folder):
    (folder / "secret").write_text(SECRET)
    found = subprocess.run(["ldconfig", "-p"], capture_output=True, text=True, check=True).stdout
    paths = re.findall(r"=> (\S*libcrypto\.so\.(?:3|1\.1))$", found, re.M)
    absent = [word for path in paths for word in ("-P", path)]
    run = launch(
        "--id", 1, "--cluster", "1=127.0.0.1:1", "--secret-file", folder / "secret",
        prefix=["strace", "-f", "-qq", "-o", "/dev/null", *absent,
                "-e", "inject=openat:error=ENOENT"])
    assert run.wait() == 78
    assert "--secret-file needs libcrypto" in run.log


def test_a_member_name_that_does_not_resolve_exits_71(run_serve):
    done = run_serve("--id", "1", "--cluster", "1=127.0.0.1:1,2=no.such.invalid:2", "-p", "0")
    assert done.returncode == 71
    assert "member 2 of --cluster: cannot resolve no.such.invalid" in done.stderr


@pytest.mark.parametrize(
    "arguments, phrase",
    [
        (["--id", "1"], "--id needs --cluster"),
        (["--cluster", "1=a:1"], "--cluster needs --id"),
        (["--secret-file", "x"], "--secret-file is for the members of a cluster"),
        (["--id", "0", "--cluster", "1=a:1"], "--id must be a whole number from 1 to 64"),
        (["--id", "65", "--cluster", "1=a:1"], "--id must be a whole number from 1 to 64"),
        (["--id", "3", "--cluster", "1=a:1,2=b:2"], "--id 3 is not among the members"),
        (["--id", "1", "--cluster", "1=a:1,1=b:2"], "--cluster names member 1 twice"),
        (["--id", "1", "--cluster", "1=a:1,2=a:1"], "members 1 and 2 one address"),
        (["--id", "1", "--cluster", "1=a"], "--cluster must be ID=HOST:PORT"),
        (
            ["--id", "1", "--cluster", "1=a:1", "--durability", "every-second"],
            "--durability every-second is for a node alone",
        ),
        (["--id", "1", "--cluster", "1=a:1", "--durability", "never"], "is for a node alone"),
    ],
)
def test_a_wrong_membership_exits_2_with_one_sentence(run_serve, arguments, phrase):
    done = run_serve(*arguments)
    assert done.returncode == 2
    assert phrase in done.stderr and done.stderr.count("\n") == 1
    assert done.stdout == ""


def test_a_stranger_on_the_peer_port_gets_nothing_large_taken(launch, folder):
    cluster = Cluster(launch, folder, count=2)
    cluster.wait_until_whole()
    with socket.create_connection(("127.0.0.1", cluster.ports[2])) as stranger:
        stranger.settimeout(20)
        # A frame that declares 64 MiB.
        stranger.sendall(b"\xf52P\x01" + (64 << 20).to_bytes(4, "little") + bytes(4))
        assert stranger.recv(1) == b""
    assert cluster.reachable(2) == 2
