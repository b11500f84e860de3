r"""Documents that people write down by hand: plain text, Markdown, tables, PDF and Word, read as a whole.

Dialogues are found in them by `trainerlib.importers.dialogues`, questions and answers by `trainerlib.importers.tables`.
What lacks something is a `BadLine` as a whole, so that no half conversation is ever learned; a file that holds no
dialogue is an `ImportError_`.
"""

from __future__ import annotations

import logging
import re
from bisect import bisect_right
from collections.abc import Iterator
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

from trainerlib.errors import DocumentError, ImportError_, NotFoundError
from trainerlib.importers import word
from trainerlib.importers.dialogues import begins, dialogues
from trainerlib.importers.jsonstream import INVALID_UTF8
from trainerlib.importers.records import BadLine, Record, SourceConversation
from trainerlib.importers.source import Source
from trainerlib.importers.tables import table

FORMATS = ("text", "markdown", "csv", "pdf", "docx")
"""What `read` reads."""

LIMIT = 50 * 1024 * 1024
"""Bytes that a document may have, on the disk and decompressed: it is held in memory as a whole."""

PAGES = 500
"""Pages of a PDF that are looked at when some of its text is enough."""

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


def read(path: Path, form: str, *, characters: int | None = None) -> Document:
    """The text of a document.

    Args:
        path: the file; any but a PDF or a Word document may be compressed with gzip.
        form: one of `FORMATS`.
        characters: how many are enough: what comes after them may be missing.

    Raises:
        NotFoundError: there is no such file.
        ImportError_: it cannot be read; `DocumentError` when that is because of what is in it.
    """
    if form == "pdf":
        pages = _pages(path, characters)
        starts = accumulate((page.count("\n") + 1 for page in pages), initial=1)
        return Document(form, "\n".join(pages), pages=tuple(starts)[:-1])
    if form == "docx":
        return Document(form, _written(path, characters))
    with Source(path) as source:
        text, lost = decoded(_content(source))
        return Document(form, text, lost, damage=source.damage)


def begins_dialogue(path: Path) -> bool:
    """Whether the first words of a UTF-8 text say who speaks."""
    with Source(path) as source:
        return begins(source.read().decode(errors="replace"))


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
            raise DocumentError(_TOO_LONG, "large")
    return bytes(content)


def decoded(content: bytes) -> tuple[str, tuple[BadLine, ...]]:
    r"""The text of a file, its lines ended by line feeds alone, and the lines where bytes had to be given up.

    What is not UTF-8 is taken for Windows-1251 when it then reads as Russian (`is_windows_1251`), and for UTF-8 with
    broken bytes when ten characters beyond ASCII are whole for each that is not. Nothing else is guessed.

    Args:
        content: the bytes, UTF-16 with its mark already turned into UTF-8 by `Source`.

    Raises:
        DocumentError: it is no text, or in no encoding that can be told, or empty.

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
            raise DocumentError("in no encoding that can be told; save it as UTF-8", "encoding")
        lines = enumerate(text.split("\n"), 1)
        bad = tuple(BadLine(number, INVALID_UTF8) for number, line in lines if _LOST.search(line))
        text = _LOST.sub("\ufffd", text)
    if "\0" in text:
        raise DocumentError("no text: it holds NUL characters; UTF-16 needs a byte order mark", "encoding")
    if not text.strip():
        raise DocumentError("empty", "empty")
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


def _pages(path: Path, characters: int | None) -> list[str]:
    """The text of each page of a PDF; at least so many characters, if there are."""
    try:
        pypdf = import_module("pypdf")
    except ImportError as error:
        raise DocumentError("a PDF needs pypdf: pip install 'trainerlib[documents]'", "missing") from error
    logger = logging.getLogger("pypdf")
    if not logger.handlers:
        # Without a handler Python prints its remarks about odd files on stderr.
        logger.addHandler(logging.NullHandler())
    pages: list[str] = []
    size, enough = 0, LIMIT if characters is None else characters
    try:
        with path.open("rb") as file:
            reader = pypdf.PdfReader(file)
            locked = reader.is_encrypted and not reader.decrypt("")
            for page in () if locked else reader.pages:
                pages.append(page.extract_text())
                size += len(pages[-1])
                if size > enough or (characters is not None and len(pages) == PAGES):
                    break
    except MemoryError:
        raise
    except Exception as error:  # what a damaged file makes pypdf raise is not limited to its own errors
        raise DocumentError(
            f"no PDF that can be read: {' '.join(str(error).split()) or type(error).__name__}", "damaged"
        ) from error
    if locked:
        raise DocumentError("it has a password; save it without one", "password")
    if size > LIMIT:
        raise DocumentError(_TOO_LONG, "large")
    if not any(page.strip() for page in pages):
        raise DocumentError("no text in it; the pictures of a scan need text recognition first", "pictures")
    return [page.rstrip().replace("\r\n", "\n").replace("\r", "\n").replace("\0", "\ufffd") for page in pages]


def _written(path: Path, characters: int | None) -> str:
    """The text of a Word document."""
    try:
        with path.open("rb") as file:
            text = word.read(file, characters=characters)
    except FileNotFoundError as error:
        raise NotFoundError(f"no such file: {path}") from error
    except OSError as error:
        raise ImportError_(f"{path} cannot be read: {error.strerror or error}") from error
    if not text.strip():
        raise DocumentError("no text in it", "pictures")
    return text
