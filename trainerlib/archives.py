r"""Archives: files and a manifest with their sha256 in one `.tar.zst` or `.zip` that is the same wherever it is made.

The first member is `manifest.json`: name, size and sha256 of every file, and facts about them; the files follow under
`files/`, sorted by name. Nothing else gets in: no times, owners, permissions or machine names. So the same content
gives the same bytes on every system and Python, as long as the compression library is the same version; where that
differs, the packed bytes may, and the manifest does not. The manifest is what is compared and verified.

Any unpacker reads an archive. `restore_archive` is stricter: it takes only what `write_archive` writes, so that no
name leaves the directory, nothing is written that the manifest does not announce, and no part can be missing.

>>> report = write_archive([("нужды.txt", "Роза\n".encode()), ("a/b.txt", b"Tulip\n")], tmp / "shop.zip", facts={"of": "shop"})
>>> report.files, report.bytes, report.new
(2, 15, True)
>>> [file.name for file in read_manifest(tmp / "shop.zip").files]
['a/b.txt', 'нужды.txt']
>>> restore_archive(tmp / "shop.zip", tmp / "again").files
2
>>> (tmp / "again" / "нужды.txt").read_text(encoding="utf-8")
'Роза\n'
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Annotated, Any, BinaryIO
from unicodedata import normalize

import msgspec

from trainerlib.containers import CHUNK, Reader, Writer, find_writer, open_archive
from trainerlib.errors import DatasetError, NotFoundError

Progress = Callable[[int, int], None]
"""Called with how many bytes are done and how many there are."""

Source = Path | bytes
"""A file's content, or where it is."""

BY_RULE = frozenset({"hidden", "symbolic link", "empty directory", "not a regular file"})
"""Why `archive_directory` leaves out what it could have read; any other reason is a failure."""

_MANIFEST = "manifest.json"
_FILES = "files/"
_VERSION = 1
_LARGEST_MANIFEST = 64 << 20

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
# https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_NOT_ON_WINDOWS = re.compile(r'[<>:"|?*]|[. ]$|^(con|prn|aux|nul|com\d|lpt\d)(\.|$)', re.IGNORECASE)
_LONGEST_PART, _LONGEST_NAME = 255, 4_000


class ArchivedFile(msgspec.Struct, frozen=True):
    """A file of an archive, as the manifest has it.

    Attributes:
        name: its path, parts separated by `/`.
        bytes: its size.
        sha256: hex digest of its content.
    """

    name: str
    bytes: Annotated[int, msgspec.Meta(ge=0)]
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Manifest(msgspec.Struct, frozen=True):
    """What an archive holds.

    Attributes:
        files: its files, sorted by name.
        facts: what was said about them when they were archived.
        version: of the manifest's form.
    """

    files: tuple[ArchivedFile, ...]
    facts: dict[str, Any] = {}
    version: int = _VERSION


class ArchiveReport(msgspec.Struct, frozen=True):
    """What was written or restored.

    Attributes:
        path: the archive, or the directory it was restored to.
        files: how many files.
        bytes: their size together.
        archive_bytes: size of the archive.
        sha256: hex digest of the archive.
        skipped: `(name, reason)` of what was left out, sorted.
        new: this call wrote it; False when the same archive was there already.
    """

    path: Path
    files: int
    bytes: int
    archive_bytes: int
    sha256: str
    skipped: tuple[tuple[str, str], ...] = ()
    new: bool = True


# --- writing ---------------------------------------------------------------------------------------------------------


def write_archive(
    files: Iterable[tuple[str, Source]],
    target: Path,
    *,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ArchiveReport:
    """Write files into an archive; the same files and facts give the same manifest, and see above for the bytes.

    Files are read twice, to hash and to pack them, a piece at a time.

    Args:
        files: `(name, content or where it is)`, in any order.
        target: the archive, `.tar.zst` or `.zip`. It appears when it is complete. One that is there already stays:
            when it holds the same and is whole that is fine, else it is an error.
        facts: JSON values to keep in the manifest.
        progress: called with bytes read and bytes to read.

    Raises:
        NotFoundError: a file or the target's directory does not exist.
        DatasetError: a name cannot be on every system, a file cannot be read or changed meanwhile, another file is
            there, the disk is full, or `.tar.zst` needs a package that is not installed.
    """
    return _write(list(files), target, facts, progress, None)


def archive_directory(
    directory: Path,
    target: Path,
    *,
    hidden: bool = False,
    facts: Mapping[str, Any] | None = None,
    progress: Progress | None = None,
) -> ArchiveReport:
    """Write every regular file below a directory into an archive; what is left out is in the report.

    Symbolic links are not followed, empty directories and what cannot be read are left out.

    Args:
        directory: the directory.
        target: the archive, outside the directory; see `write_archive`.
        hidden: take files and directories whose names begin with a dot too; `.env` may hold keys.
        facts: JSON values to keep in the manifest.
        progress: called with bytes read and bytes to read.

    Raises:
        NotFoundError: no such directory.
        DatasetError: as for `write_archive`, or the target is in the directory.
    """
    if not directory.is_dir():
        raise NotFoundError(f"{directory}: no such directory")
    if target.resolve().is_relative_to(directory.resolve()):
        raise DatasetError(f"{target} is in the directory that it would hold; choose another place")
    files, skipped = _walk(directory, hidden=hidden)
    return _write(files, target, facts, progress, skipped)


def _walk(directory: Path, *, hidden: bool) -> tuple[list[tuple[str, Source]], list[tuple[str, str]]]:
    """Every regular file below a directory, and what is none or cannot be named."""
    files: list[tuple[str, Source]] = []
    skipped: list[tuple[str, str]] = []
    pending = [("", directory)]
    while pending:
        prefix, place = pending.pop()
        try:
            entries = list(os.scandir(place))
        except OSError as error:
            if not prefix:
                raise DatasetError(f"{directory}: {error.strerror}") from error
            skipped.append((prefix, _unreadable(error)))
            continue
        if prefix and not entries:
            skipped.append((prefix, "empty directory"))
        for entry in entries:
            name = prefix + entry.name
            fault = _fault(name)
            if entry.name.startswith(".") and not hidden:
                skipped.append((name, "hidden"))
            elif entry.is_symlink():
                skipped.append((name, "symbolic link"))
            elif fault:
                skipped.append((name, f"its name {fault}"))
            elif entry.is_dir(follow_symlinks=False):
                pending.append((f"{name}/", Path(entry.path)))
            elif entry.is_file(follow_symlinks=False):
                files.append((name, Path(entry.path)))
            else:
                skipped.append((name, "not a regular file"))
    return files, skipped


def _unreadable(error: OSError) -> str:
    return f"cannot be read: {error.strerror}"


def _write(
    files: list[tuple[str, Source]],
    target: Path,
    facts: Mapping[str, Any] | None,
    progress: Progress | None,
    skipped: list[tuple[str, str]] | None,
) -> ArchiveReport:
    """Write an archive. Files that cannot be read are added to `skipped`; without such a list they are an error."""
    if not target.parent.is_dir():
        raise NotFoundError(f"{target.parent}: no such directory")
    make_writer = find_writer(target.name)
    files.sort(key=lambda item: item[0])
    _check_names(str(target), [name for name, _ in files])
    tick = _Tick(progress, 2 * sum(_size(source) for _, source in files))
    entries: list[ArchivedFile] = []
    sources: list[Source] = []
    for name, source in files:
        try:
            size, digest = _digest(source, tick)
        except OSError as error:
            if skipped is None:
                kind = NotFoundError if isinstance(error, FileNotFoundError) else DatasetError
                raise kind(f"{_where(name, source)}: {error.strerror}") from error
            skipped.append((name, _unreadable(error)))
        else:
            entries.append(ArchivedFile(name, size, digest))
            sources.append(source)
    manifest = _encoded(Manifest(tuple(entries), dict(facts or {})))
    tick.total = tick.done + sum(entry.bytes for entry in entries)
    new = not os.path.lexists(target)
    if new:
        _pack(target, make_writer, manifest, list(zip(entries, sources, strict=True)), tick)
    else:
        _check_same(target, manifest, tick)
    # A name that is no Unicode is shown with escapes.
    left_out = [(name.encode(errors="backslashreplace").decode(), reason) for name, reason in skipped or ()]
    return _report(target, target, entries, skipped=tuple(sorted(left_out)), new=new)


def _where(name: str, source: Source) -> str:
    """What to call a file in an error."""
    return str(source) if isinstance(source, Path) else name


def _size(source: Source) -> int:
    """About how large it is; what cannot be read is found later."""
    if isinstance(source, bytes):
        return len(source)
    with suppress(OSError):
        return source.stat().st_size
    return 0


def _digest(source: Source, tick: _Tick) -> tuple[int, str]:
    """`(size, sha256)` of a file."""
    size, digest = 0, sha256()
    if isinstance(source, Path) and not stat.S_ISREG(source.stat().st_mode):
        raise OSError(errno.EINVAL, "not a regular file")  # to open a pipe would be to wait
    for chunk in _chunks(source):
        size += len(chunk)
        digest.update(chunk)
        tick(len(chunk))
    return size, digest.hexdigest()


def _chunks(source: Source) -> Iterator[bytes]:
    if isinstance(source, bytes):
        for start in range(0, len(source), CHUNK):
            yield source[start : start + CHUNK]
        return
    with source.open("rb") as file:
        while chunk := file.read(CHUNK):
            yield chunk


def _encoded(manifest: Manifest) -> bytes:
    data = msgspec.json.format(msgspec.json.encode(manifest, order="sorted"), indent=1) + b"\n"
    if len(data) > _LARGEST_MANIFEST:
        raise DatasetError(f"{len(manifest.files):,} files are too many for one archive; archive parts of it")
    return data


def _pack(
    target: Path,
    make_writer: Callable[[BinaryIO], Writer],
    manifest: bytes,
    entries: list[tuple[ArchivedFile, Source]],
    tick: _Tick,
) -> None:
    """Write the archive beside the target, and give it its name when it is complete and on the disk."""
    partial = target.with_name(f".archiving-{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("xb") as file:
            with make_writer(file) as writer:
                writer.add(_MANIFEST, len(manifest), [manifest])
                for entry, source in entries:
                    changed = f"{_where(entry.name, source)}: changed while it was being archived; nothing was written"
                    content = _checked(entry, _still_there(source, changed), changed, tick)
                    writer.add(_FILES + entry.name, entry.bytes, content)
            file.flush()
            os.fsync(file.fileno())
        if os.path.lexists(target):
            raise DatasetError(f"{target}: another file was put there meanwhile, and is not replaced")
        partial.replace(target)
        _sync_directory(target.parent)
    except OSError as error:
        raise DatasetError(f"{target}: not written: {error.strerror}") from error
    finally:
        partial.unlink(missing_ok=True)


def _still_there(source: Source, changed: str) -> Iterator[bytes]:
    try:
        yield from _chunks(source)
    except OSError as error:
        raise DatasetError(f"{changed} ({error.strerror})") from error


def _sync_directory(directory: Path) -> None:
    """Have the new name on the disk too, where a directory can be opened."""
    with suppress(OSError):
        descriptor = os.open(directory, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _check_same(target: Path, manifest: bytes, tick: _Tick) -> None:
    """Refuse to go on unless the archive that is there holds the same, whole."""
    try:
        with open_archive(target) as reader:
            same = reader.first(_MANIFEST, _LARGEST_MANIFEST) == manifest
            if same:
                for _, content in _contents(target, reader, _decoded(target, manifest), tick):
                    for _ in content:
                        pass
    except (DatasetError, NotFoundError) as error:
        raise DatasetError(f"a file is there already, and is not replaced: {error}") from error
    if not same:
        raise DatasetError(f"{target} is there already, holds something else, and is not replaced")


# --- reading ---------------------------------------------------------------------------------------------------------


def read_manifest(archive: Path) -> Manifest:
    """What an archive says it holds; only `restore_archive` finds out whether it does.

    Raises:
        NotFoundError: no such file.
        DatasetError: it is no archive of trainerlib, is damaged, or has a name in it that is refused.
    """
    with open_archive(archive) as reader:
        return _decoded(archive, reader.first(_MANIFEST, _LARGEST_MANIFEST))


def restore_archive(archive: Path, directory: Path, *, progress: Progress | None = None) -> ArchiveReport:
    """Bring the files of an archive back, each verified while it is written; all of them or none.

    Args:
        archive: the file.
        directory: where they go: a directory that does not exist yet, or is empty.
        progress: called with bytes written and bytes to write.

    Raises:
        NotFoundError: no such file, or the directory's parent does not exist.
        DatasetError: the directory is in use, the archive is cut short, damaged or none of trainerlib's, a name in
            it is refused, a file is not what the manifest says, or the disk is full.
    """
    with open_archive(archive) as reader:
        manifest = _decoded(archive, reader.first(_MANIFEST, _LARGEST_MANIFEST))
        place = _place(directory)
        total = sum(entry.bytes for entry in manifest.files)
        free = shutil.disk_usage(place.parent).free
        if total > free:
            raise DatasetError(f"{archive} needs {total:,} bytes, and {place.parent} has {free:,}")
        # Beside the place, so that one renaming brings it there.
        partial = place.with_name(f".restoring-{uuid.uuid4().hex[:8]}")
        try:
            partial.mkdir()
            for entry, content in _contents(archive, reader, manifest, _Tick(progress, total)):
                _restore_file(partial / entry.name, content)
            if os.name == "nt" and place.exists():
                place.rmdir()  # elsewhere an empty directory is replaced in one step
            partial.rename(place)
        except OSError as error:
            raise DatasetError(f"{directory}: not restored: {error.strerror}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return _report(directory, archive, manifest.files)


def _place(directory: Path) -> Path:
    """The directory to restore to, without links on the way."""
    place = directory.resolve()
    if not place.parent.is_dir():
        raise NotFoundError(f"{place.parent}: no such directory")
    if place.exists():
        if not place.is_dir():
            raise DatasetError(f"{directory} is a file; restore into a new directory")
        if any(place.iterdir()):
            raise DatasetError(f"{directory} is not empty; restore into a new directory")
        if os.path.ismount(place) or place.samefile("."):
            raise DatasetError(f"{directory} is in use and cannot be replaced; restore into a new directory")
    return place


def _restore_file(path: Path, content: Iterator[bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("xb") as file:
        for chunk in content:
            file.write(chunk)


def _contents(
    archive: Path, reader: Reader, manifest: Manifest, tick: _Tick
) -> Iterator[tuple[ArchivedFile, Iterator[bytes]]]:
    """Each file with its content, which has to be read to its end before the next; all are there when this ends."""
    for entry in manifest.files:
        content = reader.member(_FILES + entry.name, entry.bytes)
        yield entry, _checked(entry, content, f"{archive}: {entry.name} is not what the manifest says", tick)
    reader.finish()


def _checked(entry: ArchivedFile, chunks: Iterable[bytes], fault: str, tick: _Tick) -> Iterator[bytes]:
    """The content as long as it is what the manifest says, and an error instead of the first piece too much."""
    left, digest = entry.bytes, sha256()
    for chunk in chunks:
        left -= len(chunk)
        if left < 0:
            break
        digest.update(chunk)
        tick(len(chunk))
        yield chunk
    if left or digest.hexdigest() != entry.sha256:
        raise DatasetError(fault)


def _decoded(archive: Path, data: bytes) -> Manifest:
    """The manifest, when it is one that may be restored."""
    try:
        manifest = msgspec.json.decode(data, type=Manifest)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DatasetError(f"{archive}: its manifest does not read: {error}") from error
    if manifest.version != _VERSION:
        raise DatasetError(f"{archive}: a newer trainerlib wrote it; upgrade trainerlib")
    _check_names(str(archive), [entry.name for entry in manifest.files])
    return manifest


def _report(
    path: Path,
    archive: Path,
    entries: Iterable[ArchivedFile],
    *,
    skipped: tuple[tuple[str, str], ...] = (),
    new: bool = True,
) -> ArchiveReport:
    sizes = [entry.bytes for entry in entries]
    with archive.open("rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    return ArchiveReport(path, len(sizes), sum(sizes), archive.stat().st_size, digest, skipped, new)


class _Tick:
    """Adds up what is done for whoever watches."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self.done = 0
        self.total = total

    def __call__(self, number: int) -> None:
        self.done += number
        if self._progress is not None:
            self._progress(min(self.done, self.total), self.total)


# --- names -----------------------------------------------------------------------------------------------------------


def _check_names(what: str, names: list[str]) -> None:
    """Refuse names that are no plain relative paths, or of which two are one on some system."""
    taken: dict[str, str] = {}
    for name in names:
        fault = _fault(name)
        if fault:
            raise DatasetError(f"{what}: refused: the name {name!r} {fault}")
        parts = name.split("/")
        for length in range(1, len(parts)):
            directory = "/".join(parts[:length]) + "/"
            other = taken.setdefault(_folded(directory[:-1]), directory)
            if other != directory:
                raise DatasetError(f"{what}: refused: {other!r} and {directory!r} are one name on some systems")
        folded = _folded(name)
        if folded in taken:
            raise DatasetError(f"{what}: refused: {taken[folded]!r} and {name!r} are one name on some systems")
        taken[folded] = name


def _folded(name: str) -> str:
    """The same for names that some system takes for one.

    Canonical caseless matching: The Unicode Standard, section 3.13, D145.
    """
    return name.lower() if name.isascii() else normalize("NFD", normalize("NFD", name).casefold())


def _fault(name: str, *, windows: bool = os.name == "nt") -> str:
    """What is wrong with a name; empty when it is a plain relative path.

    >>> _fault("v1/../../keys"), _fault("v1/train.jsonl")
    ('leaves the directory', '')
    """
    parts = name.split("/")
    if name.startswith("/") or _DRIVE.match(name):
        return "is absolute"
    if ".." in parts:
        return "leaves the directory"
    if "" in parts or "." in parts:
        return "has an empty part"
    if "\\" in name:
        return "has a backslash"
    if _CONTROL.search(name):
        return "has a control character"
    try:
        sizes = [len(part.encode()) for part in parts]
    except UnicodeEncodeError:
        return "is no Unicode"
    if max(sizes) > _LONGEST_PART or sum(sizes) + len(sizes) > _LONGEST_NAME:
        return "is too long"
    if windows and any(_NOT_ON_WINDOWS.search(part) for part in parts):
        return "cannot be on Windows"
    return ""
