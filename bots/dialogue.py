"""A talk with the bot: what is said is recorded and answered, once, whatever the platform.

>>> import asyncio, trainerlib
>>> from bots.port import Caller
>>> async def talk(ws):
...     dialogue = Dialogue(ws)
...     said = Request(Caller("telegram:7", "Ben"), "telegram:42", "When are you open?", key="telegram:1:42:1001")
...     async for shown in dialogue.hear(said):
...         if isinstance(shown, Answering):
...             print("".join([piece async for piece in shown.pieces()]))
...             ws.deliver(shown.reply.id, ["1002"])
>>> with trainerlib.open(tmp / "shop") as ws:
...     asyncio.run(talk(ws))
...     asyncio.run(talk(ws))
I do not know this yet. If somebody corrects this answer, I will give the corrected one next time.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import aclosing, suppress
from datetime import UTC, datetime

import msgspec

from bots.consent import Privacy
from bots.conversations import Conversations
from bots.documents import text_of
from bots.port import Request, Say, Upload
from bots.teaching import Teaching, parse
from bots.texts import speaker
from trainerlib import Answer, Attachment, Chat, Message, TrainerlibError, Workspace
from trainerlib.errors import (
    BudgetError,
    InvalidEventError,
    ModelError,
    ModelUnavailableError,
    NotFoundError,
    UploadRefusedError,
)

_QUOTE = "quote"
"""Name of the part of a message that holds what it quotes."""

_MEGABYTE = 1_000_000


class Answering(msgspec.Struct, frozen=True):
    """An answer on its way, to be shown as it is written.

    Whoever shows it goes on with the iterator it came from: that tells what went wrong, if anything did. A reply that was
    shown gets `Dialogue.buttons`, and `Workspace.deliver` is told the ids it has on the platform.

    Attributes:
        answer: the answer.
        question: what it answers, as it was recorded; `None` when nothing is recorded of who asked.
    """

    answer: Answer
    question: Message | None

    @property
    def reply(self) -> Message | None:
        """The reply, once it is recorded; `None` for ever when nothing is recorded, or nothing was written."""
        return self.answer.message

    async def pieces(self) -> AsyncIterator[str]:
        """What is written, as it is written; ends when the model fails as well."""
        with suppress(TrainerlibError):
            async for piece in self.answer:
                yield piece


class Later(msgspec.Struct, frozen=True):
    """The model does not answer now: the question stays open, and the same request may be heard again later.

    Attributes:
        say: what the person is told, the first time.
        error: why, for the log.
    """

    say: Say
    error: ModelUnavailableError


Shown = Say | Answering | Later


class _Asked(msgspec.Struct, frozen=True):
    """What an answer that is being written is for.

    Attributes:
        chat: id of the chat.
        person: who asked.
        question: id of the question; `None` when nothing is recorded.
    """

    chat: str
    person: str
    question: int | None

    def may_stop(self, request: Request) -> bool:
        """Whether whoever asks for it may stop the answer: in a group only whoever it is for, or a trainer."""
        return self.chat == request.chat and (
            request.private or request.caller.role != "person" or request.caller.person == self.person
        )


class _Read(msgspec.Struct, frozen=True):
    """What could be read of a file.

    Attributes:
        text: its words.
        refused: why there are none, as a sentence of `bots.texts`; empty for what has no words to read.
    """

    text: str = ""
    refused: str = ""


class Dialogue:
    """What the bots of all platforms do with what people say. One for a workspace and an event loop.

    What happens to a chat is to be given to it in order, one after the other; but `cancel`, `stop` and the tap on a *Stop*
    button at once. Every method may be called again with the same request, after a crash: what was recorded is not
    recorded twice, and the same is said.

    Args:
        workspace: where it is recorded, and what answers.
        kept: whoever gives it what people say has that on the disk until `EventStore.flushed` says that the log has it.
        documents: reads the words of a document, called as `bots.documents.text_of` is.
        clock: the time now, with its zone.

    Attributes:
        conversations: which conversation of a chat goes on.
        buttons: what is shown under an answer.
        correct: `/correct`.
        feedback: `/feedback`.
        reacted: a reaction was put to an answer, or taken back.
        privacy: `/privacy`.
        consent: `/consent`.
        forget: `/forget`.
        export: `/export`.
    """

    def __init__(
        self,
        workspace: Workspace,
        *,
        kept: bool = False,
        documents: Callable[..., str] = text_of,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._workspace = workspace
        self._kept = kept
        self._documents = documents
        self.conversations = Conversations(workspace)
        self._privacy = Privacy(workspace, self.conversations, clock)
        self._teaching = Teaching(workspace, self.conversations, self._privacy)
        self.buttons = self._teaching.buttons
        self.correct = self._teaching.correct
        self.feedback = self._teaching.feedback
        self.reacted = self._teaching.reacted
        self.privacy = self._privacy.privacy
        self.consent = self._privacy.consent
        self.forget = self._privacy.forget
        self.export = self._privacy.export
        # Each answer that is being written.
        self._running: dict[Answer, _Asked] = {}

    def conversation(self, chat: str, *, private: bool = True, title: str = "") -> Chat:
        """The conversation of a chat that goes on.

        Args:
            chat: id of the chat, `telegram:42`, or of a topic in it.
            private: a chat of two; it has no title.
            title: name of the chat.
        """
        return self.conversations.current(chat, title="" if private else title)

    # --- what is said ------------------------------------------------------------------------------------------------

    async def hear(self, request: Request) -> AsyncGenerator[Shown]:
        """Take what somebody said: record and answer it, or learn from it where it corrects or rates an answer.

        To be read to its end, with `contextlib.aclosing` around it.

        Args:
            request: what they said.

        Raises:
            StoreError: it cannot be recorded now; the same request may be heard again.
            SettingsError: the workspace's instruction cannot be read.
        """
        if _teaches(request):
            async for say in self._taught(request):
                yield say
            # It has no place in the log to be found at when its sender is erased.
            self.discard(request)
            return
        if not request.text.strip() and not request.files:
            return
        heard = self._hear if self._privacy.records(request.caller) else self._hear_unrecorded
        async with aclosing(heard(request)) as shown:
            async for one in shown:
                yield one

    def _taught(self, request: Request) -> AsyncIterator[Say]:
        taught = parse(request.text, request.asked)
        return self.feedback(request) if taught is not None and taught.what == "feedback" else self.correct(request)

    async def _hear(self, request: Request) -> AsyncGenerator[Shown]:
        question = self._workspace.find(request.key) if request.key else None
        chat = self.conversation(request.chat, private=request.private, title=request.title)
        if question is not None:
            # It may have been said before the conversation that goes on.
            chat = self._workspace.conversation(self._workspace.conversation_of(question.id))
            self.discard(request)
            if _is_delivered(chat, question):
                return
        files = [await self._read(upload) for upload in request.files]
        if question is None:
            question = await self._recorded(chat, request, files)
        introduction = self._privacy.introduction(request, question)
        if introduction is not None:
            yield introduction
        for say in self._misses(request, files):
            yield say
        if question.content.strip() and not question.deleted:
            async with aclosing(self._answered(request, self._workspace.reply(chat, to=question), question)) as shown:
                async for one in shown:
                    yield one

    async def _hear_unrecorded(self, request: Request) -> AsyncGenerator[Shown]:
        """Answer somebody of whom nothing is recorded: each message by itself, and their files are not kept."""
        introduction = self._privacy.introduction(request, None)
        if introduction is not None:
            yield introduction
        files = [await self._read(upload) for upload in request.files]
        for say in self._misses(request, files):
            yield say
        parts = (request.text, *(file.text for file in files), _quotation(request))
        words = "\n\n".join(part for part in parts if part.strip())
        if words:
            answer = self._workspace.answer_unrecorded(
                words, conversation=self.conversations.current(request.chat).id, person=request.caller.person
            )
            async with aclosing(self._answered(request, answer, None)) as shown:
                async for one in shown:
                    yield one
                    if isinstance(one, Later):
                        return
        self.discard(request)

    async def _answered(self, request: Request, answer: Answer, question: Message | None) -> AsyncGenerator[Shown]:
        _ = speaker(request.caller.language)
        self._running[answer] = _Asked(request.chat, request.caller.person, None if question is None else question.id)
        try:
            yield Answering(answer, question)
            async for _piece in answer:
                pass
        except ModelUnavailableError as error:
            yield Later(Say(_("I cannot answer right now. I will try again, so you need not ask twice.")), error)
        except BudgetError:
            yield Say(_("So much was asked today that I may not answer any more. Please ask again tomorrow."))
        except ModelError:
            yield Say(_("I cannot answer this. Please tell whoever runs this bot."))
        except InvalidEventError:
            # Erased or taken down while it was answered: nobody waits for it.
            return
        finally:
            del self._running[answer]

    def _misses(self, request: Request, files: Sequence[_Read]) -> Iterator[Say]:
        """What the bot could not take in of a message, in a sentence each."""
        _ = speaker(request.caller.language)
        limit = self._workspace.settings.bots.upload_mb
        said: dict[str, None] = {}
        for upload, file in zip(request.files, files, strict=True):
            name = upload.name or upload.kind
            if upload.path is None and upload.size > limit * _MEGABYTE:
                told = _("{name} is too large: I take files of up to {limit} MB.").format(name=name, limit=limit)
            elif upload.refused:
                told = f"{name}: {_(upload.refused)}"
            elif upload.path is None:
                told = _("{name} did not arrive. Please send it again.").format(name=name)
            elif upload.kind in ("voice", "audio"):
                told = _("I cannot hear yet. Please write it to me.")
            elif upload.kind == "document":
                told = f"{name}: {_(file.refused)}" if file.refused else ""
            else:
                told = "" if request.text.strip() else _("I cannot see pictures yet. Please write what it is about.")
            if told:
                # The pictures of an album are told once.
                said[told] = None
        for told in said:
            yield Say(told, plain=True)

    async def _read(self, upload: Upload) -> _Read:
        if upload.kind != "document" or upload.path is None:
            return _Read()
        try:
            return _Read(await asyncio.to_thread(self._documents, upload.path, name=upload.name, mime=upload.mime))
        except UploadRefusedError as error:
            return _Read(refused=str(error))

    # --- what is recorded --------------------------------------------------------------------------------------------

    async def _recorded(self, chat: Chat, request: Request, files: Sequence[_Read]) -> Message:
        attachments = [self._attachment(upload, file.text) for upload, file in zip(request.files, files, strict=True)]
        about = None
        with suppress(NotFoundError):
            if request.about is not None and self._workspace.conversation_of(request.about) == chat.id:
                about = self._workspace.message(request.about)
        if quotation := _quotation(request, about):
            attachments.append(Attachment("other", name=_QUOTE, text=quotation))
        return await chat.record_async(
            "user",
            request.text,
            author=request.caller.person,
            name=request.caller.name,
            sent_at=request.sent_at,
            in_reply_to=about,
            attachments=attachments,
            key=request.key or None,
            flush=not self._kept,
        )

    def _attachment(self, upload: Upload, text: str) -> Attachment:
        fields = {
            "kind": upload.kind,
            "file": self._file(upload),
            "name": upload.name,
            "media_type": upload.mime,
            "size": upload.size or None,
            "duration": upload.seconds or None,
            "text": text,
        }
        return msgspec.convert(fields, Attachment)

    def _file(self, upload: Upload) -> str:
        """What the log calls a file."""
        if upload.path is None:
            return ""
        return upload.path.resolve().relative_to((self._workspace.path / "files").resolve()).as_posix()

    def discard(self, request: Request) -> None:
        """Delete the files of a message that no message of its chat holds: nobody could find them in the log.

        Args:
            request: the message.
        """
        uploads = [upload for upload in request.files if upload.path is not None]
        if not uploads:
            return
        chats = self.conversations.all(request.chat)
        held = {part.file for chat in chats for message in chat.messages for part in message.attachments}
        for upload in uploads:
            if upload.path is not None and self._file(upload) not in held:
                upload.path.unlink(missing_ok=True)

    async def edited(self, request: Request, original: str, *, teaches: bool = False) -> AsyncIterator[Say]:
        """A message was changed on its platform. A correction that was changed counts as it is now.

        Args:
            request: the message as it is now, sent when it was changed, with a key of this change.
            original: the key it was heard with.
            teaches: it was changed into a command that corrects or rates an answer.
        """
        message = self._workspace.find(original)
        if message is not None and (teaches or _teaches(request)):
            _ = speaker(request.caller.language)
            yield Say(_("I have taken this for a question. To teach me with it, please send it as a new message."))
        elif message is not None:
            self._workspace.edit(message.id, request.text, edited_at=request.sent_at)
        elif _teaches(request):
            async for say in self._taught(request):
                yield say

    def deleted(self, original: str) -> None:
        """A message was taken down on its platform; one that was never recorded is no error.

        Args:
            original: the key it was heard with.
        """
        message = self._workspace.find(original)
        if message is not None:
            self._workspace.delete(message.id)

    # --- the rest ----------------------------------------------------------------------------------------------------

    async def new(self, request: Request) -> AsyncIterator[Say]:
        """`/new`: the next message begins a fresh conversation."""
        _ = speaker(request.caller.language)
        self.conversations.begin_anew(request.chat, title="" if request.private else request.title)
        yield Say(_("A fresh conversation: what was said before does not matter any more."))

    async def tap(self, request: Request, action: str) -> AsyncIterator[Say]:
        """A tap on any button of the ones shown here.

        Args:
            request: the tap.
            action: of the button.
        """
        name, _, rest = action.partition(":")
        answer, _, person = rest.partition(":")
        if name == "stop":
            if answer.isdecimal():
                await self.stop(int(answer), request)
            return
        if name == "consent" and answer in ("yes", "no"):
            says = self._privacy.decide(request, allowed=answer == "yes")
        elif name == "forget" and person:
            says = self._privacy.settle(request, answer, person)
        else:
            says = self._teaching.tap(request, action)
        async for say in says:
            yield say

    async def cancel(self, request: Request) -> int:
        """Stop the answers that are being written; what was written so far stays.

        In a group people stop answers to themselves, trainers and owners those to anybody.

        Args:
            request: who asks for it, and in which chat.

        Returns:
            How many there were.
        """
        answers = [answer for answer, asked in self._running.items() if asked.may_stop(request)]
        await _stopped(answers)
        return len(answers)

    async def stop(self, question: int, request: Request) -> bool:
        """Stop the answer to a question, as `cancel` does; what was written so far stays.

        Args:
            question: id of the question.
            request: who asks for it, and in which chat.

        Returns:
            Whether it was being written, and is not any more.
        """
        answers = [
            answer for answer, asked in self._running.items() if asked.question == question and asked.may_stop(request)
        ]
        await _stopped(answers)
        return bool(answers)


async def _stopped(answers: Iterable[Answer]) -> None:
    for answer in answers:
        # Whoever shows the answer is told what went wrong.
        with suppress(TrainerlibError):
            await answer.stop()


def _teaches(request: Request) -> bool:
    """Whether a message is no question but corrects or rates an answer."""
    taught = parse(request.text, request.asked)
    return taught is not None and (taught.reply is not None or request.about is not None)


def _is_delivered(chat: Chat, question: Message) -> bool:
    """Whether the platform has the reply to a question."""
    replies = (message for message in chat.messages if message.in_reply_to == question.number)
    return any(reply.role == "assistant" and reply.delivered is not None for reply in replies)


def _quotation(request: Request, about: Message | None = None) -> str:
    """The words a message quotes, as a quotation; empty when they are the whole of what it replies to anyway."""
    if about is not None and _letters(request.quoted) == _letters(about.text):
        return ""
    return "\n".join(f"> {line}" for line in request.quoted.strip().splitlines())


def _letters(text: str) -> str:
    """A text without what its formatting may add to it."""
    return "".join(filter(str.isalnum, text))
