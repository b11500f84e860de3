"""Requests reach Telegram as fast as it takes them, again when that does no harm, and without a trace of the token."""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from aiogram import Bot
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramBadRequest, TelegramRetryAfter, TelegramServerError
from telegram_server import ANN, Fault, TelegramServer

from bots.telegram.session import session
from bots.telegram.transport import UNLIMITED, Limits, Pace, Transport, UnknownOutcomeError, hurried, safe

TOKEN = "7000000001:AAF-abcdefghijklmnopqrstuvwxyz012345"


@pytest.fixture
def server():
    with TelegramServer(token=TOKEN) as telegram:
        yield telegram


@asynccontextmanager
async def client(server, *, limits=UNLIMITED):
    slept = []

    async def sleep(seconds):
        slept.append(seconds)
        await asyncio.sleep(0)

    bot = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
    bot.session.middleware(Transport(limits, clock=lambda: time.monotonic() + sum(slept), sleep=sleep))
    try:
        yield bot, slept
    finally:
        await bot.session.close()


def run(server, work, **options):
    async def go():
        async with client(server, **options) as (bot, slept):
            return await work(bot), slept

    return asyncio.run(go())


@pytest.mark.parametrize("fault", [Fault(status=502, times=3), Fault(drop=True, times=3)], ids=["5xx", "lost"])
def test_what_may_be_repeated_is(server, fault):
    message = server.say("Hello")
    server.fail("getMe|setMessageReaction", fault)
    me, slept = run(server, lambda bot: bot.get_me())
    assert me.id == 7000000001
    assert slept == [0.5, 1, 2]
    server.fail("setMessageReaction", fault)
    run(server, lambda bot: bot.set_message_reaction(ANN, message))


def test_a_message_is_not_repeated_when_telegram_may_have_it(server):
    server.say("Hello")
    server.fail("sendMessage", Fault(drop=True, after_acceptance=True))
    with pytest.raises(UnknownOutcomeError, match="may have taken a message or not: TelegramNetworkError"):
        run(server, lambda bot: bot.send_message(ANN, "Yes."))
    assert server.texts() == ["Yes."]


def test_how_long_telegram_says_to_wait_is_waited(server):
    server.say("Hello")
    server.fail("sendMessage", Fault(status=429, retry_after=7))
    _, slept = run(server, lambda bot: bot.send_message(ANN, "Yes."))
    assert server.texts() == ["Yes."]
    assert slept == [pytest.approx(7, abs=0.5)]


def test_a_refusal_is_not_repeated(server):
    with pytest.raises(TelegramBadRequest, match="query is too old"):
        run(server, lambda bot: bot.answer_callback_query("1"))
    assert len(server.calls("answerCallbackQuery")) == 1


@pytest.mark.parametrize(
    ("fault", "error"),
    [(Fault(status=429, retry_after=7), TelegramRetryAfter), (Fault(status=500), TelegramServerError)],
)
def test_what_can_be_done_without_is_tried_once(server, fault, error):
    server.say("Hello")
    server.fail("sendMessageDraft", fault)

    async def draft(bot):
        with hurried():
            await bot.send_message_draft(ANN, 12, text="Ye")

    with pytest.raises(error):
        run(server, draft)
    assert len(server.calls("sendMessageDraft")) == 1


LIMITS = st.builds(
    Limits,
    burst=st.integers(1, 5),
    every=st.sampled_from([0.0, 0.5, 1.0]),
    group=st.integers(1, 30),
    total=st.integers(1, 40),
)


@given(LIMITS, st.lists(st.tuples(st.sampled_from([1, 2, -3, -4]), st.floats(0, 3)), max_size=80))
def test_no_limit_is_ever_passed(limits, asked):
    now, sent = 0.0, []
    pace = Pace(limits, clock=lambda: now)
    for chat, pause in asked:
        now += pause
        while wait := pace.take(chat):
            now += wait
        sent.append((chat, now))
    for number, (chat, at) in enumerate(sent):
        later = sent[number:]
        assert sum(other < at + 1 - 1e-6 for _, other in later) <= limits.total
        own = [other for where, other in later if where == chat]
        if chat < 0:
            assert sum(other < at + 60 - 1e-6 for other in own) <= limits.group
        if limits.every:
            assert all(
                other >= at + (place + 1 - limits.burst) * limits.every - 1e-6 for place, other in enumerate(own)
            )


def test_a_chat_that_has_been_quiet_is_forgotten():
    now = 0.0
    pace = Pace(clock=lambda: now)
    for chat in range(10_000):
        now += 0.1
        assert pace.take(chat) == 0
    assert len(pace._chats) < 5_000


@pytest.mark.parametrize("said", ["bot{}/getMe", "{}", "%22{}%22", "a {} b {}"])
def test_no_token_is_left_in_an_error(said):
    secret = TOKEN.partition(":")[2]
    for token in (TOKEN, ""):
        for written in (TOKEN, TOKEN.replace(":", "%3A")):
            assert secret not in safe(ValueError(said.format(written, written)), token)
    assert safe(TimeoutError(), TOKEN) == "TimeoutError"
    assert safe(ValueError("two\nlines")) == "ValueError: two lines"
