"""Markdown as language models write it, as messages that Telegram takes.

Telegram is given plain words and, apart from them, entities: where bold begins and ends, counted in UTF-16 units. That
needs no escaping, so nothing in a text can make Telegram refuse it. `telegramify_markdown` turns Markdown into that; here
what it makes is cut into messages, and the entities are made such as Telegram takes unchanged (https://core.telegram.org/bots/api#formatting-options):

- offsets and ends lie inside the text, between characters; none is of whitespace alone
- of two that share characters one holds the other, and not the same kind twice
- nothing lies in `pre` or `code`, and those lie in nothing but a quote
- there are 100 at most (Telegram ignores what is past that), and their links hold 8,000 bytes (it refuses about 9,500)

>>> [piece] = pieces("Open **now**, see `hours.txt`")
>>> piece.text
'Open now, see hours.txt'
>>> [(entity.type, entity.offset, entity.length) for entity in piece.entities]
[('bold', 5, 3), ('code', 14, 9)]
>>> [piece.text for piece in pieces("Привет всем, кто здесь", limit=13)]
['Привет всем,', 'кто здесь']
"""

from __future__ import annotations

import logging
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import accumulate
from operator import itemgetter
from typing import TYPE_CHECKING

import msgspec
from msgspec import structs

from bots.telegram.markdown import TooHardError, kept, linkable

if TYPE_CHECKING:
    from telegramify_markdown import RenderConfig

_log = logging.getLogger(__name__)

LIMIT = 4096
"""UTF-16 units that one message may have."""

_ENTITIES = 100
"""Entities of one message that Telegram does not ignore."""


_URLS_BYTES = 8_000


_CLUSTER = 32
"""Characters that are looked at for the end of one that is made of several."""

_STYLES = ("bold", "italic", "strikethrough", "underline")


_OUTER = {"blockquote": 0, "text_link": 1}
"""Which of two that cover the same words holds the other; code is within what is left."""

_WEIGHT = {"pre": 0, "text_link": 1, "code": 2, "blockquote": 3}
"""What is kept first where there is more than Telegram takes; a style is the least."""

# Telegram shows these as a space, or removes them: tdlib's clean_input_string.
_CONTROL = {code: " " for code in range(32) if code not in (9, 10, 13)}
_REMOVED = {13: "", 0x2028: "\n", 0x2029: "\n", **dict.fromkeys((*range(0x202A, 0x202F), 0x30A, 0x333, 0x33F), "")}
_CLEAN = str.maketrans({**_CONTROL, **_REMOVED})
_BLANK = str.maketrans({**_CONTROL, 9: " ", **dict.fromkeys(_REMOVED, " ")})

# A message of these alone is empty to Telegram: tdlib's strip_empty_characters.
_INVISIBLE = re.compile(
    "[\\s\u00a0\u1680\u180e\u2000-\u200f\u202e\u202f\u205f-\u2064\u2800\u3000\ufeff\ufffc\U000e0000-\U000e007f]*"
)


_BLANK_LINES = re.compile(r"(?:[^\S\n]*\n)*")
_CODE_LINE = re.compile(r"\n(?=\S)")
_FLAGS = re.compile("[\U0001f1e6-\U0001f1ff]+$")


class Entity(msgspec.Struct, frozen=True, omit_defaults=True):
    """How a part of a message looks, in the Bot API's words.

    Attributes:
        type: `bold`, `italic`, `underline`, `strikethrough`, `code`, `pre`, `blockquote` or `text_link`.
        offset: where it begins, in UTF-16 units.
        length: how long it is, in UTF-16 units.
        url: where a `text_link` goes.
        language: of the code in a `pre`.
    """

    type: str
    offset: int
    length: int
    url: str | None = None
    language: str | None = None


class Piece(msgspec.Struct, frozen=True):
    """One message: its words and how they look.

    Attributes:
        text: what is read; never blank.
        entities: ordered by where they begin, the longer one first.
    """

    text: str
    entities: tuple[Entity, ...] = ()


class _Span(msgspec.Struct, frozen=True):
    """An entity counted in characters, of the whole text."""

    type: str
    start: int
    end: int
    url: str | None = None
    language: str | None = None


_SENTENCES = re.compile(r"[^\W\d_](?:[^\s*_`~\[\]()<>|\\#$&@:=+-]| (?! )){0,1000}")
"""One line of words without anything that means something in Markdown."""


def pieces(text: str, *, plain: bool = False, limit: int = LIMIT) -> list[Piece]:
    r"""Cut a text into messages.

    A message ends after a paragraph, else after a line, else between words, else between characters. A code block that
    fits in a message is in one; a longer one is cut at its lines, and every part is a block of the same language.

    Args:
        text: Markdown, of any length, however broken.
        plain: it is no Markdown: every character stands for itself.
        limit: UTF-16 units of a message, 2 at least.

    Returns:
        The messages in order; none when there is nothing to read in the text.

    >>> [(piece.text, piece.entities[0].language) for piece in pieces("```py\nfirst()\nsecond()\n```", limit=10)]
    [('first()', 'py'), ('second()', 'py')]
    >>> pieces("*as it is*", plain=True)
    [Piece(text='*as it is*', entities=())]
    >>> pieces("\u200b \n")
    []
    """
    text = _clean(text)
    spans: list[_Span] = []
    # Most answers are a sentence or two: nothing in them could be Markdown, and looking takes longer than all the rest.
    if not (plain or _SENTENCES.fullmatch(text)):
        try:
            text, spans = _converted(text, limit)
        except TooHardError:
            pass
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of the parser, which is Rust, is no Exception; the words matter
            _log.warning("markdown of %d characters is shown as it is", len(text), exc_info=True)
    units = _units(text)
    blocks = [(span.start, span.end) for span in spans if span.type == "pre"]
    ranges = _Cutter(text, units, blocks, limit).ranges()
    return [Piece(text[start:end], _entities(text, units, spans, start, end)) for start, end in ranges]


def utf16_units(text: str) -> int:
    """How long Telegram thinks a text is.

    >>> utf16_units("да 👍")
    5
    """
    return len(text) + sum(character > "\uffff" for character in text)


def _clean(text: str) -> str:
    """The text without what Telegram removes, with the halves of a character put together."""
    paired = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    # A tab becomes one space there: code would lose its indents.
    return paired.replace("\r\n", "\n").expandtabs(4).translate(_CLEAN)


def _units(text: str) -> Sequence[int]:
    """UTF-16 units before each character, and in all."""
    if not text or max(text) <= "\uffff":
        return range(len(text) + 1)
    return list(accumulate((2 if character > "\uffff" else 1 for character in text), initial=0))


# --- Markdown --------------------------------------------------------------------------------------------------------


@cache
def _config() -> RenderConfig:
    """Plain symbols: that something is a heading, its look says."""
    from telegramify_markdown import RenderConfig

    config = RenderConfig.isolated()
    symbols = config.markdown_symbol
    symbols.heading_level_1 = symbols.heading_level_2 = symbols.heading_level_3 = symbols.heading_level_4 = ""
    symbols.image, symbols.unordered_list_item = "🖼 ", "•"
    symbols.task_completed, symbols.task_uncompleted = "☑", "☐"
    config.cite_expandable = False
    return config


def _converted(text: str, limit: int) -> tuple[str, list[_Span]]:
    """The words of Markdown and how they look."""
    from telegramify_markdown import convert

    words, entities = convert(kept(text, limit), latex_escape=False, config=_config())
    words = words.translate(_BLANK)
    units = _units(words)
    spans = [
        _Span(
            entity.type,
            bisect_right(units, entity.offset) - 1,
            bisect_right(units, entity.offset + entity.length) - 1,
            url=entity.url,
            language=entity.language,
        )
        for entity in entities
    ]
    return words, _nested([span for span in spans if span.start < span.end])


# --- how the words look ----------------------------------------------------------------------------------------------


def _nested(spans: Sequence[_Span]) -> list[_Span]:
    """The spans that Telegram takes, outer ones first."""
    blocks = _apart([span for span in spans if span.type == "pre"])
    links = _apart([span for span in spans if span.type == "text_link" and linkable(span.url or "")], without=blocks)
    code = _apart([span for span in spans if span.type == "code"], without=sorted([*blocks, *links], key=_start))
    quotes = _merged([span for span in spans if span.type == "blockquote"])
    holes = sorted([*blocks, *code], key=_start)
    styles = (_merged([span for span in spans if span.type == style]) for style in sorted(_STYLES))
    looks = [part for style in styles for span in style for part in _around(holes, span)]
    nested: list[_Span] = []
    within: list[_Span] = []
    for span in sorted([*quotes, *links, *looks, *holes], key=_outer_first):
        while within and within[-1].end <= span.start:
            within.pop()
        inner = structs.replace(span, end=min(span.end, within[-1].end)) if within else span
        nested.append(inner)
        within.append(inner)
    return nested


def _start(span: _Span) -> int:
    return span.start


def _outer_first(span: _Span) -> tuple[int, int, int]:
    return span.start, -span.end, _OUTER.get(span.type, len(_OUTER))


def _apart(spans: Sequence[_Span], *, without: Sequence[_Span] = ()) -> list[_Span]:
    """Those of which none shares a character with one before it, or with others that are so."""
    kept: list[_Span] = []
    for span in sorted(spans, key=_outer_first):
        before = bisect_left(without, span.end, key=_start)
        if (not kept or kept[-1].end <= span.start) and not (before and without[before - 1].end > span.start):
            kept.append(span)
    return kept


def _merged(spans: Sequence[_Span]) -> list[_Span]:
    """Spans of one kind as few that neither overlap nor touch."""
    merged: list[_Span] = []
    for span in sorted(spans, key=_start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = structs.replace(merged[-1], end=max(span.end, merged[-1].end))
        else:
            merged.append(span)
    return merged


def _around(holes: Sequence[_Span], span: _Span) -> Iterator[_Span]:
    """The parts of a span between others that are apart."""
    start = span.start
    for hole in holes[bisect_right(holes, span.start, key=_end) :]:
        if hole.start >= span.end:
            break
        if start < hole.start:
            yield structs.replace(span, start=start, end=hole.start)
        start = hole.end
    if start < span.end:
        yield structs.replace(span, start=start)


def _end(span: _Span) -> int:
    return span.end


def _entities(text: str, units: Sequence[int], spans: Sequence[_Span], start: int, end: int) -> tuple[Entity, ...]:
    """How the characters from `start` to `end` look, in the units of a message of their own."""
    found = []
    for span in spans:
        begin, stop = max(span.start, start), min(span.end, end)
        if begin >= stop:
            continue
        # What surrounds a word is not part of how it looks; Telegram would take it off.
        body = text[begin:stop]
        begin, stop = begin + len(body) - len(body.lstrip()), begin + len(body.rstrip())
        if begin < stop:
            offset, length = units[begin] - units[start], units[stop] - units[begin]
            found.append(Entity(span.type, offset, length, url=span.url, language=span.language))
    room = _URLS_BYTES
    kept: list[Entity] = []
    for entity in sorted(found, key=lambda entity: (_WEIGHT.get(entity.type, len(_WEIGHT)), entity.offset)):
        room -= len((entity.url or entity.language or "").encode())
        kept += [entity] if room >= 0 and len(kept) < _ENTITIES else []
    return tuple(entity for entity in found if entity in kept) if len(kept) < len(found) else tuple(found)


# --- where a message ends --------------------------------------------------------------------------------------------


class _Cutter:
    """Finds where the messages of a text end.

    Args:
        text: all of it.
        units: before each character.
        blocks: characters that are code blocks: the first, and the one after the last.
        limit: units of a message.
    """

    def __init__(self, text: str, units: Sequence[int], blocks: Sequence[tuple[int, int]], limit: int) -> None:
        self._text = text
        self._units = units
        self._blocks = blocks
        self._limit = limit

    def ranges(self) -> Iterator[tuple[int, int]]:
        """The first character and the one after the last of each message that has something to read."""
        start, size = 0, len(self._text)
        while start < size:
            end = bisect_right(self._units, self._units[start] + self._limit) - 1
            if end < size:
                end = self._cut(start, end)
            if not _INVISIBLE.fullmatch(self._text, start, end):
                yield self._trimmed(start, end)
            start = end

    def _cut(self, start: int, end: int) -> int:
        """The best end of a message that begins at `start` and may reach `end`."""
        text = self._text
        # A message that is nearly empty is worse than a paragraph in two.
        low = start + (end - start) // 4
        first, last = self._block_before(end)
        if end < last:
            alone = first > start and bool(text[start:first].strip())
            if alone and self._units[last] - self._units[first] <= self._limit:
                return first
            # Telegram takes the indent off the first line of a message.
            lines = _CODE_LINE.finditer(text, max(low, first), end)
            at = max((line.end() for line in lines), default=text.rfind("\n", max(start, first), end) + 1)
            if at > max(start, first):
                return at
            at = first if alone else text.rfind(" ", low, end) + 1
            return at if at > start else self._between(start, end)
        low = max(low, last)
        for mark in ("\n\n", "\n", " "):
            at = text.rfind(mark, low, end + 1)
            if at > start:
                return min(at + len(mark), end)
        return last if start < last == low else self._between(start, end)

    def _block_before(self, end: int) -> tuple[int, int]:
        """The code block that begins last before a place."""
        before = bisect_left(self._blocks, end, key=itemgetter(0))
        return self._blocks[before - 1] if before else (0, 0)

    def _between(self, start: int, end: int) -> int:
        """The last place up to `end` that is not inside what is seen as one character."""
        places = range(end, max(start, end - _CLUSTER), -1)
        return next((at for at in places if not _joined(self._text, at)), end)

    def _trimmed(self, start: int, end: int) -> tuple[int, int]:
        """Without the space around it, which Telegram takes off; a line of code keeps its indent."""
        blank = _BLANK_LINES.match(self._text, start, end)
        body = self._text[start:end]
        first, last = self._block_before(start + 1)
        if blank and first <= start < last:
            return blank.end(), start + len(body.rstrip())
        return end - len(body.lstrip()), start + len(body.rstrip())


def _joined(text: str, at: int) -> bool:
    """Whether the characters around a place are seen as one: an accent, a family, a flag, a skin."""
    after, before = text[at], text[at - 1]
    if before == "\u200d" or after in "\u200c\u200d" or unicodedata.category(after)[0] == "M":
        return True
    if "\U0001f3fb" <= after <= "\U0001f3ff" or "\U000e0020" <= after <= "\U000e007f":
        return True
    flags = _FLAGS.search(text[max(at - 2 * _CLUSTER, 0) : at])
    return bool(flags and _FLAGS.match(after) and len(flags[0]) % 2)
