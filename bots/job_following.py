"""Training jobs driven to their end while a bot runs, and told about: how far they are, and what came of them.

A step of a job is taken in a thread; between two steps nothing waits but the event loop, so any number of jobs can go on
and a bot can be stopped at any moment. A job goes on where it was when the next bot starts.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bots.marking import base_name, button, code, one_line, plain, short
from bots.port import Say
from bots.texts import N_, Speaker, speaker
from trainerlib import TrainerlibError, Workspace

if TYPE_CHECKING:
    from trainerlib.jobs import Job
    from trainerlib.training import TrainingJob

Notify = Callable[[str, Say], Awaitable[bool]]
"""Shows something to a person (by id), and raises nothing; False when it cannot: they are on another platform, say."""

STATES = {
    "requested": N_("not begun yet"),
    "uploading": N_("sending the files"),
    "submitting": N_("asking the trainer"),
    "running": N_("running"),
    "paused": N_("held"),
    "succeeded": N_("done"),
    "refused": N_("refused"),
    "failed": N_("failed"),
    "cancelled": N_("stopped"),
}
"""What the states of a job are called."""

_LOSSES = ("train_loss", "loss", "valid_loss", "eval_loss")
_LATEST = 86_400.0
"""Seconds after which nobody is told any more how a job ended: they know."""

_LOOK = 10.0
_LONGEST = 60.0
_PATIENCE = 3
"""Tries after which it is said why a job does not go on: another process may have had it for a moment."""

_log = logging.getLogger(__name__)


class Following:
    """The jobs that this process drives.

    Args:
        workspace: whose jobs.
        thread: makes a call in a thread.
        every: seconds after which a step that failed is taken again, the first time.
    """

    def __init__(
        self, workspace: Workspace, thread: Callable[[Callable[[], Any]], Coroutine[Any, Any, Any]], every: float
    ) -> None:
        self._every = every
        self._workspace = workspace
        self._thread = thread
        self._driven: dict[str, asyncio.Task[None]] = {}
        self._trouble: dict[str, str] = {}
        self._settled: set[str] = set()
        self._languages: dict[str, str] = {}
        self._news = asyncio.Event()

    def heard(self, person: str, language: str) -> None:
        """Remember the language of somebody who may be told later how their job ended."""
        self._languages[person] = language

    def begin(self, job: str) -> None:
        """Drive a job to its end, unless this process does already."""
        if job not in self._driven:
            self._driven[job] = task = asyncio.get_running_loop().create_task(self._drive(job))
            task.add_done_callback(_log_defect)

    def trouble(self, job: str) -> str:
        """Why a job does not go on at the moment; empty while it does."""
        return self._trouble.get(job, "")

    async def resume(self, notify: Notify) -> None:
        """Drive every job that has not ended, those begun later included, and tell whoever began one how it ended.

        Run it as long as the bot runs: it ends when it is cancelled, and the jobs go on at the next start.

        Args:
            notify: shows something to a person.
        """
        try:
            while True:
                # What ends while it is looked at is looked at again.
                self._news.clear()
                try:
                    for job in await self._thread(self._unsettled):
                        if job.ended:
                            await self._tell(job, notify)
                        else:
                            self.begin(job.id)
                except TrainerlibError as error:
                    _log.warning("training jobs cannot be looked at: %s", error)
                try:
                    await asyncio.wait_for(self._news.wait(), _LOOK)
                except TimeoutError:
                    continue
        finally:
            await self.close()

    async def close(self) -> None:
        """Drive no job any more."""
        driven = list(self._driven.values())
        for task in driven:
            task.cancel()
        await asyncio.gather(*driven, return_exceptions=True)
        self._driven.clear()

    # --- driving -----------------------------------------------------------------------------------------------------

    async def _drive(self, name: str) -> None:
        """Take the steps of a job until it has ended; what fails is tried again, less and less often."""
        job: Job | None = None
        failed = 0
        while True:
            try:
                job = job or await self._thread(lambda: self._workspace.jobs.get(name))
                wait = await self._thread(job.advance)
            except (TrainerlibError, OSError) as error:
                failed += 1
                wait = min(_LONGEST, self._every * 2.0 ** min(failed - 1, 16))
                if failed >= _PATIENCE:
                    _log.warning("job %s does not go on: %s; again in %.0f s", name, error, wait)
                    self._trouble[name] = str(error)
            else:
                failed = 0
                self._trouble.pop(name, None)
                if wait is None or wait == math.inf:
                    # The task stays in the table: a job in somebody else's hands is not asked for again and again.
                    self._news.set()
                    return
            await asyncio.sleep(wait)

    # --- telling -----------------------------------------------------------------------------------------------------

    def _unsettled(self) -> list[TrainingJob]:
        """Jobs of which nobody was told yet, and that somebody may want to be told of."""
        found = []
        for job in self._workspace.jobs.list():
            if job.id in self._settled:
                continue
            state = job.state
            if state.ended and (self._marker(job).exists() or state.ended_us / 1e6 < time.time() - _LATEST):
                self._settled.add(job.id)
            else:
                found.append(state)
        return found

    async def _tell(self, state: TrainingJob, notify: Notify) -> None:
        """Tell whoever asked for a job how it ended: once, but for a kill in the moment after."""
        self._settled.add(state.id)
        person = state.request.by
        language = self._languages.get(person, self._workspace.settings.workspace.language)
        if person and await notify(person, notice(state, speaker(language), self._workspace.path)):
            await self._thread(lambda: self._mark(state.id))

    def _marker(self, job: Job) -> Path:
        return job.directory.with_name(f"{job.id}.told")

    def _mark(self, name: str) -> None:
        marker = self._marker(self._workspace.jobs.get(name))
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()


def _log_defect(task: asyncio.Task[None]) -> None:
    """What nobody foresaw ends the driving of one job; the next start goes on with it."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("a job is not driven any more", exc_info=error)


# --- words -----------------------------------------------------------------------------------------------------------


def heading(state: TrainingJob) -> str:
    """Which job it is: its id, its dataset, and the model it begins with."""
    wanted = state.request
    dataset = code(f"{wanted.dataset}@{wanted.dataset_version}")
    return f"{code(state.id)} · {dataset} → {code(f'{wanted.trainer}:{base_name(wanted.model)}')}"


def progress(state: TrainingJob, _: Speaker, trouble: str = "") -> str:
    """How far a job is, in a line or two.

    Args:
        state: the job.
        _: says it.
        trouble: why it does not go on at the moment.
    """
    parts = [_(STATES[state.state])]
    if state.step and state.steps:
        parts.append(_("step {step} of {steps}").format(step=f"{state.step:,}", steps=f"{state.steps:,}"))
    elif state.step:
        parts.append(_("step {step}").format(step=f"{state.step:,}"))
    loss = next((state.metrics[name] for name in _LOSSES if name in state.metrics), None)
    if loss is not None:
        parts.append(_("loss {value}").format(value=f"{loss:.3f}"))
    if state.model:
        parts.append(code(state.model))
    lines = [f"{heading(state)}\n{', '.join(parts)}"]
    why = state.error if state.ended else trouble
    if why:
        lines.append(code(one_line(why, 300)))
    return "\n".join(lines)


def notice(state: TrainingJob, _: Speaker, workspace: Path) -> Say:
    """What whoever asked for a job is told when it has ended, with the next step.

    Args:
        state: the job.
        _: says it.
        workspace: directory of the workspace.
    """
    dataset = code(f"{state.request.dataset}@{state.request.dataset_version}")
    if state.state == "succeeded":
        done = _("The training on {dataset} is done. The new model is {model}.").format(
            dataset=dataset, model=code(state.model)
        )
        # The command is shown as it is typed, in any language.
        following = _("Next: compare it with the model that answers now, by {evaluate}, then {promote}.").format(
            evaluate=code(f"/model evaluate {state.model}"), promote=code(f"/model promote {state.model}")
        )
        return Say(f"{done}\n{following}", ((button(_("Compare them"), "model", "evaluate", short(state.model)),),))
    if state.state == "cancelled":
        return Say(_("The training on {dataset} was stopped.").format(dataset=dataset))
    failed = _("The training on {dataset} has failed.").format(dataset=dataset)
    why = [code(one_line(plain(words, workspace), 600)) for words in (state.error, state.advice) if words]
    return Say("\n".join([failed, *why]))
