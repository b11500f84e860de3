"""`train` and `job list|show|follow|cancel|pause|resume`: fine-tunes, from the preview to the model."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer

from trainerlib.cli.datasets import find
from trainerlib.cli.failures import FAILED, INTERRUPTED, misuse
from trainerlib.cli.output import console, counted, emit, interactive, moment, note, one_line, say, styled, table
from trainerlib.cli.session import Session, person
from trainerlib.errors import TrainingError

if TYPE_CHECKING:
    from trainerlib.jobs import Job
    from trainerlib.plans import Plan
    from trainerlib.training import TrainingJob
    from trainerlib.versions import Dataset
    from trainerlib.workspace import Workspace

_KINDS = {"sft": "SFT example", "dpo": "preference pair", "kto": "labelled reply"}
_LATEST = 5
_ARCHIVES = (".zip", ".tar.zst")
_BEFORE = ("requested", "uploading", "submitting")
_LONGEST_WAIT = 5.0

JobArgument = Annotated[
    str | None,
    typer.Argument(
        metavar="[JOB]",
        help="Its id, or the beginning of it; by default the latest job, or the only one that has not ended.",
        show_default=False,
    ),
]


def train(  # noqa: PLR0917 - typer passes what the command line has
    session: Session,
    dataset: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@VERSION]]",
            help="The dataset; by default the one that was selected for the next training.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        str,
        typer.Option(
            metavar="NAME", help="The model to begin with: openai:NAME, or for --trainer local a directory or Hub id."
        ),
    ] = "",
    trainer: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Who trains: openai, local, bundle, or one that is installed; told from --model by default.",
            show_default=False,
        ),
    ] = None,
    method: Annotated[str, typer.Option(help="sft, dpo or kto.")] = "sft",
    epochs: Annotated[
        float | None, typer.Option(help="How often each example is seen; by default as the trainer chooses.")
    ] = None,
    setting: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A hyperparameter, as the trainer calls it; may be repeated."),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of the training.", show_default=False)] = None,
    suffix: Annotated[str, typer.Option(metavar="NAME", help="What the new model is to be called.")] = "",
    validation: Annotated[
        bool, typer.Option("--validation/--no-validation", help="Give the trainer the validation split too.")
    ] = True,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE.zip|FILE.tar.zst", help="For --trainer bundle: put it there too.", show_default=False
        ),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be sent and what it costs.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before spending.")] = False,
    detach: Annotated[bool, typer.Option("--detach", help="Begin, and do not wait for the end.")] = False,
) -> None:
    """Fine-tune a model on a dataset: preview, confirmation, progress, and the finished model."""
    if not model.strip():
        raise misuse("--model says which model to begin with, such as openai:gpt-4.1-mini or a directory")
    chosen = trainer or ("openai" if model.startswith("openai:") else "local" if model.startswith("local:") else "")
    if not chosen:
        raise misuse(f"--trainer says who trains {model}: openai, local, bundle, or one that is installed")
    if output is not None and chosen != "bundle":
        raise misuse("--output is for --trainer bundle")
    if output is not None and not dry_run:
        _refuse_output(output.expanduser())
    with session.open() as workspace:
        data = _dataset(workspace, dataset)
        wanted: dict[str, Any] = {
            "model": model,
            "trainer": chosen,
            "method": method,
            "hyperparameters": _hyperparameters(chosen, epochs, setting or []),
            "seed": seed,
            "suffix": suffix,
            "validation": validation,
            "by": person(),
        }
        plan = workspace.jobs.plan(data, **wanted)
        if dry_run:
            _tell_dry_run(session, plan, 0 if session.json else _pairs(workspace, plan))
            if plan.problems:
                raise typer.Exit(FAILED)
            return
        if plan.problems:
            raise TrainingError("; ".join(plan.problems))
        if not session.json:
            _tell_plan(plan)
        if plan.paid and not yes:
            _confirm(plan)
        job = workspace.jobs.start(data, **wanted)
        if chosen == "bundle":
            _bundle(session, job, None if output is None else output.expanduser())
            return
        if detach:
            _begin(session, job)
            return
        _follow(session, job)


def list_(session: Session) -> None:
    """List the training jobs, oldest first."""
    with session.open() as workspace:
        found = [job.state for job in workspace.jobs.list()]
    if session.json:
        emit(found)
    elif not found:
        say("  no training jobs yet; begin one with: trainerlib train DATASET --model NAME")
    else:
        table(
            ("job", "asked for", "trainer", "dataset", "method", "state", "#step", "model or error"),
            [
                (
                    state.id,
                    moment(state.requested_at),
                    state.request.trainer,
                    f"{state.request.dataset}@{state.request.dataset_version}",
                    state.request.method,
                    _state(state),
                    f"{state.step:,} of {state.steps:,}" if state.steps else state.step or "",
                    state.model or one_line(state.error, 80),
                )
                for state in found
            ],
        )


def show(session: Session, job: JobArgument = None) -> None:
    """Show a training job: what was asked for, where it is, and what its trainer said."""
    with session.open() as workspace:
        found = _job(workspace, job)
        state = found.state
        words = [recorded for recorded in found.events() if getattr(recorded.event, "message", "")]
    if session.json:
        emit(state)
        return
    _tell_state(state)
    for recorded in words[-_LATEST:]:
        say(f"  {moment(recorded.recorded_at)}  {one_line(getattr(recorded.event, 'message', ''), 300)}")


def follow(session: Session, job: JobArgument = None) -> None:
    """Go on with a training job until it has ended. Interrupt it at any time: it goes on where it was."""
    with session.open() as workspace:
        found = _job(workspace, job)
        if found.state.request.trainer == "bundle" and not found.state.ended:
            _bundle(session, found, None)
            return
        _follow(session, found)


def cancel(session: Session, job: JobArgument = None) -> None:
    """End a training job, here and at its trainer's."""
    with session.open() as workspace:
        found = _job(workspace, job, change=True)
        before = found.state.ended
        state = found.cancel(by=person())
    _tell_change(session, state, "nothing changed: it had ended" if before else "ended")


def pause(session: Session, job: JobArgument = None) -> None:
    """Hold a training job."""
    with session.open() as workspace:
        state = _job(workspace, job, change=True).pause()
    _tell_change(session, state, f"held; let it go on with: trainerlib job resume {state.id}")


def resume(session: Session, job: JobArgument = None) -> None:
    """Let a training job that is held go on."""
    with session.open() as workspace:
        state = _job(workspace, job, change=True).resume()
    _tell_change(session, state, f"goes on; watch it with: trainerlib job follow {state.id}")


# --- what was asked for ----------------------------------------------------------------------------------------------


def _dataset(workspace: Workspace, name: str | None) -> Dataset | str:
    if name is not None:
        return find(workspace, name) if "@" in name else name
    selected = workspace.datasets.selected()
    if len(selected) != 1:
        known = ", ".join(f"{one.name}@{one.version}" for one in selected) or "none"
        raise misuse(f"name the dataset, or select one with: trainerlib dataset select NAME (selected: {known})")
    return selected[0]


def _job(workspace: Workspace, name: str | None, *, change: bool = False) -> Job:
    """The job that is meant: one that is changed is named where several could be meant."""
    if name is not None:
        return workspace.jobs.get(name)
    found = workspace.jobs.list()
    if not found:
        raise misuse("no training jobs yet; begin one with: trainerlib train DATASET --model NAME")
    pending = workspace.jobs.pending() if change else []
    if len(pending) > 1:
        raise misuse(f"which job? {', '.join(job.id for job in pending)} have not ended")
    return (pending or found)[-1]


def _hyperparameters(trainer: str, epochs: float | None, settings: list[str]) -> dict[str, Any]:
    """Hyperparameters as the trainer calls them; a value that reads as JSON is taken as such."""
    found: dict[str, Any] = {}
    if epochs is not None:
        found["n_epochs" if trainer == "openai" else "epochs"] = int(epochs) if epochs.is_integer() else epochs
    for setting in settings:
        name, equals, value = (part.strip() for part in setting.partition("="))
        if not (name and equals and value):
            raise misuse(f"--set takes KEY=VALUE, such as learning_rate=1e-4, not {setting!r}")
        if name in found:
            raise misuse(f"{name} is given twice")
        try:
            found[name] = msgspec.json.decode(value)
        except msgspec.DecodeError:
            found[name] = value
    return found


# --- before it begins ------------------------------------------------------------------------------------------------


def preview(plan: Plan) -> str:
    """What a job is about, in a line: rows, tokens, cost."""
    wanted = plan.request
    about = "" if plan.exact else "about "
    rows = wanted.rows.get("train", 0)
    more = wanted.rows.get("validation", 0)
    parts = [counted(rows, _KINDS.get(wanted.method, "row"))]
    if more:
        parts.append(f"{more:,} to validate")
    parts.append(f"{about}{wanted.tokens:,} tokens")
    cost = "" if wanted.cost is None else f", {about}${wanted.cost:,.2f}"
    epochs = f"{plan.epochs:g} epoch" if plan.epochs == 1 else f"{plan.epochs:g} epochs"
    return f"{', '.join(parts)}{cost} at {epochs}"


def _tell_plan(plan: Plan) -> None:
    wanted = plan.request
    say(f"  {wanted.dataset}@{wanted.dataset_version} -> {wanted.trainer}, beginning with {wanted.model}")
    say(f"  {preview(plan)}")
    for line in plan.warnings:
        say(f"  note: {line}")


def _pairs(workspace: Workspace, plan: Plan) -> int:
    """Pairs of a good and a bad reply that supervised fine-tuning leaves unused."""
    from trainerlib.formats import expressible

    if plan.request.method != "sft":
        return 0
    data = workspace.datasets.get(plan.request.dataset, plan.request.dataset_version)
    return sum(expressible(window, "trl-preference") for _, line in data.lines("train") for window in line.examples)


def _tell_dry_run(session: Session, plan: Plan, pairs: int) -> None:
    if session.json:
        emit(plan)
        return
    say(f"  {preview(plan)}. Nothing sent (dry run).")
    if pairs:
        say(f"  {counted(pairs, 'preference pair')} in it as well: --method dpo learns from them")
    for line in plan.warnings:
        say(f"  note: {line}")
    for line in plan.problems:
        styled(f"  would be refused: {line}", "red")


def _confirm(plan: Plan) -> None:
    if not interactive():
        raise misuse("this may cost money and nobody is asked here: see --dry-run first, then say --yes")
    cost = "an unknown sum" if plan.request.cost is None else f"about ${plan.request.cost:,.2f}"
    if not typer.confirm(f"  Send this to {plan.request.trainer} and spend {cost}?", err=True):
        raise typer.Exit(FAILED)


# --- while it goes on ------------------------------------------------------------------------------------------------


def _follow(session: Session, job: Job) -> None:
    """Watch a job to its end; whoever interrupts that is told how to go on."""
    if not session.json:
        note(f"  job {job.id}; interrupt this at any time, it goes on: trainerlib job follow {job.id}")
    try:
        with _bar(job.id) as progress:
            state = job.follow(progress)
    except KeyboardInterrupt:
        note(f"  job {job.id} {_state(job.state)}; go on with: trainerlib job follow {job.id}")
        note(f"  or end it with: trainerlib job cancel {job.id}")
        raise typer.Exit(INTERRUPTED) from None
    if session.json:
        emit(state)
    else:
        _tell_state(state)
    if state.state != "succeeded":
        raise typer.Exit(FAILED)


@contextmanager
def _bar(name: str) -> Iterator[Callable[[TrainingJob], None]]:
    """Steps and loss on stderr: a bar where somebody watches, otherwise a line whenever the state changes."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        told: list[str] = []

        def line(state: TrainingJob) -> None:
            if _state(state) not in told[-1:]:
                told.append(_state(state))
                note(f"  {_state(state)}")

        yield line
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=32),
        TextColumn("{task.fields[about]}", markup=False),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(name, total=None, about="")
        yield lambda state: bar.update(
            task, description=_state(state), completed=state.step, total=state.steps or None, about=_measured(state)
        )


def _measured(state: TrainingJob) -> str:
    """`step 30 of 93 · loss 1.234`."""
    steps = f"step {state.step:,}" + (f" of {state.steps:,}" if state.steps else "") if state.step else ""
    losses = [f"{name} {state.metrics[name]:.3f}" for name in ("loss", "train_loss", "eval_loss", "valid_loss")
              if name in state.metrics]  # fmt: skip
    return " · ".join([part for part in (steps, *losses) if part])


def _state(state: TrainingJob) -> str:
    """A job's state, and its trainer's word for it where that says more."""
    remote = one_line(state.remote_state, 40)
    return f"{state.state} ({remote})" if remote and remote != state.state and not state.ended else state.state


def _begin(session: Session, job: Job) -> None:
    """Take a job so far that its trainer has it."""
    while job.state.state in _BEFORE:
        wait = job.advance()
        if wait is None:
            break
        time.sleep(min(wait, _LONGEST_WAIT))
    state = job.state
    if session.json:
        emit(state)
    elif state.ended:
        _tell_state(state)
    else:
        say(f"  job {job.id} {_state(state)}; watch it with: trainerlib job follow {job.id}")
    if state.ended and state.state != "succeeded":
        raise typer.Exit(FAILED)


def _tell_change(session: Session, state: TrainingJob, words: str) -> None:
    if session.json:
        emit(state)
    else:
        say(f"  job {state.id} {_state(state)}: {words}")


def _tell_state(state: TrainingJob) -> None:
    wanted = state.request
    of = f"{wanted.dataset}@{wanted.dataset_version}"
    say(f"  job {state.id} {_state(state)} · {wanted.trainer}, {wanted.model} on {of} by {wanted.method}")
    if _measured(state):
        say(f"  {_measured(state)}")
    if state.tokens is not None:
        say(f"  {state.tokens:,} tokens trained on")
    if state.remote and wanted.trainer != "bundle":
        say(f"  its trainer calls it {state.remote}")
    if state.model:
        styled(f"  {state.model}", "bold")
        say(f"  next: trainerlib evaluate {state.model} --against current")
    if state.error:
        code = f"  [{state.code}]" if state.code else ""
        styled(f"  {one_line(state.error, 600)}{code}", "red")
    if state.advice:
        say(f"  {one_line(state.advice, 600)}")


# --- a bundle --------------------------------------------------------------------------------------------------------


def _refuse_output(output: Path) -> None:
    if output.name.endswith(_ARCHIVES):
        return
    if output.is_file() or (output.is_dir() and any(output.iterdir())):
        raise misuse(f"{output} is there already and not empty; name a new directory, or a .zip or .tar.zst")


def _bundle(session: Session, job: Job, output: Path | None) -> None:
    """Write a job's bundle, and say how its model comes back."""
    from trainerlib.archives import archive_directory

    job.advance()
    state = job.state
    where = job.directory / "bundle"
    if output is not None and output.name.endswith(_ARCHIVES):
        where = archive_directory(where, output).path
    elif output is not None:
        where = Path(shutil.copytree(where, output, dirs_exist_ok=True))
    if session.json:
        emit({**msgspec.structs.asdict(state), "bundle": where})
        return
    say(f"  bundle written to {where}; its README.md says how to train it")
    say(f"  bring the model back with: trainerlib model add DIRECTORY --job {job.id}")
