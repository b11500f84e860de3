r"""The text of a Word document (`.docx`, ISO/IEC 29500): headers, body, notes and footers, in that order.

A paragraph is a line, and so is a row of a table, its cells parted by `|`. What was inserted under revision is in, what
was deleted is not. Only parts with text are unpacked, a piece at a time and never more than `LIMIT` bytes; macros,
pictures and what a document refers to outside itself are not touched. One that declares a document type, as it takes to
define entities, is refused.

>>> import io
>>> row = "<w:tr><w:tc><w:p><w:r><w:t>Tulip</w:t></w:r></w:p></w:tc><w:tc><w:p><w:r><w:t>60</w:t></w:r></w:p></w:tc></w:tr>"
>>> body = f"<w:p><w:r><w:t>Цены</w:t></w:r></w:p><w:tbl>{row}</w:tbl>"
>>> file = io.BytesIO()
>>> with zipfile.ZipFile(file, "w") as archive:
...     archive.writestr(_MAIN, f'<w:document xmlns:w="{_WORD[0]}"><w:body>{body}</w:body></w:document>')
>>> read(file)
'Цены\nTulip | 60'
"""

from __future__ import annotations

import posixpath
import zipfile
from collections.abc import Callable
from typing import BinaryIO
from xml.parsers import expat

from trainerlib.errors import DocumentError

LIMIT = 32 * 1024 * 1024
"""Bytes of XML that are read of a document."""

_PIECE = 64 * 1024
_DAMAGED = "no Word document that can be read"

_MAIN = "word/document.xml"
_BEFORE = ("header",)
_AFTER = ("footnotes", "endnotes", "footer")

# Each as it was before the standard, and in its strict form.
_WORD = (
    "http://schemas.openxmlformats.org/wordprocessingml/2006/main",
    "http://purl.oclc.org/ooxml/wordprocessingml/main",
)
_FORMULAS = (
    "http://schemas.openxmlformats.org/officeDocument/2006/math",
    "http://purl.oclc.org/ooxml/officeDocument/math",
)
_COMPATIBILITY = "http://schemas.openxmlformats.org/markup-compatibility/2006"

_MARKS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
# Deleted, moved away, no text (but tab stops, which are called like tabs), or the same again for older programs.
_LEFT_OUT = frozenset({"del", "moveFrom", "pPr", "rPr", "Fallback"})
_NAMES = {
    f"{space} {name}": name
    for space in (*_WORD, *_FORMULAS, _COMPATIBILITY)
    for name in (("t",) if space in _FORMULAS else ("p", "t", "tr", "tc", *_MARKS, *_LEFT_OUT))
}


def read(file: BinaryIO, *, characters: int | None = None) -> str:
    """The text of a document.

    Args:
        file: the document, which can be sought in.
        characters: how many are enough: what comes after them may be missing.

    Raises:
        DocumentError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            return _text(_Package(archive), characters)
    except (MemoryError, DocumentError):
        raise
    except Exception as error:  # what a damaged file makes zipfile raise is not limited to its own errors
        raise DocumentError(f"{_DAMAGED}: {str(error) or type(error).__name__}", "damaged") from error


def _text(package: _Package, characters: int | None) -> str:
    main = next((target for kind, target in package.related("") if kind == "officeDocument"), _MAIN)
    related = package.related(main)
    lines: list[str] = []
    seen: set[tuple[str, ...]] = set()
    size = 0
    for part in (
        *(target for kind, target in related if kind in _BEFORE),
        main,
        *(target for wanted in _AFTER for kind, target in related if kind == wanted),
    ):
        # The header of a first page and those of the others are often the same.
        found = package.lines(part, None if characters is None else characters - size)
        if tuple(found) not in seen:
            seen.add(tuple(found))
            lines += found
            size += sum(map(len, found))
        if characters is not None and size > characters:
            break
    return "\n".join(lines).strip("\n")


class _Package:
    """The parts of a document.

    Args:
        archive: the file they are packed in.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        self._left = LIMIT

    def related(self, part: str) -> list[tuple[str, str]]:
        """Kind and name of the parts that one refers to; those of the whole package for an empty name."""
        place, name = posixpath.split(part)
        path = posixpath.join(place, "_rels", f"{name}.rels")
        found: list[tuple[str, str]] = []

        def start(_: str, attributes: dict[str, str]) -> None:
            kind, target = attributes.get("Type", "").rpartition("/")[2], attributes.get("Target")
            if target and attributes.get("TargetMode") != "External":
                found.append((kind, posixpath.normpath(posixpath.join("/", place, target)).lstrip("/")))

        if path in self._archive.NameToInfo:
            parser = _parser()
            parser.StartElementHandler = start
            self._parse(path, parser)
        return found

    def lines(self, part: str, characters: int | None) -> list[str]:
        """The text of a part, blank lines at its ends left out; at least so many characters, if there are."""
        found = _Lines()
        parser = _parser()
        parser.StartElementHandler = found.start
        parser.EndElementHandler = found.end
        parser.CharacterDataHandler = found.said
        self._parse(part, parser, until=lambda: characters is not None and found.size > characters)
        return found.stripped()

    def _parse(self, part: str, parser: expat.XMLParserType, until: Callable[[], bool] = bool) -> None:
        """Parse a part until it ends, or `until` says so."""
        info = self._archive.getinfo(part)
        if info.flag_bits & 1:
            raise DocumentError("it has a password; save it without one", "password")
        # Other methods are not allowed in such a document, and may take any amount of memory.
        if info.compress_type not in {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}:
            raise DocumentError(_DAMAGED, "damaged")
        # The sizes that the file states are not relied on: a piece is unpacked at a time.
        with self._archive.open(info) as member:
            while piece := member.read(_PIECE):
                self._left -= len(piece)
                if self._left < 0:
                    raise DocumentError(f"more than {LIMIT // 1024 // 1024} MiB of text", "large")
                parser.Parse(piece, False)
                if until():
                    return
        parser.Parse(b"", True)


def _parser() -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.StartDoctypeDeclHandler = _refuse
    return parser


def _refuse(*_: object) -> None:
    raise DocumentError(f"{_DAMAGED}: it declares a document type", "damaged")


class _Lines:
    """The lines of a part, gathered while it is parsed.

    Attributes:
        size: characters in them.
    """

    def __init__(self) -> None:
        self.size = 0
        self._lines: list[str] = []
        # Within each other: a cell may hold a table, and a paragraph the paragraphs of a text box.
        self._paragraphs: list[list[str]] = []
        self._rows: list[list[str]] = []
        self._cells: list[list[str]] = []
        self._is_text = False
        self._skipped = 0

    def start(self, name: str, _: dict[str, str]) -> None:
        tag = _NAMES.get(name)
        if self._skipped or tag in _LEFT_OUT:
            self._skipped += 1
        elif tag == "t":
            self._is_text = True
        elif tag == "p":
            self._paragraphs.append([])
        elif tag == "tr":
            self._rows.append([])
        elif tag == "tc":
            self._cells.append([])
        elif tag is not None and self._paragraphs:
            self._paragraphs[-1].append(_MARKS[tag])

    def end(self, name: str) -> None:
        if self._skipped:
            self._skipped -= 1
            return
        tag = _NAMES.get(name)
        if tag == "t":
            self._is_text = False
        elif tag == "p":
            self._add("".join(self._paragraphs.pop()))
        elif tag == "tc":
            cell = " ".join(" ".join(self._cells.pop()).split())
            if self._rows:
                self._rows[-1].append(cell)
            else:
                self._add(cell)
        elif tag == "tr":
            self._add(" | ".join(self._rows.pop()))

    def said(self, text: str) -> None:
        if self._is_text and not self._skipped and self._paragraphs:
            self._paragraphs[-1].append(text)

    def _add(self, line: str) -> None:
        if self._cells:
            self._cells[-1].append(line)
        else:
            self._lines.append(line)
            self.size += len(line) + 1

    def stripped(self) -> list[str]:
        """The lines from the first to the last that has words."""
        words = [number for number, line in enumerate(self._lines) if line.strip(" |\t\n")]
        return self._lines[words[0] : words[-1] + 1] if words else []
