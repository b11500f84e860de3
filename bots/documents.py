r"""The text of a file that somebody sent: text, Markdown, CSV, JSON and JSONL, PDF and Word.

What is in a file decides how it is read; its name is looked at where that says nothing. PDF and Word are read in a
process of their own that is given so much time and memory and no more, since a few bytes of them can ask for any amount
of either.

The message of each error is a sentence of `bots.texts`, to be said in anybody's language.

>>> _ = (tmp / "hours").write_bytes("Когда вы открыты?\nС 9 до 18.".encode("cp1251"))
>>> text_of(tmp / "hours", name="часы.txt")
'Когда вы открыты?\nС 9 до 18.'
>>> text_of(tmp / "hours", name="часы.txt", limit=10)
'Когда\n[…]'
>>> _ = (tmp / "scan").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR")
>>> text_of(tmp / "scan", name="prices.txt")
Traceback (most recent call last):
trainerlib.errors.UploadRefusedError: Files of this kind cannot be read. Send text, Markdown, CSV, JSON, PDF or DOCX.
"""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from contextlib import suppress
from importlib import import_module
from pathlib import Path

import msgspec

from bots.texts import N_
from trainerlib.errors import DocumentError, TrainerlibError, UploadRefusedError
from trainerlib.importers import documents

CUT = "\n[…]"
"""Ends a text of which something is left out."""

SECONDS = 20
"""Of a processor's time that it may take to read a PDF or a Word document."""

PATIENCE = 60
"""Seconds after which it is given up, however little of them it had a processor."""

MEMORY = 1 << 30
"""Bytes of memory that it may take, where the system can tell."""

_HEAD = 4096
_START = "import sys, json; sys.path[:] = json.loads(sys.argv[1]); from bots.documents import main; main()"

_ZIP = b"PK\x03\x04"
# Word before 2007, and a newer document that has a password.
_OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
_RICH_TEXT = b"{\\rtf"
_WORD = (".docx", ".docm", ".dotx", ".dotm")
_JSON = (".json", ".jsonl", ".ndjson", ".geojson")

_SENTENCES = {
    "damaged": N_("The file cannot be read: it is damaged."),
    "empty": N_("The file is empty."),
    "encoding": N_("How the text of the file is encoded cannot be told. Save it as UTF-8 and send it again."),
    "kind": N_("Files of this kind cannot be read. Send text, Markdown, CSV, JSON, PDF or DOCX."),
    "large": N_("There is too much in the file to read it."),
    "missing": N_("PDF files cannot be read here before this is installed: pip install 'trainerlib[documents]'"),
    "password": N_("The file has a password. Save it without one and send it again."),
    "pictures": N_("There is no text in the file, only pictures at most."),
    "time": N_("It takes too long to read the file."),
}


def text_of(path: Path, *, name: str, mime: str = "", limit: int = 20_000) -> str:
    """The text of a file, without what nobody can see.

    Args:
        path: where it is.
        name: the name its sender gave it.
        mime: its type, as the platform says.
        limit: characters at most; a longer text ends with `CUT`.

    Raises:
        UploadRefusedError: it has a password, is damaged, a picture, too large, of a kind that is not read, or a package
            is missing to read it with.
    """
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
        form = _form(head, name.lower(), mime.lower())
        read = documents.read(path, form).text if form == "text" else _read_apart(path, form, limit)
    except DocumentError as error:
        # What holds NUL characters and is no text in any encoding was never meant as one.
        reason = "kind" if error.reason == "encoding" and b"\0" in head else error.reason
        raise UploadRefusedError(_SENTENCES[reason]) from error
    except (OSError, TrainerlibError) as error:
        raise UploadRefusedError(N_("The file cannot be read just now. Send it again.")) from error
    if name.lower().endswith(_JSON) or "json" in mime.lower():
        read = _ESCAPES.sub(_unescaped, read)
    text = _UNSEEN.sub(" ", _LONE.sub("\ufffd", read.replace("\f", "\n"))).strip()
    if not text:
        raise UploadRefusedError(_SENTENCES["empty"])
    return text if len(text) <= limit else text[: max(limit - len(CUT), 0)].rstrip() + CUT


def _form(head: bytes, name: str, mime: str) -> str:
    """What a file is to be read as, a name in `documents.FORMATS`."""
    if b"%PDF-" in head[:1024]:
        return "pdf"
    is_word = name.endswith(_WORD) or "word" in mime
    if head.startswith(_ZIP) and is_word:
        return "docx"
    if head.startswith(_OLE) and name.endswith(_WORD):
        raise DocumentError("an encrypted document", "password")
    if head.startswith((_ZIP, _OLE, _RICH_TEXT)):
        raise DocumentError("no text", "kind")
    if is_word or name.endswith(".pdf"):
        raise DocumentError("not what its name says", "damaged" if head else "empty")
    return "text"


# --- what is in a text ------------------------------------------------------------------------------------------------

_LONE = re.compile("[\ud800-\udfff]")
_UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff]")
# A backslash escapes the next character, which may be a backslash.
_ESCAPES = re.compile(r"(\\u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4})|\\.", re.DOTALL)


def _unescaped(found: re.Match[str]) -> str:
    r"""A character that JSON holds as a number, as itself; one that means something to JSON as it was.

    >>> _ESCAPES.sub(_unescaped, r'"\u0420\u043e\u0437\u0430 \ud83c\udf37 \\u0041 \u0022 \ud800"')
    '"Роза 🌷 \\\\u0041 \\u0022 \\ud800"'
    """
    text: str = json.loads(f'"{found[1]}"') if found[1] else ""
    return text if text.isprintable() and text not in {"", '"', "\\"} else found[0]


# --- PDF and Word, apart ----------------------------------------------------------------------------------------------


class _Read(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the other process found: the text, or why there is none."""

    text: str = ""
    reason: str = ""
    message: str = ""


def _read_apart(path: Path, form: str, limit: int) -> str:
    """The text of a document, from a process of its own that is ended when it takes too long."""
    # A frozen application is its own interpreter: starting it again would start the application.
    if not sys.executable or getattr(sys, "frozen", False):
        return documents.read(path, form, characters=limit).text
    command = [sys.executable, "-c", _START, json.dumps(sys.path), str(path), form, str(limit)]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False)  # noqa: S603 - this interpreter
    except subprocess.TimeoutExpired as error:
        raise DocumentError(f"not read in {PATIENCE} seconds", "time") from error
    try:
        found = msgspec.json.decode(done.stdout, type=_Read)
    except msgspec.DecodeError as error:
        used_up = done.returncode == -getattr(signal, "SIGXCPU", 0)
        said = done.stderr[-500:].decode(errors="replace")
        raise DocumentError(f"status {done.returncode}: {said}", "time" if used_up else "damaged") from error
    if found.reason:
        raise DocumentError(found.message, found.reason)
    return found.text


def main() -> None:
    """Read a document in a process of its own; what is in it goes to stdout. Started by `text_of`."""
    _, _, path, form, limit = sys.argv
    _limit_itself()
    try:
        found = _Read(
            _LONE.sub("\ufffd", documents.read(Path(path), form, characters=int(limit)).text[: int(limit) + 1])
        )
    except DocumentError as error:
        found = _Read(reason=error.reason, message=str(error))
    except MemoryError:
        found = _Read(reason="large", message="out of memory")
    sys.stdout.buffer.write(msgspec.json.encode(found))


def _limit_itself() -> None:
    """Give this process no more than its time and memory, where the system can."""
    try:
        resource = import_module("resource")
    except ImportError:
        return
    for what, most in ((resource.RLIMIT_CPU, SECONDS), (resource.RLIMIT_AS, MEMORY)):
        with suppress(OSError, ValueError):
            resource.setrlimit(what, (most, resource.getrlimit(what)[1]))
