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

import difflib
import os
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_type_hints

import msgspec
from msgspec import Meta

from trainerlib.errors import TrainingError
from trainerlib.events import JsonObject, TrainingCheckpointed, TrainingProgressed

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

Method = Literal["sft", "dpo", "kto"]

_Count = Annotated[int, Meta(ge=1, description="a whole number from 1")]
_Choice = Annotated[bool, Meta(description="true or false")]


class Hyperparameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a model is trained; what is `None` is chosen by method, model and machine.

    Attributes:
        epochs: how often every row is seen.
        max_steps: optimiser steps, whatever `epochs` says.
        learning_rate: at its highest; by default 2e-5 for `sft` and 1e-6 for `dpo` and `kto`, ten times that with
            LoRA (the TRL documentation's advice).
        batch_size: rows a forward pass.
        gradient_accumulation: forward passes an optimiser step.
        max_length: tokens of a row at most; longer ones are left out and counted. By default what the model takes.
        lora: train an adapter (LoRA, arXiv:2106.09685) and merge it; otherwise every weight.
        lora_r: rank of the adapter.
        lora_alpha: scale of the adapter, as a multiple of its rank's inverse.
        lora_dropout: share of the adapter's inputs that are dropped.
        beta: how near the model is held to what it was; 0.1 by default; `dpo` and `kto` alone.
        warmup: share of the steps in which the learning rate rises.
        save_steps: steps between checkpoints; a tenth of all by default.
        logging_steps: steps between reports; a hundredth of all by default.
        precision: of the arithmetic; `auto` is bf16 on a GPU that has it, else fp32.
        gradient_checkpointing: compute more to hold less in memory; by default on a GPU.

    >>> parse({"epochs": "2", "lora": "false"}, "sft").epochs
    2.0
    >>> parse({"learningrate": 1e-4}, "sft")
    Traceback (most recent call last):
    trainerlib.errors.TrainingError: there is no hyperparameter 'learningrate'; did you mean 'learning_rate'?
    >>> parse({"batch_size": 0}, "sft")
    Traceback (most recent call last):
    trainerlib.errors.TrainingError: batch_size cannot be 0; a whole number from 1
    """

    epochs: Annotated[float, Meta(gt=0, le=10_000, description="a number above 0")] = 3.0
    max_steps: _Count | None = None
    learning_rate: Annotated[float, Meta(gt=0, le=1, description="a number above 0, such as 2e-4")] | None = None
    batch_size: _Count = 4
    gradient_accumulation: _Count = 1
    max_length: Annotated[int, Meta(ge=2, description="a whole number from 2")] | None = None
    lora: _Choice = True
    lora_r: Annotated[int, Meta(ge=1, le=4096, description="a whole number from 1 to 4096")] = 16
    lora_alpha: Annotated[float, Meta(gt=0, description="a number above 0")] = 32.0
    lora_dropout: Annotated[float, Meta(ge=0, lt=1, description="a number from 0, below 1")] = 0.05
    beta: Annotated[float, Meta(gt=0, description="a number above 0")] | None = None
    warmup: Annotated[float, Meta(ge=0, lt=1, description="a share of the steps, from 0, below 1")] = 0.03
    save_steps: _Count | None = None
    logging_steps: _Count | None = None
    precision: Annotated[Literal["auto", "bf16", "fp16", "fp32"], Meta(description="auto, bf16, fp16 or fp32")] = "auto"
    gradient_checkpointing: _Choice | None = None


_KINDS: dict[str, Any] = get_type_hints(Hyperparameters, include_extras=True)
_OF_AN_ADAPTER = ("lora_r", "lora_alpha", "lora_dropout")


def parse(given: JsonObject, method: Method) -> Hyperparameters:
    """Hyperparameters by name, each checked; text that reads as the right kind is taken.

    Raises:
        TrainingError: a name that does not exist, an impossible value, or values that contradict each other.
    """
    values: JsonObject = {}
    for name, value in given.items():
        kind = _KINDS.get(name)
        if kind is None:
            close = difflib.get_close_matches(name, _KINDS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(_KINDS)}"
            raise TrainingError(f"there is no hyperparameter {name!r}; {hint}")
        try:
            values[name] = msgspec.convert(value, kind, strict=False)
        except msgspec.ValidationError:
            raise TrainingError(f"{name} cannot be {value!r}; {_right(kind)}") from None
    parsed = Hyperparameters(**values)
    if not parsed.lora and (unused := [name for name in _OF_AN_ADAPTER if name in given]):
        raise TrainingError(f"{unused[0]} is for LoRA, and lora is false")
    if parsed.beta is not None and method == "sft":
        raise TrainingError("beta is for the methods dpo and kto, not for sft")
    if method == "kto" and parsed.batch_size < 2:
        raise TrainingError("kto compares the rows of a batch: batch_size must be 2 or more")
    return parsed


def _right(kind: Any) -> str:
    """What a value of a kind should be."""
    annotated = next((one for one in get_args(kind) if hasattr(one, "__metadata__")), kind)
    return str(annotated.__metadata__[0].description)


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
