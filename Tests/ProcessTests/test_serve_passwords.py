"""Passwords checked by libcrypt beside the loop."""

import subprocess
import threading
import time

import pytest

from processes import ServerError


@pytest.fixture
def password_file(folder):
    """A file with the hash of `secret`."""
    made = subprocess.run(
        ["openssl", "passwd", "-6", "secret"], capture_output=True, text=True, check=True
    )
    path = folder / "password"
    path.write_text(made.stdout)
    return path


def test_commands_need_the_password_first(serve, password_file):
    server = serve("--password-file", password_file)
    with server.connect() as client:
        for command in (["GET", "k"], ["SET", "k", "v"], ["PING"], ["INFO"], ["CONFIG", "GET", "*"]):
            with pytest.raises(ServerError, match="NOAUTH"):
                client(*command)
        with pytest.raises(ServerError, match="WRONGPASS"):
            client("AUTH", "guess")
        with pytest.raises(ServerError, match="NOAUTH"):
            client("GET", "k")
        assert client("AUTH", "secret") == "OK"
        assert client("SET", "k", "v") == "OK"


def test_the_user_is_default(serve, password_file):
    server = serve("--password-file", password_file)
    with server.connect() as client:
        with pytest.raises(ServerError, match="WRONGPASS"):
            client("AUTH", "somebody", "secret")
        assert client("AUTH", "default", "secret") == "OK"
    with server.connect() as client:
        assert client("HELLO", "3", "AUTH", "default", "secret")[b"proto"] == 3


@pytest.mark.parametrize("password", [b"", b"secret\0", b"secret\0x", b"Secret", b"s" * 600])
def test_what_only_resembles_the_password_is_refused(serve, password_file, password):
    server = serve("--password-file", password_file)
    with server.connect() as client:
        assert client("AUTH", "secret") == "OK"
    with server.connect() as client:
        with pytest.raises(ServerError, match="WRONGPASS"):
            client("AUTH", password)


def test_pipelined_commands_wait_for_the_password(serve, password_file):
    server = serve("--password-file", password_file)
    with server.connect() as client:
        replies = client.pipeline(["AUTH", "secret"], ["SET", "k", "v"], ["GET", "k"])
        assert replies == ["OK", "OK", b"v"]


def test_giant_arguments_are_refused_before_the_password(serve, password_file):
    server = serve("--password-file", password_file)
    with server.connect() as client:
        client.socket.sendall(b"*2\r\n$4\r\nAUTH\r\n$1000000\r\n")
        with pytest.raises(ServerError):
            client.next_reply()
    with server.connect() as client:
        client.socket.sendall(b"*1000\r\n$4\r\nAUTH\r\n")
        with pytest.raises(ServerError):
            client.next_reply()


def test_guessing_does_not_slow_others_down(serve, password_file):
    server = serve("--password-file", password_file)
    with server.connect() as client:
        assert client("AUTH", "secret") == "OK"
        stop = threading.Event()

        def guess():
            with server.connect() as guesser:
                while not stop.is_set():
                    try:
                        guesser("AUTH", "guess")
                    except (ServerError, ConnectionError):
                        pass

        guessers = [threading.Thread(target=guess) for _ in range(8)]
        for thread in guessers:
            thread.start()
        try:
            slowest = 0.0
            for _ in range(200):
                begin = time.monotonic()
                client("PING")
                slowest = max(slowest, time.monotonic() - begin)
        finally:
            stop.set()
            for thread in guessers:
                thread.join()
        assert slowest < 0.5


def test_listening_elsewhere_is_allowed_with_a_password(serve, password_file):
    server = serve("-s", "0.0.0.0", "--password-file", password_file)
    with server.connect() as client:
        assert client("AUTH", "secret") == "OK"
