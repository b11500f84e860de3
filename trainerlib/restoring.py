"""Putting a backup in the place of a workspace's database, without bringing anybody back who was erased since.

>>> from trainerlib.erasure import erase_person
>>> with EventStore(tmp / "trainer.db") as store:
...     _ = store.append("conversation/telegram:42", [MessageRecorded("user", "Я Ольга", "telegram:7")])
...     store.backup(tmp / "monday.db")
...     _ = erase_person(store, tmp, "telegram:7")
>>> report = restore(tmp / "monday.db", tmp)
>>> len(report.erased), report.kept.name
(1, 'trainer.db.before-restore')
>>> with EventStore(tmp / "trainer.db") as store:
...     [recorded.event.text for recorded in store.read("conversation/telegram:42")]
['']
"""

from __future__ import annotations

import os
import shutil
import uuid
from functools import partial
from pathlib import Path

import msgspec

from trainerlib.erasure import BEFORE_RESTORE, LEDGER, ErasureReport, reapply
from trainerlib.errors import CorruptError, NotFoundError, StoreError
from trainerlib.store import restoring
from trainerlib.store.eventstore import EventStore

_DATABASE = "trainer.db"


class RestoreReport(msgspec.Struct, frozen=True):
    """What was restored.

    Attributes:
        position: position of the last event in the workspace now.
        erased: who was erased from it, as the ledger says they had been before.
        kept: the copy of the database that was there; `None` when there was none.
    """

    position: int
    erased: tuple[ErasureReport, ...]
    kept: Path | None


def restore(backup: Path, directory: Path) -> RestoreReport:
    """Put a backup in the place of a workspace's database, and erase from it whom the ledger says was erased since.

    Killed at any moment, the workspace has its database of before or the restored one.

    Args:
        backup: the file, as `Workspace.backup` wrote it.
        directory: the workspace; its database may be missing or damaged.

    Raises:
        NotFoundError: there is no such file or directory.
        NotADatabaseError: the backup is something else.
        NewerDatabaseError: a newer trainerlib wrote it.
        CorruptError: the backup is damaged.
        BusyError: somebody has the workspace open.
        StoreError: the disk cannot be written.
    """
    if not directory.is_dir():
        raise NotFoundError(f"{directory}: no such directory")
    target = directory / _DATABASE
    work = directory / f".database-restoring-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    work.mkdir()
    try:
        restoring.copy(backup, work / _DATABASE)
        erased: list[ErasureReport] = []
        while True:
            lines = _lines(directory)
            with EventStore(work / _DATABASE) as store:
                problems = [] if erased else store.verify()
                if problems:
                    raise CorruptError(f"{backup}: {problems[0]}")
                again = reapply(store, directory)
                position = store.position
            erased += again
            if again:
                # These are in the ledger now; look once more for what others have added meanwhile.
                continue
            kept = _free(directory) if target.exists() else None
            if restoring.replace(work / _DATABASE, target, kept, partial(_has_lines, directory, lines)):
                return RestoreReport(position, tuple(erased), kept)
    except OSError as error:
        raise StoreError(f"{error.filename or directory}: {error.strerror}; nothing was restored") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _lines(directory: Path) -> int:
    """Bytes the ledger has: it only ever grows."""
    ledger = directory / LEDGER
    return ledger.stat().st_size if ledger.exists() else 0


def _has_lines(directory: Path, size: int) -> bool:
    return _lines(directory) == size


def _free(directory: Path) -> Path:
    """A name for the copy of what is there; an earlier copy is never overwritten."""
    path, number = directory / BEFORE_RESTORE, 1
    while path.exists():
        number += 1
        path = directory / f"{BEFORE_RESTORE}-{number}"
    return path
