"""`evaluate` and `test`: ask models what they were not trained on, or cases of one's own."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from trainerlib.cli.datasets import find
from trainerlib.cli.failures import FAILED, misuse
from trainerlib.cli.output import counted, emit, note, one_line, progress_bar, say, styled, table, wrapped
from trainerlib.cli.session import Session, person
from trainerlib.errors import EvaluationError

if TYPE_CHECKING:
    from trainerlib.cases import Case
    from trainerlib.evaluation import Scored
    from trainerlib.evaluations import Evaluation
    from trainerlib.held_out import Chosen

_TEXT = 160
_FEW = 20

ModelArgument = Annotated[
    str, typer.Argument(metavar="MODEL", help="The model: memory, openai:NAME, local:NAME, or current.")
]
AgainstOption = Annotated[
    str | None,
    typer.Option(metavar="MODEL", help="Another model to compare it with, such as current.", show_default=False),
]
JudgeOption = Annotated[
    str | None, typer.Option(metavar="MODEL", help="A model that judges the answers.", show_default=False)
]
RecallOption = Annotated[
    bool, typer.Option("--recall/--no-recall", help="Show models similar corrections, as a bot would.")
]
TemperatureOption = Annotated[
    float | None, typer.Option(min=0, help="Of sampling; by default as the settings say.", show_default=False)
]
SeedOption = Annotated[int, typer.Option(help="Resample the cases another way.")]
FreshOption = Annotated[bool, typer.Option("--fresh", help="Ask again what was asked before.")]


def evaluate(  # noqa: PLR0917 - typer passes what the command line has
    session: Session,
    model: ModelArgument,
    against: AgainstOption = None,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="NAME[@VERSION]",
            help="Whose held-out replies; by default those of the dataset it was trained on.",
            show_default=False,
        ),
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="test or validation; by default the first that has examples.", show_default=False)
    ] = None,
    corrections: Annotated[
        bool, typer.Option("--corrections/--no-corrections", help="Ask for past corrections.")
    ] = True,
    limit: Annotated[
        int | None, typer.Option(min=1, help="So many cases at most, drawn at random.", show_default=False)
    ] = None,
    judge: JudgeOption = None,
    recall: RecallOption = True,
    temperature: TemperatureOption = None,
    seed: SeedOption = 0,
    fresh: FreshOption = False,
    show: Annotated[int, typer.Option(min=0, help="How many of the worse answers to print.")] = 10,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be asked, and ask nothing.")] = False,
) -> None:
    """Ask a model held-out replies and past corrections, and measure its answers."""
    with session.open() as workspace:
        data = find(workspace, dataset) if dataset is not None else None
        if data is not None and split is not None and split not in data.splits:
            raise misuse(f"{dataset} has no split {split!r}; it has {', '.join(data.splits)}")
        if dry_run:
            _tell_choice(
                session,
                workspace.evaluations.choose(
                    model, against=against, dataset=data, split=split, corrections=corrections, limit=limit, seed=seed
                ),
                models=2 if against else 1,
            )
            return
        with progress_bar(f"asking {model}") as progress:
            found = workspace.evaluations.evaluate(
                model,
                against=against,
                dataset=data,
                split=split,
                corrections=corrections,
                limit=limit,
                parameters=_parameters(workspace.settings.chat.parameters, temperature),
                recall=recall,
                judge=judge,
                seed=seed,
                fresh=fresh,
                by=person(),
                progress=progress,
            )
    if session.json:
        emit(_summary(found))
        return
    _tell_evaluation(found, show)


def run_cases(  # noqa: PLR0917 - typer passes what the command line has
    session: Session,
    cases: Annotated[
        str,
        typer.Argument(
            metavar="FILE|JSON",
            help='The cases: a file, - for standard input, or JSON such as \'[{"input": "...", "expected": "..."}]\'.',
            show_default=False,
        ),
    ],
    model: Annotated[
        str, typer.Option(metavar="NAME", help="The model; by default the one that answers now.", show_default=False)
    ] = "current",
    against: AgainstOption = None,
    judge: JudgeOption = None,
    recall: RecallOption = True,
    temperature: TemperatureOption = None,
    seed: SeedOption = 0,
    fresh: FreshOption = False,
) -> None:
    """Ask a model cases of your own, and report line by line; exit status 1 when one fails.

    A case has `input` (a question, or a list of messages) and one or more of `expected` (an answer, or a list of those
    accepted), `contains`, `not_contains` and `regex`; if need be `system`, `name`, and `chrf`, the likeness to an expected
    answer, 0 to 100, from which an answer passes.
    """
    asked = _read(cases)
    with session.open() as workspace, progress_bar(f"asking {model}") as progress:
        found = workspace.evaluations.test(
            asked,
            model=model,
            against=against,
            parameters=_parameters(workspace.settings.chat.parameters, temperature),
            recall=recall,
            judge=judge,
            seed=seed,
            fresh=fresh,
            by=person(),
            progress=progress,
        )
    if session.json:
        emit({**_summary(found), "passed": found.passed})
    else:
        _tell_tests(found)
    if not found.passed:
        raise typer.Exit(FAILED)


def _parameters(configured: dict[str, Any], temperature: float | None) -> dict[str, Any]:
    return {**configured, **({} if temperature is None else {"temperature": temperature})}


def _read(given: str) -> list[Case]:
    from trainerlib.evaluations import read_cases

    try:
        return read_cases(sys.stdin.buffer.read() if given == "-" else given)
    except EvaluationError as error:
        raise misuse(str(error)) from error


def _summary(found: Evaluation) -> dict[str, Any]:
    """An evaluation as scripts get it."""
    from trainerlib.evaluation import as_json

    cases = []
    for number, one in enumerate(found.answers):
        row: dict[str, Any] = {"case": one.case.id, "kind": one.case.kind, "answer": as_json(one)}
        if found.against_answers:
            row["against_answer"] = as_json(found.against_answers[number])
        cases.append(row)
    facts = ("model", "against", "event", "comparisons", "left_out", "asked", "reused", "unjudged", "directory", "new")
    return {**{name: getattr(found, name) for name in facts}, "cases": cases}


def _tell_choice(session: Session, chosen: Chosen, *, models: int) -> None:
    from trainerlib.evaluation import KINDS
    from trainerlib.tokens import count_chat

    kinds = {kind: sum([case.kind == kind for case in chosen.cases]) for kind in ("held-out", "correction")}
    tokens = models * sum([count_chat(case.turns) for case in chosen.cases])
    if session.json:
        emit({"cases": kinds, "left_out": chosen.left_out, "split": chosen.split, "tokens": tokens})
        return
    where = f" (split {chosen.split} of {chosen.dataset.name} v{chosen.dataset.version})" if chosen.dataset else ""
    for kind, count in kinds.items():
        if count:
            say(f"{count:>9,}  {KINDS[kind]}{where if kind == 'held-out' else ''}")
    _tell_left_out(chosen.left_out)
    say(f"  about {tokens:,} tokens to read (estimate, without similar corrections). Nothing asked (dry run).")


def _tell_left_out(reasons: dict[str, int]) -> None:
    from trainerlib.held_out import left_out

    for reason, count in reasons.items():
        say(f"{count:>9,}  left out: {left_out(reason)}  [{reason}]")


def _tell_evaluation(found: Evaluation, show: int) -> None:
    from trainerlib.evaluation import headline, table_rows, verdict

    whole = found.comparisons[0]
    event = found.event
    if event.dataset:
        say(f"  {event.dataset} v{event.dataset_version}, split {event.split}")
    _tell_left_out(found.left_out)
    for comparison in found.comparisons[1:] or found.comparisons:
        shown = ": shown below" if comparison.worse and show else ""
        styled(f"  {headline(comparison)}{shown}", "bold")
    if found.against:
        say(f"  {found.model} against {found.against}: {verdict(whole)}")
    for name, errors in ((found.model, whole.errors), (found.against, whole.against_errors)):
        if errors:
            say(f"  {name} did not answer {errors:,} of {whole.cases:,}; they count in no mean")
    if found.unjudged:
        say(f"  the judge gave no clear verdict on {found.unjudged:,} of {whole.cases:,}")
    rows = table_rows(whole)
    if found.against:
        table(("", f"#{found.against}", f"#{found.model}", "#difference", "95 % interval"), rows)
    else:
        table(("", f"#{found.model}"), [(label, value) for label, _, value, *_ in rows])
    if found.worse and show:
        _tell_worse(found, show)
    _tell_end(found)


def _tell_worse(found: Evaluation, show: int) -> None:
    columns = ("question", "expected", found.against, "#", found.model, "#")
    rows = [
        (
            one_line(one.case.question, _TEXT),
            one_line(" | ".join(one.case.expected), _TEXT),
            *_said(other),
            *_said(one),
        )
        for one, other in found.worse[:show]
    ]
    table(columns, rows)
    if len(found.worse) > show:
        say(f"  and {len(found.worse) - show:,} more: {found.directory / 'worse.jsonl'}")


def _said(scored: Scored) -> tuple[str, str]:
    """An answer and its chrF, for a table."""
    from trainerlib.evaluation import figure

    if scored.answer.error:
        return one_line(f"no answer: {scored.answer.error}", _TEXT), ""
    return one_line(scored.answer.text, _TEXT), figure("chrf", scored.scores.get("chrf"))


def _tell_tests(found: Evaluation) -> None:
    failed = 0
    for scored in found.answers:
        case, answer = scored.case, scored.answer
        if answer.error:
            styled(f"  error  {case.id}: {one_line(answer.error, 300)}", "yellow")
        elif scored.failed:
            styled(f"  FAIL   {case.id}: {one_line('; '.join(scored.failed), 300)}", "red")
        else:
            styled(f"  pass   {case.id}", "green")
            continue
        failed += 1
        say(wrapped(case.question, indent=" " * 20, first="         asked      "))
        for text in case.expected:
            say(wrapped(text, indent=" " * 20, first="         expected   "))
        if not answer.error:
            say(wrapped(answer.text, indent=" " * 20, first="         answered   "))
    from trainerlib.evaluation import headline

    total = len(found.answers)
    say(f"  {found.model}: {total - failed:,} of {counted(total, 'case')} passed")
    if found.against:
        styled(f"  {headline(found.comparisons[0])}", "bold")
    _tell_end(found)


def _tell_end(found: Evaluation) -> None:
    event = found.event
    if len({one.case.conversation or one.case.id for one in found.answers}) < _FEW and found.against:
        say("  these are few cases: the intervals say little")
    asked = f"{counted(found.asked, 'question')} asked"
    again = f" · {counted(found.reused, 'answer')} from before (--fresh asks again)" if found.reused else ""
    cost = f" · ${event.cost:.4f}" if event.cost is not None else ""
    say(f"  {asked}{again}{cost}")
    if not found.new:
        say("  nothing changed: this evaluation was recorded before")
    note(f"  {found.directory / 'report.md'} · sha256 {event.sha256['report.md'][:12]}…")
