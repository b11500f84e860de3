r"""Checks of fine-tuning files, ours or anyone's: what a trainer would refuse, skip in silence or learn wrongly.

>>> report = check([
...     b'{"messages":[{"role":"user","content":"Hi"},{"role":"assistant","content":"Hello!"}]}\n',
...     b'{"messages":[{"role":"user","content":"Bye"}]}\n'])
>>> report.format, report.rows
('openai-chat', 2)
>>> for problem in report.problems:
...     print(problem.line, problem.code, "-", problem.message)
2 last-message - "messages" must end with a message from assistant, not from user
2 no-assistant-target - "messages" has no assistant message to learn from
2 too-few-rows - the file has 2 rows; OpenAI refuses fewer than 10, and more teach better

Where the rules come from:

- OpenAI: the supervised and preference fine-tuning guides and the API reference (`FineTuneChatRequestInput`,
  `FineTunePreferenceRequestInput`): at least 10 rows, `weight` 0 or 1 on assistant messages, content that may be null
  only beside a call, tool results that answer a call; unknown keys are refused.
- TRL: the documentation's "Dataset formats"; both layouts are accepted, lists of messages and plain text.
- ShareGPT and Alpaca: LLaMA-Factory's `data/README.md` and `src/llamafactory/data/converter.py`. Its ShareGPT reader
  wants human or observation in odd places and gpt or function_call in even ones, and skips other rows with only a
  warning in its log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import msgspec

from trainerlib.formats import find_format

CODES: dict[str, str] = {
    "bad-json": "the line is not valid JSON",
    "bad-label": "a KTO label is something else than true or false",
    "bad-weight": "a weight is something else than 0 or 1, or is not on an assistant message",
    "blank-line": "the line is empty",
    "bom": "the line starts with a byte order mark",
    "duplicate-row": "the row has the same content as an earlier one",
    "empty-content": "a text is empty or only white space",
    "identical-sides": "the good and the bad reply are the same",
    "json-array": "the file is one JSON array instead of one object a line",
    "last-message": "a list of messages ends with the wrong role",
    "missing-key": "a required key is missing",
    "mixed-formats": "the row has another format than the file",
    "no-assistant-target": "there is no assistant message to learn from",
    "no-messages": "a list of messages is empty",
    "not-an-object": "the row is valid JSON but not an object",
    "not-utf-8": "the line is not valid UTF-8",
    "null-content": "a text is null",
    "orphan-tool-result": "a tool result answers no call before it",
    "roles-do-not-alternate": "ShareGPT turns do not alternate between human and gpt",
    "surrogate": "a \\u escape is half of a character",
    "system-not-first": "a system message is not the first one",
    "too-few-rows": "the file has fewer than 10 rows",
    "unanswered-tool-call": "the conversation goes on before a tool call has its result",
    "unknown-format": "the row is of no known format",
    "unknown-key": "a key does not belong there",
    "unknown-role": "a role is not known, or may not speak there",
    "utf-16": "the file is UTF-16, not UTF-8",
    "wrong-type": "a value has the wrong JSON type",
}
"""What each problem code means."""

FEWEST_ROWS = 10
"""Fewer rows than this OpenAI refuses."""


class Problem(msgspec.Struct, frozen=True):
    """Something wrong with a file.

    Attributes:
        line: line number from 1; for `too-few-rows` that of the last line.
        code: one of `CODES`.
        message: what is wrong, in one sentence.
    """

    line: int
    code: str
    message: str


class Report(msgspec.Struct, frozen=True):
    """What a check found.

    Attributes:
        format: the format the file was read as; `None` when no row told.
        rows: lines that are not blank.
        problems: everything that is wrong, in the order of the file.
    """

    format: str | None
    rows: int
    problems: tuple[Problem, ...]


def check(lines: Iterable[bytes], format: str | None = None) -> Report:  # noqa: A002 - the word the command line uses
    """Check a whole file and keep every problem in memory; `Checker` yields them one by one.

    Args:
        lines: the file's lines as bytes, with or without their ends: an open binary file will do.
        format: one of `FORMATS`; recognised by content when not given.

    Raises:
        DatasetError: the format is not known.
    """
    checker = Checker(format)
    problems = tuple(checker.problems(lines))
    return Report(checker.format, checker.rows, problems)


class Checker:
    """Checks one file, a line at a time; memory grows only by a 16-byte digest for each row.

    Args:
        format: one of `FORMATS`; recognised by the first row of a known format when not given.

    Attributes:
        format: the format the file is read as, `None` until known.
        rows: lines so far that are not blank.

    Raises:
        DatasetError: the format is not known.

    >>> checker = Checker()
    >>> [problem.code for problem in checker.problems([b'{"instruction":"Hi","output":""}'])]
    ['empty-content', 'too-few-rows']
    >>> checker.format, checker.rows
    ('alpaca', 1)
    """

    def __init__(self, format: str | None = None) -> None:  # noqa: A002 - likewise
        self.format = None if format is None else find_format(format).name
        self.rows = 0
        self._seen: dict[bytes, int] = {}

    def problems(self, lines: Iterable[bytes]) -> Iterator[Problem]:
        """The problems of the file, in its order."""
        number = 0
        for number, line in enumerate(lines, 1):
            found: Found = []
            whole_file = self._check_line(line, number, found)
            for code, message in found:
                yield Problem(number, code, message)
            if whole_file:
                return
        if self.rows < FEWEST_ROWS:
            count = "1 row" if self.rows == 1 else f"{self.rows} rows"
            message = f"the file has {count}; OpenAI refuses fewer than {FEWEST_ROWS}, and more teach better"
            yield Problem(max(number, 1), "too-few-rows", message)

    def _check_line(self, line: bytes, number: int, found: Found) -> bool:
        """Add what is wrong with a line; true when it is wrong with the whole file, so that reading on is pointless."""
        if number == 1 and (line.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in line[:4]):
            found.append(("utf-16", "the file is UTF-16; save it as UTF-8"))
            return True
        if line.startswith(_BOM):
            found.append(("bom", "the line starts with a byte order mark; save the file as UTF-8 without BOM"))
            line = line.removeprefix(_BOM)
        line = line.strip()
        if not line:
            found.append(("blank-line", "the line is empty; remove it"))
            return False
        if not self.rows and line.startswith(b"["):
            found.append(("json-array", "the file is a JSON array; write each of its objects on a line of its own"))
            return True
        self.rows += 1
        try:
            self._check_row(_decode(line), number, found)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            found.append(_why_not_json(line, error))
        return False

    def _check_row(self, row: Any, number: int, found: Found) -> None:
        if not isinstance(row, dict):
            found.append(("not-an-object", f"the row is {_kind(row)}, not an object"))
            return
        # The digest of the sorted compact form: other spaces, escapes or key order are no other content.
        digest = hashlib.blake2b(_encode(row), digest_size=16).digest()
        first = self._seen.setdefault(digest, number)
        if first != number:
            found.append(("duplicate-row", f"the row has the same content as line {first:,}"))
        guessed = guess_format(row)
        if self.format is None:
            self.format = guessed
        if self.format is None:
            keys = ", ".join(map(_short, row)) or "no keys at all"
            found.append(("unknown-format", f"the row is of no known format: it has {_cut(keys)}"))
            return
        rules = _RULES[self.format]
        if guessed not in (None, self.format) and not row.keys() <= rules.keys:
            found.append(("mixed-formats", f"the row looks like {guessed}, the file like {self.format}"))
            return
        _check_keys(row, rules.required, rules.keys, "the row", found)
        rules.check(row, found)


def guess_format(row: dict[str, Any]) -> str | None:
    """The format a row has, by its keys; `None` for none of ours.

    >>> guess_format({"prompt": [], "completion": [], "label": True})
    'trl-kto'
    >>> guess_format({"text": "once upon a time"}) is None
    True
    """
    return next((form for form, keys in _SIGNS if row.keys() >= keys), None)


_SIGNS: tuple[tuple[str, frozenset[str]], ...] = (
    ("trl-preference", frozenset({"chosen", "rejected"})),
    ("openai-chat", frozenset({"messages"})),
    ("sharegpt", frozenset({"conversations"})),
    ("openai-preference", frozenset({"preferred_output"})),
    ("openai-preference", frozenset({"non_preferred_output"})),
    ("alpaca", frozenset({"instruction"})),
    ("trl-kto", frozenset({"completion", "label"})),
    ("trl-sft", frozenset({"prompt", "completion"})),
    ("trl-preference", frozenset({"prompt", "chosen"})),
    ("trl-preference", frozenset({"prompt", "rejected"})),
)

Found = list[tuple[str, str]]
"""Codes and messages of the problems of one line."""

_BOM = b"\xef\xbb\xbf"
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode


# --- rows of role and content -----------------------------------------------------------------------------------------

_MESSAGE_KEYS: dict[str, frozenset[str]] = {
    "system": frozenset({"role", "content", "name"}),
    "developer": frozenset({"role", "content", "name"}),
    "user": frozenset({"role", "content", "name"}),
    # the second line: reasoning, which the chat templates of open models read
    "assistant": frozenset({"role", "content", "name", "weight", "tool_calls", "function_call", "refusal", "audio"})
    | {"thinking", "reasoning_content"},
    "tool": frozenset({"role", "content", "name", "tool_call_id"}),
    "function": frozenset({"role", "content", "name"}),
}
_REPLYING = frozenset({"assistant", "tool"})
_SYSTEM = ("system", "developer")
_RESULT = ("tool", "function")


def _check_messages(
    value: Any, name: str, found: Found, speakers: Iterable[str] = _MESSAGE_KEYS
) -> list[dict[str, Any]] | None:
    """Check a list of messages; the list, or `None` when it cannot be told who speaks last."""
    if not isinstance(value, list):
        found.append(("wrong-type", f'"{name}" must be a list of messages, not {_kind(value)}'))
        return None
    if not value:
        found.append(("no-messages", f'"{name}" holds no message'))
        return None
    readable = True
    calls: list[tuple[str, Any]] = []
    for number, message in enumerate(value, 1):
        where = f'message {number} of "{name}"'
        if not isinstance(message, dict):
            found.append(("wrong-type", f"{where} must be an object, not {_kind(message)}"))
            readable = False
            continue
        role = message.get("role")
        if not isinstance(role, str) or role not in speakers:
            found.append(_role_problem(message, "role", where))
            readable = False
            continue
        if not message.keys() <= _MESSAGE_KEYS[role]:
            _check_keys(message, (), _MESSAGE_KEYS[role] | {"weight"}, where, found)  # a weight has its own code
        if role in _SYSTEM and number > 1:
            found.append(("system-not-first", f"{where} is from {role}; only the first may be"))
        if "weight" in message:
            _check_weight(message["weight"], role == "assistant", where, found)
        if role in _RESULT:
            answered = (role, message.get("tool_call_id" if role == "tool" else "name"))
            if answered in calls:
                calls.remove(answered)
            else:
                found.append(("orphan-tool-result", f"{where} answers no call before it: {_short(answered[1])}"))
        elif calls:
            found.append(("unanswered-tool-call", f"{where} comes before the result of call {_short(calls[0][1])}"))
            calls = []
        if role == "assistant":
            calls = _check_calls(message, where, found)
        silent = bool(calls or message.get("refusal"))  # a message that calls a tool need not say anything
        content = message.get("content")
        if not (isinstance(content, str) and content.strip()):  # most are plain text: spare them the call
            _check_content(message, where, found, may_be_null=silent, may_be_empty=silent or role in _RESULT)
    return value if readable else None


def _check_calls(message: dict[str, Any], where: str, found: Found) -> list[tuple[str, Any]]:
    """Check the calls of an assistant message; the role of each result and what it must name."""
    names: list[tuple[str, Any]] = []
    function = message.get("function_call")
    if isinstance(function, dict):
        names.append(("function", function.get("name")))
    elif function is not None:
        found.append(("wrong-type", f"function_call of {where} must be an object, not {_kind(function)}"))
    calls = message.get("tool_calls")
    if calls is None:
        return names
    if not isinstance(calls, list):
        found.append(("wrong-type", f"tool_calls of {where} must be a list, not {_kind(calls)}"))
        return names
    for call in calls:
        target = call.get("function") if isinstance(call, dict) else None
        if not isinstance(target, dict) or not isinstance(target.get("name"), str):
            found.append(("wrong-type", f'a tool call of {where} has no "function" with a "name"'))
        else:
            names.append(("tool", call.get("id")))
    return names


def _check_content(message: dict[str, Any], where: str, found: Found, *, may_be_null: bool, may_be_empty: bool) -> None:
    content = message.get("content")
    if content is None:
        if "content" not in message and not may_be_null:
            found.append(("missing-key", f'{where} has no "content"'))
        elif not may_be_null:
            found.append(("null-content", f"content of {where} is null"))
    elif isinstance(content, list):
        if not _check_parts(content, where, found, message["role"]) and not may_be_empty:
            found.append(("empty-content", f"{where} is empty"))
    else:
        _check_text(content, f"content of {where}", found, may_be_empty=may_be_empty)


def _check_parts(parts: list[Any], where: str, found: Found, role: str) -> bool:
    """Check content that is a list of parts; whether it says or shows anything."""
    says = False
    for part in parts:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind in ("text", "refusal"):
            text = part.get(kind)
            if not isinstance(text, str):
                found.append(("wrong-type", f'the "{kind}" of a content part of {where} must be text'))
            says = says or not isinstance(text, str) or bool(text.strip())
            continue
        says = True
        if not isinstance(kind, str):
            found.append(("wrong-type", f'a content part of {where} must be an object with a "type"'))
        elif role != "user":
            found.append(("wrong-type", f"{where} is from {role} and may only hold text, not {_short(kind)}"))
    return says


def _check_prompt(value: Any, name: str, found: Found) -> None:
    """A prompt is what was said up to the moment the assistant must speak."""
    messages = _check_messages(value, name, found)
    if messages and (role := messages[-1]["role"]) not in ("user", *_RESULT):
        found.append(("last-message", f'"{name}" must end with a message from user, not from {role}'))


def _check_reply(value: Any, name: str, found: Found, speakers: Iterable[str] = _MESSAGE_KEYS) -> None:
    """What is learned ends with the assistant and has an assistant message that counts."""
    messages = _check_messages(value, name, found, speakers)
    if messages is None:
        return
    if (role := messages[-1]["role"]) != "assistant":
        found.append(("last-message", f'"{name}" must end with a message from assistant, not from {role}'))
    _check_target((message for message in messages if message["role"] == "assistant"), name, found)


def _check_target(replies: Iterable[dict[str, Any]], name: str, found: Found) -> None:
    weights = [reply.get("weight", 1) for reply in replies]
    if not weights:
        found.append(("no-assistant-target", f'"{name}" has no assistant message to learn from'))
    elif all(weight == 0 for weight in weights):
        found.append(("no-assistant-target", f'every assistant message of "{name}" has weight 0: nothing to learn'))


def _check_weight(weight: Any, from_assistant: bool, where: str, found: Found) -> None:
    if not from_assistant:
        found.append(("bad-weight", f"{where} has a weight, which only assistant messages may have"))
    elif type(weight) is not int or weight not in (0, 1):
        found.append(("bad-weight", f"weight of {where} must be 0 or 1, not {_short(weight)}"))


def _check_sides(row: dict[str, Any], good: str, bad: str, found: Found) -> None:
    if row.get(good) is not None and row[good] == row.get(bad):
        found.append(("identical-sides", f'"{good}" and "{bad}" are the same: nothing to prefer'))


def _check_tools(row: dict[str, Any], found: Found) -> None:
    if not isinstance(row.get("tools", []), list | None):
        found.append(("wrong-type", f'"tools" must be a list, not {_kind(row["tools"])}'))
    if not isinstance(row.get("parallel_tool_calls", True), bool):
        found.append(
            ("wrong-type", f'"parallel_tool_calls" must be true or false: {_short(row["parallel_tool_calls"])}')
        )


def _openai_chat(row: dict[str, Any], found: Found) -> None:
    _check_tools(row, found)
    if "messages" in row:
        _check_reply(row["messages"], "messages", found)


def _openai_preference(row: dict[str, Any], found: Found) -> None:
    prompt = row.get("input", {})
    if not isinstance(prompt, dict):
        found.append(("wrong-type", f'"input" must be an object with "messages", not {_kind(prompt)}'))
    elif "input" in row:
        _check_keys(prompt, ("messages",), _PREFERENCE_INPUT, '"input"', found)
        _check_tools(prompt, found)
        if "messages" in prompt:
            _check_prompt(prompt["messages"], "input.messages", found)
    for side in ("preferred_output", "non_preferred_output"):
        if side in row:
            _check_reply(row[side], side, found, _REPLYING)
    _check_sides(row, "preferred_output", "non_preferred_output", found)


_PREFERENCE_INPUT = frozenset({"messages", "tools", "parallel_tool_calls"})


def _check_trl(row: dict[str, Any], sides: tuple[str, ...], found: Found) -> None:
    """TRL takes lists of messages or plain text, the same kind in the whole row."""
    present = [key for key in ("prompt", *sides) if key in row]
    texts = [key for key in present if isinstance(row[key], str)]
    if texts and len(texts) < len(present):
        found.append(("wrong-type", f'"{texts[0]}" is text, but not all of the row\'s sides are: use one kind for all'))
        return
    for key in present:
        if texts:
            if not row[key].strip():
                found.append(("empty-content", f'"{key}" is empty'))
        elif key == "prompt":
            _check_prompt(row[key], key, found)
        else:
            _check_reply(row[key], key, found)


def _trl_sft(row: dict[str, Any], found: Found) -> None:
    _check_trl(row, ("completion",), found)


def _trl_preference(row: dict[str, Any], found: Found) -> None:
    _check_trl(row, ("chosen", "rejected"), found)
    _check_sides(row, "chosen", "rejected", found)


def _trl_kto(row: dict[str, Any], found: Found) -> None:
    _check_trl(row, ("completion",), found)
    if not isinstance(row.get("label", True), bool):
        found.append(("bad-label", f'"label" must be true or false, not {_short(row["label"])}'))


# --- ShareGPT and Alpaca ----------------------------------------------------------------------------------------------

_ASKING = ("human", "user", "observation", "tool")
_ANSWERING = ("gpt", "assistant", "function_call")
_SHAREGPT_ROLES = frozenset({"system", *_ASKING, *_ANSWERING})
_TURN_KEYS = frozenset({"from", "value", "weight"})


def _sharegpt(row: dict[str, Any], found: Found) -> None:
    _check_texts(row, ("system",), found)
    if "conversations" not in row:
        return
    turns = row["conversations"]
    if not isinstance(turns, list):
        found.append(("wrong-type", f'"conversations" must be a list of turns, not {_kind(turns)}'))
        return
    if not turns:
        found.append(("no-messages", '"conversations" holds no turn'))
        return
    readable = True
    for number, turn in enumerate(turns, 1):
        where = f"turn {number}"
        if not isinstance(turn, dict):
            found.append(("wrong-type", f"{where} must be an object, not {_kind(turn)}"))
            readable = False
            continue
        _check_keys(turn, ("value",), _TURN_KEYS, where, found)
        role = turn.get("from")
        if not isinstance(role, str) or role not in _SHAREGPT_ROLES:
            found.append(_role_problem(turn, "from", where))
            readable = False
        elif role == "system" and number > 1:
            found.append(("system-not-first", f"{where} is from system; only the first may be"))
        if "weight" in turn:
            _check_weight(turn["weight"], role in _ANSWERING, where, found)
        if "value" in turn:
            _check_text(turn["value"], f"value of {where}", found, may_be_empty=role in ("observation", "tool"))
    if readable:
        _check_order(turns, found)


def _check_order(turns: list[dict[str, Any]], found: Found) -> None:
    start = 1 if turns[0]["from"] == "system" else 0
    for place, turn in enumerate(turns[start:]):
        expected = _ANSWERING if place % 2 else _ASKING
        if turn["from"] not in expected:
            message = f"turn {start + place + 1} must be from {expected[0]}, not from {turn['from']}"
            found.append(("roles-do-not-alternate", f"{message}; LLaMA-Factory skips such a row"))
            break
    if (role := turns[-1]["from"]) not in _ANSWERING:
        found.append(("last-message", f'"conversations" must end with a turn from gpt, not from {role}'))
    _check_target((turn for turn in turns if turn["from"] in _ANSWERING), "conversations", found)


def _alpaca(row: dict[str, Any], found: Found) -> None:
    _check_texts(row, ("input", "system"), found)
    if "instruction" in row:
        # LLaMA-Factory joins instruction and input: one of them is enough.
        _check_text(row["instruction"], '"instruction"', found, may_be_empty=bool(row.get("input")))
    if "output" in row:
        _check_text(row["output"], '"output"', found)
    history = row.get("history")
    if not isinstance(history, list | None):
        found.append(("wrong-type", f'"history" must be a list, not {_kind(history)}'))
        return
    for number, pair in enumerate(history or (), 1):
        where = f'pair {number} of "history"'
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(text, str) for text in pair):
            found.append(("wrong-type", f"{where} must be a question and an answer, both text"))
        else:
            _check_text(pair[1], f"the answer in {where}", found)


def _check_text(value: Any, where: str, found: Found, *, may_be_empty: bool = False) -> None:
    if value is None:
        found.append(("null-content", f"{where} is null"))
    elif not isinstance(value, str):
        found.append(("wrong-type", f"{where} must be text, not {_kind(value)}"))
    elif not may_be_empty and not value.strip():
        found.append(("empty-content", f"{where} is empty"))


def _check_texts(row: dict[str, Any], optional: tuple[str, ...], found: Found) -> None:
    """Keys that may be missing, null or empty, but are text otherwise."""
    for key in optional:
        if row.get(key) is not None:
            _check_text(row[key], f'"{key}"', found, may_be_empty=True)


# --- what all share ---------------------------------------------------------------------------------------------------


class _Rules(msgspec.Struct, frozen=True):
    """The keys a row must and may have, and the check of what they hold."""

    required: tuple[str, ...]
    keys: frozenset[str]
    check: Callable[[dict[str, Any], Found], None]


def _rules(required: str, optional: str, check: Callable[[dict[str, Any], Found], None]) -> _Rules:
    return _Rules(tuple(required.split()), frozenset(f"{required} {optional}".split()), check)


_TRL_EXTRA = "tools chat_template_kwargs images"
_RULES: dict[str, _Rules] = {
    "openai-chat": _rules("messages", f"parallel_tool_calls functions {_TRL_EXTRA}", _openai_chat),
    "openai-preference": _rules("input preferred_output non_preferred_output", "", _openai_preference),
    "trl-sft": _rules("prompt completion", _TRL_EXTRA, _trl_sft),
    "trl-preference": _rules(
        "prompt chosen rejected", f"score_chosen score_rejected margin {_TRL_EXTRA}", _trl_preference
    ),
    "trl-kto": _rules("prompt completion label", _TRL_EXTRA, _trl_kto),
    "sharegpt": _rules("conversations", "system tools images videos audios id", _sharegpt),
    "alpaca": _rules("instruction output", "input system history tools images videos audios id text", _alpaca),
}


def _check_keys(
    row: dict[str, Any], required: tuple[str, ...], known: frozenset[str], where: str, found: Found
) -> None:
    found.extend(("missing-key", f'{where} has no "{key}"') for key in required if key not in row)
    if not row.keys() <= known:
        found.extend(("unknown-key", f"{where} has the unknown key {_short(key)}") for key in row if key not in known)


def _role_problem(message: dict[str, Any], key: str, where: str) -> tuple[str, str]:
    if key not in message:
        return "missing-key", f'{where} has no "{key}"'
    if not isinstance(message[key], str):
        return "wrong-type", f"{key} of {where} must be text, not {_kind(message[key])}"
    return "unknown-role", f"{key} of {where} may not be {_short(message[key])}"


def _why_not_json(line: bytes, error: Exception) -> tuple[str, str]:
    if isinstance(error, RecursionError):
        return "bad-json", "the JSON is nested too deeply"
    try:
        text = line.decode()
    except UnicodeDecodeError as bad:
        return "not-utf-8", f"this is not UTF-8 (byte {bad.start}); save the file as UTF-8"
    try:
        # The standard parser lets half characters through; if that was all, writing them back fails.
        json.dumps(json.loads(text), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return "surrogate", "a \\ud800 to \\udfff escape stands alone: half of a character, such as a cut emoji"
    except (ValueError, RecursionError):
        pass
    reason = str(error).removeprefix("JSON is malformed: ").replace("Input data was truncated", "it ends in the middle")
    return "bad-json", f"this is not valid JSON: {reason}"


_KINDS = {str: "text", bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}


def _kind(value: Any) -> str:
    return _KINDS.get(type(value), "null")


def _short(value: Any) -> str:
    """A value as it stands in the file, cut to fit into a sentence; what holds others is only named."""
    return _kind(value) if isinstance(value, list | dict | tuple) else _cut(_encode(value).decode())


def _cut(text: str) -> str:
    return text if len(text) <= 40 else f"{text[:39]}…"
