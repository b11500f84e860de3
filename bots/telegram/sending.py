"""What the bot shows in Telegram: messages in their order, each once, and answers while they are written.

What is shown is a row of messages. The id of each is handed over as soon as Telegram has taken it, so that whoever keeps it
can go on where a killed process was. One window stays: Telegram has a message, and its id is not kept yet, because the
process died or the connection broke. Then the bot looks for the message before it sends it again: it "edits" the next few
messages after the newest one that it knows of into what it was about to send. Telegram changes nothing where that stands
already, and says so. Only a message that is not found is sent again: rather twice than never, where a chat or the bot is
so busy that the message lies further on.

An answer is shown while it is written. In a chat of two that is a draft, which the answer takes the place of. In a group it
is a message, whose id is kept as well; the first message of the answer is an edit of it, so after a crash the same message
is finished and no second one is sent. Showing an answer early is an extra: when anything goes wrong it ends, and the whole
answer is sent in the end.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from functools import cache
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import WeakValueDictionary

import msgspec
from msgspec import structs

from bots.port import Button, Say
from bots.telegram.formatting import Piece, pieces
from bots.telegram.session import send_message
from bots.telegram.transport import FIRST_WAIT, LONGEST_WAIT, Transport, UnknownOutcomeError, hurried, safe, uncounted
from bots.texts import speaker
from trainerlib.errors import TrainerlibError

if TYPE_CHECKING:
    from aiogram import Bot
    from aiogram.methods import TelegramMethod

_CAPTION = 1024
"""UTF-16 units that may stand under a file."""

_LOOKED_AT = 8
"""Messages after the newest known one that are looked at for a message that may have been sent."""

_SEND_SECONDS, _FILE_SECONDS, _EARLY_SECONDS = 30, 600, 10
"""For how long an answer of Telegram is waited for."""

_UNMODIFIED = "message is not modified"

_GONE = (
    "chat not found", "user not found", "bot was kicked", "bot is not a member", "chat was deleted", "group is deactivated",
    "thread not found", "topic_closed", "topic_deleted", "topic_id_invalid", "not enough rights", "have no rights",
    "write_forbidden", "chat_restricted", "user is deactivated", "peer_id_invalid", "send_plain_forbidden",
)  # fmt: skip
"""What Telegram says of a chat that nothing can be sent to."""

_log = logging.getLogger(__name__)


class UnreachableError(TrainerlibError):
    """Nobody is there any more: the bot was blocked or put out, or the chat or topic is gone. No other try will do."""


class RefusedError(TrainerlibError):
    """Telegram does not take this message, and will not later."""


class Place(msgspec.Struct, frozen=True):
    """Where something is shown.

    Attributes:
        chat: id of the chat.
        thread: topic in it.
        message: id of the message that is answered.
        private: a chat of two.
        language: of whoever asked.
        newest: id of the newest message in the chat that is known, from the people or from the bot, before a restart
            too: a message that the bot has after it can only be one whose id it was not told. One before that must never
            be given: what is looked for would be put in the place of another message. `None`, where the newest is not
            known for certain: then nothing is looked for.
        others: finds out which messages after `newest` are of the people; they need not be looked at.
    """

    chat: int
    thread: int | None = None
    message: int | None = None
    private: bool = True
    language: str = "en"
    newest: int | None = None
    others: Callable[[], Awaitable[frozenset[int]]] | None = None


class Tempo(msgspec.Struct, frozen=True):
    """When an answer is shown while it is written, in seconds.

    Attributes:
        after: of writing that is shown as such, before there is anything of it; a short answer is whole by then.
        draft: in a chat of two.
        edit: in a group, where 20 messages and edits a minute are allowed.
        typing: between two signs that something is written; Telegram shows one for five.
    """

    after: float = 0.3
    draft: float = 0.7
    edit: float = 3.0
    typing: float = 4.5


class Sender:
    """Shows things in the chats of a bot. All that a bot sends goes through one.

    Args:
        bot: the bot, with `transport` in its session; that is done here.
        transport: how requests get to Telegram.
        tempo: how often an answer is shown while it is written.
    """

    def __init__(self, bot: Bot, *, transport: Transport | None = None, tempo: Tempo = Tempo()) -> None:  # noqa: B008 - a frozen value
        self._bot = bot
        self._transport = transport or Transport()
        self._tempo = tempo
        self._newest: dict[int, int] = {}
        self._moved: dict[int, int] = {}
        self._orders: WeakValueDictionary[int, asyncio.Lock] = WeakValueDictionary()
        bot.session.middleware(self._transport)

    # --- what is to stay ---------------------------------------------------------------------------------------------

    async def show(
        self,
        say: Say,
        place: Place,
        *,
        sent: Sequence[int] = (),
        on_sent: Callable[[int], object],
        last: int | None = None,
        streamed: bool = False,
        doubtful: bool = False,
    ) -> list[int]:
        """Show something, however long Telegram takes; messages of a chat keep their order.

        Args:
            say: what.
            place: where.
            sent: ids of its messages that are there already, in order; more than it has are of what comes after it.
            on_sent: called with the id of each further message as soon as Telegram took it.
            last: the message in whose place something is put that `replaces`.
            streamed: it went through `stream`: in a group the first of `sent` is made what it is to be.
            doubtful: the next message may be there already, of a process that was killed before it could say so.

        Returns:
            Ids of its messages, in order: those from `sent` as far as they are its own, or `last`, and the new ones.

        Raises:
            UnreachableError: nobody is there; nothing more needs to be sent to the chat.
            RefusedError: Telegram does not take it.
        """
        messages = self._messages(say, place)
        shown: list[int] = []
        if say.replaces and last is not None and not streamed:
            there = await self._edited(messages[0], last)
            shown += [last] if there else []
            known = list(sent[: len(messages) - len(shown)])
        else:
            known = list(sent[: len(messages)])
            if streamed and known and not place.private and not await self._edited(messages[0], known[0]):
                # Somebody deleted it; what came after it need not come twice.
                known = known if known[1:] else []
        shown += known
        for method in messages[len(shown) :]:
            shown.append(await self._send(method, place, on_sent, doubtful=doubtful))
            doubtful = False
        return shown

    def _messages(self, say: Say, place: Place) -> list[Any]:
        """The requests that show something, in order."""
        from aiogram.methods import SendDocument
        from aiogram.types import FSInputFile, ReplyParameters

        texts = pieces(say.text, plain=say.plain)
        caption: list[Piece] = []
        if say.file is not None:
            caption = pieces(say.text, plain=say.plain, limit=_CAPTION)
            texts, caption = ([], caption) if len(caption) <= 1 else (texts, [])
        elif not texts:
            texts = [Piece("…")]
        where: dict[str, Any] = {"chat_id": place.chat, "message_thread_id": place.thread}
        send = send_message()
        messages: list[Any] = [
            send(
                **where,
                text=piece.text,
                entities=_entities(piece),
                parse_mode=None,
                link_preview_options=_no_preview(),
            )
            for piece in texts
        ]
        if say.file is not None:
            under = caption[0] if caption else Piece("")
            messages.append(
                SendDocument(
                    **where,
                    document=FSInputFile(say.file),
                    caption=under.text or None,
                    caption_entities=_entities(under),
                    parse_mode=None,
                )
            )
        messages[-1].reply_markup = _markup(say)
        if not place.private and place.message is not None:
            reply = ReplyParameters(message_id=place.message, allow_sending_without_reply=True)
            messages[0].reply_parameters = reply
            # Whoever is asked is found by the message that the question answers.
            messages[-1].reply_parameters = reply if say.asks else messages[-1].reply_parameters
        return messages

    async def _send(
        self, method: TelegramMethod[Any], place: Place, on_sent: Callable[[int], object], *, doubtful: bool = False
    ) -> int:
        """Send one message, once as far as that can be found out."""
        file = getattr(method, "document", None)
        if file is not None and not await asyncio.to_thread(Path(file.path).is_file):
            raise RefusedError("there is no such file any more")
        wait = FIRST_WAIT
        # Topics of a chat are at work side by side: what another was sending when the process died is not ours to change.
        doubtful = doubtful and place.thread is None
        async with self._order(place.chat):
            newest = max(place.newest or 0, self._newest.get(place.chat, 0))
            while True:
                message = await self._find(method, newest, place) if doubtful and newest else None
                if message is not None:
                    break
                try:
                    message = (await self._asked(method, seconds=_FILE_SECONDS if file else _SEND_SECONDS)).message_id
                    break
                except UnknownOutcomeError as error:
                    _log.warning("%s", error)
                doubtful = True
                await self._transport.sleep(wait)
                wait = min(2 * wait, LONGEST_WAIT)
            self._newest[place.chat] = max(newest, message)
            on_sent(message)
        return int(message)

    async def _find(self, method: TelegramMethod[Any], newest: int, place: Place) -> int | None:
        """The id of a message that was sent already, if it is one of the next."""
        edit = _as_edit(method)
        if edit is None:
            return None
        others = await place.others() if place.others is not None else frozenset[int]()
        for number in islice((one for one in count(newest + 1) if one not in others), _LOOKED_AT):
            edit.message_id = number
            with uncounted():
                if await self._stands(edit):
                    _log.info("message %d was sent before", number)
                    return number
        return None

    async def _edited(self, method: TelegramMethod[Any], message: int) -> bool:
        """Put something in the place of a message; false when it is not there, or cannot be changed."""
        edit = _as_edit(method)
        if edit is None:
            return False
        edit.message_id = message
        return await self._stands(edit)

    async def _stands(self, edit: Any, *, seconds: int = _SEND_SECONDS) -> bool:
        """Whether a message says what it is edited into, now or before; false for one that cannot be edited."""
        try:
            await self._asked(edit, seconds=seconds)
        except RefusedError as error:
            return _UNMODIFIED in str(error)
        return True

    async def _asked(self, method: Any, *, seconds: int = _SEND_SECONDS) -> Any:
        """Make a request about a chat; what Telegram refuses because of how the words look is sent without that."""
        from aiogram.exceptions import (
            TelegramBadRequest,
            TelegramEntityTooLarge,
            TelegramForbiddenError,
            TelegramMigrateToChat,
            TelegramNotFound,
        )

        method.chat_id = self._moved.get(method.chat_id, method.chat_id)
        try:
            return await self._bot(method, request_timeout=seconds)
        except TelegramMigrateToChat as error:
            self._moved[method.chat_id] = error.migrate_to_chat_id
            method.reply_parameters = None
            return await self._asked(method, seconds=seconds)
        except TelegramForbiddenError as error:
            raise UnreachableError(safe(error, self._bot.token)) from error
        except (TelegramBadRequest, TelegramEntityTooLarge, TelegramNotFound) as error:
            said = error.message.lower()
            if any(words in said for words in _GONE):
                raise UnreachableError(safe(error, self._bot.token)) from error
            looks = next((name for name in ("entities", "caption_entities") if getattr(method, name, None)), None)
            if looks and ("entit" in said or "parse" in said or "url" in said):
                _log.warning("telegram refuses how a message looks: %s", safe(error, self._bot.token))
                setattr(method, looks, None)
                return await self._asked(method, seconds=seconds)
            raise RefusedError(safe(error, self._bot.token)) from error

    def _order(self, chat: int) -> asyncio.Lock:
        """Held while a message of a chat is sent."""
        lock = self._orders.get(chat)
        if lock is None:
            lock = self._orders[chat] = asyncio.Lock()
        return lock

    # --- what is being written ---------------------------------------------------------------------------------------

    async def stream(
        self,
        answer: AsyncIterator[str],
        place: Place,
        question: int,
        *,
        sent: Sequence[int] = (),
        on_sent: Callable[[int], object],
        doubtful: bool = False,
    ) -> list[int]:
        """Show an answer while it is written, as far as that works; then `show` it as `streamed`, with these as `sent`.

        Args:
            answer: pieces of it, as they come.
            place: where.
            question: id of what is answered: the id of the draft, and in the action of the button that stops it.
            sent: ids of messages that are there already, of a process that was killed.
            on_sent: called with the id of the message that a group is shown, as soon as Telegram took it.
            doubtful: that message may be there already.

        Returns:
            `sent`, or the id of the message that a group was shown.

        Raises:
            As reading the answer does.
        """
        sent = list(sent)
        typing = asyncio.create_task(self._type(place))
        try:
            every = self._tempo.draft if place.private else self._tempo.edit
            async with aclosing(_growing(answer, self._tempo.after, every)) as texts:
                async for text in texts:
                    typing.cancel()
                    if place.private:
                        goes_on = await self._draft(text, place, question)
                    elif sent:
                        goes_on = await self._update(text, place, question, sent[0])
                    else:
                        goes_on = True
                        sent.append(await self._begin(text, place, question, on_sent, doubtful=doubtful))
                    if not goes_on:
                        break
        except (UnreachableError, RefusedError) as error:
            # Sending the whole answer says so again.
            _log.info("an answer is not shown while it is written: %s", error)
        finally:
            typing.cancel()
        return sent

    async def _type(self, place: Place) -> None:
        """Say that something is being written, until this is cancelled."""
        from aiogram.exceptions import AiogramError
        from aiogram.methods import SendChatAction

        with suppress(AiogramError), hurried():
            while True:
                action = SendChatAction(chat_id=place.chat, message_thread_id=place.thread, action="typing")
                await self._bot(action, request_timeout=_EARLY_SECONDS)
                await asyncio.sleep(self._tempo.typing)

    async def _draft(self, text: str, place: Place, question: int) -> bool:
        """Show the end of what is written as a draft; false when that does not work."""
        from aiogram.methods import SendMessageDraft

        if not self._transport.pace.room(place.chat):
            return True
        piece = pieces(text)[-1]
        return await self._early(
            SendMessageDraft(
                chat_id=place.chat,
                message_thread_id=place.thread,
                draft_id=question,
                text=piece.text,
                entities=_entities(piece),
                parse_mode=None,
                can_stop=True,
                keep_on_stop=True,
            )
        )

    async def _begin(
        self, text: str, place: Place, question: int, on_sent: Callable[[int], object], *, doubtful: bool
    ) -> int:
        """Send the message that an answer is written into."""
        return await self._send(self._unfinished(text, place, question), place, on_sent, doubtful=doubtful)

    async def _update(self, text: str, place: Place, question: int, message: int) -> bool:
        """Show the beginning of what is written in that message; false when that does not work."""
        pace = self._transport.pace
        if not pace.room(place.chat) or pace.take(place.chat):
            return True
        edit = _as_edit(self._unfinished(text, place, question))
        edit.message_id = message
        return await self._early(edit)

    def _unfinished(self, text: str, place: Place, question: int) -> Any:
        """The first message of an answer, with a button that stops it."""
        message = self._messages(Say(text), place)[0]
        _ = speaker(place.language)
        stop = Button(_("Stop"), f"stop:{question}")
        message.reply_markup = _markup(Say("", buttons=((stop,),)))
        return message

    async def _early(self, method: Any) -> bool:
        """Make a request that can be done without; false when it failed."""
        from aiogram.exceptions import AiogramError

        try:
            with hurried():
                return await self._stands(method, seconds=_EARLY_SECONDS)
        except (AiogramError, UnreachableError) as error:
            _log.info("an answer is not shown while it is written: %s", safe(error, self._bot.token))
            return False


async def _growing(answer: AsyncIterator[str], after: float, every: float) -> AsyncGenerator[str]:
    """What is written of an answer: first after some seconds, then whenever there is more, but not too often."""

    async def more() -> str | None:
        return await anext(answer, None)

    loop = asyncio.get_running_loop()
    text = told = ""
    due = loop.time() + after
    coming = asyncio.create_task(more())
    try:
        while True:
            wait = max(0.0, due - loop.time()) if text.strip() and text != told else None
            await asyncio.wait((coming,), timeout=wait)
            if coming.done():
                piece = coming.result()
                if piece is None:
                    return
                text += piece
                coming = asyncio.create_task(more())
            if text.strip() and text != told and loop.time() >= due:
                yield text
                told, due = text, loop.time() + every
    finally:
        coming.cancel()
        # Its trouble is that of whoever waits for the answer.
        await asyncio.wait((coming,))


@cache
def _no_preview() -> Any:
    from aiogram.types import LinkPreviewOptions

    return LinkPreviewOptions(is_disabled=True)


def _entities(piece: Piece) -> list[Any] | None:
    from aiogram.types import MessageEntity

    return [MessageEntity(**structs.asdict(entity)) for entity in piece.entities] or None


def _markup(say: Say) -> Any:
    """The buttons under something, or that an answer to it is asked for."""
    from aiogram.types import ForceReply, InlineKeyboardButton, InlineKeyboardMarkup

    if say.asks:
        return ForceReply(selective=True)
    rows = [[InlineKeyboardButton(text=one.label, callback_data=one.action) for one in row] for row in say.buttons]
    return InlineKeyboardMarkup(inline_keyboard=rows) if rows else None


def _as_edit(method: Any) -> Any:
    """The edit that makes a message of what would send it; `None` for what no edit makes."""
    from aiogram.methods import EditMessageText, SendMessage
    from aiogram.types import ForceReply

    if not isinstance(method, SendMessage) or isinstance(method.reply_markup, ForceReply):
        return None
    return EditMessageText(
        chat_id=method.chat_id,
        text=method.text,
        entities=method.entities,
        parse_mode=None,
        link_preview_options=method.link_preview_options,
        reply_markup=method.reply_markup,
    )
