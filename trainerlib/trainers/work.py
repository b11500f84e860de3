"""What trainers work with, as a workspace has it: its secrets and settings, and one job whose steps go into the log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from hashlib import file_digest
from pathlib import Path
from typing import cast

import msgspec

from trainerlib import settings as _settings
from trainerlib.errors import DatasetError, NotFoundError, TrainingError, VersionConflictError
from trainerlib.events import (
    Event,
    ModelAdded,
    TrainingAttempted,
    TrainingCancelled,
    TrainingFailed,
    TrainingSucceeded,
)
from trainerlib.promotion import MODELS
from trainerlib.registry import Datasets
from trainerlib.settings import Settings
from trainerlib.store.eventstore import Append, EventStore
from trainerlib.training import PREFIX, TrainingJob, fold

_OUTCOMES = (TrainingSucceeded, TrainingFailed, TrainingCancelled)


class TakenError(TrainingError):
    """Another process takes a step of the job."""


class WorkspaceWorkshop(msgspec.Struct, frozen=True):
    """What the trainers of a workspace work with.

    Attributes:
        path: the workspace.
        settings: what `workspace.toml` and the environment say.
    """

    path: Path
    settings: Settings

    def secret(self, name: str) -> str | None:
        """A secret, from the environment or `.env`."""
        return _settings.secret(name, self.path, os.environ)


class RecordedWork:
    """One job in the hands of its trainer: what that records goes into the log, each thing once.

    Args:
        store: the log.
        datasets: the datasets of the workspace.
        job: the job as it stands.
        directory: where its files are.
        verified: files that were found to be as in the request, by split; renewed here.
        by: who wants what is done now.
    """

    def __init__(
        self,
        store: EventStore,
        datasets: Datasets,
        job: TrainingJob,
        directory: Path,
        *,
        verified: dict[str, tuple[int, int]],
        by: str,
    ) -> None:
        self.job = job
        self.directory = directory
        self._store = store
        self._datasets = datasets
        self._verified = verified
        self._by = by
        directory.mkdir(parents=True, exist_ok=True)

    def file(self, split: str) -> Path:
        """The exported file of a split."""
        request = self.job.request
        wanted = request.sha256[split]
        path = self.directory / f"{split}.jsonl"
        try:
            dataset = self._datasets.get(request.dataset, request.dataset_version)
            if dataset.erased:
                path.unlink(missing_ok=True)
                raise TrainingError(
                    f"dataset {dataset.name} v{dataset.version} held a person who was erased since; build it again, "
                    "and start a new job"
                )
            if path.is_file() and (self._verified.get(split) == _stamp(path) or _digest(path) == wanted):
                self._verified[split] = _stamp(path)
                return path
            report = dataset.export(path, format=request.format, split=split)
        except (DatasetError, NotFoundError) as error:
            raise TrainingError(f"the file of split {split} cannot be made again: {error}") from error
        if report.sha256 != wanted:
            path.unlink(missing_ok=True)
            raise TrainingError(f"the file of split {split} has other content than when the job was asked for")
        return path

    def record(self, events: Sequence[Event], keys: Sequence[str | None] = ()) -> None:
        """Append to the job's stream."""
        stream = f"{PREFIX}{self.job.id}"
        named = list(zip(events, [*keys] or [None] * len(events), strict=True))
        named = [(event, key or self._key(event)) for event, key in named]
        known = self._store.by_keys([key for _, key in named if key is not None])
        if any(isinstance(event, TrainingAttempted) and key in known for event, key in named):
            raise TakenError(f"job {self.job.id} is followed by another process, which sent the request meanwhile")
        new = {key or index: (event, key) for index, (event, key) in enumerate(named) if key not in known}
        if not new:
            return
        told = [self._signed(event) for event, _ in new.values()]
        appends = [Append(stream, told, [key for _, key in new.values()], self.job.version)]
        for event in told:
            if isinstance(event, TrainingSucceeded) and event.model:
                added = ModelAdded(base=self.job.request.model, job=self.job.id, sha256=event.sha256)
                appends.append(Append(f"{MODELS}{event.model}", [added], [f"training:{self.job.id}:model"]))
        try:
            recorded = self._store.append_batch(appends)
        except VersionConflictError as error:
            raise TakenError(f"job {self.job.id} is followed by another process: {error}") from error
        self.job = cast(TrainingJob, fold([one for one in recorded if one.stream == stream], into=self.job))

    def _signed(self, event: Event) -> Event:
        return TrainingCancelled(self._by) if isinstance(event, TrainingCancelled) and self._by else event

    def _key(self, event: Event) -> str | None:
        """A job has one outcome."""
        return f"training:{self.job.id}:ended" if isinstance(event, _OUTCOMES) else None


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def _stamp(path: Path) -> tuple[int, int]:
    """What changes with a file, so that one of gigabytes is not read for each part of it that is sent."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
