"""The port of trainers: one step at a time, each recorded, so that a job goes on where it was whatever was killed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from trainerlib.events import Event, TrainingRequested
from trainerlib.settings import Settings
from trainerlib.training import TrainingJob

SPLITS = ("train", "validation")
"""The splits a trainer is given; what is held out for the evaluation stays here."""


class Workshop(Protocol):
    """What every trainer of a workspace works with.

    Attributes:
        path: the workspace.
        settings: what `workspace.toml` and the environment say.
    """

    @property
    def path(self) -> Path:
        """The workspace's directory."""
        ...

    @property
    def settings(self) -> Settings:
        """What `workspace.toml` and the environment say."""
        ...

    def secret(self, name: str) -> str | None:
        """A secret, from the environment or `.env`; never recorded, logged or shown."""
        ...


class Work(Protocol):
    """One job in the hands of a trainer; no other process has it meanwhile.

    Attributes:
        job: the job as it stands; `record` renews it.
        directory: a directory of the job's own, `models/jobs/<id>`.
    """

    @property
    def job(self) -> TrainingJob:
        """The job as it stands."""
        ...

    @property
    def directory(self) -> Path:
        """A directory of the job's own."""
        ...

    def file(self, split: str) -> Path:
        """The exported file of a split, made when it is missing, its sha256 as in the request.

        Raises:
            TrainingError: the dataset no longer gives these bytes: somebody was erased, say.
        """
        ...

    def record(self, events: Sequence[Event], keys: Sequence[str | None] = ()) -> None:
        """Append to the job's stream, durably; an event whose key is there already is not recorded again."""
        ...


class Trainer(Protocol):
    """Something that makes a model from a dataset. It is handed no job that has ended.

    Attributes:
        name: what it is chosen by.
        formats: the export format it takes, by method: `{"sft": "openai-chat"}`.
    """

    @property
    def name(self) -> str:
        """What it is chosen by."""
        ...

    @property
    def formats(self) -> Mapping[str, str]:
        """The export format it takes, by method."""
        ...

    def check(self, request: TrainingRequested) -> None:
        """Refuse before anything is recorded what can be seen to fail.

        Raises:
            TrainingError: an unknown hyperparameter, a missing key or extra, a model that is not there.
        """
        ...

    def advance(self, work: Work) -> float | None:
        """Take the next step of a job and record what came of it.

        A step is at most one thing that others notice (an upload, a request, a process started), so a kill between two
        steps loses nothing, and one within a step is found out by the next call. What fails for now (a network, a busy
        server) is no error: the answer says when to try again.

        Returns:
            Seconds to wait before the next step, 0 for none, infinity when it is somebody's elsewhere; `None` once the
            job has ended.
        """
        ...

    def cancel(self, work: Work) -> None:
        """End the job and record that.

        Raises:
            TrainingError: it cannot be cancelled now; nothing changed.
        """
        ...

    def pause(self, work: Work) -> None:
        """Hold the job; raises `TrainingError` where that cannot be."""
        ...

    def resume(self, work: Work) -> None:
        """Let a paused job go on; raises `TrainingError` where that cannot be."""
        ...
