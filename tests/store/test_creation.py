"""Making and opening a file: at once, interrupted, and files that are something else."""

from __future__ import annotations

import random
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from trainerlib.errors import LogMismatchError, NewerDatabaseError, NotADatabaseError, NotFoundError
from trainerlib.events import MessageRecorded
from trainerlib.store.eventstore import EventStore


def said(text):
    return MessageRecorded("user", text)


def test_a_new_file_has_an_empty_log_with_an_id(tmp_path):
    """Opening a path that does not exist makes an empty log, and each log has an id of its own that stays."""
    ids = []
    for name in ("a.db", "b.db", "a.db"):
        with EventStore(tmp_path / name) as store:
            assert store.position == 0
            assert store.verify() == []
            ids.append(store.log_id)

    assert ids[0] == ids[2] != ids[1]


@pytest.mark.parametrize("name", ["магазин цветов.db", "100%.db", "a?b#c&mode=ro.db", "a b;'\".db"])
def test_any_file_name_will_do(tmp_path, name):
    """Spaces, Cyrillic letters and the characters of a URI are parts of a file's name like any other."""
    with EventStore(tmp_path / name) as store:
        store.append("conversation/a", [said("hello")])

    assert [*tmp_path.iterdir()] == [tmp_path / name]


def test_processes_that_create_one_file_at_once_share_it(tmp_path, together):
    """Four processes open the same new files at once: each file gets one schema, one log id, and everybody's event."""
    lines = together("create", 4, tmp_path)

    assert [len({*ids}) for ids in zip(*lines, strict=True)] == [1, 1, 1, 1]
    for index, log_id in enumerate(lines[0]):
        with EventStore(tmp_path / f"{index}.db") as store:
            assert store.log_id == log_id
            assert sorted(recorded.event.text for recorded in store.read("conversation/a")) == ["0", "1", "2", "3"]
            assert store.verify() == []


def test_a_kill_during_creation_leaves_a_path_that_opens(tmp_path, child):
    """A process that is killed while it makes files leaves, at worst, one that the next opener finishes."""
    chance = random.Random(3)
    for run in range(4):
        directory = tmp_path / str(run)
        directory.mkdir()
        maker = child("create_many", directory)
        maker.stdout.readline()
        maker.stdin.write("go\n")
        maker.stdin.flush()
        while not any(directory.iterdir()):
            assert maker.poll() is None
            time.sleep(0.001)
        time.sleep(chance.random() / 8)
        maker.kill()
        maker.wait()

        newest = max(directory.glob("*.db"), key=lambda file: int(file.stem))
        with EventStore(newest) as store:
            assert store.log_id
            assert store.append("conversation/a", [said("fine")])[0].position == 1
            assert store.verify() == []


def test_a_missing_directory_is_not_made(tmp_path):
    """A file in a directory that does not exist is a typed error, and the directory is not made."""
    with pytest.raises(NotFoundError, match="no such directory"):
        EventStore(tmp_path / "nowhere" / "log.db")

    assert [*tmp_path.iterdir()] == []


def test_a_directory_is_not_a_database(tmp_path):
    """A directory where the file should be is a typed error."""
    with pytest.raises(NotADatabaseError, match="not a file"):
        EventStore(tmp_path)


@pytest.mark.parametrize(
    "content",
    [b"no", b"# notes\n" * 300, "Когда вы открыты?\n".encode() * 5_000, b"SQLite format 3\0" + b"\xff" * 5_000],
)
def test_a_file_that_is_no_database_stays_as_it_is(path, content):
    """A file that is no SQLite database is refused with a typed error and keeps every byte."""
    path.write_bytes(content)
    with pytest.raises(NotADatabaseError):
        EventStore(path)

    assert path.read_bytes() == content
    assert [*path.parent.iterdir()] == [path]


@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_a_foreign_database_stays_as_it_is(path, journal):
    """Another program's SQLite database is refused with a typed error and keeps every byte."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(f"PRAGMA journal_mode = {journal}")
        connection.execute("CREATE TABLE events(id INTEGER PRIMARY KEY)")
    content = path.read_bytes()
    with pytest.raises(NotADatabaseError, match="not trainerlib's"):
        EventStore(path)

    assert path.read_bytes() == content
    assert [*path.parent.iterdir()] == [path]


def test_a_newer_schema_is_refused_unchanged(path):
    """A database with a schema from the future is refused by name of that schema and keeps every byte."""
    EventStore(path).close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = '0999'")
    content = path.read_bytes()
    with pytest.raises(NewerDatabaseError, match=r"schema 0999.*upgrade trainerlib"):
        EventStore(path)

    assert path.read_bytes() == content


def test_a_projection_ahead_of_its_log_is_refused(store, path):
    """A log that ends before its projection's checkpoint is not opened: something cut it."""
    store.append("conversation/a", [said("hello")])
    store.close()
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO checkpoints VALUES ('search', 2)")
    with pytest.raises(LogMismatchError, match="ends before its projection"):
        EventStore(path)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="counts open files in /proc")
def test_a_refused_file_is_not_kept_open(path):
    """Nothing of a file that was refused stays open."""
    path.write_text("no database")
    with pytest.raises(NotADatabaseError):
        EventStore(path)

    assert path not in {link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()}
