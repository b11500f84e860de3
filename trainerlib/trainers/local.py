"""Training on this machine: a worker process for each job, watched from here and started again after a kill.

The worker is a session of its own: it goes on when whoever started it is gone, and the next one to look finds it by the
lock that it holds. What it tells in its progress file is recorded under the number of its line, so reading a line again
records nothing twice. Nothing heavy is imported here.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from trainerlib.errors import ModelError, TrainingError
from trainerlib.events import (
    Event,
    TrainingCancelled,
    TrainingFailed,
    TrainingProgressed,
    TrainingRequested,
    TrainingSucceeded,
)
from trainerlib.local_models import INSTALL, MODELS, PREFIX, locate, missing_packages, one_line
from trainerlib.trainers.hyperparameters import FORMATS, SEED, check, parse
from trainerlib.trainers.local_job import (
    BUSY,
    CHECKPOINTS,
    FINISHED,
    LOCK,
    LOG,
    ORIGIN,
    PID,
    PROGRESS,
    Failed,
    Finished,
    Job,
    Kept,
    Line,
    Progress,
    Read,
    Started,
    Stopped,
    append,
    read,
    read_job,
    write_job,
)
from trainerlib.trainers.local_worker import PACKAGES
from trainerlib.trainers.port import SPLITS, Work, Workshop
from trainerlib.training import TrainingJob, model_name

_POLL = 0.5
_HELD = 5.0
_STARTS = 3
"""How often a worker may die without having got any further."""

_TO_SAVE = 120.0
"""Seconds that a worker has to finish a step and write a checkpoint."""

_TO_END = 5.0
"""Seconds that it has when nothing of it is wanted any more."""

_START = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from trainerlib.trainers.local_worker import main; main(sys.argv[2])"
)
_NO_MEMORY = (
    "the system may have ended it for want of memory: lower batch_size or max_length, leave lora and "
    "gradient_checkpointing on, or begin with a smaller model"
)

_workers: dict[Path, subprocess.Popen[bytes]] = {}
"""The workers that this process started, by the directory of their job; whoever asks finds them here."""


class LocalTrainer:
    """Trains with TRL and PEFT in a process of its own.

    Args:
        workshop: the workspace.
    """

    name = "local"
    formats = FORMATS

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop
        self._read: dict[str, _Reading] = {}

    def check(self, request: TrainingRequested) -> None:
        """Refuse what cannot go well.

        Raises:
            TrainingError: a hyperparameter is wrong, the extra is not installed, there is no such model, or the new
                one cannot be called that.
        """
        check(request)
        if missing := missing_packages(PACKAGES):
            raise TrainingError(f"training here needs {', '.join(missing)}; install what it takes: {INSTALL}")
        self._locate(request.model)

    def advance(self, work: Work) -> float | None:
        """Record what the worker told; start one where none lives.

        Returns:
            Seconds until it is worth looking again; `None` once the job has ended.
        """
        # Asked before reading: what a worker told before it ended is then read.
        alive = _alive(work.directory)
        seen = self._report(work)
        if seen.outcome is not None:
            self._end(work, seen.outcome)
            return None
        if alive:
            return _POLL
        if work.job.state == "paused":
            return _HELD
        status = _ended(work.directory)
        if seen.starts >= _STARTS:
            self._end(work, _gave_up(work.directory, status))
            return None
        try:
            self._start(work, _why(seen, status, work.directory))
        except TrainingError as error:
            self._end(work, Failed(one_line(error)))
            return None
        self._report(work)
        return _POLL

    def cancel(self, work: Work) -> None:
        """End the worker, then the job; its checkpoints go away.

        Raises:
            TrainingError: it has just finished.
        """
        _stop(work.directory, _TO_END)
        if isinstance(self._report(work).outcome, Finished):
            raise TrainingError(f"{work.job.id} has just finished; its model is there the next time you look")
        shutil.rmtree(work.directory / CHECKPOINTS, ignore_errors=True)
        work.record([TrainingCancelled()])

    def pause(self, work: Work) -> None:
        """Have the worker write a checkpoint and end.

        Raises:
            TrainingError: it has just ended.
        """
        _stop(work.directory, _TO_SAVE)
        if self._report(work).outcome is not None:
            raise TrainingError(f"{work.job.id} has just ended; look again for its outcome")
        if work.job.state != "paused":
            work.record([TrainingProgressed(state="paused", at=datetime.now(UTC))])

    def resume(self, work: Work) -> None:
        """Let a paused job go on from its last checkpoint.

        Raises:
            TrainingError: it is not paused.
        """
        if work.job.state != "paused":
            raise TrainingError(f"{work.job.id} is not paused but {work.job.state}")
        work.record([TrainingProgressed(state="resuming", at=datetime.now(UTC))])

    def _locate(self, model: str) -> Path:
        try:
            return locate(model, self._workshop.path)
        except ModelError as error:
            raise TrainingError(str(error)) from error

    def _report(self, work: Work) -> _Reading:
        """Record the lines that are new; each has a key, so one that was recorded before a kill is not doubled."""
        seen = self._read.get(work.job.id, _Reading())
        fresh = read(work.directory / PROGRESS, seen.read)
        events: list[Event] = []
        keys: list[str] = []
        for number, line in fresh.lines:
            seen = seen.after(line)
            if isinstance(line, Progress | Kept | Started):
                events.append(line.event)
                keys.append(f"training:{work.job.id}:progress:{number}")
        if events:
            work.record(events, keys)
        seen = msgspec.structs.replace(seen, read=Read([], fresh.number, fresh.offset))
        self._read[work.job.id] = seen
        return seen

    def _start(self, work: Work, why: str) -> None:
        """Start a worker, which goes on from the last checkpoint if there is one.

        Raises:
            TrainingError: the model or the rows are not there any more.
        """
        request, directory = work.job.request, work.directory
        before = read_job(directory)
        # A model that was named from some directory is the same one wherever the job is taken up again.
        model = before.model if before is not None and Path(before.model).is_dir() else str(self._locate(request.model))
        # The worker is somewhere else than whoever named the workspace from where they are.
        files = {split: str(work.file(split).resolve()) for split in SPLITS if request.rows.get(split)}
        if "train" not in files:
            raise TrainingError("there is no row to train on")
        job = Job(
            id=work.job.id,
            method=request.method,
            base=request.model,
            model=model,
            train=files["train"],
            validation=files.get("validation", ""),
            rows=request.rows,
            hyperparameters=parse(request.hyperparameters, request.method),
            seed=SEED if request.seed is None else request.seed,
            dataset=request.dataset,
            dataset_version=request.dataset_version,
            sha256=request.sha256,
        )
        directory.mkdir(parents=True, exist_ok=True)
        write_job(directory, job)
        level = "warn" if why else "info"
        append(
            directory / PROGRESS,
            Started(TrainingProgressed(state="starting", message=why, level=level, at=datetime.now(UTC))),
        )
        with (directory / LOG).open("ab") as log:
            _workers[directory] = subprocess.Popen(  # noqa: S603 - this very interpreter, and a constant
                [
                    sys.executable,
                    "-I",
                    "-c",
                    _START,
                    msgspec.json.encode([str(Path(path).resolve()) for path in sys.path]).decode(),
                    str(directory.resolve()),
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=directory,
                start_new_session=True,
            )

    def _end(self, work: Work, outcome: Finished | Failed) -> None:
        """Record how the job ended; a kill before that changes nothing."""
        _stop(work.directory, _TO_SAVE)
        if isinstance(outcome, Failed):
            work.record([TrainingFailed(outcome.error, outcome.code, advice=outcome.advice)])
            return
        name = _place(work.job, work.directory / FINISHED, self._workshop.path / MODELS)
        shutil.rmtree(work.directory / CHECKPOINTS, ignore_errors=True)
        work.record([TrainingSucceeded(PREFIX + name, outcome.tokens, outcome.metrics, outcome.sha256)])


class _Reading(msgspec.Struct, frozen=True):
    """What the lines of a job's progress file add up to.

    Attributes:
        read: how far it was read.
        step: the furthest step that is told of.
        starts: workers started since then.
        stopped: the last worker was told to end.
        outcome: how the job ended, once it has.
    """

    read: Read | None = None
    step: int = 0
    starts: int = 0
    stopped: bool = False
    outcome: Finished | Failed | None = None

    def after(self, line: Line) -> _Reading:
        """What they add up to with one more."""
        match line:
            case Started():
                return msgspec.structs.replace(self, starts=self.starts + 1, stopped=False)
            case Stopped():
                return msgspec.structs.replace(self, starts=0, stopped=True)
            case Finished() | Failed():
                return msgspec.structs.replace(self, outcome=line)
            case Progress() | Kept() if (line.event.step or 0) > self.step:
                return msgspec.structs.replace(self, starts=0, step=line.event.step)
            case _:
                return self


def _why(seen: _Reading, status: int | None, directory: Path) -> str:
    """Why a worker is started, in words; empty where nothing went wrong."""
    if seen.read is None or not seen.read.number or seen.stopped:
        return ""
    how = _how(status)
    kept = sorted(directory.glob(f"{CHECKPOINTS}/*/trainer_state.json"), key=lambda path: path.stat().st_mtime)
    return f"the worker {how}; going on from {kept[-1].parent.name if kept else 'the beginning'}"


def _how(status: int | None) -> str:
    if status is None:
        return "ended without a word"
    if status < 0:
        with suppress(ValueError):
            return f"was killed ({signal.Signals(-status).name})"
    return f"ended with status {status}"


def _gave_up(directory: Path, status: int | None) -> Failed:
    """A job whose workers die again and again."""
    last = _last_words(directory / LOG)
    how = f"the worker {_how(status)}, the {_STARTS}rd time without getting any further"
    killed = status is None or -status == getattr(signal, "SIGKILL", 9)
    return Failed(f"{how}{': ' if last else ''}{last}", code="worker-died", advice=_NO_MEMORY if killed else "")


def _last_words(path: Path) -> str:
    """The last lines of a log, in one."""
    try:
        with path.open("rb") as stream:
            stream.seek(max(0, path.stat().st_size - 4096))
            lines = stream.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    return one_line(ValueError(" | ".join([line.strip() for line in lines if line.strip()][-3:]))) if lines else ""


def _place(job: TrainingJob, finished: Path, models: Path) -> str:
    """Move a finished model to where models are, under a name that is not taken; the name.

    One that was moved before a kill is found by the job that its origin names.
    """
    wanted = model_name(job.request)
    if not finished.exists():
        for origin in models.glob(f"*/{ORIGIN}"):
            if msgspec.json.decode(origin.read_bytes(), type=_Origin).job == job.id:
                return origin.parent.name
        raise TrainingError(f"the model of {job.id} is gone from {finished.parent.name}; train again")
    models.mkdir(exist_ok=True)
    number = 1
    while True:
        name = wanted if number == 1 else f"{wanted}-{number}"
        number += 1
        if (models / name).exists():
            continue
        try:
            finished.rename(models / name)
        except OSError:
            # Somebody has just taken the name; anything else would fail under every other one too.
            if not (models / name).exists():
                raise
        else:
            return name


class _Origin(msgspec.Struct, frozen=True):
    job: str = ""


# --- the worker process -----------------------------------------------------------------------------------------------


def _alive(directory: Path) -> bool:
    """Whether a worker is at a job, whoever started it."""
    started = _workers.get(directory)
    return (started is not None and started.poll() is None) or _locked(directory)


def _locked(directory: Path) -> bool:
    if not (directory / LOCK).exists():
        return False
    from filelock import FileLock, Timeout

    lock = FileLock(directory / LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    lock.release()
    return False


def _ended(directory: Path) -> int | None:
    """The exit status of the last worker, if this process started it; a negative one is the signal that ended it."""
    started = _workers.pop(directory, None)
    status = None if started is None else started.wait()
    return None if status == BUSY else status


def _stop(directory: Path, seconds: float) -> None:
    """End the worker of a job: ask, and after so many seconds kill."""
    began = time.monotonic()
    asked = False
    while _alive(directory):
        late = time.monotonic() - began > seconds
        if not asked or late:
            asked = _send(directory, getattr(signal, "SIGKILL", signal.SIGTERM) if late else signal.SIGTERM)
        time.sleep(0.02)
    _ended(directory)


def _send(directory: Path, number: int) -> bool:
    """Send a signal to the worker of a job; whether it could be sent."""
    started = _workers.get(directory)
    try:
        if started is not None and started.poll() is None:
            started.send_signal(number)
        else:
            os.kill(int((directory / PID).read_text()), number)
    except (OSError, ValueError):
        return False  # It is just beginning, or has just ended.
    return True
