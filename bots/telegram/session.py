"""aiogram's connection to the Bot API, with less to do for the two requests of every message.

Words go as JSON instead of as a form, for which each value is encoded twice, once as JSON and once for the form, in Python.
The Bot API takes JSON wherever no file goes with a request: https://core.telegram.org/bots/api#making-requests.

Of an answer only that is read which is used: reading a whole message with pydantic takes as long as sending it.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from aiogram import Bot
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer
    from aiogram.methods import TelegramMethod


class Sent(msgspec.Struct, frozen=True):
    """What is read of a message that was sent.

    Attributes:
        message_id: Telegram's id of it.
    """

    message_id: int


class _Taken(msgspec.Struct, frozen=True):
    """The answer to a message that was sent."""

    result: Sent


class _Told(msgspec.Struct, frozen=True):
    """The answer to a question for updates."""

    result: list[dict[str, Any]]


@cache
def get_updates() -> Any:
    """`aiogram.methods.GetUpdates`, answered with updates as Telegram writes them."""
    from aiogram.methods import GetUpdates

    class Get(GetUpdates):  # type: ignore[misc] # what is not always there has no type
        __returning__ = list[dict[str, Any]]

    return Get


@cache
def send_message() -> Any:
    """`aiogram.methods.SendMessage`, answered with a `Sent`."""
    from aiogram.methods import SendMessage
    from aiogram.types import MessageId

    class Send(SendMessage):  # type: ignore[misc] # what is not always there has no type
        __returning__ = MessageId

    return Send


def session(api: TelegramAPIServer) -> AiohttpSession:
    """A connection to a Bot API server.

    Args:
        api: the server's addresses.
    """
    made: AiohttpSession = _session_class()(api=api, json_loads=msgspec.json.decode)
    return made


@cache
def _session_class() -> Any:
    from aiogram.client.default import Default
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiohttp.payload import BytesPayload

    decoders = {
        get_updates(): msgspec.json.Decoder(_Told).decode,
        send_message(): msgspec.json.Decoder(_Taken).decode,
    }

    class Session(AiohttpSession):  # type: ignore[misc] # what is not always there has no type
        def build_form_data(self, bot: Bot, method: TelegramMethod[Any]) -> Any:
            def said(value: Any) -> Any:
                """A value without what is not said in it; the client's own defaults are put in."""
                if isinstance(value, Default):
                    value = bot.default[value.name]
                if isinstance(value, dict):
                    return {name: part for name, one in value.items() if (part := said(one)) is not None}
                return [said(one) for one in value] if isinstance(value, list) else value

            try:
                body = json.dumps(said(method.model_dump(warnings=False, exclude_none=True)))
            except TypeError:
                # A file, or a time: aiogram knows how each is sent.
                return super().build_form_data(bot, method)
            return BytesPayload(body.encode(), content_type="application/json")

        def check_response(self, bot: Bot, method: TelegramMethod[Any], status_code: int, content: str) -> Any:
            decode = decoders.get(type(method))
            if decode is not None and status_code == HTTPStatus.OK:
                # Whatever is not as it should be, aiogram tells what it is.
                with suppress(msgspec.MsgspecError):
                    return decode(content)
            return super().check_response(bot, method, status_code, content)

    return Session
