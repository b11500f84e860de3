"""One write transaction: what of the requests is new, where it goes, and its rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from itertools import count, repeat

import msgspec

from trainerlib.errors import KeyConflictError, VersionConflictError
from trainerlib.events import Codec, Event, RecordedEvent
from trainerlib.store import projections, tables

REMEMBERED = 50_000
"""Most stream names kept in memory for each direction."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """An append with its events as JSON. Parallel lists: a tuple an event would keep the garbage collector busy."""

    stream: str
    events: Sequence[Event]
    data: list[bytes]
    keys: Sequence[str | None] | None
    expected_version: int | None


class Batch:
    """One write transaction: places events, and refuses a request before anything of it is written.

    The file's write lock is held and every check comes before the first insert, so a refused request leaves nothing
    behind and needs no savepoint.
    """

    def __init__(self, connection: sqlite3.Connection, stream_ids: dict[str, int], now: int, codec: Codec) -> None:
        self._connection = connection
        self._stream_ids = stream_ids
        self._now = now
        self._codec = codec
        self._heads: dict[str, int] = {}
        self.position: int = connection.execute(tables.SELECT_HEAD).fetchone()[0]
        self.placed: list[projections.Placed] = []

    def record(self, appends: list[Encoded], keys: list[str]) -> list[RecordedEvent]:
        """Insert what is new of a request, and return all of it in its place.

        Args:
            appends: what to record together or not at all.
            keys: every key among them.

        Raises:
            VersionConflictError: a stream is at another version than expected.
            KeyConflictError: a key belongs to other content.
        """
        known = self._known(keys)
        repeats = len(keys) > 1 and len(set(keys)) < len(keys)
        self._find_streams(appends)
        heads: dict[str, int] = {}
        plan: list[tuple[Encoded, list[int] | None]] = []
        waiting: dict[str, tuple[str, Event]] = {}
        for append in appends:
            fresh = self._fresh(append, known, waiting) if append.keys and (known or repeats) else None
            count = len(append.events) if fresh is None else len(fresh)
            head = heads.get(append.stream)
            if head is None:
                head = self._head(append.stream)
            if count and append.expected_version is not None and append.expected_version != head:
                raise VersionConflictError(append.stream, expected=append.expected_version, actual=head)
            heads[append.stream] = head + count
            plan.append((append, fresh))
        return self._insert(plan, known)

    def _fresh(
        self, append: Encoded, known: dict[str, RecordedEvent], waiting: dict[str, tuple[str, Event]]
    ) -> list[int]:
        """Indexes of the events that are not in the log yet."""
        indexes = []
        for index, (event, key) in enumerate(zip(append.events, append.keys or (), strict=True)):
            if key is None:
                indexes.append(index)
            elif (first := known.get(key)) is not None:
                if first.stream != append.stream or first.event != event:
                    raise KeyConflictError(key, position=first.position)
            elif (earlier := waiting.get(key)) is not None:
                if earlier != (append.stream, event):
                    raise KeyConflictError(key, position=self.position + 1)
            else:
                waiting[key] = (append.stream, event)
                indexes.append(index)
        return indexes

    def _insert(
        self, plan: list[tuple[Encoded, list[int] | None]], known: dict[str, RecordedEvent]
    ) -> list[RecordedEvent]:
        self._make_streams(plan)
        now, stream_ids = self._now, self._stream_ids
        result: list[RecordedEvent] = []
        data: list[bytes] = []
        written: list[projections.Placed] = []
        for append, fresh in plan:
            events, keys = append.events, append.keys or repeat(None)
            if fresh is None:
                data += append.data
            else:
                data += [append.data[index] for index in fresh]
                events = [append.events[index] for index in fresh]
                keys = [append.keys[index] for index in fresh] if append.keys else keys
            if not events:
                new: list[RecordedEvent] = []
            else:
                version = self._head(append.stream)
                new = [
                    RecordedEvent(position, append.stream, number, event, now, key)
                    for position, number, event, key in zip(
                        count(self.position + 1), count(version + 1), events, keys, strict=False
                    )
                ]
                self.position += len(new)
                self._heads[append.stream] = version + len(new)
                written.append((stream_ids[append.stream], new))
            if fresh is None:
                result += new
            else:
                known.update({recorded.key: recorded for recorded in new if recorded.key is not None})
                without_key = iter([recorded for recorded in new if recorded.key is None])
                result += [known[key] if key is not None else next(without_key) for key in append.keys or ()]
        # A generator: the driver takes the rows one by one and none of them is kept.
        rows = (
            (
                recorded.position,
                stream_id,
                recorded.version,
                recorded.event.wire_name,
                recorded.event.schema_version,
                now,
                recorded.key,
                line,
            )
            for (stream_id, recorded), line in zip(
                ((stream_id, recorded) for stream_id, new in written for recorded in new), data, strict=True
            )
        )
        self._connection.executemany(tables.INSERT_EVENT, rows)
        self.placed += written
        return result

    def _find_streams(self, appends: list[Encoded]) -> None:
        """Learn the ids of the request's streams that exist."""
        missing = {append.stream for append in appends if append.stream not in self._stream_ids}
        if not missing:
            return
        if len(self._stream_ids) > REMEMBERED:
            self._stream_ids.clear()
            missing = {append.stream for append in appends}
        self._stream_ids.update(self._connection.execute(tables.SELECT_STREAM_IDS, (json.dumps(list(missing)),)))

    def _make_streams(self, plan: list[tuple[Encoded, list[int] | None]]) -> None:
        names = dict.fromkeys(
            append.stream
            for append, fresh in plan
            if append.stream not in self._stream_ids and append.events and fresh != []
        )
        if names:
            last = self._connection.execute(tables.SELECT_LAST_STREAM_ID).fetchone()[0]
            new = dict(zip(names, count(last + 1), strict=False))
            self._connection.executemany(tables.INSERT_STREAM, [(number, name) for name, number in new.items()])
            self._stream_ids.update(new)

    def _head(self, stream: str) -> int:
        head = self._heads.get(stream)
        if head is None:
            stream_id = self._stream_ids.get(stream)
            if stream_id is None:
                return 0
            head = self._connection.execute(tables.SELECT_STREAM_HEAD, (stream_id,)).fetchone()[0]
            self._heads[stream] = head
        return head

    def _known(self, keys: list[str]) -> dict[str, RecordedEvent]:
        """Events that hold the keys already, by key."""
        if not keys:
            return {}
        if len(keys) == 1:
            found = self._connection.execute(tables.SELECT_BY_KEY, (keys[0],)).fetchall()
        else:
            found = self._connection.execute(tables.SELECT_BY_KEYS, (json.dumps(keys),)).fetchall()
        if not found:
            return {}
        ids = json.dumps(list({row[1] for row in found}))
        names = dict(self._connection.execute(tables.SELECT_STREAM_NAMES, (ids,)))
        decode = self._codec.decode
        return {
            key: RecordedEvent(position, names[stream_id], version, decode(wire_name, schema, data), at, key)
            for position, stream_id, version, wire_name, schema, at, key, data in found
        }
