"""No secret is in an event, an error or a log, whatever a server says."""

from __future__ import annotations

import logging
import traceback

import pytest
from training_server import Fault
from training_shop import KEY

from trainerlib.codec import CODEC
from trainerlib.errors import TrainingError


@pytest.fixture
def told(ws, caplog):
    """Everything that was said or written so far."""
    caplog.set_level(logging.DEBUG)

    def everything(*errors):
        events = "".join(CODEC.encode(one.event)[2].decode() + (one.key or "") for one in ws.store.read_all())
        files = "".join(path.read_text() for path in (ws.path / "models").rglob("*") if path.is_file())
        shown = "".join("".join(traceback.format_exception(error)) for error in errors)
        return events + files + caplog.text + shown + repr(ws.jobs.list())

    return everything


@pytest.mark.parametrize("status", [400, 403, 500, 429])
@pytest.mark.parametrize("request_", ["POST /files", "POST /fine_tuning/jobs", "GET /fine_tuning/jobs/[^/]+"])
def test_a_server_that_repeats_the_key_is_not_repeated(ws, server, told, request_, status):
    words = f"Bearer {KEY} may not do this"
    server.fail(request_, Fault(status, words, f"code-{KEY}", headers={"retry-after": "0"}))
    errors = []
    try:
        ws.jobs.start("support", model="gpt-x").follow(timeout=20)
    except TrainingError as error:
        errors.append(error)
    everything = told(*errors)
    assert KEY not in everything
    assert "[hidden] may not do this" in everything


def test_a_job_whose_words_hold_the_key_is_recorded_without_it(ws, server, told):
    server.stages = ("running", f"odd-{KEY}", "failed")
    job = ws.jobs.start("support", model="gpt-x")
    while not server.jobs:
        job.advance()
    server.say(server.jobs[0], f"your key is {KEY}\x00\ud800", **{f"loss-{KEY}": 1.0})
    job.follow(timeout=20)
    assert KEY not in told()
    assert "odd-[hidden]" in told()


def test_changes_that_are_refused_say_so_without_the_key(ws, server, told):
    job = ws.jobs.start("support", model="gpt-x")
    while not server.jobs:
        job.advance()
    errors = []
    for change in (job.cancel, job.pause, job.resume):
        server.fail("POST /fine_tuning/jobs/.*", Fault(403, f"{KEY} is not enough"))
        with pytest.raises(TrainingError) as refused:
            change()
        errors.append(refused.value)
    assert KEY not in told(*errors)


def test_a_masked_key_in_an_answer_is_hidden_and_a_model_that_is_called_like_one_is_not(ws, server):
    server.fail("POST /files", Fault(403, "no such key: sk-ab***yz"))
    refused = ws.jobs.start("support", model="gpt-x").follow(timeout=20)
    assert refused.error == "no such key: [hidden]"
    done = ws.jobs.start("support", model="gpt-x", suffix="hf-roses").follow(timeout=20)
    assert done.model == "openai:ft:gpt-x:shop:hf-roses:a1"
