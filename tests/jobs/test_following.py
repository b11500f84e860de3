"""A job is followed to its end: every event once, every state as it is called, whatever breaks on the way."""

from __future__ import annotations

import math
from typing import ClassVar

import pytest
from training_server import Fault
from training_shop import hurried

import trainerlib
from trainerlib.errors import TrainingError
from trainerlib.events import (
    ModelAdded,
    TrainingCancelled,
    TrainingCheckpointed,
    TrainingProgressed,
    TrainingSubmitted,
    TrainingSucceeded,
)

JOB = "GET /fine_tuning/jobs/[^/]+"


def begun(ws, server, **more):
    """A job that the server has."""
    job = ws.jobs.start("support", model="gpt-x", **more)
    while not job.state.remote:
        job.advance()
    return job, server.jobs[-1]


def messages(job):
    told = [one.event for one in job.events() if isinstance(one.event, TrainingProgressed)]
    return [event.message for event in told if event.message]


def states(job):
    told = [one.event for one in job.events() if isinstance(one.event, TrainingProgressed)]
    return [event.state for event in told if event.state]


def test_a_job_goes_from_the_request_to_the_model(ws, server):
    job = ws.jobs.start("support", model="openai:gpt-x", suffix="support", seed=7, hyperparameters={"n_epochs": 2})
    shown = []
    done = job.follow(shown.append, timeout=20)
    assert (done.state, done.model, done.tokens) == ("succeeded", "openai:ft:gpt-x:shop:support:a1", 4_200)
    assert (done.step, done.steps, done.metrics["train_loss"]) == (3, 3, 1.0)
    assert [one.checkpoint for one in done.checkpoints] == ["ft:gpt-x:shop:support:a1:ckpt-step-2"]
    assert {one.version for one in shown} == {one.version for one in shown if one.version <= done.version}
    assert shown[-1] == done
    asked = server.jobs[0]
    assert asked["metadata"] == {"trainerlib_job": job.id, "trainerlib_dataset": "support v1"}
    assert asked["method"] == {"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}}
    assert (asked["seed"], asked["suffix"]) == (7, "support")
    names = {file["id"]: file["filename"] for file in server.files}
    assert names[asked["training_file"]] == f"{job.id}-train.jsonl"
    assert names[asked["validation_file"]] == f"{job.id}-validation.jsonl"
    assert ws.jobs.pending() == []


def test_preferences_go_by_dpo_and_with_their_pairs(ws, server):
    ws.jobs.start("support", model="gpt-x", method="dpo", hyperparameters={"beta": 0.2}).follow(timeout=20)
    assert server.jobs[0]["method"] == {"type": "dpo", "dpo": {"hyperparameters": {"beta": 0.2}}}
    assert b'"preferred_output"' in server.files[0]["content"]


def test_the_model_is_there_in_the_moment_the_job_has_succeeded(ws):
    done = ws.jobs.start("support", model="gpt-x").follow(timeout=20)
    log = list(ws.store.read_all())
    at = next(index for index, one in enumerate(log) if isinstance(one.event, TrainingSucceeded))
    assert log[at + 1].stream == f"model/{done.model}"
    assert log[at + 1].event == ModelAdded(base="gpt-x", job=done.id)
    assert log[at].recorded_us == log[at + 1].recorded_us, "one transaction"


def test_events_of_many_pages_are_recorded_once_and_in_order(ws, server):
    server.page = 3
    server.stages = ("running",)
    job, remote = begun(ws, server)
    said = []
    for batch in (10, 1, 0, 25):
        for _ in range(batch):
            said.append(f"word {len(said)}")
            server.say(remote, said[-1])
        job.advance()
    assert [text for text in messages(job) if text.startswith("word")] == said


def test_a_restart_in_the_middle_repeats_no_event(shop, server):
    server.stages = ("running", "running", "running", "succeeded")
    with trainerlib.open(shop) as ws:
        job, _ = begun(hurried(ws), server)
        job.advance()
        before = messages(job)
    assert len(before) > 3
    with trainerlib.open(shop) as ws:
        [job] = hurried(ws).jobs.pending()
        assert job.follow(timeout=20).state == "succeeded"
        assert messages(job) == [event["message"] for event in server.events["ftjob-1"]]


def test_an_event_whose_words_the_server_changed_later_stays_as_it_was_recorded(shop, server):
    server.stages = ("running",)
    with trainerlib.open(shop) as ws:
        job, remote = begun(hurried(ws), server)
        job.advance()
    server.events[remote["id"]][0]["message"] = "something else"
    with trainerlib.open(shop) as ws:
        job = hurried(ws).jobs.get(job.id)
        job.advance()
        assert messages(job)[0] == "Created fine-tuning job: ftjob-1"


def test_a_state_that_nobody_knows_is_kept_and_followed(ws, server):
    server.stages = ("validating_files", "warming_up", "some_new_state", "succeeded")
    job = ws.jobs.start("support", model="gpt-x")
    assert job.follow(timeout=20).state == "succeeded"
    assert states(job) == ["warming_up", "some_new_state", "succeeded"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=500, times=3),
        Fault(status=429, headers={"retry-after": "0.01"}, times=3),
        Fault(drop=True, times=3),
        Fault(silent=True),
        Fault(page="<html>"),
        Fault(page='{"id": "ftjob-1", "sta'),
        Fault(page="[1]"),
        Fault(page="{}"),
    ],
    ids=["500", "429", "lost connection", "timeout", "a page", "half an answer", "a list", "nothing"],
)
def test_a_look_that_fails_is_taken_again(ws, server, fault):
    job, _ = begun(ws, server)
    server.fail(JOB, fault)
    assert job.follow(timeout=20).state == "succeeded"


def test_events_that_cannot_be_read_at_the_end_are_read_before_the_end_is_recorded(ws, server):
    server.stages = ("running", "succeeded")
    job, _ = begun(ws, server)
    server.fail(f"{JOB}/events", Fault(status=500, times=2))
    job.follow(timeout=20)
    assert messages(job)[-1] == "The job has successfully completed"
    assert [type(one.event) for one in job.events()][-3:] == [
        TrainingCheckpointed,
        TrainingProgressed,
        TrainingSucceeded,
    ]


def test_a_server_is_asked_no_sooner_than_it_wants(ws, server):
    job, _ = begun(ws, server)
    server.fail(JOB, Fault(status=429, headers={"retry-after": "7"}))
    assert job.advance() == 7
    server.fail(JOB, Fault(status=503, headers={"retry-after": "Wed, 21 Oct 2099 07:28:00 GMT"}))
    assert job.advance() == 3_600


def test_looks_are_farther_apart_the_longer_nothing_happens_and_near_again_when_something_does(shop, server):
    server.stages = ("running",)
    with trainerlib.open(shop) as ws:
        job, remote = begun(hurried(ws, soonest=2), server)
        assert [job.advance() for _ in range(8)] == [2, 4, 8, 16, 32, 60, 60, 60]
        server.say(remote, "news")
        assert job.advance() == 2


def test_a_job_that_fails_says_why(ws, server):
    server.stages = ("validating_files", "failed")
    done = ws.jobs.start("support", model="gpt-x").follow(timeout=20)
    assert (done.state, done.error, done.code) == ("failed", "The file has a bad line", "invalid_training_file")
    assert "dataset check" in done.advice
    assert not ws.store.streams("model/")


def test_a_failure_without_words_is_one_too(ws, server):
    server.stages = ("failed",)
    job, remote = begun(ws, server)
    remote["status"], remote["error"] = "failed", {"code": None, "message": None, "param": None}
    assert job.follow(timeout=20).error == "OpenAI does not say why it failed"


def test_a_job_that_was_cancelled_elsewhere_ends_here(ws, server):
    job, remote = begun(ws, server)
    remote["status"] = "cancelled"
    assert job.follow(timeout=20).state == "cancelled"


def test_a_cancelled_job_ends_there_and_here_and_says_who_wanted_that(ws, server):
    job, remote = begun(ws, server)
    assert job.cancel(by="anna").state == "cancelled"
    assert remote["status"] == "cancelled"
    assert [one.event for one in job.events()][-1] == TrainingCancelled("anna")
    assert job.cancel().state == "cancelled"
    assert server.requests.count("POST /fine_tuning/jobs/ftjob-1/cancel") == 1


def test_a_job_that_was_not_sent_is_cancelled_without_a_request(ws, server):
    assert ws.jobs.start("support", model="gpt-x").cancel().state == "cancelled"
    assert server.requests == []


def test_a_job_that_ended_before_it_could_be_cancelled_keeps_its_outcome(ws, server):
    server.stages = ("running", "succeeded")
    job, remote = begun(ws, server)
    server._go_on(remote)
    with pytest.raises(TrainingError, match="already completed"):
        job.cancel()
    assert job.follow(timeout=20).state == "succeeded"


def test_a_job_that_nobody_answered_for_is_found_before_it_is_cancelled(ws, server):
    server.fail("POST /fine_tuning/jobs", Fault(status=500, accept=True))
    job = ws.jobs.start("support", model="gpt-x")
    while not server.jobs:
        job.advance()
    assert job.cancel().state == "cancelled"
    assert server.jobs[0]["status"] == "cancelled"


def test_a_job_that_may_still_come_to_be_cannot_be_cancelled_yet(shop, server):
    server.lag = 1
    server.fail("POST /fine_tuning/jobs", Fault(status=500, accept=True))
    with trainerlib.open(shop) as ws:
        job = hurried(ws, patience=60).jobs.start("support", model="gpt-x")
        while not server.jobs:
            job.advance()
        with pytest.raises(TrainingError, match="nobody knows yet"):
            job.cancel()
        assert job.state.state == "submitting"
        assert job.cancel().state == "cancelled"
    assert server.jobs[0]["status"] == "cancelled"


def test_a_job_is_held_and_goes_on(ws, server):
    server.stages = ("running", "running", "running", "succeeded")
    job, remote = begun(ws, server)
    assert job.pause().state == "paused"
    job.advance()
    assert (job.state.state, remote["status"]) == ("paused", "paused")
    assert job.resume().state == "running"
    assert job.follow(timeout=20).state == "succeeded"
    with pytest.raises(TrainingError, match="cannot be held"):
        job.pause()


def test_a_job_that_has_not_begun_cannot_be_held(ws):
    with pytest.raises(TrainingError, match="not begun"):
        ws.jobs.start("support", model="gpt-x").pause()


def test_a_job_whose_server_denies_it_has_not_ended(ws, server):
    """Another key, say: the job goes on, and so does whoever follows it with the right one."""
    job, _ = begun(ws, server)
    server.fail(JOB, Fault(404, "No such job"))
    with pytest.raises(TrainingError, match="cannot be followed: No such job"):
        job.follow(timeout=20)
    assert job.follow(timeout=20).state == "succeeded"


def test_a_server_without_lists_of_events_and_checkpoints_will_do(ws, server):
    server.fail(f"{JOB}/(events|checkpoints)", Fault(404, "no such path", times=99))
    assert ws.jobs.start("support", model="gpt-x").follow(timeout=20).state == "succeeded"


def test_who_comes_second_watches_and_takes_over(shop, server):
    from filelock import FileLock

    server.stages = ("running", "succeeded")
    with trainerlib.open(shop) as ws:
        job, _ = begun(hurried(ws), server)
        looks = len(server.requests)
        first = FileLock(job.directory.with_name(f"{job.id}.follow.lock"))
        with first:
            assert not job.follow(timeout=0.05).ended
        assert len(server.requests) == looks
        assert job.follow(timeout=20).state == "succeeded"


def test_follow_comes_back_when_the_next_step_is_somebodys_elsewhere(ws):
    """A trainer of one's own, that hands the job to people."""

    class ByHand:
        name = "by-hand"
        formats: ClassVar = {"sft": "openai-chat"}

        def check(self, _):
            """Whatever it is."""

        def advance(self, work):
            if not work.job.remote:
                work.record([TrainingSubmitted("a letter", "waiting")])
            return math.inf

    ws.jobs.use(ByHand())
    done = ws.jobs.start("support", model="any", trainer="by-hand").follow()
    assert (done.state, done.remote_state) == ("running", "waiting")


def test_follow_comes_back_after_its_time(ws, server):
    server.stages = ("running",)
    job, _ = begun(ws, server)
    assert not job.follow(timeout=0.05).ended
