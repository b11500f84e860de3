"""`telegram`: what a bot is told on the terminal before it runs."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

from telegram_server import Fault, TelegramServer


@pytest.fixture
def server(cli, monkeypatch):
    """Telegram, for the bot of a workspace called `shop`."""
    cli("init", "shop")
    with TelegramServer() as telegram:
        monkeypatch.setenv("TRAINERLIB_TELEGRAM_API", telegram.url)
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", telegram.token)
        yield telegram


@pytest.mark.usefixtures("server")
def test_check_says_what_is_there_and_what_would_be_better(cli):
    """A line each, with a mark; hints are no failure."""
    result = cli("-w", "shop", "telegram", "--check")
    lines = result.out.splitlines()
    assert lines[0] == "  ✓ token: @trainer_test_bot"
    assert "  ✓ model: memory (no key needed)" in lines
    assert [line for line in lines if line.startswith("  ! owners: nobody may train")]
    assert all(line.startswith(("  ✓ ", "  ! ")) for line in lines)
    assert result.err == ""


def test_check_fails_when_something_is_bad(cli, server, monkeypatch):
    """A token with a typo is told in a line, without the token, and the exit status is 1."""
    typo = server.token[:-1] + "x"
    monkeypatch.setenv("TELEGRAM_BOT_TOKEN", typo)
    result = cli("-w", "shop", "telegram", "--check", status=1)
    assert "  ✗ token: Telegram does not know this token; look at TELEGRAM_BOT_TOKEN" in result.out.splitlines()
    assert typo not in result.out + result.err


def test_check_is_json_for_scripts(cli, server):
    """What, state and words of each finding; the exit status is the same."""
    found = cli("-w", "shop", "telegram", "--check", "--json").json
    assert {"what": "token", "state": "ok", "words": "@trainer_test_bot"} in found
    assert {one["state"] for one in found} == {"ok", "hint"}
    server.fail("getMe", Fault(502))
    found = cli("-w", "shop", "telegram", "--check", "--json", status=1).json
    assert [one["what"] for one in found if one["state"] == "bad"] == ["token"]


@pytest.mark.usefixtures("server")
def test_without_the_extra_it_is_said_how_to_install_it(cli, monkeypatch):
    """One line, for the look and for the start."""
    monkeypatch.setitem(sys.modules, "aiogram", None)
    assert "pip install 'trainerlib[telegram]'" in cli("-w", "shop", "telegram", "--check", status=1).out
    assert "pip install 'trainerlib[telegram]'" in cli.refuse("-w", "shop", "telegram")


@pytest.mark.usefixtures("server")
def test_a_bot_that_cannot_start_says_why_in_one_line(cli, monkeypatch):
    """No token, a wrong one, one that is none: exit status 2, and the token is not shown."""
    for token, words in (
        ("", "there is no token; put TELEGRAM_BOT_TOKEN=... from @BotFather into .env"),
        ("12345:nobody", "Telegram does not know this token"),
        ("nonsense words", "TELEGRAM_BOT_TOKEN is not a token"),
    ):
        monkeypatch.setenv("TELEGRAM_BOT_TOKEN", token)
        said = cli.refuse("-w", "shop", "telegram")
        assert words in said
        assert not token or token not in said


@pytest.mark.usefixtures("server")
def test_a_directory_that_is_no_workspace_gets_no_bot(cli):
    """Nothing is made of it."""
    assert "nowhere" in cli.refuse("-w", "nowhere", "telegram", "--check")
