"""Fields of foreign JSON that may hold anything: each function gives the value if it is what is wanted, else nothing."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any


def string(value: Any) -> str:
    """The string, or an empty one."""
    return value if isinstance(value, str) else ""


def integer(value: Any) -> int | None:
    """The whole number, or `None`; a truth value is none."""
    return value if type(value) is int else None


def mapping(value: Any) -> dict[str, Any]:
    """The object, or an empty one."""
    return value if isinstance(value, dict) else {}


def mappings(value: Any) -> list[dict[str, Any]]:
    """The objects of a list."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def moment(seconds: Any) -> datetime | None:
    """The UTC time of seconds since 1970, as a number or its digits.

    >>> moment("1772352000")
    datetime.datetime(2026, 3, 1, 8, 0, tzinfo=datetime.timezone.utc)
    >>> moment("1e99") is moment(True) is None
    True
    """
    if isinstance(seconds, bool):
        return None
    try:
        return datetime.fromtimestamp(seconds if isinstance(seconds, float) else int(seconds), UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def iso_time(text: Any) -> datetime | None:
    """The UTC time of an ISO 8601 date; one without a zone is taken as UTC.

    >>> iso_time("2026-03-01T09:00:00.5+01:00")
    datetime.datetime(2026, 3, 1, 8, 0, 0, 500000, tzinfo=datetime.timezone.utc)
    """
    try:
        when = datetime.fromisoformat(text)
        return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
