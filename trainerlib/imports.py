"""One import, from a file to the event that says it was imported; and that of a directory of examples.

>>> path = tmp / "chat.jsonl"
>>> _ = path.write_text('{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}')
>>> with EventStore(tmp / "log.db") as store:
...     report = import_file(store, path, silence=43_200)
...     again = import_file(store, path, silence=43_200)
>>> report.format, report.conversations, report.messages, report.events, again.events, again.already
('openai-chat', 1, 2, 4, 0, True)

The same file among good examples: its reply is rated and its conversation labelled.

>>> with EventStore(tmp / "log.db") as store:
...     good = import_directory(store, tmp, rating=1, silence=43_200)
...     again = import_directory(store, tmp, rating=1, silence=43_200)
>>> [(file.file, file.feedback, file.events) for file in good.imported], again.imported, again.events
([('chat.jsonl', 1, 3)], (), 0)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

import msgspec

from trainerlib import importers
from trainerlib.errors import BadLineError, ImportError_, KeyConflictError, NotFoundError, VersionConflictError
from trainerlib.events import Imported
from trainerlib.importers import documents
from trainerlib.importers.directory import (
    ExampleFile,
    SkippedFile,
    format_of,
    is_workspace,
    walk,
)
from trainerlib.importers.recorder import Recorder, bad_lines_of, find_assistant
from trainerlib.importers.records import BadLine, Record
from trainerlib.importers.source import Progress as BytesRead
from trainerlib.importers.verdicts import Rating, Verdict
from trainerlib.store.eventstore import EventStore

Progress = Callable[[int, int], None]
"""Called with bytes read and bytes to read."""

_REPORTED_LINES = 1_000
_RECORDED_LINES = 100
_ID_DIGITS = 24

_SAID = "directory:"
"""How the key of an event begins that says: imported to its end, with what its directory says of it."""


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
    file = _File(
        path.name, digest, size, known, lambda read: importers.read(path, known, progress=read), assistant, basis
    )
    return _import(store, file, silence=silence, strict=strict, progress=progress)


class _File(NamedTuple):
    """A file to import, how it is read, and what the caller says of it.

    Attributes:
        name: its name, without its directory.
        digest: hex sha256 of its bytes.
        size: bytes.
        format: what it is read as.
        read: gives its records from the first; told where to report the bytes read.
        assistant: who the assistant is.
        basis: why it may be trained on.
        rating: what the directory it is in says of its replies; `None` for a file by itself.
    """

    name: str
    digest: str
    size: int
    format: str
    read: Callable[[BytesRead | None], Iterator[Record]]
    assistant: str | None
    basis: str
    rating: Rating | None = None

    @property
    def stream(self) -> str:
        return f"import/{self.digest}"


def _import(store: EventStore, file: _File, *, silence: float, strict: bool, progress: Progress | None) -> ImportReport:
    version = store.version(file.stream)
    earlier = imported(store, file.digest)
    settled = earlier if earlier is not None and _is_settled(store, file, earlier) else None
    if settled is not None and file.assistant in (None, "", settled.assistant):
        return _already(store, file, settled)
    name = find_assistant(file.read(None), file.assistant)
    if settled is not None and name == settled.assistant:
        # The file says every role itself, whoever was named.
        return _already(store, file, settled)
    if strict:
        for bad in bad_lines_of(file.read(None)):
            raise BadLineError(bad.line, bad.reason)
    bad_lines: list[BadLine] = []
    bad_line_count = 0

    def note(bad: BadLine) -> None:
        nonlocal bad_line_count
        bad_line_count += 1
        if len(bad_lines) < _REPORTED_LINES:
            bad_lines.append(bad)

    verdict = None if file.rating is None else Verdict(file.rating)
    recorder = Recorder(store, source=file.digest, assistant=name, silence=silence, on_bad_line=note, verdict=verdict)
    read = None if progress is None else (lambda done: progress(done, file.size))
    with store.database.bulk():
        counts = recorder.record(file.read(read))
    event = Imported(
        file.name,
        file.digest,
        file.format,
        name,
        file.basis or (earlier.basis if earlier is not None else ""),
        counts.conversations,
        counts.messages,
        counts.corrections,
        counts.feedback,
        bad_line_count,
        tuple((bad.line, bad.reason) for bad in bad_lines[:_RECORDED_LINES]),
    )
    added = counts.events + _record_end(store, event, version, file.rating)
    report = _report(event, events=added, edited=counts.edited, deleted=counts.deleted)
    return msgspec.structs.replace(report, bad_lines=tuple(bad_lines))


def _is_settled(store: EventStore, file: _File, earlier: Imported) -> bool:
    """Nothing is left to do: the file was read as this, or its directory said this of it, whatever it was called then."""
    if file.rating is None:
        return earlier.format == file.format
    return _is_said(store, file.stream, file.rating)


def _already(store: EventStore, file: _File, earlier: Imported) -> ImportReport:
    """The report on a file that was imported before; another basis is recorded."""
    if file.basis and file.basis != earlier.basis:
        changed = msgspec.structs.replace(earlier, basis=file.basis)
        store.append(file.stream, [changed])
        return _report(changed, events=1)
    return _report(earlier, already=True)


def _record_end(store: EventStore, event: Imported, version: int, rating: Rating | None) -> int:
    """Record that a file was imported; 0 when another process, which imported it at the same time, has done so."""
    stream = f"import/{event.sha256}"
    while True:
        keys = () if rating is None else (f"{_SAID}{event.sha256}:{rating:+d}:{version}",)
        try:
            store.append(stream, [event], keys=keys, expected_version=version)
        except (VersionConflictError, KeyConflictError):
            if imported(store, event.sha256) == event and (rating is None or _is_said(store, stream, rating)):
                return 0
            version = store.version(stream)
        else:
            return 1


def _is_said(store: EventStore, stream: str, rating: Rating) -> bool:
    """This is what a directory last said of a file, to its end."""
    keys = [recorded.key for recorded in store.read(stream) if recorded.key and recorded.key.startswith(_SAID)]
    return bool(keys) and keys[-1].split(":")[2] == f"{rating:+d}"


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


# --- a directory -----------------------------------------------------------------------------------------------------


class DirectoryReport(msgspec.Struct, frozen=True):
    """What a directory of examples held and what adding it did. The counts describe its files, equal ones once.

    Attributes:
        directory: where it is.
        rating: 1 for good examples, -1 for bad ones.
        imported: files that were new, or new as such examples, each named by its path below the directory, by name.
        already: files that had been added before.
        skipped: everything else in it, and why.
        conversations: conversations in the files.
        messages: messages in them.
        corrections: corrections in them.
        ratings: ratings in them, those of the directory included.
        events: events this run added to the log.
        bad_line_count: bad lines in them.
    """

    directory: str
    rating: Rating
    imported: tuple[ImportReport, ...]
    already: tuple[ImportReport, ...]
    skipped: tuple[SkippedFile, ...]
    conversations: int
    messages: int
    corrections: int
    ratings: int
    events: int
    bad_line_count: int

    @property
    def bad_lines(self) -> list[tuple[str, BadLine]]:
        """File and bad line, by file; of each file as many as its report has."""
        files = sorted((*self.imported, *self.already), key=lambda report: report.file)
        return [(report.file, bad) for report in files for bad in report.bad_lines]

    @property
    def is_bad(self) -> bool:
        """Something that was meant as an example could not be read as one."""
        return self.bad_line_count > 0 or any(file.is_bad for file in self.skipped)


def import_directory(
    store: EventStore,
    directory: Path,
    *,
    rating: Rating,
    silence: float,
    basis: str = "",
    assistant: str | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> DirectoryReport:
    """Record a directory of good or bad examples, each file once, however often it is added.

    Training rows and chat exports are read as `import_file` reads them; text, Markdown, tables, PDF and Word as
    `trainerlib.importers.documents` says. Every reply that is to be learned is rated by `operator:directory`, but for
    those that the file itself rates or corrects; every conversation is labelled `positive` or `negative`. What was added
    as the other before is rated anew: the last word counts.

    Args:
        store: the log.
        directory: the directory; those below it are part of it.
        rating: 1 for good examples, -1 for bad ones.
        silence: seconds of silence after which a chat's next message begins a new conversation.
        basis: why they may be trained on.
        assistant: who the assistant is, where a file does not say.
        strict: record nothing of a file that has a bad line; the report has it among the skipped.
        progress: called with bytes read and bytes to read.

    Raises:
        NotFoundError: no such directory.
        ImportError_: it is a file, or a workspace, or cannot be read.
        StoreError: the log cannot be written; what was recorded so far stays, and a new run goes on from there.
    """
    found = list(_walked(directory))
    skipped = [file for file in found if isinstance(file, SkippedFile)]
    examples = [file for file in found if isinstance(file, ExampleFile)]
    size = sum(file.size for file in examples)
    reports: list[ImportReport] = []
    done = 0
    for example in examples:
        start = done
        read = None if progress is None else (lambda part, _, start=start: progress(start + part, size))
        try:
            file = _example(example, rating=rating, assistant=assistant, basis=basis)
            report = _import(store, file, silence=silence, strict=strict, progress=read)
            reports.append(msgspec.structs.replace(report, file=example.file))
        except (ImportError_, NotFoundError) as error:
            reason = str(error).removesuffix(f": {example.path}").removeprefix(str(example.path)).lstrip(": ")
            if isinstance(error, BadLineError):
                reason += "; nothing of the file was recorded"
            skipped.append(SkippedFile(example.file, reason, is_bad=True))
        done += example.size
        if progress is not None:
            progress(done, size)
    distinct = {report.sha256: report for report in reports}.values()
    return DirectoryReport(
        str(directory),
        rating,
        tuple(report for report in reports if not report.already),
        tuple(report for report in reports if report.already),
        tuple(sorted(skipped, key=lambda file: file.file)),
        conversations=sum(report.conversations for report in distinct),
        messages=sum(report.messages for report in distinct),
        corrections=sum(report.corrections for report in distinct),
        ratings=sum(report.feedback for report in distinct),
        events=sum(report.events for report in reports),
        bad_line_count=sum(report.bad_line_count for report in distinct),
    )


def _walked(directory: Path) -> Iterator[ExampleFile | SkippedFile]:
    if not directory.exists():
        raise NotFoundError(f"no such directory: {directory}")
    if not directory.is_dir():
        raise ImportError_(f"{directory} is a file; import it by itself")
    try:
        if is_workspace(directory):
            raise ImportError_(f"{directory} is a workspace; name the directory with the examples")
        yield from walk(directory)
    except OSError as error:
        raise ImportError_(f"{directory} cannot be read: {error.strerror or error}") from error


def _example(example: ExampleFile, *, rating: Rating, assistant: str | None, basis: str) -> _File:
    """A file of a directory as one to import.

    Raises:
        NotFoundError: there is no such file any more.
        ImportError_: it cannot be read, or is in no format known here.
    """
    path = example.path
    size, digest = _hashed(path)
    form = format_of(example)

    @cache
    def document() -> documents.Document:
        return documents.read(path, form)

    def read(progress: BytesRead | None) -> Iterator[Record]:
        if form in documents.FORMATS:
            return document().records(digest[:_ID_DIGITS], assistant=assistant)
        return importers.read(path, form, progress=progress)

    # A name may hold bytes that are no text; an event may not.
    name = os.fsencode(path.name).decode(errors="replace")
    return _File(name, digest, size, form, read, assistant, basis, rating)
