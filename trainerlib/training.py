"""Training jobs: the state that the events of one job add up to.

A job's own state is one of nine words, which each follow from its events; what the trainer calls its state is kept
beside it as it is, so a word that is new to us loses nothing.

>>> from trainerlib.events import RecordedEvent
>>> wanted = TrainingRequested("openai", "gpt-x", "support", 3, "sft", "openai-chat", {"train": "9f2c"}, {"train": 493})
>>> log = [wanted, TrainingAttempted(1), TrainingSubmitted("ftjob-1", "validating_files"),
...        TrainingProgressed(state="some_new_state", step=10, steps=40, metrics={"train_loss": 1.5})]
>>> job = fold([RecordedEvent(9 + n, "training/a1", n, event, 0) for n, event in enumerate(log, 1)])
>>> job.state, job.remote_state, job.step, job.ended
('running', 'some_new_state', 10, False)
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from itertools import groupby
from typing import Any, Literal, assert_never

import msgspec

from trainerlib.events import (
    RecordedEvent,
    TrainingAttempted,
    TrainingCancelled,
    TrainingCheckpointed,
    TrainingFailed,
    TrainingFileUploaded,
    TrainingProgressed,
    TrainingRequested,
    TrainingSubmitted,
    TrainingSucceeded,
    from_microseconds,
)

State = Literal[
    "requested", "uploading", "submitting", "running", "paused", "succeeded", "refused", "failed", "cancelled"
]
"""Where a job is. `submitting`: the request that makes it was sent, and nobody knows yet whether it arrived."""

ENDED: frozenset[State] = frozenset({"succeeded", "refused", "failed", "cancelled"})
"""States that a job never leaves."""

PREFIX = "training/"
"""Streams of jobs begin with it."""

_replace = msgspec.structs.replace


class TrainingJob(msgspec.Struct, frozen=True):
    """A training job as it stands.

    Attributes:
        id: its id; it names the stream and is in the job's metadata at the trainer's.
        version: version of the last event folded in.
        position: log position of the request.
        request: what was asked for.
        requested_us: when, microseconds since 1970 UTC.
        state: where it is.
        uploads: what the trainer has, by split.
        attempts: how often the request that makes the job was sent.
        attempted_us: when it was sent last, microseconds since 1970 UTC; 0 for never.
        remote: the trainer's id of the job.
        remote_state: its state, in the trainer's words.
        step: optimiser steps done.
        steps: optimiser steps there will be; 0 while nobody knows.
        epoch: epochs done.
        metrics: the latest value of each metric.
        checkpoints: states of the model that were kept, oldest first.
        last: what the trainer said last, in its words.
        model: the new model, by the name it is chosen by.
        tokens: tokens trained on, as the trainer counted.
        error: why it was refused or failed.
        code: the trainer's code for that.
        advice: what to do instead.
        ended_us: when it ended, microseconds since 1970 UTC; 0 before.
    """

    id: str
    request: TrainingRequested
    version: int = 0
    position: int = 0
    requested_us: int = 0
    state: State = "requested"
    uploads: dict[str, TrainingFileUploaded] = {}
    attempts: int = 0
    attempted_us: int = 0
    remote: str = ""
    remote_state: str = ""
    step: int = 0
    steps: int = 0
    epoch: float = 0.0
    metrics: dict[str, float] = {}
    checkpoints: tuple[TrainingCheckpointed, ...] = ()
    last: str = ""
    model: str = ""
    tokens: int | None = None
    error: str = ""
    code: str = ""
    advice: str = ""
    ended_us: int = 0

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in ENDED

    @property
    def requested_at(self) -> datetime:
        """When it was asked for, UTC."""
        return from_microseconds(self.requested_us)


def fold(events: Iterable[RecordedEvent], *, into: TrainingJob | None = None) -> TrainingJob | None:
    """The job that the events of its stream add up to; `None` for no events.

    Args:
        events: of one stream, in order.
        into: what the events before them added up to.
    """
    job = into
    for recorded in events:
        event = recorded.event
        if isinstance(event, TrainingRequested):
            job = TrainingJob(
                recorded.stream.removeprefix(PREFIX),
                event,
                recorded.version,
                recorded.position,
                recorded.recorded_us,
            )
        elif job is not None:
            job = _replace(job, version=recorded.version, **_changes(job, recorded))
    return job


def fold_all(events: Iterable[RecordedEvent]) -> list[TrainingJob]:
    """Every job that events of several streams add up to, in the order the jobs were asked for.

    Args:
        events: stream by stream, as `EventStore.read_named` gives them.
    """
    jobs = [fold(group) for _, group in groupby(events, key=lambda recorded: recorded.stream)]
    return sorted([job for job in jobs if job is not None], key=lambda job: job.position)


def trained_on(job: TrainingJob, dataset: str, version: int, split: str) -> bool:
    """Whether a split of a dataset was given to a job; one that was refused was given nothing."""
    request = job.request
    same = (request.dataset, request.dataset_version) == (dataset, version)
    return same and split in request.sha256 and job.state not in ("requested", "refused")


def model_name(request: TrainingRequested) -> str:
    """What the new model of a job is called: as was asked, or after its dataset."""
    return request.suffix or f"{request.dataset}-v{request.dataset_version}"


def _changes(job: TrainingJob, recorded: RecordedEvent) -> dict[str, Any]:
    """The fields that an event changes. A job that has ended keeps its outcome."""
    event = recorded.event
    match event:
        case TrainingFileUploaded():
            return {"state": _earlier(job, "uploading"), "uploads": {**job.uploads, event.split: event}}
        case TrainingAttempted():
            return {"state": _earlier(job, "submitting"), "attempts": event.attempt,
                    "attempted_us": recorded.recorded_us}  # fmt: skip
        case TrainingSubmitted():
            return {"state": job.state if job.ended else "running", "remote": event.remote,
                    "remote_state": event.state}  # fmt: skip
        case TrainingProgressed():
            return _progressed(job, event)
        case TrainingCheckpointed():
            known = [kept for kept in job.checkpoints if kept.checkpoint != event.checkpoint]
            return {"checkpoints": (*known, event)}
        case TrainingSucceeded() | TrainingFailed() | TrainingCancelled() if not job.ended:
            return {**_outcome(event), "ended_us": recorded.recorded_us}
        case _:
            return {}


def _progressed(job: TrainingJob, event: TrainingProgressed) -> dict[str, Any]:
    state: State = job.state
    if event.state and not job.ended:
        state = "paused" if event.state == "paused" else "running"
    return {
        "state": state,
        "remote_state": event.state or job.remote_state,
        "step": job.step if event.step is None else event.step,
        "steps": job.steps if event.steps is None else event.steps,
        "epoch": job.epoch if event.epoch is None else event.epoch,
        "metrics": {**job.metrics, **event.metrics},
        "last": event.message or job.last,
    }


def _earlier(job: TrainingJob, state: State) -> State:
    """What comes before the job is at the trainer's does not take it back from there."""
    return state if job.state in ("requested", "uploading", "submitting") else job.state


def _outcome(event: TrainingSucceeded | TrainingFailed | TrainingCancelled) -> dict[str, Any]:
    match event:
        case TrainingSucceeded():
            return {"state": "succeeded", "model": event.model, "tokens": event.tokens}
        case TrainingFailed():
            state = "refused" if event.refused else "failed"
            return {"state": state, "error": event.error, "code": event.code, "advice": event.advice}
        case TrainingCancelled():
            return {"state": "cancelled"}
        case _ as never:
            assert_never(never)
