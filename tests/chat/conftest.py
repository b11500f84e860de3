"""What the tests of chat models share: a server on loopback, and models that ask it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from chat_server import ChatServer

from trainerlib.chat.port import Completion, Prompt
from trainerlib.examples import Turn


@pytest.fixture
def server():
    with ChatServer() as server:
        yield server


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_ADMIN_KEY"):
        monkeypatch.delenv(name, raising=False)


def asking(*texts, **parameters):
    """A prompt: question, reply, question, ..."""
    roles = ("user", "assistant")
    return Prompt(tuple(Turn(roles[at % 2], text) for at, text in enumerate(texts)), parameters=parameters)


async def heard(model, prompt):
    """The pieces and the completion that a model answers with."""
    pieces = [piece async for piece in model.stream(prompt)]
    assert isinstance(pieces[-1], Completion)
    assert all(isinstance(piece, str) and piece for piece in pieces[:-1])
    assert "".join(pieces[:-1]) == pieces[-1].text
    return pieces[:-1], pieces[-1]


def ask(model, prompt):
    """`heard`, in an event loop of its own."""

    async def run():
        try:
            return await heard(model, prompt)
        finally:
            await model.close()

    return asyncio.run(run())
