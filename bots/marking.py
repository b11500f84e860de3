r"""Names, paths and words of machines as people are shown them, and the buttons of commands.

>>> plain("/srv/shop/datasets/v1: changed since it was built; see /etc/hosts", Path("/srv/shop"))
'datasets/v1: changed since it was built; see hosts'
>>> code("a`b"), short("support")
('``a`b``', 'a1860308')
"""

from __future__ import annotations

import re
from hashlib import sha256
from pathlib import Path, PurePath

from bots.port import Button

_ABSOLUTE = re.compile(r"(?<![\w:/.\\-])(?:[A-Za-z]:[\\/]|/)[^\s'\"`;,()]*[^\s'\"`;,():.]")


def button(label: str, *action: object) -> Button:
    """A button of a command.

    >>> button("Begin", "train", "go", 3).action
    'cmd:train:go:3'

    Args:
        label: what it says.
        action: name of the command, and what its `tap` is given.
    """
    return Button(label, ":".join(["cmd", *map(str, action)]))


def short(name: str) -> str:
    """A name of any length as 8 letters, for buttons."""
    return sha256(name.encode(errors="surrogatepass")).hexdigest()[:8]


def code(text: object) -> str:
    """A name, a path or words of a machine in Markdown, as they are."""
    words = " ".join(str(text).split())
    runs = max(map(len, re.findall("`+", words)), default=0)
    fence = "`" * (runs + 1)
    space = " " if words.startswith("`") or words.endswith("`") else ""
    return f"{fence}{space}{words}{space}{fence}" if words else ""


def base_name(model: str) -> str:
    """What a model is called, without where it lies: one of this machine may be named by its directory.

    >>> base_name("/srv/models/base"), base_name("gpt-x")
    ('base', 'gpt-x')
    """
    return PurePath(model).name if PurePath(model).is_absolute() else model


def one_line(text: str, limit: int) -> str:
    r"""A text on one line, cut where it is longer.

    >>> one_line("From 9\nto 18, every day.", 12)
    'From 9 to 1…'
    """
    words = " ".join(text.split())
    return words if len(words) <= limit else words[: limit - 1] + "…"


def plain(words: str, workspace: Path) -> str:
    """What the library said, less where things are on this machine: paths begin in the workspace, or are a name alone.

    Args:
        words: what it said.
        workspace: directory of the workspace.
    """
    for home in sorted({str(workspace), str(workspace.resolve()), str(workspace.absolute())}, key=len, reverse=True):
        if PurePath(home).is_absolute():
            words = re.sub(rf"{re.escape(home)}(?:[\\/]|(?![\w.-]))", "", words)
    return _ABSOLUTE.sub(lambda found: PurePath(found[0]).name, words)
