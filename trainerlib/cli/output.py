"""Words, tables and JSON on the terminal.

What strangers wrote is shown without its control characters: a message must not move the cursor or recolour the screen.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from rich.console import Console

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PIPE_WIDTH = 200


def clean(text: str) -> str:
    r"""The text with U+FFFD for each control character but line ends and tabs.

    >>> clean("Hi\x1b[2J\r\nthere")
    'Hi\ufffd[2J\nthere'
    """
    return _CONTROL.sub("\ufffd", text.replace("\r\n", "\n"))


def one_line(text: str, limit: int | None = None) -> str:
    r"""The text on one line, shortened with an ellipsis where there is a limit.

    >>> one_line("We are open\nfrom 9 to 18.", 20)
    'We are open from 9…'
    """
    line = " ".join(clean(text).split())
    return line if limit is None or len(line) <= limit else line[: limit - 1].rstrip() + "…"


def counted(number: int, noun: str) -> str:
    """A number with its noun.

    >>> counted(1, "message"), counted(2114, "message"), counted(2, "reply")
    ('1 message', '2,114 messages', '2 replies')
    """
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number:,} {plural}"


def moment(time: datetime) -> str:
    """A time to the minute, UTC.

    >>> moment(datetime(2026, 3, 1, 8, 0, 59, tzinfo=UTC))
    '2026-03-01T08:00Z'
    """
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%MZ")


def say(text: str = "") -> None:
    """A line for the person, on stdout."""
    print(clean(text))


def note(text: str) -> None:
    """A line for the person that is no part of the result, on stderr."""
    print(clean(text), file=sys.stderr)


def emit(value: Any) -> None:
    """One JSON document on a line of stdout: UTF-8 whatever the terminal speaks, without escapes."""
    emit_bytes(msgspec.json.encode(value, enc_hook=_encoded) + b"\n")


def emit_bytes(data: bytes) -> None:
    """Bytes to stdout, after whatever was printed before."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


def _encoded(value: Any) -> str:
    if isinstance(value, PurePath):
        return str(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")


def interactive() -> bool:
    """Somebody sits at a terminal and can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def width() -> int:
    """Columns of the terminal; wide where nobody looks, so that nothing is cut for a pipe."""
    if "COLUMNS" in os.environ or sys.stdout.isatty():
        return shutil.get_terminal_size().columns
    return _PIPE_WIDTH


def console(*, stderr: bool = False) -> Console:
    """A rich console that takes every text literally."""
    from rich.console import Console

    return Console(stderr=stderr, width=width(), highlight=False, markup=False, emoji=False)


def styled(text: str, style: str = "") -> None:
    """A line on stdout, in colour where there is a terminal."""
    if not (style and sys.stdout.isatty()):
        print(clean(text))
        return
    from rich.text import Text

    console().print(Text(clean(text), style), soft_wrap=True)


def wrapped(text: str, *, indent: str, first: str | None = None) -> str:
    """A text within the terminal's width, its lines indented alike; `first` begins the first one."""
    lines: list[str] = []
    for line in clean(text).split("\n"):
        lines += textwrap.wrap(line, max(width() - len(indent), 24), break_on_hyphens=False) or [""]
    head = indent if first is None else first
    return "\n".join((head if number == 0 else indent) + line for number, line in enumerate(lines)).rstrip()


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, sections: Iterable[int] = ()) -> None:
    """A small table on stdout. A column whose name begins with `#` holds numbers and stands to the right.

    Args:
        columns: headings; none are shown when all are blank.
        rows: the cells; integers are grouped by thousands, 0 is left out.
        sections: numbers of the rows, from 1, after which a line is drawn.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    headings = [column.lstrip("#") for column in columns]
    drawn = Table(box=SIMPLE_HEAD, show_header=any(map(str.strip, headings)), pad_edge=False, header_style="bold")
    for column, heading in zip(columns, headings, strict=True):
        right = column.startswith("#")
        drawn.add_column(heading, justify="right" if right else "left", overflow="fold", no_wrap=right)
    ends = set(sections)
    for number, row in enumerate(rows, 1):
        drawn.add_row(*(Text(_cell(value)) for value in row), end_section=number in ends)
    screen = console()
    with screen.capture() as captured:
        screen.print(drawn)
    print("\n".join(f"  {line}".rstrip() for line in captured.get().strip("\n").split("\n")))


def _cell(value: object) -> str:
    if isinstance(value, int):
        return f"{value:,}" if value else ""
    if isinstance(value, datetime):
        return moment(value)
    return clean(str(value))


@contextmanager
def progress_bar(name: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on stderr while somebody watches; told how much is done and how much there is."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield None
        return
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("  {task.description}", markup=False),
        BarColumn(bar_width=32),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(one_line(name, 40), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
