"""A person's own: everything about them handed out, or erased for good.

Erasing blanks the words of a person where they stand in the log, derives again what was made of them, deletes their
attachments and the datasets that held them, and frees the database file of old pages. It is noted in a ledger beside
the database, `erasures.jsonl`, so that a backup from before can be restored without bringing anybody back.

What stays: that something was said, when, in which conversation and in answer to what; ratings; names of conversations
and natural keys, which hold the numbers platforms give to chats and messages and are needed to know a redelivered
message again. What other people wrote about somebody is theirs and stays as well.

>>> with EventStore(tmp / "trainer.db") as store:
...     _ = store.append("conversation/telegram:42", [MessageRecorded("user", "Я Ольга", "telegram:7", "Ольга")])
...     [record["kind"] for record in export_person(store, "telegram:7")]
...     report = erase_person(store, tmp, "telegram:7")
...     report.messages, report.conversations, erase_person(store, tmp, "telegram:7").new
...     [recorded.event.text for recorded in store.read("conversation/telegram:42")]
['person', 'conversation', 'message']
(1, 1, False)
['']
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import cast

import msgspec

from trainerlib.blanking import pseudonym, spoken
from trainerlib.consent import ERASED
from trainerlib.errors import InvalidEventError, NotFoundError
from trainerlib.events import (
    ConsentGiven,
    ConsentWithdrawn,
    ConversationStarted,
    Corrected,
    CorrectionWithdrawn,
    DatasetArchived,
    DatasetBuilt,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    JsonObject,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    PersonErased,
    RecordedEvent,
    ReplyGenerated,
    RoleGiven,
    TranscriptRecorded,
)
from trainerlib.store.erasing import conversations_with, erasing, erasures, people, scrub, scrubbed
from trainerlib.store.eventstore import EventStore
from trainerlib.training import PREFIX, TrainingJob, fold_all

LEDGER = "erasures.jsonl"
"""Name of the ledger, beside the database."""

MANIFEST = "manifest.json"
"""Name of the copy of what the log says about a dataset, beside its files."""

BEFORE_RESTORE = "trainer.db.before-restore"
"""What the copy of a database is called that a backup was restored over; a second one gets a number."""

_CONTEXT = b"trainerlib.erase"
"""Public context of the hashes in the ledger: the same in every log, so that it fits any backup."""


class ErasureReport(msgspec.Struct, frozen=True):
    """What was erased.

    Attributes:
        person: the name that stands in their place.
        messages: messages blanked, the replies they were given included.
        corrections: corrections blanked.
        feedback: ratings blanked.
        conversations: conversations they spoke in.
        datasets: dataset versions that held them, `support v3`; their files are deleted.
        archives: files that may hold them and are left to the operator: archives of these datasets, and databases kept
            from before a restore.
        files: attachment files deleted.
        position: position of the event that says so.
        new: this call erased something; False when they were erased before.
        jobs: training jobs that were given one of these datasets; their files here are deleted.
        models: models that came out of them, which are left to the operator.
    """

    person: str
    messages: int
    corrections: int
    feedback: int
    conversations: int
    datasets: tuple[str, ...]
    archives: tuple[str, ...]
    files: int
    position: int
    new: bool = True
    jobs: tuple[str, ...] = ()
    models: tuple[str, ...] = ()


class _Line(msgspec.Struct):
    """A line of the ledger: the hash of a person id, and the time and position of the event in the log of that time."""

    person: str
    at: datetime
    position: int


class _Conversation(msgspec.Struct):
    """What is needed of a line of a dataset."""

    conversation: str


_decode_line = msgspec.json.Decoder(_Conversation).decode
_decode_ledger = msgspec.json.Decoder(_Line).decode


# --- exporting --------------------------------------------------------------------------------------------------------


def export_person(store: EventStore, person: str) -> Iterator[JsonObject]:
    """Everything the log has about a person, record by record, ready for JSON.

    The first record is about the person: their names, when they first and last said something. Then come what they said
    about their consent, and each conversation they had a part in, with what they wrote, were answered, changed,
    corrected and rated, in order. Each record has a `kind` and a time `at`; a message is named by its `id`.

    Args:
        store: the log.
        person: person id, `telegram:7`.

    Raises:
        NotFoundError: nobody of that id is in the log, or they were erased.
    """
    if not _is_text(person):
        raise _unknown(store, person)
    names: dict[str, None] = {}
    times: list[datetime] = []
    conversations = 0
    for events in conversations_with(store, person):
        _, *part = _part_in(events, person)
        names.update({record["name"]: None for record in part if record["kind"] == "message" and "name" in record})
        times += [record["at"] for record in part]
        times = [min(times), max(times)] if times else times
        conversations += bool(part)
    own = list(store.read(f"person/{person}"))
    if not times and not own:
        raise _unknown(store, person)
    head = {"kind": "person", "person": person, "names": list(names), "conversations": conversations}
    head |= {"first_at": times[0], "last_at": times[-1]} if times else {}
    return _records(store, person, head, own)


def _records(store: EventStore, person: str, head: JsonObject, own: list[RecordedEvent]) -> Iterator[JsonObject]:
    yield head
    for recorded in own:
        kind = _KINDS.get(type(recorded.event))
        if kind is not None:
            yield {"kind": kind, "at": recorded.recorded_at, **msgspec.to_builtins(recorded.event)}
    for events in conversations_with(store, person):
        conversation, *part = _part_in(events, person)
        if part:
            yield conversation
            yield from part


def _part_in(events: list[RecordedEvent], person: str) -> Iterator[JsonObject]:
    """The records of one conversation, that of the conversation itself first."""
    part = spoken(events, person)
    ids = {recorded.version: recorded.position for recorded in events}
    started = next((one.event for one in events if isinstance(one.event, ConversationStarted)), ConversationStarted())
    name = events[0].stream.partition("/")[2]
    yield {"kind": "conversation", "conversation": name, "at": events[0].recorded_at, "platform": started.platform,
           "title": started.title}  # fmt: skip
    for recorded in events:
        event, number = recorded.event, recorded.version
        about = getattr(event, "message", number)
        if getattr(event, "by", None) == person or (about in part.theirs and not hasattr(event, "by")):
            kind = _KINDS.get(type(event))
        elif about in part.answers and not hasattr(event, "by"):
            kind = "reply" if about == number else _KINDS.get(type(event))
        else:
            continue
        if kind is None:
            continue
        at = getattr(event, "sent_at", None) or getattr(event, "edited_at", None) or recorded.recorded_at
        record = {"kind": kind, "id": recorded.position, "conversation": name, "at": at}
        for field, value in msgspec.to_builtins(event).items():
            if field in _NUMBERS:
                record[field] = ids.get(value, value)
            elif field in _SAID:
                record[field] = value
        yield record


_KINDS: dict[type[Event], str] = {
    ConsentGiven: "consent given",
    ConsentWithdrawn: "consent withdrawn",
    RoleGiven: "role given",
    MessageRecorded: "message",
    MessageEdited: "edit",
    MessageDeleted: "deletion",
    TranscriptRecorded: "transcript",
    ReplyGenerated: "reply",
    Corrected: "correction",
    CorrectionWithdrawn: "correction withdrawn",
    FeedbackGiven: "feedback",
    FeedbackWithdrawn: "feedback withdrawn",
}
_NUMBERS = ("message", "in_reply_to", "correction", "feedback")
_SAID = ("role", "text", "name", "attachments", "model", "attachment", "engine", "note", "rating", "reason")


# --- erasing ----------------------------------------------------------------------------------------------------------


def erase_person(store: EventStore, directory: Path, person: str, *, by: str = "", note: str = "") -> ErasureReport:
    """Erase a person from a workspace for good. Killed at any moment and called again, it finishes.

    Args:
        store: the log of the workspace.
        directory: the workspace.
        person: person id, `telegram:7`.
        by: who asked for it, when not the person.
        note: why; it must not name them.

    Raises:
        InvalidEventError: that is no person id.
        NotFoundError: nobody of that id is in the log.
        BusyError: they are erased, but somebody reads the old pages of the file; call it again when they are done.
        StoreError: the log cannot be written; the message says whether they are erased already.
    """
    if not person.strip() or person.startswith(ERASED) or not _is_text(person):
        raise InvalidEventError(f"{person!r} is no person id, such as telegram:7")
    with erasing(store, person) as erasure:
        found = erasure.found
        name = erasure.name
        event = PersonErased(name, found.messages, found.corrections, found.feedback, found.conversations, by=by,
                             note=note)  # fmt: skip
        deleted = 0
        if found.anything:
            datasets = tuple(_holding(store, directory, found.words))
            jobs = _trained_on(store, map(_dataset, datasets))
            event = msgspec.structs.replace(
                event,
                datasets=datasets,
                jobs=tuple([job.id for job in jobs]),
                models=tuple([job.model for job in jobs if job.model]),
            )
            recorded = erasure.record(event)
            # Noted and deleted before the commit: what is erased twice is no harm, what is forgotten is.
            _note(directory, person, recorded)
            deleted = _delete_files(directory / "files", found.files, erasure.named_files() if found.files else ())
    own = [recorded for recorded in erasures(store) if recorded.stream == f"person/{name}"]
    if not own:
        raise _unknown(store, person)
    recorded = own[-1]
    event = cast(PersonErased, recorded.event)
    if all(line.person != _hash(person) or line.at < recorded.recorded_at for line in _ledger(directory)):
        _note(directory, person, recorded)
    _delete_derived(store, directory, recorded.recorded_us / 1e6)
    scrub(store)
    return ErasureReport(
        name,
        event.messages,
        event.corrections,
        event.feedback,
        event.conversations,
        event.datasets,
        tuple(_archives(store, directory, event.datasets)),
        deleted,
        recorded.position,
        new=found.anything,
        jobs=event.jobs,
        models=event.models,
    )


def erased_datasets(store: EventStore) -> frozenset[tuple[str, int]]:
    """`(name, version)` of each dataset that held somebody who was erased since: its files are gone for good."""
    labels = {label for recorded in erasures(store) for label in cast(PersonErased, recorded.event).datasets}
    return frozenset(_dataset(label) for label in labels)


def unfinished(store: EventStore) -> list[str]:
    """What an interrupted erasure has left to do, in a line; an empty list is good news."""
    if scrubbed(store):
        return []
    return ["erasure: old pages of the file may hold words of an erased person; erase the same person again to finish"]


def _is_text(person: str) -> bool:
    """What a terminal makes of bytes that are no UTF-8 is nobody's id."""
    return not any("\ud800" <= character <= "\udfff" for character in person)


def _unknown(store: EventStore, person: str) -> NotFoundError:
    if store.version(f"person/{pseudonym(store.log_id, person)}"):
        return NotFoundError(f"{person} was erased")
    return NotFoundError(f"nobody is called {person!r} here; `trainerlib show` prints person ids, such as telegram:7")


def _delete_files(directory: Path, names: Iterable[str], others: Iterable[str]) -> int:
    """Delete attachments that nobody else's message names; how many there were."""
    kept = {path for name in others for path in _inside(directory, name)}
    files = {path for name in names for path in _inside(directory, name)} - kept
    for path in files:
        path.unlink(missing_ok=True)
    return len(files)


def _inside(directory: Path, name: str) -> list[Path]:
    """The files of a directory that an attachment may mean: it names them from there or from the workspace."""
    found = []
    for base in (directory, directory.parent):
        try:
            path = (base / name).parent.resolve() / Path(name).name
            if path.is_relative_to(directory.resolve()) and (path.is_file() or path.is_symlink()):
                found.append(path)
        except (OSError, ValueError):
            # No name for a file here: an address, a NUL, a loop of links.
            continue
    return found


# --- datasets that held a person --------------------------------------------------------------------------------------


def _holding(store: EventStore, directory: Path, words: dict[str, int]) -> Iterator[str]:
    """The dataset versions with a line of a conversation that lost words, `support v3`; one without files counts."""
    for built in _built(store):
        lost = {name for name, position in words.items() if position <= built.position}
        path = directory / "datasets" / built.name / f"v{built.dataset_version}"
        if lost and any(_has_line(path / f"{split}.jsonl", lost) for split in built.splits):
            yield f"{built.name} v{built.dataset_version}"


def _trained_on(store: EventStore, datasets: Iterable[tuple[str, int]]) -> list[TrainingJob]:
    """The training jobs that were given one of some datasets, each named by `(name, version)`."""
    given = frozenset(datasets)
    jobs = fold_all(store.read_named(PREFIX))
    return [job for job in jobs if (job.request.dataset, job.request.dataset_version) in given]


def _built(store: EventStore) -> Iterator[DatasetBuilt]:
    """Every version of every dataset."""
    for stream in store.streams("dataset/"):
        for recorded in store.read(stream):
            if isinstance(recorded.event, DatasetBuilt):
                yield recorded.event


def _has_line(path: Path, conversations: set[str]) -> bool:
    """Whether a file has a line of one of the conversations, or cannot tell."""
    try:
        with path.open("rb", buffering=1 << 20) as file:
            return any(_decode_line(line).conversation in conversations for line in file)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return True


def _delete_derived(store: EventStore, directory: Path, erased_at: float) -> None:
    """Delete the files of datasets that held an erased person, and bring the others' copies of their recipes up to date."""
    datasets = directory / "datasets"
    left = (
        ".database-restoring-*",
        "datasets/*/.building-*",
        "models/.building-*",
        "models/jobs/.building-*",
        "models/evaluations/*/",
    )
    for path in chain.from_iterable(map(directory.glob, left)):
        # Left by a process that was killed, or of one that began before: what is made in it holds the old words. What
        # models were asked and answered may hold anybody's.
        if _began(path) <= erased_at and not store.path.is_relative_to(path):
            shutil.rmtree(path, ignore_errors=True)
    # After these: what is made may be given its place at this moment.
    erased = erased_datasets(store)
    for dataset, version in erased:
        shutil.rmtree(datasets / dataset / f"v{version}", ignore_errors=True)
    for job in _trained_on(store, erased):
        files = directory / "models" / "jobs" / job.id
        shutil.rmtree(files / "bundle", ignore_errors=True)
        for split in job.request.sha256:
            (files / f"{split}.jsonl").unlink(missing_ok=True)
    for built in _built(store):
        path = datasets / built.name / f"v{built.dataset_version}" / MANIFEST
        if path.is_file():
            manifest = msgspec.json.decode(path.read_bytes())
            if manifest.get("recipe") != built.recipe:
                manifest["recipe"] = built.recipe
                _replace_file(path, msgspec.json.format(msgspec.json.encode(manifest), indent=1) + b"\n")


def _began(directory: Path) -> float:
    """When the last file was made in a directory, in seconds since 1970; never for one that is gone."""
    try:
        return directory.stat().st_mtime
    except OSError:
        return math.inf


def _archives(store: EventStore, directory: Path, labels: Iterable[str]) -> Iterator[str]:
    for name, version in map(_dataset, labels):
        for recorded in store.read(f"dataset/{name}"):
            if isinstance(recorded.event, DatasetArchived) and recorded.event.dataset_version == version:
                yield f"archive/{recorded.event.file}"
    yield from sorted(path.name for path in directory.glob(f"{BEFORE_RESTORE}*"))


def _dataset(label: str) -> tuple[str, int]:
    """Name and version of `support v3`."""
    name, _, version = label.rpartition(" v")
    return name, int(version)


# --- the ledger -------------------------------------------------------------------------------------------------------


def reapply(store: EventStore, directory: Path) -> list[ErasureReport]:
    """Erase everybody again whom the ledger names and this log, an older copy, still has.

    Whoever came back after their erasure is left alone: the log has that erasure, and what they said since.

    Args:
        store: the log.
        directory: the workspace, with the ledger.
    """
    last: dict[str, datetime] = {}
    for line in _ledger(directory):
        last[line.person] = max(line.at, last.get(line.person, line.at))
    reports = []
    done = {recorded.stream: recorded.recorded_at for recorded in erasures(store)}
    for person in sorted(people(store)) if last else ():
        at = last.get(_hash(person))
        erased_at = done.get(f"person/{pseudonym(store.log_id, person)}")
        if at is not None and (erased_at is None or erased_at < at):
            reports.append(erase_person(store, directory, person, note="restored from a backup"))
    return reports


def _hash(person: str) -> str:
    return blake2b(person.encode(errors="surrogatepass"), digest_size=32, person=_CONTEXT).hexdigest()


def _ledger(directory: Path) -> list[_Line]:
    """The lines of the ledger; one that was cut by a crash tells of an erasure that was not committed."""
    path = directory / LEDGER
    lines = []
    for line in path.read_bytes().splitlines() if path.exists() else ():
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            lines.append(_decode_ledger(line))
    return lines


def _note(directory: Path, person: str, recorded: RecordedEvent) -> None:
    """Add a line to the ledger, on the disk when this returns."""
    path = directory / LEDGER
    with path.open("ab+") as file:
        file.seek(0, os.SEEK_END)
        if file.tell():
            file.seek(-1, os.SEEK_END)
        torn = file.tell() and file.read(1) != b"\n"
        line = msgspec.json.encode(_Line(_hash(person), recorded.recorded_at, recorded.position))
        file.write((b"\n" if torn else b"") + line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _replace_file(path: Path, content: bytes) -> None:
    """Put a file in the place of another, whole or not at all."""
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)
