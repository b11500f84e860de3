"""What a model can be asked about without having been told: held-out replies, and past corrections it has not seen.

A reply or correction is left out, and counted by its reason, when its conversation is in the train split of a dataset
that one of the models was trained on, when an example there says the same but for case and punctuation, and, where the
recipe of that dataset looked for near-duplicates, when the conversation is one of a conversation there. What a model was
trained from counts as well: its base model's datasets are its own.

>>> import trainerlib
>>> with trainerlib.open(tmp / "shop") as ws:
...     chat = ws.conversation("telegram:42")
...     _ = chat.record("user", "When are you open?")
...     _ = ws.correct(chat.record("assistant", "At 10.").id, "9 to 18.", by="anna")
...     chosen = choose(ws.store, ws.datasets, ["memory"])
>>> [(case.kind, case.question, case.expected, case.rejected) for case in chosen.cases]
[('correction', 'When are you open?', ('9 to 18.',), 'At 10.')]
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from hashlib import sha256

import msgspec

from trainerlib.builds import permissions
from trainerlib.candidates import Preparer
from trainerlib.cases import Case, Kind
from trainerlib.conversations import fold
from trainerlib.datasets import split_of, why
from trainerlib.errors import EvaluationError
from trainerlib.events import Corrected, ModelAdded, TrainingRequested
from trainerlib.examples import ConversationExamples
from trainerlib.likeness import likeness
from trainerlib.near_duplicates import NearIndex
from trainerlib.promotion import MODELS
from trainerlib.quality import Quality
from trainerlib.recipes import Recipe
from trainerlib.registry import Datasets
from trainerlib.store.eventstore import EventStore
from trainerlib.training import PREFIX as TRAINING
from trainerlib.training import fold_all
from trainerlib.versions import Dataset

LEFT_OUT = {
    "trained-on": "the conversation is in what a model was trained on",
    "said-in-training": "but for case and punctuation it says what a model was trained on",
    "near-training": "near-duplicate of a conversation that a model was trained on",
    "no-answer-known": "only a bad reply is known",
    "repeated": "asks and expects what an earlier case does",
    "limit": "more than were asked for",
}
"""Why a reply or correction is no case; the other reasons are those of a dataset."""

_encode = msgspec.json.Encoder().encode
_decode_line = msgspec.json.Decoder(ConversationExamples).decode


class Chosen(msgspec.Struct, frozen=True):
    """What will be asked.

    Attributes:
        cases: the cases.
        dataset: the dataset whose held-out replies are among them, `None` for none.
        split: the split these are in.
        left_out: replies and corrections that are no cases, by reason.
        held_out: every conversation of that split.
        near: similarity from which the dataset's recipe takes conversations for near-duplicates; 0 where it looks for none.
    """

    cases: tuple[Case, ...]
    dataset: Dataset | None = None
    split: str = ""
    left_out: dict[str, int] = {}
    held_out: frozenset[str] = frozenset()
    near: float = 0.0


def choose(
    store: EventStore,
    datasets: Datasets,
    models: Sequence[str],
    *,
    dataset: Dataset | None = None,
    split: str | None = None,
    corrections: bool = True,
    limit: int | None = None,
    seed: int = 0,
) -> Chosen:
    """The cases that models can be asked.

    Past corrections are those that stand, of conversations that the dataset's recipe may use, shown as it shows them.

    Args:
        store: the log.
        datasets: the datasets of the workspace.
        models: names of the models.
        dataset: whose held-out replies to take; by default the dataset that the first model was trained on, then the
            next one's, then the one selected for training, then the latest.
        split: the split to take; by default `test` where it has examples, otherwise `validation`.
        corrections: take past corrections too.
        limit: so many cases at most, drawn at random.
        seed: of the draw.

    Raises:
        EvaluationError: there are none.
        DatasetError: a dataset does not read, or has no such split.
    """
    trained = {(one.name, one.version): one for model in models for one in trained_on(store, datasets, model)}
    if dataset is None:
        dataset = _default(datasets, list(trained.values()))
    picked = _Picked(_Seen(list(trained.values())))
    part = ""
    kept_apart: set[str] = set()
    if dataset is not None:
        part = split or next((name for name in ("test", "validation") if dataset.splits.get(name)), "")
        if part == "train":
            raise EvaluationError("the train split is what models are trained on; choose test or validation")
        for _, line in dataset.lines(part) if part else ():
            kept_apart.add(line.conversation)
            picked.take(line, part, "held-out")
    if corrections:
        _take_corrections(store, dataset.recipe if dataset is not None else Recipe(), picked)
    cases = picked.cases
    if limit is not None and limit < len(cases):
        picked.left_out["limit"] = len(cases) - limit
        drawn = sorted(cases, key=lambda case: sha256(f"{seed}\0{case.id}".encode(errors="surrogatepass")).digest())
        kept = {case.id for case in drawn[:limit]}
        cases = [case for case in cases if case.id in kept]
    if not cases:
        raise EvaluationError(_nothing(dataset, picked.left_out))
    left = dict(sorted(picked.left_out.items(), key=lambda item: (-item[1], item[0])))
    if not any(case.kind == "held-out" for case in cases):
        part = ""
    near = dataset.recipe.near_duplicates if dataset is not None else 0.0
    return Chosen(tuple(cases), dataset if part else None, part, left, frozenset(kept_apart), near)


def trained_on(store: EventStore, datasets: Datasets, model: str) -> list[Dataset]:
    """The datasets that a model was trained on, and the models that it was trained from.

    Args:
        store: the log.
        datasets: the datasets of the workspace.
        model: name of the model.
    """
    jobs = {job.id: job for job in fold_all(store.read_named(TRAINING))}
    made: dict[str, list[TrainingRequested]] = defaultdict(list)
    bases: dict[str, list[str]] = defaultdict(list)
    for job in jobs.values():
        for name in filter(None, (job.model, *[kept.checkpoint for kept in job.checkpoints])):
            for known_as in (name, f"{job.request.trainer}:{name}"):
                made[known_as].append(job.request)
    for recorded in store.read_named(MODELS):
        event, name = recorded.event, recorded.stream.removeprefix(MODELS)
        if isinstance(event, ModelAdded):
            bases[name].append(event.base)
            if event.job in jobs:
                made[name].append(jobs[event.job].request)
    found: dict[tuple[str, int], Dataset] = {}
    waiting, known = [model], {model, ""}
    while waiting:
        name = waiting.pop(0)
        new = list(bases.get(name, ()))
        for request in made.get(name, ()):
            found[request.dataset, request.dataset_version] = datasets.get(request.dataset, request.dataset_version)
            new += [request.model, f"{request.trainer}:{request.model}"]
        waiting += [base for base in dict.fromkeys(new) if base not in known]
        known.update(new)
    return list(found.values())


def left_out(reason: str) -> str:
    """What a reason of `Chosen.left_out` means.

    >>> left_out("trained-on"), left_out("no-consent")[:34]
    ('the conversation is in what a model was trained on', 'not everybody who speaks in the co')
    """
    return LEFT_OUT.get(reason) or why(reason)


def _default(datasets: Datasets, trained: Sequence[Dataset]) -> Dataset | None:
    """The dataset whose held-out replies are asked for when none is named."""
    usable = [one for one in trained if not one.erased] or datasets.selected()[-1:]
    if usable:
        return usable[0]
    return max([one for one in datasets.list() if not one.erased], key=lambda one: one.position, default=None)


def _take_corrections(store: EventStore, recipe: Recipe, picked: _Picked) -> None:
    wanted = msgspec.structs.replace(
        recipe, targets="corrected", rated_down="exclude", duplicates="keep", near_duplicates=0.0, quality=Quality()
    )
    preparer = Preparer(wanted, permissions(store, store.position))
    for events in store.read_by_stream():
        if not events[0].stream.startswith("conversation/"):
            continue
        if not any(isinstance(recorded.event, Corrected) for recorded in events):
            continue
        conversation = fold(events)
        corrected = {message.id for message in conversation.messages if message.corrections}
        prepared = preparer.prepare(conversation)
        for message, reason in prepared.excluded:
            if message in corrected and not picked.has(conversation.id, message):
                picked.left_out[reason] += 1
        if prepared.line:
            picked.take(_decode_line(prepared.line), "", "correction")


def _nothing(dataset: Dataset | None, reasons: Mapping[str, int]) -> str:
    """Why there is nothing to ask, and what would help."""
    if reasons:
        said = "; ".join(f"{count:,}: {left_out(reason)}" for reason, count in reasons.items())
        return f"there is nothing left to ask ({said})"
    if dataset is None:
        return (
            "there is nothing to ask: no dataset was built and nothing corrected; or bring cases: trainerlib test FILE"
        )
    held = f"dataset {dataset.name} v{dataset.version} holds nothing out"
    return f"there is nothing to ask: {held}, and nothing was corrected"


class _Seen:
    """What models were trained on.

    Args:
        datasets: the datasets that they were trained on.
    """

    def __init__(self, datasets: Sequence[Dataset]) -> None:
        self._conversations: set[str] = set()
        self._said: set[bytes] = set()
        self._near: list[NearIndex] = []
        self._gone = [dataset.recipe.split for dataset in datasets if dataset.erased]
        for dataset in datasets:
            if dataset.erased or "train" not in dataset.splits:
                continue
            index = NearIndex(dataset.recipe.near_duplicates) if dataset.recipe.near_duplicates > 0 else None
            for _, line in dataset.lines("train"):
                self._conversations.add(line.conversation)
                marks, said = likeness(line)
                self._said.update(said)
                if index is not None:
                    index.add(marks)
            self._near += [index] if index is not None else []

    def reason(self, line: ConversationExamples) -> str:
        """Why a conversation cannot be asked about; empty when it can."""
        if line.conversation in self._conversations:
            return "trained-on"
        # The files of a dataset that held an erased person are gone; where a conversation was dealt to is not.
        if any(split_of(line.conversation, split) == "train" for split in self._gone):
            return "trained-on"
        if self._near:
            marks, _ = likeness(line)
            if any(index.labels(marks) for index in self._near):
                return "near-training"
        return ""

    def said(self, line: ConversationExamples) -> list[bool]:
        """Of each example, whether one that was trained on says the same."""
        return [text in self._said for text in likeness(line)[1]] if self._said else [False] * len(line.examples)


class _Picked:
    """Cases as they are picked."""

    def __init__(self, seen: _Seen) -> None:
        self._seen = seen
        self._places: set[tuple[str, int]] = set()
        self._asked: set[bytes] = set()
        self.cases: list[Case] = []
        self.left_out: Counter[str] = Counter()

    def has(self, conversation: str, message: int) -> bool:
        """Whether a reply was picked, or left out, before."""
        return (conversation, message) in self._places

    def take(self, line: ConversationExamples, split: str, kind: Kind) -> None:
        """Take the examples of a conversation that can be asked for."""
        windows = [window for window in line.examples if not self.has(line.conversation, window.message)]
        if not windows:
            return
        line = msgspec.structs.replace(line, examples=tuple(windows))
        self._places.update((line.conversation, window.message) for window in windows)
        reason = self._seen.reason(line)
        if reason:
            self.left_out[reason] += len(windows)
            return
        for example, said in zip(line.expand(split), self._seen.said(line), strict=True):
            if said or example.chosen is None:
                self.left_out["said-in-training" if said else "no-answer-known"] += 1
                continue
            case = Case(
                f"{example.conversation}#{example.message}",
                example.context,
                (example.chosen,),
                example.rejected,
                kind,
                example.conversation,
                example.message,
            )
            same = sha256(_encode([case.turns, case.expected])).digest()
            if same in self._asked:
                self.left_out["repeated"] += 1
                continue
            self._asked.add(same)
            self.cases.append(case)
