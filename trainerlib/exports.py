"""Exports: the lines of a dataset written as rows of a fine-tuning format."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import BinaryIO, cast

import msgspec

from trainerlib.builds import BUFFER, HashingFile
from trainerlib.events import Role
from trainerlib.examples import ConversationExamples, Window
from trainerlib.formats import expressible, find_format, rows


class _StoredTurn(msgspec.Struct, frozen=True, gc=False):
    role: Role
    content: msgspec.Raw


class _StoredWindow(Window, frozen=True, gc=False):
    # A side that is absent is never written, so only its default is None.
    chosen: msgspec.Raw = None  # type: ignore[assignment] # text as JSON, see `StoredLine`
    rejected: msgspec.Raw = None  # type: ignore[assignment] # likewise


class StoredLine(msgspec.Struct, frozen=True, gc=False):
    """`ConversationExamples` with its texts left as JSON: an export only copies them."""

    position: int
    turns: tuple[_StoredTurn, ...]
    examples: tuple[_StoredWindow, ...]
    systems: tuple[msgspec.Raw, ...] = ()


decode_stored = msgspec.json.Decoder(StoredLine).decode
"""Reads a line of a dataset's file as a `StoredLine`."""


class ExportReport(msgspec.Struct, frozen=True):
    """What an export wrote.

    Attributes:
        format: the format.
        rows: lines written.
        examples: examples of the dataset or split.
        without: examples the format cannot say, for want of a side.
        repeated: examples left out because in this format they say what an earlier one said.
        path: the file, `None` for a stream.
        sha256: hex digest of what was written.
    """

    format: str
    rows: int
    examples: int
    without: int
    repeated: int
    path: Path | None
    sha256: str


def write_rows(lines: Iterable[StoredLine], file: BinaryIO, format: str, path: Path | None) -> ExportReport:  # noqa: A002 - the field's word
    """Write the rows of lines.

    Args:
        lines: the lines of a dataset, in log order.
        file: where the rows go.
        format: a name in `trainerlib.formats.FORMATS`.
        path: the file's name once it is whole, `None` for a stream.

    Raises:
        DatasetError: the format is not known.
    """
    written = examples = without = repeated = 0
    needs = find_format(format).needs
    with HashingFile(file, 4 * BUFFER) as output:
        for stored in lines:
            # The same fields, and a format puts the texts into its rows as JSON whichever they are.
            line = cast(ConversationExamples, stored)
            examples += len(line.examples)
            made = rows(line, format)
            if len(made) != len(line.examples):
                for window in line.examples:
                    if not expressible(window, format):
                        lacks = window.chosen is None or (needs == "both" and window.rejected is None)
                        without += lacks and needs != "either"
                        repeated += not lacks or needs == "either"
            written += len(made)
            output.write(b"".join(made))
        return ExportReport(format, written, examples, without, repeated, path, output.finish())
