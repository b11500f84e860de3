"""SQLite's write-ahead logs: flushed, and written back, by somebody else than who commits.

A commit with `PRAGMA synchronous = NORMAL` waits for nothing but the system's memory; it survives a killed process. A flush
of the write-ahead log afterwards makes it survive a power cut, as `FULL` would have done at once, and may be made by another
thread, for many commits together. Likewise SQLite writes a long log back into the file in a commit, which waits for it.

>>> import sqlite3
>>> connection = sqlite3.connect(tmp / "words.db")
>>> connection.execute("PRAGMA journal_mode = WAL").fetchall()
[('wal',)]
>>> _ = connection.execute("CREATE TABLE words(word)")
>>> log = log_of(connection)
>>> log.name
'words.db-wal'
>>> flush(log)
>>> write_back(connection, threading.Lock())
>>> connection.close()
"""

from __future__ import annotations

import os
import sqlite3
import threading
from pathlib import Path

from trainerlib.errors import StoreError

_PASSIVE = "PRAGMA wal_checkpoint(PASSIVE)"


def log_of(connection: sqlite3.Connection) -> Path:
    """The write-ahead log of a connection's file: beside the file itself, whatever links lead to it."""
    [(_, _, file), *_] = connection.execute("PRAGMA database_list").fetchall()
    return Path(f"{file}-wal")


def flush(log: Path) -> None:
    """Wait until the disk has every commit of a database that is open.

    What is no longer in the log was flushed into the file before the log began anew.

    Args:
        log: of the database, as `log_of` names it.

    Raises:
        StoreError: the disk does not take it.
    """
    try:
        descriptor = os.open(log, os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StoreError(f"{log}: {error.strerror}") from error


def write_back(connection: sqlite3.Connection, lock: threading.Lock) -> None:
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
