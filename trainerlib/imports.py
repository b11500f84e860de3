"""One import, from a file to the event that says it was imported.

>>> path = tmp / "chat.jsonl"
>>> _ = path.write_text('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}')
>>> with EventStore(tmp / "log.db") as store:
...     report = import_file(store, path, silence=43_200)
...     again = import_file(store, path, silence=43_200)
>>> report.format, report.conversations, report.messages, report.events, again.events, again.already
('openai-chat', 1, 2, 4, 0, True)
"""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from pathlib import Path

import msgspec

from trainerlib import importers
from trainerlib.errors import BadLineError, NotFoundError, VersionConflictError
from trainerlib.events import Imported
from trainerlib.importers.recorder import Recorder, bad_lines_of, find_assistant
from trainerlib.importers.records import BadLine
from trainerlib.store.eventstore import EventStore

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes to read."""

_REPORTED_LINES = 1_000
_RECORDED_LINES = 100


class ImportReport(msgspec.Struct, frozen=True):
    """What a file held and what importing it did.

    Attributes:
        file: the file's name.
        format: the format it was read as.
        assistant: who was taken for the assistant; empty when the source says every role.
        sha256: hex digest of the file.
        conversations: conversations in the file.
        messages: messages in the file.
        corrections: corrections in the file.
        feedback: ratings in the file.
        events: events this run added to the log.
        edited: messages found changed since an earlier import.
        deleted: messages found deleted since an earlier import.
        bad_lines: the first thousand bad lines (the first hundred when the file was imported before).
        bad_line_count: all of them.
        already: this very file was imported before, and nothing was added.
    """

    file: str
    format: str
    assistant: str
    sha256: str
    conversations: int
    messages: int
    corrections: int
    feedback: int
    events: int = 0
    edited: int = 0
    deleted: int = 0
    bad_lines: tuple[BadLine, ...] = ()
    bad_line_count: int = 0
    already: bool = False


def import_file(
    store: EventStore,
    path: Path,
    *,
    silence: float,
    format: str | None = None,  # noqa: A002 - the field's word
    assistant: str | None = None,
    basis: str = "",
    strict: bool = False,
    progress: Progress | None = None,
) -> ImportReport:
    """Record what a file holds; `Workspace.import_file` says what each argument means and what is raised.

    Args:
        store: the log.
        path: the file.
        silence: seconds of silence after which a chat's next message begins a new conversation.
        format: its format; told from the content by default.
        assistant: who the assistant is.
        basis: why it may be trained on.
        strict: record nothing when there is a bad line.
        progress: called with bytes read and bytes to read.
    """
    size, digest = _hashed(path)
    known = format or importers.detect(path)
    version = store.version(f"import/{digest}")
    earlier = imported(store, digest)
    if earlier is not None and earlier.format == known and assistant in (None, "", earlier.assistant):
        if basis and basis != earlier.basis:
            changed = msgspec.structs.replace(earlier, basis=basis)
            store.append(f"import/{digest}", [changed])
            return _report(changed, events=1)
        return _report(earlier, already=True)
    name = find_assistant(importers.read(path, known), assistant)
    if strict:
        for bad in bad_lines_of(importers.read(path, known)):
            raise BadLineError(bad.line, bad.reason)
    bad_lines: list[BadLine] = []
    bad_line_count = 0

    def note(bad: BadLine) -> None:
        nonlocal bad_line_count
        bad_line_count += 1
        if len(bad_lines) < _REPORTED_LINES:
            bad_lines.append(bad)

    read = None if progress is None else (lambda done: progress(done, size))
    recorder = Recorder(
        store,
        source=digest,
        assistant=name,
        silence=silence,
        on_bad_line=note,
    )
    with store.database.bulk():
        counts = recorder.record(importers.read(path, known, progress=read))
    event = Imported(
        path.name,
        digest,
        known,
        name,
        basis,
        counts.conversations,
        counts.messages,
        counts.corrections,
        counts.feedback,
        bad_line_count,
        tuple((bad.line, bad.reason) for bad in bad_lines[:_RECORDED_LINES]),
    )
    added = counts.events + _record_end(store, event, version)
    report = _report(event, events=added, edited=counts.edited, deleted=counts.deleted)
    return msgspec.structs.replace(report, bad_lines=tuple(bad_lines))


def _record_end(store: EventStore, event: Imported, version: int) -> int:
    """Record that a file was imported; 0 when another process, which imported it at the same time, has done so."""
    stream = f"import/{event.sha256}"
    try:
        store.append(stream, [event], expected_version=version)
    except VersionConflictError:
        if imported(store, event.sha256) == event:
            return 0
        store.append(stream, [event])
    return 1


def imported(store: EventStore, digest: str) -> Imported | None:
    """The last word of the log on the import of a file, by its sha256."""
    events = [recorded.event for recorded in store.read(f"import/{digest}")]
    return next((event for event in reversed(events) if isinstance(event, Imported)), None)


def _hashed(path: Path) -> tuple[int, str]:
    """Size and sha256 of a file."""
    digest = sha256()
    size = 0
    try:
        with path.open("rb") as file:
            while chunk := file.read(1 << 20):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise NotFoundError(f"{path}: {error.strerror}") from error
    return size, digest.hexdigest()


def _report(
    event: Imported, *, events: int = 0, edited: int = 0, deleted: int = 0, already: bool = False
) -> ImportReport:
    return ImportReport(
        event.file,
        event.format,
        event.assistant,
        event.sha256,
        event.conversations,
        event.messages,
        event.corrections,
        event.feedback,
        events,
        edited,
        deleted,
        tuple(BadLine(line, reason) for line, reason in event.first_bad_lines),
        event.bad_lines,
        already,
    )
