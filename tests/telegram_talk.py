"""A shop whose Telegram bot runs beside the test, in a thread: the test is the people who write to it."""

from __future__ import annotations

import asyncio
import json
import threading
from contextlib import redirect_stderr
from io import StringIO

from answering import Echo, configure, using
from telegram_server import ANN

import trainerlib

OWNER, TEACHER = 1, 2
"""People who have a role; everybody else has none."""

OWNED = f'[bots]\nowners = ["telegram:{OWNER}"]\ntrainers = ["telegram:{TEACHER}"]\n'


class Shop:
    """A workspace and its bot, which takes updates as long as the `with` lasts.

    Attributes:
        ws: the workspace.
        server: the Telegram that the bot is on.
        model: what answers.
        bot: the bot.
        log: what it logged, a JSON object a line.
    """

    def __init__(self, path, server, *, model=None, settings=OWNED, tempo=None, limits=None):
        self.path = path
        self.server = server
        self.model = model
        self.log = StringIO()
        self._settings = settings
        self._more = tempo, limits
        self._begun = threading.Event()
        self._problem = None
        self._thread = threading.Thread(target=self._live, name="bot")

    def __enter__(self):
        self.path.mkdir(parents=True, exist_ok=True)
        configure(self, self._settings)
        self.ws = trainerlib.open(self.path)
        if self.model != "memory":
            self.model = using(self.ws, self.model or Echo())
        self._thread.start()
        self._begun.wait()
        return self

    def __exit__(self, *_):
        self.end()

    def end(self):
        """Stop the bot as SIGTERM does, and close the workspace."""
        if self._thread.is_alive():
            self.soon(self._stop)
            self._thread.join()
        self.ws.close()
        if self._problem is not None:
            raise self._problem

    def _stop(self):
        self.bot.stop()
        gate = getattr(self.model, "_gate", None)
        if gate is not None:
            gate.set()

    def soon(self, call):
        """Call something in the event loop of the bot; what it gives."""

        async def called():
            return call()

        return asyncio.run_coroutine_threadsafe(called(), self.loop).result(10)

    def _live(self):
        try:
            asyncio.run(self._run())
        except BaseException as problem:  # noqa: BLE001 - the thread of the test is told
            self._problem = problem
        finally:
            self._begun.set()

    async def _run(self):
        from aiogram import Bot
        from aiogram.client.telegram import TelegramAPIServer

        from bots.telegram.inbox import FILE, Inbox
        from bots.telegram.logs import collected, opened
        from bots.telegram.running import TelegramBot
        from bots.telegram.sending import Sender, Tempo
        from bots.telegram.session import session
        from bots.telegram.transport import UNLIMITED, Transport

        self.loop = asyncio.get_running_loop()
        tempo, limits = self._more
        client = Bot(self.server.token, session=session(TelegramAPIServer.from_base(self.server.url)))
        sender = Sender(client, transport=Transport(limits or UNLIMITED), tempo=tempo or Tempo())
        with redirect_stderr(self.log):
            log = opened(self.server.token, json=True)
        try:
            with Inbox(self.path / FILE, log=self.ws.store) as self.inbox, collected(log):
                self.bot = TelegramBot(
                    self.ws, client, await client.get_me(), self.inbox, log=log, sender=sender, album=0.05
                )
                self._begun.set()
                await self.bot.run()
        finally:
            await self.ws.replies.close()
            # `client.session.close` waits for the end of TLS, which nobody speaks here.
            await (await client.session.create_session()).close()

    # --- looking -----------------------------------------------------------------------------------------------------

    def told(self, chat=ANN):
        """What a chat was told, but for the word on privacy."""
        return [text for text in self.server.texts(chat) if not _is_introduction(text)]

    def answered(self, count=1, chat=ANN):
        """Wait until a chat was told so many things; they."""
        return self.server.wait_for(lambda: len(self.told(chat)) >= count and self.told(chat))

    def asks(self, text, **where):
        """Somebody says something; what the chat is told, once it is told something more."""
        chat = where.get("chat") or where.get("user", ANN)
        before = len(self.told(chat))
        self.server.say(text, **where)
        return self.answered(before + 1, chat)[before:]

    def taps(self, button, message=None, **where):
        """Somebody taps a button; what the chat is told, once it is told something more."""
        chat = where.get("chat") or where.get("user", ANN)
        before = len(self.told(chat))
        self.server.tap(button, message, **where)
        return self.answered(before + 1, chat)[before:]

    def messages(self, chat=ANN):
        """What was recorded of a chat."""
        return self.ws.conversation(f"telegram:{chat}").messages

    def reply(self, chat=ANN):
        """The last reply that was recorded of a chat."""
        return next(one for one in reversed(self.messages(chat)) if one.role == "assistant")

    def read(self):
        """Every byte of the files of the workspace."""
        return b"".join(path.read_bytes() for path in sorted(self.path.rglob("*")) if path.is_file())

    def logged(self):
        """What the bot logged."""
        return [json.loads(line) for line in self.log.getvalue().splitlines()]

    def settled(self):
        """Wait until the bot has done everything that it was sent."""
        # Confirmed by the next poll, when all of it has begun.
        self.server.wait_for(lambda: not self.server.pending)
        asyncio.run_coroutine_threadsafe(self._idle(), self.loop).result(10)

    async def _idle(self):
        while self.bot._tasks:
            await asyncio.wait(set(self.bot._tasks))


def _is_introduction(text):
    return text.startswith(
        ("I keep this conversation", "I keep nothing", "Я храню этот разговор", "Без вашего разрешения")
    )
