"""The Telegram bot of a workspace: what it needs to start, whether that is there, and its start."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Literal

import msgspec
from filelock import FileLock, Timeout

from bots.telegram.inbox import FILE, Inbox
from bots.telegram.logs import opened
from bots.telegram.running import TelegramBot
from bots.telegram.sending import Sender
from bots.telegram.transport import Limits, Transport
from trainerlib import Workspace
from trainerlib.errors import SettingsError, TrainerlibError
from trainerlib.settings import secret

if TYPE_CHECKING:
    from aiogram import Bot as Client

TOKEN = "TELEGRAM_BOT_TOKEN"  # noqa: S105 - the name of one
"""Name of the secret that holds the bot's token."""

API = "TRAINERLIB_TELEGRAM_API"
"""Name of the variable that holds the address of another Bot API server, `http://localhost:8081`."""

_HINT = "pip install 'trainerlib[telegram]'"


class Finding(msgspec.Struct, frozen=True):
    """What a look at something found.

    Attributes:
        what: what was looked at.
        state: `ok`, `hint` for what may be missed, `bad` for what the bot cannot do without.
        words: what was found.
    """

    what: str
    state: Literal["ok", "hint", "bad"]
    words: str


def run(workspace: Workspace, *, limits: Limits | None = None) -> None:
    """Run the bot until it is stopped by SIGINT or SIGTERM.

    Args:
        workspace: whose bot it is.
        limits: how much the Bot API server takes; by default what Telegram's own does.

    Raises:
        SettingsError: there is no token, Telegram refuses it, a package is missing, or another process runs the bot.
    """
    asyncio.run(_run(workspace, limits))


def check(workspace: Workspace) -> list[Finding]:
    """Look at what the bot needs, and at what it would do better with."""
    return asyncio.run(_check(workspace))


async def _run(workspace: Workspace, limits: Limits | None) -> None:
    token = _token(workspace)
    with _alone(workspace):
        async with _connected(token) as client:
            from aiogram.exceptions import TelegramUnauthorizedError

            log = opened(token)
            sender = Sender(client, transport=Transport(limits or Limits()))
            try:
                me = await client.get_me()
            except TelegramUnauthorizedError:
                raise SettingsError(f"Telegram does not know this token; look at {TOKEN}") from None
            with Inbox(workspace.path / FILE) as inbox:
                bot = TelegramBot(workspace, client, me, inbox, log=log, sender=sender)
                loop = asyncio.get_running_loop()
                for number in (signal.SIGINT, signal.SIGTERM):
                    with suppress(NotImplementedError):  # Windows knows neither
                        loop.add_signal_handler(number, bot.stop)
                log.info("begun", bot=f"@{me.username}", workspace=workspace.path.name, model=workspace.models.current)
                try:
                    await bot.run()
                finally:
                    await workspace.replies.close()
                    log.info("ended")


@contextmanager
def _alone(workspace: Workspace) -> Iterator[None]:
    """While the bot runs no second one does: two would answer everybody twice."""
    lock = FileLock(workspace.path / "telegram.lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise SettingsError("the Telegram bot of this workspace runs already, in another process") from None
    try:
        yield
    finally:
        lock.release()


def _token(workspace: Workspace) -> str:
    token = (secret(TOKEN, workspace.path, os.environ) or "").strip()
    if not token:
        raise SettingsError(f"there is no token; put {TOKEN}=... from @BotFather into .env")
    return token


@asynccontextmanager
async def _connected(token: str) -> AsyncIterator[Client]:
    try:
        from aiogram import Bot as Client
        from aiogram.client.session.aiohttp import AiohttpSession
        from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
        from aiogram.utils.token import TokenValidationError
    except ModuleNotFoundError as error:
        raise SettingsError(f"the Telegram bot needs {error.name}: {_HINT}") from None
    address = os.environ.get(API, "").strip().rstrip("/")
    api = TelegramAPIServer.from_base(address) if address else PRODUCTION
    try:
        client = Client(token, session=AiohttpSession(api=api))
    except TokenValidationError:
        raise SettingsError(f"{TOKEN} is not a token; @BotFather gives one such as 123456:ABC...") from None
    try:
        yield client
    finally:
        await client.session.close()


# --- what is there ----------------------------------------------------------------------------------------------------


async def _check(workspace: Workspace) -> list[Finding]:
    found = [await _telegram(workspace), _model(workspace)]
    bots = workspace.settings.bots
    if bots.owners:
        found.append(Finding("owners", "ok", ", ".join(bots.owners)))
    else:
        found.append(
            Finding(
                "owners",
                "hint",
                'nobody may train or promote; put owners = ["telegram:ID"] under [bots] in workspace.toml',
            )
        )
    found.append(Finding("voice", "hint", "voice notes are kept, and not heard yet"))
    return found


async def _telegram(workspace: Workspace) -> Finding:
    try:
        token = _token(workspace)
        async with _connected(token) as client:
            from aiogram.exceptions import TelegramAPIError

            try:
                me = await client.get_me()
            except TelegramAPIError as error:
                return Finding("token", "bad", str(error).replace(token, "[hidden]"))
            except OSError as error:
                return Finding("token", "bad", f"no answer from Telegram: {error}".replace(token, "[hidden]"))
    except SettingsError as error:
        return Finding("token", "bad", str(error))
    groups = "reads all of a group" if me.can_read_all_group_messages else "in groups it sees what is said to it"
    return Finding("token", "ok", f"@{me.username}, {groups}")


def _model(workspace: Workspace) -> Finding:
    name = workspace.models.current
    try:
        workspace.models.open(name)
    except TrainerlibError as error:
        return Finding("model", "bad", str(error))
    return Finding("model", "ok", f"{name} (no key needed)" if name == "memory" else name)
