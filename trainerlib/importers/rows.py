"""Every format in which a row is a complete conversation: fine-tuning JSONL, and trainerlib's own interchange form.

A file is a row a line, or one JSON list of rows. Content is taken exactly as it stands. Messages of a row are called
`0`, `1`, ... in their order. What a row says besides is passed over; a row that lacks what its format needs, or has a
message that cannot be taken, is a `BadLine` as a whole, so that no half conversation is ever learned.

Formats that train on the last reply only give the assistant turns before it the weight 0.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import chain
from typing import Annotated, Any

import msgspec

from trainerlib.errors import ImportError_
from trainerlib.events import Role
from trainerlib.importers.fields import iso_time, string
from trainerlib.importers.jsonstream import TOO_LARGE, TRUNCATED, JsonStream, decode, why
from trainerlib.importers.records import (
    BadLine,
    Record,
    SourceConversation,
    SourceCorrection,
    SourceMessage,
    SourceRating,
)
from trainerlib.importers.source import Source

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "assistant": "assistant",
    "tool": "tool",
    "function": "tool",
}
_SHAREGPT: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "chatgpt": "assistant",
    "observation": "tool",
    "tool": "tool",
    "function_response": "tool",
}
# A list, also one whose bracket is damaged.
_LIST = re.compile(rb"\s*+(?:\[|\S\s*+\{)")
_TOOL_CALLS = "tool calls are not supported, row skipped"


class _Turn(msgspec.Struct, gc=False):
    role: str
    content: str | list[Any] | None = None
    weight: Any = None
    name: Any = None
    author: Any = None
    sent_at: Any = None
    tool_calls: Any = None
    function_call: Any = None


class _Chat(msgspec.Struct):
    messages: list[_Turn]
    id: Any = None


class _Input(msgspec.Struct):
    messages: list[_Turn]


class _OpenaiPreference(msgspec.Struct):
    input: _Input
    preferred_output: list[_Turn]
    non_preferred_output: list[_Turn]
    id: Any = None


class _TrlPreference(msgspec.Struct):
    chosen: str | list[_Turn]
    rejected: str | list[_Turn]
    prompt: str | list[_Turn] | None = None
    id: Any = None


class _TrlCompletion(msgspec.Struct):
    prompt: str | list[_Turn]
    completion: str | list[_Turn]
    id: Any = None


class _TrlKto(msgspec.Struct):
    prompt: str | list[_Turn]
    completion: str | list[_Turn]
    label: bool
    id: Any = None


class _Said(msgspec.Struct, gc=False):
    sender: str = msgspec.field(name="from")
    value: str
    weight: Any = None


class _Sharegpt(msgspec.Struct):
    conversations: list[_Said]
    system: str | None = None
    chosen: _Said | None = None
    rejected: _Said | None = None
    id: Any = None


class _Alpaca(msgspec.Struct):
    instruction: str
    output: str | None = None
    input: str | None = None
    system: str | None = None
    history: list[tuple[str, str]] | None = None
    chosen: str | None = None
    rejected: str | None = None
    id: Any = None


class _Correction(msgspec.Struct):
    message: int
    text: str
    by: str = ""


class _Feedback(msgspec.Struct):
    message: int
    rating: Annotated[int, msgspec.Meta(ge=-5, le=5)]
    by: str = ""
    text: str = ""


class _Interchange(msgspec.Struct):
    messages: list[_Turn]
    id: str | int = ""
    corrections: list[Any] = []
    feedback: list[Any] = []
    title: str = ""
    tags: tuple[str, ...] = ()
    platform: str = "interchange"


_Side = str | list[_Turn]
"""A prompt or a reply of TRL: plain words, or messages."""


def read(source: Source, format: str) -> Iterator[Record]:  # noqa: A002 - the word the command line uses
    """The conversations of a file of rows.

    Args:
        source: the file.
        format: a name in `ROW_FORMATS`.
    """
    decoder, convert = ROW_FORMATS[format]
    with source.again() as first:
        is_list = JsonStream(first.read).looking_at(_LIST)
    rows = JsonStream(source.read).documents(decoder, "row") if is_list else _lines(source, decoder)
    for item in rows:
        if isinstance(item, BadLine):
            yield item
            continue
        line, row = item
        try:
            if isinstance(row, _Interchange):
                yield from _interchange(row, line)
            else:
                yield SourceConversation(string(row.id), format, tuple(convert(row, line)), line=line)
        except ImportError_ as error:
            yield BadLine(line, str(error))


def _lines(source: Source, decoder: Callable[[bytes], Any]) -> Iterator[tuple[int, Any] | BadLine]:
    for line, raw in source.lines():
        if raw is None:
            yield BadLine(line, f"{TOO_LARGE} row")
            continue
        if not raw or raw.isspace():
            continue
        try:
            row, reasons = decode(raw, decoder)
        except (msgspec.DecodeError, RecursionError) as error:
            is_cut = source.newlines < line and "truncated" in str(error)
            yield BadLine(line, f"{TRUNCATED} row" if is_cut else f"row skipped: {why(error)}")
            continue
        for reason in reasons:
            yield BadLine(line, reason)
        yield line, row


def _messages(turns: list[_Turn], line: int, *, start: int = 0, context: bool = False) -> list[SourceMessage]:
    """The turns as messages, numbered from `start`; in a context the assistant's are not to be learned."""
    if not turns and not start and not context:
        raise ImportError_("no messages, row skipped")
    found = []
    for number, turn in enumerate(turns, start):
        role = _ROLES.get(turn.role)
        if role is None:
            raise ImportError_(f"message {number} has the unknown role {turn.role!r}, row skipped")
        if turn.tool_calls or turn.function_call:
            raise ImportError_(_TOOL_CALLS)
        text = turn.content
        found.append(
            SourceMessage(
                str(number),
                text if type(text) is str else _joined(text, number),
                role=role,
                name=string(turn.name),
                weight=0 if context and role == "assistant" else _weight(turn.weight, number),
                line=line,
            )
        )
    return found


def _joined(content: Any, number: int) -> str:
    """The text of content that comes in parts."""
    if not isinstance(content, list):
        raise ImportError_(f"message {number} has no content, row skipped")
    texts = []
    for part in content:
        text = part.get("text") if isinstance(part, dict) and part.get("type") == "text" else None
        if not isinstance(text, str):
            raise ImportError_(f"message {number} has content that is not text, row skipped")
        texts.append(text)
    return "".join(texts)


def _weight(weight: Any, number: int) -> int | None:
    if weight is None:
        return None
    if weight not in (0, 1):
        raise ImportError_(f"message {number} has a weight other than 0 and 1, row skipped")
    return int(weight)


def _chat(row: _Chat, line: int) -> list[SourceMessage]:
    return _messages(row.messages, line)


def _openai_preference(row: _OpenaiPreference, line: int) -> list[SourceMessage]:
    return _pair(row.input.messages, row.preferred_output, row.non_preferred_output, line)


def _trl_preference(row: _TrlPreference, line: int) -> list[SourceMessage]:
    """A prompt and two replies; the prompt may also be what two whole conversations have in common."""
    context = [] if row.prompt is None else _side(row.prompt, "user")
    chosen, rejected = _side(row.chosen, "assistant"), _side(row.rejected, "assistant")
    if context and chosen[: len(context)] == context == rejected[: len(context)]:
        chosen, rejected = chosen[len(context) :], rejected[len(context) :]
    shared = 0
    while shared < min(len(chosen), len(rejected)) - 1 and chosen[shared] == rejected[shared]:
        shared += 1
    context = context + chosen[:shared]
    if not context:
        raise ImportError_("no prompt, row skipped")
    return _pair(context, chosen[shared:], rejected[shared:], line)


def _pair(context: list[_Turn], chosen: list[_Turn], rejected: list[_Turn], line: int) -> list[SourceMessage]:
    """A context, and a reply that another one corrects."""
    before = _messages(context, line, context=True)
    good, bad = (_reply(side, len(before), line) for side in (chosen, rejected))
    if not good.text.strip():
        raise ImportError_("the better reply is empty, row skipped")
    corrections = (SourceCorrection(good.text, "import"),)
    return [*before, msgspec.structs.replace(bad, weight=None, corrections=corrections)]


def _reply(turns: list[_Turn], number: int, line: int) -> SourceMessage:
    found = _messages(turns, line, start=number, context=True)
    if len(found) != 1 or found[0].role != "assistant":
        raise ImportError_("each side of a pair must be one assistant message, row skipped")
    return found[0]


def _side(side: _Side, role: str) -> list[_Turn]:
    return [_Turn(role, side)] if isinstance(side, str) else side


def _trl_sft(row: _TrlCompletion, line: int) -> list[SourceMessage]:
    before = _messages(_side(row.prompt, "user"), line, context=True)
    after = _messages(_side(row.completion, "assistant"), line, start=len(before))
    if not after:
        raise ImportError_("no completion, row skipped")
    return before + after


def _trl_kto(row: _TrlKto, line: int) -> list[SourceMessage]:
    before = _messages(_side(row.prompt, "user"), line, context=True)
    reply = _reply(_side(row.completion, "assistant"), len(before), line)
    ratings = (SourceRating(1 if row.label else -1, "import"),)
    return [*before, msgspec.structs.replace(reply, weight=None, ratings=ratings)]


def _sharegpt(row: _Sharegpt, line: int) -> list[SourceMessage]:
    turns = [] if row.system is None else [_Turn("system", row.system)]
    turns += map(_said, row.conversations)
    if row.chosen is not None and row.rejected is not None:
        return _pair(turns, [_said(row.chosen)], [_said(row.rejected)], line)
    return _messages(turns, line)


def _said(said: _Said) -> _Turn:
    if said.sender == "function_call":
        raise ImportError_(_TOOL_CALLS)
    # An unknown sender is refused with the roles of the other formats.
    return _Turn(_SHAREGPT.get(said.sender, said.sender), said.value, said.weight)


def _alpaca(row: _Alpaca, line: int) -> list[SourceMessage]:
    """An instruction and its output, after the questions and answers of the history; an empty question was not asked."""
    turns = [_Turn("system", row.system)] if row.system else []
    for question, answer in row.history or ():
        turns += [_Turn("user", question)] if question else []
        turns.append(_Turn("assistant", answer))
    asked = f"{row.instruction}\n\n{row.input}" if row.input else row.instruction
    turns += [_Turn("user", asked)] if asked else []
    if row.chosen is not None and row.rejected is not None:
        return _pair(turns, [_Turn("assistant", row.chosen)], [_Turn("assistant", row.rejected)], line)
    if row.output is None:
        raise ImportError_("no output, row skipped")
    before = _messages(turns, line, context=True)
    return [*before, SourceMessage(str(len(before)), row.output, role="assistant", line=line)]


def _interchange(row: _Interchange, line: int) -> Iterator[Record]:
    messages = _messages(row.messages, line)
    for number, turn in enumerate(row.messages):
        if turn.author is not None or turn.sent_at is not None:
            sent_at = iso_time(turn.sent_at)
            if turn.sent_at is not None and sent_at is None:
                yield BadLine(line, f"message {number} has no date that can be read")
            messages[number] = msgspec.structs.replace(messages[number], author=string(turn.author), sent_at=sent_at)
    given = chain(
        ((_Correction, f"correction {number}", raw) for number, raw in enumerate(row.corrections)),
        ((_Feedback, f"feedback {number}", raw) for number, raw in enumerate(row.feedback)),
    )
    for kind, called, raw in given:
        try:
            _attach(messages, msgspec.convert(raw, type=kind))
        except (msgspec.ValidationError, ImportError_) as error:
            yield BadLine(line, f"{called} skipped: {why(error)}")
    yield SourceConversation(str(row.id), row.platform, tuple(messages), title=row.title, tags=row.tags, line=line)


def _attach(messages: list[SourceMessage], given: _Correction | _Feedback) -> None:
    number = given.message
    if not 0 <= number < len(messages):
        raise ImportError_(f"there is no message {number}")
    message = messages[number]
    if message.role != "assistant":
        raise ImportError_(f"message {number} is not the assistant's")
    if isinstance(given, _Correction):
        if not given.text.strip():
            raise ImportError_("it says nothing")
        corrections = (*message.corrections, SourceCorrection(given.text, given.by))
        messages[number] = msgspec.structs.replace(message, corrections=corrections)
    else:
        ratings = (*message.ratings, SourceRating(given.rating, given.by, given.text))
        messages[number] = msgspec.structs.replace(message, ratings=ratings)


def _of(kind: type[Any], convert: Callable[[Any, int], list[SourceMessage]]) -> tuple[Callable[[bytes], Any], Any]:
    return msgspec.json.Decoder(kind).decode, convert


ROW_FORMATS = {
    "openai-chat": _of(_Chat, _chat),
    "openai-preference": _of(_OpenaiPreference, _openai_preference),
    "sharegpt": _of(_Sharegpt, _sharegpt),
    "alpaca": _of(_Alpaca, _alpaca),
    "trl-sft": _of(_TrlCompletion, _trl_sft),
    "trl-preference": _of(_TrlPreference, _trl_preference),
    "trl-kto": _of(_TrlKto, _trl_kto),
    "interchange": _of(_Interchange, _chat),
}
"""For each format the decoder of a row, and what makes messages of it."""


def format_of(row: Any) -> str | None:
    """The format of a row, by its keys; `None` for none.

    >>> format_of({"prompt": "2 + 2?", "completion": "4", "label": True})
    'trl-kto'
    """
    if not isinstance(row, dict):
        return None
    keys = row.keys()
    if "preferred_output" in keys and "input" in keys:
        return "openai-preference"
    if isinstance(row.get("conversations"), list):
        return "sharegpt"
    if "instruction" in keys and keys & {"output", "chosen"}:
        return "alpaca"
    if keys >= {"chosen", "rejected"}:
        return "trl-preference"
    if keys >= {"prompt", "completion"}:
        return "trl-kto" if "label" in keys else "trl-sft"
    if not isinstance(row.get("messages"), list):
        return None
    # Both have messages; only the interchange form names its rows and says who corrected what.
    named = isinstance(row.get("id"), str) or bool(keys & {"corrections", "feedback"})
    weighted = any(isinstance(turn, dict) and turn.keys() & {"weight", "tool_calls"} for turn in row["messages"])
    return "interchange" if named and not weighted else "openai-chat"
