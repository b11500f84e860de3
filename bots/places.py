r"""Which paths a bot may touch: what somebody typed in a chat, and where the files that they send are kept.

A path is relative to the workspace and means the same on every system, or it is refused: nothing that leaves the
workspace, and no character that looks like another or like none. What is given out is a regular file that is none of
the bot's own: no database, settings, keys or hidden files, neither by name nor by another name for the same file.

The message of each error is a sentence of `bots.texts`, to be said in anybody's language; no path is in it.

>>> workspace = tmp / "shop"
>>> kept = keep(workspace, b"Roses: 150", name="../Цены.txt", kind="document", at=datetime(2026, 11, 14, tzinfo=UTC))
>>> name = kept.relative_to(workspace).as_posix()
>>> name
'files/2026-11/9bde8ad3de95f4506627b288703ea8af-Цены.txt'
>>> with open_servable(workspace, name) as file:
...     file.read()
b'Roses: 150'
>>> servable(workspace, "files/../.env")
Traceback (most recent call last):
trainerlib.errors.PathRefusedError: The path leaves the workspace.
"""

from __future__ import annotations

import errno
import os
import re
import stat
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from itertools import pairwise, starmap
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self
from unicodedata import category, normalize

from bots.texts import N_
from trainerlib.errors import DiskFullError, PathRefusedError, StoreError, UploadRefusedError

LIMIT = 50_000_000
"""Bytes of the largest file that Telegram takes from a bot."""

FILES = "files"
"""Directory of a workspace with what people sent."""

_LONGEST_PART, _LONGEST_PATH = 255, 1_000
"""Bytes, UTF-8."""

_CHUNK = 1 << 18

# What reads as a slash, a backslash or a colon and does not become one when it is normalised.
_LOOKALIKES = frozenset("⁄∕⧸╱⟋〳∖⧵⧹╲⟍∶꞉")

# Letters and marks that show nothing: fillers, joiners, variation selectors.
_INVISIBLE = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

_HELD = timedelta(days=1)
"""Age from which a part of a file is that of a process that is gone."""

# Names of devices, with any ending: https://learn.microsoft.com/windows/win32/fileio/naming-a-file
_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|clock\$|com[0-9¹²³]|lpt[0-9¹²³]) *(\.|$)", re.IGNORECASE)

# Compared with names in small letters, so that it holds where `TRAINER.DB` is the database too.
_PRIVATE = re.compile(
    r"""
    ^(trainer|inbox)\.db | \.(db|sqlite\d?)($|[^a-z])
    | ^(workspace\.toml|erasures\.jsonl) | \.env($|[^a-z]) | ^_netrc
    | \.(pem|key|p8|p12|pfx|ppk|jks|kdbx|keystore|gpg|asc)($|[^a-z]) | ^(\w{32}-)?id_(rsa|dsa|ecdsa|ed25519)
    | credential | (?<![a-z])secrets?(?![a-z]) | passw | service[-_.]?account | (?<![a-z])tokens?(?![a-z]) | private[-_. ]?key
    """,
    re.VERBOSE,
)

_CHANGED = N_("The file cannot be read just now. Try again.")

_HEAD = 1024
_DATABASE = b"SQLite format 3\0"
_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY|^PuTTY-User-Key-File|^openssh-key-v1\0")


# --- paths that somebody typed ---------------------------------------------------------------------------------------


def inside(workspace: Path, given: str) -> Path:
    """The place that a typed path means, absolute and without links; there need be nothing.

    Args:
        workspace: directory of the workspace.
        given: relative to it, parts separated by `/`.

    Raises:
        PathRefusedError: it leaves the workspace, or is none that means the same everywhere.
    """
    parts = _parts(given)
    root = _real(workspace)
    target = _real(root.joinpath(*parts))
    if target == root or not target.is_relative_to(root):
        raise PathRefusedError(N_("The path leaves the workspace."))
    # What is still a link after all were followed is one of a loop.
    if any(map(os.path.islink, (target, *target.parents))):
        raise PathRefusedError(N_("There is nothing at that path."))
    return target


def servable(workspace: Path, given: str, *, limit: int = LIMIT) -> Path:
    """The file that a typed path means, if a bot may give it out; `open_servable` to read it.

    Args:
        workspace: directory of the workspace.
        given: relative to it, parts separated by `/`.
        limit: bytes it may have.

    Raises:
        PathRefusedError: it is none of the workspace, is private, no regular file, not there, empty or too large.
    """
    path, _ = _found(workspace, given, limit)
    return path


def open_servable(workspace: Path, given: str, *, limit: int = LIMIT) -> BinaryIO:
    """The file that a typed path means, open for reading: the very one that was judged, whatever is put in its place.

    Args:
        workspace: directory of the workspace.
        given: relative to it, parts separated by `/`.
        limit: bytes it may have.

    Raises:
        PathRefusedError: as `servable`, or it holds a database or a private key, or it was replaced just now.
    """
    path, judged = _found(workspace, given, limit)
    return _opened(_real(workspace), path, judged, limit)


def directory(workspace: Path, given: str) -> Path:
    """The directory that a typed path means; a slash may end it.

    Args:
        workspace: directory of the workspace.
        given: relative to it, parts separated by `/`.

    Raises:
        PathRefusedError: it is none of the workspace, is private, or no directory.
    """
    path = inside(workspace, given.removesuffix("/"))
    _check_public(_real(workspace), path, given)
    try:
        found = path.lstat()
    except (OSError, ValueError) as error:
        raise PathRefusedError(N_("There is no such directory.")) from error
    if not stat.S_ISDIR(found.st_mode):
        raise PathRefusedError(N_("That is no directory."))
    return path


def _parts(given: str) -> list[str]:
    """The parts of a path that means the same on every system.

    >>> _parts("datasets/нужды/v1")
    ['datasets', 'нужды', 'v1']
    """
    if not given.strip():
        raise PathRefusedError(N_("Say which one: its path in the workspace, such as files/prices.pdf."))
    if len(given) > _LONGEST_PATH:
        raise PathRefusedError(N_("The path is too long."))
    if not _is_plain(given):
        raise PathRefusedError(N_("The path has a character in it that is not taken here."))
    if given.startswith(("/", "~")) or re.match(r"[A-Za-z]:", given):
        raise PathRefusedError(N_("The path has to begin in the workspace: without a slash, a drive or ~."))
    parts = given.split("/")
    if ".." in parts:
        raise PathRefusedError(N_("The path leaves the workspace."))
    if any(character in given for character in '\\:~<>"|?*'):
        raise PathRefusedError(N_("The path has a character in it that is not taken here."))
    sizes = [len(part.encode()) for part in parts]
    if max(sizes) > _LONGEST_PART or sum(sizes) + len(sizes) > _LONGEST_PATH:
        raise PathRefusedError(N_("The path is too long."))
    if any(not part or part != part.strip(" ").rstrip(".") or _DEVICE.match(part) for part in parts):
        raise PathRefusedError(N_("The path has a name in it that is not taken here."))
    return parts


def _is_plain(text: str) -> bool:
    """Whether every character is shown and is what it looks like, in the one way there is to write it.

    >>> _is_plain("Ёлка, 2026.pdf"), _is_plain("\uff0e\uff0e"), _is_plain("a\u202efdp")
    (True, False, False)
    """
    return normalize("NFC", text) == text and all(starmap(_fits, pairwise(f" {text}")))


def _fits(before: str, character: str) -> bool:
    """Whether a character is shown after another and no system takes it for one that paths are made of."""
    if character.isascii():
        return character.isprintable()
    kind = category(character)
    # A mark belongs to a letter: on a dot or a slash it hides what it stands on.
    if kind[0] == "M" and (kind == "Me" or category(before)[0] not in "LMN"):
        return False
    return (
        character.isprintable()
        and character not in _LOOKALIKES
        and not _INVISIBLE.match(character)
        and not any(part in "./\\:~" or part.isspace() for part in normalize("NFKC", character))
    )


def _real(path: Path) -> Path:
    try:
        return Path(os.path.realpath(path))
    except (OSError, ValueError) as error:
        raise PathRefusedError(N_("There is nothing at that path.")) from error


# --- what may be given out --------------------------------------------------------------------------------------------


def _found(workspace: Path, given: str, limit: int) -> tuple[Path, os.stat_result]:
    """A file that may be given out, and what it was when it was judged."""
    path = inside(workspace, given)
    root = _real(workspace)
    _check_public(root, path, given)
    try:
        found = path.lstat()
    except (OSError, ValueError) as error:
        raise PathRefusedError(N_("There is no such file.")) from error
    _check_file(root, found, limit)
    return path, found


def _check_public(root: Path, path: Path, given: str) -> None:
    """Refuse what is private by its name: by the one that was typed, or by the one that links lead to."""
    if any(_is_private(part) for part in (*given.split("/"), *path.relative_to(root).parts)):
        raise PathRefusedError(N_("That is not given out."))


def _is_private(name: str) -> bool:
    """Whether a name is that of a thing of the bot's own.

    >>> [_is_private(name) for name in ("Trainer.DB-wal", ".git", "id_rsa.pub", "bot-credentials.json", "prices.pdf")]
    [True, True, True, True, False]
    """
    return name.startswith(".") or _PRIVATE.search(normalize("NFKC", name).casefold()) is not None


def _check_file(root: Path, found: os.stat_result, limit: int) -> None:
    """Refuse what is no regular file, another name of a private one, empty or too large."""
    if not stat.S_ISREG(found.st_mode):
        raise PathRefusedError(N_("That is no file."))
    if found.st_nlink > 1 and any(os.path.samestat(found, private) for private in _private_files(root)):
        raise PathRefusedError(N_("That is not given out."))
    if found.st_size > limit:
        raise PathRefusedError(N_("The file is too large to send."))
    if not found.st_size:
        raise PathRefusedError(N_("The file is empty."))


def _private_files(root: Path) -> Iterator[os.stat_result]:
    """The private files at the top of the workspace, where the bot has its own."""
    with os.scandir(root) as entries:
        for entry in entries:
            if _is_private(entry.name):
                with suppress(OSError):
                    yield Path(entry).stat()


def _opened(root: Path, path: Path, judged: os.stat_result, limit: int) -> BinaryIO:
    """A judged file, opened without following a link anywhere below the workspace."""
    parts = path.relative_to(root).parts
    with ExitStack() as stack:
        try:
            # Not `Path.open`: it takes no opener, and a descriptor of one's own stays open when that fails.
            file = stack.enter_context(open(path, "rb", opener=lambda *_: _descriptor(root, parts)))
            found = os.fstat(file.fileno())
            head = file.read(_HEAD) if os.path.samestat(found, judged) else None
            file.seek(0)
        except OSError as error:
            raise PathRefusedError(_CHANGED) from error
        if head is None:
            raise PathRefusedError(_CHANGED)
        _check_file(root, found, limit)
        if head.startswith(_DATABASE) or _KEY.search(head):
            raise PathRefusedError(N_("That is not given out."))
        stack.pop_all()
    return file


# A pipe that is put in the place of a file must not make the bot wait for its other end.
_READ = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


def _descriptor(root: Path, parts: tuple[str, ...]) -> int:
    """A file opened one directory after the other, so that none of them can be a link."""
    if os.open not in os.supports_dir_fd:
        # There the open file is compared with the one that was judged, which was reached through no link.
        return os.open(root.joinpath(*parts), _READ)
    at = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=at)
            os.close(at)
            at = below
        return os.open(parts[-1], _READ, dir_fd=at)
    finally:
        os.close(at)


# --- what people send -------------------------------------------------------------------------------------------------

_MONTH = "[0-9][0-9][0-9][0-9]-[0-9][0-9]"
_PARTIAL = ".partial"
_LONGEST_NAME, _NAME_BYTES, _LONGEST_SUFFIX = 100, 200, 16


def upload_name(name: str, *, kind: str) -> str:
    r"""The name that somebody gave to a file, made safe: letters of any script, digits, `-`, `_`, space and `.`.

    Args:
        name: as they gave it; a path counts by its last part.
        kind: what the file is called when nothing is left of it, `voice`.

    Returns:
        100 characters at most, with the ending it had.

    >>> [upload_name(name, kind="photo") for name in ("Отчёт №1: май.PDF", "..\\..\\.bashrc", "nul.txt", "///", "🌷")]
    ['Отчёт _1_ май.PDF', 'bashrc', '_nul.txt', 'photo', 'photo']
    """
    last = re.split(r"[/\\]", normalize("NFC", name))[-1]
    kept = ""
    for character in last:
        plain = character in "-_ ." or (category(character)[0] in "LMN" and _fits(kept[-1:] or " ", character))
        kept += character if plain else "_"
    kept = re.sub(r"_{2,}", "_", re.sub(r" {2,}", " ", kept)).strip(" .")
    if not kept.strip("_-. "):
        return kind
    stem, dot, suffix = kept.rpartition(".")
    if not stem or len(suffix) > _LONGEST_SUFFIX:
        stem, dot, suffix = kept, "", ""
    if _DEVICE.match(stem):
        stem = f"_{stem}"
    suffix = f"{dot}{suffix}"
    stem = stem[: _LONGEST_NAME - len(suffix)]
    while len((stem + suffix).encode()) > _NAME_BYTES:
        stem = stem[:-1]
    return stem.rstrip(" .") + suffix


class Incoming:
    """A file that somebody sends, on its way below `files/`. Use it as a context manager; a download writes into it.

    Nothing is there under its name before `keep`, and nothing is left when that is never called.

    Args:
        workspace: directory of the workspace.
        name: as its sender called it.
        kind: what it is, `voice`, `document`.
        limit: bytes it may have.
        at: when it came; now, by default.
        chat: where it came; the same bytes that came elsewhere are another file, so each goes with those who sent it.

    Raises:
        DiskFullError: no room left.
        StoreError: nothing can be written there.

    >>> with Incoming(tmp / "shop", name="hours.txt", kind="document") as incoming:
    ...     for piece in (b"9 to ", b"18"):
    ...         _ = incoming.write(piece)
    ...     incoming.keep().read_bytes()
    b'9 to 18'
    """

    def __init__(
        self,
        workspace: Path,
        *,
        name: str,
        kind: str,
        limit: int = LIMIT,
        at: datetime | None = None,
        chat: str = "",
    ) -> None:
        self._files = workspace / FILES
        self._name = upload_name(name, kind=kind)
        self._limit = limit
        self._size = 0
        self._digest = sha256(chat.encode(errors="surrogatepass"))
        self._partial = self._files / f"{at or datetime.now(UTC):%Y-%m}" / f".{uuid.uuid4().hex}{_PARTIAL}"
        try:
            self._partial.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._partial.open("xb")
        except OSError as error:
            raise _not_kept(error) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with suppress(OSError):
            self._file.close()
        with suppress(OSError):
            self._partial.unlink(missing_ok=True)

    def write(self, piece: bytes) -> int:
        """Take the next bytes.

        Raises:
            UploadRefusedError: they are more than it may have.
            DiskFullError: no room left.
            StoreError: it cannot be written.
        """
        self._size += len(piece)
        if self._size > self._limit:
            raise UploadRefusedError(N_("The file is too large to take."))
        self._digest.update(piece)
        try:
            return self._file.write(piece)
        except OSError as error:
            raise _not_kept(error) from error

    def flush(self) -> None:
        """Nothing: `keep` has it all on the disk."""

    def keep(self) -> Path:
        """Put what was written in its place: below `files/<year>-<month>/`, called after its content and its name.

        Returns:
            Where it is: the file that is there already when the same bytes were sent before there, by whatever name.

        Raises:
            UploadRefusedError: there is nothing in it.
            DiskFullError: no room left.
            StoreError: it cannot be written.
        """
        if not self._size:
            raise UploadRefusedError(N_("The file is empty."))
        prefix = self._digest.hexdigest()[:32]
        try:
            found = self._same(prefix)
            if found is not None:
                return found
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            target = self._partial.with_name(f"{prefix}-{self._name}")
            self._partial.replace(target)
            _sync(target.parent)
            _sync(self._files)
        except OSError as error:
            raise _not_kept(error) from error
        return target

    def _same(self, prefix: str) -> Path | None:
        """The file with the same bytes, in whatever month they came."""
        for path in self._files.glob(f"{_MONTH}/{prefix}-*"):
            # One that was cut short or changed since is not what was sent.
            if path.is_file() and not path.is_symlink() and path.stat().st_size == self._size:
                return path
        return None


def keep(
    workspace: Path,
    content: BinaryIO | Path | bytes,
    *,
    name: str,
    kind: str,
    limit: int = LIMIT,
    at: datetime | None = None,
    chat: str = "",
) -> Path:
    """Keep a file that somebody sent, whole or not at all; the same bytes from a chat are kept once.

    Args:
        workspace: directory of the workspace.
        content: its bytes, a file open for reading them, or where they are.
        name: as its sender called it.
        kind: what it is, `voice`, `document`.
        limit: bytes it may have.
        at: when it came; now, by default.
        chat: where it came.

    Returns:
        Where it is, `files/2026-11/<first 32 digits of the sha256 of chat and content>-<name>` in the workspace.

    Raises:
        UploadRefusedError: it is empty or too large.
        DiskFullError: no room left.
        StoreError: it cannot be read or written.
    """
    with Incoming(workspace, name=name, kind=kind, limit=limit, at=at, chat=chat) as incoming:
        try:
            file = content.open("rb") if isinstance(content, Path) else content
        except OSError as error:
            raise _not_kept(error) from error
        if isinstance(file, bytes):
            file = BytesIO(file)
        try:
            while piece := file.read(_CHUNK):
                incoming.write(piece)
        except OSError as error:
            raise _not_kept(error) from error
        finally:
            if isinstance(content, Path):
                file.close()
        return incoming.keep()


def tidy(workspace: Path) -> int:
    """Delete what is left of files that were on their way a day ago, when a process was killed; how many there were.

    Args:
        workspace: directory of the workspace.
    """
    count = 0
    for path in (workspace / FILES).glob(f"{_MONTH}/.*{_PARTIAL}"):
        with suppress(OSError):
            if datetime.now(UTC) - datetime.fromtimestamp(path.lstat().st_mtime, UTC) > _HELD:
                path.unlink()
                count += 1
    return count


def _not_kept(error: OSError) -> StoreError:
    if error.errno in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFullError("no room left on the disk; the file was not kept")
    return StoreError(f"the file was not kept: {error.strerror or type(error).__name__}")


def _sync(place: Path) -> None:
    """Have a new name on the disk too, where a directory can be opened."""
    with suppress(OSError):
        descriptor = os.open(place, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
