"""A counter of strings that may outgrow memory: a temporary SQLite file that vanishes when closed.

>>> with ScratchCounter() as seen:
...     seen.add("a"), seen.add("b"), seen.add("a"), seen.count("a"), seen.count("z")
(1, 1, 2, 2, 0)
"""

from __future__ import annotations

import sqlite3
from typing import Self


class ScratchCounter:
    """How often each string was added. SQLite keeps what is hot in memory and the rest in an unnamed file."""

    def __init__(self) -> None:
        self._connection = sqlite3.connect("", isolation_level=None)
        self._connection.execute("CREATE TABLE counts(item TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID")
        self._connection.execute("BEGIN")

    def add(self, item: str) -> int:
        """Count one more of `item`; returns how many there are now."""
        row = self._connection.execute(
            "INSERT INTO counts VALUES (?, 1) ON CONFLICT(item) DO UPDATE SET count = count + 1 RETURNING count",
            (item,),
        ).fetchone()
        return int(row[0])

    def count(self, item: str) -> int:
        """How many of `item` were added."""
        row = self._connection.execute("SELECT count FROM counts WHERE item = ?", (item,)).fetchone()
        return int(row[0]) if row else 0

    def clear(self) -> None:
        """Forget everything."""
        self._connection.execute("DELETE FROM counts")

    def close(self) -> None:
        """Forget everything and remove the file."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
