"""The HTTP side of a Bot API server: requests of a bot, long polls, downloads, the webhook, and what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession, ClientTimeout, web
from telegram_chats import Chats, Json, Upload, Webhook
from telegram_methods import UPLOAD_LIMIT, Methods, RefusedError

_NUMBERS = frozenset([
    "message_id", "message_thread_id", "offset", "limit", "timeout", "user_id", "draft_id", "duration",
    "max_connections", "cache_time", "width", "height"
])  # fmt: skip
_FLAGS = frozenset([
    "drop_pending_updates", "can_stop", "keep_on_stop", "show_alert", "is_big", "disable_notification",
    "protect_content", "disable_content_type_detection", "show_caption_above_media", "has_spoiler",
    "supports_streaming", "for_channels"
])  # fmt: skip
_OBJECTS = frozenset([
    "reply_markup", "entities", "caption_entities", "reply_parameters", "allowed_updates", "commands", "scope",
    "reaction", "media", "message_ids", "link_preview_options"
])  # fmt: skip
_POLL_LIMIT = 50
"""Seconds that a poll waits at most."""

_HOOKED = "can't use getUpdates method while webhook is active; use deleteWebhook to delete the webhook first"
_ANOTHER = "terminated by other getUpdates request; make sure that only one bot instance is running"

_AGAIN = 0.1
"""Seconds until an update that the webhook did not take is sent to it again."""


@dataclass
class Fault:
    """What goes wrong with a request.

    Attributes:
        status: HTTP status of the refusal; 0 for none.
        description: what is said; empty for what Telegram says with the status.
        retry_after: seconds that a refusal tells to wait; a 429 tells 1 unless said.
        times: for how many requests; `math.inf` for all.
        after_acceptance: do first what was asked for; of a download, send first half of it.
        drop: close the connection in place of an answer.
        delay: seconds before all of this, or before the answer where nothing else goes wrong.
        chat: only for requests about this chat.
    """

    status: int = 0
    description: str = ""
    retry_after: int | None = None
    times: float = 1
    after_acceptance: bool = False
    drop: bool = False
    delay: float = 0.0
    chat: int | None = None

    def refuse(self) -> None:
        """Refuse, if that is what goes wrong."""
        if self.status:
            wait = self.retry_after or (1 if self.status == 429 else None)
            words = {
                403: "Forbidden: bot was blocked by the user",
                429: f"Too Many Requests: retry after {wait}",
                502: "Bad Gateway",
            }
            said = self.description or words.get(self.status, "Internal Server Error")
            raise RefusedError(self.status, said, retry_after=wait)


@dataclass
class Call:
    """A request of the bot; a download of a file is the method `download`.

    Attributes:
        method: as Telegram spells it.
        params: what was asked, numbers and JSON decoded.
        files: what came with it, by field.
        at: when it came (`time.monotonic()`).
        answered: when its answer was ready to be sent; 0 as long as it is not.
        status: HTTP status of the answer; 0 for one that has none, as yet or at all.
        result: what was done, even where the bot was not told; `None` for nothing.
        description: of a refusal.
    """

    method: str
    params: Json
    files: dict[str, Upload] = field(default_factory=dict, repr=False)
    at: float = field(default_factory=time.monotonic)
    answered: float = 0.0
    status: int = 0
    result: Any = None
    description: str = ""

    @property
    def chat(self) -> int | None:
        return self.params.get("chat_id")

    @property
    def text(self) -> str:
        return str(self.params.get("text", self.params.get("caption", "")))


class Listener:
    """The server itself, in a thread of its own.

    Args:
        token: of the bot.
        telegram: what Telegram knows.
        methods: what the bot can ask for.
        changed: the lock of all of these; it is told of each change.

    Attributes:
        port: where it listens, from the first time on.
        calls: what the bot asked for, in order; a request that cannot be read is not in it.
        faults: what goes wrong with the methods that fit.
    """

    def __init__(self, token: str, telegram: Chats, methods: Methods, changed: threading.Condition) -> None:
        self.port = 0
        self.calls: list[Call] = []
        self.faults: list[tuple[re.Pattern[str], Fault]] = []
        self._token = token
        self._telegram = telegram
        self._methods = methods
        self._changed = changed
        self._poll = 0
        self._runner: web.AppRunner | None = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()), name="telegram-server", daemon=True)
        self._started = threading.Event()

    def start(self) -> None:
        """Start the thread; nothing is listened to before `up`."""
        self._thread.start()
        self._started.wait()

    def end(self) -> None:
        """End the thread."""
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def up(self) -> None:
        """Listen, again on the same port."""
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result()

    def down(self) -> None:
        """Close every connection, and take no more."""
        asyncio.run_coroutine_threadsafe(self._hang_up(), self._loop).result()

    def wake(self) -> None:
        """Have polls and the webhook look at the updates; from any thread."""
        self._loop.call_soon_threadsafe(self._wake)

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ended, self._closing, self._news = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._started.set()
        await self._ended.wait()
        await self._hang_up()

    def _wake(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def _listen(self) -> None:
        self._closing = asyncio.Event()
        app = web.Application(client_max_size=UPLOAD_LIMIT + (1 << 20))
        app.router.add_get("/file/bot{token}/{path:.+}", self._download)
        app.router.add_route("*", "/bot{token}/{method}", self._answer)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port)
        await site.start()
        self.port = self._runner.addresses[0][1]
        self._delivery = asyncio.create_task(self._deliver())

    async def _hang_up(self) -> None:
        if self._runner is None:
            return
        # First of all, so that what is woken finds nobody to answer.
        for connection in self._runner.server.connections if self._runner.server else ():
            if connection.transport is not None:
                connection.transport.abort()
        self._closing.set()
        self._wake()
        await self._runner.cleanup()
        self._delivery.cancel()
        await asyncio.wait([self._delivery])
        self._runner = None

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        call = Call(self._methods.name(request.match_info["method"]), {})
        try:
            call.params, call.files = await _read(request)
            self._keep(call)
            self._know(request)
            fault = self._fault(call)
            if fault is None or fault.after_acceptance:
                await self._do(call)
            if fault is not None:
                await self._pause(fault.delay)
                if fault.drop or self._closing.is_set():
                    return _dropped(request)
                fault.refuse()
                if not fault.after_acceptance:
                    await self._do(call)
        except RefusedError as refusal:
            response = _refused(call, refusal)
        else:
            call.status = 200
            response = _json(200, {"ok": True, "result": call.result})
        call.answered = time.monotonic()
        with self._changed:
            self._changed.notify_all()
        return response

    def _know(self, request: web.Request) -> None:
        if request.match_info["token"] != self._token:
            raise RefusedError(401, "Unauthorized")

    async def _do(self, call: Call) -> None:
        if call.method == "getUpdates":
            call.result = await self._updates(call.params)
            return
        with self._changed:
            call.result = self._methods.do(call.method, call.params | call.files)
            self._changed.notify_all()
        if call.method == "setWebhook":
            self._wake()

    async def _updates(self, asked: Json) -> list[Json]:
        """Wait for updates; another poll ends this one."""
        with self._changed:
            self._poll += 1
            mine = self._poll
            self._telegram.confirm(asked.get("offset") or 0)
            if asked.get("allowed_updates") is not None:
                self._telegram.allowed = frozenset(asked["allowed_updates"])
            self._changed.notify_all()
        self._wake()
        end = self._loop.time() + min(asked.get("timeout") or 0, _POLL_LIMIT)
        while True:
            news = self._news
            with self._changed:
                hook = self._telegram.webhook
                found = list(islice(self._telegram.updates, min(asked.get("limit") or 100, 100)))
            if hook is not None:
                raise RefusedError(409, f"Conflict: {_HOOKED}")
            if mine != self._poll:
                raise RefusedError(409, f"Conflict: {_ANOTHER}")
            left = end - self._loop.time()
            if found or left <= 0 or self._closing.is_set():
                return found
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), left)

    async def _download(self, request: web.Request) -> web.StreamResponse:
        call = Call("download", {"path": request.match_info["path"]})
        self._keep(call)
        fault = self._fault(call)
        with self._changed:
            data = self._telegram.file(call.params["path"])
        if data is None or request.match_info["token"] != self._token:
            return _refused(call, RefusedError(404, "Not Found"))
        if fault is not None:
            await self._pause(fault.delay)
            if fault.drop and fault.after_acceptance:
                response = web.StreamResponse(headers={"content-length": str(len(data))})
                await response.prepare(request)
                await response.write(data[: len(data) // 2])
            if fault.drop or self._closing.is_set():
                return _dropped(request)
            try:
                fault.refuse()
            except RefusedError as refusal:
                return _refused(call, refusal)
        call.status = 200
        return web.Response(body=data, content_type="application/octet-stream")

    def _keep(self, call: Call) -> None:
        with self._changed:
            self.calls.append(call)
            self._changed.notify_all()

    def _fault(self, call: Call) -> Fault | None:
        """What goes wrong with a request."""
        with self._changed:
            for entry in self.faults:
                pattern, fault = entry
                if pattern.fullmatch(call.method) and fault.chat in (None, call.chat):
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(entry)
                    return fault
        return None

    async def _pause(self, seconds: float) -> None:
        if seconds:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), seconds)

    # --- the webhook -------------------------------------------------------------------------------------------------

    async def _deliver(self) -> None:
        """Send updates to the webhook: in order in each chat, chats at the same time, until each is taken."""
        sending: set[int] = set()
        async with ClientSession(timeout=ClientTimeout(total=60)) as session, asyncio.TaskGroup() as posts:
            while True:
                news = self._news
                with self._changed:
                    hook = self._telegram.webhook
                    updates = list(self._telegram.updates) if hook else []
                for update in updates:
                    chat = _chat_of(update)
                    if hook is not None and chat not in sending and len(sending) < hook.connections:
                        sending.add(chat)
                        posts.create_task(self._post(session, hook, update, sending))
                await news.wait()

    async def _post(self, session: ClientSession, hook: Webhook, update: Json, sending: set[int]) -> None:
        headers = {"content-type": "application/json"}
        if hook.secret:
            headers["X-Telegram-Bot-Api-Secret-Token"] = hook.secret
        try:
            async with session.post(hook.url, data=msgspec.json.encode(update), headers=headers) as response:
                error = "" if response.ok else f"Wrong response from the webhook: {response.status} {response.reason}"
        except (ClientError, TimeoutError) as problem:
            error = f"Connection failed: {type(problem).__name__}"
        with self._changed:
            if error:
                hook.error, hook.error_at = error, int(time.time())
            elif update in self._telegram.updates:
                self._telegram.updates.remove(update)
            self._changed.notify_all()
        if error:
            await self._pause(_AGAIN)
        sending.discard(_chat_of(update))
        self._wake()


def _chat_of(update: Json) -> int:
    what: Json = next(value for name, value in update.items() if name != "update_id")
    about = what.get("chat") or what.get("message", {}).get("chat") or what.get("from") or {}
    return int(about.get("id", 0))


async def _read(request: web.Request) -> tuple[Json, dict[str, Upload]]:
    """What is asked, and the files that came with it."""
    fields: Json = dict(request.query)
    files: dict[str, Upload] = {}
    if request.content_type == "application/json":
        fields |= await request.json()
    elif request.method == "POST":
        try:
            form = await request.post()
        except web.HTTPRequestEntityTooLarge:
            raise RefusedError(413, "Request Entity Too Large") from None
        for name, value in form.items():
            if isinstance(value, web.FileField):
                files[name] = Upload(value.filename, value.file.read(), value.content_type)
            else:
                fields[name] = value
    return {name: _decoded(name, value) for name, value in fields.items()}, files


def _decoded(name: str, value: Any) -> Any:
    """A field of a form as what it stands for."""
    if not isinstance(value, str):
        return value
    if name == "chat_id":
        return int(value) if re.fullmatch(r"-?\d+", value) else value
    if name in _FLAGS:
        return value.lower() in ("true", "1", "yes")
    try:
        if name in _NUMBERS:
            return int(value)
        return json.loads(value) if name in _OBJECTS else value
    except ValueError:
        raise RefusedError(400, f"can't parse {name.replace('_', ' ')} JSON object") from None


def _json(status: int, body: Json) -> web.Response:
    return web.Response(status=status, body=msgspec.json.encode(body), content_type="application/json")


def _refused(call: Call, refusal: RefusedError) -> web.Response:
    call.status, call.description = refusal.status, refusal.description
    body: Json = {"ok": False, "error_code": refusal.status, "description": refusal.description}
    if refusal.retry_after is not None:
        body["parameters"] = {"retry_after": refusal.retry_after}
    return _json(refusal.status, body)


def _dropped(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
