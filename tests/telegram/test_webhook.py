"""Updates that Telegram sends to the bot are kept before it is told so, and each is answered once."""

from __future__ import annotations

import asyncio
import json
import math
import socket
from contextlib import asynccontextmanager
from io import BytesIO
from types import SimpleNamespace

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from aiogram import Bot
from aiogram.client.telegram import TelegramAPIServer
from aiohttp import ClientSession
from answering import Echo, using
from ports import free_port
from telegram_server import ANN, Fault

import trainerlib
from bots.telegram.inbox import FILE, Inbox
from bots.telegram.logs import opened
from bots.telegram.running import TelegramBot
from bots.telegram.sending import Sender
from bots.telegram.session import session
from bots.telegram.transport import UNLIMITED, Transport
from bots.telegram.updates import WANTED
from bots.telegram.webhook import HEADER, LIMIT, secret_of, serve, unset
from trainerlib.errors import SettingsError


@pytest.fixture
def shop(tmp_path):
    with trainerlib.open(tmp_path / "shop") as ws:
        yield ws


@asynccontextmanager
async def hooked(ws, server, *, model=None, patience=10.0):
    """A bot that Telegram sends updates to: `post` sends it one more, `stop` stops it."""
    using(ws, model or Echo())
    url = f"http://127.0.0.1:{free_port()}/hook"
    client = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
    log = opened(server.token, json=True)
    try:
        with Inbox(ws.path / FILE) as inbox:
            sender = Sender(client, transport=Transport(UNLIMITED))
            bot = TelegramBot(ws, client, await client.get_me(), inbox, log=log, sender=sender)
            async with ClientSession() as http, bot.working():
                listen = url.removeprefix("http://").removesuffix("/hook")
                serving = asyncio.create_task(
                    serve(bot.take, client, until=bot.stopped, address=url, listen=listen, log=log, patience=patience)
                )
                await server.until(lambda: server.telegram.webhook)

                known = secret_of(server.token)

                async def post(data, *, secret=known, method="POST", path=url):
                    body = data if isinstance(data, bytes) else json.dumps(data).encode()
                    headers = {HEADER: secret} if secret is not None else {}
                    async with http.request(method, path, data=BytesIO(body), headers=headers) as response:
                        return response.status

                yield SimpleNamespace(post=post, inbox=inbox, stop=bot.stop)
                bot.stop()
                await serving
    finally:
        await ws.replies.close()
        await client.session.close()


def update(number, text, *, chat=ANN):
    """An update as Telegram sends it."""
    person = {"id": chat, "is_bot": False, "first_name": "Ann", "language_code": "en"}
    about = {"id": chat, "type": "private", "first_name": "Ann"}
    return {
        "update_id": number,
        "message": {"message_id": number, "from": person, "chat": about, "date": 1_772_352_000, "text": text},
    }


def told(server, chat=ANN):
    """What a chat was answered, but for the word on privacy."""
    return [text for text in server.texts(chat) if text.startswith("say ")]


def test_what_telegram_sends_is_answered_once_and_in_order(shop, server):
    async def talk():
        server.say("say 0")
        async with hooked(shop, server):
            for number in range(1, 4):
                server.say(f"say {number}")
                server.say(f"say Лютик {number}", user=7)
            await server.until(lambda: len(told(server)) == 4 and len(told(server, 7)) == 3 and not server.pending)

    asyncio.run(talk())
    assert told(server) == [f"say {number}" for number in range(4)]
    assert told(server, 7) == [f"say Лютик {number}" for number in range(1, 4)]
    assert server.calls("getUpdates") == []


def test_telegram_is_told_a_secret_that_is_not_the_token_and_every_kind_of_update_is_wanted(shop, server):
    async def begin():
        async with hooked(shop, server):
            pass

    asyncio.run(begin())
    [set_webhook] = server.calls("setWebhook")
    assert set_webhook.params["allowed_updates"] == list(WANTED)
    secret = set_webhook.params["secret_token"]
    assert secret == secret_of(server.token) != secret_of(server.token + "x")
    assert not any(part in secret for part in server.token.split(":"))


def test_an_update_that_is_sent_again_is_answered_once(shop, server):
    async def talk():
        server.say("Hello")
        async with hooked(shop, server) as bot:
            again = update(5_000, "say it")
            assert [await bot.post(again), await bot.post(again)] == [200, 200]
            await server.until(lambda: told(server))
            assert await bot.post(again) == 200
            assert await bot.post(update(5_001, "say more"), path=server.telegram.webhook.url + "/deeper") == 200
            await server.until(lambda: len(told(server)) > 1)

    asyncio.run(talk())
    assert told(server) == ["say it", "say more"]


def test_who_does_not_know_the_secret_is_refused_and_nothing_is_kept(shop, server, capsys):
    async def talk():
        server.say("Hello")
        async with hooked(shop, server) as bot:
            for secret in (None, "", "wrong", server.token, secret_of(server.token)[:-1]):
                assert await bot.post(update(6_000, "say nothing"), secret=secret) == 401
            assert await bot.post(update(6_001, "say ok")) == 200
            await server.until(lambda: told(server))
            assert bot.inbox._connection.execute("SELECT 1 FROM updates WHERE id = 6000").fetchall() == []

    asyncio.run(talk())
    assert told(server) == ["say ok"]
    assert "is not Telegram" in (said := capsys.readouterr().err)
    assert server.token not in said


@pytest.mark.parametrize(
    ("data", "status"),
    [(b"", 400), (b"[1]", 400), (b'{"update_id":"x"}', 400), (b"\xff\xfe", 400), (b" " * (LIMIT + 1), 413)],
)
def test_what_is_no_update_is_refused(shop, server, data, status):
    async def talk():
        async with hooked(shop, server) as bot:
            assert await bot.post(data) == status
            assert await bot.post(data, method="GET") == 405

    asyncio.run(talk())


def test_an_update_that_nobody_can_read_holds_up_nothing(shop, server, capsys):
    async def talk():
        server.say("Hello")
        async with hooked(shop, server) as bot:
            assert await bot.post({"update_id": 8_000, "message": {"message_id": "x", "text": "say nothing"}}) == 200
            assert await bot.post(update(8_001, "say more")) == 200
            await server.until(lambda: told(server))

    asyncio.run(talk())
    assert told(server) == ["say more"]
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [one["update"] for one in said if one["level"] == "error"] == [8_000]


def test_an_update_that_cannot_be_kept_is_refused_and_told_of_once_until_there_is_room(shop, server):
    async def talk():
        server.say("Hello")
        async with hooked(shop, server, patience=0.1) as bot:
            await server.until(lambda: "Hello" in server.texts())
            full = bot.inbox._connection.execute("PRAGMA page_count").fetchone()[0]
            bot.inbox._connection.execute(f"PRAGMA max_page_count = {full}")
            long = update(7_000, "say " + "very " * 800)
            assert [await bot.post(long), await bot.post(long)] == [503, 503]
            await server.until(lambda: [text for text in server.texts() if "not lost" in text])
            bot.inbox._connection.execute("PRAGMA max_page_count = 1000000")
            await server.until(lambda: told(server))
            assert await bot.post(long) == 200

    asyncio.run(talk())
    assert len(told(server)) == 1
    assert len([text for text in server.texts() if "not lost" in text]) == 1


def test_a_bot_that_is_stopped_finishes_what_it_took(shop, server):
    gate = asyncio.Event()

    async def talk():
        async with hooked(shop, server, model=Echo(gate=gate)) as bot:
            server.say("say something longer")
            await server.until(lambda: not server.pending)
            bot.stop()
            gate.set()

    asyncio.run(talk())
    assert told(server) == ["say something longer"]


def test_an_address_that_somebody_listens_at_is_named(server):
    async def begin(listen):
        client = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
        try:
            await serve(
                None, client, until=asyncio.Event().wait, address="https://x.example.org", listen=listen, log=None
            )
        finally:
            await client.session.close()

    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(SettingsError, match=f"cannot listen at {listen}"):
            asyncio.run(begin(listen))
    assert server.calls("setWebhook") == []


def test_a_bot_that_is_stopped_while_telegram_has_trouble_ends(server):
    server.fail("setWebhook", Fault(502, times=math.inf))

    async def begin():
        stopping = asyncio.Event()
        client = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
        Sender(client, transport=Transport(UNLIMITED))
        listen = f"127.0.0.1:{free_port()}"
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(
                    serve(None, client, until=stopping.wait, address="https://x.example.org", listen=listen, log=None)
                )
                await server.until(lambda: server.calls("setWebhook"))
                stopping.set()
        finally:
            await client.session.close()

    asyncio.run(begin())
    assert server.telegram.webhook is None


def test_an_address_that_telegram_does_not_take_is_told(server):
    async def begin():
        client = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
        listen = f"127.0.0.1:{free_port()}"
        try:
            await serve(None, client, until=asyncio.Event().wait, address="http://example.org", listen=listen, log=None)
        finally:
            await client.session.close()

    with pytest.raises(SettingsError, match=r"does not take \[telegram\] webhook: .*HTTPS"):
        asyncio.run(begin())


def test_a_webhook_that_is_set_is_taken_away_and_that_is_said_without_its_path(server, capsys):
    async def begin():
        client = Bot(server.token, session=session(TelegramAPIServer.from_base(server.url)))
        log = opened(server.token, json=True)
        try:
            await client.set_webhook("https://old.example.org/hidden-path")
            await unset(client, log=log)
            await unset(client, log=log)
        finally:
            await client.session.close()

    asyncio.run(begin())
    assert server.telegram.webhook is None
    [line] = capsys.readouterr().err.splitlines()
    assert (json.loads(line)["level"], json.loads(line)["webhook"]) == ("warning", "old.example.org")
    assert "hidden-path" not in line
