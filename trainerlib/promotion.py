"""Promotion: which model answers, who may take its place, and which conversations a candidate is given.

What is decided about it is one stream of events, so two people who promote at once cannot cross. Models that answered
before form a stack: a promotion puts one on top, rolling back takes it off again. Below the stack is the model that the
settings name.

>>> from trainerlib.events import RecordedEvent
>>> def folded(*events):
...     return fold(RecordedEvent(40 + n, STREAM, n, event, 0) for n, event in enumerate(events, 1))
>>> standing = folded(ModelPromoted("local:a"), ModelPromoted("local:b"), CandidateSet("local:c", 0.25))
>>> standing.current("memory"), standing.answering("telegram:7", "memory"), standing.answering("telegram:1", "memory")
('local:b', 'local:b', 'local:c')
>>> folded(ModelPromoted("local:a"), ModelPromoted("local:b"), ModelRolledBack("local:a")).current("memory")
'local:a'
>>> folded(ModelPromoted("local:a"), ModelRolledBack("memory")).current("memory")
'memory'
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from hashlib import sha256

import msgspec

from trainerlib.conversations import Conversation
from trainerlib.evaluation import METRICS, figure, margin
from trainerlib.events import (
    CandidateSet,
    ModelAdded,
    ModelEvaluated,
    ModelPromoted,
    ModelRolledBack,
    RecordedEvent,
)

STREAM = "promotion/current"
"""The stream that says which model answers."""

MODELS = "model/"
"""Streams of models begin with it."""

CURRENT = "current"
"""Stands for the model that answers now."""

_Z = 1.959963984540054
"""The 97.5 % quantile of the normal distribution."""

_replace = msgspec.structs.replace


# --- who answers -----------------------------------------------------------------------------------------------------


class Standing(msgspec.Struct, frozen=True):
    """Which model answers, as the events of the promotion stream add up to.

    Attributes:
        version: version of the last event folded in.
        promoted: the models that were promoted and not rolled back, the one that answers last.
        candidate: the model that a share of the conversations is given; empty for none.
        share: that share, 0 to 1.
        offered: log position at which the candidate was first offered, its share changed since or not.
    """

    version: int = 0
    promoted: tuple[str, ...] = ()
    candidate: str = ""
    share: float = 0.0
    offered: int = 0

    def current(self, default: str) -> str:
        """The model that answers.

        Args:
            default: the one that answers when none is promoted.
        """
        return self.promoted[-1] if self.promoted else default

    def answering(self, conversation: str, default: str) -> str:
        """The model that answers a conversation: always the same one until somebody decides otherwise.

        Args:
            conversation: its id.
            default: the model that answers when none is promoted.
        """
        if self.candidate and point(self.candidate, conversation) < self.share:
            return self.candidate
        return self.current(default)


def fold(events: Iterable[RecordedEvent], *, into: Standing | None = None) -> Standing:
    """Who answers, by the events of the promotion stream.

    Args:
        events: in order.
        into: what the events before them added up to.
    """
    standing = into or Standing()
    for recorded in events:
        standing = _replace(_after(standing, recorded), version=recorded.version)
    return standing


def _after(standing: Standing, recorded: RecordedEvent) -> Standing:
    match recorded.event:
        case ModelPromoted(model=model):
            promoted = _replace(standing, promoted=(*standing.promoted, model))
            # Who answers every conversation is no candidate any more.
            return _replace(promoted, candidate="", share=0.0, offered=0) if model == standing.candidate else promoted
        case ModelRolledBack():
            return _replace(standing, promoted=standing.promoted[:-1])
        case CandidateSet(model=model, share=share):
            same = bool(model) and model == standing.candidate
            since = standing.offered if same else recorded.position if model else 0
            return _replace(standing, candidate=model, share=share if model else 0.0, offered=since)
        case _:
            return standing


def point(model: str, conversation: str) -> float:
    """Where a conversation lies for a candidate, 0 to below 1: those below its share are its own.

    So a larger share adds conversations and takes none away, and two candidates get different ones.

    >>> round(point("local:c", "telegram:1"), 3), round(point("local:c", "telegram:7"), 3)
    (0.211, 0.448)
    """
    digest = sha256(f"{model}\0{conversation}".encode(errors="surrogatepass")).digest()
    # 53 bits are what a float holds, so the largest point is still below 1.
    return (int.from_bytes(digest[:8]) >> 11) / 2**53


# --- what is known of a model ----------------------------------------------------------------------------------------


class Known(msgspec.Struct, frozen=True):
    """A model as the events of its stream tell.

    Attributes:
        name: what it is chosen by.
        added: how it was last added; `None` for one that was only evaluated.
        added_us: when it was first added, microseconds since 1970 UTC; 0 for never.
        renewed: log position at which it was last given other files; 0 for never.
        evaluations: `(log position, evaluation)` of each, oldest first.
        latest: what counts of these: the latest on held-out replies and corrections, else that on cases of somebody's own.
        evaluated_us: when that was, microseconds since 1970 UTC; 0 for never.
    """

    name: str
    added: ModelAdded | None = None
    added_us: int = 0
    renewed: int = 0
    evaluations: tuple[tuple[int, ModelEvaluated], ...] = ()
    latest: ModelEvaluated | None = None
    evaluated_us: int = 0


def fold_model(name: str, events: Iterable[RecordedEvent]) -> Known:
    """What is known of a model.

    Args:
        name: what it is chosen by.
        events: of its stream, in order.
    """
    known = Known(name)
    for recorded in events:
        event = recorded.event
        if isinstance(event, ModelAdded):
            other = known.added is not None and known.added.sha256 != event.sha256
            known = _replace(
                known,
                added=event,
                added_us=known.added_us or recorded.recorded_us,
                renewed=recorded.position if other else known.renewed,
            )
        elif isinstance(event, ModelEvaluated):
            found = (*known.evaluations, (recorded.position, event))
            known = _replace(known, evaluations=found)
            if known.latest is None or _of_own_cases(known.latest) or not _of_own_cases(event):
                known = _replace(known, latest=event, evaluated_us=recorded.recorded_us)
    return known


def _of_own_cases(event: ModelEvaluated) -> bool:
    """Whether it was on cases of somebody's own, not on held-out replies and corrections."""
    return "passed" in event.scores


# --- whether a model may take over -----------------------------------------------------------------------------------


class Decision(msgspec.Struct, frozen=True):
    """Whether a model may take the place of another one.

    Attributes:
        evaluation: what it was decided on; `None` where there is nothing to decide on.
        refusal: why it may not; empty where it may.
        worse: what got worse, with figures, whether it may or not.
    """

    evaluation: ModelEvaluated | None
    refusal: str = ""
    worse: tuple[str, ...] = ()


def decide(model: Known, current: Known) -> Decision:
    """Whether a model is shown to be better than the one that answers.

    It is when its latest evaluation against that one, with the files that both have now, finds a difference in chrF (in
    cases passed, where they are cases of somebody's own) whose 95 % interval lies above 0, and no more cases without an
    answer. An evaluation on held-out replies and corrections goes before one on cases of one's own.

    Args:
        model: the one that is to answer.
        current: the one that answers.

    >>> from trainerlib.events import Interval
    >>> event = ModelEvaluated("e1", "support", 3, "test", "memory", 97, scores={"chrf": 58.9},
    ...     against_scores={"chrf": 41.2}, differences={"chrf": Interval(17.7, 12.1, 22.8)}, worse=6)
    >>> decide(Known("local:a", evaluations=((9, event),)), Known("memory"))
    Decision(evaluation=ModelEvaluated(...), refusal='', worse=('worse on 6 of 97',))
    >>> decide(Known("local:a"), Known("memory")).refusal
    'local:a was not evaluated; do that with: trainerlib evaluate local:a --against current'
    """
    against = [(position, event) for position, event in model.evaluations if event.against == current.name]
    valid = [event for position, event in against if position > max(model.renewed, current.renewed)]
    if not valid:
        return Decision(None, _nothing(model, current, evaluated=bool(against)))
    event = next((event for event in reversed(valid) if not _of_own_cases(event)), valid[-1])
    worse = tuple(got_worse(event))
    return Decision(event, _refusal(model.name, event, worse), worse)


def got_worse(event: ModelEvaluated) -> Iterator[str]:
    """What an evaluation shows to be worse than with the other model, in words and figures.

    >>> from trainerlib.events import Interval
    >>> event = ModelEvaluated("e1", against="memory", cases=97, errors=2, worse=6, scores={"latency": 1.25},
    ...     against_scores={"latency": 0.01}, differences={"latency": Interval(1.24, 1.1, 1.4)})
    >>> list(got_worse(event))
    ['no answer to 2 of 97 (before 0)', 'seconds 0.01 -> 1.25 (+1.24, 95 % interval +1.10 to +1.40)', 'worse on 6 of 97']
    """
    if event.errors > event.against_errors:
        yield f"no answer to {event.errors:,} of {event.cases:,} (before {event.against_errors:,})"
    for name, metric in METRICS.items():
        found = event.differences.get(name)
        if found is not None and (found.high < 0 if metric.better > 0 else found.low > 0 and metric.better < 0):
            yield told(name, event)
    if event.worse:
        yield f"worse on {event.worse:,} of {event.cases:,}"


def _nothing(model: Known, current: Known, *, evaluated: bool) -> str:
    how = f"trainerlib evaluate {model.name} --against current"
    if evaluated:
        which = model if model.renewed >= current.renewed else current
        return f"{model.name} was evaluated against {current.name} before {which.name} got other files; again: {how}"
    if model.evaluations:
        last = model.evaluations[-1][1].against
        what = f"only against {last}" if last else "only by itself"
        return f"{model.name} was evaluated {what}, and {current.name} answers now: {how}"
    return f"{model.name} was not evaluated; do that with: {how}"


def _refusal(name: str, event: ModelEvaluated, worse: Sequence[str]) -> str:
    metric = next((one for one in ("passed", "chrf") if one in event.differences), None)
    if metric is None:
        return f"the evaluation of {name} measured nothing by which it could be compared with {event.against}"
    found = event.differences[metric]
    if found.high < 0:
        return f"{name} is worse than {event.against}: {'; '.join(worse)}"
    if event.errors > event.against_errors:
        return f"{name} does not always answer: {'; '.join(worse)}"
    if found.low <= 0:
        lines = [told(metric, event), *worse]
        return f"{name} is not shown to be better than {event.against}: {'; '.join(lines)}"
    return ""


def told(name: str, event: ModelEvaluated) -> str:
    """A metric of an evaluation in words and figures: the other model's, this one's, and how sure the difference is.

    >>> told("chrf", ModelEvaluated("e1", scores={"chrf": 58.9}))
    'chrF 58.9'
    """
    found = event.differences.get(name)
    before = f"{figure(name, event.against_scores.get(name))} -> " if event.against else ""
    sure = f" ({margin(name, found)})" if found is not None else ""
    return f"{METRICS[name].label} {before}{figure(name, event.scores.get(name))}{sure}"


# --- a candidate beside the model that answers -----------------------------------------------------------------------


class Rate(msgspec.Struct, frozen=True):
    """How many of some replies, with a 95 % interval.

    Attributes:
        count: how many.
        of: of how many.
        low: lower bound of the share in the long run, 0 to 1.
        high: its upper bound.
    """

    count: int
    of: int
    low: float
    high: float

    @property
    def share(self) -> float:
        """The share that was seen, 0 to 1; 0 of nothing."""
        return self.count / self.of if self.of else 0.0

    def __str__(self) -> str:
        """`12 of 97, 12 % (7 to 20)`."""
        return (
            f"{self.count:,} of {self.of:,}, {self.share:.0%} ({100 * self.low:.0f} to {100 * self.high:.0f})".replace(
                "%", " %"
            )
        )


def rate(count: int, of: int) -> Rate:
    """A share with Wilson's 95 % score interval (Wilson, 1927), which also holds for few replies and for none.

    It takes replies as independent of each other, which those of one conversation are not quite.

    >>> print(rate(12, 97), rate(0, 5), rate(0, 0), sep="; ")
    12 of 97, 12 % (7 to 20); 0 of 5, 0 % (0 to 43); 0 of 0, 0 % (0 to 100)
    """
    if not of:
        return Rate(0, 0, 0.0, 1.0)
    share, squared = count / of, _Z * _Z
    middle = (share + squared / (2 * of)) / (1 + squared / of)
    reach = _Z / (1 + squared / of) * math.sqrt(share * (1 - share) / of + squared / (4 * of * of))
    return Rate(count, of, max(0.0, middle - reach) if count else 0.0, min(1.0, middle + reach) if count < of else 1.0)


class Side(msgspec.Struct, frozen=True):
    """What people said about the replies of one model.

    Attributes:
        model: its name.
        conversations: conversations in which it answered.
        replies: its replies.
        up: replies that somebody rates above 0.
        down: replies that somebody rates below 0.
        corrected: replies that somebody corrected.
    """

    model: str
    conversations: int
    replies: int
    up: Rate
    down: Rate
    corrected: Rate


def side(model: str, answered: Iterable[tuple[Conversation, frozenset[int]]]) -> Side:
    """What people said about the replies of a model.

    Args:
        model: its name.
        answered: conversations, and the numbers of the replies in them that count.
    """
    conversations = replies = up = down = corrected = 0
    for conversation, numbers in answered:
        mine = [one for one in conversation.messages if one.number in numbers and one.model == model]
        conversations += bool(mine)
        replies += len(mine)
        for reply in mine:
            ratings = [given.rating for given in reply.feedback if given.rating is not None]
            up += any(rating > 0 for rating in ratings)
            down += any(rating < 0 for rating in ratings)
            corrected += bool(reply.corrections or reply.lost)
    return Side(model, conversations, replies, rate(up, replies), rate(down, replies), rate(corrected, replies))


def apart(one: Rate, other: Rate) -> bool:
    """Whether two shares differ by more than chance: their intervals have nothing in common.

    That is stricter than a test of the difference, so it seldom claims too much.

    >>> apart(rate(5, 100), rate(30, 100)), apart(rate(5, 10), rate(7, 10))
    (True, False)
    """
    return one.high < other.low or other.high < one.low
