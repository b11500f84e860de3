"""Which format a file is in, by what is in it."""

from __future__ import annotations

from itertools import islice
from typing import Any

import msgspec

from trainerlib.errors import BadLineError
from trainerlib.importers import rows, whatsapp
from trainerlib.importers.jsonstream import JsonStream, decode
from trainerlib.importers.records import BadLine
from trainerlib.importers.source import Source

_ENOUGH = 100
_decode_object = msgspec.json.Decoder(dict[str, Any]).decode


def recognise(source: Source) -> str | None:
    """The name of the format, or `None`; an empty name for a file in which there is nothing.

    Reads until it knows: usually the first few kilobytes, the whole file of an export whose chats come last.
    """
    stream = JsonStream(source.read)
    first = stream.peek()
    if not first:
        return ""
    # Before JSON: an iPhone's line begins with a bracket too.
    if first != b"{" and _is_whatsapp(source):
        return "whatsapp"
    if first not in (b"{", b"["):
        return _by_line(source)
    try:
        if first == b"[":
            return _by_element(stream, lost=False)
        return _by_key(stream) or _by_line(source)
    except BadLineError:
        return _by_line(source) or _by_element(stream, lost=True)


def _is_whatsapp(source: Source) -> bool:
    with source.again() as again:
        lines = again.read().decode(errors="replace").splitlines()
    return any(map(whatsapp.begins_message, lines[:_ENOUGH]))


def _by_line(source: Source) -> str | None:
    """The format of the first row that is one."""
    with source.again() as again:
        for _, raw in islice(again.lines(), _ENOUGH):
            try:
                found = rows.format_of(decode(raw or b"", msgspec.json.decode)[0])
            except (msgspec.DecodeError, RecursionError):
                continue
            if found:
                return found
    return None


def _by_element(stream: JsonStream, *, lost: bool) -> str | None:
    """The format of the first object that tells: a conversation, a row, or a message after a damaged beginning."""
    for item in islice(stream.elements(_decode_object, "row", lost=lost), _ENOUGH):
        if not isinstance(item, BadLine) and (found := _of_element(item[1])):
            return found
    return None


def _of_element(element: dict[str, Any]) -> str | None:
    if "mapping" in element:
        return "chatgpt"
    if "role" not in element and element.keys() >= {"id", "type"}:
        return "discord" if "timestamp" in element else "telegram"
    return rows.format_of(element)


def _by_key(stream: JsonStream) -> str | None:
    """The exporter of one large object; `None` for a row."""
    seen: set[str] = set()
    for key in stream.members():
        if key in {"chats", "left_chats"} and stream.peek() == b"{":
            return "telegram"
        if key == "messages" and stream.peek() == b"[":
            for item in stream.elements(_decode_object, "message"):
                if isinstance(item, BadLine):
                    continue
                if "role" in item[1]:
                    return None
                if found := _of_element(item[1]):
                    return found
        else:
            stream.skip()
        seen.add(key)
    if seen >= {"messages", "channel"}:
        return "discord"
    return "telegram" if seen >= {"messages", "type", "id"} else None
