r"""Dialogues that people write down by hand: plain text, Markdown, the text of a PDF, and tables of questions and answers.

In a text each message begins with who says it; a line of `---` or `===` ends one dialogue and begins the next. What
stands between two lines of ``` or ~~~ is content, whatever it looks like. A dialogue or row that lacks something is a
`BadLine` as a whole, so that no half conversation is ever learned; a file that holds no dialogue is an `ImportError_`.

A conversation is called after its file and the line where it begins: the same file gives the same ids.

>>> text = "Вопрос: Когда вы открыты?\nОтвет: С 9 до 18.\n---\n**User:** Do you deliver?\n**Bot:** Yes,\nevery day."
>>> for found in dialogues(text, "9f2c"):
...     found.id, [(message.role, message.text) for message in found.messages]
('9f2c/1', [('user', 'Когда вы открыты?'), ('assistant', 'С 9 до 18.')])
('9f2c/4', [('user', 'Do you deliver?'), ('assistant', 'Yes,\nevery day.')])
"""

from __future__ import annotations

import csv
import logging
import re
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from itertools import accumulate, chain
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from trainerlib.errors import ImportError_
from trainerlib.events import Role
from trainerlib.importers.jsonstream import INVALID_UTF8
from trainerlib.importers.records import (
    BadLine,
    Record,
    SourceConversation,
    SourceCorrection,
    SourceMessage,
    SourceRating,
)
from trainerlib.importers.source import Source

if TYPE_CHECKING:
    from _csv import Reader

FORMATS = ("text", "markdown", "csv", "pdf")
"""What `read` reads."""

LIMIT = 50 * 1024 * 1024
"""Bytes that a document may have, on the disk and decompressed: it is held in memory as a whole."""

PLATFORM = "directory"
"""The platform of conversations that come from no platform but from somebody's files."""

_SAID_BY_FILE = "import"
"""Who rates and corrects where the file itself does."""

_TOO_LONG = f"more than {LIMIT // 1024 // 1024} MiB of text"


class Document(NamedTuple):
    """A document in memory.

    Attributes:
        form: one of `FORMATS`.
        text: its text, lines ended by line feeds.
        lost: the lines in which bytes had to be given up.
        pages: number of the first line of each page of a PDF.
        damage: what is wrong with its end.
    """

    form: str
    text: str
    lost: tuple[BadLine, ...] = ()
    pages: tuple[int, ...] = ()
    damage: str = ""

    def records(self, name: str, *, assistant: str | None = None) -> Iterator[Record]:
        """Its conversations, and what is bad in it.

        Args:
            name: what its conversations are called after.
            assistant: a name that stands before the assistant's messages, beside the usual ones.

        Raises:
            ImportError_: it holds no dialogue, as is known at its end.
        """
        yield from self.lost
        found = table(self.text, name) if self.form == "csv" else dialogues(self.text, name, assistant=assistant)
        first: BadLine | None = None
        is_empty = True
        for record in found:
            if isinstance(record, SourceConversation):
                is_empty = False
                yield record
            elif isinstance(record, BadLine):
                bad = self._located(record)
                first = first or bad
                yield bad
        if is_empty and first is not None:
            raise ImportError_(f"no dialogue in it; line {first.line:,}: {first.reason}")
        if self.damage:
            yield BadLine(self.text.count("\n") + 1, self.damage)

    def _located(self, bad: BadLine) -> BadLine:
        """A bad line with its page, where there are pages."""
        if not self.pages:
            return bad
        return BadLine(bad.line, f"page {bisect_right(self.pages, bad.line)}: {bad.reason}")


def read(path: Path, form: str) -> Document:
    """The text of a document.

    Args:
        path: the file; any but a PDF may be compressed with gzip.
        form: one of `FORMATS`.

    Raises:
        NotFoundError: there is no such file.
        ImportError_: it cannot be read.
    """
    if form == "pdf":
        pages = _pages(path)
        starts = accumulate((page.count("\n") + 1 for page in pages), initial=1)
        return Document(form, "\n".join(pages), pages=tuple(starts)[:-1])
    with Source(path) as source:
        text, lost = decoded(_content(source))
        return Document(form, text, lost, damage=source.damage)


def begins_dialogue(path: Path) -> bool:
    """Whether the first words of a UTF-8 text say who speaks."""
    with Source(path) as source:
        beginning = source.read().decode(errors="replace").lstrip()
    return _speaker(beginning.partition("\n")[0].rstrip(), None, underlined=False) is not None


# --- the text of a file ----------------------------------------------------------------------------------------------

_LOST = re.compile("[\udc80-\udcff]")

# Windows-1251: the Russian letters, and what Russian typography has beside them.
_SMALL = bytes((*range(0xE0, 0x100), 0xB8))
_CAPITAL = bytes((*range(0xC0, 0xE0), 0xA8))
_SIGNS = "«»„“”‘’–—…№§©®°±·•€\xa0".encode("cp1251")
_ASCII = bytes(range(0x80))
_CAPITAL_AFTER_SMALL = re.compile(rb"[\xe0-\xff\xb8][\xc0-\xdf\xa8]")
_BESIDE_LATIN = re.compile(rb"[A-Za-z][\xc0-\xff\xa8\xb8]|[\xc0-\xff\xa8\xb8][A-Za-z]")


def _content(source: Source) -> bytes:
    """The whole of a file, decompressed."""
    content = bytearray()
    while piece := source.read():
        content += piece
        if len(content) > LIMIT:
            raise ImportError_(_TOO_LONG)
    return bytes(content)


def decoded(content: bytes) -> tuple[str, tuple[BadLine, ...]]:
    r"""The text of a file, its lines ended by line feeds alone, and the lines where bytes had to be given up.

    What is not UTF-8 is taken for Windows-1251 when it then reads as Russian (`is_windows_1251`), and for UTF-8 with
    broken bytes when ten characters beyond ASCII are whole for each that is not. Nothing else is guessed.

    Args:
        content: the bytes, UTF-16 with its mark already turned into UTF-8 by `Source`.

    Raises:
        ImportError_: it is no text, or in no encoding that can be told, or empty.

    >>> decoded("Да\r\nНет".encode("cp1251"))
    ('Да\nНет', ())
    """
    bad: tuple[BadLine, ...] = ()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        text = content.decode("cp1251" if is_windows_1251(content) else "utf-8", "surrogateescape")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if lost := len(text) - len(_LOST.sub("", text)):
        if len(text) - len(text.encode("ascii", "ignore")) < 11 * lost:
            raise ImportError_("in no encoding that can be told; save it as UTF-8")
        lines = enumerate(text.split("\n"), 1)
        bad = tuple(BadLine(number, INVALID_UTF8) for number, line in lines if _LOST.search(line))
        text = _LOST.sub("\ufffd", text)
    if "\0" in text:
        raise ImportError_("no text: it holds NUL characters; UTF-16 needs a byte order mark")
    if not text.strip():
        raise ImportError_("empty")
    return text, bad


def is_windows_1251(content: bytes) -> bool:
    r"""Whether bytes that are not UTF-8 read as Russian in Windows-1251.

    All of this holds of Russian text and fails for the bytes of another encoding: beyond ASCII at least 50 of 51
    characters are Russian letters or signs (fails for UTF-8 and code page 866), at least half of the letters are small
    (fails for KOI8-R, where capitals and small letters change places), capitals begin words (fails for MacCyrillic),
    and letters stand beside their like (fails for the é of a French word).

    >>> words = "Когда вы открыты? С 9 до 18, каждый день."
    >>> [is_windows_1251(words.encode(encoding)) for encoding in ("cp1251", "koi8-r", "cp866", "mac-cyrillic")]
    [True, False, False, False]
    >>> is_windows_1251("Un café déjà fermé".encode("cp1252"))
    False
    """
    try:
        content.decode("cp1251")
    except UnicodeDecodeError:
        return False
    others = content.translate(None, _ASCII + _SMALL + _CAPITAL + _SIGNS)
    small = len(content) - len(content.translate(None, _SMALL))
    letters = len(content) - len(content.translate(None, _CAPITAL)) + small
    return (
        letters > 0
        and len(others) * 50 <= letters
        and small * 2 >= letters
        and len(_CAPITAL_AFTER_SMALL.findall(content)) * 100 <= letters
        and len(_BESIDE_LATIN.findall(content)) * 10 <= letters
    )


def _pages(path: Path) -> list[str]:
    """The text of each page of a PDF."""
    try:
        pypdf = import_module("pypdf")
    except ImportError as error:
        raise ImportError_("a PDF needs pypdf: pip install 'trainerlib[documents]'") from error
    logger = logging.getLogger("pypdf")
    if not logger.handlers:
        # Without a handler Python prints its remarks about odd files on stderr.
        logger.addHandler(logging.NullHandler())
    try:
        with path.open("rb") as file:
            reader = pypdf.PdfReader(file)
            locked = reader.is_encrypted and not reader.decrypt("")
            pages = [] if locked else [page.extract_text() for page in reader.pages]
    except MemoryError:
        raise
    except Exception as error:  # what a damaged file makes pypdf raise is not limited to its own errors
        raise ImportError_(
            f"no PDF that can be read: {' '.join(str(error).split()) or type(error).__name__}"
        ) from error
    if locked:
        raise ImportError_("it has a password; save it without one")
    if not any(page.strip() for page in pages):
        raise ImportError_("no text in it; the pictures of a scan need text recognition first")
    if sum(map(len, pages)) > LIMIT:
        raise ImportError_(_TOO_LONG)
    return [page.rstrip().replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd") for page in pages]


# --- dialogues -------------------------------------------------------------------------------------------------------

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
    yield SourceConversation(f"{name}/{begin}", PLATFORM, tuple(messages), title=title, line=begin)
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


# --- tables ----------------------------------------------------------------------------------------------------------

_COLUMNS: dict[str, tuple[str, ...]] = {
    "question": (
        "question",
        "вопрос",
        "prompt",
        "промпт",
        "запрос",
        "query",
        "input",
        "instruction",
        "user",
        "пользователь",
        "клиент",
        "q",
    ),
    "answer": (
        "answer",
        "ответ",
        "good answer",
        "хороший ответ",
        "правильный ответ",
        "chosen",
        "response",
        "completion",
        "reply",
        "output",
        "assistant",
        "ассистент",
        "bot",
        "бот",
        "a",
    ),
    "rejected": (
        "rejected",
        "bad answer",
        "wrong answer",
        "плохой ответ",
        "неправильный ответ",
        "неверный ответ",
        "bad",
        "плохой",
    ),
    "rating": ("rating", "оценка", "рейтинг"),
    "system": ("system", "system prompt", "система", "системный промпт"),
}
"""The names of each column, the surest first: where two fit, the earlier one is meant."""

_DELIMITERS = {"\t": "tab", ";": "semicolon", ",": "comma"}
_SEP_LINE = re.compile(r"sep=(.)", re.IGNORECASE)
_MOST_BROKEN = 1_000
_NOT_A_NAME = re.compile(r"[\W_]+")


class _Header(NamedTuple):
    """How a table is read: by which delimiter, from which line, and which cell of a row is what."""

    delimiter: str
    start: int
    width: int
    columns: dict[str, int]


def table(text: str, name: str) -> Iterator[Record]:
    r"""The rows of a table, each a question with its answer; `rejected` beside an answer is what the answer corrects.

    Args:
        text: comma, semicolon or tab separated values, lines ended by line feeds, the names of the columns first.
        name: what its conversations are called after.

    Raises:
        ImportError_: no columns are called question and answer, or there is no row below them.

    >>> [pair] = table("вопрос;ответ;плохой ответ\nКогда вы открыты?;С 9 до 18.;В 10.", "9f2c")
    >>> pair.messages[1].text, pair.messages[1].corrections[0].text
    ('В 10.', 'С 9 до 18.')
    """
    lines = text.split("\n")
    header = _header(lines)
    rows = _rows(lines, header)
    first = next(rows, None)
    if first is None:
        raise ImportError_("no row below the names of the columns")
    for row in chain((first,), rows):
        if isinstance(row, BadLine):
            yield row
            continue
        line, cells = row
        try:
            yield _row(cells, line, header, name)
        except ImportError_ as error:
            yield BadLine(line, f"{error}, row skipped")


def _header(lines: list[str]) -> _Header:
    start = next((number for number, line in enumerate(lines) if line.strip()), 0)
    delimiters = tuple(_DELIMITERS)
    if said := _SEP_LINE.fullmatch(lines[start].strip('" ')):
        delimiters, start = (said[1],), start + 1
    found = []
    for delimiter in delimiters:
        reader = _reader(lines, start, delimiter)
        try:
            names: list[str] = next(reader, [])
        except csv.Error:
            continue
        columns = _columns(names)
        if "question" in columns and columns.keys() & {"answer", "rejected"}:
            found.append(_Header(delimiter, start + reader.line_num, len(names), columns))
    if not found:
        question, answer, rejected = (", ".join(_COLUMNS[column]) for column in ("question", "answer", "rejected"))
        raise ImportError_(
            f"its first row names no column for the question ({question}) and one for the answer ({answer}) or the "
            f"rejected answer ({rejected})"
        )
    return max(found, key=lambda header: len(header.columns))


def _columns(names: list[str]) -> dict[str, int]:
    """The index of each column that is there."""
    given = [" ".join(_NOT_A_NAME.sub(" ", name).split()).casefold() for name in names]
    columns = {}
    for column, fitting in _COLUMNS.items():
        fits = [given.index(name) for name in fitting if name in given]
        if fits:
            columns[column] = fits[0]
    return columns


def _reader(lines: list[str], start: int, delimiter: str) -> Reader:
    ended = (f"{lines[index]}\n" for index in range(start, len(lines)))
    return csv.reader(ended, delimiter=delimiter, strict=True, skipinitialspace=True)


def _rows(lines: list[str], header: _Header) -> Iterator[tuple[int, list[str]] | BadLine]:
    """Each row with the number of its first line; after one that is broken the next line is tried."""
    begin, broken = header.start, 0
    while begin < len(lines):
        start = begin
        reader = _reader(lines, start, header.delimiter)
        try:
            for cells in reader:
                line, begin = begin + 1, start + reader.line_num
                if any(cell.strip() for cell in cells):
                    yield line, cells
        except csv.Error as error:
            broken += 1
            if broken == _MOST_BROKEN:
                yield BadLine(begin + 1, f"{broken:,} broken rows, all that follows is left out")
                return
            yield BadLine(begin + 1, f"{_why(error)}, row skipped")
            begin += 1


def _why(error: csv.Error) -> str:
    if "expected after" in str(error):
        return "something follows a closing quote (a quote within quotes is doubled)"
    return f"a quote opens here and is not closed within {csv.field_size_limit():,} characters"


def _row(cells: list[str], line: int, header: _Header, name: str) -> SourceConversation:
    """The conversation of a row.

    Raises:
        ImportError_: it has none.
    """
    if any(cell.strip() for cell in cells[header.width :]):
        between = _DELIMITERS.get(header.delimiter, repr(header.delimiter))
        raise ImportError_(f"{len(cells)} cells under {header.width} names: a text with a {between} in it needs quotes")

    def cell(column: str) -> str:
        index = header.columns.get(column, len(cells))
        return cells[index] if index < len(cells) and cells[index].strip() else ""

    question, answer, rejected = cell("question"), cell("answer"), cell("rejected")
    if not question:
        raise ImportError_("no question")
    if not answer and not rejected:
        raise ImportError_("no answer")
    if answer == rejected:
        raise ImportError_("the answer and the rejected one are the same")
    reply = SourceMessage("reply", rejected or answer, role="assistant", line=line)
    ratings = _ratings(cell("rating"))
    if not rejected:
        reply = msgspec.structs.replace(reply, ratings=ratings)
    elif any(rating.rating > 0 for rating in ratings):
        raise ImportError_("a good rating beside a rejected answer")
    elif answer:
        reply = msgspec.structs.replace(reply, ratings=ratings, corrections=(SourceCorrection(answer, _SAID_BY_FILE),))
    else:
        reply = msgspec.structs.replace(reply, ratings=ratings or (SourceRating(-1, _SAID_BY_FILE),))
    messages = [SourceMessage("system", cell("system"), role="system", line=line)] if cell("system") else []
    messages += [SourceMessage("question", question, role="user", line=line), reply]
    return SourceConversation(f"{name}/{line}", PLATFORM, tuple(messages), line=line)


def _ratings(cell: str) -> tuple[SourceRating, ...]:
    """The rating a cell holds; spreadsheets write whole numbers as 1, +1, 1.0 or 1,0."""
    if not cell:
        return ()
    try:
        rating = float(cell.replace(",", "."))
    except ValueError:
        rating = 0.5
    if not rating.is_integer() or not -5 <= rating <= 5:
        raise ImportError_(f"the rating {cell.strip()!r} is none from -5 to 5")
    return (SourceRating(int(rating), _SAID_BY_FILE),)
