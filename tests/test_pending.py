"""The work queue: what waits for a reply, and which replies wait to be delivered."""

from __future__ import annotations

import asyncio
import tempfile
from contextlib import suppress
from pathlib import Path

import hypothesis
import pytest
from answering import CHAT, Echo, Failing, ask, events, using, whole
from hypothesis import given
from hypothesis import strategies as st

import trainerlib
from trainerlib.errors import InvalidEventError, ModelUnavailableError, NotFoundError
from trainerlib.events import ConversationStarted, MessageRecorded, ReplyDelivered, ReplyFailed


@pytest.fixture
def ws(tmp_path):
    with trainerlib.open(tmp_path / "shop") as workspace:
        yield workspace


@pytest.fixture
def chat(ws):
    return ws.conversation(CHAT)


def test_a_delivery_is_recorded_once(ws, chat):
    using(ws, Echo())
    reply = ask(ws, chat)
    assert reply.delivered is None
    ws.deliver(reply.id, ["9001", "9002"])
    ws.deliver(reply.id, ["9001", "9002"])
    ws.deliver(reply.id)
    assert events(ws, ReplyDelivered) == [ReplyDelivered(reply.number, ("9001", "9002"))]
    assert ws.message(reply.id).delivered == ("9001", "9002")
    assert not ws.undelivered()


def test_only_replies_are_delivered(ws, chat):
    question = chat.record("user", "Hi")
    answer = chat.record("assistant", "Hello!")
    with pytest.raises(InvalidEventError, match="is not a reply but a user message"):
        ws.deliver(question.id)
    with pytest.raises(NotFoundError):
        ws.deliver(99)
    ws.deliver(answer.id, ["1"])
    assert not events(ws, ReplyDelivered)


def test_a_failed_delivery_waits_with_its_reason(ws, chat):
    using(ws, Echo())
    reply = ask(ws, chat)
    ws.fail(reply.id, "бот заблокирован")
    ws.fail(reply.id, "бот заблокирован")
    [pending] = ws.undelivered()
    assert (pending.message.id, pending.error) == (reply.id, "бот заблокирован")
    assert len(events(ws, ReplyFailed)) == 1


def test_what_waits_for_a_reply(ws, chat):
    """Not what was answered, taken down, imported, or seen by a later answer."""
    using(ws, Failing(ModelUnavailableError("down")))
    with suppress(ModelUnavailableError):
        ask(ws, chat, "first")
    waiting = ws.conversation("discord:1").record("user", "еще один вопрос")
    ws.delete(ws.conversation("telegram:3").record("user", "oops").id)
    answered = ws.conversation("telegram:4")
    answered.record("user", "a")
    answered.record("user", "b")
    answered.record("assistant", "to both")
    events_ = [ConversationStarted("telegram", source="9f2c"), MessageRecorded("user", "from an export")]
    ws.store.append("conversation/import:1", events_)
    assert [(one.conversation, one.message.text, one.error) for one in ws.unanswered()] == [
        ("telegram:42", "first", "down"),
        ("discord:1", waiting.text, ""),
    ]
    assert [one.conversation for one in ws.unanswered(platform="discord")] == ["discord:1"]
    ask(ws, chat, "second")
    assert [one.conversation for one in ws.unanswered()] == ["discord:1"]
    assert [one.message.text for one in ws.undelivered()] == ["yes"]
    assert not ws.undelivered(platform="discord")


@hypothesis.settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(st.sampled_from(["ask", "answer first", "answer last", "deliver"]), st.integers(0, 1))))
def test_the_queue_is_what_a_history_leaves_open(actions):
    """A question waits until it, or one after it, is answered; a reply waits until it is delivered."""
    waiting, pending = {0: [], 1: []}, {0: [], 1: []}
    with tempfile.TemporaryDirectory() as place, trainerlib.open(Path(place, "shop")) as ws:
        using(ws, Echo())
        for number, (act, of) in enumerate(actions):
            chat = ws.conversation(f"telegram:{of}")
            if act == "ask":
                waiting[of].append(chat.record("user", f"вопрос {number}").id)
            elif act == "deliver" and pending[of]:
                ws.deliver(pending[of].pop(0))
            elif act.startswith("answer") and waiting[of]:
                index = 0 if act == "answer first" else len(waiting[of]) - 1
                pending[of].append(asyncio.run(whole(ws, chat, waiting[of][index])).id)
                del waiting[of][: index + 1]
        assert [one.message.id for one in ws.unanswered()] == sorted(waiting[0] + waiting[1])
        assert [one.message.id for one in ws.undelivered()] == sorted(pending[0] + pending[1])


def test_an_edited_question_waits_as_it_stands(ws, chat):
    question = chat.record("user", "Hi")
    ws.edit(question.id, "Hello?")
    assert [one.message.text for one in ws.unanswered()] == ["Hello?"]
