"""`init`: a directory that is ready for a bot, each line in it explained."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Annotated

import typer

from trainerlib import settings
from trainerlib.cli.output import emit, note, say, table
from trainerlib.cli.session import Session

_FILES = {
    settings.FILE: (settings.TEMPLATE, 0o644, "settings, each line explained"),
    settings.INSTRUCTION: (settings.INSTRUCTION_TEMPLATE, 0o644, "what the assistant is told before each conversation"),
    settings.SECRETS: (settings.SECRETS_TEMPLATE, 0o600, "secrets; never goes into git"),
    ".gitignore": (settings.IGNORE_TEMPLATE, 0o644, "keeps the secrets and the log out of git"),
}


def init(
    session: Session,
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="[DIR]", help="Where; the current directory by default.", show_default=False),
    ] = None,
) -> None:
    """Make a workspace: settings, instruction, secrets and log. Never overwrites anything."""
    target = directory.expanduser() if directory is not None else session.given or Path()
    there = (target / "trainer.db").exists()
    made = write_files(target)
    with Session(str(target)).open(create=True):
        pass
    if not there:
        made["trainer.db"] = "the log: every message, correction and rating"
    if session.json:
        emit({"workspace": target, "made": list(made)})
        return
    if made:
        table(("", ""), [(str(target / name), meaning) for name, meaning in made.items()])
    else:
        where = "this directory" if target == Path() else target
        say(f"  nothing changed: {where} is a workspace already")
    _warn(target)
    if made:
        where = "" if target == Path() else f"cd {shlex.quote(str(target))} && "
        say(f"  next: {where}trainerlib chat, or trainerlib import FILE")


def write_files(target: Path) -> dict[str, str]:
    """Write the files that are missing in a directory; what each is for, by name."""
    target.mkdir(parents=True, exist_ok=True)
    made = {}
    for name, (text, mode, meaning) in _FILES.items():
        try:
            descriptor = os.open(target / name, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        except FileExistsError:
            continue
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 - it is open already
            file.write(text)
        made[name] = meaning
    return made


def _warn(target: Path) -> None:
    """A `.gitignore` that was there before may let the secrets through."""
    lines = (target / ".gitignore").read_text(encoding="utf-8", errors="replace").splitlines()
    missing = [name for name in (".env", "*.db") if name not in {line.strip().lstrip("/") for line in lines}]
    if missing:
        note(f"  your .gitignore was left as it is; add to it: {'  '.join(missing)}")
