"""An append that is not flushed is there for everybody, and spared by a power cut from the next flush on."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from trainerlib.errors import KeyConflictError, StoreError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore
from trainerlib.write_ahead import _QUICK, _TRUST

STREAM = "conversation/telegram:42"
_FLUSH = "fdatasync" if hasattr(os, "fdatasync") else "fsync"


@pytest.fixture
def add(store):
    """Record a message with a key in a coroutine; its place in the log."""

    def add(text, *, flush=True):
        [recorded] = asyncio.run(store.append_async(STREAM, [MessageRecorded("user", text)], keys=[text], flush=flush))
        return recorded.position

    return add


@pytest.fixture
def flushed(monkeypatch):
    """Files that were flushed beside SQLite's own commits."""
    files = []
    flush = getattr(os, _FLUSH)

    def watched(file):
        opened = Path(f"/proc/self/fd/{file}")
        files.append(opened.readlink().name if opened.exists() else "log.db-wal")
        flush(file)

    monkeypatch.setattr(os, _FLUSH, watched)
    return files


@pytest.fixture
def statements(store):
    """What the writing connection runs."""
    ran = []
    with store.database.transaction() as connection:
        connection.set_trace_callback(ran.append)
    yield ran
    connection.set_trace_callback(None)


def commits(statements):
    """How SQLite was to commit, for each commit."""
    synchronous, found = "FULL", []
    for statement in statements:
        if statement.startswith("PRAGMA synchronous = "):
            synchronous = statement.rpartition(" ")[2]
        elif statement == "COMMIT":
            found.append(synchronous)
    return found


def test_only_what_is_to_be_flushed_waits_for_the_disk(store, add, statements):
    """And nothing that comes after it is recorded as carelessly."""
    del statements[:]
    add("one", flush=False)
    add("two")
    store.append(STREAM, [MessageRecorded("user", "three")])
    with store.database.transaction():
        pass
    assert commits(statements) == ["NORMAL", "FULL", "FULL", "FULL"]


def test_a_group_is_flushed_when_one_of_it_asks_for_that(store, add, statements):
    add("The thread that writes has begun.")
    del statements[:]

    async def both():
        with store.database.lock:
            # Both wait until the lock is let go, and so become one group.
            waiting = [
                asyncio.create_task(store.append_async(STREAM, [MessageRecorded("user", "x")], flush=flush))
                for flush in (False, True)
            ]
            # Each of them runs until it waits.
            await asyncio.sleep(0)
            assert len(store._committer._waiting) == 2
        await asyncio.gather(*waiting)

    asyncio.run(both())
    assert commits(statements) == ["FULL"]
    assert store.flushed == store.written == 3


def test_everybody_sees_what_is_not_flushed(path, add):
    add("one", flush=False)
    with EventStore(path) as other:
        assert [recorded.event.text for recorded in other.read_all()] == ["one"]


def test_how_far_the_log_is_flushed_is_known(store, add):
    assert (store.written, store.flushed) == (0, 0)
    add("one", flush=False)
    assert (store.written, store.flushed) == (1, 0)
    add("two", flush=False)
    add("three")
    assert (store.written, store.flushed) == (3, 3)
    add("four", flush=False)
    store.flush()
    assert (store.written, store.flushed) == (4, 4)


def test_a_flush_is_one_of_the_write_ahead_log_and_only_when_there_is_something(store, add, flushed):
    add("one")
    store.flush()
    assert flushed == []
    add("two", flush=False)
    store.flush()
    store.flush()
    assert flushed == ["log.db-wal"]


@pytest.mark.skipif(not hasattr(os, "symlink"), reason="needs links")
def test_the_log_is_found_whatever_leads_to_it(tmp_path, monkeypatch, flushed):
    """A link to the file, and a name that is no longer the way to it from where the process is now."""
    (tmp_path / "disk").mkdir()
    (tmp_path / "log.db").symlink_to("disk/log.db")
    monkeypatch.chdir(tmp_path)
    with EventStore("log.db") as store:
        monkeypatch.chdir(tmp_path / "disk")
        asyncio.run(store.append_async(STREAM, [MessageRecorded("user", "one")], flush=False))
        store.flush()
        assert store.flushed == 1
    assert flushed == ["log.db-wal"]


def test_what_is_said_again_to_be_flushed_is(add, flushed):
    """The first time it was not, and there is nothing new that SQLite would flush."""
    add("one", flush=False)
    assert add("one") == 1
    assert len(flushed) == 1


def test_a_store_that_closes_leaves_nothing_unflushed(path, flushed):
    with EventStore(path) as store:
        asyncio.run(store.append_async(STREAM, [MessageRecorded("user", "one")], flush=False))
        assert flushed == []
    assert len(flushed) == 1


def test_where_no_commit_waits_for_the_disk_no_flush_does(tmp_path, flushed):
    with EventStore(tmp_path / "log.db", synchronous="NORMAL") as store:
        asyncio.run(store.append_async(STREAM, [MessageRecorded("user", "one")], flush=False))
        assert (store.written, store.flushed) == (1, 1)
        store.flush()
    assert flushed == []


def test_a_disk_that_does_not_take_it_is_told(store, add, monkeypatch):
    """And what was recorded is still known not to be flushed."""
    add("one", flush=False)

    def broken(_):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, _FLUSH, broken)
        with pytest.raises(StoreError, match="Input/output error"):
            store.flush()
    assert store.flushed == 0
    store.flush()
    assert store.flushed == 1


def test_an_event_loop_goes_on_while_another_process_writes(path, store):
    """What could be committed at once otherwise waits for that process in the thread that writes."""

    async def main():
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            append = asyncio.create_task(store.append_async(STREAM, [MessageRecorded("user", "x")], flush=False))
            await asyncio.sleep(0.1)
            waited = not append.done()
            other.execute("ROLLBACK")
        [recorded] = await append
        return waited, recorded.position

    assert asyncio.run(main()) == (True, 1)


def test_an_append_that_waits_for_no_disk_needs_no_other_thread(add):
    before = threading.active_count()
    add("one", flush=False)
    assert threading.active_count() == before


def test_what_is_refused_is_refused_at_once(store, add):
    add("one", flush=False)

    async def again():
        await store.append_async("conversation/b", [MessageRecorded("user", "x")], keys=["one"], flush=False)

    with pytest.raises(KeyConflictError):
        asyncio.run(again())
    assert store.position == 1


def test_a_store_that_is_closed_refuses_it(store, add):
    store.close()
    with pytest.raises(StoreError, match="closed"):
        add("one", flush=False)


def test_coroutines_share_a_flush(store, flushed):
    """Those who wait for what is flushed already, or is just being, wait for no other."""

    async def main():
        for number in range(5):
            await store.append_async(f"conversation/{number}", [MessageRecorded("user", "x")], flush=False)
        await asyncio.gather(*(store.flush_async() for _ in range(50)))

    asyncio.run(main())
    assert flushed == ["log.db-wal"]
    assert store.flushed == 5


@pytest.fixture
def disk(store, monkeypatch):
    """Appends and flushes in a coroutine, so many times, on a disk that takes so long; in which threads it flushed."""

    def disk(flushes, seconds=0.0):
        threads = []

        def flush(_):
            thread = threading.current_thread()
            if thread.name != "trainerlib-upkeep":
                threads.append("loop" if thread is threading.main_thread() else "thread")
            time.sleep(seconds)

        async def main():
            for _ in range(flushes):
                await store.append_async(STREAM, [MessageRecorded("user", "x")], flush=False)
                await store.flush_async()

        with monkeypatch.context() as patch:
            patch.setattr(os, _FLUSH, flush)
            asyncio.run(main())
        return Counter(threads)

    return disk


def test_a_disk_that_nobody_knows_is_waited_for_in_a_thread(disk):
    assert disk(_TRUST) == {"thread": _TRUST}


def test_a_disk_that_is_quick_is_waited_for_in_the_event_loop(disk):
    """A hand-over to a thread and back takes longer."""
    disk(10 * _TRUST)
    assert disk(3 * _TRUST)["loop"] > 0


def test_a_disk_that_is_slow_is_never_waited_for_in_the_event_loop(disk):
    assert disk(3 * _TRUST, seconds=2 * _QUICK) == {"thread": 3 * _TRUST}


def test_a_disk_that_is_slow_all_of_a_sudden_is_waited_for_there_once(disk):
    disk(10 * _TRUST)
    disk(1, seconds=2 * _QUICK)
    assert disk(10, seconds=2 * _QUICK) == {"thread": 10}


_APPENDS = """
import asyncio, sys
from pathlib import Path
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore

async def main(store):
    while True:
        [recorded] = await store.append_async("conversation/a", [MessageRecorded("user", "x")], flush=False)
        print(recorded.position, flush=True)

with EventStore(Path(sys.argv[1])) as store:
    asyncio.run(main(store))
"""


def test_a_killed_process_loses_nothing_that_it_did_not_flush(path):
    process = subprocess.Popen([sys.executable, "-c", _APPENDS, path], stdout=subprocess.PIPE, text=True)
    said = [int(process.stdout.readline()) for _ in range(300)]
    process.send_signal(signal.SIGKILL)
    said += [int(line) for line in process.stdout if line.endswith("\n")]
    process.wait()
    process.stdout.close()
    with EventStore(path) as store:
        assert store.position >= said[-1]
        assert store.verify() == []
