"""SQLite's write-ahead logs: flushed, and written back, by somebody else than who commits.

A commit with `PRAGMA synchronous = NORMAL` waits for nothing but the system's memory; it survives a killed process. A flush
of the write-ahead log afterwards makes it survive a power cut, as `FULL` would have done at once, and may be made by another
thread, for many commits together. Likewise SQLite writes a long log back into the file in a commit, which waits for it.
And it appends to the log, of which the file system has to write down the new length with each flush; what was lengthened
before is flushed in about half the time.

>>> import sqlite3
>>> connection = sqlite3.connect(tmp / "words.db")
>>> connection.execute("PRAGMA journal_mode = WAL").fetchall()
[('wal',)]
>>> _ = connection.execute("CREATE TABLE words(word)")
>>> log = log_of(connection)
>>> log.name
'words.db-wal'
>>> flush(log)
>>> lengthen(connection, threading.Lock(), log, 1 << 20) >> 20
1
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


def lengthen(connection: sqlite3.Connection, lock: threading.Lock, log: Path, by: int) -> int:
    """Write zeros behind the end of the log, for SQLite to overwrite.

    SQLite takes them for the rest of an older log: no frame is one of page 0
    (https://sqlite.org/fileformat2.html#the_write_ahead_log).

    Args:
        connection: one that nobody commits with; from then on it waits for nobody who writes.
        lock: held by whoever commits.
        log: of the database, as `log_of` names it.
        by: how many zeros.

    Returns:
        The log's length in bytes.

    Raises:
        sqlite3.Error: another process writes.
        StoreError: the disk does not take it.
    """
    connection.execute("PRAGMA busy_timeout = 0")
    with lock:
        # No other process appends to the log meanwhile.
        connection.execute("BEGIN IMMEDIATE")
        try:
            with log.open("r+b", buffering=0) as file:
                file.seek(0, os.SEEK_END)
                file.write(bytes(by))
                length = file.tell()
        except OSError as error:
            raise StoreError(f"{log}: {error.strerror}") from error
        finally:
            connection.execute("ROLLBACK")
    flush(log)
    return length


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
