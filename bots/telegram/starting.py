"""The Telegram bot of a workspace: what it needs to start, whether that is there, and its start."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from filelock import FileLock, Timeout

from bots.metrics import Metrics, measured
from bots.roles import owners
from bots.telegram.inbox import FILE, Inbox
from bots.telegram.logs import collected, opened
from bots.telegram.running import TelegramBot
from bots.telegram.sending import Sender
from bots.telegram.session import session
from bots.telegram.transport import FIRST_WAIT, LONGEST_WAIT, Limits, Transport, safe
from bots.telegram.webhook import host_of, serve, unset
from bots.texts import languages
from trainerlib import Workspace
from trainerlib.errors import SettingsError, TrainerlibError
from trainerlib.openai_servers import ADDRESS, KEY, OFFICIAL
from trainerlib.settings import INSTRUCTION, instruction, secret

if TYPE_CHECKING:
    from aiogram import Bot as Client
    from aiogram.types import User, WebhookInfo

TOKEN = "TELEGRAM_BOT_TOKEN"  # noqa: S105 - the name of one
"""Name of the secret that holds the bot's token."""

_PACKAGES = ("aiogram", "babel.messages.pofile", "pyromark", "structlog", "telegramify_markdown")
"""What the extra `telegram` installs."""

_SWITCH = 0.0005
"""Seconds after which a thread that computes lets another one go on."""

_SECONDS = 5
"""For how long `check` waits for an answer of Telegram, and a start for each."""


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
        SettingsError: there is no token, Telegram refuses it, a package is missing, an address cannot be used, or another
            process runs the bot.
    """
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(_run(workspace, limits))


def check(workspace: Workspace) -> list[Finding]:
    """Look at what the bot needs, and at what it would do better with. It takes seconds at most, and changes nothing."""
    return asyncio.run(_check(workspace))


def loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, with which an answer takes a sixth less of the processor; `None`, Python's own, where it is not installed.

    There is none for Windows.
    """
    try:
        from uvloop import new_event_loop
    except ImportError:
        return None
    return new_event_loop


async def _run(workspace: Workspace, limits: Limits | None) -> None:
    _require_packages()
    from aiogram.exceptions import TelegramUnauthorizedError

    token = _token(workspace)
    with _alone(workspace):
        log = opened(token)
        with collected(log):
            async with _connected(token, workspace) as client:
                me = await _introduced(client, log)
                try:
                    await _work(workspace, client, me, log, limits or Limits())
                except TelegramUnauthorizedError:
                    raise _unknown() from None


async def _work(workspace: Workspace, client: Client, me: User, log: Any, limits: Limits) -> None:
    settings = workspace.settings.telegram
    sender = Sender(client, transport=Transport(limits))
    with (
        Inbox(workspace.path / FILE, log=workspace.store) as inbox,
        measured(workspace, settings.metrics, waiting=inbox.count) as meter,
    ):
        bot = TelegramBot(workspace, client, me, inbox, log=log, sender=sender, meter=meter)
        if not settings.webhook:
            await unset(client, log=log)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            with suppress(NotImplementedError):  # Windows knows neither
                loop.add_signal_handler(number, bot.stop)
        log.info("begun", bot=f"@{me.username}", workspace=workspace.path.name, model=workspace.models.current)
        _settle()
        try:
            if settings.webhook:
                async with bot.working():
                    await serve(
                        bot.take,
                        client,
                        until=bot.stopped,
                        address=settings.webhook,
                        listen=settings.listen,
                        log=log,
                    )
            else:
                await bot.run()
        finally:
            await workspace.replies.close()
            log.info("ended")


def _settle() -> None:
    """Have Python's housekeeping suit a process that does nothing but answer."""
    # aiogram's half a million objects never go: looking through them now and then would stop everything for 0.1 s.
    gc.collect()
    gc.freeze()
    # A thread that has written to the disk is not kept waiting for 5 ms by the event loop, nor the other way round.
    sys.setswitchinterval(_SWITCH)


async def _introduced(client: Client, log: Any) -> User:
    """Who the bot is; Telegram is asked until it answers."""
    from aiogram.exceptions import AiogramError, TelegramNotFound, TelegramUnauthorizedError

    wait = FIRST_WAIT
    while True:
        try:
            return await client.get_me(request_timeout=_SECONDS)
        except (TelegramNotFound, TelegramUnauthorizedError):
            raise _unknown() from None
        except AiogramError as error:
            if wait == FIRST_WAIT:
                log.warning("no answer from Telegram; the bot begins as soon as there is one", error=safe(error))
        await asyncio.sleep(wait)
        wait = min(2 * wait, LONGEST_WAIT)


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


def _unknown() -> SettingsError:
    return SettingsError(f"Telegram does not know this token; look at {TOKEN}")


def _require_packages() -> None:
    for name in _PACKAGES:
        try:
            import_module(name)
        except ModuleNotFoundError as error:
            raise SettingsError(f"the Telegram bot needs {error.name}: pip install 'trainerlib[telegram]'") from None


@asynccontextmanager
async def _connected(token: str, workspace: Workspace) -> AsyncIterator[Client]:
    from aiogram import Bot as Client
    from aiogram.client.telegram import PRODUCTION, TelegramAPIServer
    from aiogram.utils.token import TokenValidationError

    address = workspace.settings.telegram.api.rstrip("/")
    api = TelegramAPIServer.from_base(address) if address else PRODUCTION
    try:
        client = Client(token, session=session(api))
    except TokenValidationError:
        raise SettingsError(f"{TOKEN} is not a token; @BotFather gives one such as 123456:ABC...") from None
    try:
        yield client
    finally:
        await client.session.close()


# --- what is there ----------------------------------------------------------------------------------------------------


async def _check(workspace: Workspace) -> list[Finding]:
    return [
        *[one async for one in _telegram(workspace)],
        await _model(workspace),
        _instruction(workspace),
        _owners(workspace),
        _languages(workspace),
        Finding("voice", "hint", "voice notes are kept, and not heard yet"),
        *_metrics(workspace),
        *_running(workspace),
    ]


async def _telegram(workspace: Workspace) -> AsyncIterator[Finding]:
    """Whether Telegram knows the bot, and what it lets it do."""
    try:
        _require_packages()
        token = _token(workspace)
        async with _connected(token, workspace) as client:
            from aiogram.exceptions import (
                AiogramError,
                TelegramNetworkError,
                TelegramNotFound,
                TelegramUnauthorizedError,
            )

            try:
                me = await client.get_me(request_timeout=_SECONDS)
                hook = await client.get_webhook_info(request_timeout=_SECONDS)
            except (TelegramNotFound, TelegramUnauthorizedError):
                raise _unknown() from None
            except TelegramNetworkError:
                where = host_of(workspace.settings.telegram.api) or "Telegram"
                yield Finding("token", "bad", f"{where} cannot be reached; look at the network")
                return
            except AiogramError as error:
                yield Finding("token", "bad", f"Telegram has trouble: {safe(error, token)}")
                return
    except SettingsError as error:
        yield Finding("token", "bad", str(error))
        return
    yield Finding("token", "ok", f"@{me.username}")
    yield _groups(workspace, me)
    yield _updates(workspace, hook)


def _groups(workspace: Workspace, me: User) -> Finding:
    if not me.can_join_groups:
        return Finding("groups", "ok", "nobody can add it to one; @BotFather changes that with /setjoingroups")
    if workspace.settings.bots.groups == "mentioned":
        return Finding("groups", "ok", "it answers who mentions it or replies to it")
    if me.can_read_all_group_messages:
        return Finding("groups", "ok", "it answers everybody")
    words = "it is to answer everybody, but Telegram shows it only commands, mentions and replies where it is no admin"
    return Finding("groups", "hint", f"{words}; @BotFather changes that with /setprivacy")


def _updates(workspace: Workspace, hook: WebhookInfo) -> Finding:
    """How updates come to the bot."""
    wanted = workspace.settings.telegram.webhook
    if not wanted and hook.url:
        words = f"Telegram sends them to {host_of(hook.url)}; the bot takes that away when it starts, and asks for them"
        return Finding("updates", "hint", words)
    if not wanted:
        return Finding("updates", "ok", "it asks Telegram for them")
    if hook.url != wanted:
        return Finding("updates", "ok", f"Telegram will send them to {host_of(wanted)} once the bot has started")
    if hook.last_error_message and hook.pending_update_count:
        words = f"{hook.pending_update_count} wait, and Telegram could not send one: {hook.last_error_message}"
        return Finding("updates", "hint", words)
    return Finding("updates", "ok", f"Telegram sends them to {host_of(wanted)}")


async def _model(workspace: Workspace) -> Finding:
    name = workspace.models.current
    try:
        model = workspace.models.open(name)
    except TrainerlibError as error:
        return Finding("model", "bad", str(error))
    await model.close()
    if not name.startswith("openai:"):
        return Finding("model", "ok", f"{name} (no key needed)")
    if secret(KEY, workspace.path, os.environ):
        return Finding("model", "ok", f"{name}, with a key")
    address = workspace.settings.openai.base_url or secret(ADDRESS, workspace.path, os.environ) or OFFICIAL
    if address.strip().rstrip("/") == OFFICIAL:
        return Finding("model", "bad", f"{name}: there is no key; put {KEY}=... into .env")
    return Finding("model", "ok", f"{name} at {host_of(address)}, without a key")


def _instruction(workspace: Workspace) -> Finding:
    try:
        words = instruction(workspace.path)
    except SettingsError as error:
        return Finding("instruction", "bad", str(error))
    if not words:
        return Finding("instruction", "hint", f"nobody tells the model how to answer; write it into {INSTRUCTION}")
    return Finding("instruction", "ok", f"{len(words.split()):,} words in {INSTRUCTION}")


def _owners(workspace: Workspace) -> Finding:
    """Who owns the bot in Telegram."""
    found = [one for one in owners(workspace) if one.startswith("telegram:")]
    if found:
        return Finding("owners", "ok", ", ".join(found))
    words = 'nobody may train or promote; put owners = ["telegram:ID"] under [bots] in workspace.toml'
    return Finding("owners", "hint", words)


def _languages(workspace: Workspace) -> Finding:
    own = workspace.settings.workspace.language
    return Finding("languages", "ok", f"{', '.join(languages())}; {own} for people whose language is none of these")


def _metrics(workspace: Workspace) -> Iterator[Finding]:
    address = workspace.settings.telegram.metrics
    if not address:
        return
    try:
        Metrics(workspace, waiting=lambda: 0)
    except SettingsError as error:
        yield Finding("metrics", "bad", str(error))
    else:
        yield Finding("metrics", "ok", f"for Prometheus at {address}")


def _running(workspace: Workspace) -> Iterator[Finding]:
    try:
        with _alone(workspace):
            return
    except SettingsError as error:
        yield Finding("process", "hint", str(error))
