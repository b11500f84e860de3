"""The two kinds of file an archive can be, `.zip` and `.tar.zst`: members written in order, and read back without trust.

A writer makes the same bytes of the same members. A reader is told what the next member must be and refuses everything
else, so what a hostile file says is compared, never followed: no type but a plain file, no size but the announced one,
no member more or less, and no more memory than the list of its members takes.

>>> with (tmp / "a.zip").open("wb") as file, find_writer("a.zip")(file) as writer:
...     writer.add("first", 2, [b"Hi"])
...     writer.add("роза", 4, [b"re", b"d!"])
>>> with open_archive(tmp / "a.zip") as reader:
...     print(reader.first("first", 100), *reader.member("роза", 4))
...     reader.finish()
b'Hi' b'red!'
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import Any, BinaryIO, Protocol, Self
from zipfile import ZIP_DEFLATED, BadZipFile, ZipFile, ZipInfo

from trainerlib.errors import DatasetError, NotFoundError

SUFFIXES = (".tar.zst", ".zip")
"""What the name of an archive ends with."""

CHUNK = 1 << 20
"""Bytes read or written at once."""

_LEVEL = 6
_ZSTD, _ZIP = b"\x28\xb5\x2f\xfd", b"PK\x03\x04"
_ZIP_END, _ZIP_END_SIZE = b"PK\x05\x06", 22
_TAR_END = bytes(1024)
_TAR_LARGEST = 8**11 - 1
_FED = 256


def default_suffix() -> str:
    """`.tar.zst`, or `.zip` where no zstd library is installed."""
    try:
        _zstd()
    except DatasetError:
        return ".zip"
    return ".tar.zst"


class Writer(Protocol):
    """Writes members one after another; complete when it is left without an error."""

    def add(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        """Write a member; `chunks` have the size together."""

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None: ...


class Reader(Protocol):
    """Reads members one after another, as a `Writer` wrote them, and refuses everything else."""

    def first(self, name: str, largest: int) -> bytes:
        """The first member, which has to have this name and at most this size."""

    def member(self, name: str, size: int) -> Iterator[bytes]:
        """The next member, which has to be this one."""

    def finish(self) -> None:
        """Refuse what follows the last member."""


def find_writer(name: str) -> Callable[[BinaryIO], Writer]:
    """What writes an archive of this name into an open file.

    Raises:
        DatasetError: the name ends with no suffix of an archive, or `.tar.zst` needs a package that is not installed.
    """
    if name.lower().endswith(".zip"):
        return _ZipWriter
    if name.lower().endswith(".tar.zst"):
        compressor, _, _ = _zstd()
        return lambda file: _TarWriter(file, compressor())
    raise DatasetError(f"{name}: the name of an archive ends with {' or '.join(SUFFIXES)}")


@contextmanager
def open_archive(archive: Path) -> Iterator[Reader]:
    """What reads an archive; its first bytes tell which kind it is.

    Raises:
        NotFoundError: no such file.
        DatasetError: it is neither kind, or cannot be read.
    """
    try:
        file = archive.open("rb")
    except FileNotFoundError as error:
        raise NotFoundError(f"{archive}: no such file") from error
    except OSError as error:
        raise DatasetError(f"{archive}: {error.strerror}") from error
    with file:
        with _reading(archive):
            beginning = file.read(4)
            file.seek(0)
        if beginning == _ZSTD:
            yield _TarReader(archive, file)
        elif beginning == _ZIP:
            yield _ZipReader(archive, file)
        else:
            raise _foreign(archive)


@contextmanager
def _reading(archive: Path) -> Iterator[None]:
    """Whatever `zipfile` and the disk say about a damaged file, as one error."""
    try:
        yield
    except (BadZipFile, zlib.error, struct.error, EOFError, OSError, ValueError, NotImplementedError) as error:
        raise DatasetError(f"{archive}: cut short or damaged: {error}") from error


def _foreign(archive: Path) -> DatasetError:
    return DatasetError(f"{archive}: not an archive that trainerlib wrote")


def _unlike(archive: Path, name: str) -> DatasetError:
    return DatasetError(f"{archive}: what should be {name} is something else than a plain file of its size")


def _cut(archive: Path) -> DatasetError:
    return DatasetError(f"{archive}: cut short; get it again")


class _ZipWriter:
    def __init__(self, file: BinaryIO) -> None:
        self._archive = ZipFile(file, "w")

    def add(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        info = ZipInfo(name)  # dated 1980-01-01, the first day there is
        info.compress_type = ZIP_DEFLATED  # at level 6, as always when none is given
        info.create_system = 3  # Unix, on every system
        info.external_attr = (stat.S_IFREG | 0o644) << 16
        info.file_size = size  # tells whether it needs ZIP64
        with self._archive.open(info, "w") as member:
            for chunk in chunks:
                member.write(chunk)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._archive.close()
        else:
            # The file is given up; it only must not be written to when this object is deleted.
            with suppress(Exception):
                self._archive.close()


class _ZipReader:
    def __init__(self, archive: Path, file: BinaryIO) -> None:
        self._path = archive
        self._file = file
        with _reading(archive):
            self._archive = ZipFile(file)
        self._members = iter(self._archive.infolist())

    def first(self, name: str, largest: int) -> bytes:
        info = next(self._members, None)
        # Were it cut short, the end of an archive in it would pass for its own; that one begins later.
        if info is None or info.orig_filename != name or info.header_offset or info.file_size > largest:
            raise _foreign(self._path)
        return b"".join(self._read(info))

    def member(self, name: str, size: int) -> Iterator[bytes]:
        info = next(self._members, None)
        if info is None or info.orig_filename != name or info.file_size != size:
            raise _unlike(self._path, name)
        yield from self._read(info)

    def finish(self) -> None:
        self._file.seek(-_ZIP_END_SIZE, os.SEEK_END)
        if next(self._members, None) is not None or not self._file.read().startswith(_ZIP_END):
            raise _foreign(self._path)

    def _read(self, info: ZipInfo) -> Iterator[bytes]:
        kind = stat.S_IFMT(info.external_attr >> 16)
        if info.compress_type != ZIP_DEFLATED or info.flag_bits & 1 or kind not in (0, stat.S_IFREG):
            raise _unlike(self._path, info.orig_filename)
        with _reading(self._path), self._archive.open(info) as member:
            while chunk := member.read(CHUNK):
                yield chunk


class _TarWriter:
    def __init__(self, file: BinaryIO, compressor: Any) -> None:
        self._file = file
        self._compressor = compressor

    def add(self, name: str, size: int, chunks: Iterable[bytes]) -> None:
        self._write(_tar_header(name, size))
        for chunk in chunks:
            self._write(chunk)
        self._write(bytes(-size % 512))

    def _write(self, data: bytes) -> None:
        self._file.write(self._compressor.compress(data))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self._write(_TAR_END)
            self._file.write(self._compressor.flush())


class _TarReader:
    """Knows what every header must be, so there is nothing in a header to interpret."""

    def __init__(self, archive: Path, file: BinaryIO) -> None:
        self._path = archive
        self._stream = _Decompressed(archive, file)

    def first(self, name: str, largest: int) -> bytes:
        header = self._stream.read(512)
        try:
            size = int(header[124:135], 8)
        except ValueError:
            raise _foreign(self._path) from None
        if not 0 <= size <= largest or header != _tar_header(name, size):
            raise _foreign(self._path)
        return b"".join(self._content(name, size))

    def member(self, name: str, size: int) -> Iterator[bytes]:
        self._expect(_tar_header(name, size), name)
        yield from self._content(name, size)

    def finish(self) -> None:
        self._expect(_TAR_END, "the end")
        if not self._stream.ended():
            raise _foreign(self._path)

    def _content(self, name: str, size: int) -> Iterator[bytes]:
        for start in range(0, size, CHUNK):
            yield self._stream.read(min(CHUNK, size - start))
        self._expect(bytes(-size % 512), name)

    def _expect(self, wanted: bytes, name: str) -> None:
        if self._stream.read(len(wanted)) != wanted:
            raise _unlike(self._path, name)


class _Decompressed:
    """The content of a zstd file, in pieces of any size.

    It is fed 256 bytes at a time, which are never more than 8 MiB: in a zstd frame 4 bytes can stand for 128 KiB
    (RFC 8878, section 3.1.1.2).
    """

    def __init__(self, archive: Path, file: BinaryIO) -> None:
        self._path = archive
        self._file = file
        _, decompressor, self._error = _zstd()
        self._decompressor = decompressor()
        self._packed = memoryview(b"")
        self._ready = bytearray()

    def read(self, size: int) -> bytes:
        """So many bytes."""
        while len(self._ready) < size:
            self._more()
        data = bytes(self._ready[:size])
        del self._ready[:size]
        return data

    def ended(self) -> bool:
        """Everything was read, and nothing follows in the file."""
        while not self._ready and not self._decompressor.eof:
            self._more()
        return not (self._ready or self._decompressor.unused_data or self._packed or self._file.read(1))

    def _more(self) -> None:
        if not self._packed:
            with _reading(self._path):
                self._packed = memoryview(self._file.read(CHUNK))
        if self._decompressor.eof or not self._packed:
            raise _cut(self._path)
        try:
            self._ready += self._decompressor.decompress(self._packed[:_FED])
        except self._error as error:
            raise DatasetError(f"{self._path}: damaged: {error}") from error
        self._packed = self._packed[_FED:]


def _tar_header(name: str, size: int) -> bytes:
    """The header of a regular file, mode 0644, of nobody, from 1970; here, so that it is the same in every Python.

    POSIX.1-2017, `pax`: a ustar header, and before it an extended one where the name is not ASCII or has more than 100
    bytes, or the size is 8 GiB or more.
    """
    records = b""
    if not name.isascii() or len(name) > 100:
        records += _tar_record("path", name)
    if size > _TAR_LARGEST:
        records += _tar_record("size", str(size))
    header = _tar_block(name.encode("ascii", "replace")[:100], size if size <= _TAR_LARGEST else 0, b"0")
    if not records:
        return header
    return _tar_block(b"././@PaxHeader", len(records), b"x") + records + bytes(-len(records) % 512) + header


def _tar_record(key: str, value: str) -> bytes:
    """`LENGTH key=value`, where the length counts its own digits."""
    text = f" {key}={value}\n".encode()
    length = len(text)
    while length != len(text) + len(str(length)):
        length = len(text) + len(str(length))
    return str(length).encode() + text


def _tar_block(name: bytes, size: int, kind: bytes) -> bytes:
    """A ustar header: name, mode, owner, group, size, time, checksum, type, link, magic; the rest is empty."""
    numbers = (b"0000644", b"0000000", b"0000000", b"%011o" % size, b"%011o" % 0)
    block = struct.pack("100s8s8s8s12s12s8sc100s8s247x", name, *numbers, b" " * 8, kind, b"", b"ustar\x0000")
    return block[:148] + b"%06o\x00 " % sum(block) + block[156:]


def _zstd() -> tuple[Callable[[], Any], Callable[[], Any], type[Exception]]:
    """`(compressor, decompressor, error)` of Python's own zstd, which 3.14 brought, or of the package `zstandard`."""
    with suppress(ImportError):
        own: Any = import_module("compression.zstd")
        parameter = own.CompressionParameter
        options = {parameter.compression_level: _LEVEL, parameter.checksum_flag: 1}
        return (lambda: own.ZstdCompressor(options=options)), own.ZstdDecompressor, own.ZstdError
    try:
        zstandard: Any = import_module("zstandard")
    except ImportError as error:
        raise DatasetError(
            "a .tar.zst archive needs a package: pip install 'trainerlib[archive]'; a .zip needs none"
        ) from error
    compressor = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True)
    return compressor.compressobj, zstandard.ZstdDecompressor().decompressobj, zstandard.ZstdError
