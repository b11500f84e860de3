"""Telegram Desktop: "Export chat history" and "Export Telegram data", machine-readable JSON.

One chat is `{"name", "type", "id", "messages": [...]}`; an account is the same objects under `chats.list` and
`left_chats.list`. Service messages (joins, calls, pins) are not messages and are passed over.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from trainerlib.events import Attachment, AttachmentKind
from trainerlib.importers import timeline
from trainerlib.importers.fields import integer, iso_time, mapping, mappings, moment, string
from trainerlib.importers.reactions import ratings
from trainerlib.importers.records import BadLine, Record, SourceChat, SourceMessage, SourceRating
from trainerlib.importers.source import Source

_KINDS: dict[str, AttachmentKind] = {
    "voice_message": "voice",
    "audio_file": "audio",
    "video_message": "video",
    "video_file": "video",
    "animation": "video",
    "sticker": "sticker",
}


class _Message(msgspec.Struct, gc=False):
    """What is read of a message; what only decorates it may have any type."""

    id: int | str
    type: str
    text: str | list[Any] = ""
    date: Any = None
    date_unixtime: Any = None
    edited: Any = None
    edited_unixtime: Any = None
    sender: Any = msgspec.field(default=None, name="from")
    from_id: str | int | None = None
    reply_to_message_id: int | str | None = None
    reply_to_peer_id: Any = None
    photo: Any = None
    photo_file_size: Any = None
    file: Any = None
    file_name: Any = None
    file_size: Any = None
    media_type: Any = None
    mime_type: Any = None
    duration_seconds: Any = None
    reactions: Any = None
    poll: Any = None


def read(source: Source) -> Iterator[Record]:
    """The chats of an export, each followed by its messages."""
    return timeline.read(source, _LAYOUT)


def _chat(facts: dict[str, Any]) -> SourceChat | None:
    identity = facts.get("id")
    if not isinstance(identity, int | str) or identity == "":
        return None
    # A chat with a bot carries the bot's own id.
    bot = f"telegram:user{identity}" if facts.get("type") == "bot_chat" else ""
    return SourceChat(id=str(identity), platform="telegram", title=string(facts.get("name")), bot=bot)


def _message(line: int, raw: _Message, chat: SourceChat) -> tuple[Record, ...]:
    if raw.type != "message":
        if raw.type == "service":
            return ()
        why = "unsupported by" if raw.type == "unsupported" else f"of type {raw.type!r}, not known to a reader of"
        return (BadLine(line, f"message {raw.id} is {why} Telegram Desktop, skipped"),)
    bad: list[Record] = []
    sent_at = moment(raw.date_unixtime) or iso_time(raw.date)
    if sent_at is None:
        bad.append(BadLine(line, f"message {raw.id} has no date that can be read"))
    reply = raw.reply_to_message_id
    message = SourceMessage(
        id=str(raw.id),
        text=raw.text if type(raw.text) is str else _join(raw.text),
        author=_person(raw.from_id),
        name=string(raw.sender),
        is_bot=_person(raw.from_id) == chat.bot if chat.bot else None,
        sent_at=sent_at,
        edited_at=moment(raw.edited_unixtime) or iso_time(raw.edited) if raw.edited_unixtime or raw.edited else None,
        in_reply_to=None if reply is None or _elsewhere(raw.reply_to_peer_id, chat) else str(reply),
        attachments=_attachments(raw) if raw.file or raw.photo else (),
        ratings=_ratings(raw.reactions) if raw.reactions else (),
        line=line,
    )
    if raw.poll and not message.text:
        message = msgspec.structs.replace(message, text=_poll(raw.poll))
    return (*bad, message) if bad else (message,)


def _join(text: Any) -> str:
    """Text as displayed; it is a string, or a list of strings and of objects that have a string."""
    if isinstance(text, str):
        return text
    if isinstance(text, dict):
        return string(text.get("text"))
    return "".join(map(_join, text)) if isinstance(text, list) else ""


def _person(identity: Any) -> str:
    # Exports before 2021 have bare numbers, always of users.
    if isinstance(identity, int):
        return f"telegram:user{identity}"
    return f"telegram:{identity}" if isinstance(identity, str) and identity else ""


def _elsewhere(peer: Any, chat: SourceChat) -> bool:
    """Whether a reply answers a message of another chat (`user7`, `channel9`)."""
    return peer is not None and str(peer).lstrip("abcdefghijklmnopqrstuvwxyz") != chat.id


def _attachments(raw: _Message) -> tuple[Attachment, ...]:
    found = []
    if isinstance(raw.photo, str):
        found.append(Attachment("photo", file=_path(raw.photo), size=integer(raw.photo_file_size)))
    if isinstance(raw.file, str):
        found.append(
            Attachment(
                _KINDS.get(string(raw.media_type), "document"),
                file=_path(raw.file),
                name=string(raw.file_name),
                media_type=string(raw.mime_type),
                size=integer(raw.file_size),
                duration=integer(raw.duration_seconds),
            )
        )
    return tuple(found)


def _path(file: str) -> str:
    """The path in the export; a remark in brackets, `(File not included. ...)`, stands where there is none."""
    return "" if file.startswith("(File ") and file.endswith(")") else file


def _ratings(reactions: Any) -> tuple[SourceRating, ...]:
    found: list[SourceRating] = []
    for reaction in mappings(reactions):
        people = [_person(one.get("from_id")) for one in mappings(reaction.get("recent"))]
        found += ratings(string(reaction.get("emoji")), people, integer(reaction.get("count")) or len(people))
    return tuple(found)


def _poll(poll: Any) -> str:
    """Question and options, a line each."""
    options = (_join(one.get("text")) for one in mappings(mapping(poll).get("answers")))
    return "\n".join((_join(mapping(poll).get("question")), *options))


_STRING = rb'"[^"\\]*+(?>(?:\\.[^"\\]*+)*)"'
_CHAT = rb'\{\s*(?:"(?:name|type|id)"\s*:\s*(?:' + _STRING + rb'|-?\d+|null)\s*,\s*)*"messages"\s*:\s*\['
_CHATS = rb'(?:\{\s*(?:"about"\s*:\s*' + _STRING + rb"\s*,\s*)?" + _STRING + rb"\s*:\s*)?\[\s*" + _CHAT

_LAYOUT = timeline.Layout(
    platform="telegram",
    decoder=msgspec.json.Decoder(_Message).decode,
    chat=_chat,
    message=_message,
    facts=frozenset({"name", "id", "type"}),
    inside=frozenset({"chats", "left_chats", "list"}),
    boundary=re.compile(_CHAT, re.DOTALL),
    several=re.compile(_CHATS, re.DOTALL),
)
