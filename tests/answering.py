"""Small chat models, how tests ask them, and programs that answer with them.

The programs run in a process of their own: `python answering.py PROGRAM ...`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

import trainerlib
from trainerlib import settings
from trainerlib.chat.port import Completion
from trainerlib.cli.chatting import Talk
from trainerlib.cli.session import Session
from trainerlib.replies import Replier

CHAT = "telegram:42"


class Echo:
    """Says what it was asked, word by word; waits for `gate` before the second word where there is one."""

    def __init__(self, name="echo", gate=None):
        self.name = name
        self.prompts = []
        self.closed = 0
        self.ended = False
        self._gate = gate

    async def stream(self, prompt):
        self.prompts.append(prompt)
        words = prompt.turns[-1].content.split()
        try:
            for number, word in enumerate(words):
                if number and self._gate is not None:
                    await self._gate.wait()
                await asyncio.sleep(0)
                yield f" {word}" if number else word
            usage = {"input_tokens": len(words), "output_tokens": len(words)}
            yield Completion(" ".join(words), model=f"{self.name}-2026", usage=usage)
        finally:
            self.ended = True

    async def close(self):
        self.closed += 1


class Failing:
    """Fails with each of its errors in turn, then answers."""

    name = "failing"

    def __init__(self, *errors):
        self._errors = list(errors)

    async def stream(self, _):
        await asyncio.sleep(0)
        if self._errors:
            raise self._errors.pop(0)
        yield "yes"
        yield Completion("yes")

    async def close(self):
        pass


class Saying:
    """Gives the pieces and completions it was made with."""

    name = "saying"

    def __init__(self, *pieces):
        self._pieces = pieces

    async def stream(self, _):
        for piece in self._pieces:
            yield piece

    async def close(self):
        pass


class Dying:
    """Answers with the question, and is killed before its first word or when it has written everything."""

    name = "dying"

    def __init__(self, moment):
        self._moment = moment

    async def stream(self, prompt):
        if self._moment == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        text = prompt.turns[-1].content
        yield text
        await asyncio.sleep(0)
        if self._moment == "written":
            os.kill(os.getpid(), signal.SIGKILL)
        yield Completion(text)

    async def close(self):
        pass


def using(ws, model):
    """The workspace answers with a model of the test's own."""
    ws.replies = Replier(
        ws.store,
        ws.replies._prompts,
        answering=lambda _: model.name,
        open_model=lambda _: model,
        budgets=ws.replies._budgets,
        settings=ws.settings,
    )
    return model


def configure(ws, text):
    """Write `workspace.toml`; it counts when the workspace is opened again."""
    (ws.path / settings.FILE).write_text(text, encoding="utf-8")


async def whole(ws, chat, question, **given):
    """The whole reply to a question."""
    return await ws.reply(chat, to=question, **given)


def ask(ws, chat, text="When are you open?", **given):
    """Say something in a conversation; the reply."""
    return asyncio.run(whole(ws, chat, chat.record("user", text, author="telegram:7"), **given))


def events(ws, kind):
    """Every event of a kind, in order."""
    return [recorded.event for recorded in ws.store.read_all() if isinstance(recorded.event, kind)]


def dialogue(prompt):
    """The turns of a prompt, as pairs."""
    return [(turn.role, turn.content) for turn in prompt.turns]


class Interrupted:
    """Says the first word of what it was asked; then somebody presses Ctrl-C."""

    name = "interrupted"

    async def stream(self, prompt):
        yield prompt.turns[-1].content.split()[0]
        await asyncio.sleep(0)
        signal.raise_signal(signal.SIGINT)
        await asyncio.Event().wait()

    async def close(self):
        pass


def sit(path):
    """A sitting of the terminal chat."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with trainerlib.open(path) as ws:
        using(ws, Interrupted())
        Talk(Session(), ws, ws.conversation("terminal:1"), model=None, teacher=None).run()


def answer(path, name, *questions):
    """Answer all questions at once, and print the ids of the replies."""

    async def one(ws, question):
        return await ws.reply(CHAT, to=int(question))

    async def everything(ws):
        return await asyncio.gather(*(one(ws, question) for question in questions))

    with trainerlib.open(path) as ws:
        using(ws, Saying(name, Completion(name)))
        print(*(message.id for message in asyncio.run(everything(ws))))


def die(path, moment, question):
    """Answer a question and be killed at a moment of it."""

    async def one(ws):
        await ws.reply(CHAT, to=int(question))
        os.kill(os.getpid(), signal.SIGKILL)

    with trainerlib.open(path) as ws:
        using(ws, Dying(moment))
        asyncio.run(one(ws))


if __name__ == "__main__":
    globals()[sys.argv[1]](*sys.argv[2:])
