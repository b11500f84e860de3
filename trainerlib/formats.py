"""Fine-tuning formats: how the examples of a dataset become the rows of a file that some trainer reads.

A row is one line of JSONL: UTF-8 without escapes or a byte order mark, keys in a fixed order, no spaces, a newline at
the end. The same example gives the same bytes, always.

>>> from trainerlib.examples import ConversationExamples, Turn, Window
>>> line = ConversationExamples(
...     conversation="telegram:42", position=1,
...     turns=(Turn("user", "When are you open?"), Turn("assistant", "At 10."), Turn("user", "И в воскресенье?")),
...     examples=(Window(message=3, start=0, stop=1, chosen="9 to 18.", rejected="At 10."),
...               Window(message=5, start=0, stop=3, chosen="Да.")))
>>> print(b"".join(rows(line, "openai-chat")).decode(), end="")
{"messages":[{"role":"user","content":"When are you open?"},{"role":"assistant","content":"9 to 18.","weight":1}]}
{"messages":[{"role":"user","content":"When are you open?"},{"role":"assistant","content":"At 10.","weight":0},{"role":"user","content":"И в воскресенье?"},{"role":"assistant","content":"Да.","weight":1}]}
>>> [expressible(window, "trl-preference") for window in line.examples]
[1, 0]
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from trainerlib.errors import DatasetError
from trainerlib.events import Role
from trainerlib.examples import ConversationExamples, Window

Needs = Literal["chosen", "both", "either"]
"""Which sides of an example a format needs: the chosen one, both, or one row for each side there is."""

Layout = Callable[[list[bytes], bytes, bytes], list[bytes]]
"""Makes rows of the context's fragments and the two replies' fragments; a side that is not there is empty."""

_encode = msgspec.json.Encoder().encode


class Format(msgspec.Struct, frozen=True):
    """A fine-tuning format.

    Attributes:
        name: what it is called on the command line.
        description: one line: which trainer takes it.
        needs: which sides an example must have to be expressed in it.
        turn: for each role, the bytes before and after a turn's content.
        reply: the bytes before and after the content of the reply that the row is about.
        layout: puts a row together from those fragments.
    """

    name: str
    description: str
    needs: Needs
    turn: dict[Role, tuple[bytes, bytes]]
    reply: tuple[bytes, bytes]
    layout: Layout


def _openai_chat(context: list[bytes], chosen: bytes, _: bytes) -> list[bytes]:
    return [b'{"messages":[%b]}\n' % b",".join((*context, chosen))]


def _openai_preference(context: list[bytes], chosen: bytes, rejected: bytes) -> list[bytes]:
    row = (
        b'{"input":{"messages":[%b],"tools":[],"parallel_tool_calls":true},'
        b'"preferred_output":[%b],"non_preferred_output":[%b]}\n'
    )
    return [row % (b",".join(context), chosen, rejected)]


def _trl_sft(context: list[bytes], chosen: bytes, _: bytes) -> list[bytes]:
    return [b'{"prompt":[%b],"completion":[%b]}\n' % (b",".join(context), chosen)]


def _trl_preference(context: list[bytes], chosen: bytes, rejected: bytes) -> list[bytes]:
    return [b'{"prompt":[%b],"chosen":[%b],"rejected":[%b]}\n' % (b",".join(context), chosen, rejected)]


def _trl_kto(context: list[bytes], chosen: bytes, rejected: bytes) -> list[bytes]:
    return [
        b'{"prompt":[%b],"completion":[%b],"label":%b}\n' % (b",".join(context), side, label)
        for side, label in ((chosen, b"true"), (rejected, b"false"))
        if side
    ]


def _in_turn(context: list[bytes]) -> tuple[bytes, list[tuple[bytes, bytes]]]:
    """`(instruction, [(side, text), ...])` of a context for formats that know questions and answers in turn.

    A fragment is a letter for the role and the content as a JSON string. Turns of one side in a row are joined by an
    empty line; the first is a question, an empty one when nobody asked.
    """
    system = b""
    sides: list[tuple[bytes, list[bytes]]] = [(b"u", [])]
    for fragment in context:
        role, text = fragment[:1], fragment[2:-1]
        if role == b"s":
            system = text
        elif role == sides[-1][0]:
            sides[-1][1].append(text)
        else:
            sides.append((role, [text]))
    return system, [(side, rb"\n\n".join(texts)) for side, texts in sides]


def _sharegpt(context: list[bytes], chosen: bytes, _: bytes) -> list[bytes]:
    """A greeting that nobody asked for is left out: a reader that wants a human first would skip the whole row."""
    system, sides = _in_turn(context)
    if not sides[0][1]:
        del sides[:2]
    turns = [b'{"from":"system","value":"%b"}' % system] if system else []
    turns += [_SHAREGPT[side] % text for side, text in sides]
    turns.append(b'{"from":"gpt","value":%b,"weight":1}' % chosen)
    return [b'{"conversations":[%b]}\n' % b",".join(turns)]


def _alpaca(context: list[bytes], chosen: bytes, _: bytes) -> list[bytes]:
    instruction, sides = _in_turn(context)
    if len(sides) % 2 == 0:  # the reply follows another reply
        sides.append((b"u", b""))
    *past, question = (b'"%b"' % text for _, text in sides)
    pairs = [b"[%b,%b]" % pair for pair in zip(past[::2], past[1::2], strict=True)]
    row = b'{"instruction":%b,"input":"","output":%b,"system":"%b","history":[%b]}\n'
    return [row % (question, chosen, instruction, b",".join(pairs))]


_MESSAGE: dict[Role, tuple[bytes, bytes]] = {
    "system": (b'{"role":"system","content":', b"}"),
    "user": (b'{"role":"user","content":', b"}"),
    "assistant": (b'{"role":"assistant","content":', b"}"),
    "tool": (b'{"role":"tool","content":', b"}"),
}
_SHAREGPT = {
    b"u": b'{"from":"human","value":"%b"}',
    b"a": b'{"from":"gpt","value":"%b","weight":0}',
}
_LETTERS: dict[Role, tuple[bytes, bytes]] = {
    "system": (b"s", b""),
    "user": (b"u", b""),
    "assistant": (b"a", b""),
    "tool": (b"u", b""),
}
# Replies of the context were said, not checked: OpenAI learns from every assistant turn whose weight is not 0.
_WEIGHTED: dict[Role, tuple[bytes, bytes]] = _MESSAGE | {"assistant": (_MESSAGE["assistant"][0], b',"weight":0}')}
# Loaders take their columns from the first rows of a file: a key that some rows have, all have.
_LEARNED = (_MESSAGE["assistant"][0], b',"weight":1}')
_REPLY = _MESSAGE["assistant"]

FORMATS: dict[str, Format] = {
    form.name: form
    for form in (
        Format(
            "openai-chat",
            "supervised fine-tuning at OpenAI and compatible services; TRL reads it, but learns earlier replies too",
            "chosen",
            _WEIGHTED,
            _LEARNED,
            _openai_chat,
        ),
        Format(
            "openai-preference",
            "preference fine-tuning (DPO) at OpenAI and compatible services",
            "both",
            _MESSAGE,
            _REPLY,
            _openai_preference,
        ),
        Format(
            "trl-sft",
            "TRL SFTTrainer, prompt and completion; the loss is on the completion only",
            "chosen",
            _MESSAGE,
            _REPLY,
            _trl_sft,
        ),
        Format(
            "trl-preference",
            "TRL DPOTrainer and other trainers of preference pairs",
            "both",
            _MESSAGE,
            _REPLY,
            _trl_preference,
        ),
        Format(
            "trl-kto",
            "TRL KTOTrainer; each good and each bad reply is a row of its own",
            "either",
            _MESSAGE,
            _REPLY,
            _trl_kto,
        ),
        Format(
            "sharegpt",
            "LLaMA-Factory (with mask_history, or it learns earlier replies too), Axolotl, Unsloth: conversations",
            "chosen",
            _LETTERS,
            (b"", b""),
            _sharegpt,
        ),
        Format(
            "alpaca",
            "LLaMA-Factory (with mask_history, or it learns earlier replies too), Axolotl, Unsloth: instruction, output and history",
            "chosen",
            _LETTERS,
            (b"", b""),
            _alpaca,
        ),
    )
}
"""Every format, by name."""


def find_format(name: str) -> Format:
    """The format of that name.

    Raises:
        DatasetError: there is none; the message names those there are.

    >>> find_format("trl-kto").needs
    'either'
    """
    form = FORMATS.get(name)
    if form is None:
        raise DatasetError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    return form


def expressible(window: Window, format: str) -> int:  # noqa: A002 - the word the command line uses
    """How many rows an example gives in a format; 0 when it lacks a side that the format needs, or repeats one.

    Raises:
        DatasetError: the format is not known.

    >>> expressible(Window(message=3, start=0, stop=1, chosen="9 to 18.", rejected="At 10."), "trl-kto")
    2
    """
    return _rows_of(window, find_format(format).needs)


def _rows_of(window: Window, needs: Needs) -> int:
    good, bad = window.chosen is not None, window.rejected is not None
    if needs == "both":
        return int(good and bad)
    good = good and not window.chosen_repeats
    return int(good) if needs == "chosen" else good + (bad and not window.rejected_repeats)


def rows(conversation: ConversationExamples, format: str) -> list[bytes]:  # noqa: A002 - likewise
    r"""The rows of one conversation's examples, in their order, each a complete line with its `\n`.

    An example that the format cannot express, or that would say again what an earlier one said, gives no row;
    `expressible` tells which.

    Raises:
        DatasetError: the format is not known.
    """
    form = find_format(format)
    needs, layout = form.needs, form.layout
    before, after = form.reply
    system_before, system_after = form.turn["system"]
    # A turn is in the context of many examples: encode it once, then only join bytes.
    turns = [form.turn[turn.role][0] + _encode(turn.content) + form.turn[turn.role][1] for turn in conversation.turns]
    made: list[bytes] = []
    for window in conversation.examples:
        if not _rows_of(window, needs):
            continue
        context = turns[window.start : window.stop]
        if window.system >= 0:
            context.insert(0, system_before + _encode(conversation.systems[window.system]) + system_after)
        good = bad = b""
        if window.chosen is not None and not (window.chosen_repeats and needs == "either"):
            good = before + _encode(window.chosen) + after
        if window.rejected is not None and not (window.rejected_repeats and needs == "either"):
            bad = before + _encode(window.rejected) + after
        made += layout(context, good, bad)
    return made
