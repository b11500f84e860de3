"""What the local trainer and its worker process tell each other: the job, as a file, and the worker's progress.

A progress file has a line of JSON for each thing that happened. It is only ever appended to, by the worker, or by the
trainer while no worker lives, so the number of a line names what it says for good, whoever is killed and started again.

>>> path = tmp / "progress.jsonl"
>>> append(path, Progress(TrainingProgressed(state="training", steps=40)))
>>> with path.open("ab") as stream:
...     _ = stream.write(b'{"type":"prog')  # killed in the middle of a line
>>> append(path, Failed("no room left", code="disk-full"))
>>> [(number, type(line).__name__) for number, line in read(path).lines]
[(1, 'Progress'), (3, 'Failed')]
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from trainerlib.events import TrainingCheckpointed, TrainingProgressed
from trainerlib.trainers.hyperparameters import Hyperparameters, Method

JOB = "job.json"
"""Name of the file in a job's directory that tells the worker what to do."""

PROGRESS = "progress.jsonl"
"""Name of the file in which the worker tells what it did."""

LOCK = "worker.lock"
"""Name of the file that a worker holds locked while it lives."""

PID = "worker.pid"
"""Name of the file with the process id of the worker that holds the lock."""

LOG = "worker.log"
"""Name of the file that has what the worker and its libraries print."""

CHECKPOINTS = "checkpoints"
"""Directory of the states that training goes on from."""

COMPLETE = "complete"
"""Name of the file that a checkpoint has once it is written whole."""

FINISHED = "finished"
"""Directory of the finished model, until it gets its name."""

ORIGIN = "trainerlib.json"
"""Name of the file in a model's directory that says what it was made from."""

BUSY = 75
"""Exit status of a worker that found another one at work (`EX_TEMPFAIL`)."""


class Job(msgspec.Struct, frozen=True):
    """What a worker is to do.

    Attributes:
        id: id of the job.
        method: `sft`, `dpo` or `kto`.
        base: the model to begin with, as it was asked for.
        model: its directory.
        train: the file to train on.
        validation: the file to measure on meanwhile; empty for none.
        rows: rows of each of them, by split.
        hyperparameters: how.
        seed: of everything that is drawn.
        dataset: name of the dataset.
        dataset_version: its version.
        sha256: hex digest of the file of each split.
    """

    id: str
    method: Method
    base: str
    model: str
    train: str
    validation: str
    rows: dict[str, int]
    hyperparameters: Hyperparameters
    seed: int
    dataset: str
    dataset_version: int
    sha256: dict[str, str]


class Progress(msgspec.Struct, frozen=True, tag="progress", tag_field="type"):
    """Something to record as it is."""

    event: TrainingProgressed


class Kept(msgspec.Struct, frozen=True, tag="kept", tag_field="type"):
    """A checkpoint is whole."""

    event: TrainingCheckpointed


class Started(msgspec.Struct, frozen=True, tag="started", tag_field="type"):
    """A worker is about to be started; `event` says why, when it is not the first."""

    event: TrainingProgressed


class Stopped(msgspec.Struct, frozen=True, tag="stopped", tag_field="type"):
    """The worker ended because it was told to; it goes on from a checkpoint."""


class Finished(msgspec.Struct, frozen=True, tag="finished", tag_field="type"):
    """The model lies in `FINISHED`.

    Attributes:
        tokens: tokens trained on, every pass counted.
        metrics: the last of each.
        sha256: hex digest of each file of the model.
    """

    tokens: int | None
    metrics: dict[str, float]
    sha256: dict[str, str]


class Failed(msgspec.Struct, frozen=True, tag="failed", tag_field="type"):
    """It cannot be done; trying again would end the same way. The fields are those of `TrainingFailed`."""

    error: str
    code: str = ""
    advice: str = ""


Line = Progress | Kept | Started | Stopped | Finished | Failed

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Line).decode


class Read(msgspec.Struct, frozen=True):
    """What was read of a progress file.

    Attributes:
        lines: each line that decodes, with its number from 1.
        number: number of the last whole line.
        offset: bytes up to the end of it.
    """

    lines: list[tuple[int, Line]]
    number: int = 0
    offset: int = 0


def read(path: Path, after: Read | None = None) -> Read:
    """The whole lines of a progress file, or those that are new since `after`; one that was torn is passed over."""
    number, offset = (0, 0) if after is None else (after.number, after.offset)
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read()
    except FileNotFoundError:
        return Read([])
    lines: list[tuple[int, Line]] = []
    for raw in data[: data.rfind(b"\n") + 1].splitlines(keepends=True):
        number += 1
        offset += len(raw)
        try:
            lines.append((number, _decode(raw)))
        except msgspec.MsgspecError:
            continue  # Somebody was killed while writing it.
    return Read(lines, number, offset)


def append(path: Path, line: Line) -> None:
    """Add a line, on the disk when this returns; what a killed writer left of one before it is ended first."""
    with path.open("a+b") as stream:
        if stream.tell():
            stream.seek(-1, os.SEEK_END)
            if stream.read(1) != b"\n":
                stream.write(b"\n")
        stream.write(_encode(line) + b"\n")
        stream.flush()
        os.fsync(stream.fileno())


def write_job(directory: Path, job: Job) -> None:
    """Write `JOB`, whole or not at all."""
    new = directory / f"{JOB}.new"
    new.write_bytes(msgspec.json.format(_encode(job), indent=2) + b"\n")
    new.replace(directory / JOB)


def read_job(directory: Path) -> Job | None:
    """The job of a directory; `None` when there is none yet."""
    try:
        return msgspec.json.decode((directory / JOB).read_bytes(), type=Job)
    except FileNotFoundError:
        return None
