"""What Telegram knows of the chats of one bot: messages, files, and the updates that the bot has not confirmed.

Nothing here waits or talks to anybody, and nothing locks: `telegram_server` does.
"""

from __future__ import annotations

import hashlib
import math
import mimetypes
import re
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from telegram_markup import detected, units

Json = dict[str, Any]

QUIET = frozenset({"message_reaction", "message_reaction_count", "chat_member"})
"""Updates that come only to a bot that names them."""

KINDS = {"document": "documents", "voice": "voice", "photo": "photos", "audio": "music", "video": "videos"}
"""Kinds of files, each with the folder that Telegram keeps it in."""

_ENDINGS = {"voice": ".oga", "photo": ".jpg", "audio": ".mp3", "video": ".mp4", "document": ""}


@dataclass(frozen=True)
class Upload:
    """A file that somebody sent.

    Attributes:
        name: its name.
        data: its bytes.
        mime: its type; empty for what its name says.
    """

    name: str
    data: bytes
    mime: str = ""

    @property
    def type(self) -> str:
        return self.mime or mimetypes.guess_type(self.name)[0] or "application/octet-stream"


@dataclass
class Draft:
    """A message that is being written before the eyes of a person.

    Attributes:
        id: what the bot calls it.
        texts: what it said, one after the other.
        can_stop: there is a button that stops it.
        keep_on_stop: that leaves it on the screen.
        stopped: somebody tapped that.
        shown: it is on the screen: it goes away with the next message of the bot.
        thread: topic it is in.
    """

    id: int
    texts: list[str] = field(default_factory=list)
    can_stop: bool = False
    keep_on_stop: bool = False
    stopped: bool = False
    shown: bool = True
    thread: int | None = None


@dataclass
class Chat:
    """A chat.

    Attributes:
        about: as Telegram shows it.
        messages: what is in it now, by id; a message is replaced and never changed.
        last: the newest id.
        drafts: in the order they began.
        actions: what the bot said it was doing, with the time.
        reactions: emoji of the people, by message and person.
        bot_reactions: emoji of the bot, by message.
        threads: topics there are.
    """

    about: Json
    messages: dict[int, Json] = field(default_factory=dict)
    last: int = 0
    drafts: list[Draft] = field(default_factory=list)
    actions: list[tuple[float, str]] = field(default_factory=list)
    reactions: dict[tuple[int, int], list[str]] = field(default_factory=dict)
    bot_reactions: dict[int, list[str]] = field(default_factory=dict)
    threads: set[int] = field(default_factory=set)
    tokens: float = math.inf
    filled_at: float = 0.0
    sent_at: deque[float] = field(default_factory=deque)

    @property
    def private(self) -> bool:
        return bool(self.about["type"] == "private")


@dataclass
class File:
    kind: str
    path: str
    data: bytes
    about: Json


@dataclass
class Tap:
    """A tap on a button.

    Attributes:
        answer: what the bot answered it with; `None` for not yet.
        expired: it can no longer be answered.
    """

    answer: Json | None = None
    expired: bool = False


@dataclass
class Webhook:
    url: str
    secret: str
    connections: int
    error: str = ""
    error_at: int = 0


class Chats:
    """The chats of a bot.

    Args:
        bot: the bot, as `getMe` shows it.

    Attributes:
        author: the bot, as its messages show it.
        updates: what the bot has not confirmed.
        allowed: kinds of updates that the bot wants; none for the usual ones.
        admins: who is an administrator: chat and person.
    """

    def __init__(self, bot: Json) -> None:
        self.bot = bot
        self.author = {name: bot[name] for name in ("id", "is_bot", "first_name", "username")}
        self.chats: dict[int, Chat] = {}
        self.files: dict[str, File] = {}
        self.updates: deque[Json] = deque()
        self.next_update = 500_001
        self.allowed: frozenset[str] = frozenset()
        self.webhook: Webhook | None = None
        self.taps: dict[str, Tap] = {}
        self.admins: set[tuple[int, int]] = set()

    def confirm(self, offset: int) -> None:
        """Forget the updates before an offset, or all but the last ones for one below 0."""
        if offset < 0:
            offset = self.updates[offset]["update_id"] if -offset <= len(self.updates) else 0
        while self.updates and self.updates[0]["update_id"] < offset:
            self.updates.popleft()

    def chat(self, number: int, *, user: Json, title: str = "") -> Chat:
        """A chat, which is opened when it is new."""
        if number not in self.chats:
            about = {"id": number, "type": "supergroup", "title": title or f"Group {-number}"}
            if number > 0:
                about = {"id": number, "type": "private"} | {
                    name: user[name] for name in ("first_name", "username") if name in user
                }
            self.chats[number] = Chat(about)
        return self.chats[number]

    def add(self, chat: Chat, sender: Json, content: Json) -> Json:
        """Put a message into a chat."""
        chat.last += 1
        message: Json = {"message_id": chat.last, "from": sender, "chat": chat.about, "date": int(time.time())}
        message |= {name: value for name, value in content.items() if value not in (None, [], "", {})}
        if "message_thread_id" in message:
            message["is_topic_message"] = True
            chat.threads.add(message["message_thread_id"])
        chat.messages[chat.last] = message
        return message

    def push(self, kind: str, what: Json, update: int | None = None) -> int:
        """Tell the bot of something, unless it does not want such updates.

        Returns:
            Number of the update.
        """
        if update is None:
            update = self.next_update
            self.next_update += 1
        if kind in self.allowed if self.allowed else kind not in QUIET:
            self.updates.append({"update_id": update, kind: what})
        return update

    def heard(self, chat: Chat, message: Json) -> bool:
        """Whether the bot gets a message: one that does not read groups gets only what is meant for it."""
        if chat.private or self.bot["can_read_all_group_messages"]:
            return True
        text = words(message)
        meant = message.get("reply_to_message", {}).get("from") == self.author
        return meant or f"@{self.bot['username']}" in text or text.startswith("/")

    def written(self, text: str, key: str) -> Json:
        """A text or caption of a person, with the commands and mentions in it."""
        return {key: text, "entities" if key == "text" else "caption_entities": detected(text)} if text else {}

    def store(self, kind: str, upload: Upload, *, seconds: int = 1) -> Any:
        """Keep a file, and say what a message shows of it."""
        if kind == "photo":
            small = Upload(upload.name, upload.data[: len(upload.data) // 2])
            return [self._stored(kind, small, width=90, height=60), self._stored(kind, upload, width=1280, height=853)]
        more: Json = {}
        if kind in ("voice", "audio", "video"):
            more["duration"] = seconds
        if kind == "video":
            more |= {"width": 640, "height": 360}
        if kind != "voice":
            more["file_name"] = upload.name
        more["mime_type"] = upload.mime or "audio/ogg" if kind == "voice" else upload.type
        return self._stored(kind, upload, **more)

    def file(self, path: str) -> bytes | None:
        """Bytes of a file, by the path that `getFile` told."""
        return next((file.data for file in self.files.values() if file.path == path), None)

    def _stored(self, kind: str, upload: Upload, **more: Any) -> Json:
        digest = hashlib.sha256(upload.data).hexdigest()
        number = len(self.files) + 1
        ending = _ENDINGS[kind] or "".join(re.findall(r"\.\w{1,8}$", upload.name, re.ASCII))
        about = {"file_id": f"{kind}-{number}-{digest[:24]}", "file_unique_id": digest[:15], **more}
        about["file_size"] = len(upload.data)
        self.files[about["file_id"]] = File(kind, f"{KINDS[kind]}/file_{number}{ending}", upload.data, about)
        return about


def words(message: Json) -> str:
    """Text or caption of a message; empty for none."""
    return str(message.get("text") or message.get("caption") or "")


def shallow(message: Json) -> Json:
    """A message as it is shown inside another: without what it answers itself."""
    return {name: value for name, value in message.items() if name != "reply_to_message"}


def quoted(message: Json, quote: str) -> Json | None:
    """A quote from a message; `None` for words that are not in it, empty for none."""
    if not quote:
        return {}
    text = words(message)
    place = text.find(quote)
    return {"text": quote, "position": units(text[:place]), "is_manual": True} if place >= 0 else None
