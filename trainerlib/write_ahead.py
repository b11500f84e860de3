"""SQLite's write-ahead logs, flushed by whoever let a commit go on without waiting for the disk.

A commit with `PRAGMA synchronous = NORMAL` waits for nothing but the system's memory; it survives a killed process. A flush
of the write-ahead log afterwards makes it survive a power cut, as `FULL` would have done at once, and may be made by another
thread, for many commits together.

>>> import sqlite3
>>> connection = sqlite3.connect(tmp / "log.db")
>>> connection.execute("PRAGMA journal_mode = WAL").fetchall()
[('wal',)]
>>> _ = connection.execute("CREATE TABLE words(word)")
>>> flush(tmp / "log.db")
>>> connection.close()
"""

from __future__ import annotations

import os
from pathlib import Path


def flush(database: Path) -> None:
    """Wait until the disk has every commit of a database that is open, and in WAL mode.

    What is no longer in the write-ahead log was flushed into the file before the log began anew.

    Args:
        database: its file.

    Raises:
        OSError: the disk does not take it.
    """
    log = os.open(f"{database}-wal", os.O_RDWR)
    try:
        os.fsync(log)
    finally:
        os.close(log)
