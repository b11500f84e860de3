"""What an update of Telegram's says, told without Telegram: who wrote what, where, about which message.

Telegram writes "@shop_bot" into what is said in a group and "/help@shop_bot" into commands; both are taken away here. What
is said in a group to nobody is not for the bot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from aiogram.types import Chat, Message, MessageReactionUpdated, Update, User

Kind = Literal["message", "command", "edit", "tap", "reaction", "stop"]
"""What was done: said something, given a command, edited a message, tapped a button, reacted, stopped a draft."""

WANTED = (
    "message",
    "edited_message",
    "callback_query",
    "message_reaction",
    "stopped_message_generation",
)
"""The updates that are asked for; Telegram sends reactions only to those who ask."""

_COMMAND = re.compile(r"/(\w{1,32})(?:@(\w+))?(?:\s+|$)")
_ACTION_ON_REPLY = re.compile(r"(?:up|down|fix):(\d{1,18})")
_TOPIC_OF_ALL = 1
"""The topic of a forum that is there from the beginning; Telegram leaves its number out."""


class Media(msgspec.Struct, frozen=True):
    """A file of a message, still at Telegram.

    Attributes:
        kind: as `bots.port.Upload` has it.
        file: Telegram's id of it.
        name: as its sender called it.
        mime: its type.
        size: bytes; 0 where Telegram does not say.
        seconds: how long it plays.
    """

    kind: str
    file: str
    name: str = ""
    mime: str = ""
    size: int = 0
    seconds: float = 0.0


class Origin(msgspec.Struct, frozen=True):
    """Where something was done, and by whom.

    Attributes:
        chat: Telegram's id of the chat.
        topic: id of the topic of a forum; 0 for none.
        private: it is a chat of two.
        title: name of the chat; empty in a chat of two.
        forum: it has topics.
        user: Telegram's id of whoever did it; 0 where it does not say.
        name: their name.
        language: as their Telegram speaks; empty where it does not say.
    """

    chat: int
    topic: int = 0
    private: bool = True
    title: str = ""
    forum: bool = False
    user: int = 0
    name: str = ""
    language: str = ""

    @property
    def where(self) -> str:
        """Id of the chat or topic, `telegram:42` or `telegram:42:7`."""
        return f"telegram:{self.chat}:{self.topic}" if self.topic else f"telegram:{self.chat}"


class Told(msgspec.Struct, frozen=True):
    """What an update says.

    Attributes:
        kind: what was done.
        origin: where, and by whom.
        message: id of the message that it is, or is about; 0 for none.
        text: the words, less the mention or the name of the command.
        command: `help` for "/help@shop_bot", or for a message edited into that; empty for anything else.
        action: of the button that was tapped.
        tap: Telegram's id of the tap, to be answered.
        media: the files in it.
        album: Telegram's id of the album it is a part of.
        replied: id of the message that it replies to; 0 for none.
        reply: id of our reply (an event's), where the message replied to has our buttons.
        quoted: the words that it replies to.
        added: reactions that were put.
        removed: reactions that were taken back.
        at: when it was sent, or edited.
        addressed: it is for the bot; a part of an album in a group may not say so, and another one does.
    """

    kind: Kind
    origin: Origin
    message: int = 0
    text: str = ""
    command: str = ""
    action: str = ""
    tap: str = ""
    media: tuple[Media, ...] = ()
    album: str = ""
    replied: int = 0
    reply: int | None = None
    quoted: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    at: datetime | None = None
    addressed: bool = True


def joined(parts: Sequence[Told]) -> Told:
    """The parts of an album as one message; its words may be under any of them.

    Args:
        parts: in order.
    """
    worded = next((one for one in parts if one.command or one.text.strip()), parts[0])
    return msgspec.structs.replace(
        worded, message=parts[0].message, media=tuple(media for one in parts for media in one.media)
    )


def told(update: Update, *, bot: int, username: str, everything: bool = False) -> Told | None:
    """What an update says; `None` for one that is not for this bot.

    Args:
        update: as Telegram gave it.
        bot: Telegram's id of the bot.
        username: name of the bot, without the @.
        everything: also what is said in groups to nobody.
    """
    if update.message is not None:
        return _message(update.message, bot, username, everything=everything)
    if update.edited_message is not None:
        changed = update.edited_message.edit_date
        edited = _message(update.edited_message, bot, username, everything=True)
        at = datetime.fromtimestamp(changed, UTC) if changed is not None else None
        return edited and msgspec.structs.replace(edited, kind="edit", at=at)
    if update.callback_query is not None:
        query = update.callback_query
        message = query.message
        if message is None or query.data is None:
            return None
        topic = getattr(message, "message_thread_id", None) if getattr(message, "is_topic_message", None) else None
        origin = _origin(message.chat, topic, query.from_user)
        return Told("tap", origin, message.message_id, action=query.data, tap=query.id)
    if update.message_reaction is not None:
        return _reaction(update.message_reaction)
    if update.stopped_message_generation is not None:
        stopped = update.stopped_message_generation
        return Told("stop", Origin(stopped.chat.id, _topic(stopped.message_thread_id)), action=str(stopped.draft_id))
    return None


def _message(message: Message, bot: int, username: str, *, everything: bool) -> Told | None:
    sender = message.from_user
    if sender is None or sender.is_bot:
        return None
    text = message.text or message.caption or ""
    media = tuple(_media(message))
    if not text.strip() and not media:
        return None
    origin = _origin(message.chat, message.message_thread_id if message.is_topic_message else None, sender)
    command = _COMMAND.match(text)
    name = ""
    if command is not None:
        if command[2] and command[2].lower() != username.lower():
            return None
        name, text = command[1].lower(), text[command.end() :]
    mention = re.compile(rf"@{re.escape(username)}\b", re.IGNORECASE)
    replied = message.reply_to_message
    to_bot = replied is not None and replied.from_user is not None and replied.from_user.id == bot
    mentioned = bool(mention.search(text))
    addressed = bool(origin.private or name or to_bot or mentioned or everything)
    if not (addressed or message.media_group_id):
        return None
    quote = message.quote.text if message.quote is not None else ""
    before = "" if replied is None else replied.text or replied.caption or ""
    return Told(
        "command" if name else "message",
        origin,
        message.message_id,
        text=_plain(mention.sub("", text)) if mentioned else text,
        command=name,
        media=media,
        album=message.media_group_id or "",
        replied=0 if replied is None else replied.message_id,
        reply=_reply(replied) if to_bot else None,
        # What a question of ours asks stands at its beginning; a person's quote is the part they chose.
        quoted=before if to_bot and before.startswith(("✏️ #", "👎 #")) else quote or before,
        at=message.date if isinstance(message.date, datetime) else None,
        addressed=addressed,
    )


def _plain(text: str) -> str:
    return re.sub(r"[ \t]{2,}", " ", text).strip(" ,:")


def _origin(chat: Chat, topic: int | None, user: User) -> Origin:
    private = chat.type == "private"
    return Origin(
        chat.id,
        _topic(topic),
        private,
        "" if private else chat.title or "",
        bool(chat.is_forum),
        user.id,
        user.full_name,
        user.language_code or "",
    )


def _topic(topic: int | None) -> int:
    return topic if topic and topic != _TOPIC_OF_ALL else 0


def _reaction(reaction: MessageReactionUpdated) -> Told | None:
    if reaction.user is None:
        return None
    before, after = _emoji(reaction.old_reaction), _emoji(reaction.new_reaction)
    return Told(
        "reaction",
        _origin(reaction.chat, None, reaction.user),
        reaction.message_id,
        added=tuple(one for one in after if one not in before),
        removed=tuple(one for one in before if one not in after),
        at=reaction.date if isinstance(reaction.date, datetime) else None,
    )


def _emoji(reactions: Sequence[object]) -> list[str]:
    return [one for one in (getattr(reaction, "emoji", "") for reaction in reactions) if one]


def _reply(message: Message | None) -> int | None:
    """Id of our reply, as its buttons name it."""
    if message is None or message.reply_markup is None:
        return None
    rows = getattr(message.reply_markup, "inline_keyboard", None) or []
    found = (_ACTION_ON_REPLY.fullmatch(button.callback_data or "") for row in rows for button in row)
    return next((int(one[1]) for one in found if one), None)


def _media(message: Message) -> list[Media]:
    found: list[Media] = []
    if message.photo:
        best = message.photo[-1]
        found.append(Media("photo", best.file_id, "", "image/jpeg", best.file_size or 0))
    for kind in ("voice", "audio", "video", "video_note", "document"):
        file = getattr(message, kind)
        # An animation is in the field `document` as well.
        if file is None or (kind == "document" and message.animation is not None):
            continue
        found.append(
            Media(
                "video" if kind == "video_note" else kind,
                file.file_id,
                getattr(file, "file_name", None) or "",
                getattr(file, "mime_type", None) or "",
                file.file_size or 0,
                float(getattr(file, "duration", 0) or 0),
            )
        )
    if message.sticker is not None:
        found.append(
            Media("sticker", message.sticker.file_id, message.sticker.emoji or "", "", message.sticker.file_size or 0)
        )
    if message.animation is not None:
        found.append(
            Media(
                "video", message.animation.file_id, message.animation.file_name or "", message.animation.mime_type or ""
            )
        )
    return found
