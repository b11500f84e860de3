"""Prompts: what a model is shown to answer a question.

It is what an example of the reply would show a trainer: the same turns, merged alike, corrections in the place of what
they replace. Similar corrections from elsewhere are told in the instruction, in plain words.

>>> from trainerlib.events import Corrected, MessageRecorded
>>> with EventStore(tmp / "log.db") as store:
...     said = [MessageRecorded("user", "Привет"), MessageRecorded("assistant", "Hi"), Corrected(2, "Привет!", "anna")]
...     [*_, question] = store.append("conversation/a", [*said, MessageRecorded("user", "Когда вы открыты?")])
...     shown = Prompts(store, AnswerIndex(store), Settings(), tmp).shown(question, "openai:gpt-x")
>>> [(turn.role, turn.content) for turn in shown.prompt.turns], shown.context
([('user', 'Привет'), ('assistant', 'Привет!'), ('user', 'Когда вы открыты?')], (1, 2, 3, 4))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from trainerlib.candidates import Dialogue
from trainerlib.chat.memory import MEMORY
from trainerlib.chat.port import Prompt
from trainerlib.conversations import Conversation, Message, fold
from trainerlib.errors import InvalidEventError
from trainerlib.events import RecordedEvent
from trainerlib.examples import Turn
from trainerlib.language import language
from trainerlib.recall import Recalled
from trainerlib.recipes import Recipe
from trainerlib.settings import RecallSettings, Settings
from trainerlib.settings import instruction as read_instruction
from trainerlib.store.answers import AnswerIndex
from trainerlib.store.eventstore import EventStore
from trainerlib.tokens import estimate_tokens

_EVENTS_A_TURN = 8
"""So many events of a conversation are read for each turn that is shown; when they do not do, eight times as many."""

_REMEMBERED = 10_000
"""Conversations of which it is remembered that they have no instruction."""

_RECALLED = {
    "en": (
        "Answers to similar questions, as people corrected them. Where a question is about the same, answer likewise.",
        "Question",
        "Answer",
    ),
    "ru": (
        "Ответы на похожие вопросы, какими их исправили люди. Если вопрос о том же, отвечайте так же.",
        "Вопрос",
        "Ответ",
    ),
}


def instruct(instruction: str, recalled: Sequence[Recalled], language: str) -> str:
    """The instruction of a model, with what similar questions should have been answered.

    Args:
        instruction: what the workspace tells the assistant.
        recalled: similar questions and their answers.
        language: `ru` for Russian words around them, otherwise English ones.

    >>> like = Recalled("When do  you open?", "9 to 18.", message=3, correction=4, similarity=0.8)
    >>> print(instruct("Be brief.", [like], "en"))
    Be brief.
    <BLANKLINE>
    Answers to similar questions, as people corrected them. Where a question is about the same, answer likewise.
    <BLANKLINE>
    Question: When do you open?
    Answer: 9 to 18.
    """
    if not recalled:
        return instruction
    opening, question, answer = _RECALLED["ru" if language == "ru" else "en"]
    told = [f"{question}: {' '.join(one.question.split())}\n{answer}: {one.answer}" for one in recalled]
    return "\n\n".join([part for part in (instruction, opening, *told) if part])


def most_recalled(model: str, settings: RecallSettings) -> int:
    """How many similar questions a model is shown at most; `memory` has nothing else to answer from, so at least one.

    >>> most_recalled("openai:gpt-x", RecallSettings(count=0)), most_recalled("memory", RecallSettings(count=0))
    (0, 1)
    """
    return max(settings.count, 1) if model == MEMORY else settings.count


def fitting(found: Iterable[Recalled], model: str, settings: RecallSettings) -> Iterator[Recalled]:
    """Those of similar questions that together have no more tokens than a model is shown; `memory` reads them all.

    Args:
        found: similar questions, nearest first.
        model: name of the model.
        settings: `tokens` of them all, estimated.

    >>> found = [Recalled("Open?", answer, message=3, correction=4, similarity=0.8) for answer in ("9 to 18. " * 9, "9.")]
    >>> [one.answer for one in fitting(found, "openai:gpt-x", RecallSettings(tokens=20))]
    ['9.']
    """
    left = settings.tokens
    for one in found:
        size = estimate_tokens(one.question) + estimate_tokens(one.answer)
        if model == MEMORY or size <= left:
            left -= size
            yield one


class Shown(msgspec.Struct, frozen=True):
    """What a model is shown.

    Attributes:
        prompt: all of it.
        instruction: the instruction without what is recalled.
        context: ids (log positions) of the messages and corrections that it is made of.
    """

    prompt: Prompt
    instruction: str
    context: tuple[int, ...]


class Prompts:
    """Makes prompts of a workspace's conversations.

    Args:
        store: the log.
        index: finds similar questions.
        settings: of the workspace.
        directory: the workspace, where its instruction is.
    """

    def __init__(self, store: EventStore, index: AnswerIndex, settings: Settings, directory: Path) -> None:
        self._store = store
        self._index = index
        self._settings = settings
        self._directory = directory
        chat = settings.chat
        # No repetition is left out and nobody's consent is asked for: these limits are all a prompt has of a recipe.
        self._recipe = Recipe(
            context_turns=chat.turns, context_tokens=chat.tokens, context_replies="corrected", system="none"
        )
        # Up to which version a conversation is known to have no instruction: it need not be looked for there again.
        self._uninstructed: dict[str, int] = {}

    def shown(self, question: RecordedEvent, model: str) -> Shown:
        """What a model is shown to answer a question.

        Args:
            question: what a person said, as it was recorded.
            model: name of the model.

        Raises:
            InvalidEventError: the question has no words, or was taken down.
            SettingsError: the workspace's instruction cannot be read.
        """
        own = read_instruction(self._directory)
        if len(self._uninstructed) > _REMEMBERED:
            self._uninstructed.clear()
        recalled: tuple[Recalled, ...] | None = None
        span = _EVENTS_A_TURN * self._recipe.context_turns
        while True:
            after = max(0, question.version - span)
            state = fold(self._store.read(question.stream, after=after))
            dialogue = Dialogue(state, self._recipe, None)
            stop = dialogue.numbers.get(question.version, -1) + 1
            asked = state.message(question.version)
            if asked is None or not stop:
                raise InvalidEventError(f"message {question.position} says nothing that could be answered")
            if recalled is None:
                recalled = self._recalled(asked.content, model)
            given = _instruction_message(state)
            instruction = own or (given.text if given is not None else "")
            if model == MEMORY:
                # It reads what is recalled, and no instruction.
                system, told, start = instruction, recalled, dialogue.start(stop, -1, estimate_tokens(instruction))
            else:
                system, told, start = _fitted(dialogue, stop, instruction, recalled, state.language)
            if start is None:
                # Not even the question fits: the model is asked it alone, and says itself if it is too long.
                start = stop - 1
            if not instruction and not after:
                self._uninstructed[question.stream] = state.version
            if not after or (start and (instruction or self._uninstructed.get(question.stream, 0) >= after)):
                break
            span *= _EVENTS_A_TURN
        turns = tuple(dialogue.turns[start:stop])
        if system:
            turns = (Turn("system", system), *turns)
        context = _positions(state.messages, dialogue.numbers, start, stop)
        if given is not None and not own:
            context.append(given.id)
        context += [one.message if one.correction is None else one.correction for one in told]
        return Shown(Prompt(turns, told, dict(self._settings.chat.parameters)), instruction, tuple(context))

    def alone(self, text: str, model: str) -> Prompt:
        """What a model is shown of a question that is in no conversation.

        Args:
            text: the question.
            model: name of the model.

        Raises:
            SettingsError: the workspace's instruction cannot be read.
        """
        recalled = self._recalled(text, model)
        # `memory` reads what is recalled, and no instruction.
        system = "" if model == MEMORY else instruct(read_instruction(self._directory), recalled, language(text))
        turns = (Turn("system", system), Turn("user", text)) if system else (Turn("user", text),)
        return Prompt(turns, recalled, dict(self._settings.chat.parameters))

    def _recalled(self, question: str, model: str) -> tuple[Recalled, ...]:
        """Similar questions, nearest first, as many as the settings allow."""
        recall = self._settings.recall
        limit = most_recalled(model, recall)
        if not limit:
            return ()
        found = self._index.find(question, limit=limit, threshold=recall.threshold, approved=model == MEMORY)
        return tuple(fitting(found, model, recall))


def _instruction_message(state: Conversation) -> Message | None:
    said = [message for message in state.messages if message.role == "system" and not message.deleted]
    return next((message for message in reversed(said) if message.text.strip()), None)


def _fitted(
    dialogue: Dialogue, stop: int, instruction: str, recalled: tuple[Recalled, ...], language: str
) -> tuple[str, tuple[Recalled, ...], int | None]:
    """The whole instruction, what is told in it, and the first turn that fits beside it; `None` when none does."""
    for told in (recalled, ()):
        system = instruct(instruction, told, language)
        start = dialogue.start(stop, -1, estimate_tokens(system))
        if start is not None:
            return system, told, start
    return instruction, (), None


def _positions(messages: Iterable[Message], numbers: dict[int, int], start: int, stop: int) -> list[int]:
    """Log positions of the messages of some turns, and of the corrections that stand in their place."""
    shown = []
    for message in messages:
        if start <= numbers.get(message.number, -1) < stop:
            shown.append(message.id)
            if message.corrections:
                shown.append(message.corrections[-1].id)
    return shown
