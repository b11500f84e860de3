"""Erasing in the store: the one way an event changes, what every process knows of it, and what is left in the file."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest
from event_histories import events
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from trainerlib.blanking import pseudonym
from trainerlib.errors import BusyError, KeyConflictError, StoreError
from trainerlib.events import (
    ConsentGiven,
    Corrected,
    FeedbackWithdrawn,
    MessageEdited,
    MessageRecorded,
    PersonErased,
    ReplyGenerated,
)
from trainerlib.store.erasing import ErasedPeople, erasing, erasures, last_erasure, people, scrub, scrubbed
from trainerlib.store.eventstore import EventStore
from trainerlib.store.search import SearchIndex

OLGA, BEN = "telegram:7", "telegram:8"
CHAT = "conversation/a"


def said(text, author=OLGA, role="user"):
    return MessageRecorded(role, text, author)


def erase(store, person=OLGA):
    """Blank a person and record that they are erased; what was found."""
    with erasing(store, person) as erasure:
        erasure.record(PersonErased(erasure.name))
    return erasure.found


def rows(path):
    """Every row of the log as it lies in the file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT * FROM events ORDER BY position").fetchall()


# --- the file refuses -------------------------------------------------------------------------------------------------

PLACES = ["position = 9", "stream_id = 2", "version = 9", "type = 'x'", "recorded_at = 1", "key = 'k'", "key = NULL"]


@pytest.mark.parametrize("change", ["data = '{}'", "schema_version = 2", *PLACES])
def test_no_event_changes_outside_an_erasure(store, path, change):
    """Plain SQL cannot change anything of an event, also after somebody was erased."""
    store.append(CHAT, [said("a"), said("b", BEN)], keys=["k:1", "k:2"])
    erase(store)
    before = rows(path)
    with closing(sqlite3.connect(path)) as connection:
        for statement in (f"UPDATE events SET {change}", f"UPDATE OR REPLACE events SET {change} WHERE position = 2"):
            with pytest.raises(sqlite3.IntegrityError, match="never changed"):
                connection.execute(statement)
        with pytest.raises(sqlite3.IntegrityError, match="never deleted"):
            connection.execute("DELETE FROM events")
    assert rows(path) == before


@pytest.mark.parametrize("change", PLACES)
def test_an_erasure_moves_no_event(store, change):
    """Even with the lock open, only what an event says can change, never its place, kind, time or key."""
    store.append(CHAT, [said("a"), said("b", BEN)], keys=["k:1", "k:2"])
    with pytest.raises(StoreError, match="never changed"), store.rewriting("x") as (connection, _):
        connection.execute(f"UPDATE events SET {change} WHERE position = 1")


def test_the_lock_is_closed_again(store, path):
    """After an erasure, finished or failed, the table that opens the lock is empty."""
    store.append(CHAT, [said("a")])
    with pytest.raises(ZeroDivisionError), erasing(store, OLGA):
        raise ZeroDivisionError
    assert [recorded.event.text for recorded in store.read(CHAT)] == ["a"]
    erase(store)
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT count(*) FROM erasing").fetchone() == (0,)
    assert store.verify() == []


def test_a_lock_that_was_left_open_is_reported(store, path):
    """Somebody's own SQL that leaves a row behind is found by `verify`."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("INSERT INTO erasing VALUES ('x')")
    assert store.verify() == ["erasing: a row was left behind, so events can be changed"]


# --- what is changed, and what is not ---------------------------------------------------------------------------------


def test_places_and_everybody_else_stay(store, path):
    """Positions, streams, versions, kinds, times and keys are as before, and so is every byte of other people."""
    store.append(CHAT, [said("Я Ольга"), said("Здравствуйте, Ольга", "bot", "assistant")], keys=["k:1", "k:2"])
    store.append("conversation/b", [said("hello", BEN), said("hi", "bot", "assistant")], keys=["k:3", None])
    before = rows(path)
    erase(store)
    after = rows(path)[: len(before)]
    assert [row[:-1] for row in after] == [row[:-1] for row in before]
    assert after[2:] == before[2:]
    assert [recorded.event.text for recorded in store.read(CHAT)] == ["", ""]


def test_what_is_left_of_a_message_says_so(store):
    """Its role, the name in place of its author, and the mark."""
    store.append(CHAT, [said("a")])
    erase(store)
    assert store.at(1).event == MessageRecorded("user", "", pseudonym(store.log_id, OLGA), erased=True)


def test_nothing_found_is_said_and_changes_nothing(store, path):
    """Somebody unknown, or with an id that others' ids begin with."""
    store.append(CHAT, [said("a", "telegram:70"), said("b", "x telegram:7 x")])
    before = rows(path)
    with erasing(store, OLGA) as erasure:
        assert erasure.found.anything is False
    assert rows(path) == before


def test_their_stream_is_renamed(store):
    """What they said about consent is theirs no more, and their name is free for somebody who comes back."""
    store.append("person/telegram:7", [ConsentGiven("1", "Я, Ольга")], keys=["c:1"])
    erase(store)
    name = pseudonym(store.log_id, OLGA)
    assert store.streams("person/") == [f"person/{name}"]
    assert [recorded.event for recorded in store.read(f"person/{name}")] == [ConsentGiven("1"), PersonErased(name)]
    store.append("person/telegram:7", [ConsentGiven("2")])
    erase(store)
    assert store.streams("person/") == [f"person/{name}", f"person/{name}/2"]
    assert [recorded.position for recorded in erasures(store)] == [2, 4]
    assert last_erasure(store) == 4


def test_a_reply_that_repeats_them_to_somebody_else_loses_its_words(store):
    """A correction of theirs that was shown to the model, and said again to another customer."""
    store.append(CHAT, [said("?", BEN), said("!", "bot", "assistant"), Corrected(2, "С 9 до 18", OLGA)])
    store.append("conversation/b", [said("Когда?", BEN), ReplyGenerated("С 9 до 18.", 1, context=(3,))])
    store.append("conversation/b", [ReplyGenerated("Не знаю.", 1, context=(3,))])
    found = erase(store)
    assert [getattr(one.event, "text", None) for one in store.read("conversation/b")] == ["Когда?", "", "Не знаю."]
    assert (found.messages, found.words) == (1, {"a": 3, "b": 5})


def test_everybody_who_is_named_is_known(store):
    """Authors, judges, who spoke of consent; the erased are left out."""
    store.append(CHAT, [said("a"), said("b", BEN), Corrected(1, "c", "анна"), FeedbackWithdrawn(3, "борис")])
    store.append("person/discord:9", [ConsentGiven()])
    assert people(store) == {OLGA, BEN, "анна", "борис", "discord:9"}
    erase(store)
    assert people(store) == {BEN, "анна", "борис", "discord:9"}


def test_who_was_erased_is_told_by_id_and_by_name(store):
    """And when; nobody else."""
    store.append(CHAT, [said("a"), said("b", BEN)])
    erase(store)
    erased = ErasedPeople(store)
    name = pseudonym(store.log_id, OLGA)
    assert erased.when(OLGA) == erased.when(name) == erasures(store)[0].recorded_us > 0
    assert (erased.when(BEN), erased.when(""), erased.name(OLGA)) == (0, 0, name)


# --- keys -------------------------------------------------------------------------------------------------------------


def test_a_redelivered_event_that_was_erased_is_the_erased_one(store):
    """The same key brings back what is in the log now, alone, with new events and in its own group."""
    message, reply = said("Я Ольга"), ReplyGenerated("Ольга!", 1)
    store.append(CHAT, [message, reply, MessageEdited(1, "Я Ольга П.")], keys=["k:1", "k:2", "k:3"])
    store.append("person/telegram:7", [ConsentGiven("1", "Я")], keys=["k:4"])
    erase(store)
    position = store.position
    for event, key, number in ((message, "k:1", 1), (reply, "k:2", 2), (MessageEdited(1, "Я Ольга П."), "k:3", 3)):
        [again] = store.append(CHAT, [event], keys=[key])
        assert (again.position, again.event.text) == (number, "")
    assert store.append("person/telegram:7", [ConsentGiven("1", "Я")], keys=["k:4"])[0].position == 4
    assert store.position == position
    both = store.append(CHAT, [message, said("new", BEN)], keys=["k:1", "k:9"])
    assert [(one.position, one.event.text) for one in both] == [(1, ""), (position + 1, "new")]


def test_other_keys_are_as_strict_as_before(store):
    """A key of somebody who was not erased, or of another conversation, is still a conflict."""
    store.append(CHAT, [said("Я Ольга"), said("hello", BEN), MessageEdited(2, "hi")], keys=["k:1", "k:2", "k:3"])
    erase(store)
    for stream, event, key in (
        (CHAT, said("bye", BEN), "k:2"),
        (CHAT, MessageEdited(2, "bye"), "k:3"),
        ("conversation/b", said("Я Ольга"), "k:1"),
    ):
        with pytest.raises(KeyConflictError, match=key):
            store.append(stream, [event], keys=[key])


# --- other processes and threads --------------------------------------------------------------------------------------


@pytest.mark.parametrize("eraser", ["this", "other"])
def test_nobody_remembers_a_name_that_was_erased(store, path, eraser):
    """Whoever erased, a process that knew the person's stream writes and reads it under its new name, or a new one."""
    with EventStore(path) as other:
        store.append("person/telegram:7", [ConsentGiven("1")])
        for one in (store, other):
            list(one.read_all())
            assert one.version("person/telegram:7") == 1
        other.append(CHAT, [said("a"), said("b", BEN)])
        erase(store if eraser == "this" else other)
        name = f"person/{pseudonym(store.log_id, OLGA)}"
        for one in (store, other):
            assert one.version("person/telegram:7") == 0
            assert {recorded.stream for recorded in one.read_all()} == {CHAT, name}
        assert store.append("person/telegram:7", [ConsentGiven("2")], expected_version=0)[0].version == 1
        assert other.append("person/telegram:7", [ConsentGiven("3")])[0].version == 2
        assert [recorded.event.wording for recorded in store.read("person/telegram:7")] == ["2", "3"]
        assert store.verify() == other.verify() == []


def test_writers_go_on_meanwhile(store, path):
    """Appends from other threads and another store while somebody is erased: every one is there, in its place."""
    store.append(CHAT, [said(f"сообщение {number}") for number in range(200)])
    done = threading.Event()
    counts = []

    def write(one, stream):
        number = 0
        while not done.is_set() or number < 5:
            number += 1
            one.append(stream, [said(str(number), BEN)], keys=[f"{stream}:{number}"])
        counts.append(number)

    with EventStore(path) as other:
        writers = [
            threading.Thread(target=write, args=(store, "conversation/b")),
            threading.Thread(target=write, args=(other, "conversation/c")),
        ]
        for writer in writers:
            writer.start()
        erase(store)
        scrub(store)
        done.set()
        for writer in writers:
            writer.join()
        in_log = [[one.event.text for one in store.read(f"conversation/{name}")] for name in "bc"]
        assert in_log == [[str(number) for number in range(1, len(texts) + 1)] for texts in in_log]
        assert sorted(map(len, in_log)) == sorted(counts)
        assert store.verify() == other.verify() == []


# --- what is left in the file -----------------------------------------------------------------------------------------


def test_the_file_forgets_what_it_deleted_long_ago(store, path):
    """Old pages, freed by a rebuild or by the search index before anybody was erased, are gone as well."""
    writer = store.database._writer
    writer.execute("PRAGMA secure_delete = OFF")
    index = SearchIndex(store)
    words = [f"жщслово{number}" for number in range(300)]
    for word in words:
        store.append(CHAT, [said(f"{word} " * 8)])
        index.catch_up()
    for number, word in enumerate(words, 1):
        store.append(CHAT, [MessageEdited(number, f"правка {word}")])
    index.catch_up()
    index.rebuild()
    store.rebuild()
    writer.execute("PRAGMA wal_checkpoint")
    assert "жщслово".encode() in path.read_bytes()

    erase(store)
    assert not scrubbed(store)
    scrub(store)
    assert scrubbed(store)
    for file in path.parent.iterdir():
        content = file.read_bytes()
        assert not any(part in content for part in ("жщслово".encode(), "жщслово".encode("utf-16-le"), b"telegram:7"))
    terms = "CREATE VIRTUAL TABLE temp.terms USING fts5vocab('main', 'search_index', 'row')"
    reader = store.database.reader()
    reader.execute(terms)
    assert reader.execute("SELECT term FROM terms").fetchall() == []
    assert index.verify() == store.verify() == []


def test_a_reader_of_old_pages_is_waited_for_and_named(path):
    """Somebody who reads holds the old pages: the person is erased, an error says what is left, and later it is done."""
    with EventStore(path, busy_timeout=0.05) as store:
        store.append(CHAT, [said("жщслово")])
        with closing(sqlite3.connect(path, isolation_level=None)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM events").fetchone()
            erase(store)
            with pytest.raises(BusyError, match="somebody is reading"):
                scrub(store)
            assert store.at(1).event.text == ""
            assert not scrubbed(store)
        scrub(store)
        assert scrubbed(store)
        assert not any("жщслово".encode() in file.read_bytes() for file in path.parent.iterdir())


OUTGROW = """
import resource, sys
from pathlib import Path
from trainerlib.errors import StoreError
from trainerlib.store.erasing import scrub
from trainerlib.store.eventstore import EventStore

with EventStore(sys.argv[1]) as store:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (Path(sys.argv[1]).stat().st_size // 2, hard))
    try:
        scrub(store)
    except StoreError as error:
        print(type(error).__name__, error)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="limits of POSIX")
def test_without_room_for_a_second_copy_the_rest_waits(path):
    """The person is erased and the log sound; the error says what is missing, and with room it is done."""
    with EventStore(path, synchronous="OFF") as store:
        store.append(CHAT, [said("жщслово"), *[said("роза " * 2_000, BEN)] * 100])
        erase(store)
    ended = subprocess.run([sys.executable, "-c", OUTGROW, path], capture_output=True, check=True, text=True)
    assert "the person is erased, but old pages of the file still hold their words: make room" in ended.stdout
    with EventStore(path) as store:
        assert (store.at(1).event.text, store.verify(), scrubbed(store)) == ("", [], False)
        scrub(store)
        assert scrubbed(store)


def test_scrubbing_again_does_nothing(store, path):
    """Once it was done there is nothing to do until the next erasure."""
    store.append(CHAT, [said("a")])
    scrub(store)
    erase(store)
    scrub(store)
    before = path.stat().st_mtime_ns
    scrub(store)
    assert path.stat().st_mtime_ns == before


# --- projections ------------------------------------------------------------------------------------------------------


@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(st.tuples(st.sampled_from("ab"), events), max_size=20), indexed=st.integers(0, 20))
def test_whatever_was_said_the_projections_are_as_the_log_says(tmp_path_factory, history, indexed):
    """After an erasure the rows and the search index are what a rebuild would give."""
    with EventStore(tmp_path_factory.mktemp("log") / "log.db", synchronous="OFF") as store:
        index = SearchIndex(store)
        for number, (chat, event) in enumerate(history):
            if number == indexed:
                index.catch_up()
            store.append(f"conversation/{chat}", [event])
        erase(store)
        live = store.database.query("SELECT * FROM conversations ORDER BY stream_id")
        assert store.verify() == index.verify() == []
        store.rebuild()
        assert store.database.query("SELECT * FROM conversations ORDER BY stream_id") == live
