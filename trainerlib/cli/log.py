"""`events`, `verify`, `rebuild`, `backup`: the log itself."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from trainerlib.cli.failures import FAILED, misuse
from trainerlib.cli.output import counted, emit, emit_bytes, moment, one_line, say, width
from trainerlib.cli.session import Session
from trainerlib.codec import CODEC

if TYPE_CHECKING:
    from trainerlib.events import RecordedEvent
    from trainerlib.store.eventstore import EventStore

_TAIL = 20
_POLL = 0.2
_CHUNK = 500


def events(
    session: Session,
    last: Annotated[
        int | None, typer.Option(min=0, help="Only the last so many; 20 unless --json or --after.", show_default=False)
    ] = None,
    after: Annotated[int | None, typer.Option(min=0, help="Only those after a position.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Wait for more until Ctrl-C.")] = False,
) -> None:
    """Print events of the log, the oldest first; with --json one on a line."""
    if last is None and after is None and not session.json:
        last = _TAIL
    with session.open() as workspace:
        store = workspace.store
        start = after or 0
        if last is not None:
            start = max(start, store.position - last)
        for page in _pages(store, start, follow=follow):
            if session.json:
                emit_bytes(b"".join(_json(event) for event in page))
            else:
                emit_bytes("".join(f"{_line(event)}\n" for event in page).encode(errors="replace"))


def _pages(store: EventStore, position: int, *, follow: bool) -> Iterator[list[RecordedEvent]]:
    """Events after a position, a page at a time, and those that other processes go on to record."""
    while True:
        seen = store.data_version
        page: list[RecordedEvent] = []
        for event in store.read_all(after=position):
            page.append(event)
            position = event.position
            if len(page) == _CHUNK:
                yield page
                page = []
        if page:
            yield page
        if not follow:
            return
        while store.data_version == seen:
            time.sleep(_POLL)


def _json(recorded: RecordedEvent) -> bytes:
    wire_name, schema_version, data = CODEC.encode(recorded.event)
    line = {
        "position": recorded.position,
        "stream": recorded.stream,
        "version": recorded.version,
        "type": wire_name,
        "data": msgspec.Raw(data),
        "recorded_at": recorded.recorded_at,
        "schema_version": schema_version,
        "key": recorded.key,
    }
    return msgspec.json.encode(line) + b"\n"


def _line(recorded: RecordedEvent) -> str:
    event = recorded.event
    text = getattr(event, "text", "") or CODEC.encode(event)[2].decode()
    head = f"  #{recorded.position:<6} {moment(recorded.recorded_at)}  {recorded.stream}  {event.wire_name}  "
    return head + one_line(text, max(width() - len(head), 20))


def verify(session: Session) -> None:
    """Derive everything again from the log and compare; exit status 1 when something does not hold."""
    with session.open() as workspace:
        position = workspace.store.position
        problems = workspace.verify()
    if session.json:
        emit({"events": position, "problems": problems})
    elif not problems:
        say(f"  {counted(position, 'event')}: every projection, sha256 and invariant holds")
    else:
        for problem in problems:
            say(f"  {one_line(problem)}")
    if problems:
        raise typer.Exit(FAILED)


def rebuild(session: Session) -> None:
    """Make every table that is derived from the log again."""
    with session.open() as workspace:
        position = workspace.rebuild()
    if session.json:
        emit({"position": position})
    else:
        say(f"  made again from {counted(position, 'event')}")


def backup(
    session: Session,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.", show_default=False)],
) -> None:
    """Copy the log into a new file while it is in use."""
    target = file.expanduser()
    if target.exists():
        raise misuse(f"{target} exists already; a backup never overwrites")
    if not target.parent.is_dir():
        raise misuse(f"{target.parent}: no such directory")
    with session.open() as workspace:
        position = workspace.store.position
        written = workspace.backup(target)
    size = written.stat().st_size
    if session.json:
        emit({"file": written, "bytes": size, "position": position})
    else:
        say(f"  {written}: {counted(position, 'event')}, {size / 1_000_000:,.1f} MB")
