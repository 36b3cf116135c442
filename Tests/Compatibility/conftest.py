"""A server for the tests of others' clients: serve, or redis-server to test the tests.

    pytest Tests/Compatibility                    against serve (TUPPENCE_BIN, else the newest build)
    pytest Tests/Compatibility --server redis     against redis-server; tests of our own commands are
                                                  deselected there, because it does not have them
"""

import os
import subprocess
import sys
import tempfile
import time

import pytest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "ProcessTests"))
import processes  # noqa: E402


def pytest_addoption(parser):
    parser.addoption("--server", choices=["serve", "redis"], default="serve")


def pytest_configure(config):
    config.addinivalue_line("markers", "ours: of commands and rules that Redis does not have")


def pytest_collection_modifyitems(config, items):
    if config.getoption("--server") == "redis":
        ours = [item for item in items if item.get_closest_marker("ours")]
        config.hook.pytest_deselected(items=ours)
        items[:] = [item for item in items if item not in ours]


class RedisServer:
    """redis-server 7.0 with the few members of processes.Server that the tests use."""

    def __init__(self):
        self.port = processes.free_port()
        self.directory = tempfile.TemporaryDirectory(prefix="tuppence-redis.")
        self.process = subprocess.Popen(
            ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1", "--save", "",
             "--dir", self.directory.name], stdout=subprocess.DEVNULL)

    def __enter__(self):
        for _ in range(500):
            try:
                processes.Link(self.port).close()
                return self
            except OSError:
                time.sleep(0.01)
        raise AssertionError("redis-server did not start")

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()
        self.directory.cleanup()


@pytest.fixture(scope="session")
def server(request):
    which = request.config.getoption("--server")
    with RedisServer() if which == "redis" else processes.Server() as running:
        yield running


@pytest.fixture
def port(server):
    """The port of an emptied server."""
    with processes.Link(server.port) as link:
        link.command("FLUSHALL")
    return server.port
