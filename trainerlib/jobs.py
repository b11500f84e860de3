"""Training jobs: asked for, begun, followed to their end, whatever is killed on the way.

A job is a stream of events. What somebody wants is recorded before anything is sent or spent; each step after that is
found out from the log and from the trainer itself, so any process can go on where another was killed.

>>> from trainerlib.store.eventstore import EventStore
>>> from trainerlib.registry import Datasets
>>> store = EventStore(tmp / "trainer.db")
>>> jobs = Jobs(store, Datasets(store, tmp / "datasets"), tmp, Settings())
>>> jobs.list()
[]
>>> jobs.start("support", model="gpt-x")
Traceback (most recent call last):
trainerlib.errors.NotFoundError: no dataset 'support'; there are: none yet
>>> store.close()
"""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self, cast

import msgspec

from trainerlib.builds import Building
from trainerlib.errors import KeyConflictError, NotFoundError, TrainingError
from trainerlib.events import RecordedEvent, TrainingRequested
from trainerlib.plans import Plan, make_plan
from trainerlib.registry import Datasets
from trainerlib.settings import Settings
from trainerlib.store.eventstore import EventStore
from trainerlib.trainers.finding import find_trainer
from trainerlib.trainers.port import Trainer, Workshop
from trainerlib.trainers.webhooks import remote_of
from trainerlib.trainers.work import RecordedWork, TakenError, WorkspaceWorkshop
from trainerlib.training import PREFIX, TrainingJob, fold
from trainerlib.versions import Dataset

if TYPE_CHECKING:
    from filelock import BaseFileLock

DIRECTORY = Path("models") / "jobs"
"""Where the files of jobs are, in the workspace."""

Progress = Callable[[TrainingJob], None]

_PATIENCE = 30.0
_GLANCE = 0.5


class Jobs:
    """The training jobs of a workspace.

    Args:
        store: the log.
        datasets: its datasets.
        path: the workspace.
        settings: what `workspace.toml` and the environment say.
    """

    def __init__(self, store: EventStore, datasets: Datasets, path: Path, settings: Settings) -> None:
        self._store = store
        self._datasets = datasets
        self._directory = path / DIRECTORY
        self._settings = settings
        self._workshop = WorkspaceWorkshop(path, settings)
        self._trainers: dict[str, Trainer] = {}

    @property
    def workshop(self) -> Workshop:
        """What a trainer of one's own is made with."""
        return self._workshop

    def use(self, trainer: Trainer) -> None:
        """Have jobs use a trainer that was made here, in place of the one its name stands for."""
        self._trainers[trainer.name] = trainer

    def trainer(self, name: str) -> Trainer:
        """The trainer with a name.

        Raises:
            TrainingError: there is none, or its package does not load.
        """
        if name not in self._trainers:
            self._trainers[name] = find_trainer(name, self._workshop)
        return self._trainers[name]

    # --- asking ------------------------------------------------------------------------------------------------------

    def plan(
        self,
        dataset: Dataset | str,
        *,
        model: str,
        trainer: str = "openai",
        method: str = "sft",
        hyperparameters: Mapping[str, object] | None = None,
        seed: int | None = None,
        suffix: str = "",
        validation: bool = True,
        by: str = "",
    ) -> Plan:
        """What `start` with the same words would do; nothing is recorded, sent or spent.

        Raises:
            NotFoundError: no such dataset.
            TrainingError: there is no such trainer, or it knows no such method.
            DatasetError: the dataset cannot be exported.
        """
        wanted = _draft(model, trainer, method, hyperparameters, seed=seed, suffix=suffix, by=by)
        with Building(self._directory) as directory:
            return self._plan(directory, dataset, wanted, validation=validation)

    def start(
        self,
        dataset: Dataset | str,
        *,
        model: str,
        trainer: str = "openai",
        method: str = "sft",
        hyperparameters: Mapping[str, object] | None = None,
        seed: int | None = None,
        suffix: str = "",
        validation: bool = True,
        by: str = "",
        again: bool = False,
    ) -> Job:
        """Ask for a fine-tune: recorded here, not sent yet; `Job.follow` does that, and waits for the model.

        Asking twice for the same while the first job goes on gives that job: whoever was killed before they saw its
        id, and asks again, does not pay twice.

        Args:
            dataset: a dataset, or a name: the version that was selected for the next training, else the latest.
            model: the model to begin with, as the trainer calls it.
            trainer: who does it: `openai`, `local`, `bundle`, or the name of an entry point.
            method: `sft` learns the chosen sides, `dpo` prefers them to the rejected ones, `kto` takes labelled sides.
            hyperparameters: as the trainer calls them; what is not set, it chooses.
            seed: of the training.
            suffix: what the new model is to be called.
            validation: give the trainer the validation split too, where there is one.
            by: who wants it.
            again: another job, even if one like it goes on.

        Raises:
            NotFoundError: no such dataset.
            TrainingError: it is refused: there is no such trainer or method, the files have problems, a hyperparameter
                is unknown, a key or extra is missing. Nothing was recorded.
            DatasetError: the dataset cannot be exported.
        """
        wanted = _draft(model, trainer, method, hyperparameters, seed=seed, suffix=suffix, by=by)
        with Building(self._directory) as directory:
            plan = self._plan(directory, dataset, wanted, validation=validation)
            if plan.problems:
                raise TrainingError("; ".join(plan.problems))
            while True:
                alike = self._alike(plan.request)
                pending = [job for job in alike if not job.state.ended]
                if pending and not again:
                    return pending[-1]
                # Two processes that ask for the same at once take the same key, so one of them gets the other's job.
                key = f"training:intent:{_intent(plan.request)}:{len(alike) + 1}"
                try:
                    [recorded] = self._store.append(f"{PREFIX}{_new_id()}", [plan.request], keys=[key])
                except KeyConflictError:
                    continue
                job = self._job(recorded.stream)
                # Somebody who asked at the same moment has put the same files there.
                with suppress(OSError):
                    directory.replace(job.directory)
                return job

    def _alike(self, request: TrainingRequested) -> list[Job]:
        """Jobs that were asked for with the same words, whoever asked, oldest first."""
        intent = _intent(request)
        return [job for job in self.list() if _intent(job.state.request) == intent]

    def _plan(self, directory: Path, dataset: Dataset | str, wanted: TrainingRequested, *, validation: bool) -> Plan:
        """Write the files of a job into a directory and say what it would do."""
        trainer = self.trainer(wanted.trainer)
        chosen = self._chosen(dataset) if isinstance(dataset, str) else dataset
        plan = make_plan(trainer, chosen, wanted, directory, validation=validation, prices=self._settings.prices)
        pending = [job for job in self._alike(plan.request) if not job.state.ended]
        alike = [f"job {job.id} goes on and does the same" for job in pending]
        return msgspec.structs.replace(plan, warnings=(*plan.warnings, *alike))

    def _chosen(self, name: str) -> Dataset:
        """The version of a dataset that was selected for the next training, else the latest."""
        selected = [one for one in self._datasets.selected() if one.name == name]
        return selected[-1] if selected else self._datasets.get(name)

    # --- finding -----------------------------------------------------------------------------------------------------

    def list(self) -> _Jobs:
        """Every job, oldest first."""
        return [self._job(stream) for stream in self._store.streams(PREFIX)]

    def _job(self, stream: str) -> Job:
        return Job(stream.removeprefix(PREFIX), self._store, self._datasets, self._directory, self.trainer)

    def pending(self) -> _Jobs:
        """Jobs that have not ended, oldest first: what a restart goes on with."""
        return [job for job in self.list() if not job.state.ended]

    def get(self, job: str) -> Job:
        """A job.

        Args:
            job: its id, or so much of its beginning that there is one only.

        Raises:
            NotFoundError: there is none, or there are several.
        """
        found = [one for one in self.list() if job and one.id.startswith(job)]
        exact = [one for one in found if one.id == job]
        if len(exact or found) != 1:
            what = f"{len(found)} jobs begin with {job!r}" if found else f"no job {job!r}"
            known = ", ".join(one.id for one in found or self.list()[-5:]) or "none yet"
            raise NotFoundError(f"{what}; there are: {known}")
        return (exact or found)[0]

    def holding(self, datasets: Collection[tuple[str, int]]) -> _Jobs:
        """Jobs that were given any of some dataset versions, oldest first; `Job.state` tells the model of each.

        Args:
            datasets: `(name, version)` of each, such as those that held somebody.
        """
        wanted = set(datasets)
        requests = [(job, job.state.request) for job in self.list()]
        return [job for job, request in requests if (request.dataset, request.dataset_version) in wanted]

    def webhook(self, body: bytes, headers: Mapping[str, str]) -> Job | None:
        """Take a message that OpenAI sent about a job, and look at that job.

        The message is only the reason to look: what became of the job is asked, so a forged or repeated one changes
        nothing. Its signature is checked with the secret `OPENAI_WEBHOOK_SECRET`.

        Args:
            body: as it arrived.
            headers: as they arrived.

        Returns:
            The job it is about; `None` when it is about nothing of this workspace.

        Raises:
            TrainingError: the signature is wrong, the message too old, or no secret is set. Nothing was recorded.
        """
        remote = remote_of(self._workshop, body, headers)
        if remote is None:
            return None
        mine = [job for job in self.list() if job.state.request.trainer == "openai"]
        unknown = [job for job in mine if job.state.state == "submitting"]
        for job in [one for one in mine if one.state.remote == remote] or unknown:
            job.look()
            if job.state.remote == remote:
                return job
        return None


_Jobs = list["Job"]


class Job:
    """A training job. What it does is recorded, so a handle can be made and thrown away at any time.

    Attributes:
        id: its id.
        directory: where its files are.
    """

    def __init__(
        self, job: str, store: EventStore, datasets: Datasets, directory: Path, trainer: Callable[[str], Trainer]
    ) -> None:
        self.id = job
        self.directory = directory / job
        self._store = store
        self._datasets = datasets
        self._find_trainer = trainer
        self._stream = f"{PREFIX}{job}"
        self._folded: TrainingJob | None = None
        self._verified: dict[str, tuple[int, int]] = {}

    @property
    def state(self) -> TrainingJob:
        """The job as it stands now.

        Raises:
            NotFoundError: there is no such job.
        """
        after = 0 if self._folded is None else self._folded.version
        self._folded = fold(self._store.read(self._stream, after=after), into=self._folded)
        if self._folded is None:
            raise NotFoundError(f"no job {self.id!r}")
        return self._folded

    def events(self) -> Iterator[RecordedEvent]:
        """Everything that was recorded of it, in order."""
        return self._store.read(self._stream)

    def advance(self) -> float | None:
        """Take its next step.

        Returns:
            Seconds to wait before the next one, infinity when that is somebody's elsewhere; `None` once it has ended.

        Raises:
            TrainingError: another process takes a step, or its trainer will not go on; the message says why.
        """
        with self._driven(_GLANCE):
            if self.state.ended:
                return None
            return self._trainer().advance(self._work())

    def look(self) -> None:
        """Take its next step, unless somebody else does just now or it cannot be taken: somebody will."""
        try:
            self.advance()
        except TrainingError:
            return

    def follow(self, progress: Progress | None = None, *, timeout: float | None = None) -> TrainingJob:
        """Take its steps until it has ended, or until the next one is somebody's elsewhere, as with a bundle.

        Interrupt it at any time: it goes on where it was, here or in another process.

        Where another process follows it already, this one only watches, and goes on should that one end.

        Args:
            progress: called with the job whenever something was recorded.
            timeout: seconds after which to come back, whatever state it is in.

        Raises:
            TrainingError: its trainer will not go on; the message says why, and the job has not ended.
        """
        until = None if timeout is None else time.monotonic() + timeout
        told = 0
        with _Following(self) as following:
            while True:
                wait = self._step() if following.mine() else _GLANCE
                job = self.state
                if progress is not None and job.version > told:
                    told = job.version
                    progress(job)
                left = None if until is None else until - time.monotonic()
                if job.ended or wait == math.inf or (left is not None and left <= 0):
                    return job
                self._sleep(wait if left is None else min(wait, left))

    def _step(self) -> float:
        """Seconds to wait after a step, or after finding that another process takes one."""
        try:
            return self.advance() or 0.0
        except TakenError:
            return _GLANCE

    def _sleep(self, seconds: float) -> None:
        """Wait, but not past the moment at which somebody else records something of the job."""
        version = self.state.version
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self._store.version(self._stream) == version:
            time.sleep(min(left, _GLANCE))

    def cancel(self, *, by: str = "") -> TrainingJob:
        """End it, here and at the trainer's; a job that has ended stays as it is.

        Args:
            by: who wants that.

        Raises:
            TrainingError: it cannot be ended now; nothing changed.
        """
        return self._change(lambda trainer: trainer.cancel(self._work(by)))

    def pause(self) -> TrainingJob:
        """Hold it.

        Raises:
            TrainingError: it has ended, or cannot be held.
        """
        return self._change(lambda trainer: trainer.pause(self._work()), ended="a job that has ended cannot be held")

    def resume(self) -> TrainingJob:
        """Let it go on.

        Raises:
            TrainingError: it has ended, or was not held.
        """
        return self._change(lambda trainer: trainer.resume(self._work()), ended="a job that has ended cannot go on")

    def _change(self, change: Callable[[Trainer], None], *, ended: str = "") -> TrainingJob:
        with self._driven(_PATIENCE):
            if not self.state.ended:
                change(self._trainer())
            elif ended:
                raise TrainingError(f"job {self.id} is {self.state.state}: {ended}")
            return self.state

    def _trainer(self) -> Trainer:
        return self._find_trainer(self.state.request.trainer)

    def _work(self, by: str = "") -> RecordedWork:
        return RecordedWork(self._store, self._datasets, self.state, self.directory, verified=self._verified, by=by)

    @contextmanager
    def _driven(self, patience: float) -> Iterator[None]:
        """Only one process at a time takes a step of a job; the lock goes with the process, however that ends."""
        lock = _lock(self.directory.with_name(f"{self.id}.lock"), patience)
        if lock is None:
            raise TakenError(f"job {self.id} is followed by another process, which takes a step of it just now")
        with lock:
            yield

    def __repr__(self) -> str:
        """One line."""
        job = self.state
        steps = f" · step {job.step:,} of {job.steps:,}" if job.steps else f" · step {job.step:,}" if job.step else ""
        end = f" -> {job.model}" if job.model else f": {job.error}" if job.error else ""
        wanted = job.request
        of = f"{wanted.trainer}:{wanted.model} on {wanted.dataset} v{wanted.dataset_version} by {wanted.method}"
        return f"Job {self.id} {job.state} · {of}{steps}{end}"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(repr(self))}</pre>"


class _Following:
    """Whether this process is the one that follows a job; the others watch it."""

    def __init__(self, job: Job) -> None:
        self._path = job.directory.with_name(f"{job.id}.follow.lock")
        self._lock: BaseFileLock | None = None

    def mine(self) -> bool:
        if self._lock is None:
            self._lock = _lock(self._path, 0)
        return self._lock is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._lock is not None:
            self._lock.release()


def _draft(
    model: str,
    trainer: str,
    method: str,
    hyperparameters: Mapping[str, object] | None,
    *,
    seed: int | None,
    suffix: str,
    by: str,
) -> TrainingRequested:
    """What somebody asks for, without what follows from the dataset."""
    return TrainingRequested(
        trainer,
        model.strip().removeprefix(f"{trainer}:"),
        dataset="",
        dataset_version=0,
        # What the trainer does not know is refused before anything is recorded.
        method=cast(Literal["sft", "dpo", "kto"], method),
        format="",
        sha256={},
        rows={},
        hyperparameters=dict(hyperparameters or {}),
        seed=seed,
        suffix=suffix,
        by=by,
    )


def _intent(request: TrainingRequested) -> str:
    """What was asked for, as a digest: who asked, and how it was counted, aside."""
    same = msgspec.structs.replace(request, tokens=0, cost=None, by="")
    return sha256(msgspec.json.encode(same, order="sorted")).hexdigest()[:32]


def _new_id() -> str:
    return uuid.uuid4().hex[:12]


def _lock(path: Path, patience: float) -> BaseFileLock | None:
    """Take a lock that ends with this process; `None` when another one has it for longer than `patience` seconds."""
    from filelock import FileLock, Timeout

    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=patience)
    except Timeout:
        return None
    return lock
