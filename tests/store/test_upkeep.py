"""The write-ahead log is lengthened, and written back, beside those who append."""

from __future__ import annotations

import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path

import pytest

from trainerlib.errors import StoreError
from trainerlib.events import MessageRecorded
from trainerlib.store import upkeep
from trainerlib.store.eventstore import EventStore
from trainerlib.store.upkeep import _EVENTS, _FEW, _PIECE
from trainerlib.write_ahead import WriteAheadLog


def said(count):
    return [MessageRecorded("user", f"message {number}") for number in range(count)]


def in_file(path):
    """How many events are in the file itself, without its write-ahead log."""
    connection = sqlite3.connect(f"{path.as_uri()}?immutable=1", uri=True)
    try:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0  # read while it was written
    finally:
        connection.close()


def eventually(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def length(path):
    """Bytes of the write-ahead log."""
    return path.with_name(f"{path.name}-wal").stat().st_size


def lengthened(path):
    """Whether the write-ahead log ends with zeros."""
    log = path.with_name(f"{path.name}-wal").read_bytes()
    return len(log) > _PIECE and not any(log[-_PIECE:])


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "trainerlib-upkeep"]


def test_what_was_recorded_comes_into_the_file_while_the_store_is_open(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS))
        eventually(lambda: in_file(path) == _EVENTS)


def test_a_log_that_was_written_back_begins_again(path):
    sizes = []
    with EventStore(path, synchronous="NORMAL") as store:
        for number in range(1, 6):
            store.append("conversation/a", said(_EVENTS))
            eventually(lambda number=number: in_file(path) == number * _EVENTS)
            # The second time, while nobody writes, follows the first.
            with store.database.lock:
                sizes.append(length(path))
    assert sizes[-1] < 2 * sizes[0]


def test_a_reader_holds_up_nobody_and_sees_its_moment(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(10))
        with store.database.snapshot() as connection:
            connection.execute("SELECT count(*) FROM events").fetchone()
            writer = threading.Thread(target=lambda: [store.append("conversation/a", said(_EVENTS)) for _ in range(3)])
            writer.start()
            writer.join(20)
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (10,)
        store.append("conversation/a", said(_EVENTS))
        eventually(lambda: in_file(path) == 10 + 4 * _EVENTS)
        assert store.verify() == []


def test_what_was_committed_is_told_where_no_thread_can_be_started(path, monkeypatch):
    def refused(_):
        raise RuntimeError("can't create new thread at interpreter shutdown")

    with EventStore(path) as store:
        monkeypatch.setattr(threading.Thread, "start", refused)
        assert len(store.append("conversation/a", said(_EVENTS))) == _EVENTS
        monkeypatch.undo()
        store.append("conversation/a", said(_EVENTS))
        eventually(lambda: in_file(path) == 2 * _EVENTS)


def test_a_store_that_records_little_has_no_thread(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_FEW - 1))
        assert threads() == []


def test_closing_ends_the_thread(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS))
        assert len(threads()) == 1
    assert threads() == []


def test_a_log_is_longer_than_what_was_recorded(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_FEW - 1))
        assert not lengthened(path)
        store.append("conversation/a", said(1))
        eventually(lambda: lengthened(path))


def test_what_comes_next_overwrites_the_zeros(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_FEW))
        eventually(lambda: lengthened(path))
        before = length(path)
        for event in said(_FEW - 1):
            store.append("conversation/a", [event])
        assert length(path) == before


def test_after_a_power_cut_everything_before_the_zeros_is_there(path, tmp_path):
    """SQLite reads the log anew when it finds one that nobody has open."""
    with EventStore(path) as store:
        store.append("conversation/a", said(_FEW))
        eventually(lambda: lengthened(path))
        store.append("conversation/a", said(1))
        left = tmp_path / "left"
        left.mkdir()
        for file in (path, path.with_name(f"{path.name}-wal")):
            shutil.copy(file, left)
    with EventStore(left / path.name) as store:
        assert len(list(store.read("conversation/a"))) == _FEW + 1
        assert store.verify() == []
        store.append("conversation/a", said(1))


def test_a_log_is_not_lengthened_while_somebody_else_writes(path):
    """It might write where the zeros go."""
    with EventStore(path) as store, closing(sqlite3.connect(path, isolation_level=None)) as other:
        store.append("conversation/a", said(1))
        other.execute("BEGIN IMMEDIATE")
        before = length(path)
        beside = store.database.reader()
        log = WriteAheadLog(beside)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            log.lengthen(beside, store.database.lock, _PIECE)
        assert length(path) == before
        other.execute("ROLLBACK")
        assert log.lengthen(beside, store.database.lock, _PIECE) == before + _PIECE
        log.close()


def test_a_log_that_nobody_flushes_is_not_lengthened(path):
    with EventStore(path, synchronous="NORMAL") as store:
        store.append("conversation/a", said(_EVENTS - 1))
        assert threads() == []


def test_a_log_that_an_erasure_emptied_is_lengthened_again(path, monkeypatch):
    """Though it had been long enough."""
    monkeypatch.setattr(upkeep, "_LENGTH", _PIECE)
    with EventStore(path) as store:
        store.append("conversation/a", said(_FEW))
        eventually(lambda: lengthened(path))
        assert store.database.rewrite_file()
        assert length(path) == 0
        store.append("conversation/a", said(_FEW))
        eventually(lambda: lengthened(path))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device of Linux")
def test_a_disk_without_room_for_zeros_is_a_typed_error(store):
    store.append("conversation/a", said(1))
    log = WriteAheadLog(store.database.reader())
    log.path = Path("/dev/full")
    with pytest.raises(StoreError, match="No space left on device"):
        log.lengthen(store.database.reader(), store.database.lock, _PIECE)
    store.append("conversation/a", said(1))


def test_who_lengthens_a_log_is_told_of_no_failure_in_the_place_of_those_who_commit(store, monkeypatch):
    """The system tells of a write that failed once for each time the file was opened."""
    flush = "fdatasync" if hasattr(os, "fdatasync") else "fsync"
    descriptors = []
    monkeypatch.setattr(os, flush, descriptors.append)
    store.append("conversation/a", said(1))
    log = WriteAheadLog(store.database.reader())
    log.lengthen(store.database.reader(), store.database.lock, _PIECE)
    log.flush()
    lengthening, committing = descriptors
    assert lengthening != committing
    log.close()
