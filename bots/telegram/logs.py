"""The bot's own log: a line an update, on stderr; JSON where nobody looks at it, never the token or what people wrote."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from bots.telegram.transport import without
from trainerlib.errors import SettingsError

_OURS = "bots"


def opened(token: str, *, json: bool | None = None) -> Any:
    """A logger that writes to stderr.

    Args:
        token: the bot's token; no line shows it.
        json: a JSON object a line; by default where stderr is no terminal.

    Raises:
        SettingsError: structlog is not installed.
    """
    try:
        import structlog
    except ModuleNotFoundError as error:
        raise SettingsError("the bot's log needs structlog: pip install 'trainerlib[telegram]'") from error

    def hide(_logger: object, _method: str, line: str) -> str:
        return without(line, token)

    as_json = not sys.stderr.isatty() if json is None else json
    last = structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.dev.ConsoleRenderer()
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            last,
            # When the line is whole: whatever a value was, nothing gets by.
            hide,
        ],
    )


@contextmanager
def collected(log: Any) -> Iterator[None]:
    """What modules and packages tell Python's own loggers goes to a log, as long as the `with` lasts.

    Of this bot from `info` on, of everything else warnings.

    Args:
        log: as `opened` gives it.
    """
    root, ours = logging.getLogger(), logging.getLogger(_OURS)
    handler = _Forwarding(log)
    before = ours.level
    root.addHandler(handler)
    ours.setLevel(logging.INFO)
    try:
        yield
    finally:
        root.removeHandler(handler)
        ours.setLevel(before)


class _Forwarding(logging.Handler):
    """Hands records to the log of the bot."""

    def __init__(self, log: Any) -> None:
        super().__init__()
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        try:
            said = record.getMessage()
        except (TypeError, ValueError):
            said = str(record.msg)  # its arguments do not fit
        # The log knows five levels; packages may have levels of their own.
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        self._log.log(level, said, logger=record.name, exc_info=record.exc_info)
