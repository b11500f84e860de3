"""A webhook is a reason to look at a job, never what became of it; a forged one is refused."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time

import pytest

from trainerlib.errors import TrainingError

SECRET = "whsec_" + base64.b64encode(b"a secret of the shop").decode()


def signed(remote, *, kind="fine_tuning.job.succeeded", secret=SECRET, at=None, body=None):
    """A webhook as OpenAI sends it: its body and headers."""
    if body is None:
        message = {"id": "evt_1", "object": "event", "created_at": 1, "type": kind, "data": {"id": remote}}
        body = json.dumps(message).encode()
    at = str(int(time.time() if at is None else at))
    key = base64.b64decode(secret.removeprefix("whsec_"))
    signature = base64.b64encode(hmac.new(key, b"wh_1." + at.encode() + b"." + body, hashlib.sha256).digest()).decode()
    return body, {"Webhook-Id": "wh_1", "Webhook-Timestamp": at, "Webhook-Signature": f"v1,{signature}"}


@pytest.fixture
def job(ws, server, shop):
    with (shop / ".env").open("a") as secrets:
        secrets.write(f"OPENAI_WEBHOOK_SECRET={SECRET}\n")
    server.stages = ("running", "succeeded")
    job = ws.jobs.start("support", model="gpt-x")
    while not job.state.remote:
        job.advance()
    return job


def test_a_webhook_has_its_job_looked_at_and_changes_nothing_the_second_time(ws, job):
    message = signed("ftjob-1")
    found = ws.jobs.webhook(*message)
    assert (found.id, found.state.state) == (job.id, "succeeded")
    position = ws.store.position
    assert ws.jobs.webhook(*message).id == job.id
    assert ws.store.position == position


@pytest.mark.usefixtures("job")
def test_what_a_webhook_says_of_the_outcome_is_not_believed(ws, server):
    server.stages = ("running",)
    assert ws.jobs.webhook(*signed("ftjob-1", kind="fine_tuning.job.failed")).state.state == "running"


@pytest.mark.usefixtures("job")
def test_a_webhook_of_a_job_whose_answer_was_lost_finds_it(ws, server):
    from training_server import Fault

    server.fail("POST /fine_tuning/jobs", Fault(status=500, accept=True))
    other = ws.jobs.start("support", model="gpt-x", seed=5)
    while len(server.jobs) < 2:
        other.advance()
    assert ws.jobs.webhook(*signed("ftjob-2")).id == other.id


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("remote", ["ftjob-of-others", None, 7])
def test_a_webhook_about_nothing_of_ours_is_nothing(ws, remote):
    assert ws.jobs.webhook(*signed(remote)) is None


@pytest.mark.usefixtures("job")
def test_a_webhook_about_something_else_is_nothing(ws):
    assert ws.jobs.webhook(*signed("ftjob-1", kind="response.completed")) is None


BODY, HEADERS = signed("ftjob-1")


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize(
    ("body", "headers"),
    [
        (BODY + b" ", HEADERS),
        (BODY, {**HEADERS, "Webhook-Signature": "v1,AAAA"}),
        (BODY, {**HEADERS, "Webhook-Signature": "v1,Привет"}),
        (BODY, {**HEADERS, "Webhook-Timestamp": "soon"}),
        (BODY, {}),
        (b"\xff", HEADERS),
        signed("ftjob-1", at=time.time() - 3_600),
        signed("ftjob-1", at=time.time() + 3_600),
        signed("ftjob-1", secret="whsec_" + base64.b64encode(b"another").decode()),
        signed("ftjob-1", body=b"no json"),
    ],
    ids=["body", "signature", "letters", "time", "no headers", "bytes", "old", "early", "secret", "no json"],
)
def test_a_bad_webhook_is_refused_and_leaves_nothing(ws, server, body, headers):
    position, requests = ws.store.position, len(server.requests)
    with pytest.raises(TrainingError, match=r"^the webhook is refused: ") as refused:
        ws.jobs.webhook(body, headers)
    assert SECRET not in str(refused.value)
    assert (ws.store.position, len(server.requests)) == (position, requests)


@pytest.mark.usefixtures("job")
@pytest.mark.parametrize("body", [b"[1]", b"{}", b"null"])
def test_a_signed_webhook_of_another_shape_is_nothing(ws, body):
    assert ws.jobs.webhook(*signed("", body=body)) is None


def test_without_a_secret_no_webhook_is_taken(ws):
    with pytest.raises(TrainingError, match="OPENAI_WEBHOOK_SECRET"):
        ws.jobs.webhook(*signed("ftjob-1"))
