r"""Markdown that keeps its words: written so that nothing of it is lost when it is turned into text for Telegram.

`telegramify_markdown` drops what Telegram has no look for: HTML (`List<String>` in a sentence is HTML to Markdown), cells of
a table past its head, links in tables, definitions that nobody uses (`[Anna]: hello` is one), words after the language of
a code block, two bars as the signs of a spoiler. Here these are escaped, so that they are read as they are written, and
what would grow many times over by being shown is found before that happens.

>>> kept("Use List<String>, a || b", limit=4096)
'Use List\\<String>, a \\|\\| b'
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import takewhile
from operator import itemgetter
from typing import Any, NamedTuple
from urllib.parse import urlsplit

_URL_BYTES = 2_048

_PASSES = 8
"""How often Markdown is looked through for what would be lost; prose needs two or three."""

_DEPTH = 8
"""Lists and quotes within each other that are shown as such; each level indents every line in it."""

_DOLLARS = 1_000
"""Formula signs that are looked at: the parser's time grows with their square."""

_NESTING = ("BlockQuote", "List")

_LATEX = re.compile(rb"(?<!\\)\\(?:\((?P<inline>[^$\n]{1,999}?)\\\)|\[(?P<display>[^$]{1,999}?)\\\])")
_FORMULA = re.compile(rb"[\\^_=]")
_BARS = re.compile(rb"(?<!\\)\|\|")
_BREAK = re.compile(rb"<br\s*/?>", re.IGNORECASE)
_QUOTED = re.compile(rb"[ \t>]*")
_HTML_LINE = re.compile(rb"^[ \t>]*<", re.MULTILINE)
_FENCE = re.compile(rb"^[ \t>]*(?:`{3}|~{3})", re.MULTILINE)
_INFO = re.compile(rb"(?:`{3,}|~{3,})[ \t]*[^\s`]+([ \t]+)\S")
_DEFINITION = re.compile(rb"^[ \t>]*(\[(?P<label>[^\[\]\n]{1,999})\]):", re.MULTILINE)
_LABEL = re.compile(rb"\[([^\[\]\n]{1,999})\]")
_HOST = re.compile(r"(?:[\w-]+\.)+[\w-]+")
_NO_URL = re.compile(r"[\s\x00-\x20<>\"\\^`{|}]")
_GOAL = re.compile(r"^(?:mailto|tel):")
_PUNCTUATION = re.compile(r"([!-/:-@\[-`{-~])")
_ESCAPED = r"\\\1"

_Edit = tuple[int, int, bytes]
"""Bytes of the source to replace: the first, the one after the last, and by what."""


class TooHardError(Exception):
    """The Markdown would be blown up, or is never done with."""


class _Event(NamedTuple):
    """What the parser says of some bytes of the source.

    `Start` and `End` have a tag, such as `Link`, which may have details; what else there is has its words for a tag.
    """

    kind: str
    tag: Any
    detail: Any
    start: int
    end: int


def kept(text: str, limit: int) -> str:
    """Markdown of which the converter loses no words.

    Args:
        text: Markdown, without lone halves of characters.
        limit: characters that a table may always have; a larger one must not be twice as large as it is written.

    Raises:
        TooHardError: it is better shown as it is.
    """
    if text.count("$") > _DOLLARS:
        raise TooHardError
    source = text.encode()
    for _ in range(_PASSES):
        events = _events(source)
        # One kind at a time: what the next finds depends on it.
        for find in (_html, _unfit_tables, _fences, _marks):
            if edits := find(source, events, limit):
                source = _edited(source, edits)
                break
        else:
            return _edited(source, _destinations(source, events)).decode()
    raise TooHardError


def _events(source: bytes) -> list[_Event]:
    """What the converter's parser sees."""
    import pyromark
    from telegramify_markdown.converter import STANDARD_OPTIONS

    events, depth = [], 0
    for event, place in pyromark.events_with_range(source.decode(), options=STANDARD_OPTIONS):
        kind, value = next(iter(event.items())) if isinstance(event, dict) else (event, None)
        tag, detail = next(iter(value.items())) if isinstance(value, dict) else (value, None)
        if tag in _NESTING:
            depth += 1 if kind == "Start" else -1
            if depth > _DEPTH:
                raise TooHardError
        events.append(_Event(kind, tag, detail, place["start"], place["end"]))
    return events


def _after(events: Sequence[_Event], at: int) -> Iterator[_Event]:
    return (events[place] for place in range(at + 1, len(events)))


def _edited(source: bytes, edits: Sequence[_Edit]) -> bytes:
    parts, done = [], 0
    for start, end, instead in sorted(edits):
        if start >= done:
            parts += [source[done:start], instead]
            done = end
    return b"".join([*parts, source[done:]])


def _html(source: bytes, events: Sequence[_Event], _limit: int) -> list[_Edit]:
    """HTML is shown as it is written; a break is a space."""
    edits: list[_Edit] = []
    for event in events:
        if event.kind == "InlineHtml":
            is_break = _BREAK.fullmatch(source, event.start, event.end)
            edits.append((event.start, event.end, b" ") if is_break else (event.start, event.start, b"\\"))
        elif event.tag == "HtmlBlock" and event.kind == "Start":
            # Its end is code once the block is none.
            fence = _FENCE.search(source, event.start, event.end)
            lines = _HTML_LINE.finditer(source, event.start, fence.start() if fence else event.end)
            places = {source.index(b"<", event.start), *(line.end() - 1 for line in lines)}
            edits += [(place, place, b"\\") for place in places]
    return edits


def _unfit_tables(source: bytes, events: Sequence[_Event], limit: int) -> list[_Edit]:
    """Tables that would lose something as columns, or grow many times over by the padding, are lines of text."""
    edits: list[_Edit] = []
    for at, event in enumerate(events):
        if event.tag == "Table" and event.kind == "Start":
            inside = list(takewhile(lambda other: other.tag != "Table", _after(events, at)))
            if not _fits(source, inside, max(limit, 2 * (event.end - event.start))):
                row = _QUOTED.match(source, source.index(b"\n", event.start) + 1)
                edits += [(row.end(), row.end(), b"\\")] if row else []
    return edits


def _fits(source: bytes, table: Sequence[_Event], room: int) -> bool:
    """Whether the columns of a table hold all that is in it, in so many characters."""
    widths: Counter[int] = Counter()
    rows = column = used = last = 0
    for event in table:
        if event.tag in ("Link", "Image") or event.kind in ("InlineMath", "DisplayMath"):
            return False
        if event.kind in ("Text", "Code"):
            used += len(str(event.tag))
        elif event.tag == "TableCell":
            if event.kind == "End":
                widths[column] = max(widths[column], used)
                column, last = column + 1, event.end
            used = 0
        elif event.tag in ("TableHead", "TableRow"):
            if event.kind == "End" and source[last : event.end].strip(b" \t\n|>"):
                return False
            rows, column, last = rows + 1, 0, event.start
    return rows * (widths.total() + 3 * len(widths)) <= room


def _fences(source: bytes, events: Sequence[_Event], _limit: int) -> list[_Edit]:
    """What follows the language of a code block is its first line."""
    blocks = (event for event in events if event.tag == "CodeBlock" and event.kind == "Start")
    at_margin = (event for event in blocks if source[max(event.start - 1, 0) : event.start] in (b"", b"\n"))
    found = (_INFO.match(source, event.start, event.end) for event in at_margin)
    return [(*info.span(1), b"\n") for info in found if info]


def _marks(source: bytes, events: Sequence[_Event], _limit: int) -> list[_Edit]:
    """Two bars are no spoiler, formulas may stand in brackets, and a definition that nobody uses is text."""
    formulas = [(event.start, event.end) for event in events if event.kind in ("InlineMath", "DisplayMath")]
    tables = [(event.start, event.end) for event in events if event.tag == "Table" and event.kind == "Start"]
    code = [
        (event.start, event.end)
        for event in events
        if event.kind == "Code" or (event.tag == "CodeBlock" and event.kind == "Start")
    ]
    edits: list[_Edit] = []
    for bars in _BARS.finditer(source):
        if not _in(code, bars.start()):
            open_ = _in(tables, bars.start()) or _in(formulas, bars.start())
            edits.append((*bars.span(), b"| |" if open_ else b"\\|\\|"))
    for formula in _LATEX.finditer(source):
        inline, display = formula.group("inline", "display")
        body = (inline or display).strip()
        if _FORMULA.search(body) and not _in(code, formula.start()) and b"\n\n" not in body:
            sign = b"$" if inline else b"$$"
            edits.append((*formula.span(), sign + body + sign))
    definitions = [found for found in _DEFINITION.finditer(source) if not _in(code, found.start(1))]
    if definitions:
        uses = Counter(label.lower() for label in _LABEL.findall(source))
        uses.subtract(found["label"].lower() for found in definitions)
        edits += [(found.start(1), found.start(1), b"\\") for found in definitions if uses[found["label"].lower()] <= 0]
    return edits


def _in(ranges: Sequence[tuple[int, int]], at: int) -> bool:
    """Whether one of some ranges, in order and apart, holds a place."""
    before = bisect_right(ranges, at, key=itemgetter(0))
    return before > 0 and at < ranges[before - 1][1]


def _destinations(source: bytes, events: Sequence[_Event]) -> list[_Edit]:
    """Where a link goes is said after it, where Telegram does not take it."""
    edits: list[_Edit] = []
    room = 2 * len(source) + 4096  # a short link may stand for a long one many times
    for at, event in enumerate(events):
        if event.kind != "Start" or event.tag not in ("Link", "Image"):
            continue
        url = event.detail["dest_url"]
        goal = _GOAL.sub("", url)
        shown = "".join(str(other.tag) for other in takewhile(lambda other: other.kind == "Text", _after(events, at)))
        if not linkable(url) and goal and goal[0] != "#" and goal not in shown:
            said = f" ({_PUNCTUATION.sub(_ESCAPED, goal)})".encode()
            room -= len(said)
            edits += [(event.end, event.end, said)] if room >= 0 else []
    return edits


def linkable(url: str) -> bool:
    """Whether Telegram takes it as where a link goes.

    >>> [linkable(url) for url in ("https://example.com/a", "docs/a.md", "tg://user?id=1", "http://localhost")]
    [True, False, False, False]
    """
    try:
        parts = urlsplit(url)
        host = parts.netloc if parts.port is None else parts.netloc.rpartition(":")[0]
    except ValueError:
        return False
    right = parts.scheme in ("http", "https") and _HOST.fullmatch(host) and not _NO_URL.search(url)
    return bool(right) and len(url.encode()) <= _URL_BYTES
