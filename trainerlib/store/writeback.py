"""Writing the write-ahead log back into the file beside those who append, so that no append waits for it.

SQLite by itself does it in the commit that makes the log too long, and whoever made that commit waits for all of it. Here
a thread does it first without any lock, which is nearly all of the work, then once more while nobody writes: only a log
that was written back to its end starts again at its beginning instead of growing.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress

from trainerlib.errors import StoreError
from trainerlib.write_ahead import write_back

_EVENTS = 2_000
"""Events after which it is worth while; one takes one to four pages of the write-ahead log."""

_PAUSE = 0.25
"""Seconds between one time and the next: each flushes the file to the disk."""

_log = logging.getLogger(__name__)


class WriteBack:
    """A thread that starts when there is something to write back and ends with the database.

    Args:
        connection: gives the calling thread a connection.
        lock: held by whoever writes.
    """

    def __init__(self, connection: Callable[[], sqlite3.Connection], lock: threading.Lock) -> None:
        self._connection = connection
        self._lock = lock
        self._events = 0
        self._wanted = threading.Event()
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    def recorded(self, events: int) -> None:
        """So many events were committed; the caller holds the lock."""
        self._events += events
        if self._events >= _EVENTS and not self._ended.is_set():
            self._events = 0
            self._wanted.set()
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="trainerlib-write-back", daemon=True)
                # What was committed stays committed where no thread can be started any more, as while Python ends.
                with suppress(RuntimeError):
                    thread.start()
                    self._thread = thread

    def _run(self) -> None:
        while self._wanted.wait() and not self._ended.is_set():
            self._wanted.clear()
            try:
                write_back(self._connection(), self._lock)
            except (sqlite3.Error, StoreError) as error:
                # The log grows until a commit writes it back; that one says what is wrong with the disk.
                _log.warning("the write-ahead log was not written back: %s", error)
            self._ended.wait(_PAUSE)

    def close(self) -> None:
        """End the thread; the caller does not hold the lock."""
        self._ended.set()
        self._wanted.set()
        if self._thread is not None:
            self._thread.join()
