"""Conversations: the state that the events of one conversation add up to.

`fold` is a pure function of the events, in order; folding the rest into a folded beginning gives the same as folding
everything at once.

>>> from trainerlib.events import Corrected, MessageRecorded, RecordedEvent
>>> log = [
...     RecordedEvent(1, "conversation/a", 1, MessageRecorded("user", "When are you open?"), 0),
...     RecordedEvent(2, "conversation/a", 2, MessageRecorded("assistant", "At 10."), 0),
...     RecordedEvent(3, "conversation/a", 3, Corrected(2, "9 to 18.", by="anna"), 0),
... ]
>>> conversation = fold(log)
>>> conversation.messages[1].corrected_text
'9 to 18.'
>>> conversation == fold(log[2:], into=fold(log[:2]))
True
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, cast

import msgspec

from trainerlib.events import (
    Attachment,
    ConversationContinued,
    ConversationStarted,
    ConversationTagged,
    Corrected,
    CorrectionWithdrawn,
    Event,
    FeedbackGiven,
    FeedbackWithdrawn,
    JsonObject,
    MessageDeleted,
    MessageEdited,
    MessageRecorded,
    RecordedEvent,
    ReplyDelivered,
    ReplyFailed,
    ReplyGenerated,
    Role,
    TranscriptRecorded,
    from_microseconds,
)
from trainerlib.language import language

_replace = msgspec.structs.replace


class Correction(msgspec.Struct, frozen=True, gc=False):
    """What somebody says a reply should have been.

    Attributes:
        id: log position of the event that gave it.
        version: its version in the conversation's stream.
        text: the better reply.
        by: person id of the corrector.
        note: why, in their words.
    """

    id: int
    version: int
    text: str
    by: str
    note: str = ""


class Feedback(msgspec.Struct, frozen=True, gc=False):
    """What somebody thinks of a reply.

    Attributes:
        id: log position of the event that gave it.
        version: its version in the conversation's stream.
        by: person id of the rater.
        rating: -5 to 5, positive is good; `None` for words alone.
        text: what they said.
        reason: a short code such as `wrong-fact`.
    """

    id: int
    version: int
    by: str
    rating: int | None = None
    text: str = ""
    reason: str = ""


class Message(msgspec.Struct, frozen=True, gc=False):
    """One message of a conversation as it stands.

    Attributes:
        id: its log-wide id: the position of the event that recorded it.
        number: its number in the conversation: the version of that event.
        role: who speaks.
        text: what it says now, edits included.
        author: person id.
        name: the author's display name.
        at: when it was sent or, where no platform says so, recorded, in microseconds since 1970 UTC.
        timed: the platform said when it was sent.
        in_reply_to: number of the message it answers.
        attachments: voice, documents, pictures, with transcripts.
        model: the model that wrote it.
        weight: the training weight its source gave it.
        key: its natural key.
        original: what it said first, when it was edited.
        deleted: it was taken down on the platform.
        instruction: the system text a generated reply was given.
        delivered: ids of its messages on the platform; `None` while a generated reply is pending.
        corrections: standing corrections, oldest first, at most one a person.
        feedback: standing ratings, oldest first, at most one a person.
        lost: standing corrections whose words were erased with whoever said them.
        shortfall: why a generated reply is no answer: `unknown` when it only says so, `stopped` when it was cut short.
    """

    id: int
    number: int
    role: Role
    text: str
    author: str = ""
    name: str = ""
    at: int = 0
    timed: bool = False
    in_reply_to: int | None = None
    attachments: tuple[Attachment, ...] = ()
    model: str = ""
    weight: int | None = None
    key: str | None = None
    original: str | None = None
    deleted: bool = False
    instruction: str = ""
    delivered: tuple[str, ...] | None = ()
    corrections: tuple[Correction, ...] = ()
    feedback: tuple[Feedback, ...] = ()
    lost: tuple[Correction, ...] = ()
    shortfall: str = ""

    @property
    def sent_at(self) -> datetime:
        """When it was sent, or recorded where no platform says so; UTC."""
        return from_microseconds(self.at)

    @property
    def corrected_text(self) -> str:
        """The latest correction, or the text itself when there is none."""
        return self.corrections[-1].text if self.corrections else self.text

    @property
    def content(self) -> str:
        """The words of the message: its text, then the words of its attachments."""
        if not self.attachments:
            return self.text
        return "\n\n".join(part for part in (self.text, *(item.text for item in self.attachments)) if part)


class Conversation(msgspec.Struct, frozen=True, gc=False):
    """A conversation as it stands after some event of its stream.

    Attributes:
        id: `telegram:42`.
        version: version of the last event folded in.
        position: log position of its first event.
        platform: where it takes place.
        title: name of the chat.
        tags: the operator's labels, sorted.
        sources: sha256 of each imported file that contributed to it.
        messages: every message, oldest first, deleted ones included.
        failures: `(number of the message, error)` of each reply that could not be given.
    """

    id: str
    version: int = 0
    position: int = 0
    platform: str = ""
    title: str = ""
    tags: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    failures: tuple[tuple[int, str], ...] = ()

    def message(self, number: int) -> Message | None:
        """The message with a number."""
        return next((message for message in self.messages if message.number == number), None)

    @property
    def language(self) -> str:
        """`ru`, `en` or `und`, by the letters of what its users and assistants said."""
        return language(" ".join(message.text for message in self.messages if message.role != "system"))

    def __str__(self) -> str:
        """The dialogue as a dialogue, corrections beside what they replace."""
        return "\n".join(_lines(self))


def _lines(conversation: Conversation) -> Iterable[str]:
    yield f"{conversation.id}" + (f" · {conversation.title}" if conversation.title else "")
    for message in conversation.messages:
        who = message.name or message.author or message.role
        mark = " (deleted)" if message.deleted else " (edited)" if message.original is not None else ""
        text = message.content or f"[{', '.join(item.kind for item in message.attachments) or 'empty'}]"
        yield f"  #{message.id} {who}: {text}{mark}"
        for correction in message.corrections:
            yield f"      should be ({correction.by}): {correction.text}"
        for item in message.feedback:
            rating = "" if item.rating is None else f"{item.rating:+d} "
            yield f"      {rating}({item.by}) {item.text}".rstrip()


class _State:
    """A conversation while it is being folded: the one mutable thing, never seen outside `fold`."""

    __slots__ = ("failures", "messages", "platform", "position", "sources", "tags", "title")

    def __init__(self, start: Conversation) -> None:
        self.position = start.position
        self.platform = start.platform
        self.title = start.title
        self.tags = set(start.tags)
        self.sources = list(start.sources)
        self.messages = {message.number: message for message in start.messages}
        self.failures = list(start.failures)

    def change(self, number: int, **changes: Any) -> None:
        """Replace fields of a message; a number that names no message changes nothing."""
        message = self.messages.get(number)
        if message is not None:
            self.messages[number] = _replace(message, **changes)

    def owner(self, kind: str, version: int) -> Message | None:
        """The message that has the correction or feedback given at a version."""
        for message in self.messages.values():
            if any(item.version == version for item in getattr(message, kind)):
                return message
        return None


def _started(state: _State, _: RecordedEvent, event: ConversationStarted) -> None:
    state.platform = event.platform or state.platform
    state.title = event.title or state.title
    state.tags.update(event.tags)
    if event.source:
        state.sources.append(event.source)


def _continued(state: _State, _: RecordedEvent, event: ConversationContinued) -> None:
    state.sources.append(event.source)


def _tagged(state: _State, _: RecordedEvent, event: ConversationTagged) -> None:
    state.tags.difference_update(event.remove)
    state.tags.update(event.add)


def message_of(recorded: RecordedEvent) -> Message:
    """The message that an event records, as it stands before anything else is said about it.

    Args:
        recorded: a `MessageRecorded` or `ReplyGenerated`.
    """
    event = recorded.event
    if type(event) is MessageRecorded:
        sent_at = event.sent_at
        return Message(
            recorded.position,
            recorded.version,
            event.role,
            event.text,
            event.author,
            event.name,
            recorded.recorded_us if sent_at is None else round(sent_at.timestamp() * 1_000_000),
            sent_at is not None,
            event.in_reply_to,
            event.attachments,
            event.model,
            event.weight,
            recorded.key,
        )
    reply = cast(ReplyGenerated, event)
    return Message(
        id=recorded.position,
        number=recorded.version,
        role="assistant",
        text=reply.text,
        at=recorded.recorded_us,
        in_reply_to=reply.in_reply_to,
        model=reply.model,
        key=recorded.key,
        instruction=reply.instruction,
        delivered=None,
        shortfall=_shortfall(reply.parameters) if reply.parameters else "",
    )


def _shortfall(parameters: JsonObject) -> str:
    if parameters.get("known") is False:
        return "unknown"
    return "stopped" if parameters.get("stopped") is True else ""


def _recorded(state: _State, recorded: RecordedEvent, _: Event) -> None:
    state.messages[recorded.version] = message_of(recorded)


def _delivered(state: _State, _: RecordedEvent, event: ReplyDelivered) -> None:
    state.change(event.message, delivered=event.platform_ids)


def _failed(state: _State, _: RecordedEvent, event: ReplyFailed) -> None:
    state.failures.append((event.message, event.error))


def _edited(state: _State, _: RecordedEvent, event: MessageEdited) -> None:
    message = state.messages.get(event.message)
    if message is not None:
        original = message.text if message.original is None else message.original
        state.change(event.message, text=event.text, original=original)


def _deleted(state: _State, _: RecordedEvent, event: MessageDeleted) -> None:
    state.change(event.message, deleted=True)


def _transcribed(state: _State, _: RecordedEvent, event: TranscriptRecorded) -> None:
    message = state.messages.get(event.message)
    if message is not None and event.attachment < len(message.attachments):
        attachments = list(message.attachments)
        attachments[event.attachment] = _replace(attachments[event.attachment], text=event.text)
        state.change(event.message, attachments=tuple(attachments))


_CORRECTIONS = ("corrections", "lost")


def _corrected(state: _State, recorded: RecordedEvent, event: Corrected) -> None:
    message = state.messages.get(event.message)
    if message is not None:
        others = {kind: tuple(item for item in getattr(message, kind) if item.by != event.by) for kind in _CORRECTIONS}
        new = Correction(recorded.position, recorded.version, event.text, event.by, event.note)
        # One that says nothing was erased: it is no answer, but still tells that the reply was not right.
        others["corrections" if event.text else "lost"] += (new,)
        state.change(event.message, **others)


def _correction_withdrawn(state: _State, _: RecordedEvent, event: CorrectionWithdrawn) -> None:
    for kind in _CORRECTIONS:
        message = state.owner(kind, event.correction)
        if message is not None:
            left = tuple(item for item in getattr(message, kind) if item.version != event.correction)
            state.change(message.number, **{kind: left})


def _feedback_given(state: _State, recorded: RecordedEvent, event: FeedbackGiven) -> None:
    message = state.messages.get(event.message)
    if message is not None:
        others = message.feedback
        if event.rating is not None:
            # A new rating replaces the person's old one; words alone stand beside it.
            others = tuple(item for item in others if item.by != event.by or item.rating is None)
        new = Feedback(recorded.position, recorded.version, event.by, event.rating, event.text, event.reason)
        state.change(event.message, feedback=(*others, new))


def _feedback_withdrawn(state: _State, _: RecordedEvent, event: FeedbackWithdrawn) -> None:
    message = state.owner("feedback", event.feedback)
    if message is not None:
        left = tuple(item for item in message.feedback if item.version != event.feedback)
        state.change(message.number, feedback=left)


_FOLDS: dict[type[Event], Callable[[_State, RecordedEvent, Any], None]] = {
    ConversationStarted: _started,
    ConversationContinued: _continued,
    ConversationTagged: _tagged,
    MessageRecorded: _recorded,
    MessageEdited: _edited,
    MessageDeleted: _deleted,
    TranscriptRecorded: _transcribed,
    ReplyGenerated: _recorded,
    ReplyDelivered: _delivered,
    ReplyFailed: _failed,
    Corrected: _corrected,
    CorrectionWithdrawn: _correction_withdrawn,
    FeedbackGiven: _feedback_given,
    FeedbackWithdrawn: _feedback_withdrawn,
}


def fold(events: Iterable[RecordedEvent], *, into: Conversation | None = None) -> Conversation:
    """The conversation that the events, in stream order, lead to.

    Args:
        events: events of one conversation stream; others are passed over.
        into: the conversation as folded so far, when the events are a continuation.
    """
    state = _State(into) if into is not None else None
    name, version = (into.id, into.version) if into is not None else ("", 0)
    for recorded in events:
        if state is None:
            name = recorded.stream.partition("/")[2]
            state = _State(Conversation(name, position=recorded.position))
        version = recorded.version
        kind = type(recorded.event)
        if kind is MessageRecorded:
            # Nearly every event is one; it needs no look-up.
            state.messages[version] = message_of(recorded)
        elif (step := _FOLDS.get(kind)) is not None:
            step(state, recorded, recorded.event)
    if state is None:
        return Conversation(name)
    return Conversation(
        name,
        version,
        state.position,
        state.platform,
        state.title,
        tuple(sorted(state.tags)),
        tuple(state.sources),
        tuple(state.messages.values()),
        tuple(state.failures),
    )
