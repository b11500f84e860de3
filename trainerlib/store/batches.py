"""One write transaction: what of the requests is new, where it goes, and its rows."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from itertools import count, repeat

import msgspec

from trainerlib.blanking import is_erased
from trainerlib.codec import Codec
from trainerlib.consent import ERASED
from trainerlib.errors import KeyConflictError, VersionConflictError
from trainerlib.events import Event, RecordedEvent
from trainerlib.store import projections, tables
from trainerlib.store.rows import PEOPLE

REMEMBERED = 50_000
"""Most stream names kept in memory for each direction."""


class Encoded(msgspec.Struct, frozen=True, gc=False):
    """An append with its events as JSON. Parallel lists: a tuple an event would keep the garbage collector busy."""

    stream: str
    events: Sequence[Event]
    data: list[bytes]
    keys: Sequence[str | None] | None
    expected_version: int | None


class Memory:
    """What a writer remembers from one transaction to the next: true as long as nobody else has written.

    Attributes:
        stream_ids: ids of streams; these never change, but for a person's, which is looked up in each transaction. Some may
            be of streams that a transaction begins and that never come to be.
        read: ids of streams that whoever reads has found in the log, in any thread.
        heads: versions of streams.
        position: the log's last position, or an earlier one when somebody else has written; to be relied on once `is_known`.
    """

    def __init__(self) -> None:
        self.stream_ids: dict[str, int] = {}
        self.read: dict[str, int] = {}
        self.position = 0
        self._people: set[str] = set()
        self.heads: dict[str, int] = {}
        self._data_version: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether the position was read since the last transaction that was undone."""
        return self._data_version is not None

    def forget_people(self) -> None:
        """What is known of people was true in the last transaction only."""
        if self._people:
            for name in self._people:
                self.stream_ids.pop(name, None)
                self.heads.pop(name, None)
            self._people.clear()

    def refresh(self, connection: sqlite3.Connection) -> None:
        """Forget the versions and read the position again when another connection has written."""
        data_version = connection.execute("PRAGMA data_version").fetchone()[0]
        if data_version != self._data_version:
            self.heads.clear()
            self.position = connection.execute(tables.SELECT_HEAD).fetchone()[0]
            self._data_version = data_version
        elif len(self.heads) > REMEMBERED:
            self.heads.clear()

    def learn(self, stream_ids: dict[str, int]) -> None:
        """Remember ids of streams."""
        self.stream_ids.update(stream_ids)
        self._people.update([name for name in stream_ids if name.startswith(PEOPLE)])

    def add(self, stream: str, stream_id: int) -> None:
        """Remember the id of a stream that was read in the log."""
        if len(self.read) >= REMEMBERED:
            self.read = {}
        self.read[stream] = stream_id

    def knows(self, stream: str) -> bool:
        """Whether the id of a stream is in `stream_ids`, perhaps because somebody has read it."""
        if stream in self.stream_ids:
            return True
        found = self.read.get(stream)
        if found is not None:
            self.stream_ids[stream] = found
        return found is not None

    def forget(self) -> None:
        """Start anew: what was learnt in an undone transaction never came true."""
        self.stream_ids.clear()
        self._data_version = None


_Plan = list[tuple[Encoded, list[int] | None]]
"""Appends with the indexes of their events that are new; `None` for all of them."""


class NotAllNewError(Exception):
    """A transaction that took everything for new has to be undone and made again with a look at what is there."""


class Batch:
    """One write transaction: places the events of its requests, each request wholly or not at all.

    The file's write lock is held, so what is checked stays true until the commit. `record` checks everything before its
    first insert, so that a refused request leaves nothing; `record_new` checks next to nothing. Neither needs a
    savepoint, which would copy every page it touches.
    """

    def __init__(self, connection: sqlite3.Connection, memory: Memory, now: int, codec: Codec) -> None:
        self._connection = connection
        self._memory = memory
        self._stream_ids = memory.stream_ids
        self._heads = memory.heads
        self._now = now
        self._codec = codec
        self.placed: list[projections.Placed] = []
        memory.forget_people()

    def record_lone(self, appends: list[Encoded]) -> list[RecordedEvent]:
        """`record` for one request that nobody waits with.

        Nearly always it is one new event of a known stream, and nobody else has written: the insert is tried at once. Its
        place in the log is taken when somebody has, and a failed statement leaves nothing, so only then is it looked at.

        Raises:
            NotAllNewError: as `record_new`.
            VersionConflictError: a stream is at another version than expected.
            KeyConflictError: a key belongs to other content.
        """
        lone = len(appends) == 1 and len(appends[0].events) == 1
        if lone and self._memory.is_known and self._memory.knows(appends[0].stream):
            try:
                return self._write_one(appends[0])
            except (VersionConflictError, sqlite3.IntegrityError):
                return self.record(appends)
        return self.record_new(appends)

    def record(self, appends: list[Encoded]) -> list[RecordedEvent]:
        """Insert what is new of a request, and return all of it in its place.

        Args:
            appends: what to record together or not at all.

        Raises:
            VersionConflictError: a stream is at another version than expected.
            KeyConflictError: a key belongs to other content.
        """
        self._memory.refresh(self._connection)
        self._find_streams(appends)
        known = self._known([key for append in appends for key in append.keys or () if key is not None])
        waiting: dict[str, tuple[str, Event]] = {}
        plan = [(append, self._fresh(append, known, waiting) if append.keys else None) for append in appends]
        return self._write(plan, known)

    def record_new(self, appends: list[Encoded]) -> list[RecordedEvent]:
        """Insert what is nearly always all new, and let versions and the unique index say when it is not.

        Args:
            appends: what to record, of one request or of several.

        Raises:
            NotAllNewError: something is not new or not as expected; the transaction has to be undone.
        """
        self._memory.refresh(self._connection)
        self._find_streams(appends)
        try:
            return self._write([(append, None) for append in appends], {})
        except (VersionConflictError, sqlite3.IntegrityError) as error:
            raise NotAllNewError from error

    def _fresh(
        self, append: Encoded, known: dict[str, RecordedEvent], waiting: dict[str, tuple[str, Event]]
    ) -> list[int]:
        """Indexes of the events that are not in the log yet."""
        indexes = []
        for index, (event, key) in enumerate(zip(append.events, append.keys or (), strict=True)):
            if key is None:
                indexes.append(index)
            elif (first := known.get(key)) is not None:
                same = first.stream == append.stream and first.event == event
                if not same and not self._was_erased(first, append.stream):
                    raise KeyConflictError(key, position=first.position)
            elif (earlier := waiting.get(key)) is not None:
                if earlier != (append.stream, event):
                    raise KeyConflictError(key, position=self._memory.position + 1)
            else:
                waiting[key] = (append.stream, event)
                indexes.append(index)
        return indexes

    def rewrite(self, changed: Iterable[RecordedEvent]) -> None:
        """Have events say something else in their places; only an erasure may."""
        changed = list(changed)
        data = self._codec.encode_all([recorded.event for recorded in changed])
        self._connection.executemany(
            tables.REWRITE_EVENT,
            [(one.event.schema_version, line, one.position) for one, line in zip(changed, data, strict=True)],
        )

    def append(self, stream: str, event: Event) -> RecordedEvent:
        """Insert one event without a key."""
        [recorded] = self.record([Encoded(stream, [event], self._codec.encode_all([event]), None, None)])
        return recorded

    def _was_erased(self, first: RecordedEvent, stream: str) -> bool:
        """An event was blanked since it was recorded, so what its key brings again is what was erased."""
        if first.stream != stream:
            return first.stream.startswith(PEOPLE + ERASED)
        if is_erased(first.event):
            return True
        message = getattr(first.event, "message", None)
        if message is None:
            return False
        row = self._connection.execute(tables.SELECT_STREAM_PAGE, (self._stream_ids[stream], message - 1, 1)).fetchone()
        return row is not None and row[2] == message and is_erased(self._codec.decode(row[3], row[4], row[7]))

    def _write(self, plan: _Plan, known: dict[str, RecordedEvent]) -> list[RecordedEvent]:
        """Check the versions, then insert."""
        if len(plan) > 1:
            self._find_heads({append.stream for append, _ in plan})
        if any(append.expected_version is not None for append, _ in plan):
            self._check_versions(plan)
        position, now, heads = self._memory.position, self._now, dict[str, int]()
        result: list[RecordedEvent] = []
        data: list[bytes] = []
        written: list[tuple[str, list[RecordedEvent]]] = []
        for append, fresh in plan:
            stream, events, keys = append.stream, append.events, append.keys
            if fresh is not None:
                data += [append.data[index] for index in fresh]
                events = [append.events[index] for index in fresh]
                keys = [append.keys[index] for index in fresh] if append.keys else None
            else:
                data += append.data
            version = heads[stream] if stream in heads else self._head(stream)
            if len(events) == 1:
                new = [RecordedEvent(position + 1, stream, version + 1, events[0], now, keys[0] if keys else None)]
            else:
                new = [
                    RecordedEvent(number, stream, step, event, now, key)
                    for number, step, event, key in zip(
                        count(position + 1), count(version + 1), events, keys or repeat(None), strict=False
                    )
                ]
            position += len(new)
            heads[stream] = version + len(new)
            if new:
                if written and written[-1][0] == stream:
                    written[-1][1].extend(new)
                else:
                    written.append((stream, new.copy()))
            if fresh is None:
                result += new
            else:
                known.update({recorded.key: recorded for recorded in new if recorded.key is not None})
                without_key = iter([recorded for recorded in new if recorded.key is None])
                result += [known[key] if key is not None else next(without_key) for key in append.keys or ()]
        self.placed += self._insert(written, data)
        self._memory.position = position
        self._heads.update(heads)
        return result

    def _write_one(self, append: Encoded) -> list[RecordedEvent]:
        """`_write` for what is nearly always asked for, one new event of a stream that exists."""
        stream, memory = append.stream, self._memory
        stream_id, version = self._stream_ids[stream], self._head(stream)
        if append.expected_version is not None and append.expected_version != version:
            raise VersionConflictError(stream, expected=append.expected_version, actual=version)
        [event], [data], [key] = append.events, append.data, append.keys or (None,)
        recorded = RecordedEvent(memory.position + 1, stream, version + 1, event, self._now, key)
        row = (recorded.position, stream_id, version + 1, event.wire_name, event.schema_version, self._now, key,
               bytearray(data))  # fmt: skip
        self._connection.execute(tables.INSERT_EVENT, row)
        memory.position += 1
        self._heads[stream] = version + 1
        self.placed.append((stream_id, [recorded]))
        return [recorded]

    def _check_versions(self, plan: _Plan) -> None:
        heads: dict[str, int] = {}
        for append, fresh in plan:
            new = len(append.events) if fresh is None else len(fresh)
            head = heads[append.stream] if append.stream in heads else self._head(append.stream)
            if new and append.expected_version is not None and append.expected_version != head:
                raise VersionConflictError(append.stream, expected=append.expected_version, actual=head)
            heads[append.stream] = head + new

    def _insert(self, written: list[tuple[str, list[RecordedEvent]]], data: list[bytes]) -> list[projections.Placed]:
        """Insert the rows, the streams they need first."""
        ids, now = self._stream_ids, self._now
        missing = dict.fromkeys(stream for stream, _ in written if stream not in ids)
        if missing:
            last = self._connection.execute(tables.SELECT_LAST_STREAM_ID).fetchone()[0]
            numbers = dict(zip(missing, count(last + 1), strict=False))
            self._connection.executemany(tables.INSERT_STREAM, [(number, name) for name, number in numbers.items()])
            self._memory.learn(numbers)
        # The driver knows how to bind a bytearray; of bytes it first asks whether somebody has told it how.
        lines = map(bytearray, data)
        # A generator: the driver takes the rows one by one and none of them is kept.
        self._connection.executemany(
            tables.INSERT_EVENT,
            (
                (one.position, stream_id, one.version, event.wire_name, event.schema_version, now, one.key, next(lines))
                for stream_id, new in ((ids[stream], new) for stream, new in written)
                for one in new
                for event in (one.event,)
            ),
        )  # fmt: skip
        return [(ids[stream], new) for stream, new in written]

    def _find_streams(self, appends: list[Encoded]) -> None:
        """Learn the ids of the request's streams that exist."""
        missing = {append.stream for append in appends if not self._memory.knows(append.stream)}
        if not missing:
            return
        if len(self._stream_ids) > REMEMBERED:
            self._stream_ids.clear()
            missing = {append.stream for append in appends}
        self._memory.learn(dict(self._connection.execute(tables.SELECT_STREAM_IDS, (json.dumps(list(missing)),))))

    def _find_heads(self, streams: set[str]) -> None:
        """Learn the versions of many streams at once; `_head` asks for one."""
        names = {self._stream_ids[name]: name for name in streams - self._heads.keys() if name in self._stream_ids}
        if len(names) > 1:
            rows = self._connection.execute(tables.SELECT_STREAM_HEADS, (json.dumps(list(names)),))
            self._heads.update((names[stream_id], head) for stream_id, head in rows)

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
