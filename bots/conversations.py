"""Which conversation of a chat is the one that goes on: a chat may begin afresh, and has another one from then on.

>>> import trainerlib
>>> with trainerlib.open(tmp / "shop") as ws:
...     conversations = Conversations(ws)
...     _ = conversations.current("telegram:42").record("user", "When are you open?")
...     conversations.begin_anew("telegram:42").id
...     [chat.id for chat in Conversations(ws).all("telegram:42")]
'telegram:42#2'
['telegram:42', 'telegram:42#2']
"""

from __future__ import annotations

from trainerlib import Chat, Workspace

_REMEMBERED = 10_000
"""Chats of which it is remembered which of their conversations goes on."""


class Conversations:
    """The conversations of chats: `telegram:42`, and after each fresh beginning `telegram:42#2`, `telegram:42#3`.

    Args:
        workspace: where they are recorded.
    """

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._numbers: dict[str, int] = {}

    def current(self, chat: str, *, title: str = "") -> Chat:
        """The conversation of a chat that goes on.

        Args:
            chat: id of the chat, `telegram:42`.
            title: name of the chat, for a new conversation.
        """
        number = self._numbers.get(chat)
        if number is None:
            number = 1
            while self._numbered(chat, number + 1).begun:
                number += 1
            self._remember(chat, number)
        return self._numbered(chat, number, title)

    def begin_anew(self, chat: str, *, title: str = "") -> Chat:
        """A conversation in which nothing was said yet: the one that goes on, if it is such, or the next.

        Args:
            chat: id of the chat.
            title: name of the chat.

        Raises:
            StoreError: nothing was recorded.
        """
        current = self.current(chat, title=title)
        if not current.messages:
            return current
        number = self._numbers[chat] + 1
        fresh = self._numbered(chat, number, title)
        fresh.begin()
        self._remember(chat, number)
        return fresh

    def all(self, chat: str) -> list[Chat]:
        """Every conversation of a chat, oldest first; the last one goes on.

        Args:
            chat: id of the chat.
        """
        last = self.current(chat)
        return [*(self._numbered(chat, number) for number in range(1, self._numbers[chat])), last]

    def _numbered(self, chat: str, number: int, title: str = "") -> Chat:
        return self._workspace.conversation(chat if number == 1 else f"{chat}#{number}", title=title)

    def _remember(self, chat: str, number: int) -> None:
        if len(self._numbers) >= _REMEMBERED:
            self._numbers.clear()
        self._numbers[chat] = number


def chat_of(conversation: str) -> str:
    """Id of the chat a conversation takes place in.

    Args:
        conversation: its id.

    >>> chat_of("telegram:42:7#2")
    'telegram:42:7'
    """
    return conversation.partition("#")[0]
