"""The bot's own log: a line an update, on stderr; JSON where nobody looks at it, never the token or what people wrote."""

from __future__ import annotations

import sys
from collections.abc import MutableMapping
from typing import Any

from trainerlib.errors import SettingsError


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

    def hide(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        for name, value in event.items():
            if isinstance(value, str) and token in value:
                event[name] = value.replace(token, "[hidden]")
        return event

    as_json = not sys.stderr.isatty() if json is None else json
    last: list[Any] = (
        [structlog.processors.format_exc_info, hide, structlog.processors.JSONRenderer(ensure_ascii=False)]
        if as_json
        else [structlog.processors.format_exc_info, hide, structlog.dev.ConsoleRenderer()]
    )
    return structlog.wrap_logger(
        structlog.PrintLogger(sys.stderr),
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *last,
        ],
    )
