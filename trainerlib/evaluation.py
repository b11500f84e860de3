"""Evaluation: how good answers are, and whether one model's are better than another's.

Every metric is measured case by case, and a model's value is the plain mean over the cases it answered. Texts are
compared as `trainerlib.cases.normalise` gives them; where several answers are accepted, the nearest one counts.

======== ============================================================================================== ===========
metric   what it is                                                                                     from, to
======== ============================================================================================== ===========
exact    the answer is the expected one, case and punctuation included                                  0, 100
chrf     chrF2 of sacrebleu: character 6-grams, recall counts double (Popović, 2015)                    0, 100
rouge_l  F1 of the longest common subsequence of words, in any alphabet (Lin, 2004; rouge-score)        0, 100
rejected chrF2 to the reply that is known to be wrong: less is better                                   0, 100
length   characters of the answer, the nearest expected answer's being 1                                0, -
known    the model did not say that it does not know                                                    0, 100
passed   an answer to a case of one's own passes all its checks                                         0, 100
latency  seconds from the request to the last token                                                     0, -
cost     US dollars                                                                                     0, -
======== ============================================================================================== ===========

`input_tokens` and `output_tokens` are as the model's server counts them. A judge adds `judge` (100 for the better of two
answers, 50 for both where neither is) or `grade` (1 to 5).

>>> from trainerlib.examples import Turn
>>> scorer = Scorer()
>>> case = Case("1", (Turn("user", "Когда вы открыты?"),), ("С 9 до 18, без выходных.",), rejected="В 10.", kind="held-out")
>>> before = scorer.scored(case, Answer("1", "a", "В 10."))
>>> after = scorer.scored(case, Answer("1", "b", "С 9 до 18."))
>>> {name: round(value, 1) for name, value in after.scores.items()}
{'exact': 0.0, 'chrf': 24.8, 'rouge_l': 80.0, 'rejected': 10.9, 'length': 0.4, 'known': 100.0}
>>> import random
>>> compared("", [after], [before], lambda: random.Random(7).random).differences["exact"]
Interval(mean=0.0, low=0.0, high=0.0)
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from trainerlib.cases import Case, exact, failures, normalise
from trainerlib.errors import EvaluationError
from trainerlib.events import Interval

RESAMPLES = 2_000
"""How often the cases are drawn anew for an interval."""

Random = Callable[[], float]
"""Gives the next number of a sequence from 0 to below 1."""

_WORD = re.compile(r"[^\W_]+")
_PLACES = 6


class Metric(msgspec.Struct, frozen=True):
    """What a metric is called, and how its values are shown.

    Attributes:
        label: its name for people.
        digits: digits after the point.
        better: 1 where more is better, -1 where less is, 0 where neither.
    """

    label: str
    digits: int = 1
    better: int = 1


METRICS: dict[str, Metric] = {
    "chrf": Metric("chrF"),
    "rouge_l": Metric("ROUGE-L"),
    "exact": Metric("exact match, %"),
    "passed": Metric("passed, %"),
    "judge": Metric("preferred by the judge, %"),
    "grade": Metric("grade by the judge, 1 to 5", 2),
    "rejected": Metric("chrF to the rejected reply", better=-1),
    "known": Metric("not “I do not know”, %", better=0),
    "length": Metric("length, 1 as expected", 2, 0),
    "input_tokens": Metric("tokens read", better=-1),
    "output_tokens": Metric("tokens written", better=0),
    "latency": Metric("seconds", 2, -1),
    "cost": Metric("US dollars", 6, -1),
}
"""Every metric, in the order they are shown."""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """What a model answered to a case, or why it did not.

    Attributes:
        case: id of the case.
        prompt: hex digest of all that it was shown.
        text: the answer.
        error: why there is none; empty where there is one.
        model: the model as its server calls it.
        finish: why the answer ended.
        usage: token counts by name.
        latency: seconds from request to last token.
        cost: US dollars, where the price is known.
        known: False for an answer that only says that the model does not know.
        shown: ids (log positions) of the replies and corrections it was shown, or is made of.
    """

    case: str
    prompt: str
    text: str = ""
    error: str = ""
    model: str = ""
    finish: str = ""
    usage: dict[str, int] = msgspec.field(default_factory=dict)
    latency: float | None = None
    cost: float | None = None
    known: bool = True
    shown: tuple[int, ...] = ()


class Scored(msgspec.Struct, frozen=True, gc=False):
    """An answer and what it is worth.

    Attributes:
        case: what was asked.
        answer: what was answered.
        scores: the metrics that could be measured, by name; none for a case that was not answered.
        failed: what the answer lacks, where the case has checks.
    """

    case: Case
    answer: Answer
    scores: dict[str, float]
    failed: tuple[str, ...] = ()


class Comparison(msgspec.Struct, frozen=True):
    """What a model is worth on some cases, and what another one is.

    Attributes:
        kind: the kind of the cases; empty for all of them.
        cases: how many.
        errors: how many of them the model did not answer.
        scores: mean of each metric over those it answered.
        against_errors: how many the other model did not answer.
        against_scores: the other model's means.
        differences: this model less the other, over the cases that both answered, with 95 % intervals.
        worse: ids of the cases that the other model answered better, worst first.
    """

    kind: str
    cases: int
    errors: int
    scores: dict[str, float]
    against_errors: int = 0
    against_scores: dict[str, float] = {}
    differences: dict[str, Interval] = {}
    worse: tuple[str, ...] = ()


class Scorer:
    """Measures answers.

    Raises:
        EvaluationError: sacrebleu or rouge-score is not installed.
    """

    def __init__(self) -> None:
        try:
            from rouge_score.rouge_scorer import RougeScorer
            from sacrebleu.metrics.chrf import CHRF
        except ImportError as error:
            raise EvaluationError("to evaluate, install: pip install 'trainerlib[evaluate]'") from error
        self._chrf = CHRF()
        self._rouge = RougeScorer(["rougeL"], tokenizer=_Words())

    def chrf(self, answer: str, references: Sequence[str]) -> float:
        """chrF2 to the nearest of some texts, 0 to 100.

        >>> Scorer().chrf("Привет!", ["Привет!"])
        100.0
        """
        # sacrebleu's chrF takes the best of the references. Rounded, as 100 comes out as 99.99999999999998 now and then.
        score = self._chrf.sentence_score(normalise(answer), [normalise(text) for text in references]).score
        return round(float(score), _PLACES)

    def rouge_l(self, answer: str, references: Sequence[str]) -> float:
        """ROUGE-L F1 to the nearest of some texts, 0 to 100; texts without a word have nothing in common.

        >>> Scorer().rouge_l("Привет, Анна", ["привет анна!"])
        100.0
        """
        scores = [self._rouge.score(text, answer)["rougeL"].fmeasure for text in references]
        return round(100 * float(max(scores)), _PLACES)

    def scored(self, case: Case, answer: Answer) -> Scored:
        """An answer with its scores, in the order of the table above."""
        if answer.error:
            return Scored(case, answer, {}, ("no answer",))
        said = answer.text
        scores: dict[str, float] = {}
        if case.expected:
            each = {text: self.chrf(said, [text]) for text in case.expected}
            scores["exact"] = 100.0 if exact(case, said) else 0.0
            scores["chrf"] = max(each.values())
            scores["rouge_l"] = self.rouge_l(said, case.expected)
        if case.rejected is not None:
            scores["rejected"] = self.chrf(said, [case.rejected])
        if case.expected:
            nearest = normalise(max(each, key=lambda text: each[text]))
            scores["length"] = round(len(normalise(said)) / len(nearest), _PLACES)
        failed = failures(case, said, chrf=scores.get("chrf")) if case.kind == "test" else ()
        scores["known"] = 100.0 if answer.known else 0.0
        if case.kind == "test":
            scores["passed"] = 0.0 if failed else 100.0
        for name in ("latency", "cost"):
            value = getattr(answer, name)
            if value is not None:
                scores[name] = value
        for name in ("input_tokens", "output_tokens"):
            if name in answer.usage:
                scores[name] = float(answer.usage[name])
        return Scored(case, answer, scores, failed)


class _Words:
    """Words as ROUGE-L counts them: runs of letters and digits of any alphabet, in lower case, ё as е.

    rouge-score's own tokenizer keeps a to z and digits alone; on such text both give the same.
    """

    def tokenize(self, text: str) -> list[str]:
        return _WORD.findall(unicodedata.normalize("NFC", text).lower().replace("ё", "е"))


# --- several cases ----------------------------------------------------------------------------------------------------


def means(answers: Iterable[Scored]) -> dict[str, float]:
    """The mean of each metric over the cases in which it was measured.

    >>> from trainerlib.examples import Turn
    >>> case = Case("1", (Turn("user", "Hi"),))
    >>> means([Scored(case, Answer("1", ""), {"chrf": 40.0}), Scored(case, Answer("1", "", error="busy"), {})])
    {'chrf': 40.0}
    """
    values: dict[str, list[float]] = {}
    for scored in answers:
        for name, value in scored.scores.items():
            values.setdefault(name, []).append(value)
    return {name: round(_mean(values[name]), _PLACES) for name in METRICS if name in values}


def bootstrap(
    differences: Sequence[float],
    random: Random,
    *,
    groups: Sequence[Hashable] | None = None,
    resamples: int = RESAMPLES,
) -> Interval:
    """The mean of paired differences and its 95 % interval, by the paired bootstrap.

    Cases are drawn anew with replacement, `resamples` times; the interval leaves out a fortieth of the means at either
    end (Koehn, "Statistical significance tests for machine translation evaluation", 2004). Replies of one conversation
    have much in common, so whole groups are drawn (the cluster bootstrap: Davison and Hinkley, "Bootstrap methods and
    their application", 1997, 3.8). An interval always holds the mean; that of a single group is no more than it.

    The same numbers give the same interval on every Python: sums are exact, and of `random.Random` only `random` is
    promised to stay as it is.

    Args:
        differences: this model's value less the other's, one for each case.
        random: where to draw, such as `random.Random(7).random`.
        groups: the group of each case, its conversation; by default each is one of its own.
        resamples: how often to draw.

    Raises:
        EvaluationError: there is nothing to draw from.

    >>> import random
    >>> bootstrap([1.0, 2.0, 3.0, 2.0], random.Random(7).random)
    Interval(mean=2.0, low=1.25, high=2.75)
    >>> bootstrap([0.0] * 50, random.Random(7).random)
    Interval(mean=0.0, low=0.0, high=0.0)
    """
    if not differences or resamples < 1:
        raise EvaluationError("there is nothing to compare: no case was answered by both")
    together: dict[Hashable, list[float]] = {}
    for number, difference in enumerate(differences):
        together.setdefault(number if groups is None else groups[number], []).append(difference)
    drawn = [(math.fsum(values), len(values)) for values in together.values()]
    size = len(drawn)
    sample = []
    for _ in range(resamples):
        chosen = [drawn[int(random() * size)] for _ in range(size)]
        sample.append(math.fsum([total for total, _ in chosen]) / sum([count for _, count in chosen]))
    sample.sort()
    mean = _mean(differences)
    outside = resamples // 40
    low, high = min(sample[outside], mean), max(sample[-1 - outside], mean)
    return Interval(round(mean, _PLACES), round(low, _PLACES), round(high, _PLACES))


def compared(
    kind: str,
    ours: Sequence[Scored],
    theirs: Sequence[Scored],
    random: Callable[[], Random],
    *,
    resamples: int = RESAMPLES,
) -> Comparison:
    """What a model is worth on cases, beside another one.

    Args:
        kind: only the cases of this kind; empty for all.
        ours: the model's answers, scored.
        theirs: the other model's, in the same order; empty when there is no other.
        random: begins the sequence to draw from, the same for each metric.
        resamples: how often to draw.
    """
    mine = [scored for scored in ours if kind in ("", scored.case.kind)]
    other = [scored for scored in theirs if kind in ("", scored.case.kind)]
    errors = sum([bool(scored.answer.error) for scored in mine])
    if not other:
        return Comparison(kind, len(mine), errors, means(mine))
    pairs = list(zip(mine, other, strict=True))
    differences = {}
    for name in METRICS:
        both = [(one, two) for one, two in pairs if name in one.scores and name in two.scores]
        if both:
            differences[name] = bootstrap(
                [one.scores[name] - two.scores[name] for one, two in both],
                random(),
                groups=[one.case.conversation or one.case.id for one, _ in both],
                resamples=resamples,
            )
    return Comparison(
        kind,
        len(mine),
        errors,
        means(mine),
        sum([bool(scored.answer.error) for scored in other]),
        means(other),
        differences,
        tuple([one.case.id for one, _ in worse(pairs)]),
    )


def worse(pairs: Iterable[tuple[Scored, Scored]]) -> list[tuple[Scored, Scored]]:
    """The cases that the other model answered better by chrF, worst first; before them those that only it answered."""
    found = [(_lost(one, two), number, one, two) for number, (one, two) in enumerate(pairs)]
    lost = sorted([item for item in found if item[0] > 0], key=lambda item: (-item[0], item[1]))
    return [(one, two) for _, _, one, two in lost]


def worst(answers: Sequence[Scored]) -> list[Scored]:
    """The answers that there are not, then those that failed, then those furthest from what was expected.

    >>> from trainerlib.examples import Turn
    >>> case = Case("1", (Turn("user", "Hi"),))
    >>> found = [Scored(case, Answer("1", "", f"{chrf}"), {"chrf": chrf}) for chrf in (40.0, 100.0, 9.0)]
    >>> [scored.answer.text for scored in worst(found)]
    ['9.0', '40.0']
    """

    def goodness(scored: Scored) -> tuple[bool, float, float]:
        scores = scored.scores
        return not scored.answer.error, scores.get("passed", 100.0), scores.get("chrf", 100.0)

    return sorted([scored for scored in answers if goodness(scored) < (True, 100.0, 100.0)], key=goodness)


def _lost(one: Scored, two: Scored) -> float:
    """By how much of chrF the second answer is better."""
    if two.answer.error:
        return 0.0
    if one.answer.error:
        return math.inf
    return two.scores.get("chrf", 0.0) - one.scores.get("chrf", 0.0)


def _mean(values: Sequence[float]) -> float:
    # `sum` of floats is another one since Python 3.12.
    return math.fsum(values) / len(values)


# --- in words ---------------------------------------------------------------------------------------------------------

KINDS = {"": "all cases", "held-out": "held-out replies", "correction": "past corrections", "test": "cases"}
"""Kinds of cases for people."""


def figure(name: str, value: float | None, *, signed: bool = False) -> str:
    """A value of a metric for people.

    >>> figure("chrf", 58.91), figure("chrf", 17.66, signed=True), figure("chrf", None), figure("chrf", -0.001)
    ('58.9', '+17.7', '-', '0.0')
    """
    if value is None:
        return "-"
    digits = METRICS[name].digits
    # Without the sign of a zero.
    rounded = round(value, digits) + 0.0
    return f"{rounded:+.{digits}f}" if signed and rounded else f"{rounded:.{digits}f}"


def margin(name: str, difference: Interval) -> str:
    """A difference for people.

    >>> margin("chrf", Interval(17.71, 12.1, 22.8))
    '+17.7, 95 % interval +12.1 to +22.8'
    """
    mean, low, high = (figure(name, value, signed=True) for value in (difference.mean, difference.low, difference.high))
    return f"{mean}, 95 % interval {low} to {high}"


def main_metric(comparison: Comparison) -> str:
    """The metric that a comparison is told by: chrF, or how many cases of one's own passed.

    >>> main_metric(Comparison("test", 1, 0, {"passed": 100.0})), main_metric(Comparison("held-out", 1, 0, {"chrf": 9.0}))
    ('passed', 'chrf')
    """
    return "passed" if comparison.kind == "test" else "chrf"


def headline(comparison: Comparison) -> str:
    """A comparison in a line, by its main metric.

    >>> headline(Comparison("held-out", 97, 0, {"chrf": 58.91}, 0, {"chrf": 41.2},
    ...                     {"chrf": Interval(17.71, 12.1, 22.8)}, ("a", "b")))
    'held-out replies   chrF 41.2 -> 58.9  (+17.7, 95 % interval +12.1 to +22.8)   worse on 2 of 97'
    """
    parts = [KINDS[comparison.kind]]
    name = main_metric(comparison)
    label = METRICS[name].label
    value = figure(name, comparison.scores.get(name))
    difference = comparison.differences.get(name)
    if difference is not None:
        before = figure(name, comparison.against_scores.get(name))
        parts.append(f"{label} {before} -> {value}  ({margin(name, difference)})")
        parts.append(f"worse on {len(comparison.worse):,} of {comparison.cases:,}")
    else:
        parts += [f"{label} {value}", f"{comparison.cases:,} cases" if comparison.cases != 1 else "1 case"]
    return "   ".join(parts)


def verdict(comparison: Comparison) -> str:
    """What the interval of the difference in its main metric says, in words.

    >>> verdict(Comparison("", 9, 0, {}, differences={"chrf": Interval(3.0, -1.0, 7.0)}))
    'no difference that these cases can show'
    """
    difference = comparison.differences.get(main_metric(comparison))
    if difference is None:
        return ""
    if difference.low > 0:
        return "better"
    if difference.high < 0:
        return "worse"
    return "no difference" if difference.low == difference.high else "no difference that these cases can show"


def report(
    model: str,
    against: str,
    comparisons: Sequence[Comparison],
    pairs: Sequence[tuple[Scored, Scored | None]],
    facts: Mapping[str, object],
) -> str:
    """An evaluation as Markdown: what was done, every metric, and the answers that got worse.

    Args:
        model: the model.
        against: the other model; empty for none.
        comparisons: of each kind of cases, and of all.
        pairs: the answers to show, this model's and the other's.
        facts: what else to say, by name.
    """
    lines = [f"# {model}" + (f" against {against}" if against else ""), ""]
    lines += [f"- {name}: {_cell(value)}" for name, value in facts.items()]
    for comparison in comparisons:
        lines += ["", f"## {KINDS[comparison.kind].capitalize()}", "", *_figures(model, against, comparison)]
    if pairs:
        lines += ["", "## Worse answers, worst first" if against else "## Answers, worst first"]
    for one, two in pairs:
        lines += ["", f"### {_cell(one.case.id)}", ""]
        lines += [f"- {turn.role}: {_cell(turn.content)}" for turn in one.case.turns]
        lines += [f"- expected: {_cell(text)}" for text in one.case.expected]
        for name, scored in ((against, two), (model, one)):
            if scored is not None:
                said = scored.answer.error or scored.answer.text
                value = figure("chrf", scored.scores.get("chrf"))
                lines.append(f"- **{name}** ({'no answer' if scored.answer.error else f'chrF {value}'}): {_cell(said)}")
    return "\n".join(lines) + "\n"


def _figures(model: str, against: str, comparison: Comparison) -> Iterator[str]:
    errors = f"not answered, of {comparison.cases:,}"
    rows = table_rows(comparison)
    if not against:
        yield f"| | {_cell(model)} |"
        yield "|---|---:|"
        yield from (f"| {label} | {value} |" for label, _, value, *_ in rows)
        yield f"| {errors} | {comparison.errors:,} |"
        return
    yield f"| | {_cell(against)} | {_cell(model)} | difference | 95 % interval |"
    yield "|---|---:|---:|---:|---:|"
    yield from (f"| {' | '.join(row)} |" for row in rows)
    yield f"| {errors} | {comparison.against_errors:,} | {comparison.errors:,} | | |"
    yield f"| worse | | {len(comparison.worse):,} | | |"


def _cell(value: object) -> str:
    """A text on one line of Markdown, its marks made harmless."""
    line = " ".join(str(value).split())
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", line)


def table_rows(comparison: Comparison) -> list[tuple[str, str, str, str, str]]:
    """The metrics of a comparison as rows: label, the other model's value, this one's, difference, interval."""
    rows = []
    for name, metric in METRICS.items():
        ours, theirs = comparison.scores.get(name), comparison.against_scores.get(name)
        if ours is None and theirs is None:
            continue
        mean = bounds = ""
        difference = comparison.differences.get(name)
        if difference is not None:
            mean = figure(name, difference.mean, signed=True)
            bounds = f"{figure(name, difference.low, signed=True)} to {figure(name, difference.high, signed=True)}"
        rows.append((metric.label, figure(name, theirs), figure(name, ours), mean, bounds))
    return rows


def as_json(scored: Scored) -> dict[str, Any]:
    """A scored answer as scripts get it."""
    answer = msgspec.to_builtins(scored.answer)
    return {**answer, "scores": scored.scores, **({"failed": list(scored.failed)} if scored.failed else {})}
