"""The conversations projection: what is kept while appending is what the log says."""

from __future__ import annotations

import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from event_histories import events
from hypothesis import given, settings
from hypothesis import strategies as st

import trainerlib
from trainerlib.conversations import fold
from trainerlib.events import ConversationStarted, Corrected, FeedbackGiven, MessageRecorded, ReplyGenerated
from trainerlib.store.eventstore import Append, EventStore

CHATS = ("telegram:1", "discord:2", "плёнка")
START = datetime(2026, 3, 1, 8, 0, tzinfo=UTC)

texts = st.sampled_from(["When are you open?", "Когда вы открыты?", "Ещё розы? Roses, too!", "9–18", "🌷"])
people = st.sampled_from(["telegram:7", "anna", "борис"])
chats = st.sampled_from(CHATS)
any_of_them = st.integers(0, 1_000)
steps = st.one_of(
    st.tuples(
        st.just("record"),
        chats,
        st.sampled_from(["user", "assistant", "system", "tool"]),
        texts,
        st.none() | st.integers(-500, 500),
    ),
    st.tuples(st.just("bulk"), st.lists(st.tuples(chats, texts, people), min_size=1, max_size=5)),
    st.tuples(st.just("correct"), any_of_them, texts, people),
    st.tuples(st.just("rate"), any_of_them, people, st.integers(-5, 5)),
    st.tuples(st.just("withdraw correction"), any_of_them),
    st.tuples(st.just("withdraw feedback"), any_of_them),
    st.tuples(st.just("edit"), any_of_them, texts),
    st.tuples(st.just("delete"), any_of_them),
    st.tuples(st.just("tag"), chats, st.sampled_from("abc")),
)


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """An empty workspace to copy: much quicker than to make one for every history."""
    path = tmp_path_factory.mktemp("template") / "workspace"
    path.mkdir()
    (path / "workspace.toml").write_text('[database]\nsynchronous = "NORMAL"\n', encoding="utf-8")
    trainerlib.open(path).close()
    return path


def act(ws, history):
    """Let people do what the history says; a step that has nothing to be about is left out."""
    for step, *details in history:
        messages = [message for chat in CHATS for message in ws.conversation(chat).messages]
        replies = [message for message in messages if message.role == "assistant"]
        corrections = [item for message in replies for item in message.corrections]
        feedback = [item for message in replies for item in message.feedback]
        match step, details:
            case "record", [chat, role, text, minutes]:
                sent_at = None if minutes is None else START + timedelta(minutes=minutes)
                ws.conversation(chat, title=f"о {chat}").record(role, text, sent_at=sent_at)
            case "bulk", [conversations]:
                ws.store.append_batch(bulk(ws, conversations))
            case "correct", [number, text, by] if replies:
                ws.correct(replies[number % len(replies)].id, text, by=by)
            case "rate", [number, by, rating] if replies:
                ws.give_feedback(replies[number % len(replies)].id, by=by, rating=rating)
            case "withdraw correction", [number] if corrections:
                ws.withdraw_correction(corrections[number % len(corrections)].id)
            case "withdraw feedback", [number] if feedback:
                ws.withdraw_feedback(feedback[number % len(feedback)].id)
            case "edit", [number, text] if messages:
                ws.edit(messages[number % len(messages)].id, text)
            case "delete", [number] if messages:
                ws.delete(messages[number % len(messages)].id)
            case "tag", [chat, tag]:
                ws.conversation(chat).tag(tag)


def bulk(ws, conversations):
    """What an import would append: a question, its answer, a correction and a rating each, in one transaction."""
    appends, versions = [], {}
    for chat, text, by in conversations:
        stream = f"conversation/{chat}"
        version = versions.get(stream, ws.store.version(stream))
        events = [] if version else [ConversationStarted("imported", chat)]
        number = version + len(events) + 2
        events += [
            MessageRecorded("user", text, by),
            ReplyGenerated(text[::-1], number - 1),
            Corrected(number, text, by),
            FeedbackGiven(number, by, len(text) % 3 - 1),
        ]
        appends.append(Append(stream, events, expected_version=version))
        versions[stream] = version + len(events)
    return appends


def rows(ws):
    return ws.store.database.query("SELECT * FROM conversations ORDER BY stream_id")


@settings(deadline=None, max_examples=100)
@given(history=st.lists(steps, max_size=25))
def test_a_rebuilt_projection_is_the_live_one(template, history):
    """Whatever people do, deriving the projection from nothing gives the very rows that were kept while appending."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(shutil.copytree(template, Path(directory, "workspace")))
        with trainerlib.open(path) as ws:
            act(ws, history)
            live = rows(ws)
            assert ws.verify() == []
            assert ws.rebuild() == ws.store.position
            assert rows(ws) == live
            assert ws.verify() == []
            for summary in ws.conversations():
                standing = fold(ws.store.read(f"conversation/{summary.id}"))
                said = [message for message in standing.messages if not message.deleted and message.role != "system"]
                assert summary.messages == len(said)
                assert summary.replies == sum(message.role == "assistant" for message in said)


def test_a_rebuilt_schema_is_the_created_one(tmp_path):
    """A rebuild puts a table of the same shape in the place of the old one."""
    shape = "SELECT name, type, \"notnull\", pk FROM pragma_table_info('conversations')"
    with trainerlib.open(tmp_path / "workspace") as ws:
        before = ws.store.database.query(shape)
        ws.rebuild()
        ws.rebuild()
        assert ws.store.database.query(shape) == before


def test_a_summary_counts_what_stands(tmp_path):
    """A conversation's summary counts its messages, replies, corrections and ratings, and what was taken back not."""
    with trainerlib.open(tmp_path / "workspace") as ws:
        chat = ws.conversation("telegram:42", title="Цветы")
        question = chat.record("user", "Когда вы открыты?", sent_at=START)
        answer = chat.record("assistant", "В 10.", in_reply_to=question, sent_at=START + timedelta(minutes=1))
        late = chat.record("user", "спасибо", sent_at=START + timedelta(minutes=2))
        ws.correct(answer.id, "С 9 до 18.", by="anna")
        ws.withdraw_correction(ws.correct(answer.id, "С 8.", by="boris").id)
        ws.give_feedback(answer.id, by="telegram:7", rating=-1)
        ws.withdraw_feedback(ws.give_feedback(answer.id, by="telegram:8", rating=2).id)
        ws.delete(late.id)
        [summary] = ws.conversations()

    assert (summary.id, summary.platform, summary.title, summary.language) == ("telegram:42", "telegram", "Цветы", "ru")
    assert (summary.messages, summary.replies, summary.corrections, summary.up, summary.down) == (2, 1, 1, 0, 1)
    assert (summary.started_at, summary.last_at) == (START, START + timedelta(minutes=2))


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """The file of an empty log, to copy."""
    path = tmp_path_factory.mktemp("empty") / "log.db"
    EventStore(path).close()
    return path


@settings(deadline=None, max_examples=80)
@given(
    history=st.lists(
        st.tuples(chats, st.lists(events, min_size=1, max_size=6), st.integers(1, 10**7)), min_size=1, max_size=8
    )
)
def test_any_log_rebuilds_to_the_live_projection(empty, history):
    """However events follow each other, in whatever portions, and even with a clock that goes back: rebuilt is live."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(shutil.copy(empty, directory))
        with EventStore(path, synchronous="OFF", clock=lambda: now * 10**9) as store:
            for chat, portion, now in history:  # noqa: B007 - the clock shows it
                store.append(f"conversation/{chat}", portion)
            live = store.database.query("SELECT * FROM conversations ORDER BY stream_id")
            assert store.verify() == []
            store.rebuild()
            assert store.database.query("SELECT * FROM conversations ORDER BY stream_id") == live
