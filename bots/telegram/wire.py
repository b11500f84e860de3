"""An update as Telegram writes it: https://core.telegram.org/bots/api#update.

Only what is used is read of it, so an update that says more, or what nobody knows yet, is read all the same.
"""

from __future__ import annotations

import msgspec

_TOPIC_OF_ALL = 1
"""The topic of a forum that is there from the beginning; Telegram leaves its number out."""


def topic_of(thread: int) -> int:
    """Id of a topic of a forum; 0 for none, and for the one that is there from the beginning."""
    return thread if thread != _TOPIC_OF_ALL else 0


class User(msgspec.Struct, frozen=True, gc=False):
    """Somebody, or a bot."""

    id: int
    is_bot: bool = False
    first_name: str = ""
    last_name: str = ""
    language_code: str = ""


class Chat(msgspec.Struct, frozen=True, gc=False):
    """A chat."""

    id: int
    type: str = ""
    title: str = ""
    is_forum: bool = False


class File(msgspec.Struct, frozen=True, gc=False):
    """A file at Telegram, of any kind."""

    file_id: str
    file_name: str = ""
    mime_type: str = ""
    file_size: int = 0
    duration: float = 0.0
    emoji: str = ""


class Button(msgspec.Struct, frozen=True, gc=False):
    """A button under a message."""

    callback_data: str = ""


class Markup(msgspec.Struct, frozen=True):
    """The buttons under a message, row by row."""

    inline_keyboard: tuple[tuple[Button, ...], ...] = ()


class Quote(msgspec.Struct, frozen=True, gc=False):
    """The part of a message that another one replies to."""

    text: str = ""


class Message(msgspec.Struct, frozen=True):
    """A message."""

    message_id: int
    chat: Chat
    date: int = 0
    edit_date: int | None = None
    sender: User | None = msgspec.field(default=None, name="from")
    sender_chat: Chat | None = None
    message_thread_id: int = 0
    is_topic_message: bool = False
    media_group_id: str = ""
    text: str = ""
    caption: str = ""
    quote: Quote = Quote()
    reply_to_message: Message | None = None
    reply_markup: Markup = Markup()
    photo: tuple[File, ...] = ()
    voice: File | None = None
    audio: File | None = None
    video: File | None = None
    video_note: File | None = None
    document: File | None = None
    animation: File | None = None
    sticker: File | None = None

    @property
    def words(self) -> str:
        """What is said in it, or under its file."""
        return self.text or self.caption

    @property
    def topic(self) -> int:
        """Topic of a forum that it is in; without one Telegram numbers its threads of replies here."""
        return topic_of(self.message_thread_id) if self.is_topic_message else 0


class Tap(msgspec.Struct, frozen=True):
    """A tap on a button."""

    id: str
    sender: User = msgspec.field(name="from")
    message: Message | None = None
    data: str | None = None


class Emoji(msgspec.Struct, frozen=True, gc=False):
    """A reaction."""

    emoji: str = ""


class Reaction(msgspec.Struct, frozen=True):
    """Somebody's reactions to a message, before and now."""

    chat: Chat
    message_id: int
    date: int = 0
    user: User | None = None
    old_reaction: tuple[Emoji, ...] = ()
    new_reaction: tuple[Emoji, ...] = ()


class Stopped(msgspec.Struct, frozen=True):
    """Somebody stopped the draft of an answer."""

    chat: Chat
    draft_id: int
    message_thread_id: int = 0


class Update(msgspec.Struct, frozen=True):
    """An update, as far as it is read here.

    Attributes:
        update_id: its number; each is higher than the one before.
    """

    update_id: int
    message: Message | None = None
    edited_message: Message | None = None
    callback_query: Tap | None = None
    message_reaction: Reaction | None = None
    stopped_message_generation: Stopped | None = None


_decoded = msgspec.json.Decoder(Update).decode


def read(body: bytes) -> Update:
    """An update, of its JSON.

    Raises:
        ValueError: it is none.

    >>> read(b'{"update_id":1,"message":{"message_id":7,"chat":{"id":42,"type":"private"},"date":0,"text":"Hi"}}').update_id
    1
    """
    return _decoded(body)


class _Numbered(msgspec.Struct, gc=False):
    update_id: int


def number_of(body: bytes) -> int:
    """The number of an update, of its JSON; also of one that `read` does not understand.

    Raises:
        ValueError: it is no update.
    """
    return msgspec.json.decode(body, type=_Numbered).update_id
