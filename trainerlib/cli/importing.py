"""`import`: a foreign file into the log, with the two questions only a person can answer."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from trainerlib.cli.failures import misuse
from trainerlib.cli.output import clean, counted, emit, interactive, note, one_line, progress_bar, say
from trainerlib.cli.session import Session
from trainerlib.errors import AssistantUnknownError

if TYPE_CHECKING:
    from trainerlib.importers.records import Record
    from trainerlib.imports import ImportReport

_SHOWN = 20


def import_(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A chat export or training file, plain or .gz.", show_default=False)
    ],
    *,
    format_: Annotated[
        str | None, typer.Option("--format", help="Its format; told from its content by default.")
    ] = None,
    assistant: Annotated[
        str | None, typer.Option(metavar="NAME", help="Who the assistant is, in a chat of people.")
    ] = None,
    basis: Annotated[str | None, typer.Option(help='Why it may be trained on: "licence: CC BY 4.0".')] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Record nothing when a line is bad.")] = False,
) -> None:
    """Record what a file holds; importing it again adds nothing."""
    file = file.expanduser()
    known = _format(file, format_)
    fresh = not (session.directory / "trainer.db").exists()
    ask = interactive() and not session.json and (fresh or not _imported(session, file))
    if ask or fresh:
        # Before a workspace is made for nothing.
        assistant = _find_assistant(file, known, assistant, ask=ask)
    if basis is None and ask:
        basis = _asked("  May this be trained on, and on what basis? (Enter: not stated)  > ")
    with session.open(create=True) as workspace, progress_bar(file.name) as progress:
        try:
            report = workspace.import_file(
                file, format=known, assistant=assistant, basis=basis or "", strict=strict, progress=progress
            )
        except KeyboardInterrupt:
            note("trainerlib: interrupted; run the same command again and it goes on from here")
            raise
    if session.json:
        emit(_json(report))
        return
    if fresh:
        say(f"  new workspace: {session.directory}")
    _tell(report, basis=basis or "")
    if not basis and not report.already and not ask:
        note("  no basis was stated: --basis says why this may be trained on, and can be added by importing again")


class _Glance:
    """What passes by while the assistant is looked for: enough to say what kind of file this is."""

    def __init__(self) -> None:
        self.titles: dict[str, None] = {}
        self.messages = 0
        self.first: datetime | None = None
        self.last: datetime | None = None

    def watch(self, records: Iterator[Record]) -> Iterator[Record]:
        """The records, noticed as they pass."""
        from trainerlib.importers.records import SourceChat, SourceMessage

        for record in records:
            if isinstance(record, SourceChat):
                self.titles.setdefault(record.title or record.id)
            elif isinstance(record, SourceMessage):
                self.messages += 1
                if record.sent_at is not None:
                    self.first = min(self.first or record.sent_at, record.sent_at)
                    self.last = max(self.last or record.sent_at, record.sent_at)
            yield record

    def describe(self, known: str) -> str:
        """`telegram chat "Flower shop", 2,114 messages, 2024-03-02 to 2026-11-14`."""
        title = next(iter(self.titles), "")
        where = f'chat "{title}"' if len(self.titles) == 1 else counted(len(self.titles), "chat")
        when = f", {self.first:%Y-%m-%d} to {self.last:%Y-%m-%d}" if self.first and self.last else ""
        return f"{known} {where}, {counted(self.messages, 'message')}{when}"


def _format(file: Path, name: str | None) -> str:
    from trainerlib import importers

    if file.is_dir():
        raise misuse(f"{file} is a directory; which file in it?")
    if name is not None and name not in importers.FORMATS:
        raise misuse(f"unknown format {name!r}; known: {', '.join(importers.FORMATS)}")
    return name or importers.detect(file)


def _imported(session: Session, file: Path) -> bool:
    """Whether this very file is in the log already, so that nothing has to be asked."""
    with file.open("rb") as content:
        digest = hashlib.file_digest(content, "sha256").hexdigest()
    with session.open() as workspace:
        return any(imported.sha256 == digest for imported in workspace.imports())


def _find_assistant(file: Path, known: str, assistant: str | None, *, ask: bool) -> str | None:
    from trainerlib import importers
    from trainerlib.importers.recorder import find_assistant

    glance = _Glance()
    try:
        find_assistant(glance.watch(importers.read(file, known)), assistant)
    except AssistantUnknownError as error:
        if not ask:
            raise
        say(f"  {glance.describe(known)}")
        if assistant is not None:
            say(f"  nobody in it is called {assistant!r}")
        return _choose(error.authors)
    return assistant


def _choose(authors: dict[str, int]) -> str:
    """Ask who the assistant is until the answer is one of them."""
    names = list(authors)[:9]
    choices = "   ".join(
        f"{number}) {name} ({counted(authors[name], 'message')})" for number, name in enumerate(names, 1)
    )
    while True:
        answer = _asked(f"  Who is the assistant here?   {clean(choices)}   > ")
        if answer in authors:
            return answer
        if answer.isdecimal() and 1 <= int(answer) <= len(names):
            return names[int(answer) - 1]
        say(f"  A number from 1 to {len(names)}, or a name, please; Ctrl-C to leave.")


def _asked(question: str) -> str:
    try:
        return input(question).strip()
    except EOFError:
        raise KeyboardInterrupt from None


def _tell(report: ImportReport, *, basis: str) -> None:
    parts = [counted(report.messages, "message"), counted(report.conversations, "conversation")]
    parts += [counted(report.corrections, "correction")] if report.corrections else []
    parts += [counted(report.feedback, "rating")] if report.feedback else []
    parts += [f"{counted(report.bad_line_count, 'bad line')} (shown below)"] if report.bad_line_count else []
    who = f", the assistant is {report.assistant}" if report.assistant else ""
    say(f"  {report.file}: {report.format}{who}")
    say(f"  {' · '.join(parts)}")
    for bad in report.bad_lines[:_SHOWN]:
        say(f"    line {bad.line:,}: {one_line(bad.reason, 160)}")
    if report.bad_line_count > _SHOWN:
        say(f"    and {report.bad_line_count - _SHOWN:,} more; --json lists a thousand")
    if report.already:
        say("  nothing new: this file was imported already")
        return
    if basis:
        say(f"  may be trained on: {one_line(basis)}")
    added = counted(report.events, "event")
    changes = [f"{counted(report.edited, 'message')} edited"] if report.edited else []
    changes += [f"{counted(report.deleted, 'message')} deleted"] if report.deleted else []
    if report.events == 1:
        say("  nothing new in it; the import itself was noted")
    else:
        say(f"  {added} recorded" + (f", among them {' and '.join(changes)} since the last export" if changes else ""))


def _json(report: ImportReport) -> dict[str, object]:
    """The fields scripts rely on, then the rest."""
    first = ("conversations", "messages", "corrections", "feedback", "events", "bad_lines")
    fields = {name: getattr(report, name) for name in first}
    return fields | {name: getattr(report, name) for name in report.__struct_fields__}
