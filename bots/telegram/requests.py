"""What people of Telegram ask for, as the shared parts of the bots take it: who, where, about which reply, with which files."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from bots.conversations import Conversations, chat_of
from bots.places import Incoming
from bots.port import Caller, Request, Upload
from bots.roles import role_of
from bots.telegram.transport import safe
from bots.telegram.updates import Media, Told
from bots.texts import best
from trainerlib import Workspace
from trainerlib.errors import UploadRefusedError

if TYPE_CHECKING:
    from aiogram import Bot as Client

_SERVER_TROUBLE = 500
"""HTTP status from which on a server says that the trouble is its own."""


class BrokenError(Exception):
    """A file did not arrive whole; it is asked for again."""


class Requests:
    """Makes requests of what updates say.

    Args:
        workspace: whose bot it is.
        client: speaks to Telegram.
        me: Telegram's id of the bot.
        conversations: of its chats.
        takes_files: whether somebody's command does something with files.
    """

    def __init__(
        self,
        workspace: Workspace,
        client: Client,
        me: int,
        conversations: Conversations,
        *,
        takes_files: Callable[[str, Caller], bool],
    ) -> None:
        self._workspace = workspace
        self._client = client
        self._me = me
        self._conversations = conversations
        self._takes_files = takes_files

    async def made(self, said: Told) -> Request:
        """What was asked for, its files fetched where something is done with them: nobody finds others again.

        Raises:
            BrokenError: a file did not arrive whole.
            StoreError: a file cannot be kept.
        """
        person = f"telegram:{said.origin.user}" if said.origin.user else ""
        language = best(said.origin.language, self._workspace.settings.workspace.language)
        caller = Caller(person, said.origin.name, language, role_of(self._workspace, person))
        wanted = said.kind == "message" or (said.kind == "command" and self._takes_files(said.command, caller))
        files = [await self._upload(media, said.origin.where) for media in said.media if wanted]
        where, about = said.origin.where, said.reply
        if said.kind == "reaction":
            where, about = self._reacted_to(said)
        elif about is None and said.replied:
            about = self._reply_shown_as(where, said.replied)
        key = f"telegram:{self._me}:{said.origin.chat}:{said.message}"
        if said.kind == "tap":
            key = f"{key}:tap:{said.tap}"
        elif said.kind == "reaction":
            at = said.at.timestamp() if said.at is not None else 0
            key = f"{key}:reaction:{said.origin.user}:{at:.0f}:{''.join(said.added)}-{''.join(said.removed)}"
        return Request(
            caller,
            where,
            said.text,
            files=tuple(files),
            about=about,
            quoted=said.quoted,
            # A model may say anything in an answer; it asks for nothing.
            asked=said.asked if about is None else "",
            key=key,
            sent_at=said.at,
            private=said.origin.private,
            title=said.origin.title,
        )

    def _reacted_to(self, said: Told) -> tuple[str, int | None]:
        """The chat or topic of a message, and the id of our reply that it is; a reaction does not say the topic."""
        origin = said.origin
        found = self._workspace.conversations(platform="telegram") if origin.forum else ()
        topics = {chat_of(one.id) for one in found if one.id.startswith(f"{origin.where}:")}
        for where in (origin.where, *sorted(topics)):
            about = self._reply_shown_as(where, said.message)
            if about is not None:
                return where, about
        return origin.where, None

    def _reply_shown_as(self, where: str, message: int) -> int | None:
        """Id of our reply that is a message of Telegram's; `None` when it is none."""
        wanted = str(message)
        for chat in reversed(self._conversations.all(where)):
            for one in reversed(chat.messages):
                if one.delivered and wanted in one.delivered:
                    return one.id
        return None

    async def _upload(self, media: Media, where: str) -> Upload:
        """Take a file from Telegram; one that is too large, or gone, is named without its content."""
        from aiogram.exceptions import TelegramBadRequest
        from aiohttp import ClientError, ClientResponseError

        limit = self._workspace.settings.bots.upload_mb * 1_000_000
        upload = Upload(media.kind, None, media.name, media.mime, media.size, media.seconds)
        if media.size > limit:
            return upload
        try:
            with Incoming(self._workspace.path, name=media.name, kind=media.kind, limit=limit, chat=where) as incoming:
                file = await self._client.get_file(media.file)
                await self._client.download_file(file.file_path or "", incoming, timeout=600, seek=False)
                return msgspec.structs.replace(upload, path=incoming.keep())
        except UploadRefusedError as error:
            return msgspec.structs.replace(upload, refused=str(error))
        except TelegramBadRequest:
            return upload
        except ClientError as error:
            if isinstance(error, ClientResponseError) and error.status < _SERVER_TROUBLE:
                return upload
            raise BrokenError(safe(error, self._client.token)) from None
