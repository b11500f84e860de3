"""The Telegram bot at work: takes updates, does what they ask for in the order of each chat, and shows what comes of it.

An update is in the inbox before it is confirmed to Telegram. Each chat has a chain of what waits there: one thing after
the other, chats side by side. Only what stops something goes past its chain. What fails because something is down (the
disk, the model, Telegram) is tried again until it works, and the person is told once.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from bots.commands import Commands
from bots.dialogue import Answering, Dialogue, Later
from bots.metrics import Meter
from bots.places import tidy
from bots.port import Request, Say
from bots.telegram.inbox import Entry, Inbox
from bots.telegram.polling import SECONDS, poll
from bots.telegram.requests import BrokenError, Requests
from bots.telegram.sending import Place, RefusedError, Sender, UnreachableError
from bots.telegram.showing import Showing, Waiting
from bots.telegram.transport import FIRST_WAIT, LONGEST_WAIT, hurried, safe
from bots.telegram.updates import Told, joined, told
from bots.telegram.wire import Update, number_of, read
from bots.texts import best, languages, speaker
from trainerlib import Workspace
from trainerlib.errors import InvalidEventError, SettingsError, StoreError, TrainerlibError

if TYPE_CHECKING:
    from aiogram import Bot as Client
    from aiogram.types import User

_UNNOTICED = 2
"""Times that a file may break off before the person is told that it takes longer."""

_ALBUM = 0.7
"""Seconds after which all parts of an album are there."""

_TEACHING = frozenset({"correct", "feedback"})
"""Commands that count as they are now when the message that gave them was edited."""

_ERASES = "forget:yes:"
"""Beginning of the action of the button that has somebody erased."""

_SETTLE = 1.0
"""Seconds after which what is done is written down where nothing else comes."""

_UNREAD = 10.0
"""Seconds for which what people wrote in the meantime is waited for before the bot looks for a message of its own."""

_TIDY = 3_600
"""Times of that between two tidyings of the inbox."""

_DRAIN = 8.0
"""Seconds for which what was begun may go on when the bot is stopped; what does not end is done at the next start.

Docker kills what has not ended after 10.
"""


class TelegramBot:
    """A bot of a workspace.

    Args:
        workspace: whose bot it is.
        client: speaks to Telegram.
        me: who the bot is there.
        inbox: what waits.
        log: where each update has its line.
        seconds: for which Telegram holds a question for updates open.
        album: seconds after which all parts of an album are there.
        sender: shows things.
        meter: is told what came and what was shown.
    """

    def __init__(
        self,
        workspace: Workspace,
        client: Client,
        me: User,
        inbox: Inbox,
        *,
        log: Any,
        sender: Sender,
        seconds: int = SECONDS,
        album: float = _ALBUM,
        meter: Meter = Meter(),  # noqa: B008 - it holds nothing
    ) -> None:
        self._workspace = workspace
        self._client = client
        self._me = me
        self._inbox = inbox
        self._log = log
        self._seconds = seconds
        self._album = album
        self._sender = sender
        self._meter = meter
        self._dialogue = Dialogue(workspace, kept=True)
        self.commands = Commands(workspace, self._dialogue)
        self._requests = Requests(
            workspace, client, me.id, self._dialogue.conversations, takes_files=self.commands.takes_files
        )
        self._chains: dict[str, deque[Waiting]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        # Of updates that could not be kept, those whose senders were told so.
        self._warned: set[int] = set()
        self._stopping = asyncio.Event()
        # Of a webhook nobody knows what Telegram still has for it.
        self._caught_up = asyncio.Event()
        self._caught_up.set()

    # --- taking updates ----------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Ask Telegram for updates until the bot is stopped."""
        self._caught_up.clear()
        async with self.working():
            await poll(
                self.keep,
                self._client,
                until=self._stopping,
                caught_up=self._caught_up,
                pause=self._pause,
                log=self._log,
                seconds=self._seconds,
            )

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Do what there is to do, first what a dead process left; at its end what was begun is ended."""
        tidy(self._workspace.path)
        self._resume()
        beside = [
            asyncio.create_task(work)
            for work in (self._tidy(), self.commands.resume(self._notify), self._tell_commands())
        ]
        try:
            yield
        finally:
            for task in beside:
                task.cancel()
            await asyncio.gather(*beside, return_exceptions=True)
            await self._drain()
            await self.commands.close()

    def _resume(self) -> None:
        """Go on with what a dead process left."""
        left: list[Waiting] = []
        for entry in self._inbox.waiting():
            waiting = self._waiting(entry.body)
            # What cannot be read stays: another release wrote it, and may be back.
            if waiting is not None:
                waiting.entry, waiting.warned, waiting.shown = entry, entry.warned, list(entry.shown)
                left.append(waiting)
        begun: dict[int, dict[str, Waiting]] = {}
        for waiting in left:
            if waiting.told is not None:
                origin = waiting.told.origin
                begun.setdefault(origin.chat, {}).setdefault(origin.where, waiting)
        for first in begun.values():
            # Only the first thing of a chain was begun. Of two topics of a chat nobody could say whose message it is.
            if len(first) == 1:
                next(iter(first.values())).doubtful = True
        for waiting in left:
            self._dispatch(waiting)

    def stop(self) -> None:
        """Take no more updates; `run` ends when what was begun is done."""
        self._stopping.set()

    async def stopped(self) -> None:
        """Wait until the bot is stopped."""
        await self._stopping.wait()

    async def take(self, updates: Sequence[bytes]) -> None:
        """`keep` updates, however long a full disk has to be waited for.

        Raises:
            StoreError: they cannot be kept, and the bot is being stopped.
        """
        failed = 0
        while True:
            try:
                return await self.keep(updates)
            except StoreError:
                failed += 1
                if self._stopping.is_set():
                    raise
                await self._pause(failed)

    async def keep(self, updates: Sequence[bytes]) -> None:
        """Keep updates in the inbox, and begin to do those that are new.

        Args:
            updates: each as JSON; one that cannot be read never will be, and is left out.

        Raises:
            StoreError: they cannot be kept now; who wrote them is told so, once.
        """
        waiting = [one for one in map(self._waiting, updates) if one is not None]
        try:
            new = set(await self._inbox.keep([one.entry for one in waiting]))
        except StoreError as error:
            self._log.error("updates cannot be kept", error=str(error))
            if not self._stopping.is_set():
                await self._tell_down(waiting)
            raise
        for one in waiting:
            self._warned.discard(one.entry.id)
            if one.entry.id in new:
                self._dispatch(one)

    def _waiting(self, body: bytes) -> Waiting | None:
        try:
            update = read(body)
        except ValueError as error:
            self._log.error("cannot be read", update=number_of(body), error=safe(error, self._client.token))
            return None
        said = self._told(update)
        entry = Entry(update.update_id, said.origin.where if said is not None else "", body)
        return Waiting(entry, said, warned=entry.id in self._warned)

    def _told(self, update: Update) -> Told | None:
        everything = self._workspace.settings.bots.groups == "all"
        return told(update, bot=self._me.id, username=self._me.username or "", everything=everything)

    # --- in the order of each chat -----------------------------------------------------------------------------------

    def _dispatch(self, waiting: Waiting) -> None:
        if waiting.told is None:
            self._forget([waiting])
            return
        self._meter.took(waiting.told.kind)
        if _stops(waiting.told) or (waiting.told.kind == "command" and self.commands.is_live(waiting.told.command)):
            self._begin(self._work([waiting]))
        else:
            chain = self._chains.get(waiting.told.origin.where)
            if chain is not None:
                chain.append(waiting)
            else:
                self._chains[waiting.told.origin.where] = deque([waiting])
                self._begin(self._go_on(waiting.told.origin.where))

    def _begin(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _go_on(self, where: str) -> None:
        chain = self._chains[where]
        while chain:
            together = [chain[0]]
            said = chain[0].told
            if said is not None and said.album and said.kind != "edit":
                await asyncio.sleep(self._album)
                parts = [one for one in chain if one.told is not None and one.told.album == said.album]
                together = [one for one in parts if one.told is not None and one.told.kind != "edit"]
            await self._work(together)
            for one in together:
                chain.remove(one)
            if chain:
                chain[0].since = time.monotonic()
                # What was done before the process died, and not written down, was not what it was at then.
                chain[0].doubtful = chain[0].doubtful or together[0].doubtful
        del self._chains[where]

    async def _work(self, together: Sequence[Waiting]) -> None:
        """Do what an update asks for, or all updates of an album as one, until it is done."""
        first = together[0]
        began = time.monotonic()
        failed = 0
        while True:
            try:
                await self._do(together)
                self._forget(together)
                if first.told is not None and first.told.action.startswith(_ERASES):
                    # What they wrote lay here, too.
                    await asyncio.to_thread(self._inbox.tidy)
                break
            except asyncio.CancelledError:
                raise
            except _DownError as error:
                failed += 1
                self._log.warning("tried again later", update=first.entry.id, error=error.words)
                await self._tell_once(first, error.say)
            except BrokenError as error:
                failed += 1
                self._log.warning("tried again later", update=first.entry.id, error=str(error))
                if failed > _UNNOTICED:
                    await self._tell_once(first, self._trouble(first))
            except (StoreError, SettingsError, OSError) as error:
                failed += 1
                self._log.error("tried again later", update=first.entry.id, error=safe(error, self._client.token))
                await self._tell_once(first, self._trouble(first))
            except (UnreachableError, RefusedError) as error:
                self._log.info("not shown", update=first.entry.id, error=str(error))
                self._forget(together)
                return
            except Exception as error:  # noqa: BLE001 - one update that nobody thought of must not end the bot
                self._log.error("given up", update=first.entry.id, error=safe(error, self._client.token), exc_info=True)
                await self._tell_once(first, self._trouble(first, lasting=True))
                self._forget(together)
                return
            if self._stopping.is_set():
                return
            await self._pause(failed)
            first.since = time.monotonic()
        said = first.told
        self._log.info(
            "done",
            update=first.entry.id,
            kind=said.kind if said is not None else "",
            chat=first.entry.chat,
            milliseconds=round((time.monotonic() - began) * 1000, 1),
        )

    def _forget(self, together: Sequence[Waiting]) -> None:
        """Do no more about updates."""
        self._inbox.done(one.entry.id for one in together)

    async def _do(self, together: Sequence[Waiting]) -> None:
        first = together[0]
        parts = [one.told for one in together if one.told is not None]
        if not any(one.addressed for one in parts):
            return
        said = joined(parts)
        if said.kind == "tap":
            await self._acknowledge(said.tap)
        request = await self._requests.made(said)
        place = self._place(said, request.caller.language)
        showing = Showing(self._sender, self._inbox, first, place)
        async with aclosing(self._says(said, request, first.entry.id)) as says:
            async for one in says:
                if isinstance(one, Later):
                    raise _DownError(one.say, str(one.error))
                if isinstance(one, Answering):
                    await self._answer(one, request, showing)
                else:
                    await showing.show(one)

    async def _answer(self, answering: Answering, request: Request, showing: Showing) -> None:
        await showing.stream(answering)
        try:
            # It may have been shown in part only; what broke off is not shown as if it were all.
            async for _piece in answering.answer:
                pass
        except TrainerlibError as error:
            if isinstance(error, InvalidEventError):
                # Its question was erased, and what was shown of the answer to it is taken away.
                await showing.withdraw()
            return  # the dialogue says what went wrong
        reply = answering.reply
        text = reply.text if reply is not None else answering.answer.text
        if not text.strip():
            return
        buttons = self._dialogue.buttons(reply, request.caller, private=request.private) if reply is not None else ()
        ids = await showing.show(Say(text, buttons=buttons))
        if reply is not None:
            self._meter.showed(reply, showing.seconds)
            # The update stays in the inbox until a power cut would spare this.
            await self._workspace.deliver_async(reply.id, [str(one) for one in ids], flush=False)

    async def _written(self, chat: int) -> frozenset[int]:
        """Ids of the messages of a chat that wait here, and of those that Telegram still has: people wrote these."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._caught_up.wait(), _UNREAD)
        waiting = [one.told for chain in self._chains.values() for one in chain if one.told is not None]
        return frozenset(one.message for one in waiting if one.origin.chat == chat and one.kind != "tap")

    async def _acknowledge(self, tap: str) -> None:
        """Have the button stop turning; that it does not is no harm."""
        from aiogram.exceptions import AiogramError

        with suppress(AiogramError), hurried():
            await self._client.answer_callback_query(tap)

    def _says(self, said: Told, request: Request, update: int) -> Any:
        match said.kind:
            case "command":
                return self.commands.run(said.command, request)
            case "tap" if said.action.startswith("cmd:"):
                return self.commands.tap(request, said.action)
            case "tap":
                return self._dialogue.tap(request, said.action)
            case "edit":
                return self._edited(said, request, msgspec.structs.replace(request, key=f"{request.key}:{update}"))
            case "reaction":
                # One that is put again within the second is another one.
                request = msgspec.structs.replace(request, key=f"{request.key}:{update}")
                return self._dialogue.reacted(request, said.added, said.removed)
            case "stop":
                return self._stop_draft(request)
            case _:
                return self._dialogue.hear(request)

    def _edited(self, said: Told, before: Request, request: Request) -> Any:
        """What comes of an edit; its key is another one than the message had: what it says now counts as well."""
        teaches = said.command in _TEACHING
        if teaches and self._workspace.find(before.key) is None:
            return self.commands.run(said.command, request)
        if said.command and not teaches:
            # Whoever edits gives no command; it says what it says.
            request = msgspec.structs.replace(request, text=said.written)
        return self._dialogue.edited(request, before.key, teaches=teaches)

    async def _stop_draft(self, request: Request) -> AsyncIterator[Say]:
        await self._dialogue.cancel(request)
        nothing: tuple[Say, ...] = ()
        for say in nothing:
            yield say

    def _place(self, said: Told, language: str) -> Place:
        origin = said.origin
        return Place(
            origin.chat,
            origin.topic or None,
            said.message if said.kind in ("message", "command") else None,
            origin.private,
            language,
            max(said.message, self._inbox.newest(origin.chat)) or None,
            partial(self._written, origin.chat),
        )

    # --- when something is down --------------------------------------------------------------------------------------

    async def _tell_once(self, waiting: Waiting, say: Say) -> None:
        if not waiting.warned and waiting.told is not None:
            waiting.warned = True
            language = best(waiting.told.origin.language, self._workspace.settings.workspace.language)
            with suppress(UnreachableError, RefusedError):
                await self._show_beside(say, self._place(waiting.told, language))
            with suppress(StoreError):
                self._inbox.warned(waiting.entry.id)

    async def _tell_down(self, waiting: Iterable[Waiting]) -> None:
        for one in waiting:
            if one.told is not None:
                await self._tell_once(one, self._trouble(one))
                self._warned.add(one.entry.id)

    def _trouble(self, waiting: Waiting, *, lasting: bool = False) -> Say:
        said = waiting.told
        _ = speaker(best(said.origin.language if said is not None else "", self._workspace.settings.workspace.language))
        if lasting:
            return Say(_("Something went wrong here. Please tell whoever runs this bot."))
        return Say(_("I cannot work right now. What you wrote is not lost, and I will answer as soon as I can."))

    async def _pause(self, failed: int) -> None:
        wait = min(FIRST_WAIT * 2.0 ** min(failed - 1, 16), LONGEST_WAIT)
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), wait)

    # --- beside the updates ------------------------------------------------------------------------------------------

    async def _notify(self, person: str, say: Say) -> bool:
        """Show something to a person who is on Telegram."""
        platform, _, number = person.partition(":")
        if platform != "telegram" or not number.isdecimal():
            return False
        try:
            await self._show_beside(say, Place(int(number)))
        except (TrainerlibError, OSError) as error:
            self._log.info("not told", error=safe(error, self._client.token))
            return False
        return True

    async def _show_beside(self, say: Say, place: Place) -> None:
        """Show something that no update asked for."""

        def sent(message: int) -> None:
            # A full disk may be what there is to tell.
            with suppress(StoreError):
                self._inbox.showed(place.chat, message)

        await self._sender.show(say, place, on_sent=sent)

    async def _tell_commands(self) -> None:
        """Have Telegram show the commands that everybody may give, in each language; its menu is no more than a hint."""
        from aiogram.exceptions import TelegramAPIError
        from aiogram.types import BotCommand

        for language in languages():
            listed = [
                BotCommand(command=name, description=what) for name, what in self.commands.listed("person", language)
            ]
            with suppress(TelegramAPIError):
                await self._client.set_my_commands(listed, language_code=language if language != "en" else None)

    async def _tidy(self) -> None:
        while True:
            with suppress(StoreError):
                await asyncio.to_thread(self._inbox.tidy)
            for _ in range(_TIDY):
                await asyncio.sleep(_SETTLE)
                with suppress(StoreError):
                    await asyncio.to_thread(self._inbox.settle)

    async def _drain(self) -> None:
        if self._tasks:
            await asyncio.wait(set(self._tasks), timeout=_DRAIN)
        for task in set(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))


class _DownError(Exception):
    """Something that an answer needs is down; the same request is done again later."""

    def __init__(self, say: Say, words: str) -> None:
        super().__init__(words)
        self.say = say
        self.words = words


def _stops(said: Told) -> bool:
    """Whether it stops something, and so cannot wait for its turn."""
    return (
        said.kind == "stop"
        or (said.kind == "tap" and said.action.startswith("stop:"))
        or (said.kind == "command" and said.command == "cancel")
    )
