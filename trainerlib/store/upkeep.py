"""Looking after the write-ahead log beside those who append, so that no append waits for it.

A log that grows takes the disk twice as long to flush as one that is long enough, so a thread lengthens it a little ahead
of those who append, until it is as long as it gets. And it writes it back:

SQLite by itself does that in the commit that makes the log too long, and whoever made that commit waits for all of it. Here
the thread does it first without any lock, which is nearly all of the work, then once more while nobody writes: only a log
that was written back to its end starts again at its beginning instead of growing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue

from trainerlib.errors import StoreError
from trainerlib.write_ahead import WriteAheadLog

_EVENTS = 2_000
"""Events after which it is worth while to write the log back; one takes one to four pages of it."""

_FEW = 6
"""Events after which it is lengthened; they take less than what is added."""

_PIECE = 128 << 10
"""Bytes by which it is lengthened: hardly longer to flush than a commit."""

_LENGTH = 32 << 20
"""Bytes from which it is no longer lengthened: by then it is written back, and begins anew."""

_PAUSE = 0.25
"""Seconds between one time and the next: each flushes the file to the disk."""

_log = logging.getLogger(__name__)


class Upkeep:
    """A thread that starts when there is something to do and ends with the database.

    Args:
        connection: gives the calling thread a connection.
        lock: held by whoever writes.
        write_ahead: what is looked after.
        lengthens: commits are flushed.
    """

    def __init__(
        self,
        connection: Callable[[], sqlite3.Connection],
        lock: threading.Lock,
        write_ahead: WriteAheadLog,
        *,
        lengthens: bool,
    ) -> None:
        self._connection = connection
        self._lock = lock
        self._write_ahead = write_ahead
        self._lengthens = lengthens
        self._long = not lengthens
        # Events since the log was written back, and since it was lengthened.
        self._events = self._few = 0
        # No `Event`, in the middle of which an interrupt would leave everybody waiting.
        self._wanted: SimpleQueue[None] = SimpleQueue()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def recorded(self, events: int) -> None:
        """So many events were committed; the caller holds the lock."""
        self._events += events
        self._few += events
        if (self._events >= _EVENTS or (self._few >= _FEW and not self._long)) and not self._ended.is_set():
            if self._wanted.empty():
                self._wanted.put(None)
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="trainerlib-upkeep", daemon=True)
                # What was committed stays committed where no thread can be started any more, as while Python ends.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def emptied(self) -> None:
        """The log has no length any more; the caller holds the lock."""
        self._long = not self._lengthens

    def _run(self) -> None:
        while True:
            self._wanted.get()
            if self._ended.is_set():
                return
            if not self._long:
                self._few = 0
                self._lengthen()
            if self._events >= _EVENTS:
                self._events = 0
                self._write_back()

    def _lengthen(self) -> None:
        try:
            self._long = self._write_ahead.lengthen(self._connection(), self._lock, _PIECE) >= _LENGTH
        except sqlite3.Error:
            # Another process writes: the next time.
            return
        except StoreError:
            # A full disk needs no zeros.
            self._long = True

    def _write_back(self) -> None:
        try:
            self._write_ahead.write_back(self._connection(), self._lock)
        except (sqlite3.Error, StoreError) as error:
            # The log grows until a commit writes it back; that one says what is wrong with the disk.
            _log.warning("the write-ahead log was not written back: %s", error)
        self._ended.wait(_PAUSE)

    def close(self) -> None:
        """End the thread; the caller does not hold the lock."""
        self._ended.set()
        self._wanted.put(None)
        if self._thread is not None:
            self._thread.join()
