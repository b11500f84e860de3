"""Restoring a backup: the whole log or none of it, over a good database, a damaged one, or nothing."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing

import pytest
from histories import begun, finish, kill, log

import trainerlib
from trainerlib.erasure import BEFORE_RESTORE, erase_person
from trainerlib.errors import (
    BusyError,
    CorruptError,
    NewerDatabaseError,
    NotADatabaseError,
    NotFoundError,
    TrainerlibError,
)
from trainerlib.restoring import restore
from trainerlib.store.eventstore import EventStore

OLGA, BEN = "telegram:7", "telegram:8"


def say(ws, *texts, author=OLGA):
    for text in texts:
        ws.conversation("telegram:42").record("user", text, author=author)


@pytest.fixture
def shop(tmp_path):
    """A closed workspace, a backup of Monday, and what was said since."""
    path = tmp_path / "shop"
    with trainerlib.open(path) as ws:
        say(ws, "понедельник, Ольга")
        say(ws, "Monday, Ben", author=BEN)
        ws.backup(tmp_path / "monday.db")
        say(ws, "вторник", author=BEN)
    return path


@pytest.fixture
def monday(tmp_path):
    return tmp_path / "monday.db"


def said(path):
    """What is said in a workspace, which verifies."""
    with trainerlib.open(path, create=False) as ws:
        assert ws.verify() == []
        return [message.text for message in ws.conversation("telegram:42").messages]


def test_the_workspace_is_as_it_was(shop, monday):
    """Everything the backup has, nothing after it; what was there before is kept and opens."""
    report = restore(monday, shop)
    assert (report.position, report.erased, report.kept) == (3, (), shop / BEFORE_RESTORE)
    assert said(shop) == ["понедельник, Ольга", "Monday, Ben"]
    with EventStore(report.kept) as store:
        assert store.position == 4
        assert store.verify() == []
    with EventStore(monday) as backup, EventStore(shop / "trainer.db") as store:
        assert list(store.read_all()) == list(backup.read_all())
        assert store.log_id == backup.log_id
    assert sorted(path.name for path in shop.iterdir() if path.name.startswith("."))[:1] == []


def test_whoever_was_erased_since_stays_erased(shop, monday):
    """The ledger is applied before anybody can read the restored log, and the words are in no file but the old backup."""
    with trainerlib.open(shop) as ws:
        first = erase_person(ws.store, shop, OLGA)
    report = restore(monday, shop)
    assert [one.person for one in report.erased] == [first.person]
    assert said(shop) == ["", "Monday, Ben"]
    assert not any("Ольга".encode() in path.read_bytes() for path in shop.rglob("*") if path.is_file())
    again = restore(monday, shop)
    assert (len(again.erased), again.kept.name) == (1, f"{BEFORE_RESTORE}-2")


def test_an_erasure_names_what_was_kept(shop, monday):
    """A database from before a restore may hold them, and is left to the operator."""
    restore(monday, shop)
    with trainerlib.open(shop) as ws:
        assert erase_person(ws.store, shop, OLGA).archives == (BEFORE_RESTORE,)


def test_nothing_is_left_beside_the_backup(shop, monday):
    before = sorted(monday.parent.iterdir())
    restore(monday, shop)
    assert sorted(monday.parent.iterdir()) == before


def test_an_open_workspace_is_not_restored(shop, monday):
    """By this process or by another; nothing is changed."""
    with trainerlib.open(shop) as ws:
        before = log(ws)
        with pytest.raises(BusyError, match="somebody has it open"):
            restore(monday, shop)
        assert log(ws) == before
    assert sorted(path.name for path in shop.iterdir() if "restor" in path.name) == []
    assert len(said(shop)) == 3


def test_a_workspace_without_a_database_gets_one(shop, monday):
    """Lost with its disk, or never there; a write-ahead log that was left behind is not applied to it."""
    (shop / "trainer.db").rename(shop / "away")
    (shop / "trainer.db-wal").write_bytes(b"x" * 5_000)
    assert restore(monday, shop).kept is None
    assert said(shop) == ["понедельник, Ольга", "Monday, Ben"]


@pytest.mark.parametrize("damage", [b"Dear Anna, " * 500, b"SQLite format 3\0" + b"\xff" * 9_000, b""])
def test_a_damaged_database_is_replaced_and_kept(shop, monday, damage):
    """What nobody can open is moved aside, whatever lies beside it."""
    (shop / "trainer.db").write_bytes(damage)
    (shop / "trainer.db-wal").write_bytes(b"y" * 100)
    report = restore(monday, shop)
    assert said(shop) == ["понедельник, Ольга", "Monday, Ben"]
    if damage:
        assert report.kept.read_bytes() == damage


def test_a_database_damaged_inside_is_replaced(shop, monday):
    """Its first page opens, the rest does not: the restored one is sound."""
    path = shop / "trainer.db"
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(b"\x5a" * 8 * 4096)
    restore(monday, shop)
    assert said(shop) == ["понедельник, Ольга", "Monday, Ben"]


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda path: path.unlink(), NotFoundError),
        (lambda path: path.write_bytes(b"Dear Anna, " * 500), NotADatabaseError),
        (lambda path: path.write_bytes(b""), NotADatabaseError),
        (lambda path: execute(path, "PRAGMA application_id = 7"), NotADatabaseError),
        (lambda path: execute(path, "UPDATE alembic_version SET version_num = '0999'"), NewerDatabaseError),
        (lambda path: execute(path, "UPDATE conversations SET messages = 9"), CorruptError),
        (lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]), TrainerlibError),
    ],
)
def test_what_is_no_sound_backup_is_refused(shop, monday, spoil, error):
    """One typed error, and the workspace has what it had."""
    spoil(monday)
    before = {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}
    with pytest.raises(error):
        restore(monday, shop)
    assert {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()} == before
    assert len(said(shop)) == 3


def execute(path, statement):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


@pytest.mark.usefixtures("shop")
def test_a_directory_that_is_missing_is_not_made(tmp_path, monday):
    """A mistyped workspace is an error."""
    with pytest.raises(NotFoundError, match="no such directory"):
        restore(monday, tmp_path / "nowhere")
    assert not (tmp_path / "nowhere").exists()


def test_a_backup_on_a_medium_that_cannot_be_written(shop, monday):
    """A file in a directory without write permission is read all the same, and stays as it is."""
    archive = monday.parent / "archive"
    archive.mkdir()
    shutil.move(monday, archive / "monday.db")
    (archive / "monday.db").chmod(0o444)
    archive.chmod(0o555)
    content = (archive / "monday.db").read_bytes()
    try:
        restore(archive / "monday.db", shop)
        assert (archive / "monday.db").read_bytes() == content
    finally:
        archive.chmod(0o755)
    assert len(said(shop)) == 2


RESTORE = """
import sys
from pathlib import Path
from trainerlib.restoring import restore

print("begin", flush=True)
restore(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_killed_at_any_moment_it_is_the_old_log_or_the_restored_one(tmp_path, shop, monday):
    """Never a mixture; a second call finishes, and whoever was erased is erased in either."""
    with trainerlib.open(shop) as ws:
        erase_person(ws.store, shop, OLGA)
    took = 0.0
    for run in range(6):
        path = tmp_path / str(run)
        shutil.copytree(shop, path)
        process = begun(RESTORE, monday, path)
        if run == 0:
            took = finish(process)
        else:
            kill(process, took)
        assert said(path) in (["", "Monday, Ben"], ["", "Monday, Ben", "вторник"])
        restore(monday, path)
        assert said(path) == ["", "Monday, Ben"]
