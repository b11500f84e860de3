"""Updates wait in the inbox until they are done, whatever happens to the bot."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest

from bots.telegram.inbox import FILE, Entry, Inbox
from trainerlib.errors import NewerDatabaseError, NotADatabaseError, StoreError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / FILE


def entry(number, chat="telegram:42", body=None):
    return Entry(number, chat, body or f'{{"update_id":{number}}}'.encode())


def test_updates_wait_in_order(path):
    with Inbox(path) as inbox:
        assert inbox.put([entry(2), entry(1)]) == [2, 1]
        assert [one.id for one in inbox.waiting()] == [1, 2]


def test_an_update_that_is_handed_over_again_is_not_new(path):
    with Inbox(path) as inbox:
        inbox.put([entry(1)])
        assert inbox.put([entry(1), entry(2)]) == [2]
        inbox.done([1])
        assert inbox.put([entry(1)]) == []
        assert [one.id for one in inbox.waiting()] == [2]


def test_what_was_shown_is_known_in_order(path):
    with Inbox(path) as inbox:
        inbox.put([entry(1)])
        inbox.showed(42, 9, 1)
        inbox.showed(42, 7, 1)
    with Inbox(path) as inbox:
        assert inbox.waiting()[0].shown == (9, 7)
        inbox.done([1])
        assert inbox.waiting() == []


def test_who_was_told_that_it_takes_longer_is_known(path):
    with Inbox(path) as inbox:
        inbox.put([entry(1), entry(2)])
        inbox.warned(1)
    with Inbox(path) as inbox:
        assert [one.warned for one in inbox.waiting()] == [True, False]


def test_the_newest_message_of_a_chat_is_known_when_its_update_is_done(path):
    with Inbox(path) as inbox:
        inbox.put([entry(1)])
        inbox.showed(42, 9, 1)
        inbox.showed(42, 12)
        inbox.done([1])
    with Inbox(path) as inbox:
        assert (inbox.newest(42), inbox.newest(43)) == (12, 0)


def test_what_an_update_said_is_nowhere_when_it_is_done(path):
    words = "тюльпаны для Анны".encode()
    with Inbox(path) as inbox:
        inbox.put([entry(1, body=words)])
        inbox.done([1])
        inbox.tidy()
        for file in path.parent.iterdir():
            assert words not in file.read_bytes()


def test_old_numbers_are_forgotten(path):
    now = [0.0]
    with Inbox(path, clock=lambda: now[0]) as inbox:
        inbox.put([entry(1), entry(2)])
        inbox.done([1])
        now[0] = 3 * 86_400
        inbox.tidy()
        assert inbox.put([entry(1), entry(2)]) == [1]


KILLED = """
import os, signal, sys
from pathlib import Path
from bots.telegram.inbox import Entry, Inbox
inbox = Inbox(Path(sys.argv[1]))
inbox.put([Entry(1, "telegram:42", b"{}")])
inbox.showed(42, 7, 1)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_was_kept_survives_a_kill(path):
    subprocess.run([sys.executable, "-c", KILLED, str(path)], check=False)
    with Inbox(path) as inbox:
        assert inbox.waiting() == [Entry(1, "telegram:42", b"{}", (7,))]


DONE_AND_KILLED = """
import os, signal, sys
from pathlib import Path
from bots.telegram.inbox import Entry, Inbox
inbox = Inbox(Path(sys.argv[1]))
inbox.put([Entry(1, "telegram:42", b"{}")])
inbox.showed(42, 7, 1)
inbox.done([1])
inbox.put([Entry(2, "telegram:42", b"{}")])
inbox.done([2])
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_is_done_is_written_down_with_what_comes_next(path):
    subprocess.run([sys.executable, "-c", DONE_AND_KILLED, str(path)], check=False)
    with Inbox(path) as inbox:
        assert [one.id for one in inbox.waiting()] == [2]


def test_what_is_done_is_written_down_when_the_inbox_is_closed(path):
    with Inbox(path) as inbox:
        inbox.put([entry(1)])
        inbox.done([1])
    with Inbox(path) as inbox:
        assert inbox.count() == 0


def test_another_file_is_refused_and_left_alone(path):
    path.write_text("these are notes, and no database", encoding="utf-8")
    with pytest.raises(StoreError):
        Inbox(path)
    assert path.read_text(encoding="utf-8").startswith("these are notes")


def test_a_database_of_somebody_else_is_refused(path):
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE notes(text)")
    connection.close()
    with pytest.raises(NotADatabaseError):
        Inbox(path)


def test_a_newer_inbox_is_refused(path):
    Inbox(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(NewerDatabaseError):
        Inbox(path)


def bodies(path):
    """Numbers of the updates that still say something, as they are in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return [number for (number,) in connection.execute("SELECT id FROM updates WHERE body IS NOT NULL ORDER BY id")]


def test_an_update_is_forgotten_once_a_power_cut_would_spare_what_was_done_about_it(path, tmp_path):
    """The log and the inbox are two files: the one that is behind must not be the log."""

    def record(store, *, flush):
        asyncio.run(store.append_async("conversation/a", [MessageRecorded("user", "x")], flush=flush))

    with EventStore(tmp_path / "log.db") as log, Inbox(path, log=log) as inbox:
        inbox.put([entry(1), entry(2)])
        record(log, flush=True)
        inbox.done([1])
        record(log, flush=False)
        inbox.done([2])
        inbox.put([entry(3)])
        assert bodies(path) == [2, 3]
        assert inbox.count() == 1
        record(log, flush=True)
        inbox.put([entry(4)])
        assert bodies(path) == [3, 4]


def test_an_update_that_could_not_be_flushed_is_new_the_next_time(path, monkeypatch):
    """It is in the file, and nobody was told that it is kept."""

    def broken(_):
        raise OSError(5, "Input/output error")

    with Inbox(path) as inbox:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fdatasync" if hasattr(os, "fdatasync") else "fsync", broken)
            with pytest.raises(StoreError, match="Input/output error"):
                asyncio.run(inbox.keep([entry(1)]))
        assert asyncio.run(inbox.keep([entry(1), entry(2)])) == [1, 2]
        assert asyncio.run(inbox.keep([entry(1)])) == []


def test_an_update_that_comes_twice_at_the_same_time_is_new_once(path):
    """As Telegram sends it to a webhook again that takes long to answer."""

    async def both(inbox):
        return await asyncio.gather(inbox.keep([entry(1)]), inbox.keep([entry(1)]))

    with Inbox(path) as inbox:
        assert sorted(asyncio.run(both(inbox))) == [[], [1]]


def test_an_update_whose_keeping_was_cancelled_is_new_the_next_time(path):
    async def cancelled(inbox):
        keeping = asyncio.create_task(inbox.keep([entry(1)]))
        await asyncio.sleep(0)
        keeping.cancel()
        await asyncio.wait([keeping])
        assert keeping.cancelled()
        return await inbox.keep([entry(1)])

    with Inbox(path) as inbox:
        assert asyncio.run(cancelled(inbox)) == [1]


def test_it_is_closed_under_nobodys_hands(path):
    """As a bot does whose upkeep, in a thread, outlives the coroutine that asked for it."""
    refused = []

    def keep_up(inbox):
        try:
            while True:
                inbox.tidy()
        except StoreError as error:
            refused.append(str(error))

    for milliseconds in range(20):
        with Inbox(path) as inbox:
            thread = threading.Thread(target=keep_up, args=(inbox,))
            thread.start()
            time.sleep(milliseconds / 1000)
        thread.join()
    assert refused == ["inbox.db: Cannot operate on a closed database."] * 20


def test_the_write_ahead_log_is_written_back_when_what_is_done_is_settled(path):
    """Nobody who writes down what was shown waits for that."""
    log = path.with_name(f"{path.name}-wal")
    with Inbox(path) as inbox:
        for number in range(1_200):
            inbox.showed(42, number)
            if number == 600:
                grown = log.stat().st_size
                inbox.settle()
        assert grown > 1 << 20
        assert log.stat().st_size <= grown * 1.1


def test_the_write_ahead_log_is_as_long_as_it_gets_before_it_is_needed(path):
    """A flush of a log that grows takes the disk twice as long."""
    log = path.with_name(f"{path.name}-wal")
    with Inbox(path) as inbox:
        inbox.tidy()
        long = log.stat().st_size
        for number in range(400):
            inbox.put([entry(number)])
        assert log.stat().st_size == long


def test_what_is_done_is_settled_when_the_log_is_flushed_first(path, tmp_path):
    with EventStore(tmp_path / "log.db") as log, Inbox(path, log=log) as inbox:
        inbox.put([entry(1)])
        asyncio.run(log.append_async("conversation/a", [MessageRecorded("user", "x")], flush=False))
        inbox.done([1])
        inbox.settle()
        assert bodies(path) == []
        assert log.flushed == log.written == 1
