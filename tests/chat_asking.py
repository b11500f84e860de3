"""Asking a model in a test: the prompt, and everything that it answers with."""

from __future__ import annotations

import asyncio

from trainerlib.chat.port import Completion, Prompt
from trainerlib.examples import Turn


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
