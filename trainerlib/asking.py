"""Asking a model many questions: several at once, each answer on the disk before it counts, none paid for twice.

>>> from trainerlib.chat.memory import MemoryModel
>>> from trainerlib.examples import Turn
>>> asked = [Asked("1", Prompt((Turn("user", "Когда вы открыты?"),)), "9f2c")]
>>> answers = ask(MemoryModel, asked, tmp / "memory.jsonl")
>>> [(answer.case, answer.known) for answer in answers], list(kept(tmp / "memory.jsonl")) == answers
([('1', False)], True)
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import msgspec

from trainerlib.chat.port import ChatModel, Prompt, complete
from trainerlib.errors import EvaluationError, ModelError
from trainerlib.evaluation import Answer
from trainerlib.prices import Price, chat_cost, chat_price

CONCURRENT = 8
"""How many questions a model is asked at once."""

_HOPELESS = 20
"""After so many questions without a single answer a model is asked no more."""

_T = TypeVar("_T")
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Answer).decode


class Asked(msgspec.Struct, frozen=True):
    """A question to a model.

    Attributes:
        case: id of the case.
        prompt: what the model is shown.
        digest: tells this question to this model from every other one.
    """

    case: str
    prompt: Prompt
    digest: str


def ask(
    opened: Callable[[], ChatModel],
    asked: Sequence[Asked],
    file: Path,
    *,
    known: Mapping[str, Answer] | None = None,
    prices: Mapping[str, Price] | None = None,
    told: Callable[[Answer], None] | None = None,
) -> list[Answer]:
    """What a model answers, in the order of the questions. An error of the model is an answer that says so.

    Args:
        opened: opens the model; not called when every answer is known.
        asked: the questions.
        file: where each answer is added as a line, on the disk before the next one is.
        known: answers from before, by digest; these are not asked for.
        prices: the user's own prices, by model.
        told: called with each new answer.

    Raises:
        EvaluationError: not one of the first questions was answered; the rest was not asked.
        ModelError: the model cannot be opened.
    """
    known = known or {}
    missing = [one for one in asked if one.digest not in known]
    answers = {
        one.case: msgspec.structs.replace(known[one.digest], case=one.case) for one in asked if one.digest in known
    }
    if missing:
        model = opened()
        with _Journal(file) as journal:

            def keep(answer: Answer) -> None:
                journal.write(answer)
                answers[answer.case] = answer
                if told is not None:
                    told(answer)

            _wait_for(_ask(model, missing, keep, prices or {}, hopeful=bool(answers)))
    errors = [answer.error for answer in answers.values()]
    if asked and all(errors):
        raise EvaluationError(f"not one of {len(errors):,} cases was answered; the first said: {errors[0]}")
    return [answers[one.case] for one in asked]


def kept(file: Path) -> Iterator[Answer]:
    """The answers in a file; none where there is no file, and a line that was cut by a kill is none."""
    try:
        lines = file.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        with suppress(msgspec.MsgspecError, UnicodeDecodeError):
            yield _decode(line)


async def _ask(
    model: ChatModel,
    asked: Sequence[Asked],
    keep: Callable[[Answer], None],
    prices: Mapping[str, Price],
    *,
    hopeful: bool,
) -> None:
    waiting = iter(asked)
    failed = 0

    async def work() -> None:
        nonlocal failed, hopeful
        for one in waiting:
            if failed >= _HOPELESS and not hopeful:
                return
            answer = await _one(model, one, prices)
            failed += bool(answer.error)
            hopeful = hopeful or not answer.error
            keep(answer)

    try:
        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(CONCURRENT, len(asked))):
                tasks.create_task(work())
    except BaseExceptionGroup as group:
        # What is no `ModelError` is a full disk or a defect; one is as good as all.
        raise group.exceptions[0] from None
    finally:
        await model.close()


async def _one(model: ChatModel, asked: Asked, prices: Mapping[str, Price]) -> Answer:
    began = time.monotonic()
    try:
        completion = await complete(model, asked.prompt)
    except ModelError as error:
        return Answer(asked.case, asked.digest, error=" ".join(str(error).split()) or type(error).__name__)
    if not completion.text.strip():
        return Answer(asked.case, asked.digest, error="the answer is empty", model=completion.model)
    return Answer(
        asked.case,
        asked.digest,
        # A server's JSON may hold half a character, which no file of ours can.
        completion.text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"),
        model=completion.model,
        finish=completion.finish,
        usage=completion.usage,
        latency=round(time.monotonic() - began, 6),
        cost=chat_cost(completion.usage, chat_price(model.name, prices)),
        known=completion.known,
        shown=completion.shown or tuple([one.correction or one.message for one in asked.prompt.recalled]),
    )


def _wait_for(coroutine: Coroutine[Any, Any, _T]) -> _T:
    """What a coroutine gives; in a notebook, where an event loop runs already, another thread waits for it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    elsewhere = ThreadPoolExecutor(1)
    waiting = elsewhere.submit(asyncio.run, coroutine)
    # Whoever interrupts the notebook has it back at once.
    elsewhere.shutdown(wait=False)
    return waiting.result()


class _Journal:
    """Answers, a line each, every one on the disk before the next."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("ab+")
        self._file.seek(0, os.SEEK_END)
        if self._file.tell():
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                # The last line was cut by a kill.
                self._file.write(b"\n")

    def write(self, answer: Answer) -> None:
        self._file.write(_encode(answer) + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
