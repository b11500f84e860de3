"""The command line: a shell over the workspace.

Exit status: 0 when it worked, 1 when something failed (disk, database, a check that found problems), 2 for misuse (a
wrong option, file, dataset, conversation, recipe or setting), 130 after Ctrl-C. Every error is one line on stderr.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status.

    Args:
        arguments: the words after `trainerlib`; those of the process by default.

    >>> main(["--version"])
    trainerlib 0.1.0
    0
    """
    from trainerlib.cli.app import program
    from trainerlib.cli.failures import failure

    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a letter shows its number; it is no reason to stop.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        status = program().main(args=arguments, prog_name="trainerlib", standalone_mode=False)
        sys.stdout.flush()
    except BaseException as error:
        found = failure(error)
        if found is None:
            raise
        status, message = found
        if isinstance(error, BrokenPipeError):
            _close_stdout()
        if message:
            with suppress(OSError):
                print(f"trainerlib: {message}", file=sys.stderr)
    return status if isinstance(status, int) else 0


def _close_stdout() -> None:
    """Nobody reads any more; what is still buffered goes nowhere instead of failing again at exit."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
