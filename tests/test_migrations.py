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

from trainerlib.events import MessageRecorded
from trainerlib.store import tables
from trainerlib.store.database import migrations_directory
from trainerlib.store.eventstore import EventStore

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
