"""Committing appends: who writes to the log when, and for how many at once.

A writer takes the lock of the process, then that of the file, and commits everything that waits: whoever gets the
lock first writes for all (group commit), so one caller pays no hand-over and many callers share one flush to the disk.
Coroutines hand their appends to a thread that does the same; one that need not be flushed is committed where it is, as long
as nobody else writes.

>>> import time
>>> from trainerlib.codec import CODEC
>>> committer = Committer(Database(tmp / "log.db"), CODEC, time.time_ns)
>>> event = MessageRecorded("user", "When are you open?")
>>> [recorded] = committer.commit(Request([Encoded("conversation/a", [event], CODEC.encode_all([event]), None, None)]))
>>> recorded.position, committer.flushed
(1, 1)
>>> committer.close()
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from queue import SimpleQueue

import msgspec

from trainerlib.codec import Codec
from trainerlib.errors import BusyError, InvalidEventError, StoreError, TrainerlibError
from trainerlib.events import RecordedEvent
from trainerlib.store import projections
from trainerlib.store.batches import Batch, Encoded, Memory, NotAllNewError
from trainerlib.store.database import Database

_GROUP = 512
"""Most waiting appends one commit takes."""

QUEUE = 4_096
"""Most appends that may wait for the writer; asynchronous callers stand in line for more."""

_LOOK = 0.001
"""Seconds until the first in line looks again."""


class Request(msgspec.Struct, eq=False):
    """Appends that are recorded together or not at all, and what became of them.

    Attributes:
        appends: what to record.
        flush: a power cut spares them once they are committed.
        loop: of the coroutine that waits.
        future: tells it.
        done: they were committed or refused.
        error: why they were refused.
        result: the events with their places in the log, in the order given.
    """

    appends: list[Encoded]
    flush: bool = True
    loop: asyncio.AbstractEventLoop | None = None
    future: asyncio.Future[list[RecordedEvent]] | None = None
    done: bool = False
    error: BaseException | None = None
    result: list[RecordedEvent] = []

    def outcome(self) -> list[RecordedEvent]:
        """The events in the log, or what is raised instead."""
        if self.error is not None:
            raise self.error
        if not self.done:
            raise _interrupted()
        return self.result


def _interrupted() -> StoreError:
    return StoreError("the append was interrupted and may not be recorded; repeat it")


class _Gate:
    """Where the callers of one event loop stand in line while the queue is full."""

    def __init__(self) -> None:
        self.first = asyncio.Lock()
        self.callers = 0


class Committer:
    """Commits appends of any number of threads and event loops to one file.

    Args:
        database: the file; closed with this.
        codec: how events are written.
        clock: nanoseconds since 1970, for the time at which events are recorded.

    Attributes:
        memory: what is known of the log from one transaction to the next.
    """

    def __init__(self, database: Database, codec: Codec, clock: Callable[[], int]) -> None:
        self.memory = Memory()
        self._database = database
        self._codec = codec
        self._clock = clock
        self._waiting: deque[Request] = deque()
        # No `Event`, in the middle of which an interrupt would leave everybody waiting.
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._writer: threading.Thread | None = None
        self._starting = threading.Lock()
        self._gates: dict[asyncio.AbstractEventLoop, _Gate] = {}
        self._closed = False
        self._written = self._flushed = 0
        # One thread: those who wait while it flushes are served by its next flush together.
        self._flusher = ThreadPoolExecutor(1, thread_name_prefix="trainerlib-flush")

    def batch(self, connection: sqlite3.Connection) -> Batch:
        """What records events in a write transaction."""
        return Batch(connection, self.memory, self._clock() // 1000, self._codec)

    def commit(self, request: Request) -> list[RecordedEvent]:
        """Commit a request, and perhaps what others ask for with it; the events with their places in the log.

        Raises:
            StoreError: nothing was recorded.
            TrainerlibError: it was refused.
        """
        lock = self._database.lock
        if not self._waiting and not lock.locked():
            # Nobody else writes or waits, so nobody has to be told. An interrupt after `acquire` would leave it locked.
            with lock:
                self._commit([request])
                request.done = True
            return request.outcome()
        self._waiting.append(request)
        with lock:
            if not request.done:
                self._commit_waiting(request)
        return request.outcome()

    async def commit_async(self, request: Request) -> list[RecordedEvent]:
        """`commit` for a coroutine: the event loop never waits for the disk."""
        if not request.flush and self._commit_now(request):
            return request.outcome()
        loop = asyncio.get_running_loop()
        future: asyncio.Future[list[RecordedEvent]] = loop.create_future()
        request.loop, request.future = loop, future
        if len(self._waiting) >= QUEUE or loop in self._gates:
            await self._room(loop)
        self._waiting.append(request)
        if self._closed:
            self._drain()
        elif self._writer is None or not self._writer.is_alive():
            self._start_writer()
        # One that is there already is not taken before what waits is looked at.
        if self._wake.empty():
            self._wake.put(None)
        return await future

    @property
    def written(self) -> int:
        """Position of the last event that was committed here."""
        return self._written

    @property
    def flushed(self) -> int:
        """Up to which position a power cut spares what was committed here."""
        return self._flushed if self._database.flushes else self._written

    def flush(self) -> None:
        """Wait until a power cut would spare everything that was committed here.

        Raises:
            StoreError: the disk does not take it.
        """
        self._flush(self._written)

    async def flush_async(self) -> None:
        """`flush` for a coroutine: the event loop does not wait for a slow disk, and concurrent callers share flushes."""
        written = self._written
        if self.flushed < written:
            await self._database.flush_async(partial(self._flush, written), self._flusher)

    def _flush(self, position: int) -> None:
        if self.flushed < position:
            written = self._written
            self._database.flush()
            # A group that was flushed meanwhile reaches further.
            self._flushed = max(self._flushed, written)

    def refuse_closed(self) -> None:
        """Raise a `StoreError` once it is closed."""
        if self._closed:
            raise StoreError("the store is closed")

    def close(self) -> None:
        """Commit and flush what waits, and close the file."""
        if not self._closed:
            self._drain()
        self._closed = True
        if self._writer is not None:
            self._wake.put(None)
            self._writer.join()
        # Whoever came in between is refused.
        self._drain()
        try:
            # First, so that nobody needs the thread any more.
            self.flush()
        finally:
            self._flusher.shutdown()
            self._database.close()

    # --- commits ---------------------------------------------------------------------------------------------------------

    def _commit_now(self, request: Request) -> bool:
        """Commit a request that waits for no disk in this thread, unless others write or wait.

        A thread of its own would have to be given the interpreter at each of a commit's statements, by an event loop that
        has other things to do.
        """
        lock = self._database.lock
        if self._waiting or self._closed or not lock.acquire(blocking=False):
            return False
        try:
            self._commit([request], patient=False)
            request.done = True
        except BusyError:
            return False
        finally:
            lock.release()
        return True

    async def _room(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wait, behind those who do already, until the queue is no longer full."""
        gate = self._gates.setdefault(loop, _Gate())
        gate.callers += 1
        try:
            # Only the first in line looks again and again.
            async with gate.first:
                while len(self._waiting) >= QUEUE:  # noqa: ASYNC110 - the writer would pay for telling
                    await asyncio.sleep(_LOOK)
        finally:
            gate.callers -= 1
            if not gate.callers:
                del self._gates[loop]

    def _commit_waiting(self, own: Request | None = None) -> None:
        """Commit a group of waiting requests; the caller holds the lock. `own` is always in the group."""
        group: list[Request] = []
        try:
            # None is taken away before it is in the group: whoever waits for it would do so for ever after an interrupt.
            while self._waiting and len(group) < _GROUP:
                request = self._waiting[0]
                group.append(request)
                self._waiting.popleft()
                if request is own:
                    break
            if group:
                self._commit(group)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for request in group:
                request.error = request.error or error
        except BaseException:
            # An interrupt of this thread: the others hear that they cannot rely on it.
            for request in group:
                request.error = request.error or _interrupted()
            raise
        finally:
            _settle(group)
        if group and own is not None and not own.done:
            self._commit_waiting(own)

    def _commit(self, group: list[Request], *, patient: bool = True) -> None:
        self.refuse_closed()
        try:
            try:
                self._transact(group, _record_together, patient)
            except NotAllNewError:
                self._transact(group, _record_one_by_one, patient)
        except (ValueError, OverflowError) as error:
            # An event that the codec can write and no column can hold, such as a number of 70 bits.
            if len(group) == 1:
                raise InvalidEventError(f"an event cannot be recorded: {error}") from error
            for request in group:
                try:
                    self._commit([request], patient=patient)
                except TrainerlibError as refused:
                    request.error = refused

    def _transact(self, group: list[Request], record: Callable[[Batch, list[Request]], None], patient: bool) -> None:
        flush = any(request.flush for request in group)
        database = self._database
        try:
            with database.writing(flush=flush, patient=patient) as connection:
                batch = self.batch(connection)
                record(batch, group)
                if batch.placed:
                    # In the same transaction, so this projection is always at the log's end and needs no checkpoint.
                    projections.apply(connection, batch.placed)
        except BaseException:
            self.memory.forget()
            raise
        if batch.placed:
            self._written = batch.placed[-1][1][-1].position
            if flush:
                self._flushed = self._written
            database.upkeep.recorded(sum([len(events) for _, events in batch.placed]))
        elif flush:
            # All of it was there before, and whoever recorded it may not have flushed it.
            database.flush()

    def _start_writer(self) -> None:
        with self._starting:
            # After a fork the thread is the other process's.
            if self._writer is None or not self._writer.is_alive():
                thread = threading.Thread(target=self._write_for_others, name="trainerlib-writer", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    # No thread can be had just now: what waits is written here.
                    self._drain()
                else:
                    self._writer = thread

    def _write_for_others(self) -> None:
        while True:
            self._wake.get()
            self._drain()
            if self._closed:
                return

    def _drain(self) -> None:
        """Commit whatever waits; once the store is closed, refuse it."""
        while self._waiting:
            with self._database.lock:
                self._commit_waiting()


def _record_together(batch: Batch, group: list[Request]) -> None:
    """Record a whole group as if it were one request, all of it new."""
    if len(group) == 1:
        group[0].result = batch.record_lone(group[0].appends)
        return
    done = batch.record_new([append for request in group for append in request.appends])
    first = 0
    for request in group:
        last = first
        for append in request.appends:
            last += len(append.events)
        request.result = done[first:last]
        first = last


def _record_one_by_one(batch: Batch, group: list[Request]) -> None:
    """Record each request of a group for itself; one that is refused is refused alone."""
    for request in group:
        try:
            request.result = batch.record(request.appends)
        except TrainerlibError as error:
            request.error = error


def _settle(group: list[Request]) -> None:
    """Tell everybody who waits; one call into each event loop however many of its callers are in the group."""
    loops: dict[asyncio.AbstractEventLoop, list[Request]] = {}
    for request in group:
        request.done = True
        if request.loop is not None:
            loops.setdefault(request.loop, []).append(request)
    for loop, requests in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, requests)
        except RuntimeError:
            # The loop was closed: its callers are gone, what they recorded stays recorded.
            continue


def _resolve(requests: list[Request]) -> None:
    for request in requests:
        future = request.future
        if future is None or future.done():
            continue
        if request.error is not None:
            future.set_exception(request.error)
        else:
            future.set_result(request.result)
