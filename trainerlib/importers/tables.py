"""Tables of questions and answers, as spreadsheets write them: CSV with commas, semicolons or tabs.

A row that lacks something is a `BadLine` as a whole. A conversation is called after its file and the line of its row.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from trainerlib.errors import ImportError_
from trainerlib.importers.records import (
    DIRECTORY,
    BadLine,
    Record,
    SourceConversation,
    SourceCorrection,
    SourceMessage,
    SourceRating,
)

if TYPE_CHECKING:
    from _csv import Reader

_SAID_BY_FILE = "import"
"""Who rates and corrects where the file itself does."""

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
    return SourceConversation(f"{name}/{line}", DIRECTORY, tuple(messages), line=line)


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
