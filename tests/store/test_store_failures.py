"""Full disks, files that may not be written, damage, and attempts to change what happened."""

from __future__ import annotations

import os
import sqlite3
import sys
from contextlib import closing

import pytest

from trainerlib.errors import CorruptError, DiskFullError, EventError, TrainerlibError
from trainerlib.events import Corrected, MessageRecorded
from trainerlib.store.eventstore import EventStore


def said(text, role="user"):
    return MessageRecorded(role, text)


@pytest.fixture
def closed(path):
    """The path of a log with three conversations of three thousand events, closed."""
    with EventStore(path) as store:
        for stream in "abc":
            events = [said(f"{stream} {number} " + "цветы " * 20) for number in range(1_000)]
            store.append(f"conversation/{stream}", events, keys=[f"{stream}:{number}" for number in range(1_000)])
    return path


def tampered(path, *statements):
    """The log after somebody who knows how has changed the file behind the library's back."""
    with closing(sqlite3.connect(path)) as connection, connection:
        for trigger in ("events_no_delete", "events_no_update"):
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            connection.execute(statement)
    return EventStore(path)


def test_a_full_disk_records_nothing_of_the_append(store):
    """When SQLite finds no room an append fails as a whole with a typed error, and later appends work again."""
    store.append("conversation/a", [said("before")])
    writer = store.database._writer
    [pages] = writer.execute("PRAGMA page_count").fetchone()
    writer.execute(f"PRAGMA max_page_count = {pages + 3}")
    with pytest.raises(DiskFullError, match="disk is full; nothing was recorded"):
        store.append("conversation/new", [said("y"), said("x" * 100_000)], keys=["k", None])

    assert store.streams("conversation/") == ["conversation/a"]
    assert [recorded.event.text for recorded in store.read_all()] == ["before"]
    writer.execute("PRAGMA max_page_count = 1000000")
    later = store.append("conversation/new", [said("y"), said("x" * 100_000)], keys=["k", None])
    assert [(recorded.position, recorded.version) for recorded in later] == [(2, 1), (3, 2)]
    assert store.verify() == []


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_a_file_that_may_not_grow_records_nothing_of_the_append(path, child):
    """When the operating system refuses to let the file grow an append fails as a whole, and later ones work again."""
    output, _ = child("outgrow", path).communicate()
    failed, again = output.splitlines()
    name, acknowledged, position = failed.split()

    assert name in ("DiskFullError", "StoreError")
    assert int(position) == int(acknowledged) > 0
    assert int(again) == int(acknowledged) + 1
    with EventStore(path) as store:
        assert store.position == int(again)
        assert store.verify() == []


@pytest.fixture
def protected(path):
    """A log in a directory that others may enter, with permissions that a test takes away."""
    with EventStore(path) as store:
        store.append("conversation/a", [said("hello")])
    private = [
        (directory, directory.stat().st_mode) for directory in path.parents if not directory.stat().st_mode & 0o001
    ]
    if os.getuid() == 0:
        for directory, mode in private:
            directory.chmod(mode | 0o011)
    yield path
    if os.getuid() == 0:
        for directory, mode in private:
            directory.chmod(mode)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions of POSIX")
@pytest.mark.parametrize(
    ("file_mode", "directory_mode"), [(0o444, 0o555), (0o444, 0o777), (0o000, 0o777), (0o644, 0o000)]
)
def test_a_file_that_may_not_be_written_is_a_typed_error(protected, child, file_mode, directory_mode):
    """Whoever may not write the file, or not even look into its directory, gets one typed error; nothing changes."""
    content = protected.read_bytes()
    protected.chmod(file_mode)
    protected.parent.chmod(directory_mode)
    output, _ = child("powerless", protected).communicate()
    protected.parent.chmod(0o700)
    protected.chmod(0o600)

    assert output == "ReadOnlyError\n"
    assert protected.read_bytes() == content


@pytest.mark.parametrize("statement", ["DELETE FROM events", "UPDATE events SET data = '{}' WHERE position = 1"])
def test_the_file_itself_refuses_to_forget_or_change_events(store, path, statement):
    """Even plain SQL cannot delete or change an event."""
    store.append("conversation/a", [said("hello")])
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.IntegrityError, match="events are never"):
        connection.execute(statement)

    assert [recorded.event.text for recorded in store.read_all()] == ["hello"]


def test_a_damaged_file_is_reported(closed):
    """Pages overwritten in the middle of the file are found by `verify`, and reading them is a typed error."""
    with closed.open("r+b") as file:
        file.seek(closed.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\x5a" * 16 * 4096)

    with EventStore(closed) as store:
        with pytest.raises(CorruptError):
            list(store.read_all())
        assert store.verify() == [f"{closed}: the database is damaged; restore a backup"]


def test_a_file_cut_short_is_reported(closed):
    """A file that lost its second half is a typed error when it is opened."""
    with closed.open("r+b") as file:
        file.truncate(closed.stat().st_size // 2 // 4096 * 4096)

    with pytest.raises(CorruptError):
        EventStore(closed)


@pytest.mark.parametrize(
    ("statement", "problem"),
    [
        ("DELETE FROM events WHERE position = 1500", "1 of 3000 positions hold no event"),
        ("UPDATE events SET version = 5000 WHERE position = 3000", "stream 3: 1000 events but version 5000"),
        (
            'UPDATE events SET data = \'{"role":"user"}\' WHERE position = 7',
            "message.recorded version 1 does not decode",
        ),
        (
            "UPDATE events SET data = CAST(x'7bff' AS TEXT) WHERE position = 7",
            "message.recorded version 1 does not decode",
        ),
        ("UPDATE events SET type = 'message.sung' WHERE position = 7", "message.sung version 1 is not known here"),
        ("DELETE FROM streams WHERE id = 2", "the event at position 1001 is in a stream without a name"),
        (
            "UPDATE events SET data = replace(data, 'цветы', 'flowers') WHERE position = 7",
            "projection conversations: 1 rows",
        ),
        ("UPDATE conversations SET messages = 7 WHERE stream_id = 1", "projection conversations: 1 rows differ"),
        ("DELETE FROM conversations WHERE stream_id = 1", "projection conversations: 1 rows differ"),
    ],
)
def test_verify_reports_what_was_tampered_with(closed, statement, problem):
    """Each thing that somebody changes behind the log's back is reported by `verify`."""
    with tampered(closed, statement) as store:
        assert any(line.startswith(problem) for line in store.verify()), store.verify()


@pytest.mark.parametrize(
    ("statement", "error"),
    [
        ('UPDATE events SET data = \'{"role":"user"}\' WHERE position = 7', EventError),
        ("UPDATE events SET data = '{' WHERE position = 7", EventError),
        ("DELETE FROM streams WHERE id = 1", CorruptError),
    ],
)
def test_reading_what_was_tampered_with_is_a_typed_error(closed, statement, error):
    """An event that does not decode or has no stream is a typed error for whoever reads it."""
    with tampered(closed, statement) as store:
        with pytest.raises(error) as raised:
            list(store.read_all())
        assert isinstance(raised.value, TrainerlibError)


def test_rebuild_mends_a_tampered_projection(closed):
    """A projection that was changed behind the log's back is as the log says after a rebuild."""
    with EventStore(closed) as store:
        store.append("conversation/a", [said("ответ", "assistant"), Corrected(1_001, "лучше", by="anna")])
        rows = store.database.query("SELECT * FROM conversations ORDER BY stream_id")
    statements = ["UPDATE conversations SET up = 3", "DELETE FROM conversations WHERE stream_id = 2"]
    with tampered(
        closed, *statements, "INSERT INTO conversations SELECT 99, '', '', 0, 0, 0, 0, 0, 0, 0, 0, 0"
    ) as store:
        assert store.rebuild() == 3_002
        assert store.database.query("SELECT * FROM conversations ORDER BY stream_id") == rows
        assert store.verify() == []


def test_verify_leaves_no_trace_and_stops_nobody(store, path):
    """Verifying writes nothing, and somebody else may hold the write lock meanwhile."""
    store.append("conversation/a", [said("hello")])
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        assert store.verify() == []
        assert store.verify() == []
        tables = writer.execute("SELECT name FROM sqlite_schema WHERE name LIKE '%rebuilt%'").fetchall()
        writer.execute("COMMIT")

    assert tables == []
    assert store.append("conversation/a", [said("on")])[0].position == 2
