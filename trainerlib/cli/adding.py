"""`dataset add-directory`: a directory of good or bad examples into the log."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainerlib.cli.failures import FAILED, misuse
from trainerlib.cli.output import counted, emit, note, one_line, progress_bar, say, table
from trainerlib.cli.session import Session

if TYPE_CHECKING:
    from trainerlib.imports import DirectoryReport, ImportReport

_SHOWN = 20


def add_directory(
    session: Session,
    directory: Annotated[
        Path,
        typer.Argument(
            metavar="DIR",
            help="A directory of JSONL, JSON, text, Markdown, CSV, TSV, PDF or Word files, and those below it.",
            show_default=False,
        ),
    ],
    *,
    positive: Annotated[
        bool | None,
        typer.Option("--positive/--negative", help="What the replies in it are: good or bad.", show_default=False),
    ] = None,
    basis: Annotated[str | None, typer.Option(help='Why they may be trained on: "operator: our own examples".')] = None,
    assistant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who the assistant is, where a file does not say.")
    ] = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Record nothing of a file with a bad line; exit status 1 if anything was bad."),
    ] = False,
) -> None:
    """Record a directory of good or bad examples; adding it again adds what is new in it."""
    from trainerlib.importers.directory import is_workspace

    directory = directory.expanduser()
    if positive is None:
        raise misuse("are they good or bad? say --positive or --negative")
    # Before a workspace is made for nothing.
    if not directory.exists():
        raise misuse(f"no such directory: {directory}")
    if not directory.is_dir():
        raise misuse(f"{directory} is a file; record it with: trainerlib import {directory}")
    if is_workspace(directory):
        raise misuse(f"{directory} is a workspace; name the directory with the examples")
    fresh = not (session.directory / "trainer.db").exists()
    with session.open(create=True) as workspace, progress_bar(directory.name) as progress:
        try:
            report = workspace.add_directory(
                directory,
                rating=1 if positive else -1,
                basis=basis or "",
                assistant=assistant,
                strict=strict,
                progress=progress,
            )
        except KeyboardInterrupt:
            note("trainerlib: interrupted; run the same command again and it goes on from here")
            raise
    if session.json:
        emit(_json(report))
    else:
        if fresh:
            say(f"  new workspace: {session.directory}")
        _tell(report, basis=basis or "")
    if strict and report.is_bad:
        raise typer.Exit(FAILED)


def _tell(report: DirectoryReport, *, basis: str) -> None:
    shown = (*report.imported[:_SHOWN], *report.already[: max(0, _SHOWN - len(report.imported))])
    if shown:
        columns = ("file", "format", "#conversations", "#messages", "#corrections", "#ratings", "#bad lines", "")
        table(columns, [_cells(file) for file in shown])
        left = len(report.imported) + len(report.already) - len(shown)
        if left:
            say(f"  and {counted(left, 'file')} more; --json lists them all")
    for file in report.skipped[:_SHOWN]:
        say(f"  {'bad' if file.is_bad else 'skipped'}: {one_line(file.file, 80)}: {one_line(file.reason, 600)}")
    if len(report.skipped) > _SHOWN:
        say(f"  and {len(report.skipped) - _SHOWN:,} more left out; --json lists them all")
    bad_lines = report.bad_lines
    for name, bad in bad_lines[:_SHOWN]:
        say(f"  {one_line(name, 80)} line {bad.line:,}: {one_line(bad.reason, 160)}")
    if report.bad_line_count > _SHOWN:
        say(
            f"  and {report.bad_line_count - min(_SHOWN, len(bad_lines)):,} more bad lines; --json lists a thousand a file"
        )
    kind = "good" if report.rating > 0 else "bad"
    parts = [f"{counted(len(report.imported), 'file')} imported"]
    parts += [f"{len(report.already):,} already there"] if report.already else []
    parts += [f"{len(report.skipped):,} left out"] if report.skipped else []
    say(f"  {' · '.join(parts)}")
    if report.events:
        say(
            f"  {counted(report.events, 'event')} recorded: {kind} examples, {counted(report.ratings, 'rating')} in all"
        )
        if basis:
            say(f"  may be trained on: {one_line(basis)}")
        else:
            note("  no basis was stated: --basis says why this may be trained on, and can be added by adding it again")
    elif report.already:
        say("  nothing new: every file was added already")
    else:
        say("  nothing in it could be recorded")


def _cells(file: ImportReport) -> tuple[object, ...]:
    counts = (file.conversations, file.messages, file.corrections, file.feedback, file.bad_line_count)
    return one_line(file.file, 60), file.format, *counts, "already there" if file.already else ""


def _json(report: DirectoryReport) -> dict[str, object]:
    """The totals scripts rely on, then each file, what was left out, and the bad lines by file."""
    totals = ("conversations", "messages", "corrections", "ratings", "events", "bad_line_count")
    files = ("imported", "already", "skipped")
    bad_lines = [{"file": name, "line": bad.line, "reason": bad.reason} for name, bad in report.bad_lines]
    return {
        "directory": report.directory,
        "rating": report.rating,
        **{name: getattr(report, name) for name in (*totals, *files)},
        "bad_lines": bad_lines,
    }
