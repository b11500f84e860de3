"""An imported file as UTF-8 bytes, whatever it is on the disk: plain or gzip, with a byte order mark, UTF-16 or UTF-32.

A `Source` is read once, from front to back, in pieces; `again` opens it anew for a reader that has to look twice.
"""

from __future__ import annotations

import codecs
import os
import zlib
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from typing import BinaryIO, Self

from trainerlib.errors import ImportError_, NotFoundError

PIECE = 256 * 1024
"""Bytes read from the file at once, and the least distance between two progress reports."""

LIMIT = 64 * 1024 * 1024
"""Bytes one line, message or conversation may have; a larger one is reported and skipped."""

Progress = Callable[[int], None]
"""Receives how many bytes of the file (compressed ones of a `.gz`) have been read so far."""

_GZIP = b"\x1f\x8b"

# UTF-32 first: its little-endian mark begins with that of UTF-16.
_MARKS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF8, ""),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)


class Source:
    r"""One pass over a file. Use it as a context manager, or exhaust it.

    Args:
        path: the file.
        progress: called with the bytes of the file read so far, at most once every 256 KiB and once at the end.

    Attributes:
        path: the file.
        damage: what is wrong with the container or the encoding, known when the end is reached; empty when nothing is.
        newlines: how many line ends have been read.

    Raises:
        NotFoundError: there is no such file.
        ImportError_: it is a directory or cannot be read.

    >>> import gzip, tempfile
    >>> with tempfile.TemporaryDirectory() as directory:
    ...     path = Path(directory, "чат.txt")
    ...     _ = path.write_bytes(gzip.compress("привет\nhello".encode("utf-16")))
    ...     with Source(path) as source:
    ...         [(number, line.decode()) for number, line in source.lines()]
    [(1, 'привет'), (2, 'hello')]
    """

    def __init__(self, path: str | os.PathLike[str], progress: Progress | None = None) -> None:
        self.path = Path(path)
        self.damage = ""
        self.newlines = 0
        self._progress = progress
        self._reported = 0
        self._file = self._open()
        self._pieces = self._text()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file; reading on is an error."""
        self._file.close()

    def again(self) -> Source:
        """The same file from its beginning, without progress."""
        return Source(self.path)

    def read(self) -> bytes:
        """The next piece, UTF-8; empty at the end.

        Raises:
            ImportError_: the disk does not give the file any more.
        """
        piece = next(self._pieces, b"")
        self.newlines += piece.count(b"\n")
        return piece

    def lines(self) -> Iterator[tuple[int, bytes | None]]:
        """Each line with its number from 1, without its line feed; `None` in place of a line larger than `LIMIT`."""
        number = size = 0
        held: list[bytes] = []
        while piece := self.read():
            lines = piece.split(b"\n")
            rest = lines.pop()
            if lines:
                held.append(lines[0])
                size += len(lines[0])
                lines[0] = b"".join(held)
                for line in lines:
                    number += 1
                    yield number, None if size > LIMIT else line
                    size = 0
                held.clear()
            size += len(rest)
            if size > LIMIT:
                held.clear()
            else:
                held.append(rest)
        if size:
            yield number + 1, None if size > LIMIT else b"".join(held)

    def _open(self) -> BinaryIO:
        if self.path.is_dir():
            raise ImportError_(f"{self.path} is a directory; name the export file inside it")
        try:
            if self.path.exists() and not self.path.is_file():
                raise ImportError_(f"{self.path} is not a regular file")
            return self.path.open("rb", buffering=0)
        except FileNotFoundError as error:
            raise NotFoundError(f"no such file: {self.path}") from error
        except OSError as error:
            raise self._unreadable(error) from error

    def _unreadable(self, error: OSError) -> ImportError_:
        return ImportError_(f"{self.path} cannot be read: {error.strerror or error}")

    def _raw(self) -> Iterator[bytes]:
        """The bytes of the file, reported as they pass."""
        done = 0
        try:
            while piece := self._file.read(PIECE):
                yield piece
                done += len(piece)
                if self._progress is not None and done - self._reported >= PIECE:
                    self._reported = done
                    self._progress(done)
        except OSError as error:
            raise self._unreadable(error) from error
        if self._progress is not None and done > self._reported:
            self._reported = done
            self._progress(done)

    def _plain(self) -> Iterator[bytes]:
        """The bytes, decompressed if they are gzip; a compressed file may have several members."""
        raw = self._raw()
        first = next(raw, b"")
        if not first.startswith(_GZIP):
            yield first
            yield from raw
            return
        inflate = zlib.decompressobj(31)
        try:
            rest = first
            while rest or (rest := next(raw, b"")):
                yield inflate.decompress(rest, PIECE)
                rest = inflate.unconsumed_tail
                if inflate.eof:
                    rest = inflate.unused_data.lstrip(b"\0") or next(raw, b"").lstrip(b"\0")
                    if rest:
                        inflate = zlib.decompressobj(31)
            # A member may still hold output when its last input byte was taken.
            yield inflate.flush()
        except zlib.error:
            self.damage = "the compressed data is damaged, what follows is lost"
        else:
            if not inflate.eof:
                self.damage = "the compressed file ends too early"

    def _text(self) -> Iterator[bytes]:
        """The bytes as UTF-8, without a byte order mark."""
        plain = self._plain()
        head = b""
        for piece in plain:
            head += piece
            if len(head) >= 4:
                break
        encoding, skip = _encoding(head)
        pieces = filter(None, chain((head[skip:],), plain))
        if not encoding:
            yield from pieces
            return
        # Lone surrogates become the byte sequences that UTF-8 forbids, so that a reader finds and reports them.
        decoder = codecs.getincrementaldecoder(encoding)("surrogatepass")
        try:
            for piece in pieces:
                if text := decoder.decode(piece):
                    yield text.encode("utf-8", "surrogatepass")
            decoder.decode(b"", final=True)
        except UnicodeDecodeError:
            self.damage = self.damage or f"not valid {encoding[:6].upper()}, what follows is lost"


def _encoding(head: bytes) -> tuple[str, int]:
    r"""Encoding and length of the byte order mark of a file that begins with `head`; an empty encoding is UTF-8.

    >>> _encoding(b"\xef\xbb\xbf[1]"), _encoding("[1]".encode("utf-16-le"))
    (('', 3), ('utf-16-le', 0))
    """
    for mark, encoding in _MARKS:
        if head.startswith(mark):
            return encoding, len(mark)
    # No text of the known formats has a NUL among its first characters, all begin with ASCII.
    empty = [byte == 0 for byte in head[:4]]
    if empty == [False, True, False, True]:
        return "utf-16-le", 0
    if empty == [True, False, True, False]:
        return "utf-16-be", 0
    return "", 0
