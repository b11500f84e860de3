r"""A directory of good or bad examples: which files are in it, and how each is read.

>>> for name in (".draft.md", "b/table.csv", "b/photo.png", "a.txt"):
...     path = tmp / "good" / name
...     path.parent.mkdir(parents=True, exist_ok=True)
...     _ = path.write_text("Q: When are you open?\nA: 9 to 18.", encoding="utf-8")
>>> for found in walk(tmp / "good"):
...     print(found.file, found.reason if isinstance(found, SkippedFile) else found.kind)
.draft.md hidden
a.txt text
b/photo.png its name does not end like that of an example
b/table.csv csv
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from trainerlib import importers
from trainerlib.errors import UnrecognisedFormatError
from trainerlib.importers import documents

_ROWS = "rows"
_KINDS = {
    ".jsonl": _ROWS,
    ".ndjson": _ROWS,
    ".json": _ROWS,
    ".txt": "text",
    ".text": "text",
    ".md": "markdown",
    ".markdown": "markdown",
    ".csv": "csv",
    ".tsv": "csv",
    ".pdf": "pdf",
    ".docx": "docx",
}
_WORKSPACE_FILES = ("trainer.db", "workspace.toml")


class SkippedFile(msgspec.Struct, frozen=True):
    """Something in a directory that was not imported.

    Attributes:
        file: its path below the directory; that of a directory ends with a slash.
        reason: why.
        is_bad: it was meant as an example, by its name, and could not be read as one.
    """

    file: str
    reason: str
    is_bad: bool = False


class ExampleFile(msgspec.Struct, frozen=True):
    """A file that may hold examples.

    Attributes:
        path: where it is.
        file: its path below the directory.
        kind: `rows`, `text`, `markdown`, `csv`, `pdf` or `docx`, by its name.
        size: bytes.
    """

    path: Path
    file: str
    kind: str
    size: int


def walk(directory: Path) -> Iterator[ExampleFile | SkippedFile]:
    """Everything in a directory and those below it, by name.

    Hidden things, links that leave the directory and workspaces are not looked into.

    Args:
        directory: where to begin.
    """
    home = directory.resolve()
    waiting = _entries(home)
    while waiting:
        path = waiting.pop()
        file = _shown(path.relative_to(home).as_posix())
        try:
            found = _look(path, file, home)
            if found is not None:
                yield found
                continue
            file += "/"
            if is_workspace(path):
                yield SkippedFile(file, "a workspace")
            else:
                waiting += _entries(path)
        except OSError as error:
            yield SkippedFile(file, f"cannot be read: {error.strerror or error}", is_bad=True)


def _entries(directory: Path) -> list[Path]:
    """What a directory holds, the last by name first."""
    return sorted(directory.iterdir(), key=lambda path: path.name, reverse=True)


def _look(path: Path, file: str, home: Path) -> ExampleFile | SkippedFile | None:
    """What a path is; `None` for a directory to go on with."""
    is_directory = path.is_dir()
    if path.name.startswith("."):
        return SkippedFile(f"{file}/" if is_directory else file, "hidden")
    if path.is_symlink():
        if not path.exists():
            return SkippedFile(file, "a link to nothing", is_bad=True)
        if not path.resolve().is_relative_to(home):
            return SkippedFile(file, "a link that leaves the directory")
        if is_directory:
            return SkippedFile(file, "a link to a directory")
    if is_directory:
        return None
    if not path.is_file():
        return SkippedFile(file, "no regular file")
    compressed = path.suffix.lower() == ".gz"
    suffix = Path(path.stem).suffix if compressed else path.suffix
    kind = _KINDS.get(suffix.lower(), _ROWS if compressed and not suffix else "")
    if not kind or (compressed and kind in {"pdf", "docx"}):
        return SkippedFile(file, "its name does not end like that of an example")
    size = path.stat().st_size
    if not size:
        return SkippedFile(file, "empty")
    if kind != _ROWS and size > documents.LIMIT:
        return SkippedFile(file, f"larger than {documents.LIMIT // 1024 // 1024} MiB", is_bad=True)
    return ExampleFile(path, file, kind, size)


def is_workspace(directory: Path) -> bool:
    """Whether a directory is a workspace, in which trainerlib keeps its own files."""
    return any((directory / name).exists() for name in _WORKSPACE_FILES)


def _shown(name: str) -> str:
    """A file's name as text: bytes in it that are none become U+FFFD."""
    return os.fsencode(name).decode(errors="replace")


def format_of(file: ExampleFile) -> str:
    """The format to read a file as: a name in `importers.FORMATS` or in `documents.FORMATS`.

    A text that does not begin with somebody who speaks may be a chat export (WhatsApp writes `.txt`).

    Raises:
        NotFoundError: there is no such file any more.
        UnrecognisedFormatError: rows in no format known here.
        ImportError_: it cannot be read.
    """
    if file.kind == _ROWS:
        return importers.detect(file.path)
    if file.kind != "text" or documents.begins_dialogue(file.path):
        return file.kind
    try:
        return importers.detect(file.path)
    except UnrecognisedFormatError:
        return file.kind
