"""Rows of the log made into events again: all that reading needs, and nothing of SQLAlchemy.

So a process that only reads, as the workers of a dataset build do, starts in a tenth of a second with a plain
connection and the statements another process compiled.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

from trainerlib.codec import CODEC, Codec
from trainerlib.errors import CorruptError, StoreError
from trainerlib.events import RecordedEvent

PAGE = 250
"""Rows a read fetches at once: no cursor stays open, so readers never hold back a checkpoint, and what is made of them is
still in the processor's cache."""

LAST = 2**63 - 1
"""The highest position, version or stream id there can be."""

PEOPLE = "person/"
"""Beginning of the streams whose names change when a person is erased; nobody may remember these."""

_REMEMBERED = 50_000
"""Most stream names kept in memory."""

_AHEAD = 500
"""Streams whose names are asked for before they are needed, where streams are read in a row."""

_FEW = 4
"""Streams that whoever reads single ones can have at once."""

_NOT_SO_EASY = KeyError, ValueError, msgspec.MsgspecError
"""What rows cause that need more than their stream's remembered name and the current schema."""

Query = Callable[[str, tuple[Any, ...]], list[Any]]
"""Runs a statement with its parameters; all rows of its answer."""


class Statements(msgspec.Struct, frozen=True):
    """The SQL that reading streams needs.

    Attributes:
        by_stream: a page of events after `(stream id, version)`, of streams up to one, up to a position.
        names: names of the streams whose ids are in a JSON list.
        names_between: names of the streams with ids from one to another.
    """

    by_stream: str
    names: str
    names_between: str


class Rows:
    """Reads events from rows of the log.

    Args:
        query: runs a statement.
        statements: the SQL.
        codec: how events were written.
    """

    def __init__(self, query: Query, statements: Statements, codec: Codec) -> None:
        self._query = query
        self._statements = statements
        self._codec = codec
        self._names: dict[int, str] = {}

    def by_stream(self, *, after: int = 0, last: int = LAST, until: int = LAST) -> Iterator[list[RecordedEvent]]:
        """Every stream's events as one list, streams in the order they began.

        Args:
            after: leave out streams up to this id.
            last: leave out streams after this id.
            until: leave out events after this log position.
        """
        stream_id, version = after, LAST
        events: list[RecordedEvent] = []
        while True:
            page = self._query(self._statements.by_stream, (stream_id, version, last, until, PAGE))
            decoded = self.decoded(page)
            begins = [index for index, row in enumerate(page) if row[2] == 1]
            done = 0
            for index in begins:
                events += decoded[done:index]
                if events:
                    yield events
                events = []
                done = index
            events += decoded[done:]
            if len(page) < PAGE:
                break
            stream_id, version = page[-1][1], page[-1][2]
        if events:
            yield events

    def decoded(self, rows: list[Any]) -> list[RecordedEvent]:
        """The events of rows.

        Raises:
            CorruptError: an event is in a stream without a name.
            UnknownEventError: a newer trainerlib wrote one.
            InvalidEventError: one is not what its schema says.
        """
        # Most pages hold nothing that has to be looked up, and to find out what they hold takes as long as to try.
        with suppress(*_NOT_SO_EASY):
            return self._made(rows, self._names)
        names = self._names_of({row[1] for row in rows})
        with suppress(*_NOT_SO_EASY):
            return self._made(rows, names)
        # An older schema version, or something wrong: the codec upcasts the one and names the other.
        decode = self._codec.decode
        nameless = next((row for row in rows if row[1] not in names), None)
        if nameless is not None:
            raise CorruptError(f"the event at position {nameless[0]} is in a stream without a name")
        return [
            RecordedEvent(row[0], names[row[1]], row[2], decode(row[3], row[4], row[7]), row[5], row[6]) for row in rows
        ]

    def _made(self, rows: list[Any], names: dict[int, str]) -> list[RecordedEvent]:
        """Events of rows that are all of the current schema, in streams of these names; else one of `_NOT_SO_EASY`."""
        decoders = self._codec.decoders
        return [
            RecordedEvent(position, names[stream_id], version, decoders[schema][wire_name](data), at, key)
            for position, stream_id, version, wire_name, schema, at, key, data in rows
        ]

    def learn(self, stream_id: int, name: str) -> None:
        """The name of a stream, which can never change: nobody's who may be erased."""
        if len(self._names) <= _REMEMBERED:
            self._names[stream_id] = name

    def _names_of(self, stream_ids: set[int]) -> dict[int, str]:
        """Names of streams, remembered while they are few and cannot change."""
        # Not `stream_ids - names.keys()`: that goes through all the names.
        missing = stream_ids.difference(self._names)
        if not missing:
            return self._names
        first, last = min(missing), max(missing)
        if last - first < 2 * len(missing):
            # Of many streams in a row the pages to come need those after them.
            last += _AHEAD if len(missing) > _FEW else 0
            found = dict(self._query(self._statements.names_between, (first, last)))
        else:
            found = dict(self._query(self._statements.names, (json.dumps(list(missing)),)))
        here = {stream_id: self._names[stream_id] for stream_id in stream_ids - missing} | found
        if len(self._names) > _REMEMBERED:
            self._names = {}
        self._names.update(item for item in found.items() if not item[1].startswith(PEOPLE))
        return here


@contextmanager
def reading(path: Path, statements: Statements) -> Iterator[Rows]:
    """The events of a log that another process holds open.

    Args:
        path: its file.
        statements: the SQL, as the other process has it.

    Raises:
        StoreError: the file does not read.
    """
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=30)
    try:
        yield Rows(lambda sql, parameters: connection.execute(sql, parameters).fetchall(), statements, CODEC)
    except sqlite3.Error as error:
        raise StoreError(f"{path}: {error}") from error
    finally:
        connection.close()
