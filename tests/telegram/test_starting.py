"""The bot starts with what it needs, says what is missing, and logs nothing that is secret."""

from __future__ import annotations

import io
import json
import logging
import re
import sys
from contextlib import contextmanager
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

import telegram_bot
from ports import free_port
from telegram_server import Fault, TelegramServer

import trainerlib
from bots.telegram import starting
from bots.telegram.logs import collected, opened
from trainerlib import settings
from trainerlib.errors import SettingsError

TOKEN = "7000000001:TEST-token_of-a-bot"


@pytest.fixture
def server():
    with TelegramServer(token=TOKEN) as telegram:
        yield telegram


@pytest.fixture
def shop(tmp_path):
    trainerlib.open(tmp_path / "shop").close()
    return tmp_path / "shop"


@pytest.fixture
def look(shop, server, monkeypatch):
    """A look at what a bot needs that has a token; state and words of what was found, by name."""
    monkeypatch.setenv(starting.TOKEN, server.token)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("TRAINERLIB_TELEGRAM_API", server.url)

    def look(text="", **files):
        (shop / settings.FILE).write_text(text, encoding="utf-8")
        for name, content in files.items():
            (shop / name.replace("_", ".")).write_text(content, encoding="utf-8")
        with trainerlib.open(shop) as ws:
            return {one.what: (one.state, one.words) for one in starting.check(ws)}

    return look


@contextmanager
def running(shop, server, log):
    """A bot in a process of its own; ended as SIGTERM does."""
    bot = telegram_bot.start(shop, server, log)
    try:
        yield bot
    finally:
        bot.terminate()
        bot.join(30)
    assert bot.exitcode == 0


def lines(log):
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def set_webhook(server, url):
    with urlopen(f"{server.url}/bot{server.token}/setWebhook?{urlencode({'url': url})}") as answer:
        assert answer.status == 200


# --- what is there ----------------------------------------------------------------------------------------------------


def test_a_bot_that_has_what_it_needs(look):
    found = look('[bots]\nowners = ["telegram:1", "discord:5"]\n', instruction_md="Отвечайте кратко и вежливо.")
    assert found == {
        "token": ("ok", "@trainer_test_bot"),
        "groups": ("ok", "it answers who mentions it or replies to it"),
        "updates": ("ok", "it asks Telegram for them"),
        "model": ("ok", "memory (no key needed)"),
        "instruction": ("ok", "4 words in instruction.md"),
        "owners": ("ok", "telegram:1"),
        "languages": ("ok", "en, ru; en for people whose language is none of these"),
        "voice": ("hint", "voice notes are kept, and not heard yet"),
    }


def test_what_a_bot_would_do_better_with(look):
    found = look('[bots]\nowners = ["discord:1"]\n', instruction_md="<!-- nothing yet -->\n")
    assert found["instruction"][0] == "hint"
    assert found["owners"][0] == "hint"
    assert 'owners = ["telegram:ID"]' in found["owners"][1]


def test_an_owner_that_was_named_in_a_chat_is_one(look, shop):
    with trainerlib.open(shop) as ws:
        ws.person("telegram:9").give_role("owner", by="telegram:1")
    assert look()["owners"] == ("ok", "telegram:9")


def test_a_bot_that_may_not_read_groups_is_told_how_when_it_is_to_answer_everybody(look, server):
    assert look('[bots]\ngroups = "all"\n')["groups"] == ("ok", "it answers everybody")
    server.bot["can_read_all_group_messages"] = False
    state, words = look('[bots]\ngroups = "all"\n')["groups"]
    assert state == "hint"
    assert "/setprivacy" in words
    assert look()["groups"][0] == "ok"


def test_a_webhook_that_is_in_the_way_is_told_without_its_path(look, server):
    set_webhook(server, "https://old.example.org/hidden")
    state, words = look()["updates"]
    assert (state, "old.example.org" in words, "hidden" in words) == ("hint", True, False)


def test_a_webhook_is_looked_at_as_telegram_sees_it(look, server):
    here = f"http://127.0.0.1:{free_port()}/hidden"
    wanted = f'[telegram]\nwebhook = "{here}"\n'
    state, words = look(wanted)["updates"]
    assert (state, "once the bot has started" in words, "hidden" in words) == ("ok", True, False)
    set_webhook(server, here)
    assert look(wanted)["updates"] == ("ok", f"Telegram sends them to {here[7:].partition('/')[0]}")
    server.say("Hello")
    server.wait_for(lambda: server.telegram.webhook.error)
    state, words = look(wanted)["updates"]
    assert state == "hint"
    assert words.startswith("1 wait, and Telegram could not send one: Connection failed")


def test_a_token_that_telegram_does_not_know_is_bad_and_not_shown(look, monkeypatch):
    for token in ("7000000001:TEST-token_of-a-bit", "no token", "12:34"):
        monkeypatch.setenv(starting.TOKEN, token)
        state, words = look()["token"]
        assert state == "bad"
        assert starting.TOKEN in words
        assert token not in words
    monkeypatch.setenv(starting.TOKEN, "")
    assert look()["token"] == ("bad", "there is no token; put TELEGRAM_BOT_TOKEN=... from @BotFather into .env")


def test_the_token_may_stand_in_env(look, monkeypatch):
    monkeypatch.delenv(starting.TOKEN)
    assert look(_env=f"{starting.TOKEN}={TOKEN}\n")["token"][0] == "ok"


def test_a_network_that_is_not_there_is_told_at_once(look, monkeypatch):
    port = free_port()
    monkeypatch.setenv("TRAINERLIB_TELEGRAM_API", f"http://127.0.0.1:{port}")
    found = look()
    assert found["token"] == ("bad", f"127.0.0.1:{port} cannot be reached; look at the network")
    assert found["model"][0] == "ok"


def test_trouble_at_telegram_is_told_at_once(look, server):
    server.fail("getMe", Fault(502))
    state, words = look()["token"]
    assert (state, "has trouble" in words) == ("bad", True)
    server.fail("getMe", Fault(429, retry_after=30))
    assert look()["token"][0] == "bad"


@pytest.mark.parametrize("package", starting._PACKAGES)
def test_a_package_that_is_missing_is_named_with_what_installs_it(look, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    state, words = look()["token"]
    assert state == "bad"
    assert words == f"the Telegram bot needs {package}: pip install 'trainerlib[telegram]'"


def test_a_model_that_needs_a_key_is_bad_without(look, monkeypatch):
    pytest.importorskip("openai", reason="needs the extra: pip install 'trainerlib[openai]'")
    text = '[chat]\nmodel = "openai:gpt-x"\n'
    state, words = look(text)["model"]
    assert (state, words) == ("bad", "openai:gpt-x: there is no key; put OPENAI_API_KEY=... into .env")
    local = text + '[openai]\nbase_url = "http://localhost:11434/v1"\n'
    assert look(local)["model"] == ("ok", "openai:gpt-x at localhost:11434, without a key")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-abc")
    assert look(text)["model"] == ("ok", "openai:gpt-x, with a key")


def test_a_model_that_is_not_there_is_bad(look):
    state, words = look('[chat]\nmodel = "local:support"\n')["model"]
    assert state == "bad"
    assert "local:support" in words


def test_metrics_are_looked_at_where_they_are_on(look, monkeypatch):
    text = '[telegram]\nmetrics = "127.0.0.1:9090"\n'
    pytest.importorskip("prometheus_client", reason="needs the extra: pip install 'trainerlib[metrics]'")
    assert look(text)["metrics"] == ("ok", "for Prometheus at 127.0.0.1:9090")
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    assert look(text)["metrics"] == ("bad", "metrics need prometheus_client: pip install 'trainerlib[metrics]'")


def test_a_bot_that_runs_in_another_process_is_told_and_no_second_one_starts(look, shop, server, tmp_path):
    with running(shop, server, tmp_path / "log"):
        server.wait_for(lambda: server.calls("getUpdates"))
        assert look()["process"] == ("hint", "the Telegram bot of this workspace runs already, in another process")
        with trainerlib.open(shop) as ws, pytest.raises(SettingsError, match="runs already, in another process"):
            starting.run(ws)


# --- the start --------------------------------------------------------------------------------------------------------


def test_a_token_that_telegram_does_not_know_ends_the_start(shop, server, monkeypatch):
    monkeypatch.setenv(starting.TOKEN, TOKEN + "x")
    monkeypatch.setenv("TRAINERLIB_TELEGRAM_API", server.url)
    with trainerlib.open(shop) as ws, pytest.raises(SettingsError, match="does not know this token") as error:
        starting.run(ws)
    assert error.value.__cause__ is None


def test_python_s_own_event_loop_runs_the_bot_where_uvloop_is_not_installed(shop, server, monkeypatch):
    """The bot gets as far as with it: Telegram is asked, and does not know this token."""
    monkeypatch.setitem(sys.modules, "uvloop", None)
    assert starting.loop_factory() is None
    monkeypatch.setenv(starting.TOKEN, "123:unknown")
    monkeypatch.setenv("TRAINERLIB_TELEGRAM_API", server.url)
    with trainerlib.open(shop) as ws, pytest.raises(SettingsError, match="does not know"):
        starting.run(ws)


def test_a_start_without_an_answer_is_tried_until_there_is_one_and_said_once(shop, server, tmp_path):
    server.fail("getMe", Fault(drop=True, times=2))
    with running(shop, server, tmp_path / "log"):
        server.wait_for(lambda: server.calls("getUpdates"))
    assert [(line["level"], line["event"]) for line in lines(tmp_path / "log")] == [
        ("warning", "no answer from Telegram; the bot begins as soon as there is one"),
        ("info", "begun"),
        ("info", "ended"),
    ]
    assert TOKEN not in (tmp_path / "log").read_text(encoding="utf-8")


def test_each_update_has_a_line_with_ids_kind_and_milliseconds_and_no_words(shop, server, tmp_path):
    with running(shop, server, tmp_path / "log"):
        server.say("say Лютик")
        server.wait_for(lambda: "say Лютик" in server.texts())
    begun, done, ended = lines(tmp_path / "log")
    assert (begun["bot"], begun["model"]) == ("@trainer_test_bot", "echo")
    assert (done["event"], done["kind"], done["chat"], done["level"]) == ("done", "message", "telegram:1001", "info")
    assert done["update"] > 0
    assert done["milliseconds"] > 0
    assert ended["event"] == "ended"
    assert "Лютик" not in (tmp_path / "log").read_text(encoding="utf-8")


def test_trouble_on_the_way_is_a_json_line_as_well(shop, server, tmp_path):
    server.fail("sendMessage", Fault(429, retry_after=1))
    with running(shop, server, tmp_path / "log"):
        server.say("say it")
        server.wait_for(lambda: "say it" in server.texts())
    [waits] = [line for line in lines(tmp_path / "log") if line.get("logger") == "bots.telegram.transport"]
    assert waits["level"] == "info"
    assert "wait 1 s" in waits["event"]


def test_a_webhook_that_is_set_is_taken_away_when_the_bot_asks(shop, server, tmp_path):
    set_webhook(server, "https://old.example.org/x")
    with running(shop, server, tmp_path / "log"):
        server.say("say it")
        server.wait_for(lambda: "say it" in server.texts())
    assert [line["webhook"] for line in lines(tmp_path / "log") if "webhook" in line] == ["old.example.org"]


def test_a_bot_with_a_webhook_and_metrics_answers_and_is_measured(shop, server, tmp_path):
    pytest.importorskip("prometheus_client", reason="needs the extra: pip install 'trainerlib[metrics]'")
    hook, metrics = f"127.0.0.1:{free_port()}", f"127.0.0.1:{free_port()}"
    (shop / settings.FILE).write_text(
        f'[telegram]\nwebhook = "http://{hook}/hook"\nlisten = "{hook}"\nmetrics = "{metrics}"\n', encoding="utf-8"
    )
    with running(shop, server, tmp_path / "log"):
        server.say("say it")
        server.wait_for(lambda: "say it" in server.texts())
        server.say("say more")
        server.wait_for(lambda: "say more" in server.texts())
        with urlopen(f"http://{metrics}/metrics") as answer:
            page = answer.read().decode()
    assert 'trainerlib_updates_total{kind="message"} 2.0' in page
    assert 'trainerlib_replies_total{model="echo",outcome="answered"} 2.0' in page
    # The second answer may be there before it is measured.
    assert re.search(r"^trainerlib_answer_overhead_seconds_count [12]\.0$", page, re.MULTILINE)
    assert re.search(r'^trainerlib_answer_overhead_seconds_bucket\{le="10\.0"\} [12]\.0$', page, re.MULTILINE)
    assert server.calls("getUpdates") == []
    assert server.telegram.webhook is not None


# --- the log ----------------------------------------------------------------------------------------------------------


def test_no_line_shows_the_token_whatever_holds_it(capsys):
    log = opened(TOKEN, json=True)
    error = OSError(f"https://api.telegram.org/bot{TOKEN}/getMe")
    log.error("failed", why=error, where=[TOKEN, {"at": TOKEN.replace(":", "%3A")}], exc_info=error)
    log.info(TOKEN)
    opened(TOKEN, json=False).warning("failed", why=error)
    said = capsys.readouterr().err
    assert TOKEN.partition(":")[2] not in said
    assert said.count("<token>") >= 6


def test_what_packages_log_comes_into_the_log_as_long_as_it_is_collected(capsys):
    log = opened(TOKEN, json=True)
    root = logging.getLogger()
    before = list(root.handlers)
    with collected(log):
        logging.getLogger("bots.telegram.transport").info("waits %d s", 3)
        logging.getLogger("asyncio").error("broken at %s", TOKEN)
        logging.getLogger("aiohttp").debug("nothing")
        root.handlers[-1].handle(logging.LogRecord("aiohttp", 30, "", 0, "does not fit %d", ("x",), None))
        logging.getLogger("aiohttp").log(35, "odd level")
    assert root.handlers == before
    said = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["logger"], one["level"], one["event"]) for one in said] == [
        ("bots.telegram.transport", "info", "waits 3 s"),
        ("asyncio", "error", "broken at <token>"),
        ("aiohttp", "warning", "does not fit %d"),
        ("aiohttp", "warning", "odd level"),
    ]


def test_where_somebody_looks_lines_are_for_people(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    opened(TOKEN).info("begun", bot="@shop_bot")
    assert "@shop_bot" in screen.getvalue()
    assert not screen.getvalue().startswith("{")
