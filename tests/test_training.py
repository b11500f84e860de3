"""The state of a training job is a left fold over its events, and every state can be reached."""

from __future__ import annotations

from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

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
)
from trainerlib.training import ENDED, State, fold

WANTED = TrainingRequested("openai", "gpt-x", "support", 3, "sft", "openai-chat", {"train": "9f2c"}, {"train": 493})

WORDS = st.sampled_from(["", "queued", "running", "paused", "прогрев", "succeeded"])
METRICS = st.dictionaries(st.sampled_from(["train_loss", "valid_loss"]), st.floats(0, 9), max_size=2)
STEPS = st.none() | st.integers(0, 99)
EVENTS = st.one_of(
    st.builds(TrainingFileUploaded, st.sampled_from(["train", "validation"]), st.text(max_size=4), st.just(""), STEPS),
    st.builds(TrainingAttempted, st.integers(1, 5)),
    st.builds(TrainingSubmitted, st.sampled_from(["ftjob-1", "ftjob-2"]), WORDS, st.booleans()),
    st.builds(TrainingProgressed, WORDS, STEPS, STEPS, st.none(), METRICS, WORDS),
    st.builds(TrainingCheckpointed, st.sampled_from(["a", "b"]), st.integers(0, 9), METRICS),
    st.builds(TrainingSucceeded, st.just("openai:ft:gpt-x"), STEPS),
    st.builds(TrainingFailed, WORDS, WORDS, st.booleans(), WORDS),
    st.builds(TrainingCancelled, WORDS),
)


def recorded(events):
    return [
        RecordedEvent(40 + number, "training/a1", number, event, number * 1_000)
        for number, event in enumerate([WANTED, *events], 1)
    ]


@given(st.lists(EVENTS, max_size=12), st.data())
def test_folding_in_two_goes_is_folding_in_one(events, data):
    log = recorded(events)
    cut = data.draw(st.integers(0, len(log)))
    assert fold(log[cut:], into=fold(log[:cut])) == fold(log)


@given(st.lists(EVENTS, max_size=12), EVENTS)
def test_what_has_ended_keeps_its_state_and_its_outcome(events, more):
    job = fold(recorded(events))
    later = fold(recorded([*events, more]))
    if job.ended:
        assert (later.state, later.model, later.error, later.ended_us) == (
            job.state,
            job.model,
            job.error,
            job.ended_us,
        )
    assert later.ended == (later.state in ENDED) == (later.ended_us > 0)


@given(st.lists(EVENTS, max_size=12))
def test_a_job_is_at_the_version_and_knows_the_words_of_its_events(events):
    job = fold(recorded(events))
    assert (job.version, job.position, job.request) == (len(events) + 1, 41, WANTED)
    said = [event.state for event in events if isinstance(event, TrainingSubmitted | TrainingProgressed)]
    assert job.remote_state in {"", *said}
    assert job.attempts == max([e.attempt for e in events if isinstance(e, TrainingAttempted)][-1:], default=0)


def test_every_state_is_reached():
    file = TrainingFileUploaded("train", "file-1", "9f2c", 10)
    begun = [file, TrainingAttempted(1), TrainingSubmitted("ftjob-1", "queued")]
    histories = {
        "requested": [],
        "uploading": [file],
        "submitting": [file, TrainingAttempted(1)],
        "running": begun,
        "paused": [*begun, TrainingProgressed(state="paused")],
        "succeeded": [*begun, TrainingSucceeded("openai:ft:gpt-x")],
        "refused": [file, TrainingAttempted(1), TrainingFailed("no", refused=True)],
        "failed": [*begun, TrainingFailed("no")],
        "cancelled": [TrainingCancelled()],
    }
    assert set(histories) == set(get_args(State))
    assert {name: fold(recorded(events)).state for name, events in histories.items()} == {n: n for n in histories}


def test_no_events_are_no_job():
    assert fold([]) is None
    assert fold(recorded([])[1:]) is None
