"""What one update is answered with: what was shown before a crash is known from the inbox, and not shown again."""

from __future__ import annotations

import time

import msgspec

from bots.dialogue import Answering
from bots.port import Say
from bots.telegram.inbox import Entry, Inbox
from bots.telegram.sending import Place, Sender
from bots.telegram.updates import Told

_QUICK = 0.2
"""Seconds within which an answer needs no sign that it is being written."""


class Waiting(msgspec.Struct):
    """An update in the chain of its chat.

    Attributes:
        entry: as it is in the inbox.
        told: what it says; `None` for one that is not for the bot.
        warned: whoever wrote it was told that it takes longer.
        shown: ids of the messages that were sent because of it.
        doubtful: of a dead process, which may have shown one message more than it could write down.
        since: when it came, or its turn came, by the monotonic clock.
    """

    entry: Entry
    told: Told | None = None
    warned: bool = False
    shown: list[int] = []
    doubtful: bool = False
    since: float = msgspec.field(default_factory=time.monotonic)


class Showing:
    """What is shown because of one update, in order.

    Args:
        sender: shows it.
        inbox: where is written down what was shown.
        waiting: the update.
        place: where.
    """

    def __init__(self, sender: Sender, inbox: Inbox, waiting: Waiting, place: Place) -> None:
        self._sender = sender
        self._inbox = inbox
        self._waiting = waiting
        self._place = place
        self._left = list(waiting.shown)
        self._last: int | None = None
        self._streamed = False
        self._first = 0.0

    @property
    def seconds(self) -> float:
        """From when its turn came to the first message that was sent, or to now; not counting what was streamed."""
        return (self._first or time.monotonic()) - self._waiting.since

    async def show(self, say: Say) -> list[int]:
        """Show something; ids of its messages."""
        known = self._left
        ids = await self._sender.show(
            say,
            self._place,
            sent=known,
            on_sent=self._sent,
            last=self._last,
            streamed=self._streamed,
            doubtful=self._doubtful(),
        )
        self._left = [one for one in known if one not in ids]
        self._last, self._streamed = ids[-1] if ids else self._last, False
        return ids

    async def stream(self, answering: Answering) -> None:
        """Show an answer while it is written, unless it is written in no time."""
        question = answering.question
        early = self._left
        if not await answering.answer.within(_QUICK):
            early = await self._sender.stream(
                answering.pieces(),
                self._place,
                question.id if question is not None else self._waiting.entry.id,
                sent=self._left,
                on_sent=self._sent,
                doubtful=self._doubtful() and not self._place.private,
            )
        self._streamed = bool(early) and not self._place.private
        self._left = list(early)
        self._first = 0.0

    async def withdraw(self) -> None:
        """Take away what was shown of an answer while it was written."""
        if self._streamed:
            await self.show(Say("…", plain=True))

    def _sent(self, message: int) -> None:
        self._first = self._first or time.monotonic()
        self._waiting.shown.append(message)
        self._inbox.showed(self._place.chat, message, self._waiting.entry.id)
        self._waiting.doubtful = False

    def _doubtful(self) -> bool:
        return self._waiting.doubtful
