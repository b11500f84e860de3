"""The write-ahead log is written back beside those who append."""

from __future__ import annotations

import shutil
import sqlite3
import threading
import time

from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore
from trainerlib.store.writeback import _EVENTS


def said(count):
    return [MessageRecorded("user", f"message {number}") for number in range(count)]


def in_file(path, copy):
    """How many events are in the file itself, without its write-ahead log."""
    shutil.copy(path, copy)
    connection = sqlite3.connect(copy)
    try:
        return connection.execute("SELECT count(*) FROM events").fetchone()[0]
    except sqlite3.DatabaseError:
        return 0  # copied while it was written
    finally:
        connection.close()


def eventually(holds):
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "trainerlib-write-back"]


def test_what_was_recorded_comes_into_the_file_while_the_store_is_open(path, tmp_path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS))
        eventually(lambda: in_file(path, tmp_path / "copy") == _EVENTS)


def test_a_log_that_was_written_back_begins_again(path, tmp_path):
    wal = path.with_name(f"{path.name}-wal")
    sizes = []
    with EventStore(path) as store:
        for number in range(1, 6):
            store.append("conversation/a", said(_EVENTS))
            eventually(lambda number=number: in_file(path, tmp_path / "copy") == number * _EVENTS)
            # The second time, while nobody writes, follows the first.
            with store.database.lock:
                sizes.append(wal.stat().st_size)
    assert sizes[-1] < 2 * sizes[0]


def test_a_reader_holds_up_nobody_and_sees_its_moment(path, tmp_path):
    with EventStore(path) as store:
        store.append("conversation/a", said(10))
        with store.database.snapshot() as connection:
            connection.execute("SELECT count(*) FROM events").fetchone()
            writer = threading.Thread(target=lambda: [store.append("conversation/a", said(_EVENTS)) for _ in range(3)])
            writer.start()
            writer.join(20)
            assert connection.execute("SELECT count(*) FROM events").fetchone() == (10,)
        store.append("conversation/a", said(_EVENTS))
        eventually(lambda: in_file(path, tmp_path / "copy") == 10 + 4 * _EVENTS)
        assert store.verify() == []


def test_a_store_that_records_little_has_no_thread(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS - 1))
        assert threads() == []


def test_closing_ends_the_thread(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS))
        assert len(threads()) == 1
    assert threads() == []
