"""SQLite's write-ahead logs: flushed, lengthened and written back by somebody else than who commits.

A commit with `PRAGMA synchronous = NORMAL` waits for nothing but the system's memory; it survives a killed process. A flush
of the write-ahead log afterwards makes it survive a power cut, as `FULL` would have done at once, and may be made by another
thread, for many commits together. Likewise SQLite writes a long log back into the file in a commit, which waits for it.
And it appends to the log, of which the file system has to write down the new length with each flush; what was lengthened
before is flushed in about half the time.

A coroutine that has a thread flush for it pays for two threads that wake each other, which keeps its event loop from work
for as long as a quick disk takes. So it waits itself while the disk is known to be quick.

>>> import sqlite3
>>> connection = sqlite3.connect(tmp / "words.db")
>>> connection.execute("PRAGMA journal_mode = WAL").fetchall()
[('wal',)]
>>> _ = connection.execute("CREATE TABLE words(word)")
>>> log = WriteAheadLog(connection)
>>> log.path.name
'words.db-wal'
>>> log.flush()
>>> with sqlite3.connect(tmp / "words.db") as other:
...     log.lengthen(other, threading.Lock(), 1 << 20) >> 20
...     log.write_back(other, threading.Lock())
1
>>> log.close(), other.close(), connection.close()
(None, None, None)
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable
from concurrent.futures import Executor
from pathlib import Path

from trainerlib.errors import StoreError

_QUICK = 0.002
"""Seconds in which a quick disk has flushed."""

_TRUST = 16
"""Quick flushes after which the disk is taken to be quick, until it is not."""

_PASSIVE = "PRAGMA wal_checkpoint(PASSIVE)"


class WriteAheadLog:
    """The write-ahead log of a database, for as long as somebody has the database open.

    Args:
        connection: to the database. Its log is beside the file itself, whatever links lead to that.

    Attributes:
        path: the file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        [(_, _, file), *_] = connection.execute("PRAGMA database_list").fetchall()
        self.path = Path(f"{file}-wal")
        self._opening = threading.Lock()
        # Kept open: to open it each time is two more waits for the interpreter, in a thread that has it from a busy one.
        self._descriptor: int | None = None
        # Flushes that were quick since an event loop waited for one that was not.
        self._trust = 0

    def flush(self) -> None:
        """Wait until the disk has every commit.

        What is no longer in the log was flushed into the file before the log began anew.

        Raises:
            StoreError: the disk does not take it.
        """
        began = time.monotonic()
        try:
            _flush(self._opened())
        except OSError as error:
            raise self._refused(error) from error
        # In a thread it may have been slow to get the interpreter back, which says nothing of the disk.
        self._trust += time.monotonic() - began < _QUICK

    async def flush_async(self, flush: Callable[[], object] | None = None, threads: Executor | None = None) -> None:
        """`flush` for a coroutine, whose event loop does not wait for a slow disk.

        Args:
            flush: is called in its place, and calls it unless somebody else did meanwhile.
            threads: run it; by default asyncio's own.

        Raises:
            StoreError: as `flush`.
        """
        flush = flush or self.flush
        if self._trust < _TRUST:
            await asyncio.get_running_loop().run_in_executor(threads, flush)
            return
        began = time.monotonic()
        flush()
        if time.monotonic() - began > _QUICK:
            self._trust = 0

    def lengthen(self, connection: sqlite3.Connection, lock: threading.Lock, by: int) -> int:
        """Write zeros behind the end of the log, for SQLite to overwrite.

        SQLite takes them for the rest of an older log: no frame is one of page 0
        (https://sqlite.org/fileformat2.html#the_write_ahead_log).

        Args:
            connection: one that nobody commits with; from then on it waits for nobody who writes.
            lock: held by whoever commits.
            by: how many zeros.

        Returns:
            The log's length in bytes.

        Raises:
            sqlite3.Error: another process writes.
            StoreError: the disk does not take it.
        """
        connection.execute("PRAGMA busy_timeout = 0")
        try:
            # The system tells of a write that failed once for each time a file was opened: what this flush is told of, the
            # next one of those who committed is told of too.
            self._opened()
            with self.path.open("r+b", buffering=0) as file:
                with lock:
                    # No other process appends to the log meanwhile.
                    connection.execute("BEGIN IMMEDIATE")
                    try:
                        file.seek(0, os.SEEK_END)
                        file.write(bytes(by))
                        length = file.tell()
                    finally:
                        connection.execute("ROLLBACK")
                _flush(file.fileno())
        except OSError as error:
            raise self._refused(error) from error
        return length

    def write_back(self, connection: sqlite3.Connection, lock: threading.Lock) -> None:
        """Write the log back into the file: nearly all of it while others commit, the rest while they wait.

        Only a log that was written back to its end starts again at its beginning instead of growing.

        Args:
            connection: one that nobody commits with.
            lock: held by whoever commits.

        Raises:
            sqlite3.Error: the disk does not take it.
        """
        connection.execute(_PASSIVE).fetchall()
        with lock:
            connection.execute(_PASSIVE).fetchall()

    def close(self) -> None:
        """Let go of the file."""
        with self._opening:
            if self._descriptor is not None:
                self._closing()
            self._descriptor = None

    def _opened(self) -> int:
        descriptor = self._descriptor
        if descriptor is None:
            with self._opening:
                if self._descriptor is None:
                    self._descriptor = os.open(self.path, os.O_RDWR)
                    # Also of a database that nobody closes.
                    self._closing = weakref.finalize(self, os.close, self._descriptor)
                    self._closing.atexit = False
                descriptor = self._descriptor
        return descriptor

    def _refused(self, error: OSError) -> StoreError:
        return StoreError(f"{self.path}: {error.strerror}")


def _flush(descriptor: int) -> None:
    # As SQLite does: of the times of the last change nobody needs to be sure.
    getattr(os, "fdatasync", os.fsync)(descriptor)
