"""`/train` and `/jobs`: from a dataset to a fine-tune.

Nothing is spent before somebody confirms it by a button. The button says how many such jobs there were when it was shown,
so it begins one job at most, however often and whenever it is tapped.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from bots.bot import Bot, MisuseError
from bots.dataset_commands import Side, find, names, side_of, unknown
from bots.examples import add_directory, add_file, not_taken
from bots.job_following import progress
from bots.marking import base_name, button, code, one_line, plain, short
from bots.port import Button, Caller, Request, Say
from bots.texts import Speaker, speaker
from trainerlib import Dataset, Workspace

if TYPE_CHECKING:
    from trainerlib.jobs import Job
    from trainerlib.plans import Plan

LIVE = 600.0
"""Seconds for which `/jobs` shows how jobs go on."""

_METHODS = frozenset({"sft", "dpo", "kto"})
_TRAINERS = ("openai:", "local:")
_ACTION = 64
_TAP = re.compile(r"(?:plan|go):([0-9a-f]{8}):(\d{1,9})(?::(\d{1,9}):(sft|dpo|kto):(.+))?")
_PENDING, _LATEST = 5, 3

_BEGINNING = threading.Lock()
"""Two taps on one button at once begin one job."""


# --- /train ----------------------------------------------------------------------------------------------------------


async def train(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Make examples of what is attached or of a directory, or begin a training on a dataset."""
    _ = speaker(request.caller.language)
    words, side = side_of(request.text.split())
    if request.files:
        try:
            async for say in _taken(bot, request, words, side or "positive"):
                yield say
        finally:
            # The log has the words of it.
            bot.dialogue.discard(request)
        return
    model = words.pop() if words and words[-1].startswith(_TRAINERS) else ""
    method = words.pop().lower() if words and words[-1].lower() in _METHODS else "sft"
    given = " ".join(words)
    data = await bot.thread(lambda: _wanted(bot.workspace, given, _))
    if data is None:
        if model:
            raise unknown(bot.workspace, given, _)
        async for say in add_directory(bot, request.caller, given, side or "positive"):
            yield say
    elif side == "negative":
        raise MisuseError(
            _("What is to be avoided is said of files and directories. To mark the dataset: {example}").format(
                example=code(f"/select_dataset {given} negative")
            )
        )
    else:
        yield await _offered(bot, request.caller, data, method, model)


async def _taken(bot: Bot, request: Request, words: list[str], side: Side) -> AsyncIterator[Say]:
    """Make examples of what is attached."""
    _ = speaker(request.caller.language)
    if words:
        raise MisuseError(
            _("With a file, say only what its examples are, such as {example}.").format(example=code("/train negative"))
        )
    for upload in request.files:
        if upload.path is None:
            raise MisuseError(not_taken(bot, upload, _))
    for upload in request.files:
        async for say in add_file(bot, request.caller, upload, side):
            yield say


async def train_tapped(bot: Bot, request: Request, action: str) -> AsyncIterator[Say]:
    """Show the plan of a training, begin it, or leave it."""
    _ = speaker(request.caller.language)
    if action == "no":
        yield Say(_("Nothing was sent."))
        return
    found = _TAP.fullmatch(action)
    if found is None:
        raise MisuseError(_("That button is not known any more."))
    digest, version, before, method, named = found.groups()
    data = await bot.thread(lambda: _by_digest(bot.workspace, digest, int(version), _))
    if before is None:
        yield await _offered(bot, request.caller, data, "sft", "")
        return
    model = await bot.thread(lambda: _named(bot.workspace, named, _))
    wanted = _Training(data, method, model, int(before))
    job, new = await bot.thread(lambda: wanted.begin(bot.workspace, request.caller.person))
    bot.jobs.heard(request.caller.person, request.caller.language)
    bot.jobs.begin(job.id)
    if new:
        text = _("Job {job} has begun. You will be told when it ends; {command} shows how far it is.")
    else:
        text = _("This was begun already: job {job}. {command} shows how far it is.")
    yield Say(text.format(job=code(job.id), command=code("/jobs")))


class _Training(NamedTuple):
    """What a button begins.

    Attributes:
        data: what is learned from.
        method: how.
        model: the model to begin with.
        before: how many such jobs there were when the button was shown.
    """

    data: Dataset
    method: str
    model: str
    before: int

    def begin(self, workspace: Workspace, person: str) -> tuple[Job, bool]:
        """The job that the button began when it was tapped before, or a new one; whether it is new."""
        with _BEGINNING:
            alike = _alike(workspace, self.data, self.method, self.model)
            if len(alike) > self.before:
                return alike[self.before], False
            trainer, _, base = self.model.partition(":")
            job = workspace.jobs.start(self.data, model=base, trainer=trainer, method=self.method, by=person)
            return job, job.id not in [one.id for one in alike]


def _alike(workspace: Workspace, data: Dataset, method: str, model: str) -> list[Job]:
    """Jobs that were asked for on a dataset by a method and with a model, oldest first."""
    wanted = (method, model)
    jobs = workspace.jobs.holding([(data.name, data.version)])
    requests = [(job, job.state.request) for job in jobs]
    return [job for job, asked in requests if (asked.method, f"{asked.trainer}:{asked.model}") == wanted]


async def _offered(bot: Bot, caller: Caller, data: Dataset, method: str, model: str) -> Say:
    """What a training would take and cost, with a button that begins it."""
    _ = speaker(caller.language)
    workspace = bot.workspace
    chosen = await bot.thread(lambda: _model(workspace, model, _))
    trainer, _colon, base = chosen.partition(":")
    plan = await bot.thread(lambda: workspace.jobs.plan(data, model=base, trainer=trainer, method=method))
    if plan.problems:
        lines = [
            _("This cannot be trained:"),
            *(f"- {one_line(plain(line, workspace.path), 300)}" for line in plan.problems),
        ]
        return Say("\n".join(lines))
    before = len(await bot.thread(lambda: _alike(workspace, data, method, chosen)))
    fixed = ("train", "go", short(data.name), data.version, before, method)
    begin = button(_begin_label(plan, _), *fixed, chosen)
    # A model of this machine may be a path, and people can read what a button holds.
    if len(begin.action) > _ACTION or not chosen.isascii() or trainer == "local":
        begin = button(begin.label, *fixed, f"~{short(chosen)}")
        await bot.thread(lambda: _named(workspace, f"~{short(chosen)}", _))
    return Say(_told(plan, _, workspace.path), ((begin,), (button(_("Not now"), "train", "no"),)))


def _begin_label(plan: Plan, _: Speaker) -> str:
    cost = plan.request.cost
    if not plan.paid:
        return _("Begin")
    return _("Begin and pay") if cost is None else _("Begin, about ${cost}").format(cost=f"{cost:,.2f}")


def _told(plan: Plan, _: Speaker, workspace: Path) -> str:
    """A plan in a few lines: what is sent, how much it is, what it costs."""
    wanted = plan.request
    rows = wanted.rows.get("train", 0)
    parts = [_.plural("{count} example", "{count} examples", rows).format(count=f"{rows:,}")]
    if more := wanted.rows.get("validation", 0):
        parts.append(_("{count} to check against").format(count=f"{more:,}"))
    tokens = _("{count} tokens") if plan.exact else _("about {count} tokens")
    parts.append(tokens.format(count=f"{wanted.tokens:,}"))
    times = _("each seen once") if plan.epochs == 1 else _("each seen {count} times")
    parts.append(times.format(count=f"{plan.epochs:g}"))
    if not plan.paid:
        cost = _("It costs nothing but the time of this machine.")
    elif wanted.cost is None:
        cost = _("What it costs is not known.")
    else:
        cost = _("It costs about ${cost}.").format(cost=f"{wanted.cost:,.2f}")
    lines = [
        _("Training on {dataset}, beginning with {model} ({method}):").format(
            dataset=code(f"{wanted.dataset}@{wanted.dataset_version}"),
            model=code(f"{wanted.trainer}:{base_name(wanted.model)}"),
            method=wanted.method.upper(),
        ),
        ", ".join(parts) + ".",
        f"{cost} {_('Nothing is sent before you confirm it.')}",
        *(f"- {one_line(plain(line, workspace), 300)}" for line in plan.warnings),
    ]
    return "\n".join(lines)


# --- which dataset, which model, which directory ---------------------------------------------------------------------


def _wanted(workspace: Workspace, given: str, _: Speaker) -> Dataset | None:
    """The dataset that is meant; `None` when the words name none."""
    if given:
        return find(workspace, given)
    selected = workspace.datasets.selected()
    if len(selected) == 1:
        return selected[0]
    known = names(workspace)
    if not known:
        raise MisuseError(
            _("There is no dataset yet. Send a file of examples with the caption {caption}, then {build}.").format(
                caption=code("/train"), build=code("/datasets build")
            )
        )
    raise MisuseError(
        _("Which dataset? There is {names}. For example: {example}").format(
            names=", ".join(map(code, known)), example=code(f"/train {known[0]}")
        )
    )


def _by_digest(workspace: Workspace, digest: str, version: int, _: Speaker) -> Dataset:
    for data in workspace.datasets.list():
        if data.version == version and short(data.name) == digest:
            return data
    raise MisuseError(_("That dataset is not there any more."))


def _model(workspace: Workspace, given: str, _: Speaker) -> str:
    """The model a training begins with, `openai:NAME` or `local:NAME`: as asked, else as the last time, else as now.

    A model of this machine is named only when the workspace knows it: in a chat nobody is to try directories.
    """
    known = list(_models(workspace))
    trainer, _colon, base = given.partition(":")
    while base.startswith(f"{trainer}:"):
        base = base.removeprefix(f"{trainer}:")
    if trainer == "openai" and base:
        return f"{trainer}:{base}"
    if given and given not in known:
        raise MisuseError(
            _("The model {model} is not known here; see {command}.").format(model=code(given), command=code("/model"))
        )
    if not (given or known):
        raise MisuseError(
            _("Which model should the training begin with? For example: {example}").format(
                example=code("/train support openai:gpt-4.1-mini")
            )
        )
    return given or known[0]


def _models(workspace: Workspace) -> Iterator[str]:
    """Models that trainings may begin with, the likeliest first: of past jobs, what those that answer were tuned from."""
    for job in reversed(workspace.jobs.list()):
        wanted = job.state.request
        if f"{wanted.trainer}:" in _TRAINERS:
            yield f"{wanted.trainer}:{wanted.model}"
    current = workspace.models.get("current")
    for model in (current, *workspace.models.list()):
        trainer, _, _name = model.name.partition(":")
        if model.base and f"{trainer}:" in _TRAINERS:
            yield f"{trainer}:{model.base.removeprefix(f'{trainer}:')}"
    for model in (current, *workspace.models.list()):
        if model.name.startswith(_TRAINERS):
            yield model.name


def _named(workspace: Workspace, given: str, _: Speaker) -> str:
    """The model that a button names, in whole or by its digest."""
    if not given.startswith("~"):
        return _model(workspace, given, _)
    for name in _models(workspace):
        if short(name) == given[1:]:
            return name
    raise MisuseError(_("That model is not known here any more, or its name is too long for a button."))


# --- /jobs -----------------------------------------------------------------------------------------------------------


async def jobs(bot: Bot, request: Request) -> AsyncIterator[Say]:
    """Show how the training jobs go on: one message that changes until they have ended, ten minutes at most."""
    _ = speaker(request.caller.language)
    bot.jobs.heard(request.caller.person, request.caller.language)
    found = await bot.thread(lambda: _asked_for(bot.workspace, request.text.strip()))
    if not found:
        yield Say(_("There are no training jobs yet. {example} begins one.").format(example=code("/train support")))
        return
    until = time.monotonic() + LIVE
    shown = ""
    first = True
    while True:
        states = await bot.thread(lambda: [job.state for job in found])
        going = [state for state in states if not state.ended]
        for state in going:
            bot.jobs.begin(state.id)
        text = "\n\n".join(
            plain(progress(state, _, bot.jobs.trouble(state.id)), bot.workspace.path) for state in states
        )
        if text != shown:
            shown = text
            yield Say(text, _stops([state.id for state in going], bot, request.caller), replaces=not first)
            first = False
        if not going or time.monotonic() >= until:
            return
        await asyncio.sleep(bot.every)


def _asked_for(workspace: Workspace, given: str) -> list[Job]:
    """The job that is named, or those that have not ended; where all have, the latest."""
    if given:
        return [workspace.jobs.get(given)]
    return workspace.jobs.pending()[-_PENDING:] or workspace.jobs.list()[-_LATEST:]


def _stops(jobs: list[str], bot: Bot, caller: Caller) -> tuple[tuple[Button, ...], ...]:
    if not bot.may(caller, "train"):
        return ()
    _ = speaker(caller.language)
    label = _("Stop {job}")
    return tuple([(button(label.format(job=job), "jobs", "stop", job),) for job in jobs])


async def jobs_tapped(bot: Bot, request: Request, action: str) -> AsyncIterator[Say]:
    """Stop a job, once that was confirmed."""
    _ = speaker(request.caller.language)
    if not bot.may(request.caller, "train"):
        raise MisuseError(_("Stopping a training is for the owner of this bot."))
    what, _colon, name = action.partition(":")
    job = await bot.thread(lambda: bot.workspace.jobs.get(name))
    state = await bot.thread(lambda: job.state)
    if what == "stop" and not state.ended:
        text = _("Stop job {job}? What was spent on it is lost.").format(job=code(job.id))
        yield Say(text, ((button(_("Stop it"), "jobs", "end", job.id),),))
        return
    if not state.ended:
        state = await bot.thread(lambda: job.cancel(by=request.caller.person))
    yield Say(plain(progress(state, _), bot.workspace.path))
