"""A platform for tests: it shows what a dialogue says, and delivers answers as a real one does."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from datetime import UTC, datetime, timedelta

from bots.dialogue import Answering, Dialogue, Later
from bots.port import Caller, Request

CHAT = "telegram:42"
BEN = Caller("telegram:7", "Ben")
OLGA = Caller("telegram:8", "Ольга", language="ru")
ANNA = Caller("telegram:1", "Anna", role="trainer")
NOON = datetime(2100, 11, 2, 12, tzinfo=UTC)
"""When the first message is sent: after everything that a test records by hand."""


class Talk:
    """A dialogue with a workspace, and what its platform showed.

    Attributes:
        dialogue: it.
        shown: every `Say`, `Later` and text of an answer, in order.
        replies: the replies that were delivered.
    """

    def __init__(self, ws, *, first=1001, **given):
        self.ws = ws
        self.dialogue = Dialogue(ws, **given)
        self.shown = []
        self.replies = []
        self._number = first - 1

    def request(self, text="", caller=BEN, **given):
        """Something that is said or tapped, with a key of its own, a minute after the one before."""
        self._number += 1
        sent_at = NOON + timedelta(minutes=self._number - 1001)
        return Request(caller, **{"chat": CHAT, "text": text, "key": self.key, "sent_at": sent_at} | given)

    @property
    def key(self):
        """Of the request that was made last."""
        return f"telegram:1:42:{self._number}"

    async def show(self, says):
        """Show all of it; what was shown."""
        before = len(self.shown)
        async with aclosing(says):
            async for one in says:
                if not isinstance(one, Answering):
                    self.shown.append(one)
                    continue
                text = "".join([piece async for piece in one.pieces()])
                if text:
                    self.shown.append(text)
                if one.reply is not None:
                    self.replies.append(one.reply)
                    self.ws.deliver(one.reply.id, [str(one.reply.id)])
        return self.shown[before:]

    def run(self, says):
        """Show all of it; the texts that were shown."""
        return [text_of(one) for one in asyncio.run(self.show(says))]

    def hear(self, text="", caller=BEN, **given):
        """Somebody says something; the texts that were shown."""
        return self.run(self.dialogue.hear(self.request(text, caller, **given)))

    def tap(self, action, caller=BEN, **given):
        """Somebody taps a button; the texts that were shown."""
        return self.run(self.dialogue.tap(self.request("", caller, **given), action))

    def actions(self):
        """What the buttons of the last thing that was said mean."""
        return [button.action for row in self.shown[-1].buttons for button in row]


def text_of(shown):
    """The words of something that was shown."""
    return shown if isinstance(shown, str) else shown.say.text if isinstance(shown, Later) else shown.text
