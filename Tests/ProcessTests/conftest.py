"""Marks and fixtures of the real-process tests.

Every process that a fixture starts is ended by its own id when the test is over; directories are
temporary.
"""

import functools
import pathlib
import shutil
import tempfile

import pytest
import serve_runs


def pytest_configure(config):
    config.addinivalue_line(
        "markers", "slow: takes long or needs many resources; .ci/long runs these, .ci/run does not")


@pytest.fixture
def folder():
    """A fresh directory."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="tuppence-test."))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def launch(folder):
    """Starts `serve` with the given flags; by default on a free port with data in `folder`."""
    runs = []

    def start(*arguments, environment=None, prefix=()):
        given = [str(argument) for argument in arguments]
        if "--data" not in given:
            given += ["--data", str(folder / "data")]
        if "-p" not in given:
            given += ["-p", "0"]
        runs.append(serve_runs.Run(given, environment, prefix))
        return runs[-1]

    yield start
    for run in runs:
        run.clean_up()


@pytest.fixture
def serve(launch):
    """Starts `serve` and waits until it serves."""
    return lambda *arguments, **options: launch(*arguments, **options).ready()


@pytest.fixture
def run_serve(folder):
    """Runs `serve` to its end, in a fresh directory."""
    return functools.partial(serve_runs.run_to_end, folder=folder)
