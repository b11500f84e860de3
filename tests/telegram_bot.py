"""The Telegram bot in a process of its own, to be killed.

It echoes what people write, word by word, and knows no limits of how fast it may send. Its processes are forked from one
that has imported everything: aiogram alone takes seconds.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import get_context
from pathlib import Path

import trainerlib

_forking = get_context("forkserver")
_forking.set_forkserver_preload(
    [
        "aiogram",
        "aiogram.client.session.aiohttp",
        "alembic.command",
        "babel.messages.pofile",
        "bots.telegram.starting",
        "structlog",
        "telegramify_markdown",
        "trainerlib.workspace",
    ]
)


def start(workspace: Path, server, log: Path):
    """A bot of a workspace on a Bot API server, on its way; it has the methods of a `multiprocessing.Process`."""
    bot = _forking.Process(target=run_bot, args=(str(workspace), server.token, server.url, str(log)))
    bot.start()
    return bot


def run_bot(workspace: str, token: str, url: str, log: str) -> None:
    from answering import Echo

    from bots.telegram import starting
    from bots.telegram.transport import UNLIMITED

    os.environ |= {starting.TOKEN: token, "TRAINERLIB_TELEGRAM_API": url, "TRAINERLIB_CHAT_MODEL": "echo"}
    with Path(log).open("a", encoding="utf-8") as sys.stderr, trainerlib.open(workspace) as ws:
        ws.replies._open_model = Echo
        starting.run(ws, limits=UNLIMITED)
