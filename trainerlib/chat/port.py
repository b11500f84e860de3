"""The port of chat models: a prompt goes in, text comes out piece by piece, and last what it took.

>>> class Echo:
...     name = "echo"
...     async def stream(self, prompt):
...         yield prompt.turns[-1].content
...         yield Completion(prompt.turns[-1].content, usage={"input_tokens": 1, "output_tokens": 1})
...     async def close(self):
...         pass
>>> import asyncio
>>> from trainerlib.examples import Turn
>>> asyncio.run(complete(Echo(), Prompt((Turn("user", "Hello"),)))).text
'Hello'
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Protocol

import msgspec

from trainerlib.errors import ModelUnavailableError
from trainerlib.events import JsonObject
from trainerlib.examples import Turn
from trainerlib.recall import Recalled


class Prompt(msgspec.Struct, frozen=True):
    """What a model is asked.

    Attributes:
        turns: the dialogue, oldest first, the question last; an instruction is a `system` turn before them.
        recalled: similar earlier questions, nearest first; the models that only see `turns` have them in the
            instruction already.
        parameters: of sampling, as the model's API calls them: `temperature`, `max_tokens`, `seed`.
    """

    turns: tuple[Turn, ...]
    recalled: tuple[Recalled, ...] = ()
    parameters: JsonObject = msgspec.field(default_factory=dict)


class Completion(msgspec.Struct, frozen=True):
    """A whole answer, and what it took.

    Attributes:
        text: all pieces together.
        model: the model as its server calls it; it may be a dated version of the one that was asked.
        usage: `input_tokens`, `output_tokens`, and what else the server counted; empty where it counts nothing.
        finish: why it ended: `stop`, `length`, or the server's own word.
        known: False for an answer that only says that the model does not know.
        shown: ids (log positions) of the replies and corrections that it is made of, where the model tells.
    """

    text: str
    model: str = ""
    usage: dict[str, int] = msgspec.field(default_factory=dict)
    finish: str = "stop"
    known: bool = True
    shown: tuple[int, ...] = ()


class ChatModel(Protocol):
    """A model that answers.

    Attributes:
        name: what it is chosen by, `openai:gpt-x`.
    """

    name: str

    def stream(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        """Pieces of the answer as they are written, then the `Completion`, which is always the last.

        Closing the generator early stops the model.

        Raises:
            ModelUnavailableError: no answer now.
            ModelRefusedError: no answer ever.
        """
        ...

    async def close(self) -> None:
        """Let go of connections and memory."""
        ...


async def complete(model: ChatModel, prompt: Prompt) -> Completion:
    """The whole answer at once; raises as `ChatModel.stream`."""
    completion: Completion | None = None
    async for piece in model.stream(prompt):
        if isinstance(piece, Completion):
            completion = piece
    if completion is None:
        raise ModelUnavailableError(f"{model.name} ended without an answer")
    return completion
