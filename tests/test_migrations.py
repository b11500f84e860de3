"""Migrations: what they create is what the code declares, for users and for developers."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from trainerlib.erasure import erase_person
from trainerlib.errors import ReadOnlyError
from trainerlib.events import MessageRecorded
from trainerlib.store import tables
from trainerlib.store.database import migrations_directory
from trainerlib.store.eventstore import EventStore
from trainerlib.store.search import SearchIndex

ROOT = Path(__file__).parents[1]


def schema(path):
    """Everything the schema of a file says, by kind and name, but for alembic's own table, quotes and white space."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
    return {
        (kind, name): (table, re.sub(r"\s+", " ", (sql or "").replace('"', "")))
        for kind, name, table, sql in rows
        if table != "alembic_version"
    }


@pytest.fixture
def declared(tmp_path):
    """A file with the schema as the code declares it."""
    path = tmp_path / "declared.db"
    engine = create_engine(f"sqlite:///{path}")
    tables.metadata.create_all(engine)
    engine.dispose()
    return path


@pytest.fixture
def migrated(tmp_path):
    """A file with the schema as the migrations make it."""
    path = tmp_path / "migrated.db"
    EventStore(path).close()
    return path


def test_the_migrated_schema_is_the_declared_one(declared, migrated):
    """Tables, indexes, triggers and the search table are the same, statement by statement."""
    assert schema(migrated) == schema(declared)
    assert {("trigger", "events_no_delete"), ("trigger", "events_no_update"), ("table", "search_index")} <= {
        *schema(migrated)
    }


def test_alembic_finds_nothing_to_generate(migrated):
    """A developer's `alembic revision --autogenerate` right now would be empty."""
    engine = create_engine(f"sqlite:///{migrated}")
    try:
        with engine.connect() as connection:
            ours = {"include_object": lambda _, name, kind, *__: kind != "table" or not name.startswith("search_index")}
            assert compare_metadata(MigrationContext.configure(connection, opts=ours), tables.metadata) == []
    finally:
        engine.dispose()


def test_the_code_reads_the_newest_revision():
    """The migrations are found beside the package, have one head, and that is what the code reads and writes."""
    config = Config()
    config.set_main_option("script_location", str(migrations_directory()))

    assert migrations_directory() == ROOT / "migrations"
    assert ScriptDirectory.from_config(config).get_heads() == [tables.SCHEMA_REVISION]


def alembic(directory, url, *command):
    """Run alembic as a developer does, on a copy of `alembic.ini` that names another database."""
    shutil.copytree(ROOT / "migrations", directory / "migrations", ignore=shutil.ignore_patterns("__pycache__"))
    text = (ROOT / "alembic.ini").read_text(encoding="utf-8")
    text = re.sub(r"(?m)^sqlalchemy\.url = .*$", lambda _: f"sqlalchemy.url = {url}", text)
    (directory / "alembic.ini").write_text(text, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    full = [sys.executable, "-m", "alembic", "-c", "alembic.ini", *command]
    return subprocess.run(full, cwd=directory, env=environment, capture_output=True, check=True, text=True).stdout


def test_alembic_ini_upgrades_a_new_file(tmp_path, declared):
    """`alembic upgrade head` on a new file makes the declared schema and says which revision it is at."""
    alembic(tmp_path, "sqlite:///new.db", "upgrade", "head")

    assert schema(tmp_path / "new.db") == schema(declared)
    with closing(sqlite3.connect(tmp_path / "new.db")) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(tables.SCHEMA_REVISION,)]


def test_alembic_ini_leaves_a_current_file_as_it_is(tmp_path, migrated):
    """`alembic upgrade head` on a database of trainerlib's that is up to date changes nothing in it."""
    with EventStore(migrated) as store:
        store.append("conversation/a", [MessageRecorded("user", "hello")])
        log_id = store.log_id
    alembic(tmp_path, f"sqlite:///{migrated}", "upgrade", "head")

    with EventStore(migrated) as store:
        assert store.log_id == log_id
        assert [recorded.event.text for recorded in store.read_all()] == ["hello"]
        assert store.verify() == []


# --- databases of earlier revisions ----------------------------------------------------------------------------------


@pytest.fixture
def first_revision(tmp_path):
    """A database as the first revision made and filled it: two people, a search index that has caught up."""
    alembic(tmp_path, "sqlite:///old.db", "upgrade", "0001")
    path = tmp_path / "old.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute(f"PRAGMA application_id = {tables.APPLICATION_ID}")
        connection.execute("INSERT INTO log VALUES ('9f2c', 1772352000000000)")
        connection.execute("INSERT INTO streams VALUES (1, 'conversation/telegram:42')")
        for number, (author, text) in enumerate((("telegram:7", "Я Ольга"), ("telegram:8", "I am Ben")), 1):
            data = f'{{"role":"user","text":"{text}","author":"{author}"}}'
            row = (number, 1, number, "message.recorded", 1, 1772352000000000, f"k:{number}", data)
            connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)
            connection.execute("INSERT INTO search_index(rowid, words) VALUES (?, ?)", (number, text.lower()))
        connection.execute("INSERT INTO checkpoints VALUES ('search', 2)")
        counts = (1, "", "", 1772352000000000, 1772352000000000, 2, 0, 0, 0, 0, 6, 6)
        connection.execute(f"INSERT INTO conversations VALUES ({', '.join('?' * 12)})", counts)
    return path


def test_the_first_revision_is_upgraded_when_it_is_opened(first_revision, declared):
    """The schema is the declared one, and every event is where and what it was."""
    with closing(sqlite3.connect(first_revision)) as connection:
        before = connection.execute("SELECT * FROM events").fetchall()
    with EventStore(first_revision) as store:
        assert store.log_id == "9f2c"
        assert [recorded.event.text for recorded in store.read_all()] == ["Я Ольга", "I am Ben"]
        assert store.verify() == []
        assert store.append("conversation/telegram:42", [MessageRecorded("user", "hello")])[0].position == 3

    assert schema(first_revision) == schema(declared)
    with closing(sqlite3.connect(first_revision)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(tables.SCHEMA_REVISION,)]
        assert connection.execute("SELECT * FROM events").fetchall()[:2] == before
        with pytest.raises(sqlite3.IntegrityError, match="never changed"):
            connection.execute("UPDATE events SET data = '{}'")


def test_the_first_revision_is_not_upgraded_by_who_only_reads(first_revision):
    """Reading changes nothing; the error says to open it for writing once."""
    before = first_revision.read_bytes()
    with pytest.raises(ReadOnlyError, match="needs an upgrade"):
        EventStore(first_revision, read_only=True)
    assert first_revision.read_bytes() == before


def test_a_person_is_erased_from_a_log_of_the_first_revision(first_revision):
    """What was recorded before erasing was possible is erased like anything else."""
    with EventStore(first_revision) as store:
        report = erase_person(store, first_revision.parent, "telegram:7")
        assert report.messages == 1
        assert [recorded.event.text for recorded in store.read("conversation/telegram:42")] == ["", "I am Ben"]
        assert store.verify() == SearchIndex(store).verify() == []
    assert "Ольга".encode() not in first_revision.read_bytes()


def test_developers_can_upgrade_the_first_revision(tmp_path, first_revision, declared):
    """`alembic upgrade head` does what opening does."""
    shutil.rmtree(tmp_path / "migrations")
    alembic(tmp_path, f"sqlite:///{first_revision}", "upgrade", "head")
    assert schema(first_revision) == schema(declared)
