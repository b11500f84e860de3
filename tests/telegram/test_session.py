"""Requests go to the Bot API as JSON, and what has a file as a form."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from aiogram import Bot
from aiogram.client.telegram import PRODUCTION
from aiogram.methods import SendDocument, SendMessage
from aiogram.types import BufferedInputFile, ForceReply, LinkPreviewOptions, MessageEntity
from aiohttp import FormData

from bots.telegram.session import send_message, session

TOKEN = "123456:AAF-abcdefghijklmnopqrstuvwxyz012345"


def body(method):
    bot = Bot(TOKEN, session=session(PRODUCTION))
    return bot.session.build_form_data(bot, method)


def fields(method):
    return json.loads(body(method)._value)


def test_what_is_not_said_is_not_sent_at_any_depth():
    method = SendMessage(
        chat_id=42,
        text="Тюльпаны 🌷",
        entities=[MessageEntity(type="bold", offset=0, length=8)],
        link_preview_options=LinkPreviewOptions(is_disabled=True),
        reply_markup=ForceReply(selective=True),
    )
    assert fields(method) == {
        "chat_id": 42,
        "text": "Тюльпаны 🌷",
        "entities": [{"type": "bold", "offset": 0, "length": 8}],
        "link_preview_options": {"is_disabled": True},
        "reply_markup": {"force_reply": True, "selective": True},
    }


def test_a_file_goes_as_a_form():
    assert isinstance(body(SendDocument(chat_id=42, document=BufferedInputFile(b"words", "a.txt"))), FormData)


def test_of_a_message_that_was_sent_its_id_is_read():
    bot = Bot(TOKEN, session=session(PRODUCTION))
    method = send_message()(chat_id=42, text="Hi")
    answer = '{"ok":true,"result":{"message_id":7,"date":1,"chat":{"id":42,"type":"private"},"text":"Hi"}}'
    assert bot.session.check_response(bot, method, 200, answer).result.message_id == 7


@pytest.mark.parametrize("answer", ["<html>", "{}", '{"ok":true,"result":true}', '{"ok":false,"description":"no"}'])
def test_an_answer_that_is_none_is_told_by_aiogram(answer):
    from aiogram.exceptions import AiogramError

    bot = Bot(TOKEN, session=session(PRODUCTION))
    with pytest.raises(AiogramError):
        bot.session.check_response(bot, send_message()(chat_id=42, text="Hi"), 200, answer)
