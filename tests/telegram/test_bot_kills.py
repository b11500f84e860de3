"""A bot that is killed at any moment, under load, answers everything once and in order."""

from __future__ import annotations

import math
import random
import signal
import threading
import time
from collections import Counter

import pytest

pytest.importorskip("aiogram", reason="needs the extra: pip install 'trainerlib[telegram]'")

import telegram_bot
from telegram_http import Fault
from telegram_server import TelegramServer

import trainerlib

CHATS = 8
KILLS = 20


def told(server, chat):
    """What a chat was answered, but for the word on privacy."""
    return [text for text in server.texts(chat) if text.startswith("say ")]


def test_twenty_kills_under_load_lose_nothing_and_answer_nothing_twice(tmp_path):
    workspace = tmp_path / "shop"
    trainerlib.open(workspace).close()
    dice = random.Random()
    said = Counter()
    over = threading.Event()
    with TelegramServer() as server:

        def people():
            while not over.is_set():
                chat = dice.randrange(CHATS) + 1
                server.say(f"say {said[chat]} in {chat}", user=chat, chat=chat)
                said[chat] += 1
                time.sleep(dice.random() / 20)

        talking = threading.Thread(target=people)
        talking.start()
        kills = 0
        while kills < KILLS:
            bot = telegram_bot.start(workspace, server, tmp_path / "log")
            before = len(server.calls("sendMessage"))
            # It has begun to answer, and is killed at any moment of that.
            server.wait_for(lambda before=before: len(server.calls("sendMessage")) > before, 30)
            time.sleep(dice.random() / 2)
            bot.kill()
            bot.join()
            kills += bot.exitcode == -signal.SIGKILL
        over.set()
        talking.join()
        bot = telegram_bot.start(workspace, server, tmp_path / "log")
        # Everything else may have been answered: this one only by a bot that is there.
        server.say(f"say {said[1]} in 1", user=1, chat=1)
        said[1] += 1
        server.wait_for(lambda: all(len(told(server, chat)) >= said[chat] for chat in said), 60)
        bot.terminate()
        bot.join(30)
        assert bot.exitcode == 0
        for chat in said:
            assert told(server, chat) == [f"say {number} in {chat}" for number in range(said[chat])]
        assert server.pending == []
    with trainerlib.open(workspace) as ws:
        for chat in said:
            messages = ws.conversation(f"telegram:{chat}").messages
            assert [one.text for one in messages if one.role == "user"] == [
                f"say {n} in {chat}" for n in range(said[chat])
            ]
            replies = [one for one in messages if one.role == "assistant"]
            assert [one.in_reply_to for one in replies] == [one.number for one in messages if one.role == "user"]
            assert all(one.delivered for one in replies)
        assert not ws.unanswered()
        assert not ws.undelivered()
        assert ws.verify() == []


def test_what_was_done_and_not_yet_written_down_does_not_hide_what_was_being_sent(tmp_path):
    workspace = tmp_path / "shop"
    trainerlib.open(workspace).close()
    with TelegramServer() as server:
        bot = telegram_bot.start(workspace, server, tmp_path / "log")
        server.say("say hello", user=1, chat=1)
        server.wait_for(lambda: told(server, 1) == ["say hello"], 30)
        server.fail("sendMessage", Fault(delay=0.2))
        server.fail("sendMessage", Fault(delay=5, after_acceptance=True))
        server.say("say one", user=1, chat=1)
        server.say("say two", user=1, chat=1)
        server.wait_for(lambda: told(server, 1)[-1] == "say two", 30)
        # Telegram has it, and has not said so.
        bot.kill()
        bot.join()
        bot = telegram_bot.start(workspace, server, tmp_path / "log")
        server.say("say three", user=1, chat=1)
        server.wait_for(lambda: told(server, 1)[-1] == "say three", 30)
        bot.terminate()
        bot.join(30)
        assert told(server, 1) == ["say hello", "say one", "say two", "say three"]


def test_what_people_wrote_before_it_and_the_bot_has_not_read_yet_does_not_hide_what_was_being_sent(tmp_path):
    workspace = tmp_path / "shop"
    trainerlib.open(workspace).close()
    said = [f"say {number}" for number in range(150)]
    with TelegramServer() as server:
        bot = telegram_bot.start(workspace, server, tmp_path / "log")
        server.say("say hello", user=1, chat=1)
        server.wait_for(lambda: told(server, 1) == ["say hello"], 30)
        server.fail("getUpdates", Fault(502, times=math.inf))
        server.fail("sendMessage", Fault(502))
        server.fail("sendMessage", Fault(delay=5, after_acceptance=True))
        server.say(said[0], user=1, chat=1)
        server.wait_for(lambda: server.calls("sendMessage")[-1].status == 502, 30)
        for text in said[1:]:
            server.say(text, user=1, chat=1)
        server.wait_for(lambda: told(server, 1)[-1] == said[0], 30)
        # Telegram has it, and has not said so.
        bot.kill()
        bot.join()
        server.mend()
        bot = telegram_bot.start(workspace, server, tmp_path / "log")
        server.wait_for(lambda: told(server, 1)[-1] == said[-1], 30)
        bot.terminate()
        bot.join(30)
        assert told(server, 1) == ["say hello", *said]
