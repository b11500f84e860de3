"""The questions of an evaluation: each case as a model is shown it, with similar corrections that do not give it away.

For a held-out reply the corrections of the whole split it is in give it away; for a past correction, those of its own
conversation; for both, what says the same elsewhere but for case and punctuation or, where the dataset's recipe looks for
near-duplicates, is a near-duplicate. A case of somebody's own is asked as a person would ask the bot.

>>> import trainerlib
>>> from trainerlib.examples import Turn
>>> case = Case("1", (Turn("user", "When are you open?"),), ("9 to 18.",))
>>> with trainerlib.open(tmp / "shop") as ws:
...     questions = Questions(ws.store, AnswerIndex(ws.store), ws.settings.recall)
...     asked = questions.asked("memory", case, Chosen((case,)), {"temperature": 0}, recall=True)
>>> asked.case, asked.prompt.turns == case.turns, asked.prompt.recalled, len(asked.digest)
('1', True, (), 64)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from hashlib import sha256
from itertools import islice

import msgspec

from trainerlib.asking import Asked
from trainerlib.cases import Case
from trainerlib.chat.memory import MEMORY
from trainerlib.chat.port import Prompt
from trainerlib.events import JsonObject
from trainerlib.examples import Turn
from trainerlib.held_out import Chosen
from trainerlib.language import language
from trainerlib.near_duplicates import fingerprint, normalised
from trainerlib.promotion import MODELS, fold_model
from trainerlib.prompts import fitting, instruct, most_recalled
from trainerlib.recall import Recalled
from trainerlib.settings import RecallSettings
from trainerlib.store.answers import AnswerIndex
from trainerlib.store.eventstore import EventStore

_encode = msgspec.json.Encoder(order="deterministic").encode


class Questions:
    """What models are shown in one evaluation.

    Args:
        store: the log.
        index: finds similar questions.
        recall: how many of them a bot's model would be shown.

    Attributes:
        identity: tells a model, by its name, from another one of the same name: by the files that it was added with.
    """

    def __init__(self, store: EventStore, index: AnswerIndex, recall: RecallSettings) -> None:
        self._store = store
        self._index = index
        self._recall = recall
        self.identity = cache(self._identity)

    def asked(self, model: str, case: Case, chosen: Chosen, parameters: JsonObject, *, recall: bool) -> Asked:
        """A case as a model is shown it.

        Args:
            model: its name.
            case: the case.
            chosen: the cases that it is one of.
            parameters: of sampling.
            recall: show similar corrections, as a bot would.
        """
        recalled = tuple(self._recalled(model, case, chosen)) if recall else ()
        turns = case.turns
        if recalled and model != MEMORY:
            given, rest = (turns[0].content, turns[1:]) if turns[0].role == "system" else ("", turns)
            turns = (Turn("system", instruct(given, recalled, language(case.question))), *rest)
        return self.question(model, case.id, Prompt(turns, recalled, parameters))

    def question(self, model: str, name: str, prompt: Prompt) -> Asked:
        """A question to a model.

        Args:
            model: its name.
            name: of the question.
            prompt: what the model is shown.
        """
        told = [(one.question, one.answer) for one in prompt.recalled]
        whole = [self.identity(model), prompt.turns, told, prompt.parameters]
        return Asked(name, prompt, sha256(_encode(whole)).hexdigest())

    def _identity(self, model: str) -> str:
        added = fold_model(model, self._store.read(f"{MODELS}{model}")).added
        return sha256(_encode([model, added.sha256 if added is not None else {}])).hexdigest()

    def _recalled(self, model: str, case: Case, chosen: Chosen) -> Iterator[Recalled]:
        """Similar corrections, as many as a bot's model would be shown, less those that give the answer away."""
        most = most_recalled(model, self._recall)
        similar = self._similar(case, chosen, most, approved=model == MEMORY) if most else ()
        safe = (one for one in similar if not self._gives_away(one, case, chosen))
        return fitting(islice(safe, most), model, self._recall)

    def _similar(self, case: Case, chosen: Chosen, limit: int, *, approved: bool) -> Iterator[Recalled]:
        """Similar questions, nearest first; more of them are looked for only when they are asked for."""
        given, threshold = 0, self._recall.threshold
        # Passed over while looking: what was said last hides what was answered to the same words before.
        apart: Collection[str] = () if case.kind == "test" else {case.conversation}
        apart = chosen.held_out if case.kind == "held-out" else apart
        while True:
            found = self._index.find(
                case.question, limit=limit, threshold=threshold, approved=approved, apart_from=apart
            )
            yield from found[given:]
            if len(found) < limit:
                return
            given, limit = len(found), limit * 8

    def _gives_away(self, recalled: Recalled, case: Case, chosen: Chosen) -> bool:
        """Whether a correction would tell a model the answer that it is asked for."""
        if case.kind == "test":
            return False
        recorded = self._store.at(recalled.message)
        where = "" if recorded is None else recorded.stream.partition("/")[2]
        if where in ("", case.conversation) or (case.kind == "held-out" and where in chosen.held_out):
            return True
        told = recalled.question, recalled.answer
        return any(_says_the_same(told, (case.question, expected), chosen.near) for expected in case.expected)


def _says_the_same(one: tuple[str, str], other: tuple[str, str], near: float) -> bool:
    """Whether two questions with their answers are the same but for case and punctuation, or near-duplicates."""
    if [normalised(text) for text in one] == [normalised(text) for text in other]:
        return True
    a, b = set(fingerprint(one)), set(fingerprint(other))
    return bool(near and a | b) and len(a & b) / len(a | b) >= near
