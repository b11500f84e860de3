"""What an error means to whoever typed the command: one line and an exit status."""

from __future__ import annotations

import typer

from trainerlib.cli.output import one_line
from trainerlib.errors import (
    AssistantUnknownError,
    InvalidEventError,
    NotFoundError,
    RecipeError,
    SettingsError,
    TrainerlibError,
    UnrecognisedFormatError,
)

FAILED = 1
MISUSED = 2
INTERRUPTED = 130
PIPE_CLOSED = 141

# Typer re-exports only the subclass; what raises it lives in click or, since typer 0.26, inside typer.
_UsageError = typer.BadParameter.__mro__[1]

_MISUSE = (
    AssistantUnknownError,
    InvalidEventError,
    NotFoundError,
    RecipeError,
    SettingsError,
    UnrecognisedFormatError,
    FileNotFoundError,
    IsADirectoryError,
    NotADirectoryError,
)


def misuse(message: str) -> Exception:
    """An error to raise when the command was typed wrongly: `message` on stderr, exit status 2."""
    return typer.BadParameter(message)


def failure(error: BaseException) -> tuple[int, str] | None:
    """`(exit status, one line)` of an error that is somebody's mistake or bad luck; `None` for a defect of ours."""
    if isinstance(error, BrokenPipeError):
        return PIPE_CLOSED, ""
    if isinstance(error, (KeyboardInterrupt, typer.Abort)):
        return INTERRUPTED, ""
    if isinstance(error, _UsageError):
        return MISUSED, one_line(_usage(error))
    if isinstance(error, TrainerlibError):
        return MISUSED if isinstance(error, _MISUSE) else FAILED, one_line(str(error))
    if isinstance(error, OSError):
        what = f"{error.filename}: {error.strerror}" if error.filename else error.strerror or str(error)
        return MISUSED if isinstance(error, _MISUSE) else FAILED, one_line(what)
    return None


def _usage(error: BaseException) -> str:
    if isinstance(error, typer.BadParameter) and error.param is None and error.param_hint is None:
        return str(error.message)  # ours: `misuse` says it all
    message: str = error.format_message().strip().rstrip(".")  # type: ignore[attr-defined]
    context = getattr(error, "ctx", None)
    return f"{message} (see: {context.command_path} --help)" if context is not None else message
