"""Starting, signals, stopping."""

import datetime
import os
import re
import signal
import socket
import stat
import subprocess
import time

import pytest

from processes import ServerError, binary, encode, free_port
from serve_runs import Client, readable, run_to_end, wait_until


def test_the_start_line_says_where_it_listens_and_how_durable_it_is(serve, folder):
    server = serve("-t", "-u")
    line = server.wait_for(r".*listening on.*").group(0)
    stamp, level = line.split(" ")[:2]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", stamp) and level == "info"
    said = datetime.datetime.fromisoformat(stamp.replace("Z", "+00:00")).timestamp()
    assert abs(said - time.time()) < 60
    assert f"127.0.0.1:{server.tcp_port} tcp" in line
    assert f"127.0.0.1:{server.udp_port} udp" in line
    assert f"data in {folder / 'data'}" in line
    assert "durability always" in line
    assert server.tcp_port == server.udp_port


@pytest.mark.parametrize("word, warning", [("every-second", "up to a second"), ("never", "not on disk")])
def test_a_weaker_durability_is_warned_of(serve, word, warning):
    server = serve("--durability", word, "-l", "error")
    assert f"durability {word}" in server.log
    assert warning in server.log


def test_neither_tcp_nor_udp_means_tcp_and_udp_alone_means_udp(serve, launch):
    server = serve()
    assert server.tcp_port and not server.udp_port
    server.stop()
    server = serve("-u")
    assert server.udp_port and not server.tcp_port
    with pytest.raises(OSError):
        Client(server.udp_port)


def test_it_answers_on_both_loopback_addresses(serve):
    server = serve()
    if f"[::1]:{server.tcp_port}" in server.log:
        with Client(server.tcp_port, host="::1") as client:
            assert client("PING") == "PONG"
    with server.connect() as client:
        assert client("PING") == "PONG"


def test_a_plain_datagram_is_answered_on_loopback(serve):
    server = serve("-t", "-u")
    with server.connect() as client:
        client("SET", "k", "v")
    with socket.socket(type=socket.SOCK_DGRAM) as plain:
        plain.settimeout(10)
        plain.sendto(b"GET k\r\n", ("127.0.0.1", server.udp_port))
        assert plain.recv(100) == b"$1\r\nv\r\n"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order_with_0(serve, number):
    server = serve()
    with server.connect() as client:
        assert client("SET", "k", "v") == "OK"
        server.signal(number)
        assert server.wait() == 0
    assert "stopped in order" in server.log
    with serve().connect() as client:
        assert client("GET", "k") == b"v"


def test_what_was_received_before_the_signal_is_answered(serve):
    server = serve()
    with server.connect() as client:
        assert client("PING") == "PONG"
        server.signal(signal.SIGSTOP)
        client.socket.sendall(b"".join(encode("INCR", "n") for _ in range(500)))
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGCONT)
        answers = []
        try:
            while len(answers) < 500:
                answers.append(client.next_reply())
        except ConnectionError:
            pass
        assert server.wait() == 0
    assert answers == list(range(1, len(answers) + 1))
    with serve().connect() as client:
        assert int(client("GET", "n") or 0) == len(answers)


def test_it_accepts_nobody_new_once_it_stops(serve):
    server = serve()
    port = server.tcp_port
    assert server.stop() == 0
    with pytest.raises(OSError):
        Client(port)


@pytest.mark.parametrize("number, code", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_it_at_once(serve, number, code):
    # A client that does not read keeps the drain waiting.
    server = serve("--max-output", "64mb")
    with server.connect() as client:
        client("SET", "k", b"x" * 8_000_000)
        client.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(6):
            client.send("GET", "k")
        time.sleep(0.3)
        server.signal(number)
        server.wait_for("stopping", 10)
        time.sleep(0.2)
        server.signal(number)
        assert server.wait(10) == code


def test_two_signals_that_come_together_are_one(serve):
    # As `timeout` sends them: to the process, and to its group.
    server = serve()
    with server.connect() as client:
        client("SET", "k", "v")
        server.signal(signal.SIGTERM)
        server.signal(signal.SIGINT)
        assert server.wait() == 0
    assert "stopped in order" in server.log


def test_shutdown_ends_it_in_order(serve):
    server = serve()
    with server.connect() as client:
        client("SET", "k", "v")
        client.send("SHUTDOWN")
        assert server.wait() == 0


def test_sighup_reopens_the_log_file(launch, folder):
    log, moved = folder / "log", folder / "log.1"
    server = launch("--log-file", log)
    wait_until(lambda: log.exists() and "ready after" in log.read_text())
    assert server.log == ""
    log.rename(moved)
    server.signal(signal.SIGHUP)
    wait_until(log.exists)
    assert server.stop() == 0
    assert "stopped in order" in log.read_text()
    assert "stopped in order" not in moved.read_text()


def test_a_second_server_on_the_directory_exits_73(serve, launch):
    first = serve()
    second = launch()
    assert second.wait() == 73
    assert "in use" in second.log
    with first.connect() as client:
        assert client("PING") == "PONG"


def test_a_port_in_use_exits_71(serve, launch, folder):
    first = serve()
    second = launch("-p", first.tcp_port, "--data", folder / "other")
    assert second.wait() == 71
    assert f"127.0.0.1:{first.tcp_port}" in second.log


def test_a_data_directory_that_cannot_be_made_exits_74(launch, folder):
    (folder / "file").write_text("")
    server = launch("--data", folder / "file" / "data")
    assert server.wait() == 74


def test_directory_and_files_are_private(serve, folder):
    server = serve()
    with server.connect() as client:
        client("SET", "k", "v")
    assert stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    for file in (folder / "data").iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file


def test_an_idle_server_uses_no_processor_time(serve):
    server = serve("-t", "-u")
    with server.connect() as client:
        client("SET", "k", "v")
        time.sleep(0.5)

        def ticks():
            fields = open(f"/proc/{server.pid}/stat").read().rsplit(")", 1)[1].split()
            return int(fields[11]) + int(fields[12])

        before = ticks()
        time.sleep(2)
        assert (ticks() - before) / os.sysconf("SC_CLK_TCK") <= 0.02


def test_connections_above_the_limit_are_refused_with_an_error(serve):
    server = serve("--max-connections", "3")
    clients = [server.connect() for _ in range(3)]
    try:
        for client in clients:
            assert client("PING") == "PONG"
        with server.connect() as extra:
            assert readable(extra, 10)
            with pytest.raises((ServerError, ConnectionError)):
                extra("PING")
        assert clients[0]("PING") == "PONG"
    finally:
        for client in clients:
            client.close()


def test_closed_standard_descriptors_do_not_become_data_files(launch, folder):
    port = free_port()
    shell = ["sh", "-c", 'exec "$0" "$@" 0<&- 1>&- 2>&-']
    server = launch("-p", port, "-l", "debug", prefix=shell)
    wait_until(lambda: answers(port))
    with Client(port) as client:
        for number in range(100):
            assert client("SET", f"k{number}", "v") == "OK"
    assert server.stop() == 0
    assert run_to_end("check", folder / "data").returncode == 0


def test_recovery_shows_its_progress_on_a_terminal(serve, folder):
    server = serve("--durability", "never")
    with server.connect() as client:
        for batch in range(20):
            client.pipeline(*(["SET", f"{batch}-{n}", b"x" * 1000] for n in range(5000)))
    assert server.stop(60) == 0
    controller, terminal = os.openpty()
    # strace makes the machine slow enough that recovery takes over a second.
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=pread64:delay_enter=100000"]
    process = subprocess.Popen(
        [*slow, binary("serve"), "-p", "0", "--data", str(folder / "data")],
        stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal, start_new_session=True)
    os.close(terminal)
    try:
        shown = b""
        while b" ready after " not in shown:
            shown += os.read(controller, 4096)
        assert re.search(rb"\rrecovering: \d+ % of [\d.]+ MiB", shown)
        assert shown.count(b"\r\x1b[K") == 1
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        os.close(controller)


def answers(port):
    try:
        with Client(port) as client:
            return client("PING") == "PONG"
    except (OSError, ServerError):
        return False


def test_a_fixed_port_can_be_taken_again_at_once(serve):
    port = free_port()
    for _ in range(3):
        server = serve("-p", port)
        with server.connect() as client:
            assert client("PING") == "PONG"
            server.stop()


@pytest.mark.parametrize("mode, is_told", [(0o700, False), (0o755, True), (0o770, True)])
def test_a_data_directory_open_to_others_is_told(serve, folder, mode, is_told):
    data = folder / "data"
    data.mkdir()
    data.chmod(mode)
    server = serve()
    assert (f"has mode 0{mode:o}" in server.log) == is_told
    assert data.stat().st_mode & 0o777 == mode
