r"""Dialogues in a text: each message begins with who says it; a line of `---` or `===` ends one dialogue.

What stands between two lines of ``` or ~~~ is content, whatever it looks like. A dialogue that lacks something is a
`BadLine` as a whole. A conversation is called after its file and the line where it begins: the same file gives the same
ids.

>>> text = "Вопрос: Когда вы открыты?\nОтвет: С 9 до 18.\n---\n**User:** Do you deliver?\n**Bot:** Yes,\nevery day."
>>> for found in dialogues(text, "9f2c"):
...     found.id, [(message.role, message.text) for message in found.messages]
('9f2c/1', [('user', 'Когда вы открыты?'), ('assistant', 'С 9 до 18.')])
('9f2c/4', [('user', 'Do you deliver?'), ('assistant', 'Yes,\nevery day.')])
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from trainerlib.errors import ImportError_
from trainerlib.events import Role
from trainerlib.importers.records import DIRECTORY, BadLine, Record, SourceConversation, SourceMessage

_NAMES = "names"
_SPEAKERS: tuple[tuple[Role, str, str], ...] = (
    ("system", "", "system|system prompt|system message"),
    ("system", "", "система|системный промпт|системное сообщение"),
    ("user", _NAMES, "user|human|customer|client|visitor|guest|you"),
    ("user", _NAMES, "пользователь|человек|клиент|покупатель|посетитель|гость"),
    ("assistant", _NAMES, "assistant|bot|chatbot|ai|chatgpt|gpt|support|operator|agent"),
    ("assistant", _NAMES, "ассистент|помощник|бот|чат-бот|чатбот|ии|нейросеть|поддержка|оператор|менеджер|консультант"),
    ("user", "questions", "question|вопрос"),
    ("assistant", "questions", "answer|ответ"),
    ("user", "prompts", "prompt|промпт|запрос"),
    ("assistant", "prompts", "response|completion|reply"),
    ("user", "letters", "q|в"),
    ("assistant", "letters", "a|о"),
)
"""Role, kind and words of those who speak; the words of a kind belong together."""

_NOBODY = (
    "no dialogue in it: each message begins with who says it (User: and Assistant:, Q: and A:, Вопрос: and Ответ:, "
    "Пользователь: and Бот:); a document alone is no example of a reply"
)
_SEPARATOR = re.compile(r"[ \t]*(?:-{3,}|={3,})[ \t]*")
_FENCE = re.compile(r" {0,3}(`{3,}(?=[^`]*$)|~{3,})")
_HEADING = re.compile(r" {0,3}#{1,6}[ \t]+(.*?)[ \t#]*")
_FRONT_MATTER = re.compile(r"(?:[\w-]+:(?:\s.*)?|\s.*|- .*|#.*)?")
_BLANK_LINES = re.compile(r"\A(?:[^\S\n]*\n)+")


class _Mark(NamedTuple):
    """A line that may begin a message.

    Attributes:
        line: its index.
        body: index of the first line that is content as a whole.
        role: who speaks, by the label.
        kind: which words the label belongs with.
        label: the label, in small letters.
        rest: what is said on the same line.
    """

    line: int
    body: int
    role: Role
    kind: str
    label: str
    rest: str


class _Block(NamedTuple):
    """The lines between two separators, and those among them that may begin a message."""

    start: int
    stop: int
    marks: list[_Mark]


def dialogues(text: str, name: str, *, assistant: str | None = None) -> Iterator[Record]:
    """The dialogues of a text.

    Within a dialogue each side is called one way, the way it is called first: where `User:` and `Assistant:` speak, a line
    that begins with `Answer:` is content.

    Args:
        text: its lines ended by line feeds.
        name: what its conversations are called after.
        assistant: a name that stands before the assistant's messages, beside the usual ones.

    Raises:
        ImportError_: nobody speaks in it, as is known at its end.
    """
    lines = text.split("\n")
    spoken = False
    for number, block in enumerate(_blocks(lines, assistant)):
        if number == 1 and _is_front_matter(lines, block):
            continue
        spoken = spoken or bool(block.marks)
        yield from _dialogue(lines, block, name, assistant)
    if not spoken:
        raise ImportError_(_NOBODY)


def begins(text: str) -> bool:
    """Whether the first words of a text say who speaks.

    >>> begins("**Вопрос:** Когда вы открыты?"), begins("We are open from 9 to 18.")
    (True, False)
    """
    return _speaker(text.lstrip().partition("\n")[0].rstrip(), None, underlined=False) is not None


def _blocks(lines: list[str], assistant: str | None) -> Iterator[_Block]:
    start = index = 0
    marks: list[_Mark] = []
    unclosed: dict[str, int] = {}
    while index < len(lines):
        line = lines[index]
        # A paragraph of one line with a line below it is a heading; that line is no separator then.
        underlined = (
            index + 1 < len(lines)
            and _SEPARATOR.fullmatch(lines[index + 1]) is not None
            and (index == start or not lines[index - 1].strip())
        )
        content = line
        found = _speaker(line, assistant, underlined=underlined)
        if found is not None:
            role, kind, label, content, is_heading = found
            marks.append(_Mark(index, index + 1 + is_heading, role, kind, label, content))
            index += is_heading
        elif _SEPARATOR.fullmatch(line):
            yield _Block(start, index, marks)
            start, marks = index + 1, []
        index = _after_fence(lines, index, content, unclosed)
    yield _Block(start, len(lines), marks)


def _after_fence(lines: list[str], index: int, content: str, unclosed: dict[str, int]) -> int:
    """Index of the next line to look at: the one after this, or after the fence that opens in it and is closed."""
    opened = _FENCE.match(content)
    if opened is None:
        return index + 1
    fence = opened[1]
    sign = fence[0]
    if len(fence) < unclosed.get(sign, len(fence) + 1):
        for end in range(index + 1, len(lines)):
            closing = lines[end].strip()
            if len(closing) >= len(fence) and not closing.strip(sign):
                return end + 1
        unclosed[sign] = len(fence)
    return index + 1


@cache
def _labels(assistant: str) -> tuple[re.Pattern[str], dict[str, tuple[Role, str]]]:
    """The pattern of a line that begins a message, and the role and kind of each label."""
    known = {word: (role, kind) for role, kind, words in _SPEAKERS for word in words.split("|")}
    if assistant:
        known[assistant.lower()] = ("assistant", _NAMES)
    words = "|".join(re.escape(word) for word in sorted(known, key=len, reverse=True))
    pattern = (
        r" {0,3}(?P<heading>#{1,6}[ \t]+)?(?P<bullet>(?:[-*+•]|\d{1,4}[.)])[ \t]+)?"
        rf"(?P<open>[*_]{{0,3}})(?P<label>{words})(?:[ ]?№?[ ]?\d{{1,4}})?(?P<close>[*_]{{0,3}})"
        r"[ \t]*(?:(?P<colon>[:：])(?P<late>[*_]{0,3}))?(?P<rest>.*)"
    )
    return re.compile(pattern, re.IGNORECASE), known


def _speaker(line: str, assistant: str | None, *, underlined: bool) -> tuple[Role, str, str, str, bool] | None:
    """Role, kind, label and words of a line that may begin a message; `None` for any other.

    A label ends with a colon, or stands alone: in bold, as a heading, or (the last value tells) underlined.
    """
    pattern, known = _labels(assistant or "")
    match = pattern.fullmatch(line)
    if match is None:
        return None
    opened, closed, late, rest = match["open"], match["close"], match["late"] or "", match["rest"]
    if match["colon"]:
        if not opened and not closed:
            rest = late + rest
        elif opened and not closed and not late and rest.rstrip().endswith(opened[::-1]):
            rest = rest.rstrip()[: -len(opened)]
        elif closed + late != opened[::-1]:
            return None
    elif rest.strip() or closed != opened[::-1]:
        return None
    label = match["label"].lower()
    is_bare = not (match["colon"] or match["heading"] or opened)
    if label not in known or (is_bare and (match["bullet"] or len(label) == 1 or not underlined)):
        return None
    return *known[label], label, rest.strip(), is_bare


def _is_front_matter(lines: list[str], block: _Block) -> bool:
    """The lines between the first two separators are settings at the beginning of the file, as Markdown tools write."""
    if block.start != 1 or block.stop == len(lines) or block.marks:
        return False
    return all(_FRONT_MATTER.fullmatch(line) for line in lines[block.start : block.stop])


def _dialogue(lines: list[str], block: _Block, name: str, assistant: str | None) -> Iterator[Record]:
    """The conversation of a block, and what is bad about it."""
    marks, passed_over = _taken(block.marks, assistant)
    title, stray = "", 0
    for number, line in enumerate(lines[block.start : marks[0].line if marks else block.stop], block.start + 1):
        if heading := _HEADING.fullmatch(line):
            title = heading[1]
        elif line.strip() and not stray:
            stray = number
    if not marks:
        if stray:
            yield BadLine(stray, "nobody speaks here, left out: a message begins with who says it")
        return
    if stray:
        yield BadLine(stray, "text before anybody speaks, left out")
    begin = marks[0].line + 1
    messages = []
    stops = [*(mark.line for mark in marks[1:]), block.stop]
    for number, (mark, stop) in enumerate(zip(marks, stops, strict=True)):
        said = _BLANK_LINES.sub("", "\n".join((mark.rest, *lines[mark.body : stop]))).rstrip()
        if not said:
            yield BadLine(mark.line + 1, f"{mark.label!r} says nothing, dialogue skipped")
            return
        messages.append(SourceMessage(str(number), said, role=mark.role, line=mark.line + 1))
    roles = {message.role for message in messages}
    if "assistant" not in roles:
        yield BadLine(begin, "nobody answers, dialogue skipped: a reply begins with Assistant:, A:, Ответ: or the like")
        return
    if "user" not in roles:
        yield BadLine(begin, "nobody asks, dialogue skipped: a question begins with User:, Q:, Вопрос: or the like")
        return
    yield SourceConversation(f"{name}/{begin}", DIRECTORY, tuple(messages), title=title, line=begin)
    sides = " and ".join(dict.fromkeys(repr(mark.label) for mark in marks if mark.role != "system"))
    for mark in passed_over:
        reason = f"{mark.label!r} speaks in a dialogue of {sides}, kept as words of the message before"
        yield BadLine(mark.line + 1, reason)


def _taken(marks: list[_Mark], assistant: str | None) -> tuple[list[_Mark], list[_Mark]]:
    """The marks that begin messages, and those that name somebody else: each side is called one way.

    A side that speaks second is called as goes with the first where that is said, else as it is called first. Only what
    comes before both is an instruction.
    """
    first = next((mark for mark in marks if mark.role != "system"), None)
    if first is None:
        return [], []
    labels = {first.role: first.label}
    others = [mark for mark in marks if mark.role not in ("system", first.role)]
    if others:
        named = (assistant or "").lower()
        other = min(others, key=lambda mark: (mark.label != named, mark.kind != first.kind))
        labels[other.role] = other.label
    taken, passed_over = [], []
    for mark in marks:
        if mark.role == "system":
            if mark.line < first.line:
                taken.append(mark)
        elif labels[mark.role] == mark.label:
            taken.append(mark)
        elif mark.kind == _NAMES:
            passed_over.append(mark)
    return taken, passed_over
