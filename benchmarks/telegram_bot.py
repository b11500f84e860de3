"""What the Telegram bot adds to an answer: from a message to the first thing sent, with a model that takes no time.

`python benchmarks/telegram_bot.py` lets 200 people write 100 messages a second to a bot in a process of its own, by way of
the Bot API server of the tests on loopback, and prints the percentiles as that server sees them: from when it hands an
update to the bot to when the first thing that is sent arrives, both ways through HTTP included. The limit is a p99 of 20 ms
on two cores. What people see, from when they write, is printed beside it: there the server's own time is in it as well.
The same is then done to the bot of `peer_aiogram.py`, which tells what of it is aiogram, the disk and the machine.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path
from statistics import median
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import telegram_bot
from peer_aiogram import run_peer
from telegram_server import TelegramServer

import trainerlib

LIMIT = 20.0

Start = Callable[[Path, TelegramServer], BaseProcess]


def percentile(values: list[float], share: float) -> float:
    return sorted(values)[min(int(len(values) * share), len(values) - 1)]


def summary(milliseconds: list[float]) -> str:
    p99 = percentile(milliseconds, 0.99)
    return f"median {median(milliseconds):.1f} ms, p99 {p99:.1f} ms, most {max(milliseconds):.1f} ms"


def processor_time(process: int) -> float:
    """Seconds that a process has used a processor, its threads together; 0 where the kernel does not tell."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def settle(process: int) -> None:
    """Wait until a process has nothing more to do."""
    before = -1.0
    while (now := processor_time(process)) - before > 0.02:
        before = now
        time.sleep(1.0)


class Figures(NamedTuple):
    """What a bot took, in milliseconds: of each message, and of the processor for one."""

    overhead: list[float]
    written: list[float]
    processor: float


def measured(start: Start, given: argparse.Namespace, *, greets: int) -> Figures:
    """Let people write to a bot.

    Args:
        start: starts it in a directory, on a server.
        given: the options.
        greets: messages with which it answers the first one of a chat.
    """
    with tempfile.TemporaryDirectory() as directory, TelegramServer() as server:
        bot = start(Path(directory), server)
        # Once, so that everybody was asked for consent before it is measured.
        for chat in range(1, given.chats + 1):
            server.say("say hello", user=chat, chat=chat)
        server.wait_for(lambda: all(len(server.texts(chat)) >= greets for chat in range(1, given.chats + 1)), 120)
        settle(bot.pid)
        first = len(server.calls("sendMessage"))
        said: dict[str, float] = {}
        count = int(given.rate * given.seconds)
        began, worked = time.monotonic(), processor_time(bot.pid)
        for number in range(count):
            chat = number % given.chats + 1
            words = f"say {number}"
            said[words] = time.monotonic()
            server.say(words, user=chat, chat=chat)
            time.sleep(max(0.0, began + (number + 1) / given.rate - time.monotonic()))
        server.wait_for(lambda: len(server.calls("sendMessage")) >= first + count, 120)
        worked = processor_time(bot.pid) - worked
        took = {call.text: call.at for call in server.calls("sendMessage")[first:]}
        handed: dict[str, float] = {}
        for poll in server.calls("getUpdates"):
            for update in poll.result or ():
                handed.setdefault(update["message"]["text"], poll.answered)
        bot.terminate()
        bot.join()
    overhead = [(took[words] - handed[words]) * 1000 for words in said]
    return Figures(overhead, [(took[words] - at) * 1000 for words, at in said.items()], worked / count * 1000)


def ours(directory: Path, server: TelegramServer) -> BaseProcess:
    trainerlib.open(directory / "shop").close()
    return telegram_bot.start(directory / "shop", server, directory / "log")


def peer(directory: Path, server: TelegramServer) -> BaseProcess:
    bot = get_context("spawn").Process(target=run_peer, args=(str(directory / "peer.db"), server.token, server.url))
    bot.start()
    return bot


def tell(name: str, figures: Figures, judged: str = "") -> None:
    print(f"{name}\n  from an update to the first thing sent: {summary(figures.overhead)}{judged}")
    print(f"  from when it was written: {summary(figures.written)}")
    print(f"  the bot's processor time: {figures.processor:.1f} ms a message")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--chats", type=int, default=200)
    options.add_argument("--rate", type=float, default=100.0, help="messages a second")
    options.add_argument("--seconds", type=float, default=20.0)
    given = options.parse_args()
    # The server keeps every request; looking through them all would stop it, and those who write, for 30 ms.
    gc.disable()
    print(f"{given.chats} chats, {given.rate:g} messages a second for {given.seconds:g} s")
    own = measured(ours, given, greets=2)
    p99 = percentile(own.overhead, 0.99)
    tell("trainerlib", own, f" ({'✓' if p99 < LIMIT else '✗'} < {LIMIT:g} ms)")
    tell("aiogram and two raw commits, in the same minute", measured(peer, given, greets=1))
    raise SystemExit(p99 >= LIMIT)


if __name__ == "__main__":
    main()
