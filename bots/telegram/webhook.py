"""Updates that Telegram sends to the bot, in place of the bot's asking for them.

Telegram forgets an update that is answered with 200, and sends it again after anything else. So 200 is said only once the
update is in the inbox. Who knows the secret is Telegram: it was told when the webhook was set, and the token cannot be
found out from it.

>>> secret_of("123456:AAF-abc") == secret_of("123456:AAF-abc"), len(secret_of("123456:AAF-abc"))
(True, 64)
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from bots.telegram.updates import WANTED
from bots.telegram.wire import number_of
from trainerlib.errors import SettingsError, StoreError

if TYPE_CHECKING:
    from aiogram import Bot as Client
    from aiohttp import web

HEADER = "X-Telegram-Bot-Api-Secret-Token"
"""The header in which Telegram shows that it is Telegram."""

LIMIT = 1 << 20
"""Bytes of an update at most; one with everything that Telegram allows in a message has a tenth of that."""

_PATIENCE = 10.0
"""Seconds for which a full disk is waited for before Telegram is told to come again."""

Take = Callable[[Sequence[bytes]], Awaitable[None]]
"""Keeps updates; ends when they are kept."""


def secret_of(token: str) -> str:
    """What Telegram shows with each update of a bot.

    Args:
        token: of the bot.
    """
    return hmac.digest(token.encode(), b"trainerlib: webhook", "sha256").hex()


def host_of(address: str) -> str:
    """The part of an address that may be shown: people put secrets into the rest.

    Args:
        address: an address.

    >>> host_of("https://bot.example.org:8443/hidden-path")
    'bot.example.org:8443'
    """
    return urlsplit(address).netloc.rpartition("@")[2]


async def serve(
    take: Take,
    client: Client,
    *,
    until: Callable[[], Coroutine[Any, Any, object]],
    address: str,
    listen: str,
    log: Any,
    patience: float = _PATIENCE,
) -> None:
    """Have Telegram send the bot its updates, and take them.

    Telegram goes on trying afterwards, and keeps what it has for a day: it is there at the next start.

    Args:
        take: keeps updates.
        client: speaks to Telegram.
        until: waits until no more are to be taken.
        address: public address of the bot.
        listen: host and port where it takes what is sent there, `127.0.0.1:8080`.
        log: where it is said what was refused.
        patience: seconds for which `take` is waited for before Telegram is told to come again.

    Raises:
        SettingsError: nobody may listen there, or Telegram does not take the address.
    """
    from aiogram.exceptions import TelegramBadRequest
    from aiohttp import web

    hook = _Webhook(take, client, log=log, patience=patience)
    app = web.Application(client_max_size=LIMIT)
    # Whoever stands before the bot may leave the path away, or not.
    app.router.add_post("/{path:.*}", hook.answer)
    # Telegram's requests are none of the log's business: each update has its line.
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=patience)
    await runner.setup()
    host, _, port = listen.rpartition(":")
    begun: list[asyncio.Future[Any]] = []
    try:
        await web.TCPSite(runner, host.strip("[]"), int(port)).start()
        setting = asyncio.ensure_future(
            client.set_webhook(address, secret_token=secret_of(client.token), allowed_updates=list(WANTED))
        )
        stopping = asyncio.ensure_future(until())
        begun += (setting, stopping)
        await asyncio.wait(begun, return_when=asyncio.FIRST_COMPLETED)
        if setting.done():
            setting.result()
        await stopping
    except OSError as error:
        raise SettingsError(f"the webhook cannot listen at {listen}: {error.strerror}") from None
    except TelegramBadRequest as error:
        raise SettingsError(f"Telegram does not take [telegram] webhook: {error.message}") from None
    finally:
        for task in begun:
            task.cancel()
        await asyncio.gather(*begun, return_exceptions=True)
        await runner.cleanup()
        await hook.close()


async def unset(client: Client, *, log: Any) -> None:
    """Take away the webhook that is set, if one is: while there is one, Telegram tells nobody who asks.

    Args:
        client: speaks to Telegram.
        log: where it is said.
    """
    there = await client.get_webhook_info()
    if there.url:
        log.warning("a webhook was set; it is taken away, and Telegram asked for updates", webhook=host_of(there.url))
        await client.delete_webhook()


class _Webhook:
    """Takes updates, each once however often it is sent."""

    def __init__(self, take: Take, client: Client, *, log: Any, patience: float) -> None:
        self._take = take
        self._client = client
        self._secret = secret_of(client.token).encode()
        self._log = log
        self._patience = patience
        self._taking: dict[int, asyncio.Task[bool]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        from aiohttp.web import Response

        given = request.headers.get(HEADER, "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, self._secret):
            self._log.info("refused: whoever sent this is not Telegram", remote=request.remote)
            return Response(status=401)
        body = await request.read()
        try:
            number = number_of(body)
        except ValueError:
            self._log.error("not an update", bytes=len(body))
            return Response(status=400)
        return Response(status=200 if await self._is_kept(number, body) else 503)

    async def _is_kept(self, number: int, body: bytes) -> bool:
        """Whether it is kept before patience ends; if not, it is tried on, and not begun anew when it is sent again."""
        task = self._taking.get(number)
        if task is None:
            task = self._taking[number] = asyncio.create_task(self._keep(number, body))
        done, _ = await asyncio.wait({task}, timeout=self._patience)
        return bool(done) and task.result()

    async def _keep(self, number: int, body: bytes) -> bool:
        try:
            await self._take([body])
        except StoreError:
            return False
        else:
            return True
        finally:
            del self._taking[number]

    async def close(self) -> None:
        """Give up what could not be kept: Telegram has it still."""
        for task in (left := list(self._taking.values())):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)
