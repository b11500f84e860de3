"""`dataset build`, `list`, `show`, `export`, `check`, `diff`."""

from __future__ import annotations

import gzip
import operator
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import msgspec
import typer

from trainerlib.cli.failures import FAILED, misuse
from trainerlib.cli.output import counted, emit, note, one_line, progress_bar, say, styled, table, wrapped
from trainerlib.cli.session import Session
from trainerlib.errors import DatasetError, NotFoundError, TrainerlibError

if TYPE_CHECKING:
    from trainerlib.checks import Report
    from trainerlib.versions import Dataset
    from trainerlib.workspace import Workspace

_SHOWN = 20
_POLICIES = {"latest": "the latest word", "majority": "the majority"}

Which = Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The dataset; its latest version by default.")]
FormatOption = Annotated[
    str | None, typer.Option("--format", help="The format; told from the content by default.", show_default=False)
]


def build(  # noqa: PLR0917 - typer passes what the command line has
    session: Session,
    name: Annotated[str, typer.Argument(metavar="NAME", help="What to call it.")],
    recipe: Annotated[
        Path | None, typer.Option(metavar="FILE.toml", help="The recipe; the default takes every reply.")
    ] = None,
    targets: Annotated[
        str | None, typer.Option(help="Replies to learn: all, approved, corrected, corrected-or-approved.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Deal the conversations into splits another way.")] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, help="Processes that share the work; by default one a core for a large log.", show_default=False
        ),
    ] = None,
) -> None:
    """Build a dataset from everything recorded so far."""
    from trainerlib.recipes import Recipe
    from trainerlib.workspace import load_recipe

    wanted = Recipe() if recipe is None else load_recipe(recipe.expanduser())
    if targets is not None:
        wanted = msgspec.structs.replace(wanted, targets=targets)
    if seed is not None:
        wanted = msgspec.structs.replace(wanted, split=msgspec.structs.replace(wanted.split, seed=seed))
    with session.open() as workspace:
        try:
            with progress_bar(f"building {name}") as progress:
                dataset = workspace.datasets.build(name, wanted, progress=progress, workers=workers)
        except DatasetError as error:
            raise misuse(str(error)) from error
        if session.json:
            emit(summary(dataset))
        else:
            tell(dataset)


def list_(session: Session) -> None:
    """List every version of every dataset."""
    with session.open() as workspace:
        found = workspace.datasets.list()
    if session.json:
        emit([summary(dataset) for dataset in found])
    elif not found:
        say("  no datasets yet; build one with: trainerlib dataset build NAME")
    else:
        columns = ("dataset", "#position", "#candidates", "#examples", "splits", "sha256", "about it")
        table(
            columns,
            [
                (
                    f"{item.name}@{item.version}",
                    item.position,
                    item.candidates,
                    item.examples,
                    splits(item),
                    digest(item),
                    about(item),
                )
                for item in found
            ],
        )


def show(
    session: Session,
    name: Which,
    version: Annotated[int | None, typer.Option(min=1, help="Which version.", show_default=False)] = None,
    examples: Annotated[int, typer.Option(min=0, help="How many examples to print.")] = 3,
) -> None:
    """Show what a dataset is made of, and a few of its examples."""
    with session.open() as workspace:
        dataset = find(workspace, name, version)
        rows = [example for example, _ in zip(dataset.read(), range(examples), strict=False)]
        if session.json:
            recipe = dataset.recipe.to_json()
            emit({**summary(dataset), "recipe": recipe, "tokens": dataset.estimate_tokens(), "rows": rows})
            return
        tell(dataset, built=False)
    for example in rows:
        say()
        styled(f"  {example.conversation} #{example.message} · {example.split}", "dim")
        for turn in example.context:
            styled(wrapped(turn.content, indent="      ", first=f"    {turn.role}: "))
        for label, text, style in (("chosen", example.chosen, "green"), ("rejected", example.rejected, "red")):
            if text is not None:
                styled(wrapped(text, indent="      ", first=f"    {label}: "), style)


def export(
    session: Session,
    name: Which,
    *,
    format_: Annotated[
        str,
        typer.Option(
            "--format", help="openai-chat, openai-preference, trl-sft, trl-preference, trl-kto, sharegpt, alpaca."
        ),
    ],
    split: Annotated[
        str | None, typer.Option(help="Only train, validation or test; all by default.", show_default=False)
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; standard output by default.", show_default=False)
    ] = None,
) -> None:
    """Write a dataset as lines of a fine-tuning format."""
    from trainerlib.formats import find_format

    check_format(format_)
    with session.open() as workspace:
        dataset = find(workspace, name)
        if split is not None and split not in dataset.splits:
            raise misuse(f"{name} has no split {split!r}; it has {', '.join(dataset.splits)}")
        target = None if output is None or str(output) == "-" else output.expanduser()
        if target is not None and target.is_dir():
            raise misuse(f"{target} is a directory; --output takes a file")
        before = None if target is None else _digest(target)
        sys.stdout.flush()
        report = dataset.export(target or sys.stdout.buffer, format=format_, split=split)
    facts = {field: getattr(report, field) for field in report.__struct_fields__} | {"split": split}
    if session.json and target is not None:
        emit(facts)
    elif session.json:
        # The rows have standard output to themselves.
        note(msgspec.json.encode(facts, enc_hook=str).decode())
    else:
        where = f"{target}: " if target is not None else ""
        part = split or ("all splits: " + splits(dataset) if len(dataset.splits) > 1 else next(iter(dataset.splits)))
        note(f"  {where}{counted(report.rows, 'row')} ({part}) · sha256 {report.sha256[:12]}…")
        if report.without:
            sides = "both a good and a bad reply" if find_format(format_).needs == "both" else "a good reply"
            left_out = f"{counted(report.without, 'example')} of {report.examples:,} left out"
            note(f"  {left_out}: {format_} needs {sides}")
        if report.repeated:
            left_out = f"{counted(report.repeated, 'example')} of {report.examples:,} left out"
            note(f"  {left_out}: in {format_} they say what an earlier one said")
        if before == report.sha256:
            note("  nothing changed: the file was the same before")


def check(
    session: Session,
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="A file of training rows, plain or .gz; - for standard input.", show_default=False
        ),
    ],
    format_: FormatOption = None,
) -> None:
    """Check a fine-tuning file, ours or anyone's; exit status 1 when something is wrong with it."""
    from trainerlib.checks import check as check_lines

    if format_ is not None:
        check_format(format_)
    with opened(file.expanduser()) as lines:
        report = check_lines(lines, format_)
    if session.json:
        emit({"rows": report.rows, "problems": report.problems, "format": report.format})
    else:
        _tell_check(report)
    if report.problems:
        raise typer.Exit(FAILED)


def diff(
    session: Session,
    old: Annotated[str, typer.Argument(metavar="NAME[@VERSION]", help="The dataset to compare from.")],
    new: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME[@VERSION]]",
            help="The one to compare to; without it, OLD's latest two versions.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say which examples two datasets do not share, and why."""
    with session.open() as workspace:
        if new is None:
            right = find(workspace, old)
            if right.version == 1:
                raise misuse(f"{right.name} has one version only; name what to compare it to")
            left = workspace.datasets.get(right.name, right.version - 1)
        else:
            left, right = find(workspace, old), find(workspace, new)
        found = left.diff(right)
    if session.json:
        emit(
            {
                "from": label(left),
                "to": label(right),
                "added": found.added,
                "removed": found.removed,
                "changed": found.changed,
            }
        )
        return
    if not any((found.added, found.removed, found.changed)):
        say(f"  no difference between {label(left)} and {label(right)}")
        return
    say(
        f"  {label(left)} -> {label(right)}: {len(found.added):,} added · {len(found.removed):,} removed · {len(found.changed):,} changed"
    )
    for sign, style, items in (
        ("+", "green", found.added),
        ("-", "red", found.removed),
        ("~", "yellow", found.changed),
    ):
        for item in items[:_SHOWN]:
            styled(f"    {sign} {item.conversation} #{item.message}  {item.why}", style)
        if len(items) > _SHOWN:
            styled(f"    {sign} and {len(items) - _SHOWN:,} more; --json lists all", style)


def find(workspace: Workspace, name: str, version: int | None = None) -> Dataset:
    """The dataset `NAME` or `NAME@VERSION`."""
    bare, at, number = name.partition("@")
    if at:
        digits = number.removeprefix("v")
        if not (digits.isascii() and digits.isdigit()) or len(digits) > 9:
            raise misuse(f"{name!r}: after the @ comes the number of a version, as in {bare}@1")
        if version is not None and version != int(digits):
            raise misuse(f"{name!r} and --version {version} are not the same version")
        version = int(digits)
    return workspace.datasets.get(bare, version)


def check_format(name: str) -> None:
    """Refuse a format that does not exist before anything else happens."""
    from trainerlib.formats import find_format

    try:
        find_format(name)
    except DatasetError as error:
        raise misuse(str(error)) from error


def summary(dataset: Dataset) -> dict[str, Any]:
    """A dataset as scripts get it."""
    fields = (
        "name",
        "version",
        "position",
        "candidates",
        "examples",
        "excluded",
        "splits",
        "sha256",
        "disagreements",
        "redacted",
        "bases",
        "tags",
        "note",
        "selected",
        "new",
        "directory",
    )
    return {name: getattr(dataset, name) for name in fields}


def splits(dataset: Dataset) -> str:
    """`train 493 · validation 28 · test 27`."""
    return " · ".join(f"{name} {count:,}" for name, count in dataset.splits.items())


def label(dataset: Dataset) -> str:
    """`support@2`."""
    return f"{dataset.name}@{dataset.version}"


def about(dataset: Dataset) -> str:
    """What was said of a dataset after it was built: what it is selected for, its tags and its note."""
    gone = ["erased"] if dataset.erased else []
    selected = [f"selected as {dataset.selected}"] if dataset.selected else []
    return " · ".join([*gone, *selected, *dataset.tags, *([one_line(dataset.note, 60)] if dataset.note else [])])


def digest(dataset: Dataset) -> str:
    """A short sha256 over all of its files' sha256."""
    return sha256("".join(dataset.sha256[name] for name in sorted(dataset.sha256)).encode()).hexdigest()[:12]


def tell(dataset: Dataset, *, built: bool = True) -> None:
    """What became of every candidate; with `built`, whether anything is new."""
    from trainerlib.datasets import why

    say(f"  {counted(dataset.candidates, 'candidate reply')}")
    wide = max(len(f"{dataset.candidates:,}"), 4) + 4
    say(f"{dataset.examples:>{wide},}  examples      {splits(dataset)}")
    for reason, count in dataset.excluded.items():
        say(f"{count:>{wide},}  excluded: {why(reason)}  [{reason}]")
    say(f"{'─' * (wide - 4):>{wide}}")
    say(f"{dataset.examples + sum(dataset.excluded.values()):>{wide},}  = every candidate accounted for")
    if dataset.redacted:
        values = " · ".join(f"{kind} {count:,}" for kind, count in dataset.redacted.items())
        say(f"  redacted: {values}")
    if dataset.disagreements:
        policy = dataset.recipe.raters if isinstance(dataset.recipe.raters, str) else "the raters listed"
        replies = counted(dataset.disagreements, "reply")
        say(f"  {replies} people disagree about; the recipe follows {_POLICIES.get(policy, policy)}")
    for basis, conversations in dataset.bases.items():
        say(f"  {counted(conversations, 'conversation')} on the ground of: {one_line(basis, 120)}")
    if "no-consent" in dataset.excluded:
        say("  to use the rest: trainerlib person consent PERSON, or import with --basis TEXT")
    if "platform-policy" in dataset.excluded:
        say("  to use the rest, once it is permitted: trainerlib policy grant PLATFORM --note TEXT")
    if about(dataset):
        say(f"  {about(dataset)}")
    tokens = f"about {dataset.estimate_tokens():,} tokens (estimate)"
    say(f"  {dataset.name} v{dataset.version} at position {dataset.position:,} · sha256 {digest(dataset)}… · {tokens}")
    if built and not dataset.new:
        say("  nothing changed: this recipe was built at this position before")


def _tell_check(report: Report) -> None:
    read = f"{counted(report.rows, 'row')} of {report.format}" if report.format else counted(report.rows, "row")
    if not report.problems:
        say(f"  {read}, no problems")
        return
    for problem in report.problems[:_SHOWN]:
        say(f"  line {problem.line:,}  {problem.code}: {one_line(problem.message, 300)}")
    if len(report.problems) > _SHOWN:
        counts: dict[str, int] = {}
        for problem in report.problems:
            counts[problem.code] = counts.get(problem.code, 0) + 1
        say(f"  and {len(report.problems) - _SHOWN:,} more; in all:")
        table(("", "#"), sorted(counts.items(), key=operator.itemgetter(1), reverse=True))
    say(f"  {read}, {counted(len(report.problems), 'problem')}")


@contextmanager
def opened(file: Path) -> Iterator[BinaryIO]:
    """The file's lines, unpacked when it is gzip, whatever it is called."""
    if str(file) == "-":
        yield sys.stdin.buffer
        return
    if file.is_dir():
        raise misuse(f"{file} is a directory; which file in it?")
    try:
        raw = file.open("rb")
    except OSError as error:
        raise NotFoundError(f"{file}: {error.strerror}") from error
    with raw:
        packed = raw.read(2) == b"\x1f\x8b"
        raw.seek(0)
        try:
            yield gzip.GzipFile(fileobj=raw) if packed else raw  # type: ignore[misc]
        except (EOFError, gzip.BadGzipFile, zlib.error) as error:
            raise TrainerlibError(f"{file}: the gzip file is damaged: {error}") from error


def _digest(file: Path) -> str | None:
    try:
        with file.open("rb") as content:
            from hashlib import file_digest

            return file_digest(content, "sha256").hexdigest()
    except OSError:
        return None
