"""The schema, declared once, and every statement that runs once an event, compiled once.

The migrations under `migrations/` create the same schema step by step; a test holds the two equal.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    DDL,
    Column,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    cast,
    delete,
    event,
    func,
    insert,
    literal_column,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.sql import ClauseElement

from trainerlib.store.rows import Statements

SCHEMA_REVISION = "0003"
"""The alembic revision this code reads and writes."""

APPLICATION_ID = 0x54524E31
"""`PRAGMA application_id` of a trainerlib database ("TRN1"): tells it from any other SQLite file."""

metadata = MetaData()

log = Table(
    "log",
    metadata,
    Column("id", Text, primary_key=True),
    Column("created_at", Integer, nullable=False),
)

streams = Table(
    "streams",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)

events = Table(
    "events",
    metadata,
    Column("position", Integer, primary_key=True),
    Column("stream_id", Integer, nullable=False),
    Column("version", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("schema_version", Integer, nullable=False),
    Column("recorded_at", Integer, nullable=False),
    Column("key", Text),
    Column("data", Text, nullable=False),
    UniqueConstraint("stream_id", "version", name="events_stream_version"),
)
Index("events_key", events.c.key, unique=True, sqlite_where=events.c.key.is_not(None))

checkpoints = Table(
    "checkpoints",
    metadata,
    Column("projection", Text, primary_key=True),
    Column("position", Integer, nullable=False),
)

erasing = Table(
    "erasing",
    metadata,
    Column("person", Text, primary_key=True),
)
"""Holds a row while a transaction erases a person, and only inside that transaction: what opens the trigger below."""


def conversations_table(name: str, into: MetaData, *, temporary: bool = False) -> Table:
    """The conversations projection under a name, so that a rebuild can grow beside the live one."""
    return Table(
        name,
        into,
        Column("stream_id", Integer, primary_key=True),
        Column("platform", Text, nullable=False),
        Column("title", Text, nullable=False),
        Column("started_at", Integer, nullable=False),
        Column("last_at", Integer, nullable=False),
        Column("messages", Integer, nullable=False),
        Column("replies", Integer, nullable=False),
        Column("corrections", Integer, nullable=False),
        Column("up", Integer, nullable=False),
        Column("down", Integer, nullable=False),
        Column("cyrillic", Integer, nullable=False),
        Column("latin", Integer, nullable=False),
        prefixes=["TEMPORARY"] if temporary else [],
    )


conversations = conversations_table("conversations", metadata)

answers = Table(
    "answers",
    metadata,
    Column("message", Integer, primary_key=True),
    Column("stream_id", Integer, nullable=False),
    Column("asked", Integer, nullable=False),
    Column("correction", Integer, nullable=False),
    Column("terms", Text, nullable=False),
    Column("question", Text, nullable=False),
    Column("answer", Text, nullable=False),
    Column("author", Text, nullable=False),
)
"""Each reply that was corrected or approved, by its position: `asked` is the same for questions that ask the same."""
Index("answers_asked", answers.c.asked, answers.c.correction)
Index("answers_stream", answers.c.stream_id)

answer_entries = Table(
    "answer_entries",
    metadata,
    Column("corrected", Integer, primary_key=True),
    Column("term", Text, primary_key=True),
    Column("length", Integer, primary_key=True),
    Column("asked", Integer, primary_key=True),
    sqlite_with_rowid=False,
)
"""The terms of each question, once however often it was asked; those of short questions come first."""

answer_terms = Table(
    "answer_terms",
    metadata,
    Column("term", Text, primary_key=True),
    Column("corrected", Integer, primary_key=True),
    Column("questions", Integer, nullable=False),
    sqlite_with_rowid=False,
)
"""How many questions have a term; the empty one is in every question."""

TRIGGERS = (
    """CREATE TRIGGER events_no_delete BEFORE DELETE ON events
       BEGIN SELECT RAISE(ABORT, 'events are never deleted'); END""",
    """CREATE TRIGGER events_no_update BEFORE UPDATE ON events
       WHEN NOT EXISTS (SELECT 1 FROM erasing) OR NEW.position <> OLD.position OR NEW.stream_id <> OLD.stream_id
         OR NEW.version <> OLD.version OR NEW.type <> OLD.type OR NEW.recorded_at <> OLD.recorded_at
         OR NEW.key IS NOT OLD.key
       BEGIN SELECT RAISE(ABORT, 'events are never changed'); END""",
)
SEARCH_TABLE = "CREATE VIRTUAL TABLE search_index USING fts5(words, tokenize = 'unicode61 remove_diacritics 0')"

for _statement in (*TRIGGERS, SEARCH_TABLE):
    event.listen(metadata, "after_create", DDL(_statement))  # type: ignore[no-untyped-call] # SQLAlchemy's own


def _sql(statement: ClauseElement) -> str:
    """The statement as SQLite's driver takes it, with `?` in the order of the bind parameters."""
    return str(statement.compile(dialect=sqlite.dialect(paramstyle="qmark")))


def _page(statement: ClauseElement) -> str:
    """The statement with a row limit as its last parameter; SQLAlchemy would bind a constant OFFSET as well."""
    return f"{_sql(statement)} LIMIT ?"


def _parameters(*names: str) -> dict[str, Any]:
    return {name: bindparam(name) for name in names}


_EVENT_COLUMNS = (
    events.c.position,
    events.c.stream_id,
    events.c.version,
    events.c.type,
    events.c.schema_version,
    events.c.recorded_at,
    events.c.key,
    cast(events.c.data, LargeBinary),
)
_NEW_EVENT = {
    **_parameters("position", "stream_id", "version", "type", "schema_version", "recorded_at", "key"),
    "data": cast(bindparam("data", type_=LargeBinary), Text),
}

INSERT_EVENT = _sql(insert(events).values(_NEW_EVENT))
SELECT_HEAD = _sql(select(func.coalesce(func.max(events.c.position), literal_column("0"))))
SELECT_STREAM_HEAD = _sql(
    select(func.coalesce(func.max(events.c.version), literal_column("0"))).where(
        events.c.stream_id == bindparam("stream_id")
    )
)
_ASKED = func.json_each(bindparam("stream_ids")).table_valued("value", name="asked")
# One seek to the end of each stream; GROUP BY would read them whole.
SELECT_STREAM_HEADS = _sql(
    select(
        _ASKED.c.value,
        select(func.coalesce(func.max(events.c.version), literal_column("0")))
        .where(events.c.stream_id == _ASKED.c.value)
        .scalar_subquery(),
    )
)
SELECT_STREAM_ID = _sql(select(streams.c.id).where(streams.c.name == bindparam("name")))
SELECT_STREAM_IDS = _sql(
    select(streams.c.name, streams.c.id).where(streams.c.name.in_(text("SELECT value FROM json_each(?)")))
)
SELECT_LAST_STREAM_ID = _sql(select(func.coalesce(func.max(streams.c.id), literal_column("0"))))
INSERT_STREAM = _sql(insert(streams).values(_parameters("id", "name")))
SELECT_BY_KEY = _sql(select(*_EVENT_COLUMNS).where(events.c.key == bindparam("key")))
SELECT_BY_POSITION = _sql(select(*_EVENT_COLUMNS).where(events.c.position == bindparam("position")))
SELECT_BY_KEYS = _sql(select(*_EVENT_COLUMNS).where(events.c.key.in_(text("SELECT value FROM json_each(?)"))))
SELECT_KEYS_PAGE = _page(
    select(events.c.key)
    .where(events.c.key > bindparam("after"), events.c.key < bindparam("before"))
    .order_by(events.c.key)
)
SELECT_LOG_PAGE = _page(
    select(*_EVENT_COLUMNS)
    .where(events.c.position > bindparam("after"), events.c.position <= bindparam("until"))
    .order_by(events.c.position)
)
SELECT_STREAM_PAGE = _page(
    select(*_EVENT_COLUMNS)
    .where(events.c.stream_id == bindparam("stream_id"), events.c.version > bindparam("after"))
    .order_by(events.c.version)
)
SELECT_STREAM_NAMES = _sql(
    select(streams.c.id, streams.c.name).where(streams.c.id.in_(text("SELECT value FROM json_each(?)")))
)
SELECT_STREAM_NAMES_BETWEEN = _sql(
    select(streams.c.id, streams.c.name).where(streams.c.id.between(bindparam("first"), bindparam("last")))
)
SELECT_STREAMS_NAMED = _sql(
    select(streams.c.id, streams.c.name)
    .where(streams.c.name >= bindparam("first"), streams.c.name < bindparam("before"))
    .order_by(streams.c.id)
)
SELECT_EVENTS_BY_STREAM = _page(
    select(*_EVENT_COLUMNS)
    .where(
        tuple_(events.c.stream_id, events.c.version) > tuple_(bindparam("stream_id"), bindparam("version")),
        events.c.stream_id <= bindparam("last"),
        events.c.position <= bindparam("until"),
    )
    .order_by(events.c.stream_id, events.c.version)
)
_NAMED = select(streams.c.id).where(streams.c.name >= bindparam("first"), streams.c.name < bindparam("before"))
SELECT_EVENTS_NAMED = _page(
    select(*_EVENT_COLUMNS)
    .where(
        events.c.stream_id.in_(_NAMED),
        tuple_(events.c.stream_id, events.c.version) > tuple_(bindparam("stream_id"), bindparam("version")),
        events.c.position <= bindparam("until"),
    )
    .order_by(events.c.stream_id, events.c.version)
)
# The text comparison passes over nearly every row before any JSON is read.
SELECT_CONVERSATIONS_OF = _sql(
    select(streams.c.name)
    .join_from(events, streams, streams.c.id == events.c.stream_id)
    .where(
        events.c.type == literal_column("'message.recorded'"),
        func.instr(events.c.data, bindparam("quoted")),
        func.json_extract(events.c.data, literal_column("'$.author'")) == bindparam("author"),
    )
    .group_by(streams.c.id)
    .order_by(streams.c.id)
)
READING = Statements(SELECT_EVENTS_BY_STREAM, SELECT_STREAM_NAMES, SELECT_STREAM_NAMES_BETWEEN)
SELECT_TYPES_BACKWARDS = _page(
    select(events.c.position, events.c.type)
    .where(events.c.position < bindparam("before"))
    .order_by(events.c.position.desc())
)
SELECT_CHECKPOINT = _sql(select(checkpoints.c.position).where(checkpoints.c.projection == bindparam("projection")))
SELECT_FURTHEST_CHECKPOINT = _sql(select(func.coalesce(func.max(checkpoints.c.position), literal_column("0"))))
SAVE_CHECKPOINT = _sql(
    upsert(checkpoints)
    .values(_parameters("projection", "position"))
    .on_conflict_do_update(index_elements=["projection"], set_={"position": upsert(checkpoints).excluded.position})
)
OPEN_ERASING = _sql(insert(erasing).values(_parameters("person")))
CLOSE_ERASING = _sql(delete(erasing))
REWRITE_EVENT = _sql(
    update(events)
    .values(schema_version=bindparam("schema_version"), data=cast(bindparam("data", type_=LargeBinary), Text))
    .where(events.c.position == bindparam("at"))
)
RENAME_STREAM = _sql(update(streams).values(name=bindparam("new")).where(streams.c.id == bindparam("stream_id")))
SELECT_LOG_ID = _sql(select(log.c.id))
INSERT_LOG = _sql(insert(log).values(_parameters("id", "created_at")))


def upsert_conversation(table: Table) -> str:
    """Adds one row of differences to a conversation's row, or makes the row."""
    new = upsert(table)
    excluded = new.excluded
    sums = ("messages", "replies", "corrections", "up", "down", "cyrillic", "latin")
    return _sql(
        new.values(_parameters(*(column.name for column in table.columns))).on_conflict_do_update(
            index_elements=["stream_id"],
            set_={
                "started_at": func.min(table.c.started_at, excluded.started_at),
                **{
                    name: func.coalesce(func.nullif(excluded[name], literal_column("''")), table.c[name])
                    for name in ("platform", "title")
                },
                "last_at": func.max(table.c.last_at, excluded.last_at),
                **{name: table.c[name] + excluded[name] for name in sums},
            },
        )
    )
