"""The conversations projection: one row of counts a conversation, kept in the transaction that appends.

Every change is a difference that adds up, so a batch costs one statement a conversation however many events it has.
A withdrawal or a deletion looks its event up, which is rare.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from itertools import groupby

import msgspec
from sqlalchemy import MetaData
from sqlalchemy.schema import CreateTable

from trainerlib.codec import CODEC
from trainerlib.events import (
    ConversationStarted,
    Corrected,
    CorrectionWithdrawn,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    MessageDeleted,
    MessageRecorded,
    RecordedEvent,
    ReplyGenerated,
    from_microseconds,
)
from trainerlib.language import letters
from trainerlib.store import tables
from trainerlib.store.database import Database

_PREFIX = "conversation/"
_REBUILT = "conversations_rebuilt"
_UPSERT = tables.upsert_conversation(tables.conversations)

_TAKES_BACK: dict[type[Event], tuple[str, tuple[type[Event], ...]]] = {
    CorrectionWithdrawn: ("correction", (Corrected,)),
    FeedbackWithdrawn: ("feedback", (FeedbackGiven,)),
    MessageDeleted: ("message", (MessageRecorded, ReplyGenerated)),
}
"""The field that says which event is taken back, and what kind of event that is."""

Placed = tuple[int, Sequence[RecordedEvent]]
"""Events of one stream that were recorded at the same time, with the id of the stream."""


class _Differences(msgspec.Struct, gc=False):
    """What a batch of events adds to one conversation's row."""

    started: int
    last: int = 0
    platform: str = ""
    title: str = ""
    messages: int = 0
    replies: int = 0
    corrections: int = 0
    up: int = 0
    down: int = 0
    cyrillic: int = 0
    latin: int = 0

    def add(self, recorded: RecordedEvent) -> None:
        event = recorded.event
        if type(event) is MessageRecorded:
            # First, and without a call, as nearly every event is one.
            if event.role != "system":
                at = recorded.recorded_us if event.sent_at is None else _microseconds(event.sent_at)
                if at > self.last:  # noqa: PLR1730 - a call to `max` costs as much as all the rest
                    self.last = at
                if at < self.started:  # noqa: PLR1730 - as above
                    self.started = at
                self.messages += 1
                self.replies += event.role == "assistant"
                cyrillic, latin = letters(event.text)
                self.cyrillic += cyrillic
                self.latin += latin
        elif isinstance(event, ConversationStarted):
            self.platform = event.platform or self.platform
            self.title = event.title or self.title
        else:
            if isinstance(event, ReplyGenerated):
                self.last = max(self.last, recorded.recorded_us)
            self._count(event, 1)

    def add_messages(self, messages: Sequence[MessageRecorded], recorded_us: int) -> None:
        """`add` for many that were recorded at the same time, without a step of the interpreter for each."""
        sent = [message.sent_at for message in messages if message.sent_at is not None]
        times = [_microseconds(min(sent)), _microseconds(max(sent))] if sent else []
        if len(sent) < len(messages):
            times.append(recorded_us)
        self.started = min(self.started, *times)
        self.last = max(self.last, *times)
        self.messages += len(messages)
        self.replies += [message.role for message in messages].count("assistant")
        # The letters of all that was said in one go: five times as quick as message by message.
        cyrillic, latin = letters("".join([message.text for message in messages]))
        self.cyrillic += cyrillic
        self.latin += latin

    def take_back(self, event: Event) -> None:
        self._count(event, -1)

    def _count(self, event: Event, sign: int) -> None:
        match event:
            case MessageRecorded(role="system"):
                pass
            case MessageRecorded(text=text) | ReplyGenerated(text=text):
                self.messages += sign
                self.replies += sign * (not isinstance(event, MessageRecorded) or event.role == "assistant")
                cyrillic, latin = letters(text)
                self.cyrillic += sign * cyrillic
                self.latin += sign * latin
            case Corrected():
                self.corrections += sign
            case FeedbackGiven(rating=rating):
                self.up += sign * (rating is not None and rating > 0)
                self.down += sign * (rating is not None and rating < 0)

    def row(self, stream_id: int) -> tuple[object, ...]:
        return (stream_id, self.platform, self.title, self.started, self.last, self.messages, self.replies,
                self.corrections, self.up, self.down, self.cyrillic, self.latin)  # fmt: skip


def _microseconds(at: datetime) -> int:
    return round(at.timestamp() * 1_000_000)


def _undone(connection: sqlite3.Connection, stream_id: int, version: int) -> Event | None:
    """The event that a withdrawal or deletion takes back."""
    row = connection.execute(tables.SELECT_STREAM_PAGE, (stream_id, version - 1, 1)).fetchone()
    return None if row is None or row[2] != version else CODEC.decode(row[3], row[4], row[7])


def apply(connection: sqlite3.Connection, placed: Iterable[Placed], *, sql: str = _UPSERT) -> None:
    """Add the events to the projection's rows, in the caller's transaction."""
    rows: dict[int, _Differences] = {}
    for stream_id, events in placed:
        if not events or not events[0].stream.startswith(_PREFIX):
            continue
        row = rows.get(stream_id)
        if row is None:
            row = rows[stream_id] = _Differences(events[0].recorded_us)
        else:
            row.started = min(row.started, events[0].recorded_us)
        others = events
        if len(events) > 1:
            said = [event for one in events if type(event := one.event) is MessageRecorded and event.role != "system"]
            if said:
                row.add_messages(said, events[0].recorded_us)
            if len(said) == len(events):
                continue
            others = [one for one in events if type(one.event) is not MessageRecorded]
        for recorded in others:
            taken_back = _TAKES_BACK.get(type(recorded.event))
            if taken_back is None:
                row.add(recorded)
                continue
            field, kinds = taken_back
            version = getattr(recorded.event, field)
            undone = _undone(connection, stream_id, version) if version < recorded.version else None
            # One that names nothing of its kind before it changes nothing, as in a fold.
            if isinstance(undone, kinds):
                row.take_back(undone)
    if rows:
        connection.executemany(sql, [row.row(stream_id) for stream_id, row in rows.items()])


def derive_one(connection: sqlite3.Connection, stream_id: int, events: Sequence[RecordedEvent]) -> None:
    """Derive one conversation's row again from all its events, in the caller's transaction."""
    connection.execute("DELETE FROM conversations WHERE stream_id = ?", (stream_id,))
    recorded_together = groupby(events, key=lambda recorded: recorded.recorded_us)
    apply(connection, [(stream_id, list(together)) for _, together in recorded_together])


def derive(connection: sqlite3.Connection, pages: Iterable[list[Placed]], *, temporary: bool = False) -> None:
    """Derive the projection again from the whole log, into a table beside the live one."""
    fresh = tables.conversations_table(_REBUILT, MetaData(), temporary=temporary)
    connection.execute(f"DROP TABLE IF EXISTS {_REBUILT}")
    connection.execute(str(CreateTable(fresh)))
    sql = tables.upsert_conversation(fresh)
    for page in pages:
        apply(connection, page, sql=sql)


def swap(connection: sqlite3.Connection) -> None:
    """Put the derived table in the place of the live one."""
    connection.execute("DROP TABLE conversations")
    connection.execute(f"ALTER TABLE {_REBUILT} RENAME TO conversations")


def differences(connection: sqlite3.Connection) -> int:
    """How many conversations have not the same row in the derived and the live table."""
    first, second = f"SELECT * FROM {_REBUILT}", "SELECT * FROM conversations"
    both = f"SELECT * FROM ({first} EXCEPT {second}) UNION ALL SELECT * FROM ({second} EXCEPT {first})"
    return int(connection.execute(f"SELECT count(DISTINCT stream_id) FROM ({both})").fetchone()[0])


class ConversationSummary(msgspec.Struct, frozen=True):
    """A conversation in a list.

    Attributes:
        id: `telegram:42`.
        platform: where it takes place.
        title: name of the chat.
        language: `ru` for Cyrillic and `en` for Latin letters, whichever are more; `und` without letters.
        started_at: time of its first message, UTC.
        last_at: time of its last message, UTC.
        messages: how many, replies included, deleted ones left out.
        replies: how many of them are the assistant's.
        corrections: corrections given and not withdrawn; a person who corrected twice counts twice.
        up: ratings above 0, given and not withdrawn.
        down: ratings below 0, given and not withdrawn.
    """

    id: str
    platform: str
    title: str
    language: str
    started_at: datetime
    last_at: datetime
    messages: int
    replies: int
    corrections: int
    up: int
    down: int


_SUMMARIES = """
SELECT * FROM (
    SELECT substr(s.name, 14) AS id, c.platform, c.title,
           CASE WHEN c.cyrillic > c.latin THEN 'ru' WHEN c.latin > 0 THEN 'en' ELSE 'und' END AS language,
           c.started_at, max(c.last_at, c.started_at) AS last_at, c.messages, c.replies, c.corrections, c.up, c.down
    FROM conversations AS c JOIN streams AS s ON s.id = c.stream_id)
WHERE (:platform IS NULL OR platform = :platform) AND (:language IS NULL OR language = :language)
  AND (:rated IS NULL OR (CASE :rated WHEN 'up' THEN up ELSE down END) > 0)
  AND (:corrected IS NULL OR (corrections > 0) = :corrected)
ORDER BY last_at DESC, id LIMIT :count
"""
_TOTALS = """
SELECT count(*), coalesce(sum(messages), 0), coalesce(sum(replies), 0), coalesce(sum(corrections), 0),
       coalesce(sum(up), 0), coalesce(sum(down), 0) FROM conversations
"""


def summaries(
    database: Database,
    *,
    platform: str | None,
    language: str | None,
    rated: str | None,
    corrected: bool | None,
    limit: int | None,
) -> list[ConversationSummary]:
    """Conversations that fit every condition that is not `None`, the most recent first."""
    wanted = {"platform": platform, "language": language, "rated": rated, "corrected": corrected}
    rows = database.query(_SUMMARIES, {**wanted, "count": -1 if limit is None else limit})
    return [
        ConversationSummary(name, where, title, language, from_microseconds(began), from_microseconds(last), *counts)
        for name, where, title, language, began, last, *counts in rows
    ]


def totals(database: Database) -> tuple[int, int, int, int, int, int]:
    """Conversations, messages, replies, corrections, ratings up, ratings down of the whole log."""
    row: tuple[int, int, int, int, int, int] = database.query(_TOTALS)[0]
    return row
