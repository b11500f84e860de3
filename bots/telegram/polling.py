"""Updates by asking for them: Telegram holds each question open until there are some, and forgets those before the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from bots.telegram.transport import safe
from bots.telegram.updates import WANTED
from trainerlib.errors import StoreError

if TYPE_CHECKING:
    from aiogram import Bot as Client
    from aiogram.exceptions import ClientDecodeError
    from aiogram.types import Update

SECONDS = 30
"""For which Telegram holds a question for updates open."""

_ANSWER = 10
"""Seconds more for which an answer is waited for."""


async def poll(
    take: Callable[[Sequence[Update]], Awaitable[None]],
    client: Client,
    *,
    until: asyncio.Event,
    pause: Callable[[int], Awaitable[None]],
    log: Any,
    seconds: int = SECONDS,
) -> None:
    """Ask for updates.

    Args:
        take: keeps updates; those it has taken are confirmed with the next question.
        client: speaks to Telegram.
        until: ends it.
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
            try:
                updates = await _asked(client, offset, until, seconds)
            except ClientDecodeError as error:
                updates, offset = _readable(error, client, log)
        except TelegramUnauthorizedError:
            raise
        except (ClientDecodeError, TelegramAPIError, OSError) as error:
            failed += 1
            log.warning("no updates", error=safe(error, client.token))
            await pause(failed)
            continue
        failed = 0
        if updates:
            # What cannot be kept by a bot that is being stopped stays with Telegram.
            with suppress(StoreError):
                await take(updates)
                offset = max(offset or 0, updates[-1].update_id + 1)


def _readable(error: ClientDecodeError, client: Client, log: Any) -> tuple[list[Update], int]:
    """The updates that aiogram knows, of those that it could not read together, and the number after them all.

    Raises:
        ClientDecodeError: they are no updates at all.
    """
    from aiogram.types import Update

    given = error.data.get("result") if isinstance(error.data, dict) else None
    if not isinstance(given, list) or not given:
        raise error
    updates = []
    for one in given:
        try:
            updates.append(Update.model_validate(one, context={"bot": client}))
        except ValueError:
            log.error("cannot be read", update=one["update_id"], kind=next(iter(one.keys() - {"update_id"}), ""))  # noqa: TRY400 - what it says is no news
    return updates, given[-1]["update_id"] + 1


async def _asked(client: Client, offset: int | None, until: asyncio.Event, seconds: int) -> list[Update]:
    """The next updates; none when it ends first."""
    polling = asyncio.ensure_future(
        client.get_updates(
            offset=offset, timeout=seconds, allowed_updates=list(WANTED), request_timeout=seconds + _ANSWER
        )
    )
    ended = asyncio.ensure_future(until.wait())
    try:
        await asyncio.wait({polling, ended}, return_when=asyncio.FIRST_COMPLETED)
        return polling.result() if polling.done() else []
    finally:
        for task in (polling, ended):
            task.cancel()
        await asyncio.gather(polling, ended, return_exceptions=True)
