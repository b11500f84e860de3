"""The model that needs nothing: it answers from what people taught, and says so when nobody did.

>>> import asyncio
>>> from trainerlib.chat.port import Recalled, complete
>>> from trainerlib.examples import Turn
>>> asked = (Turn("user", "До скольки вы работаете?"),)
>>> taught = Recalled("Когда вы открыты?", "С 9 до 18.", message=3, correction=4, similarity=0.8)
>>> asyncio.run(complete(MemoryModel(), Prompt(asked, (taught,)))).text
'С 9 до 18.'
>>> asyncio.run(complete(MemoryModel(), Prompt(asked))).text
'Я этого пока не знаю. Если этот ответ поправят, в следующий раз я отвечу так, как в поправке.'
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator

from trainerlib.chat.port import Completion, Prompt
from trainerlib.language import language

MEMORY = "memory"
"""Its name."""

UNKNOWN: dict[str, str] = {
    "en": "I do not know this yet. If somebody corrects this answer, I will give the corrected one next time.",
    "ru": "Я этого пока не знаю. Если этот ответ поправят, в следующий раз я отвечу так, как в поправке.",
}
"""What is said where nothing similar was taught, by language."""

_PIECES = 8


class MemoryModel:
    """Answers with what the nearest similar question was answered with; pure, so the prompt decides everything.

    Args:
        default: language of what it says of its own where the question has no language it knows, `en` or `ru`.

    Attributes:
        name: `memory`.
    """

    name = MEMORY

    def __init__(self, default: str = "en") -> None:
        self._default = default

    def __repr__(self) -> str:
        return "MemoryModel()"

    async def stream(self, prompt: Prompt) -> AsyncGenerator[str | Completion]:
        """The answer in a few pieces, then the `Completion`; `known` is False where nothing similar was taught."""
        found = next((recalled for recalled in prompt.recalled if recalled.answer.strip()), None)
        shown: tuple[int, ...] = ()
        if found is None:
            text = self._unknown(prompt)
        else:
            text = found.answer
            shown = (found.message,) if found.correction is None else (found.message, found.correction)
        for piece in _pieces(text):
            yield piece
        yield Completion(text, model=self.name, known=found is not None, shown=shown)

    async def close(self) -> None:
        """Nothing to let go of."""

    def _unknown(self, prompt: Prompt) -> str:
        question = next((turn.content for turn in reversed(prompt.turns) if turn.role == "user"), "")
        return UNKNOWN.get(language(question)) or UNKNOWN[self._default]


def _pieces(text: str) -> list[str]:
    """A text in a few parts that end where words do."""
    words = re.findall(r"\s*\S+\s*", text)
    size = -(-len(words) // _PIECES)
    return ["".join(words[at : at + size]) for at in range(0, len(words), size)]
