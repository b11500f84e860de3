"""The inbox: updates that Telegram has handed over and that are not done yet, in `inbox.db` of the workspace.

Telegram forgets an update once it is confirmed, so each is here, on the disk, before. What it did to the log is there
once, however often it is done: everything has a key. What it showed is counted here, message by message, so that a bot
that was killed goes on where it was.

It is a queue and no log: what an update said is blanked when it is done, and only its number is kept, for as long as
Telegram might hand it over again.

>>> with Inbox(tmp / "inbox.db") as inbox:
...     inbox.put([Entry(1001, "telegram:42", b'{"update_id":1001}')]), inbox.put([Entry(1001, "telegram:42", b"{}")])
...     inbox.showed(42, 7, 1001)
...     [entry] = inbox.waiting()
...     inbox.done([1001])
...     entry.shown, inbox.waiting(), inbox.newest(42)
([1001], [])
((7,), [], 7)
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol, Self

import msgspec

from trainerlib.errors import NewerDatabaseError, NotADatabaseError, StoreError
from trainerlib.write_ahead import WriteAheadLog

FILE = "inbox.db"
"""Its name in a workspace."""

_KEPT = 48 * 3600
"""Seconds for which the number of an update is kept when it is done: Telegram hands over what is a day old at most."""

_COMMITS = 500
"""Commits after which the write-ahead log is written back; one takes some four pages of it."""

_LENGTH = 10 << 20
"""Bytes of the write-ahead log that are there before they are needed; it is written back when it needs that many."""

_APPLICATION = 0x54724962
_VERSION = 1
_SCHEMA = """
CREATE TABLE updates(
    id INTEGER PRIMARY KEY, chat TEXT NOT NULL, body BLOB, received INTEGER NOT NULL, warned INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX updates_waiting ON updates(id) WHERE body IS NOT NULL;
CREATE TABLE shown(id INTEGER NOT NULL, message INTEGER NOT NULL);
CREATE INDEX shown_by_update ON shown(id);
CREATE TABLE newest(chat INTEGER PRIMARY KEY, message INTEGER NOT NULL);
"""


class Entry(msgspec.Struct, frozen=True):
    """An update.

    Attributes:
        id: its number.
        chat: id of the chat; updates of a chat are done in order.
        body: the update as JSON.
        shown: ids of the messages that were sent because of it.
        warned: whoever wrote it was told that it takes longer.
    """

    id: int
    chat: str
    body: bytes
    shown: tuple[int, ...] = ()
    warned: bool = False


class Log(Protocol):
    """Where what is done about updates is recorded: the store of a workspace."""

    @property
    def written(self) -> int:
        """Position of the last event."""

    @property
    def flushed(self) -> int:
        """Up to which position a power cut would spare it."""

    def flush(self) -> None:
        """Wait until a power cut would spare all of it."""


class Inbox:
    """The updates of one bot. For one process.

    Updates are kept so that a power cut spares them. What was shown survives a killed process; after a power cut a message may
    be shown once more. What is done is written down with what comes next, or by `settle`: an update that is done once more
    after a crash changes nothing and shows nothing.

    Args:
        path: the file; made when it is missing.
        log: where what is done about updates is recorded. An update is forgotten once a power cut would spare that;
            `None` where nothing is recorded.
        clock: seconds since 1970.

    Raises:
        StoreError: the file cannot be opened.
    """

    def __init__(self, path: Path, *, log: Log | None = None, clock: Callable[[], float] = time.time) -> None:
        self._path = path
        self._log = log
        self._clock = clock
        # Each held by whoever uses a connection: the one that everything is written with, and the one for upkeep.
        self._lock, self._upkeep = threading.Lock(), threading.Lock()
        # Done, and not written down yet: how far the log was then.
        self._over: dict[int, int] = {}
        # In the file, and as new the next time.
        self._undone: set[int] = set()
        # Since the write-ahead log was written back.
        self._commits = 0
        try:
            self._connection = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            try:
                self._prepare()
                self._write_ahead = WriteAheadLog(self._connection)
                self._beside = sqlite3.connect(path, timeout=5, isolation_level=None, check_same_thread=False)
            except BaseException:
                self._connection.close()
                raise
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _prepare(self) -> None:
        execute = self._connection.execute
        if execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
            if execute("PRAGMA application_id").fetchone()[0] != _APPLICATION:
                raise NotADatabaseError(f"{self._path.name}: not an inbox of trainerlib's")
            if execute("PRAGMA user_version").fetchone()[0] > _VERSION:
                raise NewerDatabaseError(f"{self._path.name}: a newer trainerlib wrote it")
        else:
            execute("PRAGMA journal_mode = WAL")
            self._connection.executescript(
                f"BEGIN; {_SCHEMA} PRAGMA application_id = {_APPLICATION}; PRAGMA user_version = {_VERSION}; COMMIT;"
            )
        execute("PRAGMA synchronous = NORMAL")
        # `settle` does that before, in a thread: here whoever commits would wait for it.
        execute("PRAGMA wal_autocheckpoint = 8000")
        execute("PRAGMA secure_delete = ON")
        self._newest: dict[int, int] = dict(execute("SELECT chat, message FROM newest"))

    async def keep(self, entries: Iterable[Entry]) -> list[int]:
        """Keep updates so that a power cut spares them; numbers of those that were not kept before.

        Raises:
            StoreError: they may not be kept, and are as new the next time.
        """
        new = self.put(entries)
        try:
            await self._write_ahead.flush_async()
        except BaseException:
            # Nobody does them now, nor is Telegram told that they are here.
            self._undone.update(new)
            raise
        self._undone.difference_update(new)
        return new

    def put(self, entries: Iterable[Entry]) -> list[int]:
        """Keep updates so that no killed process loses them; numbers of those that were not kept before.

        Raises:
            StoreError: none was kept.
        """
        now = int(self._clock())
        with self._transaction() as connection:
            over = self._blank(connection)
            new = [
                entry.id
                for entry in entries
                if connection.execute(
                    "INSERT OR IGNORE INTO updates(id, chat, body, received) VALUES (?, ?, ?, ?)",
                    (entry.id, entry.chat, entry.body, now),
                ).rowcount
                or entry.id in self._undone
            ]
        self._drop(over)
        return new

    def waiting(self) -> list[Entry]:
        """Updates that are not done, oldest first."""
        self.settle()
        with self._transaction() as connection:
            shown: dict[int, list[int]] = {}
            for update, message in connection.execute("SELECT id, message FROM shown ORDER BY rowid"):
                shown.setdefault(update, []).append(message)
            rows = connection.execute("SELECT id, chat, body, warned FROM updates WHERE body IS NOT NULL ORDER BY id")
            return [
                Entry(update, chat, body, tuple(shown.get(update, ())), bool(warned))
                for update, chat, body, warned in rows
            ]

    def count(self) -> int:
        """How many updates are not done."""
        with self._transaction() as connection:
            kept = connection.execute("SELECT id FROM updates WHERE body IS NOT NULL")
            return sum(update not in self._over for (update,) in kept)

    def showed(self, chat: int, message: int, update: int | None = None) -> None:
        """Write down that a message was sent.

        Args:
            chat: Telegram's id of the chat.
            message: Telegram's id of the message.
            update: the update because of which it was sent; `None` for none.

        Raises:
            StoreError: that was not written down.
        """
        with self._transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO newest(chat, message) VALUES (?, ?)", (chat, message))
            if update is not None:
                connection.execute("INSERT INTO shown(id, message) VALUES (?, ?)", (update, message))
        self._newest[chat] = message

    def newest(self, chat: int) -> int:
        """Id of the newest message that was sent to a chat, as far as it was written down; 0 for none."""
        return self._newest.get(chat, 0)

    def warned(self, update: int) -> None:
        """Write down that whoever wrote an update was told that it takes longer.

        Raises:
            StoreError: that was not written down.
        """
        with self._transaction() as connection:
            connection.execute("UPDATE updates SET warned = 1 WHERE id = ?", (update,))

    def done(self, updates: Iterable[int]) -> None:
        """Forget what updates said; they are done."""
        self._over.update(dict.fromkeys(updates, self._log.written if self._log is not None else 0))

    def settle(self) -> None:
        """Write down what is done.

        Raises:
            StoreError: that was not written down, and is tried again with what comes next.
        """
        if self._over:
            if self._log is not None:
                self._log.flush()
            with self._transaction() as connection:
                over = self._blank(connection)
            self._drop(over)
        if self._commits > _COMMITS:
            self._write_back()

    def _write_back(self) -> None:
        self._commits = 0
        try:
            with self._upkeep:
                self._write_ahead.write_back(self._beside, self._lock)
        except sqlite3.Error as error:
            raise self._failed(error) from error

    def _lengthen(self) -> None:
        # A full disk, or somebody who looks into the file: then it grows as it is used.
        with self._upkeep, suppress(sqlite3.Error, StoreError):
            self._write_ahead.lengthen(self._beside, self._lock, _LENGTH)

    def _blank(self, connection: sqlite3.Connection) -> list[int]:
        spared = self._log.flushed if self._log is not None else 0
        over = [update for update, written in list(self._over.items()) if written <= spared]
        rows = [(update,) for update in over]
        connection.executemany("UPDATE updates SET body = NULL WHERE id = ?", rows)
        connection.executemany("DELETE FROM shown WHERE id = ?", rows)
        return over

    def _drop(self, over: Iterable[int]) -> None:
        for update in over:
            self._over.pop(update, None)

    def tidy(self) -> None:
        """Forget the numbers of old updates, and what the write-ahead log still holds of those that are done."""
        self.settle()
        with self._transaction() as connection:
            old = int(self._clock()) - _KEPT
            connection.execute("DELETE FROM updates WHERE body IS NULL AND received < ?", (old,))
        try:
            with self._lock:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise self._failed(error) from error
        self._lengthen()

    def close(self) -> None:
        """Close the file."""
        # What is not written down is done once more at the next start.
        with suppress(StoreError):
            self.settle()
        # The thread of a coroutine that was cancelled may be at work with either.
        with self._upkeep, self._lock:
            self._write_ahead.close()
            self._beside.close()
            self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        """Everything or nothing; what SQLite refuses is a `StoreError`."""
        connection = self._connection
        with self._lock:
            try:
                connection.execute("BEGIN IMMEDIATE")
                try:
                    yield connection
                    connection.execute("COMMIT")
                    self._commits += 1
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
            except sqlite3.Error as error:
                raise self._failed(error) from error

    def _failed(self, error: sqlite3.Error) -> StoreError:
        return StoreError(f"{self._path.name}: {error}")
