r"""Evaluations of a workspace: models asked the same questions, their answers measured, kept and recorded.

What is asked is chosen by `trainerlib.held_out`: replies and corrections that no model was trained on. A model is shown
similar corrections as a bot's model would be, but none that gives the answer away: see `trainerlib.questions`. So `memory`
never repeats the correction that it is asked for: it has to know from elsewhere. Cases of one's own are asked as a person
would ask the bot, with everything that was corrected.

Answers are kept under `models/evaluations/<id>/`, each on the disk before the next one counts. An evaluation that was
killed goes on where it was, and a question that a model was asked once in the same way is not paid for again. A question
that was not answered counts as an error, and is asked again by the next run. When a model answers nothing at all, nothing
is recorded: that says something of its server, not of its answers.

>>> import trainerlib
>>> with trainerlib.open(tmp / "shop") as ws:
...     tried = ws.evaluations.test('[{"input": "When are you open?", "contains": "9"}]', model="memory")
>>> print(tried)
cases   passed, % 0.0   1 case
>>> tried.answers[0].failed
("does not contain '9'",)
"""

from __future__ import annotations

import math
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from typing import Any

import msgspec

from trainerlib import settings as _settings
from trainerlib.asking import Asked, ask
from trainerlib.cases import Case, parse_cases
from trainerlib.chat.port import ChatModel, Prompt
from trainerlib.errors import EvaluationError, NotFoundError, VersionConflictError
from trainerlib.evaluation import (
    KINDS,
    Answer,
    Comparison,
    Scored,
    Scorer,
    as_json,
    compared,
    headline,
    report,
    worse,
    worst,
)
from trainerlib.evaluation_files import EvaluationFiles, answers_of, lines, write
from trainerlib.events import JsonObject, ModelEvaluated
from trainerlib.examples import Turn
from trainerlib.held_out import Chosen, choose, left_out
from trainerlib.judging import to_judge, with_verdicts
from trainerlib.prices import Price
from trainerlib.promotion import CURRENT, MODELS
from trainerlib.questions import Questions
from trainerlib.registry import Datasets
from trainerlib.settings import Settings
from trainerlib.store.answers import AnswerIndex
from trainerlib.store.erasing import last_erasure
from trainerlib.store.eventstore import EventStore
from trainerlib.versions import Dataset

Progress = Callable[[int, int], None]
"""Told how many answers there are, and how many there will be."""

_SHOWN = 20
"""Answers that a report shows when there is no other model to show the worse ones of."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Evaluation(msgspec.Struct, frozen=True):
    """What came of an evaluation.

    Attributes:
        model: the model.
        event: what was recorded.
        comparisons: all cases, then, where there is more than one kind, each kind.
        answers: the model's answers, in the order of the cases.
        against_answers: the other model's, in the same order; empty for none.
        worse: `(this model's answer, the other's)` where the other's was better by chrF, worst first.
        left_out: replies and corrections that were no cases, by reason.
        asked: how many questions were asked now, the judge's included.
        reused: how many answers were there from before.
        unjudged: how many cases the judge gave no clear verdict on.
        directory: where its files are.
        new: it was recorded now; False when it was recorded before and nothing has changed.
    """

    model: str
    event: ModelEvaluated
    comparisons: tuple[Comparison, ...]
    answers: tuple[Scored, ...]
    against_answers: tuple[Scored, ...]
    worse: tuple[tuple[Scored, Scored], ...]
    left_out: dict[str, int]
    asked: int
    reused: int
    unjudged: int
    directory: Path
    new: bool

    @property
    def against(self) -> str:
        """The model it was compared with; empty for none."""
        return self.event.against

    @property
    def passed(self) -> bool:
        """Whether every answer passes: none failed, and none lacks what its case asks for."""
        return not any(scored.answer.error or scored.failed for scored in self.answers)

    def __repr__(self) -> str:
        """What it compared, and a line for each kind of cases."""
        against = f" against {self.against}" if self.against else ""
        return f"Evaluation of {self.model}{against}\n  " + str(self).replace("\n", "\n  ")

    def __str__(self) -> str:
        """A line for each kind of cases."""
        shown = self.comparisons[1:] or self.comparisons
        return "\n".join(map(headline, shown))


class _Plan(msgspec.Struct, frozen=True):
    """How cases are asked, and by whom."""

    model: str
    against: str
    judge: str
    parameters: JsonObject
    seed: int
    recall: bool
    fresh: bool
    by: str

    @property
    def models(self) -> tuple[str, ...]:
        return (self.model, self.against) if self.against else (self.model,)

    @property
    def everybody(self) -> tuple[str, ...]:
        return (*self.models, self.judge) if self.judge else self.models


class Evaluations:
    """The evaluations of a workspace.

    Args:
        store: the log.
        datasets: its datasets.
        directory: the workspace.
        configured: its settings.
        index: finds similar questions.
        current: names the model that answers now.
        opened: opens a model by its name.
    """

    def __init__(
        self,
        store: EventStore,
        datasets: Datasets,
        directory: Path,
        configured: Settings,
        *,
        index: AnswerIndex,
        current: Callable[[], str],
        opened: Callable[[str], ChatModel],
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._workspace = directory
        self._settings = configured
        self._index = index
        self._current = current
        self._opened = opened
        self._files = EvaluationFiles(directory, store)

    # --- evaluating --------------------------------------------------------------------------------------------------

    def evaluate(
        self,
        model: str,
        *,
        against: str | None = None,
        dataset: Dataset | None = None,
        split: str | None = None,
        corrections: bool = True,
        limit: int | None = None,
        parameters: Mapping[str, Any] | None = None,
        recall: bool = True,
        judge: str | None = None,
        seed: int = 0,
        fresh: bool = False,
        by: str = "",
        progress: Progress | None = None,
    ) -> Evaluation:
        """Ask a model what it was not trained on, measure its answers and record the result.

        Args:
            model: its name, or `current`.
            against: another model to compare it with, or `current`.
            dataset: whose held-out replies to ask for; by default the dataset that the model was trained on, then the
                one the other model was, then the one selected for training, then the latest.
            split: the split to ask for; by default `test` where it has examples, otherwise `validation`.
            corrections: ask for past corrections too.
            limit: so many cases at most, drawn at random.
            parameters: of sampling; by default those of the settings.
            recall: show models similar corrections, as a bot would.
            judge: a model that says which answer is better, or, without `against`, how good an answer is.
            seed: of the resampling and of the draw.
            fresh: ask again what was asked before.
            by: who wants it.
            progress: called with answers there are and answers there will be.

        Raises:
            EvaluationError: there is nothing to ask, not a single case was answered, or a package is missing.
            ModelError: there is no such model.
            DatasetError: the dataset does not read, or has no such split.
        """
        plan = self._plan(model, against, judge, parameters, seed=seed, recall=recall, fresh=fresh, by=by)
        return self._run(self._choose(plan, dataset, split, limit, corrections=corrections), plan, progress)

    def choose(
        self,
        model: str,
        *,
        against: str | None = None,
        dataset: Dataset | None = None,
        split: str | None = None,
        corrections: bool = True,
        limit: int | None = None,
        seed: int = 0,
    ) -> Chosen:
        """What `evaluate` would ask; nothing is asked.

        Raises:
            EvaluationError: there is nothing to ask.
            DatasetError: the dataset does not read, or has no such split.
        """
        plan = self._plan(model, against, None, None, seed=seed)
        return self._choose(plan, dataset, split, limit, corrections=corrections)

    def test(
        self,
        cases: str | bytes | Path | Sequence[Case],
        *,
        model: str = CURRENT,
        against: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        recall: bool = True,
        judge: str | None = None,
        seed: int = 0,
        fresh: bool = False,
        by: str = "",
        progress: Progress | None = None,
    ) -> Evaluation:
        """Ask a model cases of one's own, see `trainerlib.cases`, as a person would ask the bot: with its instruction
        and everything that was corrected.

        Args:
            cases: the cases, a file of them, or their JSON.
            model: its name; by default the model that answers now.
            against: another model to compare it with.
            parameters: of sampling; by default those of the settings.
            recall: show the model similar corrections, as a bot would.
            judge: as for `evaluate`.
            seed: of the resampling.
            fresh: ask again what was asked before.
            by: who wants it.
            progress: called with answers there are and answers there will be.

        Raises:
            NotFoundError: no such file.
            EvaluationError: the cases do not read, not a single one was answered, or a package is missing.
            ModelError: there is no such model.
        """
        given = read_cases(cases) if isinstance(cases, (str, bytes, Path)) else cases
        own = _settings.instruction(self._workspace)
        plan = self._plan(model, against, judge, parameters, seed=seed, recall=recall, fresh=fresh, by=by)
        chosen = Chosen(tuple([_instructed(case, own) for case in given]))
        if not chosen.cases:
            raise EvaluationError("there are no cases")
        return self._run(chosen, plan, progress)

    def list(self, model: str | None = None) -> _Recorded:
        """`(model, evaluation)` of everything that was evaluated, in order.

        Args:
            model: only of this one.
        """
        recorded = self._store.read(f"{MODELS}{model}") if model else self._store.read_named(MODELS)
        inorder = sorted(recorded, key=attrgetter("position"))
        return [
            (one.stream.removeprefix(MODELS), one.event) for one in inorder if isinstance(one.event, ModelEvaluated)
        ]

    def _named(self, model: str | None) -> str:
        return self._current() if model == CURRENT else model or ""

    def _plan(
        self,
        model: str,
        against: str | None,
        judge: str | None,
        parameters: Mapping[str, Any] | None,
        *,
        seed: int,
        recall: bool = True,
        fresh: bool = False,
        by: str = "",
    ) -> _Plan:
        name, other = self._named(model), self._named(against)
        if name == other:
            raise EvaluationError(f"{name} against itself: there is nothing to compare")
        given = self._settings.chat.parameters if parameters is None else parameters
        return _Plan(name, other, self._named(judge), dict(given), seed, recall, fresh, by)

    def _choose(
        self, plan: _Plan, dataset: Dataset | None, split: str | None, limit: int | None, *, corrections: bool
    ) -> Chosen:
        return choose(
            self._store,
            self._datasets,
            plan.models,
            dataset=dataset,
            split=split,
            corrections=corrections,
            limit=limit,
            seed=plan.seed,
        )

    # --- from questions to what is recorded --------------------------------------------------------------------------

    def _run(self, chosen: Chosen, plan: _Plan, progress: Progress | None) -> Evaluation:
        scorer = Scorer()
        began = self._store.position
        self._files.forget_erased()
        try:
            return self._carried_out(chosen, plan, scorer, began, progress)
        except FileNotFoundError:
            # An erasure deletes what is kept of evaluations.
            if last_erasure(self._store) > began:
                raise EvaluationError(_ERASED) from None
            raise

    def _carried_out(
        self, chosen: Chosen, plan: _Plan, scorer: Scorer, began: int, progress: Progress | None
    ) -> Evaluation:
        questions = Questions(self._store, self._index, self._settings.recall)
        asked = {
            name: [questions.asked(name, case, chosen, plan.parameters, recall=plan.recall) for case in chosen.cases]
            for name in plan.models
        }
        cases = lines(chosen.cases)
        facts = {
            "model": plan.model,
            "against": plan.against,
            "judge": plan.judge,
            "models": {name: questions.identity(name) for name in plan.everybody},
            "seed": plan.seed,
            "cases": sha256(cases).hexdigest(),
            "prompts": {name: [one.digest for one in several] for name, several in asked.items()},
        }
        evaluation = sha256(_encode(facts)).hexdigest()[:16]
        directory = self._files.begin(evaluation, facts, began=began)
        written = write(directory, {"cases.jsonl": cases})
        answering = _Answering(
            self._files,
            directory,
            plan,
            len(chosen.cases),
            opened=self._opened,
            prices=self._settings.prices,
            progress=progress,
        )
        answers = {name: answering.answers(name, asked[name]) for name in plan.models}
        ours, theirs = (
            [scorer.scored(case, answer) for case, answer in zip(chosen.cases, answers.get(name, ()), strict=False)]
            for name in (plan.model, plan.against)
        )
        unjudged = 0
        judged: Sequence[Answer] = ()
        if plan.judge:
            judged = answering.answers(
                plan.judge,
                [
                    questions.question(plan.judge, name, Prompt(turns, parameters={"temperature": 0}))
                    for name, turns in to_judge(ours, theirs)
                ],
            )
            said = {answer.case: answer.text for answer in judged if not answer.error}
            ours, theirs, unjudged = with_verdicts(ours, theirs, said)
        comparisons = _comparisons(ours, theirs, plan.seed)
        lost = worse(zip(ours, theirs, strict=True)) if theirs else []
        event = _event(
            evaluation, chosen, plan, comparisons[0], [*answers[plan.model], *answers.get(plan.against, ()), *judged]
        )
        shown: Sequence[tuple[Scored, Scored | None]] = lost or [(scored, None) for scored in worst(ours)[:_SHOWN]]
        told = report(plan.model, plan.against, comparisons, shown, _facts(event, chosen, plan))
        files = {
            "results.jsonl": lines(_results(plan, ours, theirs)),
            "worse.jsonl": lines(_results(plan, [one for one, _ in lost], [other for _, other in lost])),
            "report.md": told.encode(errors="surrogatepass"),
        }
        written |= write(directory, files)
        event = msgspec.structs.replace(event, sha256=dict(sorted(written.items())))
        if last_erasure(self._store) > began:
            shutil.rmtree(directory)
            raise EvaluationError(_ERASED)
        new = self._record(plan.model, event)
        return Evaluation(
            plan.model,
            event,
            comparisons,
            tuple(ours),
            tuple(theirs),
            tuple(lost),
            chosen.left_out,
            answering.asked,
            answering.reused,
            unjudged,
            directory,
            new,
        )

    def _record(self, model: str, event: ModelEvaluated) -> bool:
        """Record the result, unless it is what was recorded of this evaluation last."""
        stream = f"{MODELS}{model}"
        while True:
            version = self._store.version(stream)
            earlier = [one for _, one in self.list(model) if one.evaluation == event.evaluation]
            if earlier and msgspec.structs.replace(earlier[-1], by=event.by) == event:
                return False
            with suppress(VersionConflictError):
                self._store.append(stream, [event], expected_version=version)
                return True


_Recorded = list[tuple[str, ModelEvaluated]]
_ERASED = "somebody was erased meanwhile, and their words may have been asked; evaluate again"


class _Answering:
    """Gets the answers of an evaluation, and knows how far it is."""

    def __init__(
        self,
        files: EvaluationFiles,
        directory: Path,
        plan: _Plan,
        cases: int,
        *,
        opened: Callable[[str], ChatModel],
        prices: Mapping[str, Price],
        progress: Progress | None,
    ) -> None:
        self._files = files
        self._directory = directory
        self._opened = opened
        self._prices = prices
        self._fresh = plan.fresh
        self._progress = progress
        self._total = cases * len(plan.models) * (2 if plan.judge else 1)
        self.asked = 0
        self.reused = 0

    def answers(self, model: str, asked: Sequence[Asked]) -> list[Answer]:
        """What a model answers, in order; raises as `trainerlib.asking.ask` does."""
        known = {} if self._fresh else self._files.known(self._directory, model)
        self.reused += sum([one.digest in known for one in asked])
        self._tell()
        try:
            return ask(
                lambda: self._opened(model),
                asked,
                answers_of(self._directory, model),
                known=known,
                prices=self._prices,
                told=self._one,
            )
        except EvaluationError as error:
            raise EvaluationError(f"{model}: {error}") from None

    def _one(self, _: Answer) -> None:
        self.asked += 1
        self._tell()

    def _tell(self) -> None:
        if self._progress is not None:
            self._progress(self.asked + self.reused, self._total)


def read_cases(given: str | bytes | Path) -> list[Case]:
    """The cases of a file, or of a JSON text.

    Args:
        given: the file, its name, or the JSON itself, which begins with `[` or `{`.

    Raises:
        NotFoundError: no such file.
        EvaluationError: they do not read.
    """
    if isinstance(given, bytes) or (isinstance(given, str) and given.lstrip("\ufeff \t\r\n")[:1] in ("[", "{")):
        return parse_cases(given)
    path = Path(given).expanduser()
    try:
        content = path.read_bytes()
    except (OSError, ValueError) as error:
        raise NotFoundError(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        return parse_cases(content)
    except EvaluationError as error:
        raise EvaluationError(f"{path.name}: {error}") from error


def _instructed(case: Case, instruction: str) -> Case:
    """A case of one's own with the instruction of the workspace, unless it has one."""
    if not instruction or case.turns[0].role == "system":
        return case
    return msgspec.structs.replace(case, turns=(Turn("system", instruction), *case.turns))


# --- what is written ----------------------------------------------------------------------------------------------------


def _comparisons(ours: Sequence[Scored], theirs: Sequence[Scored], seed: int) -> tuple[Comparison, ...]:
    kinds = list(dict.fromkeys([scored.case.kind for scored in ours]))

    def draw() -> Callable[[], float]:
        return random.Random(seed).random  # noqa: S311 - a sequence that can be had again, no secret

    return tuple([compared(kind, ours, theirs, draw) for kind in (kinds if len(kinds) == 1 else ["", *kinds])])


def _event(
    evaluation: str, chosen: Chosen, plan: _Plan, whole: Comparison, answers: Iterable[Answer]
) -> ModelEvaluated:
    costs = [answer.cost for answer in answers if answer.cost is not None]
    return ModelEvaluated(
        evaluation,
        chosen.dataset.name if chosen.dataset is not None else "",
        chosen.dataset.version if chosen.dataset is not None else 0,
        chosen.split,
        plan.against,
        whole.cases,
        whole.errors,
        whole.against_errors,
        whole.scores,
        whole.against_scores,
        whole.differences,
        len(whole.worse),
        judge=plan.judge,
        seed=plan.seed,
        cost=round(math.fsum(costs), 9) if costs else None,
        by=plan.by,
    )


def _results(plan: _Plan, ours: Iterable[Scored], theirs: Sequence[Scored]) -> Iterator[JsonObject]:
    """Each case with its answers and their scores."""
    for number, one in enumerate(ours):
        row: JsonObject = {**msgspec.to_builtins(one.case), "model": plan.model, "answer": as_json(one)}
        if theirs:
            row |= {"against": plan.against, "against_answer": as_json(theirs[number])}
        yield row


def _facts(event: ModelEvaluated, chosen: Chosen, plan: _Plan) -> dict[str, object]:
    """What a report says of how it was made."""
    kinds = Counter([case.kind for case in chosen.cases])
    facts: dict[str, object] = {
        "evaluation": event.evaluation,
        "cases": " · ".join([f"{KINDS[kind]} {count:,}" for kind, count in kinds.items()]),
    }
    if event.dataset:
        facts["dataset"] = f"{event.dataset} v{event.dataset_version}, split {event.split}"
    if chosen.left_out:
        facts["left out"] = " · ".join([f"{count:,} {left_out(reason)}" for reason, count in chosen.left_out.items()])
    if plan.parameters:
        facts["parameters"] = ", ".join([f"{name} {value}" for name, value in plan.parameters.items()])
    facts["similar corrections shown"] = "yes" if plan.recall else "no"
    if plan.judge:
        facts["judge"] = plan.judge
    facts["seed of the resampling"] = event.seed
    if event.cost is not None:
        facts["US dollars"] = f"{event.cost:g}"
    return facts
