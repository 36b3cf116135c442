"""cluster.sh: members on this machine, and through something that takes ssh's place."""

import os
import pathlib
import re
import shutil
import signal
import stat
import subprocess

import processes
import pytest
import serve_runs

SCRIPT = pathlib.Path(processes.ROOT) / "cluster.sh"
# What ssh does on the other side: one text for the shell there, in the home.
STAND_IN = """#!/bin/sh
[ "$1" = -q ] || exit 99
echo "$2" >>"$HOME/machines"
[ "$2" != wrong ] || exit 255
shift 2
cd && exec sh -c "$*"
"""


class Script:
    """A hosts file, and cluster.sh with its folder as home."""

    def __init__(self, folder, machine="", name="the hosts"):
        self.folder = folder
        self.hosts = folder / name
        self.machine = machine
        self.others = []
        self.addresses = [f"127.0.0.1:{processes.free_port()}" for _ in range(3)]
        self.write(self.addresses, machine)
        (folder / "ssh").write_text(STAND_IN)
        (folder / "ssh").chmod(0o755)
        self.environment = {
            **os.environ, "HOME": str(folder), "TUPPENCE_SERVE": processes.binary("serve"),
            "TUPPENCE_CLIE": processes.binary("clie"), "CLUSTER_SSH": f"{folder}/ssh -q"}

    def write(self, addresses, machine=""):
        lines = [f"{address} {machine}".strip() for address in addresses]
        self.hosts.write_text("# three members\n\n" + "\n".join(lines) + "\n")

    def __call__(self, command, *arguments, expect=0, cwd=None):
        done = subprocess.run(
            [SCRIPT, command, self.hosts, *arguments], env=self.environment, text=True, cwd=cwd,
            stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    def put_before(self, name, text):
        """Lets a shell script take the place of a program."""
        folder = self.folder / "programs"
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
        self.environment["PATH"] = f"{folder}:{os.environ['PATH']}"

    def home(self, number):
        folder = self.environment.get("CLUSTER_DIR", self.folder / "tuppence")
        return pathlib.Path(folder) / f"member-{number}"

    def pid(self, number):
        return int((self.home(number) / "pid").read_text())

    def other(self, name="other hosts"):
        """Another cluster of the same machines."""
        self.others.append(Script(self.folder, self.machine, name))
        return self.others[-1]

    def is_whole(self):
        done = subprocess.run(
            [SCRIPT, "status", self.hosts], env=self.environment, capture_output=True, timeout=60)
        return done.returncode == 0

    def end(self):
        for other in self.others:
            other.end()
        for number in (1, 2, 3):
            try:
                command = pathlib.Path(f"/proc/{self.pid(number)}/cmdline").read_bytes()
                if str(self.home(number)).encode() in command:
                    os.kill(self.pid(number), signal.SIGKILL)
            except OSError:
                continue


@pytest.fixture(params=["", "stand-in"], ids=["here", "ssh"])
def script(request, folder):
    script = Script(folder, request.param)
    yield script
    script.end()


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_members_are_started_driven_and_stopped(script):
    said = script("up")
    assert re.findall(r"member (\d) \((.*)\): started, process \d+", said) == [
        (str(number), address) for number, address in enumerate(script.addresses, 1)]
    serve_runs.wait_until(script.is_whole)
    said = script("status")
    assert len(re.findall(r"running, process \d+; reaches 3 of 3 members; 0 transactions", said)) == 3
    script("exec", "clie", "-o", "incr", "-k", "visits")
    said = script("exec", "clie", "-o", "get", "-k", "visits")
    assert said == "".join(
        f"== member {number} ({address})\n3\n" for number, address in enumerate(script.addresses, 1))
    # Words reach the command as they are, and it runs where the member is.
    words = ["two words", "it's \"quoted\" $HOME `x`", "", "*"]
    code = 'echo "$MEMBER_ID $MEMBER_ADDRESS $(pwd)"; printf "<%s>" "$@"'
    said = script("exec", "sh", "-c", code, "sh", *words)
    for number, address in enumerate(script.addresses, 1):
        assert f"{number} {address} {script.home(number)}\n<two words><it's" in said
    assert said.count("".join(f"<{word}>" for word in words)) == 3
    assert script("down").count("stopped") == 3
    assert script("down").count("was not running") == 3
    assert script("status", expect=1).count("not running") == 3


def test_a_second_up_starts_only_what_is_down(script):
    script("up", "--max-value", "1mb")
    before = [script.pid(number) for number in (1, 2, 3)]
    secrets = {(script.home(number) / "secret").read_text() for number in (1, 2, 3)}
    os.kill(script.pid(2), signal.SIGKILL)
    serve_runs.wait_until(lambda: not script.is_whole())
    said = script("up")
    assert said.count("runs already") == 2 and "member 2" in said and "started" in said
    after = [script.pid(number) for number in (1, 2, 3)]
    assert after[0] == before[0] and after[1] != before[1] and after[2] == before[2]
    serve_runs.wait_until(script.is_whole)
    # The same secret and flags as at first; nobody else can read any of it.
    assert secrets == {(script.home(2) / "secret").read_text()} and len(secrets.pop()) > 40
    assert "1mb" in pathlib.Path(f"/proc/{script.pid(2)}/cmdline").read_text()
    state = script.folder / "the hosts.state"
    assert mode(state) == 0o700
    assert {path.name for path in state.iterdir()} == {"members", "secret", "flags", "lock"}
    assert {mode(path) for path in state.iterdir()} == {0o600}
    assert mode(script.home(1) / "secret") == 0o600
    machines = script.folder / "machines"
    assert not machines.exists() or set(machines.read_text().split()) == {"stand-in"}


def test_other_members_than_at_first_are_refused(script):
    script("up")
    script.write([*script.addresses[:2], "127.0.0.1:1"])
    said = script("up", expect=2)
    assert f"member 3 ({script.addresses[2]}) stands in " in said and "not changed here" in said
    script.write([*script.addresses, "127.0.0.1:1"])
    assert "127.0.0.1:1 stands in " in script("status", expect=2)
    # The order of the lines is not the order of the ids.
    script.write(reversed(script.addresses))
    assert f"member 1 ({script.addresses[0]}): stopped" in script("down")


def test_a_machine_can_be_given_another_name(folder):
    script = Script(folder, "wrong")
    try:
        assert script("up", expect=1).count("failed") == 3
        script.write(script.addresses, "right")
        assert script("up").count("started") == 3
        assert set((folder / "machines").read_text().split()) == {"wrong", "right"}
        # Of the same members in another order, and on this machine.
        script.write(reversed(script.addresses))
        (folder / "machines").unlink()
        assert f"member 1 ({script.addresses[0]}): stopped" in script("down")
        assert not (folder / "machines").exists()
    finally:
        script.end()


def test_ssh_is_given_an_ipv6_address_without_brackets(folder):
    script = Script(folder)
    script.environment["TUPPENCE_SERVE"] = "/no/such/serve"
    script.write(["[2001:db8::7]:9099"])
    assert "member 1 ([2001:db8::7]:9099): no program" in script("up", expect=1)
    assert set((folder / "machines").read_text().split()) == {"2001:db8::7"}
    (folder / "machines").unlink()
    script.write(["[2001:db8::7]:9099"], "[::1]")
    assert "no program" in script("up", expect=1)
    assert not (folder / "machines").exists()


def test_flags_can_be_taken_back(folder):
    script = Script(folder)
    script.environment["TUPPENCE_SERVE"] = str(folder / "programs" / "serve")
    script.put_before("serve", f"""echo "$@" | sed 's|.*/log *||' >>'{folder}/flags'; exit 1""")
    given = []
    for flags in (["--max-value", "1mb"], [], ["--"], [], ["--", "-u"], []):
        script("up", *flags, expect=1)
        given.append(set((folder / "flags").read_text().splitlines()))
        (folder / "flags").unlink()
    assert given == [{"--max-value 1mb"}, {"--max-value 1mb"}, {""}, {""}, {"-u"}, {"-u"}]


def test_serve_may_be_named_from_the_folder_one_is_in(folder):
    script = Script(folder)
    (folder / "programs").mkdir()
    (folder / "programs" / "serve").symlink_to(processes.binary("serve"))
    script.environment["TUPPENCE_SERVE"] = "programs/../serve"
    try:
        assert f"no program {folder}/programs/programs/../serve" in script(
            "up", expect=1, cwd=folder / "programs")
        script.environment["TUPPENCE_SERVE"] = "./serve"
        assert script("up", cwd=folder / "programs").count("started") == 3
    finally:
        script.end()


def test_members_with_a_password_are_asked_with_it(script):
    made = subprocess.run(
        ["openssl", "passwd", "-6", "secret"], capture_output=True, text=True, check=True)
    (script.folder / "hash").write_text(made.stdout)
    (script.folder / "password").write_text("secret\n")
    script("up", "--password-file", script.folder / "hash")
    said = script("status", expect=1)
    assert said.count("NOAUTH") == said.count("CLIE_PASSWORD_FILE has to name a file with the password") == 3
    script.environment["CLIE_PASSWORD_FILE"] = str(script.folder / "password")
    serve_runs.wait_until(script.is_whole)
    assert script("exec", "clie", "-o", "ping").count("PONG") == 3


def files_below(folder):
    """Each file and what is in it, without what a running member writes."""
    names = {path for path in folder.rglob("*") if path.name in ("secret", "pid")}
    return {path: path.read_bytes() for path in names}


def test_two_clusters_in_the_same_folders_are_told_apart(script):
    script("up")
    other = script.other()
    before = files_below(script.folder / "tuppence")
    assert other("up", expect=1).count("belongs to another cluster") == 3
    assert other("down", expect=1).count("belongs to another cluster") == 3
    assert other("status", expect=1).count("belongs to another cluster") == 3
    assert other("exec", "touch", "mine", expect=1).count("belongs to another cluster") == 3
    # Nor is the folder of a member that is down taken.
    os.kill(script.pid(1), signal.SIGKILL)
    serve_runs.wait_until(lambda: not script.is_whole())
    assert other("up", expect=1).count("belongs to another cluster") == 3
    assert files_below(script.folder / "tuppence") == before
    assert not (script.home(1) / "mine").exists()
    assert script("up").count("runs already") == 2
    serve_runs.wait_until(script.is_whole)
    # In folders of its own the other one runs beside it.
    other.environment["CLUSTER_DIR"] = str(script.folder / "apart")
    assert other("up").count("started") == 3
    assert other("down").count("stopped") == 3
    assert script("down").count("stopped") == 3
    assert other("up").count("started") == 3
    assert other("down").count("stopped") == 3


def test_a_copy_of_the_hosts_file_makes_no_second_cluster(script):
    script("up")
    script("down")
    copy = script.other()
    copy.write(script.addresses, script.machine)
    assert copy("up", expect=1).count("belongs to another cluster") == 3
    # Under another name it is the same cluster as long as its state comes along.
    shutil.rmtree(script.folder / "other hosts.state")
    script.hosts.rename(copy.hosts)
    (script.folder / "the hosts.state").rename(script.folder / "other hosts.state")
    assert copy("up").count("started") == 3


def test_nothing_is_started_when_one_folder_is_taken(script):
    script("up")
    script("down")
    shutil.rmtree(script.home(1))
    assert script.other()("up", expect=1).count("belongs to another cluster") == 2
    assert not script.home(1).exists()


def test_a_folder_whose_secret_is_lost_is_refused(script):
    script("up")
    script("down")
    secret = (script.home(1) / "secret").read_text()
    (script.home(1) / "secret").write_text("")
    (script.home(2) / "secret").unlink()
    said = script("up", expect=1)
    assert said.count("has data and no secret, so it may belong") == 2
    assert "member 1 " in said and "member 2 " in said and "started" not in said
    for number in (1, 2):
        (script.home(number) / "secret").write_text(secret)
    assert script("up").count("started") == 3
    (script.folder / "the hosts.state" / "secret").write_text("\n")
    for command in ("up", "down", "status"):
        assert "the hosts.state/secret is empty or missing" in script(command, expect=2)
    (script.folder / "the hosts.state" / "secret").write_text(secret)


def test_of_two_first_ups_at_once_one_is_refused(folder):
    script = Script(folder)
    # The first one stays where it draws the secret, for 10 s at most.
    script.put_before("base64", f"""
        touch '{folder}/drawing'
        for try in $(seq 200); do [ -e '{folder}/go' ] || sleep 0.05; done
        exec {shutil.which("base64")}""")
    first = subprocess.Popen(
        [SCRIPT, "up", script.hosts], env=script.environment, stdout=subprocess.DEVNULL)
    try:
        serve_runs.wait_until((folder / "drawing").exists)
        assert "another cluster.sh is at work" in script("up", expect=2)
        (folder / "go").touch()
        assert first.wait(timeout=60) == 0
        secret = (folder / "the hosts.state" / "secret").read_text()
        assert {(script.home(number) / "secret").read_text() for number in (1, 2, 3)} == {secret}
    finally:
        first.wait(timeout=60)
        script.end()


def test_what_was_given_out_is_on_disk_before_a_member_starts(folder):
    script = Script(folder)
    script.environment["TUPPENCE_SERVE"] = str(folder / "programs" / "serve")
    # Each line is a path that was synced, or a start.
    script.put_before("serve", f"echo serve >>'{folder}/steps'; exit 1")
    note = f"""for path in "$@"; do readlink -f "$path" >>'{folder}/steps'; done"""
    script.put_before("sync", f'{note}\nexec {shutil.which("sync")} "$@"')
    script("up", "--max-value", "1mb", expect=1)
    steps = (folder / "steps").read_text().splitlines()
    state, home = folder / "the hosts.state", script.home(1)
    files = [state / f"{name}.new" for name in ("secret", "members", "flags")] + [home / "secret.new"]
    for path in (*files, state, folder, home, home.parent):
        assert str(path) in steps[:steps.index("serve")], path
    # The folder follows what was renamed within it.
    assert steps.index(str(state)) > steps.index(str(files[2]))
    assert steps.index(str(home)) > steps.index(str(files[3]))


def test_a_member_that_does_not_start_is_named_with_the_end_of_its_log(script):
    said = script("up", "--max-value", "nonsense", expect=1)
    assert said.count("did not start; the end of") == 3 and "--max-value" in said
    script.environment["TUPPENCE_SERVE"] = "/no/such/serve"
    assert script("up", expect=1).count("no program /no/such/serve") == 3


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("", "lists no member"),
        ("one\n", "one is not HOST:PORT"),
        ("a:1\na:1\n", "a:1 stands there twice"),
        ("a:1 -oProxyCommand=x\n", "-oProxyCommand=x is no name that ssh can be given"),
        ("a:1 b c\n", "a line has an address and a machine"),
        ("a;b:1\n", "a;b:1 is not HOST:PORT"),
    ],
)
def test_a_wrong_hosts_file_is_refused(folder, text, phrase):
    script = Script(folder)
    script.hosts.write_text(text)
    assert phrase in script("up", expect=2)
    assert not (folder / "the hosts.state").exists()


def test_usage(folder):
    script = Script(folder)
    assert "no cluster was started" in script("status", expect=2)
    assert "unknown command away" in script("away", expect=2)
    assert "exec needs clie or a command" in script("exec", expect=2)
    assert "takes nothing behind HOSTS_FILE" in script("down", "now", expect=2)
    shown = subprocess.run([SCRIPT, "--help"], capture_output=True, text=True, check=True).stdout
    assert shown.startswith("usage: cluster.sh up HOSTS_FILE")
