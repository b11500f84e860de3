"""A Telegram Bot API server on loopback: a bot polls it, the test is the people who write to the bot.

    with TelegramServer() as server:
        # The bot: `Bot(server.token, session=AiohttpSession(api=TelegramAPIServer.from_base(server.url)))`.
        asked = server.say("When are you open?")
        server.wait_for(lambda: server.answers())
        server.tap("👍")

It keeps to what Telegram does and refuses (`telegram_methods`, `telegram_markup`), and fails in every way a test asks for.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Callable, Sequence
from typing import Self, TypedDict, TypeVar, Unpack

from telegram_chats import Chat, Chats, Draft, Json, Tap, Upload, quoted, shallow, words
from telegram_http import Call, Fault, Listener
from telegram_methods import Methods, Pace

T = TypeVar("T")

ANN = 1001
"""The person who writes when a test does not say who."""

GROUP = -1_000_000_000_042
"""The group that is meant when a test does not say which."""

VOICE = b"OggS\x00\x02" + bytes(20) + b"\x01\x13OpusHead\x01\x01" + bytes(200)
PHOTO = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\x01\x01" + bytes(200) + b"\xff\xd9"


class Where(TypedDict, total=False):
    """Who writes, and where.

    Attributes:
        user: id of the person; `ANN` unless said.
        chat: id of the chat; the chat of two with the person unless said, or `GROUP` with `group`.
        name: first name of the person; the one they had before unless said.
        lang: language of their Telegram; likewise, and at first `en`.
        group: write in `GROUP`.
        title: of a new group.
        thread: topic.
        reply_to: id of the message that is answered.
        quote: words of that message.
        more: further fields of the message, such as `forward_origin`.
    """

    user: int
    chat: int
    name: str
    lang: str
    group: bool
    title: str
    thread: int
    reply_to: int
    quote: str
    more: Json


class TelegramServer:
    """The server; use it in a `with`.

    Args:
        token: of the bot.
        reads_groups: the bot gets every message of a group; else only commands, mentions and answers to it.
        pace: refuse what is sent too fast with 429.

    Attributes:
        telegram: what Telegram knows; a test may look at it, and change it.
    """

    def __init__(
        self, *, token: str = "7000000001:TEST-token_of-a-bot", reads_groups: bool = True, pace: bool | Pace = False
    ) -> None:
        self.token = token
        self.telegram = Chats(
            {
                "id": int(token.partition(":")[0]),
                "is_bot": True,
                "first_name": "Trainer",
                "username": "trainer_test_bot",
                "can_join_groups": True,
                "can_read_all_group_messages": reads_groups,
                "supports_inline_queries": False,
            }
        )
        self._changed = threading.Condition(threading.RLock())
        methods = Methods(self.telegram, Pace() if pace is True else pace or None)
        self._http = Listener(token, self.telegram, methods, self._changed)
        self._people: dict[int, Json] = {}
        self._taps = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.port}"

    @property
    def bot(self) -> Json:
        """The bot, as `getMe` shows it."""
        return self.telegram.bot

    def __enter__(self) -> Self:
        self._http.start()
        self.up()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.end()

    # --- the people --------------------------------------------------------------------------------------------------

    def say(self, text: str, **where: Unpack[Where]) -> int:
        """Write something.

        Returns:
            Id of the message, like all that write one.
        """
        return self._write([self.telegram.written(text, "text")], where)[0]

    def send_voice(self, data: bytes = VOICE, *, seconds: int = 1, caption: str = "", **where: Unpack[Where]) -> int:
        """Send a voice note."""
        return self._send([("voice", Upload("voice.ogg", data, "audio/ogg"))], caption, where, seconds=seconds)[0]

    def send_document(
        self, name: str, data: bytes, /, *, mime: str = "", caption: str = "", **where: Unpack[Where]
    ) -> int:
        """Send a file."""
        return self._send([("document", Upload(name, data, mime))], caption, where)[0]

    def send_photo(self, data: bytes = PHOTO, *, caption: str = "", **where: Unpack[Where]) -> int:
        """Send a photo."""
        return self._send([("photo", Upload("photo.jpg", data))], caption, where)[0]

    def send_album(
        self, items: Sequence[tuple[str, str, bytes]], *, caption: str = "", **where: Unpack[Where]
    ) -> list[int]:
        """Send several files as one: `(kind, name, bytes)` of each; the caption is of the first."""
        uploads = [(kind, Upload(name, data)) for kind, name, data in items]
        with self._changed:
            return self._send(uploads, caption, where, album=str(13 * 10**15 + self.telegram.next_update))

    def edit(self, message: int, text: str, *, chat: int | None = None, user: int = ANN) -> None:
        """Change the words of a message of theirs."""
        with self._changed:
            place = self._chat(chat or user)
            before = place.messages[message]
            key = "text" if "text" in before else "caption"
            gone = {"text", "caption", "entities", "caption_entities"}
            after = {name: value for name, value in before.items() if name not in gone}
            after |= {name: value for name, value in self.telegram.written(text, key).items() if value}
            after["edit_date"] = int(time.time())
            place.messages[message] = after
            if self.telegram.heard(place, after):
                self._push("edited_message", after)

    def react(self, message: int, emoji: Sequence[str], *, chat: int | None = None, user: int = ANN) -> None:
        """React to a message, in place of how they did before; with nothing to take it back."""
        with self._changed:
            place = self._chat(chat or user)
            if message not in place.messages:
                raise LookupError(f"there is no message {message} in chat {place.about['id']}")
            before = place.reactions.get((message, user), [])
            place.reactions[message, user] = list(emoji)
            self._push(
                "message_reaction",
                {
                    "chat": place.about,
                    "message_id": message,
                    "user": self._person(user),
                    "date": int(time.time()),
                    "old_reaction": [{"type": "emoji", "emoji": one} for one in before],
                    "new_reaction": [{"type": "emoji", "emoji": one} for one in emoji],
                },
            )

    def tap(
        self,
        button: str,
        message: int | None = None,
        *,
        chat: int | None = None,
        user: int = ANN,
        expired: bool = False,
    ) -> str:
        """Tap a button.

        Args:
            button: its label or its action.
            message: the message it is under; the newest that has it unless said.
            chat: where; the chat of two with the person unless said.
            user: who.
            expired: the bot comes too late to answer it.

        Returns:
            Id of the tap, for `answer_to`.
        """
        with self._changed:
            place = self._chat(chat or user)
            messages = [place.messages[message]] if message else reversed(place.messages.values())
            there = [(one, shown) for one in messages for shown in _buttons(one) if "callback_data" in shown]
            found = [(one, shown) for one, shown in there if button in (shown["text"], shown["callback_data"])]
            if not found:
                labels = [shown["text"] for _, shown in there]
                raise LookupError(f"there is no button {button!r} in chat {place.about['id']}, only {labels}")
            self._taps += 1
            tap = f"{4_000_000_000 + self._taps}"
            self.telegram.taps[tap] = Tap(expired=expired)
            under, shown = found[0]
            self._push(
                "callback_query",
                {
                    "id": tap,
                    "from": self._person(user),
                    "message": under,
                    "chat_instance": str(place.about["id"]),
                    "data": shown["callback_data"],
                },
            )
            return tap

    def stop(self, draft: int | None = None, *, chat: int | None = None, user: int = ANN) -> None:
        """Tap the button that stops a draft; the newest on the screen unless said."""
        with self._changed:
            place = self._chat(chat or user)
            there = [one for one in reversed(place.drafts) if one.shown and one.can_stop and draft in (None, one.id)]
            if not there:
                raise LookupError(f"there is no draft to stop in chat {place.about['id']}")
            there[0].stopped, there[0].shown = True, there[0].keep_on_stop
            stopped = {"chat": place.about, "draft_id": there[0].id, "message_thread_id": there[0].thread}
            self._push("stopped_message_generation", {key: value for key, value in stopped.items() if value})

    def raw(self, update: Json) -> int:
        """Send an update as it is, such as `{"my_chat_member": {...}}`; a number in it is kept.

        Returns:
            Its number.
        """
        with self._changed:
            kind = next(name for name in update if name != "update_id")
            return self._push(kind, update[kind], update.get("update_id"))

    # --- looking -----------------------------------------------------------------------------------------------------

    def calls(self, method: str | None = None) -> list[Call]:
        """What the bot asked for, in order: of a method, or all but the polls."""
        with self._changed:
            wanted = [call for call in self._http.calls if call.method == method or not method]
            return [call for call in wanted if method or call.method != "getUpdates"]

    def messages(self, chat: int = ANN) -> list[Json]:
        """What is in a chat now."""
        with self._changed:
            return list(self.telegram.chats[chat].messages.values()) if chat in self.telegram.chats else []

    def answers(self, chat: int = ANN) -> list[Json]:
        """What is in a chat now and is from the bot."""
        return [message for message in self.messages(chat) if message["from"] == self.telegram.author]

    def newest(self, chat: int = ANN) -> int:
        """Id of the last message of the bot that stands in a chat."""
        return int(self.answers(chat)[-1]["message_id"])

    def texts(self, chat: int = ANN) -> list[str]:
        """The words of `answers`."""
        return [words(message) for message in self.answers(chat)]

    def buttons(self, message: int, *, chat: int = ANN) -> list[str]:
        """Labels of the buttons under a message."""
        with self._changed:
            return [button["text"] for button in _buttons(self._chat(chat).messages[message])]

    def drafts(self, chat: int = ANN) -> list[Draft]:
        """The drafts there were in a chat, in the order they began."""
        with self._changed:
            return list(self.telegram.chats[chat].drafts) if chat in self.telegram.chats else []

    def actions(self, chat: int = ANN) -> list[str]:
        """What the bot said it was doing, such as `typing`."""
        with self._changed:
            return [action for _, action in self.telegram.chats[chat].actions] if chat in self.telegram.chats else []

    def reactions(self, message: int, *, chat: int = ANN) -> list[str]:
        """How the bot reacts to a message."""
        with self._changed:
            return list(self._chat(chat).bot_reactions.get(message, []))

    def answer_to(self, tap: str) -> Json | None:
        """What a tap was answered with (`text`, `show_alert`); `None` for not yet."""
        with self._changed:
            return self.telegram.taps[tap].answer

    @property
    def pending(self) -> list[Json]:
        """Updates that the bot has not confirmed."""
        with self._changed:
            return list(self.telegram.updates)

    def wait_for(self, predicate: Callable[[], T], timeout: float = 10.0) -> T:
        """Wait until something holds, and say what it returned; it is asked again after each change.

        Raises:
            TimeoutError: it did not hold in time; says what the bot asked for last.
        """
        with self._changed:
            result = self._changed.wait_for(predicate, timeout)
            if not result:
                last = "\n".join(f"  {call}"[:400] for call in self._http.calls[-8:])
                raise TimeoutError(
                    f"not within {timeout:g} s; {len(self.pending)} updates pending; last calls:\n{last}"
                )
            return result

    async def until(self, predicate: Callable[[], T], timeout: float = 10.0) -> T:  # noqa: ASYNC109 - as `wait_for`
        """`wait_for`, for a test whose event loop the bot runs in."""
        return await asyncio.to_thread(self.wait_for, predicate, timeout)

    # --- faults ------------------------------------------------------------------------------------------------------

    def fail(self, method: str, fault: Fault) -> Fault:
        """Have the next requests for methods that fit an expression, such as `send.*`, go wrong."""
        with self._changed:
            self._http.faults.append((re.compile(method), fault))
        return fault

    def mend(self) -> None:
        """Have nothing go wrong any more."""
        with self._changed:
            self._http.faults.clear()

    def down(self) -> None:
        """Close every connection, and take no more."""
        self._http.down()

    def up(self) -> None:
        """Listen, again on the same port."""
        self._http.up()

    # --- within ------------------------------------------------------------------------------------------------------

    def _chat(self, number: int) -> Chat:
        return self.telegram.chats[number]

    def _person(self, number: int, *, name: str = "", lang: str = "") -> Json:
        """Somebody as Telegram shows them, as they were last time where nothing is said."""
        person = self._people.get(number, {"id": number, "is_bot": False})
        first = name or person.get("first_name") or ("Ann" if number == ANN else f"Person {number}")
        said = {"first_name": first, "language_code": lang or person.get("language_code", "en")}
        self._people[number] = person | said
        return self._people[number]

    def _push(self, kind: str, what: Json, update: int | None = None) -> int:
        number = self.telegram.push(kind, what, update)
        self._http.wake()
        self._changed.notify_all()
        return number

    def _send(
        self,
        uploads: Sequence[tuple[str, Upload]],
        caption: str,
        where: Where,
        *,
        seconds: int = 1,
        album: str | None = None,
    ) -> list[int]:
        with self._changed:
            contents = [
                self.telegram.written(caption if number == 0 else "", "caption")
                | {kind: self.telegram.store(kind, upload, seconds=seconds), "media_group_id": album}
                for number, (kind, upload) in enumerate(uploads)
            ]
            return self._write(contents, where)

    def _write(self, contents: Sequence[Json], where: Where) -> list[int]:
        """Put messages of a person into a chat, and tell the bot."""
        with self._changed:
            user = self._person(where.get("user", ANN), name=where.get("name", ""), lang=where.get("lang", ""))
            number = where.get("chat", GROUP if where.get("group") else user["id"])
            chat = self.telegram.chat(number, user=user, title=where.get("title", ""))
            around: Json = {"message_thread_id": where.get("thread")}
            if where.get("thread"):
                chat.about["is_forum"] = True
            if reply_to := where.get("reply_to"):
                answered = chat.messages[reply_to]
                quote = quoted(answered, where.get("quote", ""))
                if quote is None:
                    raise LookupError(f"message {reply_to} does not say {where['quote']!r}")
                around |= {"reply_to_message": shallow(answered), "quote": quote}
            ids = []
            for content in contents:
                message = self.telegram.add(chat, user, content | around | where.get("more", {}))
                ids.append(message["message_id"])
                if self.telegram.heard(chat, message):
                    self._push("message", message)
            return ids


def _buttons(message: Json) -> list[Json]:
    return [button for row in message.get("reply_markup", {}).get("inline_keyboard", []) for button in row]
