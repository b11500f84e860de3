r"""Evaluations of a workspace: models asked the same questions, their answers measured, kept and recorded.

What is asked is chosen by `trainerlib.held_out`: replies and corrections that no model was trained on. A model is shown
similar corrections as a bot's model would be, but none that gives the answer away. For a held-out reply these are the
corrections of the whole split it is in; for a past correction, those of its own conversation; for both, what says the same
elsewhere but for case and punctuation or, where the dataset's recipe looks for near-duplicates, is a near-duplicate. So
`memory` never repeats the correction that it is asked for: it has to know from elsewhere. Cases of one's own are asked as
a person would ask the bot, with everything that was corrected.

Answers are kept under `models/evaluations/<id>/`, each on the disk before the next one counts. An evaluation that was
killed goes on where it was, and a question that a model was asked once in the same way is not paid for again. A question
that was not answered counts as an error, and is asked again by the next run. When a model answers nothing at all, nothing
is recorded: that says something of its server, not of its answers.

>>> import trainerlib
>>> with trainerlib.open(tmp / "shop") as ws:
...     evaluations = Evaluations(ws.store, ws.datasets, ws.path, ws.settings)
...     tried = evaluations.test('[{"input": "When are you open?", "contains": "9"}]', model="memory")
>>> print(tried)
cases   passed, % 0.0   1 case
>>> tried.answers[0].failed
("does not contain '9'",)
"""

from __future__ import annotations

import math
import os
import random
import shutil
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from trainerlib import settings as _settings
from trainerlib.asking import Asked, ask, kept
from trainerlib.cases import Case, parse_cases
from trainerlib.chat.models import open_model
from trainerlib.chat.port import ChatModel, Prompt
from trainerlib.errors import EvaluationError, NotFoundError, VersionConflictError
from trainerlib.evaluation import KINDS, Answer, Comparison, Scored, Scorer, as_json, compared, headline, report, worse
from trainerlib.events import JsonObject, ModelAdded, ModelEvaluated
from trainerlib.examples import Turn
from trainerlib.held_out import Chosen, choose, left_out
from trainerlib.judging import ask_for_choice, ask_for_grade, parse_choice, parse_grade, preference
from trainerlib.language import language
from trainerlib.near_duplicates import fingerprint, normalised
from trainerlib.prices import Price
from trainerlib.recall import Recalled
from trainerlib.registry import Datasets
from trainerlib.replies import MEMORY, instruct
from trainerlib.settings import Settings
from trainerlib.store.erasing import last_erasure
from trainerlib.store.eventstore import EventStore
from trainerlib.tokens import estimate_tokens
from trainerlib.versions import Dataset

DIRECTORY = "evaluations"
"""Where evaluations are kept, below the workspace's `models`."""

CURRENT = "current"
"""Stands for the model that answers now."""

Progress = Callable[[int, int], None]
"""Told how many answers there are, and how many there will be."""

_SHOWN = 20
"""Answers that a report shows when there is no other model to show the worse ones of."""

_encode = msgspec.json.Encoder(order="deterministic").encode


class Index(Protocol):
    """Finds similar questions, as `trainerlib.store.answers.AnswerIndex` does."""

    def find(
        self, question: str, *, limit: int, threshold: float, approved: bool = False, apart_from: Collection[str] = ()
    ) -> Sequence[Recalled]:
        """Similar questions and how they should be answered, nearest first."""
        ...


class Evaluation(msgspec.Struct, frozen=True):
    """What came of an evaluation.

    Attributes:
        model: the model.
        against: the model it was compared with; empty for none.
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
    against: str
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
        return "\n".join(headline(comparison, main_metric(comparison)) for comparison in shown)


def main_metric(comparison: Comparison) -> str:
    """The metric that a comparison is told by: chrF, or how many cases of one's own passed.

    >>> main_metric(Comparison("test", 1, 0, {"passed": 100.0})), main_metric(Comparison("held-out", 1, 0, {"chrf": 9.0}))
    ('passed', 'chrf')
    """
    return "passed" if comparison.kind == "test" else "chrf"


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


class Evaluations:
    """The evaluations of a workspace.

    Args:
        store: the log.
        datasets: its datasets.
        directory: the workspace.
        configured: its settings.
        secret: gives the secret of a name, `None` where there is none.
        index: finds similar questions; without one none are recalled.
        current: names the model that answers now; by default the one of the settings.
        opened: opens a model by its name; by default `trainerlib.chat.models.open_model`.
    """

    def __init__(
        self,
        store: EventStore,
        datasets: Datasets,
        directory: Path,
        configured: Settings,
        *,
        secret: Callable[[str], str | None] | None = None,
        index: Index | None = None,
        current: Callable[[], str] | None = None,
        opened: Callable[[str], ChatModel] | None = None,
    ) -> None:
        self._store = store
        self._datasets = datasets
        self._workspace = directory
        self._directory = directory / "models" / DIRECTORY
        self._settings = configured
        self._secret = secret or (lambda name: _settings.secret(name, directory, os.environ))
        self._index = index
        self._current = current or (lambda: configured.chat.model)
        self._opened = opened or self._open

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
        recorded = self._store.read(f"model/{model}") if model else self._store.read_named("model/")
        found = sorted([one for one in recorded if isinstance(one.event, ModelEvaluated)], key=lambda one: one.position)
        return [(one.stream.partition("/")[2], one.event) for one in found if isinstance(one.event, ModelEvaluated)]

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

    def _open(self, name: str) -> ChatModel:
        return open_model(name, directory=self._workspace, settings=self._settings, secret=self._secret)

    # --- from questions to what is recorded --------------------------------------------------------------------------

    def _run(self, chosen: Chosen, plan: _Plan, progress: Progress | None) -> Evaluation:
        scorer = Scorer()
        began = self._store.position
        self._forget_erased()
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
        everybody = (*plan.models, *((plan.judge,) if plan.judge else ()))
        identities = {name: self._identity(name) for name in everybody}
        asked = {
            name: [self._asked(name, identities, case, chosen, plan) for case in chosen.cases] for name in plan.models
        }
        cases = _lines(msgspec.to_builtins(case) for case in chosen.cases)
        facts = {
            "model": plan.model,
            "against": plan.against,
            "judge": plan.judge,
            "models": identities,
            "seed": plan.seed,
            "cases": sha256(cases).hexdigest(),
            "prompts": {name: [one.digest for one in several] for name, several in asked.items()},
        }
        evaluation = sha256(_encode(facts)).hexdigest()[:16]
        directory = self._directory / evaluation
        directory.mkdir(parents=True, exist_ok=True)
        facts |= {"log": self._store.log_id, "position": began}
        _write(directory / _FACTS, msgspec.json.format(_encode(facts), indent=1) + b"\n")
        _write(directory / "cases.jsonl", cases)
        answering = _Answering(
            directory, plan, len(chosen.cases), opened=self._opened, prices=self._settings.prices, progress=progress
        )
        answers = {name: answering.answers(name, asked[name]) for name in plan.models}
        ours, theirs = (
            [scorer.scored(case, answer) for case, answer in zip(chosen.cases, answers.get(name, ()), strict=False)]
            for name in (plan.model, plan.against)
        )
        unjudged = 0
        judged: Sequence[Answer] = ()
        if plan.judge:
            judged = answering.answers(plan.judge, _to_judge(identities[plan.judge], ours, theirs))
            ours, theirs, unjudged = _with_verdicts(ours, theirs, judged)
        comparisons = _comparisons(ours, theirs, plan.seed)
        lost = worse(zip(ours, theirs, strict=True)) if theirs else []
        event = _event(
            evaluation, chosen, plan, comparisons[0], [*answers[plan.model], *answers.get(plan.against, ()), *judged]
        )
        shown = lost or _worst(ours)
        said = report(plan.model, plan.against, comparisons, shown, _facts(event, chosen, plan))
        files = {
            "results.jsonl": _lines(_results(plan, ours, theirs)),
            "worse.jsonl": _lines(_results(plan, [one for one, _ in lost], [other for _, other in lost])),
            "report.md": said.encode(errors="surrogatepass"),
        }
        for name, content in files.items():
            _write(directory / name, content)
        files["cases.jsonl"] = cases
        digests = {name: sha256(content).hexdigest() for name, content in sorted(files.items())}
        event = msgspec.structs.replace(event, sha256=digests)
        if last_erasure(self._store) > began:
            shutil.rmtree(directory)
            raise EvaluationError(_ERASED)
        new = self._record(plan.model, event)
        return Evaluation(
            plan.model,
            plan.against,
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
        stream = f"model/{model}"
        while True:
            version = self._store.version(stream)
            earlier = [one for _, one in self.list(model) if one.evaluation == event.evaluation]
            if earlier and msgspec.structs.replace(earlier[-1], by=event.by) == event:
                return False
            with suppress(VersionConflictError):
                self._store.append(stream, [event], expected_version=version)
                return True

    def _forget_erased(self) -> None:
        """Delete what was kept before somebody was erased: their words may be in any of it."""
        erased = last_erasure(self._store)
        for directory in self._directory.glob("*/") if erased else ():
            try:
                facts = msgspec.json.decode((directory / _FACTS).read_bytes())
                current = facts["log"] == self._store.log_id and facts["position"] >= erased
            except (OSError, msgspec.MsgspecError, KeyError, TypeError):
                current = False
            if not current:
                shutil.rmtree(directory, ignore_errors=True)

    # --- what a model is shown ---------------------------------------------------------------------------------------

    def _identity(self, model: str) -> str:
        """Tells a model from another one of the same name, by the files that it was added with."""
        added = [one.event for one in self._store.read(f"model/{model}") if isinstance(one.event, ModelAdded)]
        return sha256(_encode([model, added[-1].sha256 if added else {}])).hexdigest()

    def _asked(self, model: str, identities: Mapping[str, str], case: Case, chosen: Chosen, plan: _Plan) -> Asked:
        recalled = tuple(self._recalled(model, case, chosen)) if plan.recall else ()
        turns = case.turns
        if recalled and model != MEMORY:
            given, rest = (turns[0].content, turns[1:]) if turns[0].role == "system" else ("", turns)
            turns = (Turn("system", instruct(given, recalled, language(case.question))), *rest)
        prompt = Prompt(turns, recalled, plan.parameters)
        return Asked(case.id, prompt, _digest(identities[model], prompt))

    def _recalled(self, model: str, case: Case, chosen: Chosen) -> Iterator[Recalled]:
        """Similar corrections, as many as a bot's model would be shown, less those that give the answer away."""
        recall = self._settings.recall
        wanted = max(recall.count, 1) if model == MEMORY else recall.count
        left = recall.tokens
        if not wanted:
            return
        for one in self._similar(case, chosen, wanted, approved=model == MEMORY):
            if self._gives_away(one, case, chosen):
                continue
            wanted -= 1
            size = estimate_tokens(one.question) + estimate_tokens(one.answer)
            if model == MEMORY or size <= left:
                left -= size
                yield one
            if not wanted:
                return

    def _similar(self, case: Case, chosen: Chosen, limit: int, *, approved: bool) -> Iterator[Recalled]:
        """Similar questions, nearest first; more of them are looked for only when they are asked for."""
        given, threshold = 0, self._settings.recall.threshold
        # Passed over while looking: what was said last hides what was answered to the same words before.
        apart: Collection[str] = () if case.kind == "test" else {case.conversation}
        apart = chosen.held_out if case.kind == "held-out" else apart
        while self._index is not None:
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


_Recorded = list[tuple[str, ModelEvaluated]]
_FACTS = "evaluation.json"
_ERASED = "somebody was erased meanwhile, and their words may have been asked; evaluate again"


class _Answering:
    """Gets the answers of an evaluation, and knows how far it is."""

    def __init__(
        self,
        directory: Path,
        plan: _Plan,
        cases: int,
        *,
        opened: Callable[[str], ChatModel],
        prices: Mapping[str, Price],
        progress: Progress | None,
    ) -> None:
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
        file = f"{quote(model, safe='')}.jsonl"
        known = {} if self._fresh else self._known(file)
        self.reused += sum([one.digest in known for one in asked])
        self._tell()
        try:
            return ask(
                lambda: self._opened(model),
                asked,
                self._directory / file,
                known=known,
                prices=self._prices,
                told=self._one,
            )
        except EvaluationError as error:
            raise EvaluationError(f"{model}: {error}") from None

    def _known(self, file: str) -> dict[str, Answer]:
        """What a model answered before, by the digest of what it was asked, in this evaluation or another."""
        others = sorted(self._directory.parent.glob(f"*/{file}"), key=lambda path: path.stat().st_mtime)
        # The latest word counts, and before all what was answered here.
        paths = [*others, self._directory / file]
        return {answer.prompt: answer for path in paths for answer in kept(path) if not answer.error}

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


def _says_the_same(one: tuple[str, str], other: tuple[str, str], near: float) -> bool:
    """Whether two questions with their answers are the same but for case and punctuation, or near-duplicates."""
    if [normalised(text) for text in one] == [normalised(text) for text in other]:
        return True
    a, b = set(fingerprint(one)), set(fingerprint(other))
    return bool(near and a | b) and len(a & b) / len(a | b) >= near


def _digest(identity: str, prompt: Prompt) -> str:
    """Tells a question to a model from every other one."""
    told = [(one.question, one.answer) for one in prompt.recalled]
    return sha256(_encode([identity, prompt.turns, told, prompt.parameters])).hexdigest()


# --- the judge ----------------------------------------------------------------------------------------------------------


def _to_judge(identity: str, ours: Sequence[Scored], theirs: Sequence[Scored]) -> list[Asked]:
    """What a judge is asked of the cases that were answered: a grade, or a choice in either order.

    The id of such a question ends with the place in which this model's answer stands.
    """
    asked: list[tuple[str, tuple[Turn, ...]]] = []
    for number, one in enumerate(ours):
        case, said = one.case, one.answer.text
        if one.answer.error or (theirs and theirs[number].answer.error):
            continue
        if theirs:
            other = theirs[number].answer.text
            asked.append((f"{case.id}/1", ask_for_choice(case, said, other)))
            asked.append((f"{case.id}/2", ask_for_choice(case, other, said)))
        else:
            asked.append((case.id, ask_for_grade(case, said)))
    prompts = [(name, Prompt(turns, parameters={"temperature": 0})) for name, turns in asked]
    return [Asked(name, prompt, _digest(identity, prompt)) for name, prompt in prompts]


def _with_verdicts(
    ours: Sequence[Scored], theirs: Sequence[Scored], judged: Sequence[Answer]
) -> tuple[list[Scored], list[Scored], int]:
    """The answers with what the judge said of them, and how many cases it gave no clear verdict on."""
    said = {answer.case: answer.text for answer in judged if not answer.error}
    mine, others = list(ours), list(theirs)
    unjudged = 0
    for number, one in enumerate(ours):
        if one.answer.error or (theirs and theirs[number].answer.error):
            continue
        if theirs:
            first, second = (said.get(f"{one.case.id}/{place}", "") for place in (1, 2))
            value = preference(parse_choice(first), parse_choice(second))
            if value is not None:
                mine[number] = _scored_more(one, "judge", value)
                others[number] = _scored_more(theirs[number], "judge", 100.0 - value)
        else:
            value = parse_grade(said.get(one.case.id, ""))
            if value is not None:
                mine[number] = _scored_more(one, "grade", float(value))
        unjudged += value is None
    return mine, others, unjudged


def _scored_more(scored: Scored, name: str, value: float) -> Scored:
    return msgspec.structs.replace(scored, scores={**scored.scores, name: value})


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


def _worst(answers: Sequence[Scored]) -> list[tuple[Scored, None]]:
    """The answers that there are not, then those that failed, then those furthest from what was expected."""

    def goodness(scored: Scored) -> tuple[bool, float, float]:
        scores = scored.scores
        return not scored.answer.error, scores.get("passed", 100.0), scores.get("chrf", 100.0)

    bad = [scored for scored in answers if goodness(scored) < (True, 100.0, 100.0)]
    return [(scored, None) for scored in sorted(bad, key=goodness)[:_SHOWN]]


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


def _lines(rows: Iterable[Any]) -> bytes:
    return b"".join([msgspec.json.encode(row) + b"\n" for row in rows])


def _write(path: Path, content: bytes) -> None:
    """Put a file in the place of another, whole or not at all."""
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    partial.write_bytes(content)
    partial.replace(path)
