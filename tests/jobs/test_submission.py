"""One intent, one paid job: whatever the server answers, or does not."""

from __future__ import annotations

import threading
import time

import pytest
from training_server import Fault
from training_shop import hurried

import trainerlib
from trainerlib.errors import TrainingError
from trainerlib.events import TrainingAttempted, TrainingFailed, TrainingSubmitted

CREATE = "POST /fine_tuning/jobs"


def kinds(job, kind):
    return [one.event for one in job.events() if isinstance(one.event, kind)]


def start(ws, **more):
    return ws.jobs.start("support", model="gpt-x", **more)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, accept=True),
        Fault(status=503, accept=True, headers={"retry-after": "0"}),
        Fault(accept=True, silent=True),
        Fault(accept=True, drop=True),
        Fault(accept=True, page="<html>sign in to the network</html>"),
        Fault(accept=True, page='{"id": "ftj'),
        Fault(accept=True, page="{}"),
    ],
    ids=["500", "503", "timeout", "lost connection", "a page", "half an answer", "an answer without an id"],
)
def test_a_job_that_was_accepted_without_an_answer_is_found(ws, server, fault):
    server.fail(CREATE, fault)
    job = start(ws)
    assert job.follow(timeout=20).state == "succeeded"
    assert len(server.jobs) == 1
    assert server.requests.count(CREATE) == 1
    assert kinds(job, TrainingSubmitted) == [TrainingSubmitted("ftjob-1", "validating_files", found=True)]


@pytest.mark.parametrize(
    "fault",
    [Fault(status=500), Fault(status=409), Fault(drop=True), Fault(status=408)],
    ids=["500", "409", "lost connection", "408"],
)
def test_a_job_that_was_not_accepted_is_asked_for_again_when_that_is_certain(ws, server, fault):
    server.fail(CREATE, fault)
    job = start(ws)
    assert job.follow(timeout=20).state == "succeeded"
    assert len(server.jobs) == 1
    first, second = [one.recorded_us for one in job.events() if isinstance(one.event, TrainingAttempted)]
    assert second - first >= 500_000, "the patience of these tests"


def test_a_job_that_the_list_shows_late_is_not_asked_for_again(ws, server):
    server.lag = 4
    server.fail(CREATE, Fault(status=500, accept=True))
    job = start(ws)
    assert job.follow(timeout=20).state == "succeeded"
    assert server.requests.count(CREATE) == len(server.jobs) == 1
    assert server.requests.count("GET /fine_tuning/jobs") == 5


def test_a_job_is_found_behind_any_number_of_others(ws, server):
    server.page = 2
    server.fail(CREATE, Fault(status=500, accept=True))
    job = start(ws)
    while not server.jobs:
        job.advance()
    for number in range(7):
        server.jobs.append({**server.jobs[0], "id": f"other-{number}", "metadata": None, "training_file": "file-x"})
    assert job.follow(timeout=20).remote == "ftjob-1"


def test_a_job_is_found_by_its_file_where_a_server_keeps_no_metadata(ws, server):
    server.fail(CREATE, Fault(status=500, accept=True))
    job = start(ws)
    while not server.jobs:
        job.advance()
    server.jobs[0]["metadata"] = None
    assert job.follow(timeout=20).remote == "ftjob-1"
    assert len(server.jobs) == 1


def test_a_clock_that_was_put_back_makes_nobody_wait_for_ever(ws, server, monkeypatch):
    server.fail(CREATE, Fault(status=500))
    job = start(ws)
    while job.state.attempts == 0:
        job.advance()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() - 86_400)
    assert job.follow(timeout=20).state == "succeeded"
    assert len(server.jobs) == 1


def test_a_list_that_fails_for_a_while_is_waited_for(ws, server):
    server.fail(CREATE, Fault(status=500, accept=True))
    server.fail("GET /fine_tuning/jobs", Fault(status=500, times=3))
    assert start(ws).follow(timeout=20).state == "succeeded"
    assert len(server.jobs) == 1


def test_a_busy_server_is_asked_again_when_it_says_so_without_the_long_wait(shop, server):
    server.fail(CREATE, Fault(status=429, message="Too many jobs", code="rate_limit_exceeded"))
    with trainerlib.open(shop) as patient:
        job = start(hurried(patient, patience=3_600))
        assert job.follow(timeout=20).state == "succeeded"
    assert len(server.jobs) == 1


def test_a_file_that_the_server_still_reads_is_waited_for(shop, server):
    words = "File 'file-1' is still being processed and is not ready to be used for fine-tuning."
    server.fail(CREATE, Fault(status=400, message=words))
    with trainerlib.open(shop) as patient:
        assert start(hurried(patient, patience=3_600)).follow(timeout=20).state == "succeeded"


@pytest.mark.parametrize(
    ("fault", "code", "advice"),
    [
        (Fault(403, "Your organization must be eligible for fine-tuning", "not_eligible"), "not_eligible", "--trainer"),
        (Fault(403, "Fine-tuning is closed"), "http-403", "--trainer local"),
        (Fault(429, "You exceeded your current quota", "insufficient_quota"), "insufficient_quota", "add credit"),
        (Fault(400, "file-1 has a bad line", "invalid_training_file"), "invalid_training_file", "dataset check"),
        (Fault(400, "This violates our usage policies", "policy"), "policy", "leave out"),
        (Fault(401, "Incorrect API key provided", "invalid_api_key"), "invalid_api_key", "OPENAI_API_KEY"),
        (Fault(404, "The model gpt-x does not exist", "model_not_found"), "model_not_found", "name a model"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_refusal_is_an_outcome_with_the_words_of_the_server_and_what_to_do(ws, server, fault, code, advice):
    server.fail(CREATE, fault)
    job = start(ws)
    done = job.follow(timeout=20)
    assert (done.state, done.error, done.code) == ("refused", fault.message, code)
    assert advice in done.advice
    assert kinds(job, TrainingFailed)[0].refused
    assert server.jobs == []
    assert job.advance() is None
    assert server.requests.count(CREATE) == 1


def test_a_refused_upload_is_an_outcome_too(ws, server):
    server.fail("POST /files", Fault(403, "This organisation may not upload", "forbidden"))
    assert start(ws).follow(timeout=20).state == "refused"
    assert CREATE not in server.requests


def test_after_a_refusal_the_same_may_be_asked_again(ws, server):
    server.fail(CREATE, Fault(429, "You exceeded your current quota", "insufficient_quota"))
    refused = start(ws)
    refused.follow(timeout=20)
    job = start(ws)
    assert job.id != refused.id
    assert job.follow(timeout=20).state == "succeeded"
    assert len(server.jobs) == 1


def test_asking_twice_for_the_same_is_one_job_until_it_has_ended(ws):
    job = start(ws, by="anna")
    assert start(ws, by="ben").id == job.id
    assert start(ws, seed=2).id != job.id
    assert start(ws, again=True).id != job.id


def test_two_processes_that_ask_at_once_get_one_job(shop):
    ids = []

    def ask():
        with trainerlib.open(shop) as one:
            ids.append(start(hurried(one)).id)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 4
    assert len(set(ids)) == 1


def test_two_that_follow_one_job_make_it_once(shop, server):
    with trainerlib.open(shop) as ws:
        job = start(hurried(ws)).id
    done = []

    def follow():
        with trainerlib.open(shop) as one:
            done.append(hurried(one).jobs.get(job).follow(timeout=20).state)

    threads = [threading.Thread(target=follow) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert done == ["succeeded"] * 3
    assert len(server.jobs) == 1
    assert server.requests.count(CREATE) == 1


def test_a_step_that_another_process_takes_is_refused(shop):
    from filelock import FileLock

    with trainerlib.open(shop) as ws:
        job = start(hurried(ws))
        with (
            FileLock(job.directory.with_name(f"{job.id}.lock")),
            pytest.raises(TrainingError, match="followed by another process"),
        ):
            job.advance()


def test_even_without_the_lock_only_one_records_the_attempt(ws, server):
    """Two that both think they are alone, as on a disk without locks."""
    job = start(ws)
    for _ in range(2):
        job.advance()
    mine, theirs = job._work(), job._work()
    trainer = ws.jobs.trainer("openai")
    trainer.advance(mine)
    with pytest.raises(TrainingError, match="another process"):
        trainer.advance(theirs)
    assert len(server.jobs) == 1


def test_a_job_is_not_looked_for_at_another_server(shop, server):
    server.fail(CREATE, Fault(status=500, accept=True))
    with trainerlib.open(shop) as ws:
        job = start(hurried(ws))
        while not server.jobs:
            job.advance()
    settings = shop / "workspace.toml"
    settings.write_text(settings.read_text().replace("127.0.0.1", "localhost"))
    with trainerlib.open(shop) as ws, pytest.raises(TrainingError, match=r"begun at http://127\.0\.0\.1"):
        hurried(ws).jobs.get(job.id).follow(timeout=20)
    assert len(server.jobs) == 1
