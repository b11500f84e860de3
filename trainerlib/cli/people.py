"""`person show|export|erase` and `restore`: everything about a person, handed out or erased for good."""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from trainerlib.cli.consenting import PersonId
from trainerlib.cli.failures import misuse
from trainerlib.cli.output import counted, emit, emit_bytes, interactive, moment, note, one_line, say
from trainerlib.cli.recording import By
from trainerlib.cli.session import Session
from trainerlib.events import JsonObject

if TYPE_CHECKING:
    from trainerlib.erasure import ErasureReport
    from trainerlib.workspace import Workspace

_COUNTED = ("message", "reply", "correction", "feedback")
_NOUNS = {"feedback": "rating"}


def show(session: Session, person: PersonId) -> None:
    """Say what the log has about a person, and which datasets hold them."""
    with session.open() as workspace:
        facts = _facts(workspace, person)
    if session.json:
        emit(facts)
    else:
        _tell(facts)


def export(
    session: Session,
    person: PersonId,
    output: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Where to; standard output by default.", show_default=False)
    ] = None,
) -> None:
    """Write everything about a person as JSON: a list with a record a line."""
    from trainerlib.erasure import export_person

    target = None if output is None or str(output) == "-" else output.expanduser()
    if target is not None and not target.parent.is_dir():
        raise misuse(f"{target.parent}: no such directory")
    if target is not None and target.is_dir():
        raise misuse(f"{target} is a directory; --output takes a file")
    with session.open() as workspace:
        records = _lines(export_person(workspace.store, person))
        if target is None:
            for line in records:
                emit_bytes(line)
            return
        written = _write(target, records)
    if session.json:
        emit({"file": target, "records": written})
    else:
        say(f"  {target}: {counted(written, 'record')}")


def erase(
    session: Session,
    person: PersonId,
    *,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    why: Annotated[str, typer.Option("--note", help="Why; it must not name them.")] = "",
    by: By = None,
) -> None:
    """Erase a person for good: their words, the replies to them, their files, and the datasets that hold them."""
    from trainerlib.erasure import erase_person
    from trainerlib.errors import NotFoundError

    with session.open() as workspace:
        if not yes:
            if session.json or not interactive():
                raise misuse("what is erased is gone for good; --yes says that this is meant")
            with suppress(NotFoundError):
                # Of somebody who was erased before there is nothing to show, and nothing to ask.
                _tell(_facts(workspace, person))
                _confirm(person)
        report = erase_person(workspace.store, workspace.path, person, by=by or "", note=why)
    if session.json:
        emit(report)
    elif report.new:
        _tell_erased(report)
    else:
        say(f"  nothing changed: erased before, as {report.person} (event {report.position:,})")


def restore(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The backup.", show_default=False)],
) -> None:
    """Put a backup in the place of the log, and erase from it whoever was erased since."""
    from trainerlib.restoring import restore as put_back

    report = put_back(file.expanduser(), session.directory)
    if session.json:
        emit(report)
        return
    say(f"  {session.directory}: restored, {counted(report.position, 'event')}")
    if report.erased:
        say(f"  {counted(len(report.erased), 'erasure')} applied again, as the ledger has them")
    if report.kept is not None:
        say(f"  what was there before is kept as {report.kept.name}")


def _facts(workspace: Workspace, person: str) -> JsonObject:
    """What `show` tells."""
    from trainerlib.erasure import export_person

    records = export_person(workspace.store, person)
    head = next(records)
    counts = Counter(record["kind"] for record in records)
    held = workspace.holding(person)
    return {
        **head,
        "consent": workspace.person(person).consent,
        **{kind: counts[kind] for kind in _COUNTED},
        "datasets": list(dict.fromkeys(f"{one.dataset} v{one.version}" for one in held)),
    }


def _tell(facts: JsonObject) -> None:
    names = f" ({', '.join(facts['names'])})" if facts["names"] else ""
    say(f"  {facts['person']}{one_line(names, 200)}: consent {facts['consent'].status}")
    if "first_at" in facts:
        say(f"  {moment(facts['first_at'])} to {moment(facts['last_at'])}")
    parts = [counted(facts["conversations"], "conversation")]
    parts += [counted(facts[kind], _NOUNS.get(kind, kind)) for kind in _COUNTED]
    say("  " + " · ".join(parts))
    if facts["datasets"]:
        say(f"  in the datasets {', '.join(facts['datasets'])}")


def _tell_erased(report: ErasureReport) -> None:
    say(f"  erased, as {report.person} (event {report.position:,})")
    parts = [counted(report.messages, "message"), counted(report.corrections, "correction")]
    parts += [counted(report.feedback, "rating"), counted(report.files, "file")]
    say(f"  {' · '.join(parts)} in {counted(report.conversations, 'conversation')} they spoke in")
    if report.datasets:
        say(f"  datasets that held them, now deleted: {', '.join(report.datasets)}; build them again")
        say("  whatever was exported or trained from these still holds them")
    if report.models:
        say(f"  models that were trained on them: {', '.join(report.models)}; train them again, and delete these")
    if report.archives:
        say(f"  delete these yourself, they may hold them: {', '.join(report.archives)}")


def _confirm(person: str) -> None:
    note("  This cannot be undone.")
    try:
        answer = input("  Type the id to erase them, anything else to leave them  > ").strip()
    except EOFError:
        raise KeyboardInterrupt from None
    if answer != person:
        raise misuse("nothing erased: that was another id")


def _lines(records: Iterable[JsonObject]) -> Iterator[bytes]:
    """A JSON list, a record a line."""
    before = b"[\n"
    for record in records:
        yield before + msgspec.json.encode(record)
        before = b",\n"
    yield b"\n]\n"


def _write(target: Path, lines: Iterator[bytes]) -> int:
    """Write a list into a file, whole or not at all; how many records it has."""
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    written = -1
    try:
        with partial.open("wb") as file:
            for line in lines:
                file.write(line)
                written += 1
        partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)
    return written
