"""What exports of chats as one JSON object have in common: some facts about the chat, and its list of messages.

The facts usually come first. Where the messages do, the file is read twice. After damage outside the messages the
reading goes on with whatever looks like a chat or a message.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, Generic, TypeVar, cast

import msgspec

from trainerlib.errors import BadLineError
from trainerlib.importers.jsonstream import JsonStream
from trainerlib.importers.records import BadLine, Record, SourceChat
from trainerlib.importers.source import Source

M = TypeVar("M")


class Layout(msgspec.Struct, Generic[M], frozen=True):
    """How the objects of one exporter look.

    Attributes:
        platform: `telegram`.
        decoder: `decode` of a msgspec decoder for one message.
        chat: the chat that these facts describe; `None` when they do not say which.
        message: the records of one message, given its line and its chat.
        facts: keys of a chat that are about it.
        inside: keys under which further chats lie.
        boundary: the beginning of a chat, if a file can hold several.
        several: a list of chats, or an object with one.
    """

    platform: str
    decoder: Callable[[bytes], M]
    chat: Callable[[dict[str, Any]], SourceChat | None]
    message: Callable[[int, M, SourceChat], Sequence[Record]]
    facts: frozenset[str]
    inside: frozenset[str] = frozenset()
    boundary: re.Pattern[bytes] | None = None
    several: re.Pattern[bytes] | None = None


def read(source: Source, layout: Layout[M]) -> Iterator[Record]:
    """The chats and messages of an export."""
    return _Reader(source, layout).records()


class _Reader(Generic[M]):
    def __init__(self, source: Source, layout: Layout[M]) -> None:
        self._source = source
        self._stream = JsonStream(source.read)
        self._layout = layout
        self._facts: dict[str, Any] = {}
        self._chat: SourceChat | None = None
        self._lists = 0
        self._surveyed: list[dict[str, Any]] | None = None

    def records(self) -> Iterator[Record]:
        stream, boundary = self._stream, self._layout.boundary
        try:
            yield from self._object()
            if stream.peek():
                yield BadLine(stream.line, "text after the end of the export")
        except BadLineError as error:
            yield BadLine(error.line, error.reason)
        while stream.peek():
            try:
                if boundary is not None and stream.looking_at(boundary):
                    yield from self._object()
                else:
                    yield from self._messages(lost=True)
            except BadLineError as error:
                yield BadLine(error.line, error.reason)

    def _object(self) -> Iterator[Record]:
        """Walk a chat, or an object that holds chats."""
        stream, layout = self._stream, self._layout
        self._facts, self._chat = {}, None
        line, found = stream.line, False
        for key in stream.members():
            opens, is_messages, is_inside = stream.peek(), key == "messages", key in layout.inside
            if opens == b"[" and not (is_messages or is_inside or found) and layout.chat(self._facts):
                # A chat has no other list.
                yield BadLine(stream.line, f"{key!r} taken for 'messages'")
                is_messages = True
            elif not is_inside and layout.several and opens in (b"{", b"[") and stream.looking_at(layout.several):
                yield BadLine(stream.line, f"{key!r} taken for a list of chats")
                is_inside = True
            found = found or is_messages or is_inside
            if is_messages:
                yield from self._announce()
                yield from self._messages(lost=False)
            elif is_inside and opens == b"{":
                yield from self._object()
            elif is_inside and opens == b"[":
                for _ in stream.items():
                    yield from self._object()
            elif key in layout.facts:
                self._facts[key], bad = stream.value()
                yield from bad
            else:
                stream.skip()
        if not found:
            yield BadLine(line, "an object without messages")
        self._facts, self._chat = {}, None

    def _announce(self) -> Iterator[Record]:
        """The chat whose messages begin here."""
        self._chat = self._layout.chat(self._facts) or self._layout.chat(self._later_facts())
        self._lists += 1
        if self._chat is None:
            line = self._stream.line
            yield BadLine(line, "the file does not say which chat these messages belong to")
            self._chat = SourceChat(id=f"line-{line}", platform=self._layout.platform, complete=False)
        yield self._chat

    def _messages(self, *, lost: bool) -> Iterator[Record]:
        layout = self._layout
        for item in self._stream.elements(layout.decoder, "message", lost=lost, boundary=layout.boundary):
            if isinstance(item, BadLine):
                yield item
                continue
            if self._chat is None:
                yield from self._announce()
            yield from layout.message(*item, cast(SourceChat, self._chat))

    def _later_facts(self) -> dict[str, Any]:
        """The facts of the current chat, from after its messages: found by one look through the whole file."""
        if self._surveyed is None:
            self._surveyed = []
            # Damage ends the look; the reading itself meets it again and reports it.
            with self._source.again() as source, suppress(BadLineError):
                self._survey(JsonStream(source.read), self._surveyed)
        return self._surveyed[self._lists] if self._lists < len(self._surveyed) else {}

    def _survey(self, stream: JsonStream, found: list[dict[str, Any]]) -> None:
        """Collect the facts of each list of messages."""
        facts: dict[str, Any] = {}
        for key in stream.members():
            if key == "messages":
                found.append(facts)
                stream.skip()
            elif key in self._layout.inside and stream.peek() == b"{":
                self._survey(stream, found)
            elif key in self._layout.inside and stream.peek() == b"[":
                for _ in stream.items():
                    self._survey(stream, found)
            elif key in self._layout.facts:
                facts[key], _ = stream.value()
            else:
                stream.skip()
