"""The methods of the Bot API on `telegram_chats`: what each does, and what Telegram refuses."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from telegram_chats import KINDS, Chat, Chats, Draft, Json, Upload, Webhook, quoted, shallow
from telegram_markup import MarkupError, formatted, units

TEXT_LIMIT = 4096
CAPTION_LIMIT = 1024
DOWNLOAD_LIMIT = 20 << 20
UPLOAD_LIMIT = 50 << 20
PHOTO_LIMIT = 10 << 20

EMOJI = frozenset([
    "👍", "👎", "❤", "🔥", "🥰", "👏", "😁", "🤔", "🤯", "😱", "🤬", "😢", "🎉", "🤩", "🤮", "💩", "🙏", "👌", "🕊", "🤡", "🥱", "🥴",
    "😍", "🐳", "❤‍🔥", "🌚", "🌭", "💯", "🤣", "⚡", "🍌", "🏆", "💔", "🤨", "😐", "🍓", "🍾", "💋", "🖕", "😈", "😴", "😭", "🤓", "👻",
    "👨‍💻", "👀", "🎃", "🙈", "😇", "😨", "🤝", "✍", "🤗", "🫡", "🎅", "🎄", "☃", "💅", "🤪", "🗿", "🆒", "💘", "🙉", "🦄", "😘", "💊",
    "🙊", "😎", "👾", "🤷‍♂", "🤷", "🤷‍♀", "😡"
])  # fmt: skip
"""Emoji that one can react with."""

REQUIRED: dict[str, tuple[str, ...]] = {
    "getMe": (),
    "logOut": (),
    "close": (),
    "getUpdates": (),
    "setWebhook": (),
    "deleteWebhook": (),
    "getWebhookInfo": (),
    "sendMessage": ("chat_id", "text"),
    "sendMessageDraft": ("chat_id", "draft_id"),
    "sendDocument": ("chat_id", "document"),
    "sendVoice": ("chat_id", "voice"),
    "sendPhoto": ("chat_id", "photo"),
    "sendAudio": ("chat_id", "audio"),
    "sendVideo": ("chat_id", "video"),
    "sendMediaGroup": ("chat_id", "media"),
    "sendChatAction": ("chat_id", "action"),
    "editMessageText": (),
    "editMessageCaption": (),
    "editMessageReplyMarkup": (),
    "deleteMessage": ("chat_id", "message_id"),
    "deleteMessages": ("chat_id", "message_ids"),
    "setMessageReaction": ("chat_id", "message_id"),
    "answerCallbackQuery": ("callback_query_id",),
    "getFile": ("file_id",),
    "setMyCommands": ("commands",),
    "getMyCommands": (),
    "deleteMyCommands": (),
    "getMyDefaultAdministratorRights": (),
    "getChat": ("chat_id",),
    "getChatMember": ("chat_id", "user_id"),
    "getChatAdministrators": ("chat_id",),
}
"""Methods there are, each with the parameters it cannot do without."""

_ACTIONS = frozenset([
    "typing", "upload_photo", "record_video", "upload_video", "record_voice", "upload_voice", "upload_document",
    "choose_sticker", "find_location", "record_video_note", "upload_video_note"
])  # fmt: skip
_RIGHTS = (
    "can_manage_chat", "can_delete_messages", "can_manage_video_chats", "can_restrict_members", "can_promote_members",
    "can_change_info", "can_invite_users", "can_post_stories", "can_edit_stories", "can_delete_stories",
    "can_send_welcome_messages",
)  # fmt: skip
_UNMODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current content "
    "and reply markup of the message"
)


class RefusedError(Exception):
    """A refusal of Telegram.

    Args:
        status: HTTP status, which is the error code too.
        description: what is said; `Bad Request: ` goes before it for 400.
        retry_after: seconds to wait.
    """

    def __init__(self, status: int, description: str, *, retry_after: int | None = None) -> None:
        self.status = status
        self.description = f"Bad Request: {description}" if status == 400 else description
        self.retry_after = retry_after
        super().__init__(self.description)


@dataclass(frozen=True)
class Pace:
    """How much a bot may send, as far as Telegram says it.

    Attributes:
        burst: messages that a chat takes at once.
        every: seconds for each one after these.
        group: messages a minute in a group.
    """

    burst: int = 3
    every: float = 1.0
    group: int = 20


class Methods:
    """What the bot can ask for.

    Args:
        telegram: the chats.
        pace: how much the bot may send; `None` for as much as it likes.
    """

    def __init__(self, telegram: Chats, pace: Pace | None = None) -> None:
        self._telegram = telegram
        self._pace = pace
        self._commands: dict[tuple[str, str], list[Json]] = {}
        methods: dict[str, Callable[[Json], Any]] = {
            "getMe": lambda _asked: self._telegram.bot,
            "logOut": lambda _asked: True,
            "close": lambda _asked: True,
            "setWebhook": self._set_webhook,
            "deleteWebhook": self._delete_webhook,
            "getWebhookInfo": self._webhook_info,
            "sendMessage": self._send_message,
            "sendMessageDraft": self._send_draft,
            "sendMediaGroup": self._send_album,
            "sendChatAction": self._send_action,
            "editMessageText": lambda asked: self._edit(asked, "text"),
            "editMessageCaption": lambda asked: self._edit(asked, "caption"),
            "editMessageReplyMarkup": lambda asked: self._edit(asked, ""),
            "deleteMessage": self._delete,
            "deleteMessages": self._delete_several,
            "setMessageReaction": self._react,
            "answerCallbackQuery": self._answer_tap,
            "getFile": self._get_file,
            "setMyCommands": self._set_commands,
            "getMyCommands": lambda asked: self._commands.get(_scope(asked), []),
            "deleteMyCommands": lambda asked: self._commands.pop(_scope(asked), None) is not None or True,
            "getMyDefaultAdministratorRights": lambda _asked: _rights(granted=False),
            "getChat": self._get_chat,
            "getChatMember": lambda asked: self._member(self._chat(asked), asked["user_id"]),
            "getChatAdministrators": self._administrators,
        }
        methods |= {f"send{kind.capitalize()}": self._sender(kind) for kind in KINDS}
        self._methods = {name.lower(): does for name, does in methods.items()}
        self._names = {name.lower(): name for name in REQUIRED}

    # --- asking -----------------------------------------------------------------------------------------------------

    def name(self, method: str) -> str:
        """A method as Telegram spells it; names are taken in any case."""
        return self._names.get(method.lower(), method)

    def _check(self, method: str, asked: Json) -> None:
        """Refuse a request for a method that is not there, or that lacks what it needs."""
        if method not in REQUIRED:
            raise RefusedError(404, "Not Found: method not found")
        for name in REQUIRED[method]:
            if name not in asked:
                if name == "chat_id":
                    raise RefusedError(400, "chat_id is empty")
                if name == "text":
                    raise RefusedError(400, "message text is empty")
                if name in KINDS:
                    raise RefusedError(400, f"there is no {name} in the request")
                raise RefusedError(400, f'parameter "{name}" is required')

    def do(self, method: str, asked: Json) -> Any:
        """Do what the bot asks for; all methods but `getUpdates`."""
        self._check(method, asked)
        return self._methods[method.lower()](asked)

    # --- sending -----------------------------------------------------------------------------------------------------

    def _chat(self, asked: Json) -> Chat:
        number = asked.get("chat_id")
        if not number:
            raise RefusedError(400, "chat_id is empty")
        if number not in self._telegram.chats:
            raise RefusedError(400, "chat not found")
        return self._telegram.chats[number]

    def _spend(self, chat: Chat, messages: int = 1) -> None:
        """Refuse a message that comes too soon after others."""
        if self._pace is None:
            return
        now = time.monotonic()
        filled = chat.tokens + (now - chat.filled_at) / self._pace.every
        chat.tokens, chat.filled_at = min(filled, self._pace.burst), now
        wait = max(0.0, (1 - chat.tokens) * self._pace.every)
        while chat.sent_at and chat.sent_at[0] <= now - 60:
            chat.sent_at.popleft()
        if not chat.private and len(chat.sent_at) + messages > self._pace.group:
            wait = max(wait, chat.sent_at[0] + 60 - now if chat.sent_at else 60)
        if wait > 0:
            seconds = max(1, math.ceil(wait))
            raise RefusedError(429, f"Too Many Requests: retry after {seconds}", retry_after=seconds)
        chat.tokens -= messages
        chat.sent_at.extend([now] * messages)

    def _text(self, asked: Json, key: str) -> Json:
        """Text or caption of a request, with its entities."""
        listed = "entities" if key == "text" else "caption_entities"
        try:
            text, entities = formatted(asked.get(key) or "", asked.get("parse_mode"), asked.get(listed))
        except MarkupError as error:
            raise RefusedError(400, str(error)) from None
        limit = TEXT_LIMIT if key == "text" else CAPTION_LIMIT
        if units(text) > limit:
            raise RefusedError(400, "message is too long" if key == "text" else "message caption is too long")
        return {key: text, listed: entities}

    def _words(self, asked: Json) -> Json:
        if not asked.get("text"):
            raise RefusedError(400, "message text is empty")
        words = self._text(asked, "text")
        if not words["text"].strip():
            raise RefusedError(400, "text must be non-empty")
        return words

    def _around(self, chat: Chat, asked: Json) -> Json:
        """What a message has beside its content: topic, what it answers, buttons."""
        around: Json = {"reply_markup": _keyboard(asked)}
        thread = asked.get("message_thread_id")
        if thread and thread not in chat.threads:
            raise RefusedError(400, "message thread not found")
        around["message_thread_id"] = thread
        reply = asked.get("reply_parameters")
        if reply:
            answered = chat.messages.get(reply.get("message_id"))
            if answered is None and not reply.get("allow_sending_without_reply"):
                raise RefusedError(400, "message to be replied not found")
            if answered is not None:
                around["reply_to_message"] = shallow(answered)
                around["quote"] = quoted(answered, reply.get("quote") or "")
                if around["quote"] is None:
                    raise RefusedError(400, "QUOTE_TEXT_INVALID")
        return around

    def _clear(self, chat: Chat) -> None:
        """Take the draft off the screen."""
        for draft in chat.drafts[-1:]:
            draft.shown = False

    def _show(self, chat: Chat, content: Json) -> Json:
        self._clear(chat)
        return self._telegram.add(chat, self._telegram.author, content)

    def _send_message(self, asked: Json) -> Json:
        chat = self._chat(asked)
        content = self._words(asked) | self._around(chat, asked)
        self._spend(chat)
        return self._show(chat, content)

    def _send_draft(self, asked: Json) -> bool:
        chat = self._chat(asked)
        if not chat.private:
            raise RefusedError(400, "TEXTDRAFT_PEER_INVALID")
        if not asked["draft_id"]:
            raise RefusedError(400, "draft_id is invalid")
        text = self._text(asked, "text")["text"]
        draft = chat.drafts[-1] if chat.drafts else None
        if draft is None or draft.id != asked["draft_id"] or not (draft.shown or draft.stopped):
            self._clear(chat)
            draft = Draft(asked["draft_id"], thread=asked.get("message_thread_id"))
            chat.drafts.append(draft)
        draft.texts.append(text)
        draft.can_stop, draft.keep_on_stop = bool(asked.get("can_stop")), bool(asked.get("keep_on_stop"))
        return True

    def _attached(self, kind: str, given: str | Upload, asked: Json) -> Any:
        """The file of a request: one that came with it, or one that Telegram has."""
        if isinstance(given, str) and given.startswith("attach://"):
            given = asked.get(given.removeprefix("attach://"), given)
        known = self._telegram.files.get(given) if isinstance(given, str) else None
        upload = Upload(known.about.get("file_name", "file"), known.data) if known else given
        if not isinstance(upload, Upload):
            raise RefusedError(400, "wrong remote file identifier specified: Wrong string length")
        if not upload.data:
            raise RefusedError(400, "file must be non-empty")
        if len(upload.data) > (PHOTO_LIMIT if kind == "photo" else UPLOAD_LIMIT):
            raise RefusedError(413, "Request Entity Too Large")
        return self._telegram.store(kind, upload)

    def _sender(self, kind: str) -> Callable[[Json], Json]:
        def send(asked: Json) -> Json:
            chat = self._chat(asked)
            content = self._text(asked, "caption") | self._around(chat, asked)
            content[kind] = self._attached(kind, asked[kind], asked)
            self._spend(chat)
            return self._show(chat, content)

        return send

    def _send_album(self, asked: Json) -> list[Json]:
        chat = self._chat(asked)
        items = asked["media"]
        if not 2 <= len(items) <= 10:
            raise RefusedError(400, "wrong number of messages to send in an album: it must be from 2 to 10")
        kinds = {"photo" if item["type"] == "video" else item["type"] for item in items}
        if len(kinds) > 1:
            raise RefusedError(400, "can't use the media of the specified type in the album")
        around = self._around(chat, asked) | {"media_group_id": str(10**16 + self._telegram.next_update + chat.last)}
        contents = [
            self._text(item, "caption") | around | {item["type"]: self._attached(item["type"], item["media"], asked)}
            for item in items
        ]
        self._spend(chat, len(contents))
        return [self._show(chat, content) for content in contents]

    def _send_action(self, asked: Json) -> bool:
        chat = self._chat(asked)
        if asked["action"] not in _ACTIONS:
            raise RefusedError(400, "wrong parameter action in request")
        chat.actions.append((time.monotonic(), asked["action"]))
        return True

    # --- what was sent -----------------------------------------------------------------------------------------------

    def _found(self, asked: Json, purpose: str) -> tuple[Chat, Json]:
        chat = self._chat(asked)
        if not asked.get("message_id"):
            raise RefusedError(400, "message identifier is not specified")
        message = chat.messages.get(asked["message_id"])
        if message is None:
            raise RefusedError(400, f"message to {purpose} not found")
        return chat, message

    def _edit(self, asked: Json, key: str) -> Json:
        chat, message = self._found(asked, "edit")
        if message["from"] != self._telegram.author:
            raise RefusedError(400, "message can't be edited")
        change: Json = {}
        if key == "text":
            if "text" not in message:
                raise RefusedError(400, "there is no text in the message to edit")
            change = self._words(asked)
        elif key:
            if "text" in message:
                raise RefusedError(400, "there is no caption in the message to edit")
            change = self._text(asked, key)
        gone = ("reply_markup", "edit_date", *change)
        edited = {name: value for name, value in message.items() if name not in gone}
        edited |= {name: value for name, value in change.items() if value}
        if keyboard := _keyboard(asked):
            edited["reply_markup"] = keyboard
        if edited == {name: value for name, value in message.items() if name != "edit_date"}:
            raise RefusedError(400, _UNMODIFIED)
        self._spend(chat)
        edited["edit_date"] = int(time.time())
        chat.messages[message["message_id"]] = edited
        return edited

    def _delete(self, asked: Json) -> bool:
        chat, message = self._found(asked, "delete")
        admin = (chat.about["id"], self._telegram.bot["id"]) in self._telegram.admins
        if not (chat.private or message["from"] == self._telegram.author or admin):
            raise RefusedError(400, "message can't be deleted")
        del chat.messages[message["message_id"]]
        return True

    def _delete_several(self, asked: Json) -> bool:
        chat = self._chat(asked)
        for number in asked["message_ids"]:
            if number in chat.messages:
                self._delete({"chat_id": asked["chat_id"], "message_id": number})
        return True

    def _react(self, asked: Json) -> bool:
        chat, message = self._found(asked, "react")
        emoji = [one.get("emoji", "") for one in asked.get("reaction") or []]
        if len(emoji) > 1:
            raise RefusedError(400, "REACTIONS_TOO_MANY")
        if any(one.removesuffix("\ufe0f") not in EMOJI for one in emoji):
            raise RefusedError(400, "REACTION_INVALID")
        chat.bot_reactions[message["message_id"]] = emoji
        return True

    def _answer_tap(self, asked: Json) -> bool:
        tap = self._telegram.taps.get(asked["callback_query_id"])
        if tap is None or tap.expired or tap.answer is not None:
            raise RefusedError(400, "query is too old and response timeout expired or query ID is invalid")
        if units(asked.get("text") or "") > 200:
            raise RefusedError(400, "MESSAGE_TOO_LONG")
        tap.answer = {"text": asked.get("text", ""), "show_alert": bool(asked.get("show_alert"))}
        return True

    def _get_file(self, asked: Json) -> Json:
        file = self._telegram.files.get(asked["file_id"])
        if file is None:
            raise RefusedError(400, "wrong file_id or the file is temporarily unavailable")
        if len(file.data) > DOWNLOAD_LIMIT:
            raise RefusedError(400, "file is too big")
        return {name: file.about[name] for name in ("file_id", "file_unique_id", "file_size")} | {
            "file_path": file.path
        }

    # --- the bot itself ----------------------------------------------------------------------------------------------

    def _set_webhook(self, asked: Json) -> bool:
        url, secret = asked.get("url") or "", asked.get("secret_token") or ""
        if url and not re.match(r"https://|http://(127\.0\.0\.1|localhost)[:/]", url):
            raise RefusedError(400, "bad webhook: An HTTPS URL must be provided for webhook")
        if not re.fullmatch(r"[A-Za-z0-9_-]{0,256}", secret):
            raise RefusedError(400, "secret token contains unallowed characters")
        if asked.get("allowed_updates") is not None:
            self._telegram.allowed = frozenset(asked["allowed_updates"])
        if asked.get("drop_pending_updates"):
            self._telegram.updates.clear()
        self._telegram.webhook = Webhook(url, secret, asked.get("max_connections") or 40) if url else None
        return True

    def _delete_webhook(self, asked: Json) -> bool:
        self._telegram.webhook = None
        if asked.get("drop_pending_updates"):
            self._telegram.updates.clear()
        return True

    def _webhook_info(self, _asked: Json) -> Json:
        info: Json = {"url": "", "has_custom_certificate": False, "pending_update_count": len(self._telegram.updates)}
        if self._telegram.allowed:
            info["allowed_updates"] = sorted(self._telegram.allowed)
        if self._telegram.webhook:
            info |= {"url": self._telegram.webhook.url, "max_connections": self._telegram.webhook.connections}
            if self._telegram.webhook.error:
                info |= {
                    "last_error_message": self._telegram.webhook.error,
                    "last_error_date": self._telegram.webhook.error_at,
                }
        return info

    def _set_commands(self, asked: Json) -> bool:
        for command in asked["commands"]:
            if not re.fullmatch(r"/?[a-z0-9_]{1,32}", command["command"]):
                raise RefusedError(400, "BOT_COMMAND_INVALID")
            if not 1 <= units(command["description"]) <= 256:
                raise RefusedError(400, "BOT_COMMAND_DESCRIPTION_INVALID")
        if len(asked["commands"]) > 100:
            raise RefusedError(400, "BOT_COMMANDS_TOO_MUCH")
        self._commands[_scope(asked)] = asked["commands"]
        return True

    def _get_chat(self, asked: Json) -> Json:
        gifts = ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels")
        more = {"accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": dict.fromkeys(gifts, True)}
        return self._chat(asked).about | more

    def _member(self, chat: Chat, user: int) -> Json:
        known = (message["from"] for message in chat.messages.values() if message["from"]["id"] == user)
        about = self._telegram.author if user == self._telegram.bot["id"] else next(known, None)
        if about is None:
            raise RefusedError(400, "user not found" if chat.private else "member not found")
        if (chat.about["id"], user) in self._telegram.admins:
            rights = _rights(granted=True)
            return {"status": "administrator", "user": about, "can_be_edited": False, **rights}
        return {"status": "member", "user": about}

    def _administrators(self, asked: Json) -> list[Json]:
        chat = self._chat(asked)
        if chat.private:
            raise RefusedError(400, "there are no administrators in the private chat")
        return [
            self._member(chat, user) for number, user in sorted(self._telegram.admins) if number == chat.about["id"]
        ]


def _keyboard(asked: Json) -> Json | None:
    """The buttons that a message shows; a request to answer or a keyboard of the person is no part of it."""
    markup = asked.get("reply_markup")
    if not markup:
        return None
    if units(markup.get("input_field_placeholder") or "") > 64:
        raise RefusedError(400, "REPLY_MARKUP_PLACEHOLDER_INVALID")
    if "inline_keyboard" not in markup:
        return None
    for row in markup["inline_keyboard"]:
        for button in row:
            if not button.get("text"):
                raise RefusedError(400, 'can\'t parse inline keyboard button: Field "text" must be of type String')
            if not set(button) - {"text", "style", "icon_custom_emoji_id"}:
                raise RefusedError(
                    400, "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard"
                )
            data = button.get("callback_data")
            if data is not None and not 1 <= len(data.encode()) <= 64:
                raise RefusedError(400, "BUTTON_DATA_INVALID")
    rows = [row for row in markup["inline_keyboard"] if row]
    return {"inline_keyboard": rows} if rows else None


def _scope(asked: Json) -> tuple[str, str]:
    return json.dumps(asked.get("scope") or {"type": "default"}, sort_keys=True), asked.get("language_code") or ""


def _rights(*, granted: bool) -> Json:
    return {"is_anonymous": False} | dict.fromkeys(_RIGHTS, granted)
