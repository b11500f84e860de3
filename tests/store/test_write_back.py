"""The write-ahead log is written back beside those who append."""

from __future__ import annotations

import sqlite3
import threading
import time

from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore
from trainerlib.store.writeback import _EVENTS


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


def threads():
    return [thread for thread in threading.enumerate() if thread.name == "trainerlib-write-back"]


def test_what_was_recorded_comes_into_the_file_while_the_store_is_open(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS))
        eventually(lambda: in_file(path) == _EVENTS)


def test_a_log_that_was_written_back_begins_again(path):
    wal = path.with_name(f"{path.name}-wal")
    sizes = []
    with EventStore(path) as store:
        for number in range(1, 6):
            store.append("conversation/a", said(_EVENTS))
            eventually(lambda number=number: in_file(path) == number * _EVENTS)
            # The second time, while nobody writes, follows the first.
            with store.database.lock:
                sizes.append(wal.stat().st_size)
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
        store.append("conversation/a", said(_EVENTS - 1))
        assert threads() == []


def test_closing_ends_the_thread(path):
    with EventStore(path) as store:
        store.append("conversation/a", said(_EVENTS))
        assert len(threads()) == 1
    assert threads() == []
