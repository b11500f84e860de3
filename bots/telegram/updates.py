"""What an update of Telegram's says, told without Telegram: who wrote what, where, about which message.

Telegram writes "@shop_bot" into what is said in a group and "/help@shop_bot" into commands; both are taken away here. What
is said in a group to nobody is not for the bot.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from typing import Literal

import msgspec

from bots.telegram.wire import Chat, Emoji, Message, Reaction, Update, User, topic_of

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
        written: the words as they were written.
        command: `help` for "/help@shop_bot", or for a message edited into that; empty for anything else.
        action: of the button that was tapped.
        tap: Telegram's id of the tap, to be answered.
        media: the files in it.
        album: Telegram's id of the album it is a part of.
        replied: id of the message that it replies to; 0 for none.
        reply: id of our reply (an event's), where the message replied to has our buttons.
        quoted: the words that it replies to.
        asked: the words of the message of the bot's that it replies to.
        added: reactions that were put.
        removed: reactions that were taken back.
        at: when it was sent, or edited.
        addressed: it is for the bot; a part of an album in a group may not say so, and another one does.
    """

    kind: Kind
    origin: Origin
    message: int = 0
    text: str = ""
    written: str = ""
    command: str = ""
    action: str = ""
    tap: str = ""
    media: tuple[Media, ...] = ()
    album: str = ""
    replied: int = 0
    reply: int | None = None
    quoted: str = ""
    asked: str = ""
    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    at: datetime | None = None
    addressed: bool = True


def joined(parts: Sequence[Told]) -> Told:
    """The parts of an album as one message; its words are those under all of them.

    Args:
        parts: in order.
    """
    worded = next((one for one in parts if one.command or one.text.strip()), parts[0])
    captions = dict.fromkeys(one.text for one in parts if one.text.strip())
    return msgspec.structs.replace(
        worded,
        message=parts[0].message,
        text=worded.text if worded.command else "\n\n".join(captions),
        media=tuple(media for one in parts for media in one.media),
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
        return _said(update.message, bot, username, everything=everything)
    if update.edited_message is not None:
        changed = update.edited_message.edit_date
        edited = _said(update.edited_message, bot, username, everything=True)
        at = datetime.fromtimestamp(changed, UTC) if changed is not None else None
        return edited and msgspec.structs.replace(edited, kind="edit", at=at)
    if update.callback_query is not None:
        query = update.callback_query
        message = query.message
        if message is None or query.data is None:
            return None
        origin = _origin(message.chat, message.topic, query.sender)
        return Told("tap", origin, message.message_id, action=query.data, tap=query.id)
    if update.message_reaction is not None:
        return _reaction(update.message_reaction)
    if update.stopped_message_generation is not None:
        stopped = update.stopped_message_generation
        return Told("stop", Origin(stopped.chat.id, topic_of(stopped.message_thread_id)), action=str(stopped.draft_id))
    return None


def _said(message: Message, bot: int, username: str, *, everything: bool) -> Told | None:
    sender, channel = message.sender, message.sender_chat
    if sender is not None and sender.is_bot and channel is not None:
        # An administrator who is anonymous, or somebody who writes as a channel: Telegram has a bot stand in for them.
        sender = User(channel.id, first_name=channel.title)
    if sender is None or sender.is_bot:
        return None
    text = message.words
    media = tuple(_media(message))
    if not text.strip() and not media:
        return None
    origin = _origin(message.chat, message.topic, sender)
    mention = _mention(username)
    mentioned = bool(mention.search(text))
    command = _COMMAND.match(text)
    if command is None and mentioned and not origin.private:
        begins = mention.match(text)
        command = _COMMAND.match(text, begins.end()) if begins is not None else None
    name = ""
    if command is not None:
        if command[2] and command[2].lower() != username.lower():
            return None
        name, text = command[1].lower(), text[command.end() :]
    replied = message.reply_to_message
    to_bot = replied is not None and replied.sender is not None and replied.sender.id == bot
    addressed = bool(origin.private or name or to_bot or mentioned or everything)
    if not (addressed or message.media_group_id):
        return None
    before = "" if replied is None else replied.words
    return Told(
        "command" if name else "message",
        origin,
        message.message_id,
        text=_uncalled(text, mention, everywhere=not origin.private) if mentioned and not name else text,
        written=message.words,
        command=name,
        media=media,
        album=message.media_group_id,
        replied=0 if replied is None else replied.message_id,
        reply=_reply(replied) if to_bot else None,
        # A person's quote is the part they chose; what a question of ours asks stands at its beginning.
        quoted=message.quote.text or before,
        asked=before if to_bot else "",
        at=_time(message.date),
        addressed=addressed,
    )


def _uncalled(text: str, mention: re.Pattern[str], *, everywhere: bool) -> str:
    """A text without the name it calls the bot by; where nobody had to call it, only what it begins with is that."""
    return mention.sub(" ", text, 0 if everywhere else 1).strip(" ,:") if everywhere or mention.match(text) else text


@cache
def _mention(username: str) -> re.Pattern[str]:
    return re.compile(rf"[ \t]*@{re.escape(username)}\b[ \t]*", re.IGNORECASE)


def _origin(chat: Chat, topic: int, user: User) -> Origin:
    private = chat.type == "private"
    name = f"{user.first_name} {user.last_name}" if user.last_name else user.first_name
    return Origin(
        chat.id, topic, private, "" if private else chat.title, chat.is_forum, user.id, name, user.language_code
    )


def _time(seconds: int) -> datetime | None:
    """A time as Telegram has it, in seconds since 1970; 0 where it does not say."""
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def _reaction(reaction: Reaction) -> Told | None:
    if reaction.user is None:
        return None
    before, after = _emoji(reaction.old_reaction), _emoji(reaction.new_reaction)
    return Told(
        "reaction",
        _origin(reaction.chat, 0, reaction.user),
        reaction.message_id,
        added=tuple(one for one in after if one not in before),
        removed=tuple(one for one in before if one not in after),
        at=_time(reaction.date),
    )


def _emoji(reactions: Sequence[Emoji]) -> list[str]:
    return [reaction.emoji for reaction in reactions if reaction.emoji]


def _reply(message: Message | None) -> int | None:
    """Id of our reply, as its buttons name it."""
    if message is None:
        return None
    rows = message.reply_markup.inline_keyboard
    found = (_ACTION_ON_REPLY.fullmatch(button.callback_data) for row in rows for button in row)
    return next((int(one[1]) for one in found if one), None)


def _media(message: Message) -> list[Media]:
    found: list[Media] = []
    if message.photo:
        best = message.photo[-1]
        found.append(Media("photo", best.file_id, "", "image/jpeg", best.file_size))
    # An animation is in the field `document` as well.
    document = message.document if message.animation is None else None
    for kind, file in (
        ("voice", message.voice),
        ("audio", message.audio),
        ("video", message.video),
        ("video", message.video_note),
        ("video", message.animation),
        ("document", document),
    ):
        if file is not None:
            found.append(Media(kind, file.file_id, file.file_name, file.mime_type, file.file_size, file.duration))
    if message.sticker is not None:
        found.append(Media("sticker", message.sticker.file_id, message.sticker.emoji, "", message.sticker.file_size))
    return found
