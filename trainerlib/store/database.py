"""The SQLite file: opening it, creating and upgrading its schema, write transactions, and what its failures mean."""

from __future__ import annotations

import sqlite3
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import QueuePool

from trainerlib.errors import (
    BusyError,
    CorruptError,
    DiskFullError,
    NewerDatabaseError,
    NotADatabaseError,
    NotFoundError,
    ReadOnlyError,
    StoreError,
)
from trainerlib.store import tables
from trainerlib.store.upkeep import Upkeep
from trainerlib.write_ahead import WriteAheadLog

Synchronous = Literal["FULL", "NORMAL", "OFF"]

_READERS = 5_000
"""Milliseconds that emptying the write-ahead log waits for readers."""

_CHECKPOINT = 32_000
"""Pages of the write-ahead log (128 MB) at which a commit writes it back itself, should `Upkeep` not have come to it."""

_INTERRUPTS = 0.05
"""Seconds after which who closes the database interrupts a read once more: it may only just have begun."""

_FAILURES: dict[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_FULL: (DiskFullError, "the disk is full; nothing was recorded"),
    sqlite3.SQLITE_READONLY: (ReadOnlyError, "the database cannot be written"),
    sqlite3.SQLITE_PERM: (ReadOnlyError, "access to the database is denied"),
    sqlite3.SQLITE_CANTOPEN: (ReadOnlyError, "the database or its directory cannot be opened for writing"),
    sqlite3.SQLITE_BUSY: (BusyError, "another process held the write lock for too long"),
    sqlite3.SQLITE_PROTOCOL: (BusyError, "other processes were opening the database all at once"),
    sqlite3.SQLITE_LOCKED: (BusyError, "another connection holds a lock on the table"),
    sqlite3.SQLITE_CORRUPT: (CorruptError, "the database is damaged; restore a backup"),
    sqlite3.SQLITE_NOTADB: (NotADatabaseError, "the file is not a trainerlib database"),
    sqlite3.SQLITE_IOERR: (StoreError, "the disk failed or refused to grow the file; nothing was recorded"),
}


def translated(error: BaseException, path: Path) -> StoreError:
    """The typed error a driver error means; the only place driver errors are interpreted."""
    original = error.orig if isinstance(error, DBAPIError) else error
    code = getattr(original, "sqlite_errorcode", None)
    if code is None:
        return StoreError(f"{path}: {original}")
    kind, meaning = _FAILURES.get(code & 0xFF, (StoreError, str(original)))
    return kind(f"{path}: {meaning}")


def migrations_directory() -> Path:
    """Where the migrations lie: inside an installed trainerlib, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "migrations"
    return inside if inside.is_dir() else package.parent / "migrations"


class _Writing:
    """Write transactions of a connection, one after the other; `contextmanager` would cost as much as a statement."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> sqlite3.Connection:
        connection = self._connection
        try:
            if connection.in_transaction:
                # An interrupt came before the last one could be ended.
                connection.execute("ROLLBACK")
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.Error as error:
            raise translated(error, self._path) from error
        except BaseException:
            # An interrupt while another process was waited for: nobody else would end it.
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return connection

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        connection = self._connection
        try:
            try:
                if error is None:
                    connection.execute("COMMIT")
            finally:
                # SQLite has already rolled back after some failures, a full disk among them.
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
        except sqlite3.Error as failure:
            raise translated(failure, self._path) from failure
        if isinstance(error, sqlite3.Error):
            raise translated(error, self._path) from error


class _Connection(sqlite3.Connection):
    """A connection that may be closed while another thread reads with it; to just close that crashes the process.

    Attributes:
        in_use: held by the thread that reads.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.in_use = threading.RLock()

    def close_unused(self) -> None:
        """Interrupt whoever reads, wait until they have noticed, and close."""
        while not self.in_use.acquire(timeout=_INTERRUPTS):
            self.interrupt()
        try:
            self.close()
        finally:
            self.in_use.release()


class Database:
    """One SQLite file with one writing connection and a reading connection for each thread.

    Args:
        path: the file; it is created when missing, unless `read_only`.
        read_only: never write, and refuse a file that does not exist.
        synchronous: `FULL` survives a power cut after every commit; `NORMAL` survives a killed process.
        busy_timeout: seconds to wait for another process's write.

    Attributes:
        flushes: whether a commit waits until a power cut would spare it.
        upkeep: is told how many events were committed.

    Raises:
        NotFoundError: the directory is missing, or the file is and `read_only`.
        NotADatabaseError: the file is something else.
        NewerDatabaseError: a newer trainerlib wrote it.
        ReadOnlyError: it cannot be written.
    """

    def __init__(
        self, path: Path, *, read_only: bool = False, synchronous: Synchronous = "FULL", busy_timeout: float = 30.0
    ) -> None:
        self.path = path
        self.read_only = read_only
        self.flushes = synchronous == "FULL"
        self._patience = round(busy_timeout * 1000)
        # As the writing connection is set.
        self._flushing, self._patient = self.flushes, True
        self.lock = threading.Lock()
        self._local = threading.local()
        # Of all threads.
        self._readers: list[_Connection] = []
        self._closed = False
        try:
            if not path.parent.is_dir():
                raise NotFoundError(f"{path.parent}: no such directory")
            if read_only and not path.is_file():
                raise NotFoundError(f"{path}: no such database")
            if path.exists() and not path.is_file():
                raise NotADatabaseError(f"{path}: not a file")
        except OSError as error:
            raise ReadOnlyError(f"{path}: {error.strerror}") from error
        self._synchronous = synchronous
        # The driver gets the address itself: SQLAlchemy's URL would take "?" and "#" in a file's name for its own. A thread
        # may need it when the process is elsewhere.
        self._address = f"{path.absolute().as_uri()}?mode={'ro' if read_only else 'rwc'}"
        self._engine = create_engine(
            "sqlite://",
            creator=self._connect_reader,
            poolclass=QueuePool,
            # Each thread keeps its reading connection: any limit would make the next thread wait for one to end.
            pool_size=0,
            # A thread may end after the connections are closed; none of them has left a transaction behind.
            pool_reset_on_return=None,
        )
        try:
            self._prepare_in_turn(busy_timeout)
            self._write_ahead = WriteAheadLog(self.reader())
            self.upkeep = Upkeep(self.reader, self.lock, self._write_ahead, lengthens=self.flushes)
            self._writer = self._connect()
            self._transaction = _Writing(self._writer, path)
        except (sqlite3.Error, DBAPIError) as error:
            self._close_readers()
            raise translated(error, path) from error
        except BaseException:
            self._close_readers()
            raise

    def _connect(self) -> _Connection:
        connection = sqlite3.connect(
            self._address,
            uri=True,
            timeout=self._patience / 1000,
            isolation_level=None,
            check_same_thread=False,
            factory=_Connection,
        )
        try:
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute(f"PRAGMA wal_autocheckpoint = {_CHECKPOINT}")
        except BaseException:
            connection.close()
            raise
        return connection

    def _connect_reader(self) -> _Connection:
        connection = self._connect()
        self._readers.append(connection)
        return connection

    def _prepare_in_turn(self, patience: float) -> None:
        """`_prepare`, again while others do: SQLite does not wait for a file that is just being switched to WAL."""
        deadline = time.monotonic() + patience
        while True:
            try:
                return self._prepare()
            except (sqlite3.Error, DBAPIError) as error:
                if not isinstance(translated(error, self.path), BusyError) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _prepare(self) -> None:
        """Make the schema, upgrade it, or refuse the file before anything in it is changed."""
        with self._engine.connect() as connection:
            scalar: Callable[[str], Any] = lambda sql: connection.exec_driver_sql(sql).scalar()  # noqa: E731 - three uses, all here
            has_tables = scalar("SELECT count(*) FROM sqlite_schema")
            if has_tables:
                if scalar("PRAGMA application_id") != tables.APPLICATION_ID:
                    raise NotADatabaseError(f"{self.path}: an SQLite file, but not trainerlib's")
                if scalar("SELECT version_num FROM alembic_version") == tables.SCHEMA_REVISION:
                    return
            if self.read_only:
                raise ReadOnlyError(f"{self.path}: needs an upgrade first; open it once for writing")
            connection.exec_driver_sql("PRAGMA journal_mode = WAL")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            try:
                self._upgrade(connection)
            except BaseException:
                connection.rollback()
                raise
            connection.commit()

    def _upgrade(self, connection: Any) -> None:
        """Run the missing migrations inside the open write transaction."""
        from alembic import command
        from alembic.config import Config
        from alembic.script import ScriptDirectory

        config = Config()
        config.set_main_option("script_location", str(migrations_directory()).replace("%", "%%"))
        config.attributes["connection"] = connection
        tables_now = connection.exec_driver_sql("SELECT count(*) FROM sqlite_schema").scalar()
        if tables_now:
            revision = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
            if revision not in known:
                raise NewerDatabaseError(
                    f"{self.path}: written by a newer trainerlib (schema {revision}); upgrade trainerlib to open it"
                )
        command.upgrade(config, tables.SCHEMA_REVISION)
        if not tables_now:
            connection.exec_driver_sql(f"PRAGMA application_id = {tables.APPLICATION_ID}")
            connection.exec_driver_sql(tables.INSERT_LOG, (uuid.uuid4().hex, time.time_ns() // 1000))

    def reader(self) -> _Connection:
        """This thread's reading connection."""
        connection: _Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            self._refuse_closed()
            try:
                proxied = self._engine.raw_connection()
            except (sqlite3.Error, DBAPIError) as error:
                raise translated(error, self.path) from error
            # The proxy goes back to the pool when the thread ends and its locals are collected.
            self._local.proxied = proxied
            driver: Any = proxied.driver_connection
            connection = self._local.connection = driver
            if self._closed:
                # Meanwhile.
                driver.close_unused()
        return connection

    def query(self, sql: str, parameters: tuple[Any, ...] | dict[str, Any] = ()) -> list[Any]:
        """All rows of a read."""
        connection = self.reader()
        try:
            with connection.in_use:
                return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self._unread(error) from error

    @contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """This thread's reading connection, seeing one moment of the log; temporary tables are gone at the end."""
        connection = self.reader()
        try:
            with connection.in_use:
                connection.execute("BEGIN")
                try:
                    yield connection
                finally:
                    if connection.in_transaction:
                        connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            raise self._unread(error) from error

    def _unread(self, error: sqlite3.Error) -> StoreError:
        return self._refused() if self._closed else translated(error, self.path)

    def _refuse_closed(self) -> None:
        if self._closed:
            raise self._refused()

    def _refused(self) -> StoreError:
        return StoreError(f"{self.path}: the store is closed")

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Hold the write lock, of this process and then of the file; commit at the end, undo everything on an error."""
        with self.lock:
            self._refuse_closed()
            with self.writing() as connection:
                yield connection

    def writing(self, *, flush: bool = True, patient: bool = True) -> AbstractContextManager[sqlite3.Connection]:
        """`transaction` for a caller that holds the lock of this process.

        Args:
            flush: the commit waits until a power cut would spare it, where the database flushes at all; a killed process
                loses nothing either way.
            patient: another process's write is waited for; else it is a `BusyError`.
        """
        self._adjust(flush=flush, patient=patient)
        return self._transaction

    def _adjust(self, *, flush: bool = True, patient: bool = True) -> None:
        # Most transactions are like the one before: the pragmas would cost as much as an insert.
        flush = flush and self.flushes
        if flush != self._flushing:
            self._writer.execute(f"PRAGMA synchronous = {'FULL' if flush else 'NORMAL'}")
            self._flushing = flush
        if patient != self._patient:
            self._writer.execute(f"PRAGMA busy_timeout = {self._patience if patient else 0}")
            self._patient = patient

    def flush(self) -> None:
        """Wait until the disk has every commit; meanwhile others may write.

        Raises:
            StoreError: the disk does not take it.
        """
        if self.flushes:
            self._write_ahead.flush()

    async def flush_async(self, flush: Callable[[], object], threads: Executor) -> None:
        """`flush` for a coroutine, whose event loop does not wait for a slow disk.

        Args:
            flush: calls `flush` unless somebody else did meanwhile.
            threads: run it.
        """
        await self._write_ahead.flush_async(flush, threads)

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """A larger cache while a lot is written."""
        self._refuse_closed()
        connection = self._writer
        connection.execute("PRAGMA cache_size = -65536")
        try:
            yield
        finally:
            connection.execute("PRAGMA cache_size = -2000")

    def rewrite_file(self) -> bool:
        """Write the file anew without what was once deleted from it, and empty the write-ahead log.

        Returns:
            False when somebody who reads holds the old pages back.
        """
        with self.lock:
            connection = self._writer
            try:
                self._adjust()
                connection.execute("VACUUM")
                self.upkeep.emptied()
                # While it waits for readers nobody can write.
                connection.execute(f"PRAGMA busy_timeout = {min(self._patience, _READERS)}")
                try:
                    return not connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]
                finally:
                    connection.execute(f"PRAGMA busy_timeout = {self._patience}")
            except sqlite3.Error as error:
                raise translated(error, self.path) from error

    def backup(self, target: Path) -> None:
        """Copy the database, as of one moment, into a new file."""
        connection = self.reader()
        try:
            destination = sqlite3.connect(target)
            try:
                with connection.in_use:
                    connection.backup(destination)
            finally:
                destination.close()
        except BaseException as error:
            target.unlink(missing_ok=True)
            if isinstance(error, sqlite3.Error):
                raise (self._unread(error) if self._closed else translated(error, target)) from error
            raise

    def close(self) -> None:
        """Close every connection, after who writes and before who reads is done; SQLite folds the write-ahead log into the file.

        Whoever still reads gets a `StoreError`.
        """
        self.upkeep.close()
        self._write_ahead.close()
        self._close_readers()
        with self.lock:
            self._writer.close()

    def _close_readers(self) -> None:
        self._closed = True
        for connection in self._readers:
            connection.close_unused()
        self._engine.dispose()
