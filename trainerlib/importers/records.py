"""What every importer yields: the content of a foreign file in trainerlib's words, nothing decided yet.

A *reader* is a generator over one open file. It yields records in file order and never raises for bad content: a bad
line or element becomes a `BadLine` and the reader goes on. It holds one chat message or one conversation in memory at
a time, never the file.

Two shapes of source exist. A *timeline* (Telegram, Discord, WhatsApp) is one long chat of messages; the recorder
splits it into conversations at silences. A *conversation* (ChatGPT, every JSONL training format) is complete in one
record.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from trainerlib.events import Attachment, Role

DIRECTORY = "directory"
"""The platform of conversations that come from no platform but from somebody's own documents."""


class BadLine(msgspec.Struct, frozen=True):
    """Something in the file could not be taken as it stands.

    Attributes:
        line: line number from 1 where the bad thing starts.
        reason: what is wrong and what was done about it, in one short sentence.
    """

    line: int
    reason: str


class SourceRating(msgspec.Struct, frozen=True):
    """A rating found in the source (a reaction, a thumbs up). `by` may be empty where the source does not say who."""

    rating: int
    by: str = ""
    text: str = ""


class SourceCorrection(msgspec.Struct, frozen=True):
    """What a reply should have said, according to the source."""

    text: str
    by: str = ""


class SourceMessage(msgspec.Struct, frozen=True):
    """One message of the source.

    Attributes:
        id: what identifies it within its chat or conversation, stable over later exports of the same chat.
        text: the words, exactly as the source has them.
        role: who speaks; `None` in a timeline, where the author decides.
        author: person id with its platform, `telegram:user99`.
        name: the author's display name.
        is_bot: the source says the author is a bot; `None` when it does not say.
        sent_at: aware UTC time.
        edited_at: when it was last edited, if it was.
        in_reply_to: `id` of the message it answers, in the same chat or conversation.
        attachments: voice, documents, pictures.
        model: the model that wrote it.
        weight: training weight in the source, 0 or 1.
        ratings: ratings of it.
        corrections: corrections of it.
        line: line number from 1 where it starts.
    """

    id: str
    text: str
    role: Role | None = None
    author: str = ""
    name: str = ""
    is_bot: bool | None = None
    sent_at: datetime | None = None
    edited_at: datetime | None = None
    in_reply_to: str | None = None
    attachments: tuple[Attachment, ...] = ()
    model: str = ""
    weight: int | None = None
    ratings: tuple[SourceRating, ...] = ()
    corrections: tuple[SourceCorrection, ...] = ()
    line: int = 0


class SourceChat(msgspec.Struct, frozen=True):
    """A timeline starts here; the `SourceMessage` records that follow, up to the next `SourceChat`, belong to it.

    Attributes:
        id: what identifies the chat, stable over later exports, without the platform: `4242`.
        platform: `telegram`, `discord` or `whatsapp`.
        title: name of the chat.
        complete: every message between the first and the last one in the file is in the file, so one that was
            recorded earlier and is missing now was deleted. False where ids are not the platform's own.
        bot: person id of the bot the chat is with, where the source says that it is one.
    """

    id: str
    platform: str
    title: str = ""
    complete: bool = True
    bot: str = ""


class SourceConversation(msgspec.Struct, frozen=True):
    """One complete conversation.

    Attributes:
        id: what identifies it; empty when the source has no ids (the recorder then derives one from the content).
        platform: the format's name, or the platform the source says it comes from.
        title: its title.
        tags: labels in the source.
        messages: its messages in order; `SourceMessage.id` is unique within it.
        line: line number from 1 where it starts.
    """

    id: str
    platform: str
    messages: tuple[SourceMessage, ...]
    title: str = ""
    tags: tuple[str, ...] = ()
    line: int = 0


Record = BadLine | SourceChat | SourceMessage | SourceConversation
