"""The event store: append facts to streams, read them back in order.

How appends are committed, `trainerlib.store.commits` tells.

>>> store = EventStore(tmp / "log.db")
>>> [first] = store.append("conversation/a", [MessageRecorded("user", "When are you open?")])
>>> first.position, first.version
(1, 1)
>>> store.append("conversation/a", [MessageRecorded("user", "Hello?")], expected_version=0)
Traceback (most recent call last):
trainerlib.errors.VersionConflictError: stream conversation/a is at version 1, not at 0: somebody else wrote first
>>> [event.event.text for event in store.read("conversation/a")]
['When are you open?']
>>> store.close()
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path
from typing import Self

import msgspec

from trainerlib.codec import CODEC, Codec
from trainerlib.errors import (
    InvalidEventError,
    LogMismatchError,
    StoreError,
    TrainerlibError,
)
from trainerlib.events import Event, RecordedEvent
from trainerlib.store import projections, tables
from trainerlib.store.batches import Batch, Encoded
from trainerlib.store.commits import Committer, Request
from trainerlib.store.database import Database, Synchronous
from trainerlib.store.rows import LAST, PAGE, PEOPLE, Rows


class Append(msgspec.Struct, frozen=True, gc=False):
    """Events for one stream.

    Attributes:
        stream: name of the stream.
        events: what happened, in order.
        keys: a natural key, or `None`, for each event; empty when none has one.
        expected_version: the version the stream must be at, 0 for "it does not exist"; `None` for any.
    """

    stream: str
    events: Sequence[Event]
    keys: Sequence[str | None] = ()
    expected_version: int | None = None


class EventStore:
    """An append-only log of events in one SQLite file.

    Safe for any number of threads, event loops and processes. Reading never waits for writing.

    Args:
        path: the file; created with its schema when missing.
        read_only: refuse to create or write.
        synchronous: `FULL` (default) survives a power cut once an append returned, `NORMAL` a killed process.
        busy_timeout: seconds to wait while another process writes.
        codec: how events are written; the default knows all of trainerlib's.
        clock: nanoseconds since 1970, for the time at which events are recorded.

    Raises:
        StoreError: one of its subclasses says what is wrong with the file.
        NotFoundError: the directory does not exist.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        read_only: bool = False,
        synchronous: Synchronous = "FULL",
        busy_timeout: float = 30.0,
        codec: Codec = CODEC,
        clock: Callable[[], int] = time.time_ns,
    ) -> None:
        self._codec = codec
        self._database = Database(Path(path), read_only=read_only, synchronous=synchronous, busy_timeout=busy_timeout)
        self._committer = Committer(self._database, codec, clock)
        self._rows = Rows(self._database.query, tables.READING, codec)
        try:
            self.log_id: str = self._database.query(tables.SELECT_LOG_ID)[0][0]
            self._refuse_cut_log()
        except BaseException:
            self._database.close()
            raise

    def _refuse_cut_log(self) -> None:
        if self._database.query(tables.SELECT_FURTHEST_CHECKPOINT)[0][0] > self.position:
            raise LogMismatchError(f"{self._database.path}: the log ends before its projection; restore a backup")

    # --- writing -----------------------------------------------------------------------------------------------------

    def append(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        keys: Sequence[str | None] = (),
        expected_version: int | None = None,
    ) -> list[RecordedEvent]:
        """Record events at the end of a stream, durably, all or none.

        An event whose key is already in the log with the same content is not recorded again: its first record is
        returned in its place, so a retry after a lost answer is harmless, `expected_version` included.

        Args:
            stream: name of the stream; it begins with its first event.
            events: what happened, in order.
            keys: a natural key, or `None`, for each event.
            expected_version: refuse unless the stream is at this version; 0 means "does not exist".

        Returns:
            The events with their places in the log, in the order given.

        Raises:
            VersionConflictError: the stream is at another version.
            KeyConflictError: a key is taken by other content.
            InvalidEventError: an event cannot be written as JSON.
            StoreError: the file cannot be written; nothing was recorded.
        """
        return self._committer.commit(Request([self._encoded(stream, events, keys, expected_version)]))

    def append_batch(self, appends: Iterable[Append]) -> list[RecordedEvent]:
        """Record many appends in one transaction, all or none: what an import does, thousands of events at a time.

        Args:
            appends: what to record; several may name the same stream.

        Returns:
            The events with their places in the log, in the order given.

        Raises:
            As `append`.
        """
        return self._committer.commit(self._request(appends))

    async def append_async(
        self,
        stream: str,
        events: Sequence[Event],
        *,
        keys: Sequence[str | None] = (),
        expected_version: int | None = None,
        flush: bool = True,
    ) -> list[RecordedEvent]:
        """`append` for a coroutine: the event loop never waits for the disk, and concurrent callers share commits.

        Args:
            stream: as for `append`, like all the rest.
            events: what happened.
            keys: a natural key, or `None`, for each event.
            expected_version: refuse unless the stream is at this version.
            flush: wait until a power cut would spare it. Otherwise it is there for everybody once this returns, no killed
                process loses it, and a power cut spares it from the next append on that is flushed, or the next `flush`.
        """
        request = Request([self._encoded(stream, events, keys, expected_version)], flush)
        return await self._committer.commit_async(request)

    def _request(self, appends: Iterable[Append]) -> Request:
        return Request([self._encoded(*msgspec.structs.astuple(append)) for append in appends])

    def _encoded(
        self, stream: str, events: Sequence[Event], keys: Sequence[str | None], expected_version: int | None
    ) -> Encoded:
        if keys and len(keys) != len(events):
            raise InvalidEventError(f"{len(events)} events but {len(keys)} keys")
        _refuse_unstorable(stream, keys)
        return Encoded(stream, events, self._codec.encode_all(events), keys or None, expected_version)

    @property
    def written(self) -> int:
        """Position of the last event that this store recorded."""
        return self._committer.written

    @property
    def flushed(self) -> int:
        """Up to which position a power cut spares what this store recorded."""
        return self._committer.flushed

    def flush(self) -> None:
        """Wait until a power cut would spare everything that this store recorded.

        Raises:
            StoreError: the disk does not take it.
        """
        self._committer.flush()

    async def flush_async(self) -> None:
        """`flush` for a coroutine: the event loop does not wait for a slow disk, and concurrent callers share flushes."""
        await self._committer.flush_async()

    @contextmanager
    def rewriting(self, name: str) -> Iterator[tuple[sqlite3.Connection, Batch]]:
        """A write transaction for `trainerlib.store.erasing`: only in it may events change what they say.

        Args:
            name: what stands in the place of the person who is erased.
        """
        self._committer.refuse_closed()
        with self._database.transaction() as connection:
            [(before,)] = connection.execute("PRAGMA secure_delete")
            connection.execute("PRAGMA secure_delete = ON")
            try:
                batch = self._committer.batch(connection)
                connection.execute(tables.OPEN_ERASING, (name,))
                yield connection, batch
                connection.execute(tables.CLOSE_ERASING)
            finally:
                self._committer.memory.forget()
                connection.execute(f"PRAGMA secure_delete = {before}")

    # --- reading -----------------------------------------------------------------------------------------------------

    @property
    def position(self) -> int:
        """Position of the last event, 0 for an empty log."""
        return int(self._database.query(tables.SELECT_HEAD)[0][0])

    def exists(self, stream: str) -> bool:
        """Whether a stream has events."""
        return self._stream_id(stream) is not None

    def version(self, stream: str) -> int:
        """Version of a stream: how many events it has."""
        stream_id = self._stream_id(stream)
        return 0 if stream_id is None else int(self._database.query(tables.SELECT_STREAM_HEAD, (stream_id,))[0][0])

    def read(self, stream: str, *, after: int = 0, until: int = LAST) -> Iterator[RecordedEvent]:
        """Events of a stream in order.

        Args:
            stream: its name; one that does not exist has no events.
            after: skip versions up to this one.
            until: leave out events after this log position.
        """
        stream_id = self._stream_id(stream)
        if stream_id is None:
            return
        while True:
            page = self._database.query(tables.SELECT_STREAM_PAGE, (stream_id, after, PAGE))
            for recorded in self._rows.decoded(page):
                if recorded.position > until:
                    return
                yield recorded
            if len(page) < PAGE:
                return
            after = page[-1][2]

    def read_all(self, *, after: int = 0, until: int = LAST) -> Iterator[RecordedEvent]:
        """Events of the whole log in order.

        Args:
            after: skip positions up to this one.
            until: stop after this position.
        """
        for page in self.pages(after=after, until=until):
            yield from page

    def pages(self, *, after: int = 0, until: int = LAST) -> Iterator[list[RecordedEvent]]:
        """`read_all`, a page of at most `PAGE` events at a time."""
        while True:
            page = self._database.query(tables.SELECT_LOG_PAGE, (after, until, PAGE))
            if page:
                yield self._rows.decoded(page)
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def read_by_stream(self, *, until: int = LAST) -> Iterator[list[RecordedEvent]]:
        """Every stream's events as one list, streams in the order they began: what a dataset build folds.

        Args:
            until: leave out events after this log position.
        """
        return self._rows.by_stream(until=until)

    def read_named(self, prefix: str, *, until: int = LAST) -> Iterator[RecordedEvent]:
        """Events of every stream whose name starts with a prefix, stream by stream in the order they began.

        Args:
            prefix: the beginning of the names.
            until: leave out events after this log position.
        """
        names = prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
        stream_id = version = 0
        while True:
            page = self._database.query(tables.SELECT_EVENTS_NAMED, (*names, stream_id, version, until, PAGE))
            yield from self._rows.decoded(page)
            if len(page) < PAGE:
                return
            stream_id, version = page[-1][1], page[-1][2]

    def at(self, position: int) -> RecordedEvent | None:
        """The event at a position."""
        rows = self._database.query(tables.SELECT_BY_POSITION, (position,))
        return self._rows.decoded(rows)[0] if rows else None

    def by_keys(self, keys: Iterable[str]) -> dict[str, RecordedEvent]:
        """The events that hold any of the keys, by key."""
        rows = self._database.query(tables.SELECT_BY_KEYS, (json.dumps(list(keys)),))
        return {recorded.key: recorded for recorded in self._rows.decoded(rows) if recorded.key is not None}

    def keys_starting(self, prefix: str) -> Iterator[str]:
        """Every key that starts with a prefix, sorted."""
        after, before = prefix, prefix[:-1] + chr(ord(prefix[-1]) + 1)
        while True:
            page = self._database.query(tables.SELECT_KEYS_PAGE, (after, before, PAGE))
            yield from (row[0] for row in page)
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def streams(self, prefix: str) -> list[str]:
        """Names of the streams that start with a prefix, in the order they began."""
        before = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return [name for _, name in self._database.query(tables.SELECT_STREAMS_NAMED, (prefix, before))]

    def last_position(self, accept: Callable[[str], bool]) -> int:
        """Position of the last event whose wire name is accepted, 0 for none."""
        before = LAST
        while page := self._database.query(tables.SELECT_TYPES_BACKWARDS, (before, PAGE)):
            for position, wire_name in page:
                if accept(wire_name):
                    return int(position)
            before = page[-1][0]
        return 0

    @property
    def path(self) -> Path:
        """The file."""
        return self._database.path

    @property
    def rows(self) -> Rows:
        """Reads streams by their ids."""
        return self._rows

    @property
    def last_stream_id(self) -> int:
        """Id of the stream that began last, 0 for none; ids are given in the order streams begin."""
        return int(self._database.query(tables.SELECT_LAST_STREAM_ID)[0][0])

    def checkpoint(self, projection: str) -> int:
        """The position up to which a projection has taken events in."""
        rows = self._database.query(tables.SELECT_CHECKPOINT, (projection,))
        return int(rows[0][0]) if rows else 0

    @property
    def data_version(self) -> int:
        """A number that changes when another connection has written: the cheap question "anything new?"."""
        return int(self._database.query("PRAGMA data_version")[0][0])

    @property
    def database(self) -> Database:
        """The file below, for the projections of this package."""
        return self._database

    def _stream_id(self, stream: str) -> int | None:
        changes = stream.startswith(PEOPLE)
        known = None if changes else self._committer.memory.read.get(stream)
        if known is None:
            rows = self._database.query(tables.SELECT_STREAM_ID, (stream,))
            known = rows[0][0] if rows else None
            if known is not None and not changes:
                self._committer.memory.add(stream, known)
                self._rows.learn(known, stream)
        return known

    # --- projections, copies, the end --------------------------------------------------------------------------------

    def placed_pages(self) -> Iterator[list[projections.Placed]]:
        """The whole log in pages, each event with the id of its stream: what projections are derived from."""
        for page in self.pages():
            appends = groupby(page, key=lambda recorded: (recorded.stream, recorded.recorded_us))
            yield [(self._stream_id(stream) or 0, list(events)) for (stream, _), events in appends]

    def rebuild(self) -> int:
        """Derive the conversations projection again from nothing and put it in place; returns the log position."""
        with self._database.transaction() as connection:
            position = self.position
            projections.derive(connection, self.placed_pages())
            projections.swap(connection)
        return position

    def verify(self) -> list[str]:
        """Re-derive what is stored and say in one line each what does not hold; an empty list is good news.

        Checked: SQLite's own integrity check, gapless positions and versions, every event decodes, the conversations
        projection is what the log says.
        """
        problems: list[str] = []
        try:
            rows = self._database.query("PRAGMA integrity_check")
            problems += [f"sqlite: {row[0]}" for row in rows if row[0] != "ok"]
            if problems:
                return problems
            problems += self._gaps()
            problems += self._stale_projection()
        except TrainerlibError as error:
            problems.append(str(error))
        return problems

    def _gaps(self) -> list[str]:
        position = self.position
        count = self._database.query("SELECT count(*) FROM events WHERE position <= ?", (position,))[0][0]
        problems = [] if count == position else [f"{position - count} of {position} positions hold no event"]
        uneven = self._database.query(
            "SELECT stream_id, count(*), max(version) FROM events GROUP BY stream_id HAVING count(*) <> max(version)"
        )
        problems += [f"stream {row[0]}: {row[1]} events but version {row[2]}" for row in uneven]
        unlocked = self._database.query("SELECT count(*) FROM erasing")[0][0]
        return problems + (["erasing: a row was left behind, so events can be changed"] if unlocked else [])

    def _stale_projection(self) -> list[str]:
        with self._database.snapshot() as connection:
            projections.derive(connection, self.placed_pages(), temporary=True)
            wrong = projections.differences(connection)
        return (
            [f"projection conversations: {wrong} rows differ from the log; run `trainerlib rebuild`"] if wrong else []
        )

    def backup(self, target: Path) -> None:
        """Copy the log, as of one moment and while others write, into a new file."""
        if target.exists():
            raise StoreError(f"{target}: exists already; name a new file")
        self._database.backup(target)

    def close(self) -> None:
        """Write what waits and close the file."""
        self._committer.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refuse_unstorable(stream: str, keys: Iterable[str | None]) -> None:
    """A name that SQLite cannot hold or find again would fail everybody in its transaction."""
    if not stream:
        raise InvalidEventError("a stream has a name")
    names = "".join([stream, *filter(None, keys)]) if keys else stream
    if "\0" in names:
        raise InvalidEventError(f"{stream!r}: a stream name or key holds a NUL character")
    try:
        names.encode()
    except UnicodeEncodeError as error:
        raise InvalidEventError(f"{stream!r}: a stream name or key is not Unicode text: {error.reason}") from error
