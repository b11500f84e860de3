"""Updates by asking for them: Telegram holds each question open until there are some, and forgets those before the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from bots.telegram.session import get_updates
from bots.telegram.transport import safe
from bots.telegram.updates import WANTED
from trainerlib.errors import StoreError

if TYPE_CHECKING:
    from aiogram import Bot as Client

SECONDS = 30
"""For which Telegram holds a question for updates open."""

_MOST = 100
"""Updates that Telegram hands over at once."""

_ANSWER = 10
"""Seconds more for which an answer is waited for."""


async def poll(
    take: Callable[[Sequence[bytes]], Awaitable[None]],
    client: Client,
    *,
    until: asyncio.Event,
    caught_up: asyncio.Event,
    pause: Callable[[int], Awaitable[None]],
    log: Any,
    seconds: int = SECONDS,
) -> None:
    """Ask for updates.

    Args:
        take: keeps updates, each as JSON; those it has taken are confirmed with the next question, and those it refuses with
            a `StoreError` are given to it again.
        client: speaks to Telegram.
        until: ends it.
        caught_up: set while nothing is known to wait at Telegram; while it is not, Telegram holds no question open.
        pause: waits before the next try, given how many failed.
        log: where trouble is told.
        seconds: for which Telegram holds a question open.

    Raises:
        TelegramUnauthorizedError: Telegram does not know the token any more.
    """
    from aiogram.exceptions import ClientDecodeError, TelegramAPIError, TelegramUnauthorizedError

    offset: int | None = None
    failed = 0
    while not until.is_set():
        try:
            updates = await _asked(client, offset, until, seconds if caught_up.is_set() else 0)
        except TelegramUnauthorizedError:
            raise
        except (ClientDecodeError, TelegramAPIError, OSError) as error:
            failed += 1
            log.warning("no updates", error=safe(error, client.token))
            caught_up.clear()
            await pause(failed)
            continue
        try:
            if updates:
                await take([msgspec.json.encode(one) for one in updates])
                offset = max(offset or 0, updates[-1]["update_id"] + 1)
            failed = 0
            if len(updates) < _MOST:
                caught_up.set()
            else:
                caught_up.clear()
        except StoreError:
            # They stay with Telegram, which hands them over again with what others write meanwhile.
            failed += 1
            caught_up.clear()
            await pause(failed)


async def _asked(client: Client, offset: int | None, until: asyncio.Event, seconds: int) -> list[dict[str, Any]]:
    """The next updates; none when it ends first."""
    question = get_updates()(offset=offset, timeout=seconds, allowed_updates=list(WANTED))
    polling = asyncio.ensure_future(client(question, request_timeout=seconds + _ANSWER))
    ended = asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait({polling, ended}, return_when=asyncio.FIRST_COMPLETED)
        return polling.result() if polling.done() else []
    finally:
        for task in (polling, ended):
            task.cancel()
        await asyncio.gather(polling, ended, return_exceptions=True)
