"""`model list|show|add|promote|rollback|offer|compare`: which models there are, and which one answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from msgspec.structs import asdict

from trainerlib.cli.failures import misuse
from trainerlib.cli.output import counted, emit, moment, one_line, say, styled, table
from trainerlib.cli.recording import By
from trainerlib.cli.session import Session, person

if TYPE_CHECKING:
    from trainerlib.models import Model, Promotion
    from trainerlib.promotion import Rate, Side

ModelName = Annotated[
    str, typer.Argument(metavar="NAME", help="The model: memory, openai:NAME, local:NAME, or current.")
]
NoteOption = Annotated[str, typer.Option(help="Why, or where it comes from.")]


def list_(session: Session) -> None:
    """List the models: which one answers, how each was evaluated, and whether its files are there."""
    with session.open() as workspace:
        found = workspace.models.list()
    if session.json:
        emit(found)
        return
    table(
        ("model", "tuned from", "added", "#chrF", "against", "about it"),
        [
            (
                model.name,
                model.base,
                moment(model.added_at) if model.added_at else "",
                _score(model),
                model.evaluation.against if model.evaluation is not None else "",
                _about(model),
            )
            for model in found
        ],
    )


def show(session: Session, name: ModelName = "current") -> None:
    """Show a model: where it comes from, what its latest evaluation said, and whether its files are as they were."""
    from trainerlib.promotion import got_worse

    with session.open() as workspace:
        model = workspace.models.get(name)
        problems = workspace.models.problems(name)
    if session.json:
        emit({**asdict(model), "problems": problems})
        return
    styled(f"  {model}", "bold")
    facts = {
        "job": model.job,
        "added": f"{moment(model.added_at)}{f' by {model.by}' if model.by else ''}" if model.added_at else "",
        "note": one_line(model.note, 200),
        "promoted": moment(model.promoted_at) if model.promoted_at else "",
        "files": str(model.directory or ""),
    }
    for label, value in facts.items():
        if value:
            say(f"    {label:<10}{value}")
    event = model.evaluation
    if event is not None and model.evaluated_at is not None:
        against = f" against {event.against}" if event.against else ""
        say(f"    {'evaluated':<10}{moment(model.evaluated_at)}{against}: {_told(model)}")
        for line in got_worse(event):
            say(f"    {'':<10}{line}")
    for line in problems:
        styled(f"    {line}", "red")


def add(  # noqa: PLR0917 - typer passes what the command line has
    session: Session,
    model: Annotated[
        str,
        typer.Argument(
            metavar="DIRECTORY|NAME",
            help="A directory with config.json, weights and tokenizer, or openai:NAME of a server.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str, typer.Option(metavar="NAME", help="What to call it; by default as its job wanted, or as its directory is.")
    ] = "",
    base: Annotated[str, typer.Option(metavar="MODEL", help="The model it was tuned from.")] = "",
    job: Annotated[str, typer.Option(metavar="ID", help="The training job it comes from, such as a bundle's.")] = "",
    note: NoteOption = "",
    by: By = None,
) -> None:
    """Make a model known: a directory is copied into the workspace, and a bundle's job has its model."""
    with session.open(create=True) as workspace:
        before = workspace.store.position
        found = workspace.models.add(model, name=name, base=base, job=job, note=note, by=by or person())
        new = workspace.store.position > before
    if session.json:
        emit({**asdict(found), "new": new})
    elif not new:
        same = ", with the same files" if found.directory else ""
        say(f"  nothing changed: {found.name} was added before{same}")
    else:
        say(f"  {found}")
        say(f"  next: trainerlib evaluate {found.name} --against current")


def promote(
    session: Session,
    name: ModelName,
    force: Annotated[
        bool, typer.Option("--force", help="Promote it although it is not shown to be better; that is recorded.")
    ] = False,
    note: NoteOption = "",
    by: By = None,
) -> None:
    """Have a model answer from here on; refused unless an evaluation shows it to be better than the one that does now."""
    with session.open() as workspace:
        done = workspace.models.promote(name, force=force, note=note, by=by or person())
    if session.json:
        emit({**_summary_of(done), "evaluation": done.decision.evaluation if done.decision is not None else None})
        return
    if not done.new:
        say(f"  nothing changed: {done.model.name} answers already")
        return
    say(f"  {done.model.name} answers from here on; before it was {done.before}")
    if done.decision is not None:
        if done.forced:
            styled(f"  forced: {done.decision.refusal}", "yellow")
        elif done.decision.evaluation is not None:
            say(f"  {_told(done.model)}")
        if not done.forced:
            for line in done.decision.worse:
                styled(f"  {line}", "yellow")
    say("  take it back with: trainerlib model rollback")


def rollback(session: Session, note: NoteOption = "", by: By = None) -> None:
    """Have the model answer that answered before this one."""
    with session.open() as workspace:
        done = workspace.models.rollback(note=note, by=by or person())
    if session.json:
        emit(_summary_of(done))
    else:
        say(f"  {done.model.name} answers again, in the place of {done.before}")


def offer(
    session: Session,
    name: ModelName,
    share: Annotated[
        float, typer.Option(metavar="0..1", help="The share of the conversations it is given; 0 ends that.")
    ],
    by: By = None,
) -> None:
    """Give a share of the conversations to a candidate, always the same ones."""
    if not 0 <= share <= 1:
        raise misuse(f"--share is from 0 to 1, not {share:g}: 0.1 is one conversation in ten")
    with session.open() as workspace:
        before = workspace.store.position
        model = workspace.models.offer(name, share, by=by or person())
        current, new = workspace.models.current, workspace.store.position > before
    if session.json:
        emit({**asdict(model), "new": new})
    elif not new:
        say("  nothing changed: it was so before")
    elif share:
        say(f"  {model.name} answers {_percent(share)} of the conversations, {current} the others")
        say("  compare them with: trainerlib model compare")
    else:
        say(f"  {current} answers every conversation again")


def compare(session: Session) -> None:
    """Compare what people said about the candidate's replies with what they said about the other model's."""
    from trainerlib.promotion import apart

    with session.open() as workspace:
        found = workspace.models.comparison()
    if session.json:
        emit(found)
        return
    sides = (found.candidate, found.current)
    say(f"  since {moment(found.since)}, {_percent(found.share)} of the conversations for the candidate")
    kinds: tuple[tuple[str, tuple[Rate, Rate]], ...] = (
        ("rated up", _both(sides, "up")),
        ("rated down", _both(sides, "down")),
        ("corrected", _both(sides, "corrected")),
    )
    rows: list[tuple[object, ...]] = [
        ("conversations", *(f"{one.conversations:,}" for one in sides), ""),
        ("replies", *(f"{one.replies:,}" for one in sides), ""),
    ]
    rows += [(label, *map(str, rates), "differ" if apart(*rates) else "") for label, rates in kinds]
    table(("", f"#{found.candidate.model}", f"#{found.current.model}", ""), rows)
    say("  shares of the replies with 95 % intervals (Wilson); replies of one conversation are not quite independent")
    if not found.candidate.replies:
        say(f"  {found.candidate.model} has answered nobody yet")


def _both(sides: tuple[Side, Side], kind: str) -> tuple[Rate, Rate]:
    return getattr(sides[0], kind), getattr(sides[1], kind)


def _percent(share: float) -> str:
    """`10 %`, `12.5 %`."""
    return f"{100 * share:.10g} %"


def _score(model: Model) -> str:
    """The chrF of a model's latest evaluation."""
    from trainerlib.evaluation import figure

    value = model.evaluation.scores.get("chrf") if model.evaluation is not None else None
    return "" if value is None else figure("chrf", value)


def _told(model: Model) -> str:
    """The latest evaluation of a model in a line."""
    from trainerlib.promotion import told

    event = model.evaluation
    if event is None:
        return ""
    metrics = [told(name, event) for name in ("chrf", "passed") if name in event.scores]
    return ", ".join([counted(event.cases, "case"), *metrics])


def _about(model: Model) -> str:
    """What else there is to know of a model."""
    facts = {
        "answers": model.current,
        f"candidate for {_percent(model.share)}": model.share,
        "files gone": not model.present,
        f"job {model.job}": model.job,
        one_line(model.note, 60): model.note,
    }
    return " · ".join([words for words, true in facts.items() if true])


def _summary_of(done: Promotion) -> dict[str, Any]:
    refusal = done.decision.refusal if done.decision is not None else ""
    worse = done.decision.worse if done.decision is not None else ()
    facts = {"forced": done.forced, "refusal": refusal, "worse": worse, "new": done.new}
    return {"model": done.model, "before": done.before, **facts}
