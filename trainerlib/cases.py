r"""Cases: what a model is asked in an evaluation, and what would be right; those of one's own are JSON.

A file of cases is a JSON array, or has one JSON object a line. `input` is a question, or a dialogue that ends with one;
beside it stand one or more of `expected` (an answer, or a list of those that are accepted), `contains`, `not_contains`
and `regex` (a text or a list of texts each), and if need be `system`, `name` and `chrf`.

>>> [case] = parse_cases('[{"input": "When are you open?", "expected": ["9 to 18.", "From 9 to 18."]}]')
>>> case.question, case.expected
('When are you open?', ('9 to 18.', 'From 9 to 18.'))
>>> failures(case, "From  9 to 18. "), failures(case, "At 10.")
((), ('not as expected',))
>>> parse_cases('{"input": "Hi", "contains": "Hello"}\n{"input": "Bye", "contain": "Good bye"}')
Traceback (most recent call last):
trainerlib.errors.EvaluationError: line 2: there is no key 'contain'; did you mean 'contains'?
"""

from __future__ import annotations

import difflib
import json
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import msgspec

from trainerlib.errors import EvaluationError
from trainerlib.examples import Turn

Kind = Literal["held-out", "correction", "test"]
"""Where a case comes from: a held-out reply of a dataset, a past correction, or somebody's own file."""


class Case(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """A question, and what would be a right answer.

    Attributes:
        id: its name among the cases of an evaluation.
        turns: the dialogue, the instruction first where there is one, the question last.
        expected: the answers that are right; empty where only the checks below tell.
        rejected: an answer that is known to be wrong.
        kind: where it comes from.
        conversation: the conversation it comes from; empty for one of somebody's own.
        message: id (log position) of the reply in whose place an answer is asked for; 0 likewise.
        contains: texts that the answer must contain, whatever their case.
        not_contains: texts that it must not contain, whatever their case.
        regex: regular expressions of which each must be found in it.
        chrf: the chrF to an expected answer, 0 to 100, from which an answer is as good as it; `None` for none but equal.
    """

    id: str
    turns: tuple[Turn, ...]
    expected: tuple[str, ...] = ()
    rejected: str | None = None
    kind: Kind = "test"
    conversation: str = ""
    message: int = 0
    contains: tuple[str, ...] = ()
    not_contains: tuple[str, ...] = ()
    regex: tuple[str, ...] = ()
    chrf: float | None = None

    @property
    def question(self) -> str:
        """What is asked: the last turn."""
        return self.turns[-1].content


def normalise(text: str) -> str:
    r"""A text as evaluations compare it: Unicode NFC, one space for any run of white space, none at the ends.

    Upper and lower case, punctuation, and е and ё stay different.

    >>> normalise("  From 9\n to 18. "), normalise("Й") == "Й"
    ('From 9 to 18.', True)
    """
    return " ".join(unicodedata.normalize("NFC", text).split())


def exact(case: Case, answer: str) -> bool:
    """Whether an answer is one of those expected, once both are normalised."""
    said = normalise(answer)
    return any(said == normalise(expected) for expected in case.expected)


def failures(case: Case, answer: str, *, chrf: float | None = None) -> tuple[str, ...]:
    """What an answer lacks, a few words for each thing; empty for one that passes.

    Args:
        case: the case.
        answer: what the model said.
        chrf: the answer's chrF, where it is known; it counts when the case says from which chrF an answer passes.
    """
    near = case.chrf is not None and chrf is not None and chrf >= case.chrf
    wrong = ["not as expected"] if case.expected and not near and not exact(case, answer) else []
    said = normalise(answer).casefold()
    wrong += [f"does not contain {text!r}" for text in case.contains if normalise(text).casefold() not in said]
    wrong += [f"contains {text!r}" for text in case.not_contains if normalise(text).casefold() in said]
    wrong += [f"does not match {text!r}" for text in case.regex if re.search(text, answer) is None]
    return tuple(wrong)


# --- reading ----------------------------------------------------------------------------------------------------------


def parse_cases(data: str | bytes) -> list[Case]:
    """The cases of a JSON array, or of JSON objects a line each.

    Args:
        data: the text, or its UTF-8 bytes.

    Raises:
        EvaluationError: there is none, or some do not read; the message has the line or number of each, and what would
            be right.
    """
    text = _text(data)
    entries = list(_entries(text))
    if not entries:
        raise EvaluationError('there are no cases; write [{"input": "...", "expected": "..."}]')
    cases: list[Case] = []
    wrong: list[str] = []
    seen: dict[str, str] = {}
    for number, (where, entry) in enumerate(entries, 1):
        try:
            case = _case(entry, number)
        except EvaluationError as error:
            wrong.append(f"{where}: {error}")
            continue
        if case.id in seen:
            wrong.append(f"{where}: the name {case.id!r} is taken by {seen[case.id]}")
        seen[case.id] = where
        cases.append(case)
    if wrong:
        more = f" (and {len(wrong) - 3:,} more mistakes)" if len(wrong) > 3 else ""
        raise EvaluationError("; ".join(wrong[:3]) + more)
    return cases


def _text(data: str | bytes) -> str:
    if isinstance(data, bytes):
        try:
            return data.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise EvaluationError(f"byte {error.start + 1} is not UTF-8") from error
    return data.removeprefix("\ufeff")


def _entries(text: str) -> Iterator[tuple[str, Any]]:
    """`(where it stands, value)` of each case."""
    try:
        whole = json.loads(text)
    except (ValueError, RecursionError) as error:
        if not text.strip():
            return
        if text.lstrip().startswith("["):
            raise EvaluationError(f"this is not JSON: {_mistake(error)}") from error
        yield from _lines(text)
        return
    if not isinstance(whole, list):
        yield "case 1", whole
        return
    for number, entry in enumerate(whole, 1):
        yield f"case {number:,}", entry


def _lines(text: str) -> Iterator[tuple[str, Any]]:
    # Not `splitlines`: JSON texts may hold U+2028.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                yield f"line {number:,}", json.loads(line)
            except (ValueError, RecursionError) as error:
                raise EvaluationError(f"line {number:,}: this is not JSON: {_mistake(error)}") from error


def _mistake(error: Exception) -> str:
    if isinstance(error, json.JSONDecodeError):
        where = f"line {error.lineno:,}, column {error.colno:,}" if error.lineno > 1 else f"column {error.colno:,}"
        return f"{error.msg} ({where})"
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _case(entry: Any, number: int) -> Case:
    if not isinstance(entry, dict):
        raise EvaluationError(f'this is {_said(entry)}, not an object such as {{"input": "...", "expected": "..."}}')
    for key in entry:
        if key not in _KEYS:
            close = difflib.get_close_matches(key, _KEYS, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"there is {', '.join(_KEYS)}"
            raise EvaluationError(f"there is no key {key!r}; {hint}")
    if "input" not in entry:
        raise EvaluationError("`input`, the question, is missing")
    name = entry.get("name")
    if name is not None and not (isinstance(name, str) and name.strip() and name.isprintable()):
        raise EvaluationError(f"`name` is a text on one line, not {_said(name)}")
    checks: dict[str, tuple[str, ...]] = {key: _texts(entry, key) for key in _CHECKS}
    if not any(checks.values()):
        raise EvaluationError(f"nothing tells a right answer; it needs one or more of {', '.join(_CHECKS)}")
    for expression in checks["regex"]:
        try:
            re.compile(expression)
        except (re.error, RecursionError, OverflowError) as error:
            raise EvaluationError(f"`regex` {expression!r} is no regular expression: {error}") from error
    chrf = entry.get("chrf")
    if chrf is not None and (isinstance(chrf, bool) or not isinstance(chrf, (int, float)) or not 0 <= chrf <= 100):
        raise EvaluationError(f"`chrf` is a number from 0 to 100, not {_said(chrf)}")
    if chrf is not None and not checks["expected"]:
        raise EvaluationError("`chrf` needs `expected`, to which it measures how near an answer is")
    turns = _turns(entry)
    return Case(
        name or str(number),
        turns,
        checks["expected"],
        contains=checks["contains"],
        not_contains=checks["not_contains"],
        regex=checks["regex"],
        chrf=None if chrf is None else float(chrf),
    )


def _turns(entry: dict[str, Any]) -> tuple[Turn, ...]:
    given, system = entry["input"], entry.get("system")
    if isinstance(given, str):
        turns = [Turn("user", _words(given, "input"))]
    elif isinstance(given, list) and given:
        turns = [_turn(message, number) for number, message in enumerate(given, 1)]
    else:
        raise EvaluationError(f"`input` is a text or a list of messages, not {_said(given)}")
    if turns[-1].role != "user":
        raise EvaluationError(f"`input` ends with a message of the {turns[-1].role}; the last one asks, as the user")
    if any(turn.role == "system" for turn in turns[1:]):
        raise EvaluationError("a message of the system stands first in `input`, or nowhere")
    if system is None:
        return tuple(turns)
    if turns[0].role == "system":
        raise EvaluationError("`system` and a message of the system in `input` contradict each other; give one of them")
    return (Turn("system", _words(system, "system")), *turns)


def _turn(message: Any, number: int) -> Turn:
    where = f"message {number} of `input`"
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise EvaluationError(f"{where} has `role` and `content`, and nothing else")
    if message["role"] not in ("system", "user", "assistant"):
        raise EvaluationError(f"the role of {where} is system, user or assistant, not {_said(message['role'])}")
    return Turn(message["role"], _words(message["content"], where))


def _texts(entry: dict[str, Any], key: str) -> tuple[str, ...]:
    if key not in entry:
        return ()
    value = entry[key]
    if isinstance(value, list) and value:
        return tuple([_words(text, f"`{key}`, number {number}") for number, text in enumerate(value, 1)])
    return (_words(value, key),)


def _words(value: Any, where: str) -> str:
    name = where if "`" in where else f"`{where}`"
    if not isinstance(value, str):
        raise EvaluationError(f"{name} is a text, not {_said(value)}")
    if not value.strip():
        raise EvaluationError(f"{name} is empty")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise EvaluationError(f"{name} has half a character (a lone surrogate) at {error.start + 1}") from error
    return value


def _said(value: Any) -> str:
    """A value in a newcomer's words."""
    for kind, words in _SAID:
        if isinstance(value, kind):
            return words(value)
    return "nothing"


_CHECKS = ("expected", "contains", "not_contains", "regex")
_KEYS = ("input", *_CHECKS, "system", "name", "chrf")
_SAID: Sequence[tuple[type, Callable[[Any], str]]] = (
    (bool, lambda value: "true" if value else "false"),
    (str, lambda value: repr(value) if len(value) <= 40 else "a text"),
    (dict, lambda _: "an object"),
    (list, lambda value: "a list" if value else "an empty list"),
    (int, repr),
    (float, repr),
)
