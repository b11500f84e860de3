"""What the store's tests share: a log in a file of its own, and other processes that write to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trainerlib.store.eventstore import EventStore

_ROOT = Path(__file__).parents[2]
_PROGRAMS = Path(__file__).with_name("children.py")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "log.db"


@pytest.fixture
def store(path):
    with EventStore(path) as store:
        yield store


@pytest.fixture
def child():
    """Start a program of `children.py` as another process; whatever still runs at the end is killed."""
    started = []

    def start(program, *arguments, **options):
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        process = subprocess.Popen(
            [sys.executable, str(_PROGRAMS), program, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def together(child):
    """Run one program several times at once: all are ready before the first begins. Gives each one's output lines."""

    def run(program, count, *arguments):
        processes = [child(program, number, *arguments) for number in range(count)]
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            process.stdin.write("go\n")
            process.stdin.flush()
        lines = [process.communicate()[0].splitlines() for process in processes]
        assert [process.returncode for process in processes] == [0] * count
        return lines

    return run
