"""Readers of foreign files: each turns one format into the records of `trainerlib.importers.records`.

>>> import tempfile
>>> with tempfile.NamedTemporaryFile() as file:
...     _ = file.write('{"instruction": "Когда вы открыты?", "output": "С 9 до 18."}'.encode())
...     file.flush()
...     detect(file.name)
...     [[(message.role, message.text) for message in row.messages] for row in read(file.name)]
'alpaca'
[[('user', 'Когда вы открыты?'), ('assistant', 'С 9 до 18.')]]
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial

from trainerlib.errors import UnrecognisedFormatError
from trainerlib.importers.records import BadLine, Record
from trainerlib.importers.source import Progress, Source

__all__ = ["FORMATS", "Reader", "detect", "read"]

Reader = Callable[[Source], Iterator[Record]]
"""Yields the records of one file; never raises for what is in it."""


def _telegram(source: Source) -> Iterator[Record]:
    from trainerlib.importers import telegram

    return telegram.read(source)


def _chatgpt(source: Source) -> Iterator[Record]:
    from trainerlib.importers import chatgpt

    return chatgpt.read(source)


def _discord(source: Source) -> Iterator[Record]:
    from trainerlib.importers import discord

    return discord.read(source)


def _whatsapp(source: Source) -> Iterator[Record]:
    from trainerlib.importers import whatsapp

    return whatsapp.read(source)


def _rows(name: str, source: Source) -> Iterator[Record]:
    from trainerlib.importers import rows

    return rows.read(source, name)


FORMATS: dict[str, Reader] = {
    "telegram": _telegram,
    "chatgpt": _chatgpt,
    "discord": _discord,
    "whatsapp": _whatsapp,
    "openai-chat": partial(_rows, "openai-chat"),
    "openai-preference": partial(_rows, "openai-preference"),
    "sharegpt": partial(_rows, "sharegpt"),
    "alpaca": partial(_rows, "alpaca"),
    "trl-sft": partial(_rows, "trl-sft"),
    "trl-preference": partial(_rows, "trl-preference"),
    "trl-kto": partial(_rows, "trl-kto"),
    "interchange": partial(_rows, "interchange"),
}
"""The reader of each format, by name."""


def read(
    path: str | os.PathLike[str],
    format: str | None = None,  # noqa: A002 - the word the command line uses
    *,
    progress: Progress | None = None,
) -> Iterator[Record]:
    """The records of a file, in its order.

    Bad content becomes a `BadLine` record and the reading goes on. Memory does not grow with the file: one message or
    conversation is held at a time, and none larger than 64 MiB.

    Args:
        path: the file, plain or gzip.
        format: a name in `FORMATS`; recognised by the content when it is not given.
        progress: called with the bytes of the file (compressed ones of a `.gz`) read so far.

    Raises:
        NotFoundError: there is no such file.
        UnrecognisedFormatError: the content fits no known format, or there is no format of that name.
        ImportError_: it is a directory or cannot be read.
    """
    name = detect(path) if format is None else format
    reader = FORMATS.get(name)
    if reader is None:
        raise UnrecognisedFormatError(f"unknown format {name!r}; known: {', '.join(FORMATS)}")
    Source(path).close()
    return _records(path, reader, progress)


def _records(path: str | os.PathLike[str], reader: Reader, progress: Progress | None) -> Iterator[Record]:
    with Source(path, progress) as source:
        yield from reader(source)
        if source.damage:
            yield BadLine(source.newlines + 1, source.damage)


def detect(path: str | os.PathLike[str]) -> str:
    """The format of a file, by what is in it; its name does not matter.

    Raises:
        NotFoundError: there is no such file.
        UnrecognisedFormatError: the content fits no known format.
        ImportError_: it is a directory or cannot be read.
    """
    from trainerlib.importers.recognition import recognise

    with Source(path) as source:
        found = recognise(source)
    if found is None:
        raise UnrecognisedFormatError(f"{path} is in no format known here: {', '.join(FORMATS)}")
    if not found:
        raise UnrecognisedFormatError(f"{path} is empty; formats known here: {', '.join(FORMATS)}")
    return found
