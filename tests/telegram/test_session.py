"""Requests go to the Bot API as JSON, and what has a file as a form."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from aiogram import Bot
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import ClientDecodeError, TelegramBadRequest
from aiogram.methods import SendDocument, SendMessage
from aiogram.types import BufferedInputFile, ForceReply, LinkPreviewOptions, MessageEntity
from telegram_http import Fault
from telegram_server import ANN

from bots.telegram.session import get_updates, send_message, session


@pytest.fixture
def ask(server):
    def asked(method):
        async def go():
            async with Bot(server.token, session=session(TelegramAPIServer.from_base(server.url))) as bot:
                return await bot(method)

        return asyncio.run(go())

    return asked


def test_what_is_not_said_is_not_sent_at_any_depth(server, ask):
    server.say("Hi")
    ask(
        SendMessage(
            chat_id=ANN,
            text="Тюльпаны 🌷",
            entities=[MessageEntity(type="bold", offset=0, length=8)],
            link_preview_options=LinkPreviewOptions(is_disabled=True),
            reply_markup=ForceReply(selective=True),
        )
    )
    assert server.calls("sendMessage")[-1].params == {
        "chat_id": ANN,
        "text": "Тюльпаны 🌷",
        "entities": [{"type": "bold", "offset": 0, "length": 8}],
        "link_preview_options": {"is_disabled": True},
        "reply_markup": {"force_reply": True, "selective": True},
    }


def test_a_file_arrives(server, ask):
    server.say("Hi")
    ask(SendDocument(chat_id=ANN, document=BufferedInputFile("слова".encode(), "a.txt")))
    [file] = server.calls("sendDocument")[-1].files.values()
    assert (file.name, file.data) == ("a.txt", "слова".encode())


def test_of_a_message_that_was_sent_its_id_is_read(server, ask):
    server.say("Hi")
    assert ask(send_message()(chat_id=ANN, text="Hello")).message_id == server.answers()[-1]["message_id"]


def test_updates_are_as_telegram_writes_them(server, ask):
    server.say("Hi")
    server.raw({"something_new": {"words": ["any"]}})
    said, new = ask(get_updates()(timeout=0))
    assert said["message"]["text"] == "Hi"
    assert new["something_new"] == {"words": ["any"]}


def test_a_refusal_is_told_by_aiogram(server, ask):
    server.say("Hi")
    server.fail("sendMessage", Fault(400, "Bad Request: message is too long"))
    with pytest.raises(TelegramBadRequest, match="too long"):
        ask(send_message()(chat_id=ANN, text="Hello"))


@pytest.mark.parametrize("answer", ["<html>", "[]", '{"ok":true,"result":"yes"}'])
def test_an_answer_that_is_none_is_told_by_aiogram(server, answer):
    bot = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
    with pytest.raises(ClientDecodeError):
        bot.session.check_response(bot, send_message()(chat_id=ANN, text="Hi"), 200, answer)
