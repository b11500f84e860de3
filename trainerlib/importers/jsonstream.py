r"""JSON too large for memory, read one element at a time, and JSON that is not quite JSON.

A `JsonStream` is a cursor over the bytes of one document. It finds where a value ends without building it, so that
only the value that is asked for is ever decoded, and it finds its way again after bytes that make no sense: damage in
one element of a list costs that element and a `BadLine`, not the rest of the file.

`decode` takes what exporters write although JSON forbids it: `\x0B`, a lone surrogate, bytes that are not UTF-8. What
cannot be text becomes U+FFFD and is named.

>>> decode(rb'{"text": "tab\x0Bhere"}', msgspec.json.Decoder().decode)
({'text': 'tab�here'}, ('control character in text, kept as U+FFFD',))
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import msgspec

from trainerlib.errors import BadLineError
from trainerlib.importers.records import BadLine
from trainerlib.importers.source import LIMIT

T = TypeVar("T")

CONTROL = "control character in text, kept as U+FFFD"
TOO_LARGE = f"more than {LIMIT // 1024 // 1024} MiB in one"
BROKEN = "broken"
TRUNCATED = "file ends in the middle of a"

# A string with any escapes and raw control characters; what stands between brackets otherwise. Possessive, so that a
# string that does not end is found out at once.
# Groups are atomic and not possessive: before 3.11.5 Python loses what a possessive group matched in part (gh-106052).
_STRING = rb'"[^"\\]*+(?>(?:\\.[^"\\]*+)*)"'
_RUN = re.compile(rb"(?>(?:[\s\d,:.+\-eE]++|" + _STRING + rb"|true|false|null)*)", re.DOTALL)
_WHOLE_STRING = re.compile(_STRING, re.DOTALL)
_INSIDE = re.compile(rb'[^"\\]*+(?>(?:\\.[^"\\]*+)*)', re.DOTALL)
_SCALAR = re.compile(rb"[-+.\w]++")
_SPACE = re.compile(rb"\s*+")
_NEXT = re.compile(rb"\s*+,\s*+(?=\{)")
_FIRST_KEY = re.compile(rb"\{\s*+(" + _STRING + rb")\s*+:", re.DOTALL)
_OPENER = {b"]": b"[", b"}": b"{"}
_BEFORE = {b"{": (b":",), b"[": (b"[", b",")}
_BEGUN = frozenset(word[:length] for word in (b"true", b"false", b"null") for length in range(1, len(word)))
_LOOKAHEAD = 64 * 1024
_WALKED = 16
_BEHIND = 64
_GROWTH = LIMIT // 4

_TEXT_STRING = re.compile(r'"[^"\\]*+(?>(?:\\.[^"\\]*+)*)"', re.DOTALL)
_TROUBLE = re.compile(
    r"(?P<fine>\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u(?![dD][89a-fA-F]|0000)[0-9a-fA-F]{4}"
    r"|\\[\"\\/bfnrt])"
    r"|(?P<control>\\x[0-9a-fA-F]{2}|\\u0000|\x00)"
    r"|(?P<surrogate>\\u[dD][89a-fA-F][0-9a-fA-F]{2})"
    r"|(?P<escape>\\.)"
    r"|(?P<raw>[\x01-\x1f])",
    re.DOTALL,
)
_REASONS = {
    "control": CONTROL,
    "surrogate": "half a surrogate pair in text, kept as U+FFFD",
    "escape": "invalid escape in text, kept as U+FFFD",
    "raw": "control character in text without an escape, kept",
}
INVALID_UTF8 = "not valid UTF-8, kept as U+FFFD"


def decode(raw: bytes, decoder: Callable[[bytes], T]) -> tuple[T, tuple[str, ...]]:
    r"""Decode one value, mending what exporters are known to get wrong.

    Args:
        raw: the value's bytes.
        decoder: the `decode` method of a msgspec decoder.

    Returns:
        The value and what was mended, each reason once.

    Raises:
        msgspec.ValidationError: it is JSON, but not of the decoder's type.
        msgspec.DecodeError: it is not JSON and cannot be mended.
        RecursionError: it is nested too deeply.

    >>> decode(rb'"\ud83d!"', msgspec.json.Decoder(str).decode)
    ('�!', ('half a surrogate pair in text, kept as U+FFFD',))
    """
    # A NUL is valid JSON, but no text: SQLite and most tools end a string there.
    if b"\\u0000" not in raw:
        try:
            return decoder(raw), ()
        except msgspec.ValidationError:
            raise
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    reasons: dict[str, None] = {}
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        text = raw.decode(errors="replace")
        reasons[INVALID_UTF8] = None

    def mend(match: re.Match[str]) -> str:
        kind = match.lastgroup or ""
        if kind == "fine":
            return match.group()
        reasons[_REASONS[kind]] = None
        return f"\\u{ord(match.group()):04x}" if kind == "raw" else "�"

    mended = _TEXT_STRING.sub(lambda string: _TROUBLE.sub(mend, string.group()), text)
    return decoder(mended.encode()), tuple(reasons)


class JsonStream:
    """A cursor over one JSON document.

    Args:
        read: gives the next piece of the document, UTF-8; an empty one at its end.

    Errors in the document are `BadLineError`s that a reader turns into `BadLine` records; `elements` recovers by itself.
    """

    def __init__(self, read: Callable[[], bytes]) -> None:
        self._read = read
        self._buffer = b""
        self._at = 0
        self._base = 0
        self._line = 1
        self._counted = 0
        self._first_keys: set[bytes] = set()
        self._usual = b"["

    @property
    def line(self) -> int:
        """Line number of the cursor, from 1."""
        # The cursor never moves back over what was counted.
        self._line += self._buffer.count(b"\n", self._counted, self._at)
        self._counted = self._at
        return self._line

    def peek(self) -> bytes:
        """The next byte that is not white space, the cursor before it; empty at the end."""
        while True:
            space = _SPACE.match(self._buffer, self._at)
            self._at = space.end() if space else self._at
            if self._at < len(self._buffer):
                return self._buffer[self._at : self._at + 1]
            if not self._fill():
                return b""

    def looking_at(self, pattern: re.Pattern[bytes]) -> bool:
        """Whether what follows the cursor (64 KiB of it at most) matches."""
        while len(self._buffer) - self._at < _LOOKAHEAD and self._fill():
            pass
        return pattern.match(self._buffer, self._at) is not None

    def members(self) -> Iterator[str]:
        """Walk the object at the cursor: its keys, the cursor before each one's value, which the caller must consume.

        Raises:
            BadLineError: there is no object, or it breaks off.
        """
        self._expect(b"{")
        while (byte := self.peek()) != b"}":
            if byte != b'"':
                raise self._error("a key in quotes expected")
            key, _ = decode(self._take(), msgspec.json.Decoder(str).decode)
            self._expect(b":")
            yield key
            if self.peek() == b",":
                self._at += 1
                if self.peek() == b"}":
                    raise self._error("a key in quotes expected")
            elif self.peek() != b"}":
                raise self._error("',' or '}' expected")
        self._at += 1

    def items(self) -> Iterator[None]:
        """Walk the list at the cursor; the caller must consume each item.

        Raises:
            BadLineError: there is no list, or it breaks off.
        """
        self._expect(b"[")
        while self.peek() != b"]":
            yield
            if self.peek() == b",":
                self._at += 1
            elif self.peek() != b"]":
                raise self._error("',' or ']' expected")
        self._at += 1

    def value(self) -> tuple[Any, list[BadLine]]:
        """Decode the value at the cursor and move past it; also what had to be mended in it.

        Raises:
            BadLineError: it is not JSON, or too large.
        """
        self.peek()
        line = self.line
        try:
            value, reasons = decode(self._take(), msgspec.json.decode)
        except (msgspec.DecodeError, RecursionError) as error:
            raise BadLineError(line, why(error)) from error
        return value, [BadLine(line, reason) for reason in reasons]

    def skip(self, depth: int = 0) -> None:
        """Move past the value at the cursor, however large.

        Raises:
            BadLineError: it is not JSON.
        """
        # Objects are walked, so that one that lost its end is noticed at the next comma, not at the end of the file.
        if self.peek() == b"{" and depth < _WALKED:
            for _ in self.members():
                self.skip(depth + 1)
            return
        end = self._end(None)
        if isinstance(end, str):
            raise self._error(f"{end} value")
        self._at = end

    def elements(
        self,
        decoder: Callable[[bytes], T],
        what: str,
        *,
        lost: bool = False,
        boundary: re.Pattern[bytes] | None = None,
        accept: Callable[[T], bool] = lambda _: True,
    ) -> Iterator[tuple[int, T] | BadLine]:
        """The objects of the list at the cursor, each with its line number; a `BadLine` for each that is bad.

        After damage the reading goes on at the next object that decodes, is accepted, and begins with a key with which
        a good one began before.

        Args:
            decoder: `decode` of a msgspec decoder that requires what an element must have.
            what: what an element is called in reasons: `message`.
            lost: do not expect `[`: look for the next element from here.
            boundary: what certainly is outside the list; recovery stops there.
            accept: whether an object found in recovery is an element.

        Raises:
            BadLineError: the list breaks off: recovery met the boundary or the end of the file, the cursor is there.
        """
        trouble = None if lost else self._enter(what)
        lost = lost or trouble is not None
        while True:
            if lost:
                element = self._recover(decoder, boundary, accept)
                if element is None:
                    if trouble is not None:
                        raise BadLineError(trouble.line, trouble.reason)
                    return
                if trouble is not None:
                    yield trouble
                lost, trouble = False, None
                yield from element
            elif (byte := self.peek()) == b"{":
                line = self.line
                end = self._container_end(LIMIT)
                if isinstance(end, str):
                    self._at += 1
                    trouble, lost = BadLine(line, f"{end} {what}"), True
                    continue
                raw = self._buffer[self._at : end]
                try:
                    value, reasons = decode(raw, decoder)
                except (msgspec.DecodeError, RecursionError) as error:
                    bad = BadLine(line, f"{what} skipped: {why(error)}")
                    if not isinstance(error, msgspec.ValidationError | RecursionError):
                        # Not JSON: it may have taken in more than itself, so look for the next one inside.
                        self._at += 1
                        trouble, lost = bad, True
                        continue
                    self._at = end
                    yield bad
                else:
                    self._at = end
                    self._learn(raw)
                    for reason in reasons:
                        yield BadLine(line, reason)
                    yield line, value
            elif byte == b"]":
                self._at += 1
                return
            else:
                trouble, lost = self._misplaced(what), True
                continue
            if usual := _NEXT.match(self._buffer, self._at):
                self._at = usual.end()
            elif (byte := self.peek()) == b",":
                self._at += 1
            elif byte != b"]":
                trouble, lost = self._misplaced(what), True

    def documents(
        self, decoder: Callable[[bytes], T], what: str, accept: Callable[[T], bool] = lambda _: True
    ) -> Iterator[tuple[int, T] | BadLine]:
        """The elements of a document that is one list, to the end of the file whatever happens."""
        lost = False
        while self.peek():
            try:
                yield from self.elements(decoder, what, lost=lost, accept=accept)
            except BadLineError as error:
                yield BadLine(error.line, error.reason)
            else:
                if self.peek() and not lost:
                    yield BadLine(self.line, f"text after the end of the list of {what}s")
            lost = True

    def _enter(self, what: str) -> BadLine | None:
        """Pass the list's opening bracket, or say that there is none."""
        if self.peek() != b"[":
            return BadLine(self.line, f"a list of {what}s expected")
        self._at += 1
        return None

    def _recover(
        self,
        decoder: Callable[[bytes], T],
        boundary: re.Pattern[bytes] | None,
        accept: Callable[[T], bool],
    ) -> list[tuple[int, T] | BadLine] | None:
        """The next element after damage, with what was mended in it; `None` at the boundary or the end."""
        while True:
            found = self._buffer.find(b"{", self._at)
            if found < 0:
                self._at = len(self._buffer)
                if not self._fill():
                    return None
                continue
            self._at = found
            if boundary is not None and self.looking_at(boundary):
                return None
            line = self.line
            if self._known_start() and isinstance(end := self._end(LIMIT), int):
                raw = self._buffer[self._at : end]
                try:
                    value, reasons = decode(raw, decoder)
                except (msgspec.DecodeError, RecursionError):
                    pass
                else:
                    if accept(value):
                        self._at = end
                        self._learn(raw)
                        return [*(BadLine(line, reason) for reason in reasons), (line, value)]
            self._at += 1

    def _known_start(self) -> bool:
        self.looking_at(_FIRST_KEY)
        match = _FIRST_KEY.match(self._buffer, self._at)
        return match is not None and (not self._first_keys or match.group(1) in self._first_keys)

    def _learn(self, raw: bytes) -> None:
        # Exporters write their keys in one order, or a few.
        if not raw.startswith(self._usual) and len(self._first_keys) < 16 and (match := _FIRST_KEY.match(raw)):
            self._first_keys.add(match.group(1))
            self._usual = match.group()

    def _take(self) -> bytes:
        end = self._end(LIMIT)
        if isinstance(end, str):
            raise self._error(f"{end} value")
        raw = self._buffer[self._at : end]
        self._at = end
        return raw

    def _expect(self, byte: bytes) -> None:
        if self.peek() != byte:
            raise self._error(f"'{byte.decode()}' expected")
        self._at += 1

    def _error(self, reason: str) -> BadLineError:
        return BadLineError(self.line, reason if self.peek() else f"{TRUNCATED} list or object")

    def _misplaced(self, what: str) -> BadLine:
        reason = f"a {what} expected" if self.peek() else f"{TRUNCATED} list of {what}s"
        return BadLine(self.line, reason)

    def _end(self, limit: int | None) -> int | str:
        """Index after the value at the cursor, all of it in the buffer, or what is wrong with it.

        Without a limit the buffer lets go of what was passed, and the cursor moves along.
        """
        first = self.peek()
        if first == b'"':
            return self._string_end(limit)
        return self._container_end(limit) if first in (b"{", b"[") else self._scalar_end()

    def _container_end(self, limit: int | None) -> int | str:
        open_: list[bytes] = []
        at = self._at
        while True:
            run = _RUN.match(self._buffer, at)
            at = run.end() if run else at
            if limit is None:
                self._at = max(self._at, at - _BEHIND)
            elif at - self._at > limit:
                return TOO_LARGE
            byte = self._buffer[at : at + 1]
            if byte in (b"{", b"["):
                # What lost its end would swallow what follows: inside it only a value may open.
                before = self._buffer[max(self._at, at - _BEHIND) : at].rstrip()
                if open_ and before and not before.endswith(_BEFORE[open_[-1]]):
                    return BROKEN
                open_.append(byte)
                at += 1
            elif byte in (b"}", b"]"):
                if open_.pop() != _OPENER[byte]:
                    return BROKEN
                at += 1
                if not open_:
                    return at
            elif limit is None and byte == b'"':
                self._at = at
                string = self._string_end(None)
                if isinstance(string, str):
                    return string
                at = string
            elif byte in (b"", b'"') or self._buffer[at:] in _BEGUN:
                done = at - self._at
                if limit is not None and len(self._buffer) - self._at > limit:
                    return TOO_LARGE
                if not self._fill():
                    return TRUNCATED
                at = self._at + done
            else:
                return BROKEN

    def _string_end(self, limit: int | None) -> int | str:
        if limit is None:
            self._at += 1
            while True:
                inside = _INSIDE.match(self._buffer, self._at)
                self._at = inside.end() if inside else self._at
                if self._buffer[self._at : self._at + 1] == b'"':
                    return self._at + 1
                if not self._fill():
                    return TRUNCATED
        while (string := _WHOLE_STRING.match(self._buffer, self._at)) is None:
            if len(self._buffer) - self._at > limit:
                return TOO_LARGE
            if not self._fill():
                return TRUNCATED
        return string.end()

    def _scalar_end(self) -> int | str:
        while (scalar := _SCALAR.match(self._buffer, self._at)) is not None:
            # A number may go on in the next piece.
            if scalar.end() < len(self._buffer) or not self._fill():
                return scalar.end()
        return BROKEN

    def _fill(self) -> bool:
        """Read on, letting go of what is before the cursor; false at the end of the file."""
        wanted = min(len(self._buffer) - self._at, _GROWTH)
        pieces: list[bytes] = []
        while wanted >= 0 and (piece := self._read()):
            pieces.append(piece)
            wanted -= len(piece)
        if not pieces:
            return False
        self._line = self.line
        self._base += self._at
        self._buffer = b"".join((self._buffer[self._at :], *pieces))
        self._at = self._counted = 0
        return True


def why(error: Exception) -> str:
    """What a decoder's error says, as the end of a sentence.

    >>> why(msgspec.DecodeError("JSON is malformed: invalid character (byte 3)"))
    'JSON is malformed: invalid character (byte 3)'
    """
    if isinstance(error, RecursionError):
        return "nested too deeply"
    text = str(error)
    return text if text.startswith("JSON") else text[:1].lower() + text[1:]
