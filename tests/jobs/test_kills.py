"""`kill -9` at every step of a job: it goes on where it was, and there is exactly one job every time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from training_server import Fault

import trainerlib
from trainerlib.events import ModelAdded, TrainingSucceeded

ROOT = Path(__file__).parents[2]

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@pytest.fixture(scope="module")
def process():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("killed.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    ) as running:
        yield running
        running.kill()


@pytest.fixture
def run(process, shop, server, tmp_path):
    """Follow a job in another process; in a fresh copy of the workspace, or on in the last one."""
    place = tmp_path / "copy"
    server.stages = ("queued", "running", "succeeded")

    def once(*, fresh=False, **options):
        if fresh:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(shop, place)
        process.stdin.write(json.dumps({"workspace": str(place), **options}) + "\n")
        process.stdin.flush()
        return process.stdout.readline().strip()

    once.place = place
    return once


def reset(server):
    server.jobs.clear()
    server.files.clear()
    server.uploads.clear()
    server.requests.clear()
    server.on_request = None


def check(run, server):
    """One job there, one here, one model, and no event twice."""
    assert len(server.jobs) == 1
    with trainerlib.open(run.place) as ws:
        [job] = ws.jobs.list()
        assert job.state.state == "succeeded"
        log = [one.event for one in ws.store.read_all()]
        assert sum(isinstance(event, TrainingSucceeded) for event in log) == 1
        assert sum(isinstance(event, ModelAdded) for event in log) == 1
        ids = [one.key for one in job.events() if one.key]
        assert len(ids) == len(set(ids))
        said = [one.event.message for one in job.events() if getattr(one.event, "message", "")]
        assert said == [event["message"] for event in server.events[server.jobs[0]["id"]]]
        assert ws.verify() == []


def undisturbed(run, server):
    state, recorded = run(fresh=True).split()
    assert state == "succeeded"
    check(run, server)
    return int(recorded), len(server.requests)


def test_a_kill_after_each_record_leaves_one_job(run, server):
    recorded, _ = undisturbed(run, server)
    assert recorded >= 6
    for number in range(1, recorded + 1):
        reset(server)
        assert run(fresh=True, kill=number) == "killed 9"
        assert run().startswith("succeeded")
        check(run, server)


@pytest.mark.parametrize("accept", [False, True], ids=["unseen", "accepted"])
def test_a_kill_at_each_request_leaves_one_job(run, server, accept):
    _, requests = undisturbed(run, server)
    assert requests >= 12
    for number in range(1, requests + 1):
        reset(server)
        server.on_request = lambda count, _, number=number: Fault(kill=True, accept=accept) if count == number else None
        assert run(fresh=True) == "killed 9"
        server.on_request = None
        assert run().startswith("succeeded")
        check(run, server)


def test_a_kill_at_each_step_of_the_search_leaves_one_job(run, server):
    """The job was accepted, its answer lost, the list lags, and each look at it is the last thing a process does."""
    undisturbed(run, server)
    reset(server)
    server.lag = 3
    killed = []

    def kill(_, request):
        if request == "POST /fine_tuning/jobs":
            return Fault(kill=True, accept=True)
        if request == "GET /fine_tuning/jobs" and len(killed) < 3:
            killed.append(request)
            return Fault(kill=True, accept=True)
        return None

    server.on_request = kill
    assert [run(fresh=True), run(), run(), run()] == ["killed 9"] * 4
    assert run().startswith("succeeded")
    check(run, server)
