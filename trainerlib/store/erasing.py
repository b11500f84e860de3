"""Erasing a person from the log: the one transaction that changes events in place, and what removes the old pages.

The places of events never change: position, stream, version, kind, time and key stay, so a redelivered message is still
known and every other person's events keep every byte. Names of conversation streams and natural keys stay with them;
they hold the numbers platforms give to chats and messages.

>>> with EventStore(tmp / "log.db") as store:
...     _ = store.append("conversation/a", [MessageRecorded("user", "Я Ольга", "telegram:7")], keys=["k:1"])
...     with erasing(store, "telegram:7") as erasure:
...         erasure.found.messages, erasure.record(PersonErased(erasure.name, messages=1)).stream
...     scrub(store)
...     [(recorded.event.text, recorded.key) for recorded in store.read("conversation/a")]
(1, 'person/erased:...')
[('', 'k:1')]
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, cast

import msgspec

from trainerlib.blanking import blank, blank_elsewhere, blank_shown, lost, pseudonym
from trainerlib.codec import CODEC
from trainerlib.consent import ERASED
from trainerlib.conversations import fold
from trainerlib.errors import BusyError, StoreError
from trainerlib.events import PersonErased, RecordedEvent, ReplyGenerated
from trainerlib.store import answers, projections, search, tables
from trainerlib.store.batches import Batch
from trainerlib.store.eventstore import EventStore
from trainerlib.store.rows import PAGE, PEOPLE, Rows

_replace = msgspec.structs.replace

NAME = "erasure"
"""The checkpoint that says up to which erasure the file was freed of old pages."""

_CONVERSATION = "conversation/"
_IMPORT = "import/"

# A text comparison passes over nearly every row before any JSON is read.
_STREAMS_WITH = "SELECT DISTINCT stream_id FROM events WHERE instr(data, ?)"
_POSITIONS_WITH = "SELECT position FROM events WHERE instr(data, ?)"
_RECIPES = "SELECT position FROM events WHERE type = 'dataset.built'"
_SHOWN = """SELECT DISTINCT position FROM events, json_each(events.data, '$.context') AS shown
WHERE events.type = 'reply.generated' AND shown.value IN (SELECT value FROM json_each(?)) ORDER BY position"""
_FILES = """SELECT DISTINCT json_extract(attachment.value, '$.file')
FROM events, json_each(events.data, '$.attachments') AS attachment
WHERE events.type = 'message.recorded' AND instr(events.data, '"file":')"""
_PEOPLE = """SELECT DISTINCT json_extract(data, '$.author') FROM events WHERE instr(data, '"author":')
UNION SELECT DISTINCT json_extract(data, '$.by') FROM events WHERE instr(data, '"by":')
UNION SELECT substr(name, 8) FROM streams WHERE name >= 'person/' AND name < 'person0'
UNION SELECT part.value FROM events, json_tree(events.data, '$.recipe') AS part
WHERE events.type = 'dataset.built' AND part.type = 'text'"""


class Found(msgspec.Struct):
    """What of a person was in the log, and is blanked now.

    Attributes:
        anything: there was something at all.
        messages: messages, the replies they were given included.
        corrections: corrections.
        feedback: ratings.
        conversations: conversations they spoke in.
        words: for each conversation that lost words a dataset could show, the position of the first.
        files: what their attachments named.
    """

    anything: bool = False
    messages: int = 0
    corrections: int = 0
    feedback: int = 0
    conversations: int = 0
    words: dict[str, int] = msgspec.field(default_factory=dict)
    files: set[str] = msgspec.field(default_factory=set)


class Erasure:
    """A person being erased, in a transaction that `erasing` opened.

    Attributes:
        name: what stands in their place.
        found: what of them was in the log.
    """

    def __init__(self, connection: sqlite3.Connection, batch: Batch, person: str, name: str) -> None:
        self.name = name
        self.found = Found()
        self._person = person
        self._quoted = msgspec.json.encode(person).decode()
        self._connection = connection
        self._batch = batch
        self._rows = Rows(self._query, tables.READING, CODEC)
        self._names: set[str] = set()
        self._sources: set[str] = set()
        self._lost: dict[int, str] = {}
        self._blank_conversations()
        self._blank_answers()
        self._blank_elsewhere()

    def record(self, event: PersonErased) -> RecordedEvent:
        """Record that they are erased, as the last step."""
        return self._batch.append(PEOPLE + self.name, event)

    def named_files(self) -> set[str]:
        """What attachments name that are left."""
        return {name for (name,) in self._query(_FILES, ()) if name}

    def _blank_conversations(self) -> None:
        found = self.found
        for (stream_id,) in self._query(_STREAMS_WITH, (self._quoted,)):
            events = self._stream(stream_id)
            if not events[0].stream.startswith(_CONVERSATION):
                continue
            blanked = blank(events, self._person, self.name)
            if not blanked.changed:
                continue
            self._rewrite(stream_id, events, blanked.changed)
            found.anything = True
            found.messages += blanked.messages
            found.corrections += blanked.corrections
            found.feedback += blanked.feedback
            found.conversations += blanked.speaks
            found.files |= blanked.files
            self._lose(events[0].stream, blanked.words)
            self._names |= blanked.names
            self._sources.update(getattr(one.event, "source", "") for one in events)

    def _blank_answers(self) -> None:
        """Blank what replies to others repeat of the lost words they were shown."""
        done: set[int] = set()
        # What is blanked here was shown to others in its turn, as an approved reply is.
        while shown := self._lost.keys() - done:
            done |= shown
            for (position,) in self._query(_SHOWN, (json.dumps(sorted(shown)),)):
                [reply] = self._rows.decoded(self._query(tables.SELECT_BY_POSITION, (position,)))
                event = blank_shown(cast(ReplyGenerated, reply.event), self._lost)
                if event != reply.event:
                    [(stream_id,)] = self._query(tables.SELECT_STREAM_ID, (reply.stream,))
                    self._rewrite(stream_id, self._stream(stream_id), [_replace(reply, event=event)])
                    self._lose(reply.stream, position)
                    self.found.messages += not event.text

    def _blank_elsewhere(self) -> None:
        """Blank events outside conversations that hold them, and rename their stream."""
        own = [row[0] for row in self._query(tables.SELECT_STREAM_ID, (PEOPLE + self._person,))]
        recorded = [one for stream_id in own for one in self._stream(stream_id)]
        for (position,) in self._query(_POSITIONS_WITH, (self._quoted,)) + self._query(_RECIPES, ()):
            recorded += self._rows.decoded(self._query(tables.SELECT_BY_POSITION, (position,)))
        for source in sorted(filter(None, self._sources)):
            for (stream_id,) in self._query(tables.SELECT_STREAM_ID, (_IMPORT + source,)):
                recorded += self._stream(stream_id)
        changed: dict[int, RecordedEvent] = {}
        for one in recorded:
            if not one.stream.startswith(_CONVERSATION):
                event = blank_elsewhere(one.event, self._person, self.name, frozenset(self._names))
                if event != one.event:
                    changed[one.position] = _replace(one, event=event)
        self._batch.rewrite(changed.values())
        for stream_id in own:
            self._connection.execute(tables.RENAME_STREAM, (self._free_name(), stream_id))
        self.found.anything |= bool(changed or own)

    def _rewrite(self, stream_id: int, events: Sequence[RecordedEvent], changed: Sequence[RecordedEvent]) -> None:
        """Change events of a conversation, and what is derived from them."""
        self._batch.rewrite(changed)
        new = {recorded.position: recorded for recorded in changed}
        now = [new.get(recorded.position, recorded) for recorded in events]
        projections.derive_one(self._connection, stream_id, now)
        numbers = {getattr(recorded.event, "message", recorded.version) for recorded in changed}
        conversation = fold(now)
        search.replace(self._connection, [message for message in conversation.messages if message.number in numbers])
        answers.replace(self._connection, stream_id, conversation)
        self._lost |= {one.position: words for one in events if one.position in new and (words := lost(one.event))}

    def _lose(self, stream: str, position: int) -> None:
        if position:
            words, conversation = self.found.words, stream.removeprefix(_CONVERSATION)
            words[conversation] = min(position, words.get(conversation, position))

    def _free_name(self) -> str:
        """A name for what was their stream; somebody who came back and is erased again has had one before."""
        name, number = PEOPLE + self.name, 1
        while self._query(tables.SELECT_STREAM_ID, (name,)):
            number += 1
            name = f"{PEOPLE}{self.name}/{number}"
        return name

    def _stream(self, stream_id: int) -> list[RecordedEvent]:
        events: list[RecordedEvent] = []
        while page := self._query(tables.SELECT_STREAM_PAGE, (stream_id, len(events), PAGE)):
            events += self._rows.decoded(page)
        return events

    def _query(self, sql: str, parameters: tuple[Any, ...]) -> list[Any]:
        return self._connection.execute(sql, parameters).fetchall()


@contextmanager
def erasing(store: EventStore, person: str) -> Iterator[Erasure]:
    """Hold the write lock and blank everything a person said; committed at the end, undone on an error.

    Args:
        store: the log.
        person: person id.

    Raises:
        StoreError: the log cannot be written; nothing was changed.
    """
    name = pseudonym(store.log_id, person)
    with store.rewriting(name) as (connection, batch):
        yield Erasure(connection, batch, person, name)


def scrub(store: EventStore) -> None:
    """Remove from the file what its events no longer say: index terms, freed pages, the write-ahead log.

    Does nothing when that was done since the last erasure. What a disk keeps of overwritten blocks is its own affair.

    Raises:
        BusyError: somebody has been reading for longer than the busy timeout and still needs the old pages.
        StoreError: the file cannot be written anew, for want of room most likely: it needs its own size once more.
    """
    if scrubbed(store):
        return
    last = last_erasure(store)
    later = "the person is erased, but old pages of the file still hold their words"
    try:
        with store.database.bulk():
            with store.database.transaction() as connection:
                search.forget_deleted(connection)
            is_free = store.database.rewrite_file()
    except StoreError as error:
        raise type(error)(f"{store.path}: {later}: make room for a second copy of it, and erase again") from error
    if not is_free:
        raise BusyError(f"{store.path}: {later}, because somebody is reading them; erase again when they are done")
    with store.database.transaction() as connection:
        connection.execute(tables.SAVE_CHECKPOINT, (NAME, last))


def scrubbed(store: EventStore) -> bool:
    """Whether the file was freed of old pages since the last erasure."""
    return store.checkpoint(NAME) >= last_erasure(store)


def erasures(store: EventStore) -> list[RecordedEvent]:
    """Every `PersonErased` of a log, in order."""
    found = [one for one in store.read_named(PEOPLE + ERASED) if isinstance(one.event, PersonErased)]
    return sorted(found, key=lambda recorded: recorded.position)


def last_erasure(store: EventStore) -> int:
    """Position of the last `PersonErased` of a log, 0 for none."""
    return max((recorded.position for recorded in erasures(store)), default=0)


class ErasedPeople:
    """Who was erased from a log, and when: for whoever meets their ids in a file from before.

    Args:
        store: the log, as it is now.
    """

    def __init__(self, store: EventStore) -> None:
        self._log_id = store.log_id
        self._when = {cast(PersonErased, one.event).person: one.recorded_us for one in erasures(store)}

    def when(self, person: str) -> int:
        """When somebody was erased last, in microseconds since 1970; 0 for who was not. Takes id or what replaced it."""
        return self._when.get(self.name(person), 0) if self._when and person else 0

    def name(self, person: str) -> str:
        """What stands in the place of a person."""
        return person if person.startswith(ERASED) else pseudonym(self._log_id, person)


def people(store: EventStore) -> set[str]:
    """Everybody who wrote, judged, said something about their consent or is named by a recipe, erased ones left out."""
    return {name for (name,) in store.database.query(_PEOPLE) if name and not name.startswith(ERASED)}


def conversations_with(store: EventStore, person: str) -> Iterator[list[RecordedEvent]]:
    """The events of each conversation in which somebody writes, judges or is named by id, in the order they began."""
    quoted = msgspec.json.encode(person).decode()
    for (stream_id,) in store.database.query(f"{_STREAMS_WITH} ORDER BY stream_id", (quoted,)):
        for events in store.rows.by_stream(after=stream_id - 1, last=stream_id):
            if events[0].stream.startswith(_CONVERSATION):
                yield events
