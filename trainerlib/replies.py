"""Replies: a question that was recorded is answered once, by the model that answers its conversation.

What a model is shown is decided in `trainerlib.prompts`. The answer is one event under a key of the question's own, so
whoever asks again, here or in another process, is given the first reply.

>>> import asyncio, trainerlib
>>> async def talk(ws):
...     chat = ws.conversation("telegram:42")
...     question = chat.record("user", "When are you open?")
...     reply = await ws.reply(chat, to=question)
...     ws.correct(reply.id, "9 to 18, every day.", by="telegram:1")
...     answer = ws.reply(chat, to=chat.record("user", "When are you open, please?"))
...     return "".join([piece async for piece in answer]), answer.known
>>> with trainerlib.open(tmp / "shop") as ws:
...     asyncio.run(talk(ws))
('9 to 18, every day.', True)
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Generator, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from trainerlib.blanking import is_erased
from trainerlib.chat.memory import MEMORY
from trainerlib.chat.port import ChatModel, Completion, Prompt
from trainerlib.conversations import Message, fold, message_of
from trainerlib.errors import InvalidEventError, KeyConflictError, ModelError, ModelUnavailableError, NotFoundError
from trainerlib.events import (
    Event,
    JsonObject,
    MessageRecorded,
    RecordedEvent,
    ReplyDelivered,
    ReplyFailed,
    ReplyGenerated,
    conversation_stream,
)
from trainerlib.prices import chat_cost, chat_price
from trainerlib.prompts import Prompts, Shown
from trainerlib.recall import Recalled
from trainerlib.redaction import Redactor
from trainerlib.settings import Settings
from trainerlib.store.eventstore import EventStore
from trainerlib.tokens import ESTIMATE, count_chat

if TYPE_CHECKING:
    from trainerlib.budgets import Budgets

_OPEN = 2
"""Models that stay open while no answer is written with them: the one that answers, and a candidate."""

_SECRETS = Redactor(("secret",))


class Answer:
    """An answer on its way. Made by `Workspace.reply`; nothing happens before it is waited for or read.

    `await answer` gives the whole reply; `async for piece in answer` gives it piece by piece as it is written. It goes on
    being written whoever stops reading; only `stop`, or the end of the event loop, ends it early.
    """

    def __init__(self, start: Callable[[], _Writing]) -> None:
        self._start = start
        self._writing: _Writing | None = None

    @property
    def model(self) -> str:
        """Name of the model, once it is known."""
        return "" if self._writing is None else self._writing.model

    @property
    def text(self) -> str:
        """What was written so far."""
        return "" if self._writing is None else "".join(self._writing.pieces)

    @property
    def message(self) -> Message | None:
        """The reply, once it is recorded."""
        return None if self._writing is None else self._writing.message

    @property
    def known(self) -> bool:
        """False when the reply only says that the model does not know."""
        return self._writing is None or self._writing.known

    @property
    def recalled(self) -> tuple[Recalled, ...]:
        """The similar questions that the model was shown, nearest first; none for a reply that was there already."""
        return () if self._writing is None else self._writing.recalled

    async def within(self, seconds: float) -> bool:
        """Wait for it, but no longer than this; whether it is over, well or not.

        Args:
            seconds: how long.
        """
        return await self._begun().ended(seconds)

    async def stop(self) -> Message | None:
        """Stop the model; what was written so far becomes the reply. When nothing was, nothing is recorded.

        Returns:
            The reply; `None` when nothing was written.

        Raises:
            As waiting for the answer does.
        """
        return await self._begun().stop()

    def __await__(self) -> Generator[Any, None, Message]:
        """Wait for the whole reply.

        Raises:
            ModelUnavailableError: no answer now; the question may be asked again later.
            ModelRefusedError: no answer ever.
            BudgetError: the tokens of the person, the conversation or the day are used up.
            ModelError: there is no such model.
            InvalidEventError: the message has no words, or was taken down.
            StoreError: the reply cannot be recorded.
        """
        return self._whole().__await__()

    def __aiter__(self) -> AsyncIterator[str]:
        """Its pieces, those that were written before included; raises as `await` does."""
        return self._begun().read()

    async def _whole(self) -> Message:
        writing = self._begun()
        await writing.finished()
        if writing.message is None:
            raise ModelUnavailableError(f"{writing.model} was stopped before it had written anything")
        return writing.message

    def _begun(self) -> _Writing:
        if self._writing is None:
            self._writing = self._start()
        return self._writing


class _Writing:
    """One answer while it is written; everybody in an event loop who asks the same question shares it."""

    def __init__(self, write: Callable[[_Writing], Coroutine[None, None, None]], ended: Callable[[], object]) -> None:
        self.pieces: list[str] = []
        self.model = ""
        self.message: Message | None = None
        self.known = True
        self.recalled: tuple[Recalled, ...] = ()
        self.interruptible = True
        self.stopped = False
        self._forget = ended
        self._news = asyncio.Event()
        self._task = asyncio.get_running_loop().create_task(write(self))
        self._task.add_done_callback(self._ended)

    def tell(self, piece: str) -> None:
        if piece:
            self.pieces.append(piece)
            self._renew()

    async def read(self) -> AsyncGenerator[str]:
        told = 0
        while True:
            news, over = self._news, self._task.done()
            while told < len(self.pieces):
                told += 1
                yield self.pieces[told - 1]
            if over:
                break
            await news.wait()
        await self.finished()

    async def ended(self, seconds: float) -> bool:
        if not self._task.done():
            await asyncio.wait((self._task,), timeout=seconds)
        return self._task.done()

    async def finished(self) -> None:
        if not self._task.done():
            # Whoever waits may be cancelled, and the answer goes on.
            await asyncio.wait((self._task,))
        if not (self.stopped and self._task.cancelled()):
            self._task.result()

    async def stop(self) -> Message | None:
        self.stopped = True
        if self.interruptible:
            self.interruptible = False
            self._task.cancel()
        await self.finished()
        return self.message

    def _renew(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._forget()
        if not task.cancelled():
            # Whoever waits is given it; when nobody does, it is in the log.
            task.exception()
        self._renew()


class Replier:
    """Answers questions of a workspace.

    Args:
        store: the log.
        prompts: makes what a model is shown.
        answering: names the model that answers a conversation.
        open_model: opens a model by its name.
        budgets: how many tokens may be used.
        settings: of the workspace.

    Attributes:
        answering: names the model that answers a conversation.
    """

    def __init__(
        self,
        store: EventStore,
        prompts: Prompts,
        *,
        answering: Callable[[str], str],
        open_model: Callable[[str], ChatModel],
        budgets: Budgets,
        settings: Settings,
    ) -> None:
        self._store = store
        self._prompts = prompts
        self.answering = answering
        self._open_model = open_model
        self._budgets = budgets
        self._settings = settings
        self._models: dict[str, ChatModel] = {}
        self._used: Counter[str] = Counter()
        self._running: dict[tuple[asyncio.AbstractEventLoop, int], _Writing] = {}

    # --- answering ---------------------------------------------------------------------------------------------------

    def reply(self, conversation: str, question: int, *, model: str | None = None) -> Answer:
        """The answer to a message: the reply it has, or one that a model writes now.

        Args:
            conversation: id of the conversation.
            question: id (log position) of the message.
            model: name of the model; by default the one that answers this conversation.

        Raises:
            NotFoundError: the conversation has no such message.
            InvalidEventError: it is not a message of a person.
        """
        recorded = self._store.at(question)
        if recorded is None or recorded.stream != conversation_stream(conversation):
            raise NotFoundError(f"there is no message {question} in conversation {conversation}")
        if not isinstance(recorded.event, MessageRecorded) or recorded.event.role != "user":
            raise InvalidEventError(f"message {question} is not what a person said; only that is answered")
        return Answer(lambda: self._begin(recorded, model))

    def answer_unrecorded(self, text: str, *, conversation: str, person: str) -> Answer:
        """The answer to a question of which nothing is to be recorded: neither it, nor the reply, nor a failure.

        Args:
            text: the question; the model is shown it alone, and what is recalled.
            conversation: id of the conversation, for which model answers and for its budget.
            person: person id of who asks, for their budget.

        Raises:
            InvalidEventError: the question has no words.
        """
        if not text.strip():
            raise InvalidEventError("a question has words")
        return Answer(
            lambda: _Writing(lambda writing: self._write_unrecorded(writing, text, conversation, person), lambda: None)
        )

    async def close(self) -> None:
        """Let go of the models that were opened, and of their connections in the running event loop."""
        while self._models:
            _, model = self._models.popitem()
            await model.close()

    def _begin(self, question: RecordedEvent, model: str | None) -> _Writing:
        place = asyncio.get_running_loop(), question.position
        writing = self._running.get(place)
        if writing is None:
            writing = self._running[place] = _Writing(
                lambda writing: self._write(writing, question, model), lambda: self._running.pop(place, None)
            )
        return writing

    async def _write(self, writing: _Writing, question: RecordedEvent, model: str | None) -> None:
        if await self._adopt(writing, question):
            return
        conversation = question.stream.partition("/")[2]
        writing.model = name = model or self.answering(conversation)
        try:
            self._budgets.check(person=_author(question), chat=conversation)
            shown = self._prompts.shown(question, name)
            writing.recalled = shown.prompt.recalled
            reply = await self._ask(writing, question, shown)
        except ModelError as error:
            await self._fail(question, str(error))
            raise
        if reply is None:
            return
        if self._erased(question):
            raise InvalidEventError(f"message {question.position} was erased while it was answered")
        key = _reply_key(question)
        try:
            [recorded] = await self._store.append_async(question.stream, [reply], keys=[key], flush=False)
            # Together with the question, and before anybody is told that it is there.
            await self._store.flush_async()
        except KeyConflictError:
            # Somebody else's reply came first.
            if not await self._adopt(writing, question):
                raise
        else:
            writing.message = message_of(recorded)

    async def _write_unrecorded(self, writing: _Writing, text: str, conversation: str, person: str) -> None:
        writing.model = self.answering(conversation)
        self._budgets.check(person=person, chat=conversation)
        prompt = self._prompts.alone(text, writing.model)
        writing.recalled = prompt.recalled
        await self._written(writing, prompt)

    async def _written(self, writing: _Writing, prompt: Prompt) -> tuple[str, Completion | None, float]:
        """`(text, what the model says of it, seconds)` of an answer, told piece by piece.

        The text is empty when it was stopped before there was any.
        """
        completion: Completion | None = None
        began = time.monotonic()
        try:
            async with self._opened(writing.model) as model, aclosing(model.stream(prompt)) as stream:
                began = time.monotonic()
                async for piece in stream:
                    if isinstance(piece, Completion):
                        completion = piece
                    else:
                        writing.tell(piece)
        except asyncio.CancelledError:
            if not writing.stopped:
                # The event loop ends: the question stays open for the next start.
                raise
            _uncancel()
        finally:
            writing.interruptible = False
        latency = time.monotonic() - began
        text = "".join(writing.pieces) if completion is None else completion.text
        if not text.strip():
            if writing.stopped:
                return "", None, latency
            raise ModelUnavailableError(f"{writing.model} gave an empty answer")
        if completion is None and not writing.stopped:
            raise ModelUnavailableError(f"{writing.model} ended without an answer")
        writing.known = completion is None or completion.known
        return text, completion, latency

    async def _ask(self, writing: _Writing, question: RecordedEvent, shown: Shown) -> ReplyGenerated | None:
        """What the model says; `None` when it was stopped before it said anything."""
        text, completion, latency = await self._written(writing, shown.prompt)
        if not text:
            return None
        recall = self._settings.recall
        return ReplyGenerated(
            text,
            question.version,
            writing.model,
            shown.instruction,
            tuple(sorted({*shown.context, *(completion.shown if completion else ())})),
            {**shown.prompt.parameters, **_outcome(writing.model, completion)},
            _used(writing.model, shown, completion, text),
            round(latency, 6),
            chat_cost(completion.usage, chat_price(writing.model, self._settings.prices)) if completion else None,
            recall={"count": recall.count, "tokens": recall.tokens, "threshold": recall.threshold},
        )

    def _erased(self, question: RecordedEvent) -> bool:
        now = self._store.at(question.position)
        return now is not None and is_erased(now.event)

    @asynccontextmanager
    async def _opened(self, name: str) -> AsyncGenerator[ChatModel]:
        """The model with a name; it stays open for the next answer, others that were used before it do not for ever."""
        model = self._models.pop(name, None) or self._open_model(name)
        self._models[name] = model
        self._used[name] += 1
        try:
            yield model
        finally:
            self._used[name] -= 1
            while len(idle := [other for other in self._models if not self._used[other]]) > _OPEN:
                await self._models.pop(idle[0]).close()

    async def _adopt(self, writing: _Writing, question: RecordedEvent) -> bool:
        """Take the reply that the question has already, whoever gave it."""
        since = fold(self._store.read(question.stream, after=question.version)).messages
        named = (message for message in since if message.in_reply_to == question.version)
        first = next((message for message in named if message.role == "assistant"), None)
        if first is None:
            return False
        # It may be recorded and not flushed, by an answer that failed then.
        await self._store.flush_async()
        recorded = self._store.at(first.id)
        if recorded is not None and isinstance(recorded.event, ReplyGenerated):
            writing.known = recorded.event.parameters.get("known", True)
        writing.message, writing.model = first, first.model
        if not writing.pieces:
            writing.tell(first.text)
        return True

    # --- what became of it -------------------------------------------------------------------------------------------

    def deliver(self, reply: int, platform_ids: Sequence[str] = ()) -> None:
        """Record that the platform took a reply; the first word counts.

        Args:
            reply: id (log position) of the reply.
            platform_ids: ids of its messages there.

        Raises:
            NotFoundError: no message has that id.
            InvalidEventError: it is not a reply.
        """
        if (delivery := self._delivery(reply, platform_ids)) is not None:
            self._once(*delivery)

    async def deliver_async(self, reply: int, platform_ids: Sequence[str] = (), *, flush: bool = True) -> None:
        """`deliver` for a coroutine.

        Args:
            reply: id (log position) of the reply.
            platform_ids: ids of its messages there.
            flush: wait until a power cut would spare it.
        """
        if (delivery := self._delivery(reply, platform_ids)) is not None:
            stream, event, key = delivery
            with suppress(KeyConflictError):  # the first word counts
                await self._store.append_async(stream, [event], keys=[key], flush=flush)

    def _delivery(self, reply: int, platform_ids: Sequence[str]) -> tuple[str, Event, str] | None:
        """`(stream, event, key)`; `None` for a reply that came from the platform."""
        recorded = self._message(reply)
        if isinstance(recorded.event, MessageRecorded):
            if recorded.event.role != "assistant":
                raise InvalidEventError(f"message {reply} is not a reply but a {recorded.event.role} message")
            return None
        return recorded.stream, ReplyDelivered(recorded.version, tuple(platform_ids)), f"delivered:{_place(recorded)}"

    def fail(self, message: int, error: str) -> None:
        """Record that a message could not be answered, or a reply not be sent; the same error once.

        Args:
            message: id (log position) of the question or of the reply.
            error: why; what looks like a secret is left out.

        Raises:
            NotFoundError: no message has that id.
        """
        recorded = self._message(message)
        event, key = _failure(recorded, error)
        self._once(recorded.stream, event, key)

    async def _fail(self, question: RecordedEvent, error: str) -> None:
        event, key = _failure(question, error)
        await self._store.append_async(question.stream, [event], keys=[key])

    def _once(self, stream: str, event: Event, key: str) -> None:
        with suppress(KeyConflictError):  # the first word counts
            self._store.append(stream, [event], keys=[key])

    def _message(self, position: int) -> RecordedEvent:
        recorded = self._store.at(position)
        if recorded is None or not isinstance(recorded.event, (MessageRecorded, ReplyGenerated)):
            raise NotFoundError(f"no message {position}")
        return recorded


def _place(recorded: RecordedEvent) -> str:
    return f"{recorded.stream.partition('/')[2]}:{recorded.version}"


def _reply_key(question: RecordedEvent) -> str:
    return f"reply:{_place(question)}"


def _author(question: RecordedEvent) -> str:
    return str(getattr(question.event, "author", ""))


def _failure(message: RecordedEvent, error: str) -> tuple[ReplyFailed, str]:
    said = _SECRETS.conversation()(error)
    # The same trouble again is no news, another one is.
    digest = blake2b(said.encode(errors="surrogatepass"), digest_size=8).hexdigest()
    return ReplyFailed(message.version, said), f"failed:{_place(message)}:{digest}"


def _outcome(name: str, completion: Completion | None) -> JsonObject:
    """What of a completion has no field of its own in the event, as far as it is not the usual."""
    if completion is None:
        return {"stopped": True}
    outcome: JsonObject = {}
    if completion.model and completion.model not in (name, name.partition(":")[2]):
        outcome["model"] = completion.model
    if completion.finish != "stop":
        outcome["finish"] = completion.finish
    if not completion.known:
        outcome["known"] = False
    return outcome


def _used(model: str, shown: Shown, completion: Completion | None, text: str) -> dict[str, int]:
    """Tokens that an answer took. Nobody counted those of one that was stopped, and they are paid for: an estimate."""
    if completion is not None:
        return completion.usage
    if model == MEMORY:
        return {}
    return {"input_tokens": count_chat(shown.prompt.turns), "output_tokens": ESTIMATE.count(text)}


def _uncancel() -> None:
    task = asyncio.current_task()
    if task is not None:
        task.uncancel()
