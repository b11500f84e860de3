"""The work queue: questions that wait for a reply, and replies that wait to be delivered, found by reading the log.

>>> from trainerlib.events import ConversationStarted, MessageRecorded
>>> with EventStore(tmp / "log.db") as store:
...     asked = [ConversationStarted("telegram"), MessageRecorded("user", "When are you open?")]
...     _ = store.append("conversation/telegram:42", asked)
...     waiting = [(one.conversation, one.message.text) for one in unanswered(store)]
...     _ = store.append("conversation/telegram:42", [ReplyGenerated("9 to 18.", in_reply_to=2)])
...     waiting, unanswered(store), [one.message.text for one in undelivered(store)]
([('telegram:42', 'When are you open?')], [], ['9 to 18.'])
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from trainerlib.conversations import Message, fold
from trainerlib.events import (
    ConversationContinued,
    ConversationStarted,
    MessageRecorded,
    RecordedEvent,
    ReplyDelivered,
    ReplyGenerated,
)
from trainerlib.store.eventstore import EventStore


class Pending(msgspec.Struct, frozen=True):
    """Something that is still to be done, found by reading the log.

    Attributes:
        conversation: id of the conversation.
        message: the question without a reply, or the reply that was not delivered.
        error: why the last attempt failed; empty when there was none.
    """

    conversation: str
    message: Message
    error: str = ""


def unanswered(store: EventStore, *, platform: str | None = None) -> list[Pending]:
    """Questions that wait for a reply, oldest first; imported conversations wait for nothing.

    A question is answered by a reply that names it, by one that a model wrote having been shown it, and by any later
    one that names nothing.

    Args:
        store: the log.
        platform: only of conversations there.
    """
    return _pending(_queue(store, platform).questions)


def undelivered(store: EventStore, *, platform: str | None = None) -> list[Pending]:
    """Replies that no platform is known to have taken, oldest first.

    Args:
        store: the log.
        platform: only of conversations there.
    """
    return _pending(_queue(store, platform).replies)


_Open = dict[str, dict[int, list[RecordedEvent]]]
"""By stream and number, messages that wait for something: for each the events that are about it."""


class _Queue:
    """What is still to be done, after one pass over the log."""

    def __init__(self, platform: str | None) -> None:
        self._platform = platform
        self._elsewhere: set[str] = set()
        self._placed: dict[int, tuple[str, int]] = {}
        self.questions: _Open = {}
        self.replies: _Open = {}

    def take(self, page: Iterable[RecordedEvent]) -> None:
        for recorded in page:
            stream = recorded.stream
            if stream in self._elsewhere:
                continue
            match recorded.event:
                case MessageRecorded(role="user"):
                    self.questions.setdefault(stream, {})[recorded.version] = [recorded]
                    self._placed[recorded.position] = stream, recorded.version
                case MessageRecorded(role="assistant", in_reply_to=number):
                    self._answered(stream, number, ())
                case ReplyGenerated(in_reply_to=number, context=shown):
                    self._answered(stream, number, shown)
                    self.replies.setdefault(stream, {})[recorded.version] = [recorded]
                case ReplyDelivered(message=number):
                    self.replies.get(stream, {}).pop(number, None)
                case ConversationStarted(platform=platform, source=source):
                    if source or (self._platform is not None and platform != self._platform):
                        self._leave_out(stream)
                case ConversationContinued():
                    self._leave_out(stream)
                case event:
                    self._said(recorded, getattr(event, "message", None))

    def _said(self, recorded: RecordedEvent, number: int | None) -> None:
        """Keep what is said about a message that waits; a withdrawal does not name it."""
        for waiting in (self.questions.get(recorded.stream), self.replies.get(recorded.stream)):
            if waiting:
                for about in waiting.values() if number is None else filter(None, [waiting.get(number)]):
                    about.append(recorded)

    def _answered(self, stream: str, number: int | None, shown: Sequence[int]) -> None:
        waiting = self.questions.get(stream, {})
        if number is None:
            waiting.clear()
            return
        waiting.pop(number, None)
        for position in shown:
            place, other = self._placed.pop(position, ("", 0))
            if place == stream:
                waiting.pop(other, None)

    def _leave_out(self, stream: str) -> None:
        self._elsewhere.add(stream)
        self.questions.pop(stream, None)
        self.replies.pop(stream, None)


def _pending(waiting: _Open) -> list[Pending]:
    found = []
    for about in [about for messages in waiting.values() for about in messages.values()]:
        state = fold(about)
        [message] = state.messages
        if not message.deleted and message.content.strip():
            found.append(Pending(state.id, message, state.failures[-1][1] if state.failures else ""))
    return sorted(found, key=lambda pending: pending.message.id)


def _queue(store: EventStore, platform: str | None) -> _Queue:
    queue = _Queue(platform)
    for page in store.pages():
        queue.take(page)
    return queue
