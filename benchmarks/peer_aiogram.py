"""The peer of the Telegram bot: what somebody writes in an evening with aiogram and sqlite3.

It echoes what people write, and keeps each message and each answer with an INSERT and a commit at FULL. It asks nobody for
consent, has no prompt, no roles and no texts, and after a kill it loses or answers twice what was on its way.
"""

from __future__ import annotations

import asyncio
import sqlite3
from typing import Any


def run_peer(database: str, token: str, url: str) -> None:
    """Answer people until the process is ended.

    Args:
        database: a file that it makes.
        token: of the bot.
        url: of the Bot API server.
    """
    asyncio.run(_serve(database, token, url))


async def _serve(database: str, token: str, url: str) -> None:
    from aiogram import Bot, Dispatcher
    from aiogram.client.session.aiohttp import AiohttpSession
    from aiogram.client.telegram import TelegramAPIServer

    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, chat INTEGER, role TEXT, text TEXT)")
    insert = "INSERT INTO messages (chat, role, text) VALUES (?, ?, ?)"
    dispatcher = Dispatcher()

    async def answer(message: Any) -> None:
        connection.execute(insert, (message.chat.id, "user", message.text))
        connection.execute(insert, (message.chat.id, "assistant", message.text))
        await message.answer(message.text)

    dispatcher.message.register(answer)
    bot = Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(url)))
    await dispatcher.start_polling(bot, handle_signals=False)
