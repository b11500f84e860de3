"""What a bot and its platform tell each other: a request goes in, things to show come out.

>>> asked = Request(Caller("telegram:7", "Ben"), "telegram:42", "When are you open?", key="telegram:1:42:1001")
>>> asked.caller.person, asked.files
('telegram:7', ())
>>> Say("Open **now**.", buttons=((Button("👍", "up:12"), Button("👎", "down:12")),)).buttons[0][1].action
'down:12'
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Literal

import msgspec

Role = Literal["owner", "trainer", "person"]
"""What somebody may do: everything, teach and train, or talk."""


class Caller(msgspec.Struct, frozen=True):
    """Whoever asks.

    Attributes:
        person: person id, `telegram:7`.
        name: display name.
        language: of what the bot says to them, such as `ru`.
        role: what they may do.
    """

    person: str
    name: str = ""
    language: str = "en"
    role: Role = "person"


class Upload(msgspec.Struct, frozen=True):
    """A file that came with a message, kept below the workspace's `files/`.

    Attributes:
        kind: what it is, as `trainerlib` calls it: `voice`, `audio`, `photo`, `video`, `document`, `sticker`, `other`.
        path: where it is; `None` for one that was too large to take, or that could not be had.
        name: the name its sender gave it, for people alone: it is never a path.
        mime: its type, as the platform says.
        size: bytes, as the platform says.
        seconds: how long it plays.
        refused: why it was not kept, a sentence of `bots.texts`; empty for any other reason.
    """

    kind: str
    path: Path | None
    name: str = ""
    mime: str = ""
    size: int = 0
    seconds: float = 0.0
    refused: str = ""


class Request(msgspec.Struct, frozen=True):
    """What somebody said or did.

    Attributes:
        caller: who.
        chat: id of the chat, `telegram:42`, or of a topic in it, `telegram:42:7`; the conversation follows from it.
        text: the words; of a command, what follows its name.
        files: what came with it.
        about: id of the reply of this bot that they reply to or quote; `None` for none.
        quoted: the words of the message that they reply to, or the part they quoted.
        asked: the words of a message of this bot that they reply to and that is no answer: it may have asked for theirs.
        key: natural key of the message or tap: the same request again has the same key, and does nothing twice.
        sent_at: when the platform says it was sent.
        private: a chat of two.
        title: name of the chat; empty in a chat of two.
    """

    caller: Caller
    chat: str
    text: str = ""
    files: tuple[Upload, ...] = ()
    about: int | None = None
    quoted: str = ""
    asked: str = ""
    key: str = ""
    sent_at: datetime | None = None
    private: bool = True
    title: str = ""


class Button(msgspec.Struct, frozen=True):
    """Something to tap.

    Attributes:
        label: what it says.
        action: what a tap means, 64 bytes of ASCII at most: it outlives the process that showed it.
    """

    label: str
    action: str


class Say(msgspec.Struct, frozen=True):
    """Something to show.

    Attributes:
        text: in Markdown, of any length; the platform splits it.
        buttons: rows of buttons below it.
        file: a file of the workspace to send with it.
        asks: the person is asked to write an answer to it.
        replaces: it stands in the place of what was shown last for the same request, such as a progress line.
        plain: the text is no Markdown.
    """

    text: str
    buttons: tuple[tuple[Button, ...], ...] = ()
    file: Path | None = None
    asks: bool = False
    replaces: bool = False
    plain: bool = False
