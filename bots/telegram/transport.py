"""How requests get to Telegram: not too fast, again when it has trouble, and never twice when that would be seen.

Telegram's `sendMessage` has no key by which it knows a request it was given before. So requests are of two kinds:

- those that may be repeated (edits, drafts, answers to taps, questions) are, until Telegram answers;
- those that put a message into a chat are repeated only while it is certain that Telegram did not take them: there was no
  connection, or it said so (429). When the connection broke later, the time ran out, or its servers failed, nobody knows:
  `UnknownOutcomeError`. `bots.telegram.sending` then looks whether the message is there.

>>> said = safe(ValueError("no answer from https://api.telegram.org/bot123456:AAF-abcdefghijklmnopqrstuvwxyz012345/getMe"))
>>> said
'ValueError: no answer from https://api.telegram.org/bot<token>/getMe'
"""

from __future__ import annotations

import asyncio
import logging
import re
import time
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from trainerlib.errors import TrainerlibError

if TYPE_CHECKING:
    from aiogram import Bot
    from aiogram.methods import TelegramMethod

Sleep = Callable[[float], Awaitable[object]]
"""Waits so many seconds."""

FIRST_WAIT, LONGEST_WAIT = 0.5, 30.0
"""Seconds before a request is repeated: twice as long each time, within these."""

_MINUTE = 60.0

_IDLE = 4096
"""Chats that are remembered before those that nothing was sent to for a minute are forgotten."""

_REPEATABLE = frozenset({"sendChatAction", "sendMessageDraft"})
"""Methods called `send...` that put no message into a chat."""

_SENDS = ("send", "copy", "forward")

_SHOWS = (*_SENDS, "edit")
"""How the methods begin that Telegram counts."""

_TOKEN = re.compile(r"\d{5,}(?::|%3[Aa])[\w-]{20,}")

_log = logging.getLogger(__name__)

_MODE: ContextVar[str] = ContextVar("mode", default="patient")


class UnknownOutcomeError(TrainerlibError):
    """Telegram may have taken a message, and did not say so."""


class Limits(msgspec.Struct, frozen=True):
    """How much Telegram takes, as far as it says: https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this.

    Attributes:
        burst: messages that a chat takes at once.
        every: seconds for each one after these.
        group: messages a minute in a group.
        total: messages a second, in all chats together.
    """

    burst: int = 3
    every: float = 1.0
    group: int = 20
    total: int = 30


UNLIMITED = Limits(burst=1_000_000_000, every=0.0, group=1_000_000_000, total=1_000_000_000)
"""For a Bot API server of one's own that limits nothing."""


class _Chat:
    """What was sent to a chat lately."""

    def __init__(self) -> None:
        self.sent: deque[float] = deque()
        self.full = 0.0
        self.held_until = 0.0


class Pace:
    """Says when the next message may be sent.

    Args:
        limits: how much may be sent.
        clock: seconds that never go back.

    >>> now = 100.0
    >>> pace = Pace(Limits(burst=2), clock=lambda: now)
    >>> [pace.take(7), pace.take(7), pace.take(7)]
    [0.0, 0.0, 1.0]
    >>> pace.hold(7, 30)
    >>> pace.take(7), pace.take(8)
    (30.0, 0.0)
    """

    def __init__(self, limits: Limits = Limits(), *, clock: Callable[[], float] = time.monotonic) -> None:  # noqa: B008 - a frozen value
        self._limits = limits
        self._clock = clock
        self._chats: dict[int | None, _Chat] = {}
        self._sent: deque[float] = deque()

    def take(self, chat: int | None, *, counts: bool = True) -> float:
        """Take the next place, if there is one now.

        Args:
            chat: id of the chat; below zero for a group, `None` for requests about no chat.
            counts: it is a message.

        Returns:
            0 when it was taken; else the seconds after which to ask again.
        """
        now = self._clock()
        about = self._about(chat, now)
        wait = max(0.0, about.held_until - now)
        if not counts:
            return wait
        limits = self._limits
        wait = max(
            wait, about.full - now - (limits.burst - 1) * limits.every, self._until(self._sent, limits.total, 1.0, now)
        )
        if chat is not None and chat < 0:
            wait = max(wait, self._until(about.sent, limits.group, _MINUTE, now))
            if wait <= 0:
                about.sent.append(now)
        if wait <= 0:
            about.full = max(about.full, now) + limits.every
            self._sent.append(now)
        return wait

    def room(self, chat: int) -> bool:
        """Whether a request that need not be made leaves enough for those that must: two thirds of what may be sent."""
        now = self._clock()
        about = self._about(chat, now)
        self._until(self._sent, self._limits.total, 1.0, now)
        self._until(about.sent, self._limits.group, _MINUTE, now)
        free = 3 * len(self._sent) < self._limits.total and 3 * len(about.sent) < 2 * self._limits.group
        return free and about.held_until <= now

    def hold(self, chat: int | None, seconds: float) -> None:
        """Send nothing to a chat for some time, because Telegram said so."""
        now = self._clock()
        about = self._about(chat, now)
        about.held_until = max(about.held_until, now + seconds)

    def _about(self, chat: int | None, now: float) -> _Chat:
        if chat not in self._chats:
            if len(self._chats) >= _IDLE:
                self._chats = {
                    other: about
                    for other, about in self._chats.items()
                    if max(about.full, about.held_until, *list(about.sent)[-1:], 0.0) > now - _MINUTE
                }
            self._chats[chat] = _Chat()
        return self._chats[chat]

    @staticmethod
    def _until(sent: deque[float], most: int, seconds: float, now: float) -> float:
        """Seconds until fewer than `most` were sent in the last `seconds`."""
        while sent and sent[0] <= now - seconds:
            sent.popleft()
        return sent[0] + seconds - now if len(sent) >= most else 0.0


class Transport:
    """Request middleware of a bot: `bot.session.middleware(Transport())`. Polls go by.

    Args:
        limits: how much may be sent.
        clock: seconds that never go back.
        sleep: waits.
    """

    def __init__(
        self,
        limits: Limits = Limits(),  # noqa: B008 - a frozen value
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self.pace = Pace(limits, clock=clock)
        self.sleep = sleep
        self._responses: dict[type, type] = {}

    async def __call__(self, make_request: Any, bot: Bot, method: TelegramMethod[Any]) -> Any:
        """Make a request.

        Raises:
            UnknownOutcomeError: nobody knows whether Telegram took the message.
            TelegramAPIError: Telegram refused it; within `hurried` also when it has trouble.
        """
        from aiogram.exceptions import (
            ClientDecodeError,
            TelegramEntityTooLarge,
            TelegramNetworkError,
            TelegramRetryAfter,
            TelegramServerError,
        )
        from aiogram.methods import Response

        name: str = method.__api_method__
        if type(method) not in self._responses:
            # pydantic forgets the model of an answer that nobody holds, and makes it anew for each: a tenth of all the time.
            self._responses[type(method)] = Response[method.__returning__]
        if name == "getUpdates":
            return await make_request(bot, method)
        chat = getattr(method, "chat_id", None)
        sends = name.startswith(_SENDS) and name not in _REPEATABLE
        counts = name.startswith(_SHOWS) and name not in _REPEATABLE
        mode, wait = _MODE.get(), FIRST_WAIT
        while True:
            while mode != "hurried" and (pause := self.pace.take(chat, counts=counts and mode == "patient")):
                await self.sleep(pause)
            try:
                return await make_request(bot, method)
            except TelegramRetryAfter as error:
                self.pace.hold(chat, error.retry_after)
                _log.info("telegram wants us to wait %s s: %s", error.retry_after, name)
                if mode == "hurried":
                    raise
                continue
            except TelegramEntityTooLarge:
                raise
            except (TelegramNetworkError, TelegramServerError, ClientDecodeError) as error:
                if mode == "hurried":
                    raise
                said = safe(error, bot.token)
                _log.warning("telegram has trouble: %s: %s", name, said)
                if sends and not _never_left(error):
                    # Its traceback may hold the address, which holds the token.
                    raise UnknownOutcomeError(f"telegram may have taken a message or not: {said}") from None
            await self.sleep(wait)
            wait = min(2 * wait, LONGEST_WAIT)


@contextmanager
def hurried() -> Iterator[None]:
    """Requests within are made at once and once, and count for nothing: they can be done without."""
    token = _MODE.set("hurried")
    try:
        yield
    finally:
        _MODE.reset(token)


@contextmanager
def uncounted() -> Iterator[None]:
    """Requests within change nothing that is seen: they wait for no place, only when Telegram says so."""
    token = _MODE.set("uncounted")
    try:
        yield
    finally:
        _MODE.reset(token)


def safe(error: BaseException, token: str = "") -> str:
    """An error in one line, without the token of a bot: addresses in errors of the network hold it.

    Args:
        error: what went wrong.
        token: of the bot; anything that looks like one is left out as well.
    """
    said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
    return " ".join(_TOKEN.sub("<token>", without(said, token)).split())


def without(text: str, token: str) -> str:
    """A text without a token: as it is, as addresses write it, and its secret half.

    >>> without("POST /bot123%3AAAF-x: AAF-x", "123:AAF-x")
    'POST /bot<token>: <token>'
    """
    for secret in filter(None, (token, quote(token, safe=""), token.partition(":")[2])):
        text = text.replace(secret, "<token>")
    return text


def _never_left(error: Exception) -> bool:
    """Whether a request certainly did not reach Telegram: there was no connection to it."""
    from aiohttp import ClientConnectorError

    return isinstance(error.__cause__, ClientConnectorError)
