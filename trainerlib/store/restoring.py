"""Putting the content of one database file into another, whole or not at all.

The file stays the same file: a swap of names below a program that has it open, or is about to, would mix the
write-ahead logs of two databases.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from trainerlib.errors import BusyError, CorruptError, NotADatabaseError, NotFoundError
from trainerlib.store import tables
from trainerlib.store.database import translated

_PATIENCE = 1.0
"""Seconds to wait for others to close the file: long enough for a command, and an open workspace stays open anyway."""


def copy(source: Path, target: Path) -> None:
    """Copy a database file, also one on a medium that cannot be written.

    Raises:
        NotFoundError: there is no such file.
        NotADatabaseError: it is something else.
        StoreError: it cannot be read.
    """
    if not source.is_file():
        raise NotFoundError(f"{source}: no such backup")
    with closing(sqlite3.connect(target)) as into:
        # Reading a file in WAL mode leaves two beside it. A backup is alone and stays so; a log that somebody has open,
        # or that was copied with its write-ahead log, is read with that where the medium can be written.
        beside = source.with_name(f"{source.name}-wal").exists()
        for mode in ("mode=ro", "mode=ro&immutable=1") if beside else ("mode=ro&immutable=1",):
            try:
                with closing(sqlite3.connect(f"{source.absolute().as_uri()}?{mode}", uri=True)) as connection:
                    identity = connection.execute("PRAGMA application_id").fetchone()[0]
                    if identity != tables.APPLICATION_ID:
                        raise NotADatabaseError(f"{source}: an SQLite file, but not trainerlib's")
                    connection.backup(into)
                    return
            except sqlite3.Error as error:
                failure = error
                if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_CANTOPEN:
                    break
    raise translated(failure, source) from failure


def replace(source: Path, target: Path, kept: Path | None, is_current: Callable[[], bool]) -> bool:
    """Put the content of a database file into another that nobody has open, and keep what that held.

    Args:
        source: the new content.
        target: the database; it may be missing or damaged.
        kept: where a copy of what it held goes; `None` when there is no target.
        is_current: asked when nobody else can open the target any more: is the new content still what it should be?

    Returns:
        False when it was not, and nothing was changed.

    Raises:
        BusyError: somebody has the target open.
        StoreError: it cannot be written; it holds what it held.
    """
    if kept is None:
        return is_current() and _move(source, target)
    try:
        with closing(sqlite3.connect(target, isolation_level=None, timeout=_PATIENCE)) as connection:
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            # Taken with the first write, and not given back before the connection is closed.
            connection.execute("BEGIN EXCLUSIVE")
            connection.execute("COMMIT")
            if not is_current():
                return False
            partial = source.with_name("kept.db")
            with closing(sqlite3.connect(partial)) as keeping:
                connection.backup(keeping)
            partial.replace(kept)
            with closing(sqlite3.connect(source)) as content:
                content.backup(connection)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return True
    except sqlite3.Error as error:
        failure = translated(error, target)
        if isinstance(failure, BusyError):
            raise BusyError(f"{target}: somebody has it open; close every program that uses the workspace") from error
        if not isinstance(failure, NotADatabaseError | CorruptError):
            raise failure from error
    return is_current() and _move(source, target, kept)


def _move(source: Path, target: Path, kept: Path | None = None) -> bool:
    """Put one file in the place of another that no program can use, or that is missing."""
    for side in ("-wal", "-shm"):
        # What lies beside belongs to the old file; SQLite would apply it to the new one.
        beside = target.with_name(target.name + side)
        if beside.exists() and kept is not None:
            beside.replace(kept.with_name(kept.name + side))
        beside.unlink(missing_ok=True)
    if kept is not None:
        try:
            os.link(target, kept)
        except OSError:
            shutil.copyfile(target, kept)
    source.replace(target)
    return True
