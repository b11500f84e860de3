"""DiscordChatExporter, JSON: one channel, `{"guild", "channel", "messages": [...]}`.

Joins, pins, calls and the like are not messages and are passed over.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from trainerlib.events import Attachment
from trainerlib.importers import timeline
from trainerlib.importers.fields import integer, iso_time, mapping, mappings, string
from trainerlib.importers.media import kind_of
from trainerlib.importers.reactions import ratings
from trainerlib.importers.records import BadLine, Record, SourceChat, SourceMessage, SourceRating
from trainerlib.importers.source import Source

_EVENTS = frozenset(
    {
        "RecipientAdd",
        "RecipientRemove",
        "Call",
        "ChannelNameChange",
        "ChannelIconChange",
        "ChannelPinnedMessage",
        "GuildMemberJoin",
        "ThreadCreated",
    }
)
# 20 and 23 are a bot's answers to slash and menu commands; the exporter has no name for them.
_MESSAGES = frozenset({"Default", "Reply", "20", "23", "ChatInputCommand", "ContextMenuCommand"})


class _Author(msgspec.Struct, gc=False):
    id: str | int
    name: str | None = None
    nickname: str | None = None
    is_bot: bool | None = msgspec.field(default=None, name="isBot")


class _Message(msgspec.Struct, rename="camel", gc=False):
    """What is read of a message; what only decorates it may have any type."""

    id: str | int
    type: str | int
    timestamp: Any
    author: _Author | None = None
    content: str | None = None
    timestamp_edited: Any = None
    attachments: Any = None
    stickers: Any = None
    reactions: Any = None
    reference: Any = None
    forwarded_message: Any = None


def read(source: Source) -> Iterator[Record]:
    """The channel, then its messages."""
    return timeline.read(source, _LAYOUT)


def _chat(facts: dict[str, Any]) -> SourceChat | None:
    channel = facts.get("channel")
    if not isinstance(channel, dict) or not isinstance(channel.get("id"), str | int) or channel["id"] == "":
        return None
    return SourceChat(id=str(channel["id"]), platform="discord", title=string(channel.get("name")))


def _message(line: int, raw: _Message, chat: SourceChat) -> tuple[Record, ...]:
    kind = str(raw.type)
    if kind not in _MESSAGES:
        # Numbers are events that are newer than the exporter.
        if kind in _EVENTS or kind.isdecimal():
            return ()
        return (BadLine(line, f"message {raw.id} has the unknown type {kind!r}, skipped"),)
    bad: list[Record] = []
    sent_at = iso_time(raw.timestamp)
    if sent_at is None:
        bad.append(BadLine(line, f"message {raw.id} has no date that can be read"))
    author = raw.author
    if author is None:
        bad.append(BadLine(line, f"message {raw.id} has no author"))
    text = raw.content or ""
    attachments = _attachments(raw.attachments, raw.stickers)
    forwarded = raw.forwarded_message
    if isinstance(forwarded, dict) and not text and not attachments:
        text = string(forwarded.get("content"))
        attachments = _attachments(forwarded.get("attachments"), forwarded.get("stickers"))
    return (
        *bad,
        SourceMessage(
            id=str(raw.id),
            text=text,
            author=f"discord:{author.id}" if author else "",
            name=(author.nickname or author.name or "") if author else "",
            is_bot=author.is_bot if author else None,
            sent_at=sent_at,
            edited_at=iso_time(raw.timestamp_edited),
            in_reply_to=_answered(raw.reference, chat) if raw.reference else None,
            attachments=attachments,
            ratings=_ratings(raw.reactions) if raw.reactions else (),
            line=line,
        ),
    )


def _answered(reference: Any, chat: SourceChat) -> str | None:
    """Id of the message that is answered, if it is of this channel; a forward answers nothing."""
    if not isinstance(reference, dict) or reference.get("type", "Default") != "Default":
        return None
    here = str(reference.get("channelId", chat.id)) == chat.id
    answered = reference.get("messageId")
    return str(answered) if here and isinstance(answered, str | int) else None


def _attachments(files: Any, stickers: Any) -> tuple[Attachment, ...]:
    if not files and not stickers:
        return ()
    found = [
        Attachment(
            kind_of(string(one.get("fileName"))),
            file=string(one.get("url")),
            name=string(one.get("fileName")),
            size=integer(one.get("fileSizeBytes")),
        )
        for one in mappings(files)
    ]
    found += [
        Attachment("sticker", file=string(one.get("sourceUrl")), name=string(one.get("name")))
        for one in mappings(stickers)
    ]
    return tuple(found)


def _ratings(reactions: Any) -> tuple[SourceRating, ...]:
    found: list[SourceRating] = []
    for reaction in mappings(reactions):
        people = [f"discord:{one['id']}" for one in mappings(reaction.get("users")) if one.get("id")]
        emoji = string(mapping(reaction.get("emoji")).get("name"))
        found += ratings(emoji, people, integer(reaction.get("count")) or len(people))
    return tuple(found)


_LAYOUT = timeline.Layout(
    platform="discord",
    decoder=msgspec.json.Decoder(_Message).decode,
    chat=_chat,
    message=_message,
    facts=frozenset({"channel"}),
)
