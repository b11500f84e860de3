"""Full-text search over messages and their corrections, in English and Russian.

Words are indexed by their stem (Snowball), so "открыты" finds "открыто" and "opening" finds "open"; ё counts as е. The
index keeps its own checkpoint and catches up when somebody searches, so recording never pays for it.

>>> stems("Когда вы открываетесь? Opening hours")
['когд', 'вы', 'открыва', 'open', 'hour']
"""

from __future__ import annotations

import re
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache

import snowballstemmer  # type: ignore[import-untyped] # it ships no types

from trainerlib.conversations import Message, fold, message_of
from trainerlib.events import (
    Corrected,
    CorrectionWithdrawn,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    ReplyGenerated,
    TranscriptRecorded,
)
from trainerlib.store import tables
from trainerlib.store.eventstore import EventStore

NAME = "search"

_WORD = re.compile(r"\w+")
_RUSSIAN = snowballstemmer.stemmer("russian")
_ENGLISH = snowballstemmer.stemmer("english")
_STEMMING = threading.Lock()
"""A stemmer keeps its word in itself, so one thread at a time."""


@lru_cache(maxsize=100_000)
def _stem(word: str) -> str:
    stemmer = _ENGLISH if word.isascii() else _RUSSIAN
    with _STEMMING:
        return str(stemmer.stemWord(word))


def stems(text: str) -> list[str]:
    """The stems of a text's words, in order."""
    return [_stem(word) for word in _WORD.findall(text.lower().replace("ё", "е"))]


def _words(message: Message) -> str:
    said = [message.content, *(correction.text for correction in message.corrections)]
    return " ".join(word for text in said for word in stems(text))


class SearchIndex:
    """The search index of a log.

    Args:
        store: the log.
    """

    def __init__(self, store: EventStore) -> None:
        self._store = store

    def search(self, query: str, *, limit: int = 20) -> list[int]:
        """Ids (log positions) of the messages that match best, best first.

        Messages with every word come first; when there is none, those with any of them.

        Args:
            query: words in any form; everything but letters and digits is passed over.
            limit: most results.
        """
        self.catch_up()
        words = [f'"{word}"' for word in dict.fromkeys(stems(query))]
        if not words:
            return []
        sql = "SELECT rowid FROM search_index WHERE search_index MATCH ? ORDER BY rank, rowid LIMIT ?"
        for operator in (" AND ", " OR "):
            rows = self._store.database.query(sql, (operator.join(words), limit))
            if rows:
                return [int(row[0]) for row in rows]
        return []

    def catch_up(self) -> None:
        """Take in what was recorded since the last time."""
        if self._store.checkpoint(NAME) == self._store.position:
            return
        with self._store.database.transaction() as connection:
            done = _checkpoint(connection)
            for page in self._store.pages(after=done):
                self._take(connection, page)
                done = page[-1].position
            connection.execute(tables.SAVE_CHECKPOINT, (NAME, done))

    def rebuild(self) -> None:
        """Derive the index again from nothing."""
        with self._store.database.transaction() as connection:
            connection.execute("DELETE FROM search_index")
            connection.execute(tables.SAVE_CHECKPOINT, (NAME, 0))
        self.catch_up()

    def verify(self) -> list[str]:
        """What the index has wrong, in a line; an empty list is good news."""
        self.catch_up()
        wrong = indexed = 0
        position = self._store.checkpoint(NAME)
        for events in self._store.read_by_stream(until=position):
            for message in fold(events).messages:
                row = self._store.database.query("SELECT words FROM search_index WHERE rowid = ?", (message.id,))
                indexed += len(row)
                wrong += [line[0] for line in row] != ([] if message.deleted else [_words(message)])
        extra = self._store.database.query("SELECT count(*) FROM search_index")[0][0] - indexed
        bad = wrong + max(extra, 0)
        return [f"search index: {bad} messages are not as the log says; run `trainerlib rebuild`"] if bad else []

    def _take(self, connection: sqlite3.Connection, page: list[RecordedEvent]) -> None:
        """Index the new messages of a page and once more each older one that it changes."""
        changed: dict[str, set[int]] = {}
        rows = []
        for recorded in page:
            match recorded.event:
                case MessageRecorded() | ReplyGenerated():
                    rows.append((recorded.position, _words(message_of(recorded))))
                case MessageEdited(message=number) | MessageDeleted(message=number) | Corrected(message=number):
                    changed.setdefault(recorded.stream, set()).add(number)
                case TranscriptRecorded(message=number):
                    changed.setdefault(recorded.stream, set()).add(number)
                case CorrectionWithdrawn(correction=version):
                    given = next(self._store.read(recorded.stream, after=version - 1), None)
                    if given is not None and given.version == version and isinstance(given.event, Corrected):
                        changed.setdefault(recorded.stream, set()).add(given.event.message)
        connection.executemany("INSERT INTO search_index(rowid, words) VALUES (?, ?)", rows)
        for message in self._changed(changed):
            _put(connection, message)

    def _changed(self, changed: dict[str, set[int]]) -> Iterator[Message]:
        """The messages as they stand now: a later event of the same message finds them up to date already."""
        for stream, numbers in changed.items():
            messages: Iterable[Message] = fold(self._store.read(stream)).messages
            yield from (message for message in messages if message.number in numbers)


def replace(connection: sqlite3.Connection, messages: Iterable[Message]) -> None:
    """Index messages as they stand now, in the caller's transaction; those not indexed yet wait for their turn."""
    done = _checkpoint(connection)
    for message in messages:
        if message.id <= done:
            _put(connection, message)


def forget_deleted(connection: sqlite3.Connection) -> None:
    """Make the index anew from its rows: until then it keeps words of rows that are gone."""
    connection.execute("INSERT INTO search_index(search_index) VALUES ('rebuild')")


def _checkpoint(connection: sqlite3.Connection) -> int:
    """The position up to which the index has taken events in, as a transaction sees it."""
    row = connection.execute(tables.SELECT_CHECKPOINT, (NAME,)).fetchone()
    return int(row[0]) if row else 0


def _put(connection: sqlite3.Connection, message: Message) -> None:
    """Index a message in place of what it said before."""
    connection.execute("DELETE FROM search_index WHERE rowid = ?", (message.id,))
    if not message.deleted:
        connection.execute("INSERT INTO search_index(rowid, words) VALUES (?, ?)", (message.id, _words(message)))
