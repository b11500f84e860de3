"""A conversation to talk in: records messages, and shows the dialogue as it stands.

>>> with EventStore(tmp / "log.db") as store:
...     chat = Chat(store, "telegram:42", ConversationStarted("telegram"), set())
...     question = chat.record("user", "When are you open?", name="Ben")
...     chat
telegram:42
  #2 Ben: When are you open?
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from html import escape
from typing import TypedDict, Unpack, get_args

from trainerlib.conversations import Conversation, Message, fold, message_of
from trainerlib.errors import InvalidEventError, NotFoundError, VersionConflictError
from trainerlib.events import (
    Attachment,
    ConversationStarted,
    ConversationTagged,
    Event,
    MessageRecorded,
    RecordedEvent,
    ReplyGenerated,
    Role,
    conversation_stream,
)
from trainerlib.store.eventstore import EventStore

_ROLES = get_args(Role)


class About(TypedDict, total=False):
    """What may be known of a message beside its words; `Chat.record` says what each is."""

    author: str
    name: str
    sent_at: datetime | None
    attachments: Sequence[Attachment]
    model: str


class Chat:
    """A conversation of a workspace, to read and to record in. Made by `Workspace.conversation`.

    Attributes:
        id: `telegram:42`.
    """

    def __init__(self, store: EventStore, conversation: str, beginning: ConversationStarted, started: set[str]) -> None:
        self.id = conversation
        self._store = store
        self._started = started
        self._stream = conversation_stream(conversation)
        self._beginning = beginning

    @property
    def state(self) -> Conversation:
        """The conversation as it stands; `print` it to read the dialogue."""
        folded = fold(self._store.read(self._stream))
        return folded if folded.id else Conversation(self.id)

    @property
    def messages(self) -> tuple[Message, ...]:
        """Its messages, oldest first."""
        return self.state.messages

    def record(
        self,
        role: Role,
        text: str,
        *,
        author: str = "",
        name: str = "",
        sent_at: datetime | None = None,
        in_reply_to: Message | int | None = None,
        attachments: Sequence[Attachment] = (),
        model: str = "",
        key: str | None = None,
    ) -> Message:
        """Record a message, durably, once.

        Args:
            role: `user`, `assistant`, `system` (sets the instruction from here on) or `tool`.
            text: the words, kept exactly as they are.
            author: person id, `telegram:7`.
            name: the author's display name.
            sent_at: when the platform says it was sent; aware.
            in_reply_to: the message it answers, or its id.
            attachments: voice, documents, pictures.
            model: the model that wrote it.
            key: its natural key, `telegram:<bot>:<chat>:<message>`: a redelivered message is recorded once.

        Raises:
            InvalidEventError: an unknown role, a naive time, or neither words nor attachments.
            NotFoundError: `in_reply_to` names no message of this conversation.
            KeyConflictError: the key belongs to other content.
            StoreError: nothing was recorded.
        """
        event = self._message(
            role, text, in_reply_to, author=author, name=name, sent_at=sent_at, attachments=attachments, model=model
        )
        return message_of(self._append(event, key))

    async def record_async(
        self,
        role: Role,
        text: str,
        *,
        in_reply_to: Message | int | None = None,
        key: str | None = None,
        flush: bool = True,
        **about: Unpack[About],
    ) -> Message:
        """`record` for a coroutine: the event loop never waits for the disk, and what is said in many chats shares commits.

        Args:
            role: as for `record`, like all the rest.
            text: the words.
            in_reply_to: the message it answers, or its id.
            key: its natural key.
            flush: wait until a power cut would spare it, as whoever has it elsewhere need not; see `EventStore.append_async`.
            about: what else is known of it.
        """
        event = self._message(role, text, in_reply_to, **about)
        return message_of(await self._append_async(event, key, flush=flush))

    def _message(
        self,
        role: Role,
        text: str,
        in_reply_to: Message | int | None,
        *,
        author: str = "",
        name: str = "",
        sent_at: datetime | None = None,
        attachments: Sequence[Attachment] = (),
        model: str = "",
    ) -> MessageRecorded:
        if role not in _ROLES:
            raise InvalidEventError(f"unknown role {role!r}; one of {', '.join(_ROLES)}")
        if not text and not attachments:
            raise InvalidEventError("a message has words or attachments")
        if sent_at is not None and sent_at.tzinfo is None:
            raise InvalidEventError("sent_at has no time zone")
        answers = None if in_reply_to is None else self._number(in_reply_to)
        return MessageRecorded(role, text, author, name, sent_at, answers, tuple(attachments), model)

    @property
    def begun(self) -> bool:
        """Whether anything is in the log about it."""
        return self.id in self._started or self._store.exists(self._stream)

    def begin(self) -> None:
        """Record that the conversation begins, before anybody says anything in it; once is enough.

        Raises:
            StoreError: nothing was recorded.
        """
        if not self.begun:
            # Another process may begin it at the same moment.
            with suppress(VersionConflictError):
                self._store.append(self._stream, [self._beginning], expected_version=0)
        self._remember()

    def tag(self, *add: str, remove: Sequence[str] = ()) -> None:
        """Put labels on the conversation, or take them off."""
        self._append(ConversationTagged(add, tuple(remove)), None)

    def _append(self, event: Event, key: str | None) -> RecordedEvent:
        """Append to the conversation, its beginning first when it is new."""
        if self.id not in self._started:
            if not self.begun:
                # Another process may begin it at the same moment.
                with suppress(VersionConflictError):
                    both = [self._beginning, event]
                    return self._store.append(self._stream, both, keys=[None, key], expected_version=0)[1]
            self._remember()
        return self._store.append(self._stream, [event], keys=[key])[0]

    async def _append_async(self, event: Event, key: str | None, *, flush: bool) -> RecordedEvent:
        """`_append` for a coroutine."""
        append = partial(self._store.append_async, flush=flush)
        if self.id not in self._started:
            if not self.begun:
                # Another process may begin it at the same moment.
                with suppress(VersionConflictError):
                    both = await append(self._stream, [self._beginning, event], keys=[None, key], expected_version=0)
                    return both[1]
            self._remember()
        [recorded] = await append(self._stream, [event], keys=[key])
        return recorded

    def _remember(self) -> None:
        if len(self._started) > 10_000:
            self._started.clear()
        self._started.add(self.id)

    def _number(self, target: Message | int) -> int:
        message_id = target.id if isinstance(target, Message) else target
        recorded = self._store.at(message_id)
        if (
            recorded is None
            or recorded.stream != self._stream
            or not isinstance(recorded.event, (MessageRecorded, ReplyGenerated))
        ):
            raise NotFoundError(f"there is no message {message_id} in conversation {self.id}")
        return recorded.version

    def __repr__(self) -> str:
        """The dialogue."""
        return str(self.state)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self.state))}</pre>"
